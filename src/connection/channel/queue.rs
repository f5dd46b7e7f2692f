//! The methods of class queue.

use std::sync::Arc;

use amq_protocol::protocol::{AMQPClass, queue};
use amq_protocol::types::{AMQPValue, ShortString};
use tracing::warn;

use crate::amqp::method::MethodId;
use crate::broker::exchange::ExchangeKind;
use crate::broker::live_queue::LiveQueue;
use crate::broker::permission::Access;
use crate::broker::queue_arguments;
use crate::broker::queue_type::TypeRefusal;
use crate::broker::refusal::{Entity, Refusal};
use crate::broker::vhost::{DeleteConditions, QueueDeclaration, REPLY_QUEUE_PREFIX, REPLY_TO};
use crate::store::Sequence;

use super::super::error::{Denied, Failure, no_queue_declared, unimplemented_method};
use super::super::session::Session;
use super::replies::declare_reply_queue;
use super::{Channel, entity_name, name};

/// A reply, and what has to be on disk before it goes out.
type Reply = (Option<Sequence>, queue::AMQPMethod);

impl Channel {
    pub(super) fn queue_method(
        &mut self,
        session: &mut Session,
        output: &mut Vec<u8>,
        id: MethodId,
        method: queue::AMQPMethod,
    ) -> Result<(), Failure> {
        let (nowait, done) = match method {
            queue::AMQPMethod::Declare(declare) if declare.queue.as_str().starts_with(REPLY_TO) => {
                (declare.nowait, self.declare_replies(session, &declare))
            }
            queue::AMQPMethod::Declare(declare) if declare.passive => {
                (declare.nowait, self.declare_passive(session, &declare))
            }
            queue::AMQPMethod::Declare(declare) => (declare.nowait, self.declare(session, declare)),
            queue::AMQPMethod::Bind(bind) => {
                let (queue, key) = self.named_for_binding(&bind.queue, &bind.routing_key, id)?;
                (bind.nowait, self::bind(session, &queue, &key, &bind))
            }
            queue::AMQPMethod::Unbind(unbind) => {
                let (queue, key) = self.named_for_binding(&unbind.queue, &unbind.routing_key, id)?;
                (false, self::unbind(session, &queue, &key, &unbind))
            }
            queue::AMQPMethod::Purge(purge) => {
                (purge.nowait, self::purge(session, self.named(&purge.queue, id)?))
            }
            queue::AMQPMethod::Delete(delete) => (
                delete.nowait,
                self::delete(session, self.named(&delete.queue, id)?, &delete),
            ),
            _ => return Err(unimplemented_method(id)),
        };
        let (after, reply) = done.map_err(|denied| denied.failure(&session.vhost.name, id))?;
        if !nowait {
            session.reply_after(output, self.number, after, &AMQPClass::Queue(reply));
        }
        Ok(())
    }

    fn declare(&mut self, session: &mut Session, declare: queue::Declare) -> Result<Reply, Denied> {
        let mut queue = entity_name(&declare.queue);
        let default_type = session.vhost.default_queue_type();
        if queue.is_empty() {
            let fitting = default_type.fitting(declare.durable, declare.exclusive, declare.auto_delete);
            let queue_type = queue_arguments::queue_type(&queue, &declare.arguments, fitting)?;
            if !queue_type.may_be_server_named() {
                return Err(queue_type.refuses(&queue, TypeRefusal::ServerNamed).into());
            }
            queue = session.broker.unique_name("amq.gen-").into();
        } else if queue.starts_with("amq.") {
            return Err(Refusal::ReservedName(Entity::Queue(queue)).into());
        }
        let entity = Entity::Queue(Arc::clone(&queue));
        session.check(Access::Configure, &entity)?;
        let dead_letter_exchange = match declare.arguments.inner().get("x-dead-letter-exchange") {
            Some(AMQPValue::LongString(name)) => Some(Arc::from(name.to_string())),
            _ => None,
        };
        let asked = QueueDeclaration {
            name: Arc::clone(&queue),
            durable: declare.durable,
            exclusive: declare.exclusive,
            auto_delete: declare.auto_delete,
            default_type,
            arguments: declare.arguments,
        };
        let declared = session
            .vhost
            .declare_queue(asked, session.id, || match dead_letter_exchange {
                None => Ok(()),
                Some(exchange) => session
                    .check(Access::Read, &entity)
                    .and_then(|()| session.check(Access::Write, &Entity::Exchange(exchange))),
            })?;
        if declared.is_new {
            if declare.exclusive {
                session.own(&declared.queue);
            }
            warn_of_arguments(&declared.queue);
        }
        self.last_queue = Some(Arc::clone(&queue));
        Ok((declared.sequence, declare_ok(&declared.queue)))
    }

    fn declare_replies(&mut self, session: &Session, declare: &queue::Declare) -> Result<Reply, Denied> {
        let queue = entity_name(&declare.queue);
        let ok = declare_reply_queue(session, &queue)?;
        self.last_queue = Some(queue);
        Ok((None, queue::AMQPMethod::DeclareOk(ok)))
    }

    fn declare_passive(&mut self, session: &mut Session, declare: &queue::Declare) -> Result<Reply, Denied> {
        let queue = entity_name(&declare.queue);
        session.check_any(&Entity::Queue(Arc::clone(&queue)))?;
        let found = session.vhost.queue(&queue, session.id)?;
        found.touch();
        self.last_queue = Some(queue);
        Ok((found.declared.get().copied(), declare_ok(&found)))
    }

    /// The queue that a method names; an empty name is the one declared last on this channel.
    pub(super) fn named(&self, given: &ShortString, id: MethodId) -> Result<Arc<str>, Failure> {
        if given.as_str().is_empty() {
            return self.last_queue.clone().ok_or_else(|| no_queue_declared(id));
        }
        // RabbitMQ strips line breaks in declare, delete, bind and unbind, but not in purge, get and consume.
        Ok(if id == MethodId::new(50, 40) {
            entity_name(given)
        } else {
            name(given)
        })
    }

    /// With an empty queue name, an empty routing key stands for the queue's name too.
    fn named_for_binding(
        &self,
        queue: &ShortString,
        routing_key: &ShortString,
        id: MethodId,
    ) -> Result<(Arc<str>, Arc<str>), Failure> {
        if !queue.as_str().is_empty() {
            return Ok((entity_name(queue), name(routing_key)));
        }
        let queue = self.last_queue.clone().ok_or_else(|| no_queue_declared(id))?;
        let is_shorthand = routing_key.as_str().is_empty();
        let key = if is_shorthand {
            Arc::clone(&queue)
        } else {
            name(routing_key)
        };
        Ok((queue, key))
    }
}

fn bind(session: &Session, queue: &Arc<str>, key: &str, bind: &queue::Bind) -> Result<Reply, Denied> {
    let source = entity_name(&bind.exchange);
    let queue = bindable(session, queue, &source, key)?;
    let after = session
        .vhost
        .bind_queue(&queue, &source, key.as_bytes(), &bind.arguments)?;
    Ok((after, queue::AMQPMethod::BindOk(queue::BindOk {})))
}

/// What is not there is not bound: unbinding it succeeds.
fn unbind(session: &Session, queue: &Arc<str>, key: &str, unbind: &queue::Unbind) -> Result<Reply, Denied> {
    let source = entity_name(&unbind.exchange);
    let after = match bindable(session, queue, &source, key) {
        Err(Denied::Refused(Refusal::NotFound(_))) => session.vhost.last_change(),
        found => session
            .vhost
            .unbind_queue(&found?, &source, key.as_bytes(), &unbind.arguments)?,
    };
    Ok((after, queue::AMQPMethod::UnbindOk(queue::UnbindOk {})))
}

fn purge(session: &Session, queue: Arc<str>) -> Result<Reply, Denied> {
    let entity = Entity::Queue(queue);
    session.check(Access::Read, &entity)?;
    let queue = session.vhost.queue(entity.name(), session.id)?;
    let (count, outcome) = queue.purge();
    // What is gone already may have been purged by somebody else just now.
    let appended = || session.broker.stores.durable.append(&mut Vec::new());
    let after = queue
        .definition
        .durable
        .then(|| outcome.sequence.unwrap_or_else(appended));
    let message_count = saturated(count);
    Ok((
        after,
        queue::AMQPMethod::PurgeOk(queue::PurgeOk { message_count }),
    ))
}

fn delete(session: &mut Session, queue: Arc<str>, delete: &queue::Delete) -> Result<Reply, Denied> {
    let entity = Entity::Queue(queue);
    session.check(Access::Configure, &entity)?;
    let conditions = DeleteConditions {
        if_unused: delete.if_unused,
        if_empty: delete.if_empty,
        if_expired: false,
    };
    let (count, after) = session
        .vhost
        .delete_queue(entity.name(), session.id, conditions)?;
    session
        .exclusive_queues
        .retain(|other| *other.definition.name != *entity.name());
    let message_count = saturated(count);
    Ok((
        after,
        queue::AMQPMethod::DeleteOk(queue::DeleteOk { message_count }),
    ))
}

/// The queue, if this user may bind it to the exchange with this key.
fn bindable(
    session: &Session,
    queue: &Arc<str>,
    source: &Arc<str>,
    routing_key: &str,
) -> Result<Arc<LiveQueue>, Denied> {
    session.check(Access::Write, &Entity::Queue(Arc::clone(queue)))?;
    session.check(Access::Read, &Entity::Exchange(Arc::clone(source)))?;
    if source.is_empty() {
        return Err(Refusal::DefaultExchange.into());
    }
    if queue.starts_with(REPLY_QUEUE_PREFIX) {
        return Err(Refusal::BindReplyQueue.into());
    }
    if session.vhost.exchange_kind(source) == Some(ExchangeKind::Topic) {
        session.check_topic(Access::Read, source, routing_key.as_bytes())?;
    }
    // When both are missing it is the exchange that is named.
    session.vhost.check_exchange(source)?;
    Ok(session.vhost.queue(queue, session.id)?)
}

/// Tells the operator of arguments that do less than the client may think.
fn warn_of_arguments(queue: &LiveQueue) {
    let (name, arguments) = (&queue.definition.name, &queue.definition.arguments);
    let choosing_nothing: Vec<_> = queue_arguments::choosing_nothing(arguments).collect();
    if !choosing_nothing.is_empty() {
        warn!(queue = ?name, arguments = ?choosing_nothing, "queue arguments choose nothing on a single node");
    }
}

fn declare_ok(queue: &Arc<LiveQueue>) -> queue::AMQPMethod {
    let (messages, consumers) = queue.counts();
    let name = ShortString::try_new(queue.definition.name.to_string()).expect("it came as a short string");
    queue::AMQPMethod::DeclareOk(queue::DeclareOk {
        queue: name,
        message_count: saturated(messages),
        consumer_count: saturated(consumers as u64),
    })
}

/// A count as the protocol's 32 bits.
pub(super) fn saturated(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
