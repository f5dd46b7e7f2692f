//! The methods of class exchange.

use std::sync::Arc;

use amq_protocol::protocol::{AMQPClass, exchange};
use amq_protocol::types::ShortString;

use crate::amqp::method::MethodId;
use crate::broker::exchange::ExchangeKind;
use crate::broker::permission::Access;
use crate::broker::refusal::{Entity, Refusal};
use crate::broker::vhost::{ExchangeDeclaration, is_exchange_type};
use crate::store::Sequence;

use super::super::error::{Denied, Failure, unimplemented_method};
use super::super::session::Session;
use super::{Channel, entity_name, name};

impl Channel {
    pub(super) fn exchange_method(
        &mut self,
        session: &mut Session,
        output: &mut Vec<u8>,
        id: MethodId,
        method: exchange::AMQPMethod,
    ) -> Result<(), Failure> {
        let (nowait, done, reply) = match method {
            exchange::AMQPMethod::Declare(declare) => (
                declare.nowait,
                self::declare(session, declare),
                exchange::AMQPMethod::DeclareOk(exchange::DeclareOk {}),
            ),
            exchange::AMQPMethod::Delete(delete) => (
                delete.nowait,
                self::delete(session, &delete),
                exchange::AMQPMethod::DeleteOk(exchange::DeleteOk {}),
            ),
            exchange::AMQPMethod::Bind(bind) => (
                bind.nowait,
                self::bind(session, &bind),
                exchange::AMQPMethod::BindOk(exchange::BindOk {}),
            ),
            exchange::AMQPMethod::Unbind(unbind) => (
                unbind.nowait,
                self::unbind(session, &unbind),
                exchange::AMQPMethod::UnbindOk(exchange::UnbindOk {}),
            ),
            _ => return Err(unimplemented_method(id)),
        };
        let after = done.map_err(|denied| denied.failure(&session.vhost.name, id))?;
        if !nowait {
            session.reply_after(output, self.number, after, &AMQPClass::Exchange(reply));
        }
        Ok(())
    }
}

fn declare(session: &Session, declare: exchange::Declare) -> Result<Option<Sequence>, Denied> {
    let exchange = entity_name(&declare.exchange);
    let entity = Entity::Exchange(Arc::clone(&exchange));
    if declare.passive {
        if !exchange.is_empty() {
            session.check_any(&entity)?;
        }
        return Ok(session.vhost.check_exchange(&exchange)?);
    }
    let kind = name(&declare.kind);
    if !is_exchange_type(&kind) {
        return Err(Refusal::UnknownExchangeType(kind).into());
    }
    if exchange.is_empty() {
        return Err(Refusal::DefaultExchange.into());
    }
    session.check(Access::Configure, &entity)?;
    let asked = ExchangeDeclaration {
        name: exchange,
        kind,
        durable: declare.durable,
        auto_delete: declare.auto_delete,
        internal: declare.internal,
        arguments: declare.arguments,
    };
    session
        .vhost
        .declare_exchange(asked, |alternate| match alternate {
            None => Ok(()),
            Some(alternate) => session
                .check(Access::Read, &entity)
                .and_then(|()| session.check(Access::Write, &Entity::Exchange(alternate.into()))),
        })
}

fn delete(session: &Session, delete: &exchange::Delete) -> Result<Option<Sequence>, Denied> {
    let exchange = entity_name(&delete.exchange);
    if exchange.is_empty() {
        return Err(Refusal::DefaultExchange.into());
    }
    session.check(Access::Configure, &Entity::Exchange(Arc::clone(&exchange)))?;
    Ok(session.vhost.delete_exchange(&exchange, delete.if_unused)?)
}

fn bind(session: &Session, bind: &exchange::Bind) -> Result<Option<Sequence>, Denied> {
    let (destination, source) = bindable(session, &bind.destination, &bind.source, &bind.routing_key)?;
    let key = bind.routing_key.as_str().as_bytes();
    Ok(session
        .vhost
        .bind_exchange(&destination, &source, key, &bind.arguments)?)
}

fn unbind(session: &Session, unbind: &exchange::Unbind) -> Result<Option<Sequence>, Denied> {
    let (destination, source) = bindable(session, &unbind.destination, &unbind.source, &unbind.routing_key)?;
    let key = unbind.routing_key.as_str().as_bytes();
    Ok(session
        .vhost
        .unbind_exchange(&destination, &source, key, &unbind.arguments)?)
}

/// Destination and source, if this user may bind them with this key.
fn bindable(
    session: &Session,
    destination: &ShortString,
    source: &ShortString,
    routing_key: &ShortString,
) -> Result<(Arc<str>, Arc<str>), Denied> {
    let (destination, source) = (entity_name(destination), entity_name(source));
    session.check(Access::Write, &Entity::Exchange(Arc::clone(&destination)))?;
    session.check(Access::Read, &Entity::Exchange(Arc::clone(&source)))?;
    if session.vhost.exchange_kind(&source) == Some(ExchangeKind::Topic) {
        session.check_topic(Access::Read, &source, routing_key.as_str().as_bytes())?;
    }
    Ok((destination, source))
}
