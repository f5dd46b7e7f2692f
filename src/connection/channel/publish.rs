//! Receiving a message: method, header and body frames, the checks in RabbitMQ's order, and the way to the batch.

use std::iter;

use crate::amqp::content::{self, ContentHeader, Properties};
use crate::amqp::frame::{Frame, FrameKind};
use crate::amqp::method::{self, MethodId, Publish};
use crate::amqp::reply_code::ReplyCode;
use crate::amqp::whole_publish::WholePublish;
use crate::broker::exchange::{Criteria, ExchangeKind};
use crate::broker::permission::Access;
use crate::broker::refusal::Entity;
use crate::broker::vhost::{REPLY_TO, Route};
use crate::message::{Message, MessageBuilder, Traits};

use super::super::error::{Denied, Failure, bad_properties, connection, precondition};
use super::super::routes::RouteId;
use super::super::session::Session;
use super::properties::{Copies, check_expiration, check_user_id, read_headers};
use super::{Channel, Mode};

const ID: MethodId = MethodId::PUBLISH;

/// RabbitMQ's ceiling for a message body, whatever is configured.
const BODY_BYTES_CEILING: u64 = 512 << 20;

/// Body bytes reserved on the sender's word; more grows as it arrives.
const BODY_RESERVE_MAX: usize = 1 << 20;

/// A message whose frames arrive one by one.
#[derive(Debug)]
pub(super) struct Incoming {
    mandatory: bool,
    /// Body bytes announced; `None` until the header has come.
    body_size: Option<u64>,
    received: u64,
    builder: MessageBuilder,
}

impl Channel {
    pub(super) fn begin_publish(&mut self, publish: &Publish<'_>) -> Result<(), Failure> {
        refuse_immediate(publish)?;
        let mut incoming = Incoming {
            mandatory: publish.mandatory,
            body_size: None,
            received: 0,
            builder: MessageBuilder::default(),
        };
        incoming.builder.start(publish.exchange, publish.routing_key);
        self.incoming = Some(incoming);
        Ok(())
    }

    /// Takes a publish whose frames have all come. The channel [`Channel::takes_methods`]; `builder` is anybody's.
    ///
    /// # Errors
    /// When the message is not acceptable.
    #[inline]
    pub fn whole_publish(
        &mut self,
        session: &mut Session,
        output: &mut Vec<u8>,
        builder: &mut MessageBuilder,
        whole: &WholePublish<'_>,
    ) -> Result<(), Failure> {
        refuse_immediate(&whole.publish)?;
        let header = check_header(whole.header)?;
        check_size(header.body_size, session)?;
        builder.whole(whole.envelope, whole.tail, whole.header.len(), whole.body.len());
        let plain = self.publish(session, output, builder, whole.publish.mandatory)?;
        if let Some(found) = plain {
            self.learn(session, whole, found);
        }
        Ok(())
    }

    /// Takes a header or body frame.
    ///
    /// # Errors
    /// When it is not what has to come next, or the message is not acceptable.
    pub fn content(
        &mut self,
        session: &mut Session,
        output: &mut Vec<u8>,
        frame: &Frame<'_>,
    ) -> Result<(), Failure> {
        if self.is_closing {
            return Ok(());
        }
        let Some(incoming) = &mut self.incoming else {
            let explanation = "expected method frame, got non method frame instead";
            return Err(connection(
                ReplyCode::UnexpectedFrame,
                explanation,
                MethodId::default(),
            ));
        };
        let size_max = session.settings.message_size_max;
        match (frame.kind, incoming.body_size) {
            (FrameKind::Header, None) => incoming.header(frame.payload, size_max)?,
            (FrameKind::Body, Some(size)) => incoming.body(frame.payload, size, size_max)?,
            (_, None) => {
                return Err(unexpected(
                    "expected content header for class 60, got non content header frame instead",
                ));
            }
            (_, Some(_)) => {
                return Err(unexpected(
                    "expected content body, got non content body frame instead",
                ));
            }
        }
        if incoming.body_size == Some(incoming.received) {
            let mut incoming = self.incoming.take().expect("it is there");
            check_size(incoming.received, session)?;
            self.publish(session, output, &mut incoming.builder, incoming.mandatory)?;
        }
        Ok(())
    }

    /// A method came while content was expected.
    pub(super) fn unexpected_method(&self) -> Failure {
        let has_header = self
            .incoming
            .as_ref()
            .is_some_and(|incoming| incoming.body_size.is_some());
        unexpected(if has_header {
            "expected content body, got non content body frame instead"
        } else {
            "expected content header for class 60, got non content header frame instead"
        })
    }

    /// A message is complete, and of a size that is taken: checks it in RabbitMQ's order, routes it, and gathers it.
    /// Returns what was found out about it if the same is true for each message with this head.
    fn publish(
        &mut self,
        session: &mut Session,
        output: &mut Vec<u8>,
        builder: &mut MessageBuilder,
        mandatory: bool,
    ) -> Result<Option<(RouteId, Traits)>, Failure> {
        let cached = find_route(session, builder)?;
        let properties = Properties::parse(builder.properties()).map_err(|_| bad_properties())?;
        let says_nothing = properties.headers.is_none()
            && properties.reply_to.is_none()
            && properties.expiration.is_none()
            && properties.user_id.is_none();
        if says_nothing && let Some(route) = cached {
            let traits = Traits::of(&properties);
            self.gather(session, output, builder.finish(traits), route, mandatory);
            return Ok(Some((route, traits)));
        }
        let (message, route) = self.check_and_route(session, builder, cached)?;
        self.gather(session, output, message, route, mandatory);
        Ok(None)
    }

    /// The same for a message whose properties ask for something, or whose route has to be found.
    fn check_and_route(
        &mut self,
        session: &mut Session,
        builder: &mut MessageBuilder,
        cached: Option<RouteId>,
    ) -> Result<(Message, RouteId), Failure> {
        let properties = Properties::parse(builder.properties()).map_err(|_| bad_properties())?;
        let addressed = match properties.reply_to {
            Some(reply_to) if reply_to == REPLY_TO.as_bytes() => Some(content::with_reply_to(
                builder.properties(),
                self.reply_address()?,
            )),
            _ => None,
        };
        if let Some(expiration) = properties.expiration {
            check_expiration(expiration)?;
        }
        let (copies, rewritten) = match properties.headers {
            None => (Copies::default(), None),
            Some(headers) => read_headers(headers)?,
        };
        if cached.is_none() || !copies.is_empty() {
            check_topics(session, builder, &copies)?;
        }
        if let Some(user_id) = properties.user_id {
            check_user_id(session, user_id)?;
        }
        let traits = Traits::of(&properties);
        let changed = match (addressed, rewritten) {
            (addressed, None) => addressed,
            (addressed, Some(entries)) => {
                let properties = addressed.as_deref().unwrap_or(builder.properties());
                Some(content::with_headers(properties, Some(&entries)))
            }
        };
        let message = match changed {
            None => builder.finish(traits),
            Some(properties) => {
                let (exchange, routing_key) = builder.names();
                Message::new(exchange, routing_key, &properties, builder.body_bytes())
            }
        };
        let route = match cached {
            Some(route) if copies.is_empty() => route,
            _ => decide_route(session, &message, &copies)?,
        };
        Ok((message, route))
    }

    /// Passes a routed message to the transaction or the batch; one that no queue takes is returned or forgotten.
    #[inline]
    pub(super) fn gather(
        &mut self,
        session: &mut Session,
        output: &mut Vec<u8>,
        message: Message,
        route: RouteId,
        mandatory: bool,
    ) {
        let found = session.batch.routes.get(route);
        let is_unroutable =
            found.is_unroutable() || (mandatory && session.vhost.lacks_queue(found, &message));
        let is_returned = mandatory && is_unroutable;
        let goes_on = !is_unroutable || (found.is_unroutable() && found.leaves_traces());
        let confirm = self.next_confirm();
        if let Mode::Transaction(transaction) = &mut self.mode {
            if is_returned {
                transaction.returns.push(message.clone());
            }
            if goes_on {
                transaction.publishes.push((found.clone(), message));
            }
            session.batch.routes.drop_unused(route);
            return;
        }
        if is_returned {
            let content = message.content();
            method::basic_return(
                output,
                self.number,
                ReplyCode::NoRoute,
                &content,
                session.frame_max,
            );
        }
        if goes_on {
            if session.batch.publish(message, route, confirm) {
                session.flush();
            }
            return;
        }
        session.batch.routes.drop_unused(route);
        if let Some(confirm) = confirm {
            // Confirms leave in the order of their publishes.
            session.flush();
            session.batch.confirm_now(confirm);
        }
    }
}

impl Incoming {
    fn header(&mut self, payload: &[u8], size_max: u64) -> Result<(), Failure> {
        let header = check_header(payload)?;
        // A body that will be refused is counted, not kept.
        let reserve = if header.body_size > size_max {
            0
        } else {
            BODY_RESERVE_MAX
        };
        self.builder.header(header.body_size, header.properties, reserve);
        self.body_size = Some(header.body_size);
        Ok(())
    }

    fn body(&mut self, payload: &[u8], size: u64, size_max: u64) -> Result<(), Failure> {
        self.received += payload.len() as u64;
        if self.received > size {
            let explanation = "content body frame exceeds remaining content size";
            return Err(connection(ReplyCode::FrameError, explanation, ID));
        }
        if size <= size_max {
            self.builder.body(payload);
        }
        Ok(())
    }
}

#[inline]
fn refuse_immediate(publish: &Publish<'_>) -> Result<(), Failure> {
    if publish.immediate {
        return Err(connection(ReplyCode::NotImplemented, "immediate=true", ID));
    }
    Ok(())
}

/// Reads the payload of a content header frame, and judges it before any of the body has come.
#[inline]
fn check_header(payload: &[u8]) -> Result<ContentHeader<'_>, Failure> {
    let header = ContentHeader::parse(payload).ok_or_else(bad_properties)?;
    if header.class_id == 60 && header.weight == 0 && header.body_size <= BODY_BYTES_CEILING {
        return Ok(header);
    }
    Err(bad_header(&header))
}

#[cold]
fn bad_header(header: &ContentHeader<'_>) -> Failure {
    if header.class_id != 60 {
        let explanation = format!(
            "expected content header for class 60, got one for class {} instead",
            header.class_id
        );
        return unexpected(&explanation);
    }
    if header.weight != 0 {
        return unexpected("expected content header for class 60, got non content header frame instead");
    }
    let explanation = format!(
        "content body size {} exceeds maximum allowed size {BODY_BYTES_CEILING}",
        header.body_size
    );
    connection(ReplyCode::FrameError, explanation, ID)
}

/// Whether a message of so many body bytes, all of which have come, is taken.
#[inline]
pub(super) fn check_size(received: u64, session: &Session) -> Result<(), Failure> {
    let max = session.settings.message_size_max;
    if received > max {
        let explanation = format!("message size {received} is larger than configured max size {max}");
        return Err(precondition(explanation, ID));
    }
    Ok(())
}

fn unexpected(explanation: &str) -> Failure {
    connection(ReplyCode::UnexpectedFrame, explanation, ID)
}

/// The cached route, if there is one; else checks permission and existence, and leaves the rest to
/// [`decide_route`], which needs the headers.
#[inline]
fn find_route(session: &mut Session, builder: &MessageBuilder) -> Result<Option<RouteId>, Failure> {
    let version = session.vhost.version();
    if session.batch.routes.version != version || session.batch.routes.is_full() {
        session.flush();
        session.batch.routes.forget(version);
    }
    if let Some(route) = session.batch.routes.find(builder.envelope()) {
        return Ok(Some(route));
    }
    let (exchange, _) = builder.names();
    let name = String::from_utf8_lossy(exchange);
    session
        .check(Access::Write, &Entity::Exchange(name.into()))
        .and_then(|()| session.vhost.check_publish(exchange).map_err(Denied::from))
        .map_err(|denied| denied.failure(&session.vhost.name, ID))?;
    Ok(None)
}

/// Whether the user may publish to a topic exchange with these keys.
fn check_topics(session: &Session, builder: &MessageBuilder, copies: &Copies) -> Result<(), Failure> {
    let (exchange, routing_key) = builder.names();
    let exchange = String::from_utf8_lossy(exchange);
    if session.vhost.exchange_kind(&exchange) != Some(ExchangeKind::Topic) {
        return Ok(());
    }
    let mut keys = iter::once(routing_key).chain(copies.0.iter().map(Vec::as_slice));
    keys.try_for_each(|key| session.check_topic(Access::Write, &exchange, key))
        .map_err(|denied| denied.failure(&session.vhost.name, ID))
}

/// Routes a message and keeps the route if other messages with its routing key go the same way.
fn decide_route(session: &mut Session, message: &Message, copies: &Copies) -> Result<RouteId, Failure> {
    let mut keys = vec![message.routing_key()];
    keys.extend(copies.0.iter().map(Vec::as_slice));
    let criteria = Criteria {
        routing_keys: &keys,
        properties: message.properties(),
    };
    let mut route: Route = session
        .vhost
        .route(message.exchange(), &criteria)
        .map_err(|refusal| Denied::from(refusal).failure(&session.vhost.name, ID))?;
    if route.leaves_traces() {
        route.copies.clone_from(&copies.0);
    }
    let routes = &mut session.batch.routes;
    Ok(if route.varies || !copies.is_empty() {
        routes.once(route)
    } else {
        routes.keep(message.envelope(), route)
    })
}
