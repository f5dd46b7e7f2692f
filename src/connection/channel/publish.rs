//! Publishing a message: the checks in RabbitMQ's order, and the way to the batch.

use std::iter;

use crate::amqp::content::{self, Properties};
use crate::amqp::frame::Frame;
use crate::amqp::method::{self, MethodId, Publish};
use crate::amqp::reply_code::ReplyCode;
use crate::amqp::whole_publish::WholePublish;
use crate::broker::exchange::{Criteria, ExchangeKind};
use crate::broker::permission::Access;
use crate::broker::refusal::Entity;
use crate::broker::vhost::{REPLY_TO, Route};
use crate::message::{Message, MessageBuilder, Received, Traits};

use super::super::error::{Denied, Failure, bad_properties, connection, precondition};
use super::super::routes::RouteId;
use super::super::session::Session;
use super::incoming::{self, Incoming, check_header};
use super::properties::{Copies, check_expiration, check_user_id, read_headers};
use super::repetition::Known;
use super::{Channel, Mode};

const ID: MethodId = MethodId::PUBLISH;

/// What a message's properties ask for, which was checked.
struct Checked {
    traits: Traits,
    copies: Copies,
    /// The properties that go out, where they are not those that came.
    changed: Option<Vec<u8>>,
}

impl Checked {
    /// They ask for nothing.
    #[inline]
    fn nothing(properties: &Properties<'_>) -> Self {
        Self {
            traits: Traits::of(properties),
            copies: Copies::default(),
            changed: None,
        }
    }

    /// The message goes out as it came, and only where its own routing key leads.
    #[inline]
    fn is_as_received(&self) -> bool {
        self.changed.is_none() && self.copies.is_empty()
    }
}

impl Channel {
    pub(super) fn begin_publish(&mut self, publish: &Publish<'_>) -> Result<(), Failure> {
        refuse_immediate(publish)?;
        self.incoming = Some(Incoming::begin(publish));
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
        let names = (whole.publish.exchange, whole.publish.routing_key);
        let cached = find_route(session, whole.envelope, names.0)?;
        let properties = Properties::parse(header.properties).map_err(|_| bad_properties())?;
        let says_nothing = says_nothing(&properties);
        let checked = if says_nothing && cached.is_some() {
            Checked::nothing(&properties)
        } else {
            self.check(session, names, header.properties, &properties, cached)?
        };
        let received = Received {
            envelope: whole.envelope,
            tail: whole.tail,
            header_len: whole.header.len(),
            body_len: whole.body.len(),
        };
        let mandatory = whole.publish.mandatory;
        if let Some(route) = cached
            && checked.is_as_received()
        {
            let known = Known::of(session, route, checked.traits, mandatory);
            if says_nothing {
                self.learn(whole, known);
            }
            self.gather_received(session, (output, builder), &received, known);
            return Ok(());
        }
        builder.whole(&received);
        self.publish_checked(session, (output, builder), cached, checked, mandatory)
    }

    /// Passes on a publish that goes out as it came, where its route says.
    #[inline]
    pub(super) fn gather_received(
        &mut self,
        session: &mut Session,
        (output, builder): (&mut Vec<u8>, &mut MessageBuilder),
        received: &Received<'_>,
        known: Known,
    ) {
        if known.goes_straight && !matches!(self.mode, Mode::Transaction(_)) {
            let confirm = self.next_confirm();
            let message = (received, known.traits);
            if session.batch.publish_received(message, known.route, confirm) {
                session.flush();
            }
        } else {
            builder.whole(received);
            let message = builder.finish(known.traits);
            self.gather(session, output, message, known.route, known.mandatory);
        }
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
        incoming.frame(session, frame)?;
        if incoming.is_whole() {
            let mut incoming = self.incoming.take().expect("it is there");
            check_size(incoming.received, session)?;
            let place = incoming.place.take();
            if let Some(place) = &place {
                place.whole();
            }
            self.publish(session, output, &mut incoming.builder, incoming.mandatory)?;
            session.arrived.extend(place);
        }
        Ok(())
    }

    /// A method came while content was expected.
    pub(super) fn unexpected_method(&self) -> Failure {
        incoming::out_of_turn(self.incoming.as_ref().is_some_and(Incoming::has_header))
    }

    /// A message that came frame by frame is complete, and of a size that is taken: checks it in RabbitMQ's order, routes
    /// it, and gathers it.
    fn publish(
        &mut self,
        session: &mut Session,
        output: &mut Vec<u8>,
        builder: &mut MessageBuilder,
        mandatory: bool,
    ) -> Result<(), Failure> {
        let names = builder.names();
        let cached = find_route(session, builder.envelope(), names.0)?;
        let properties = Properties::parse(builder.properties()).map_err(|_| bad_properties())?;
        let checked = self.check(session, names, builder.properties(), &properties, cached)?;
        self.publish_checked(session, (output, builder), cached, checked, mandatory)
    }

    /// Checks what the properties of a message with these names ask for, and does it. `bytes` are their flags and values.
    fn check(
        &mut self,
        session: &Session,
        names: (&[u8], &[u8]),
        bytes: &[u8],
        properties: &Properties<'_>,
        cached: Option<RouteId>,
    ) -> Result<Checked, Failure> {
        let addressed = match properties.reply_to {
            Some(reply_to) if reply_to == REPLY_TO.as_bytes() => {
                Some(content::with_reply_to(bytes, self.reply_address()?))
            }
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
            check_topics(session, names, &copies)?;
        }
        if let Some(user_id) = properties.user_id {
            check_user_id(session, user_id)?;
        }
        let changed = match (addressed, rewritten) {
            (addressed, None) => addressed,
            (addressed, Some(entries)) => {
                let bytes = addressed.as_deref().unwrap_or(bytes);
                Some(content::with_headers(bytes, Some(&entries)))
            }
        };
        Ok(Checked {
            traits: Traits::of(properties),
            copies,
            changed,
        })
    }

    /// Builds a message that was checked, finds its route, and gathers it.
    fn publish_checked(
        &mut self,
        session: &mut Session,
        (output, builder): (&mut Vec<u8>, &mut MessageBuilder),
        cached: Option<RouteId>,
        checked: Checked,
        mandatory: bool,
    ) -> Result<(), Failure> {
        let Checked {
            traits,
            copies,
            changed,
        } = checked;
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
        self.gather(session, output, message, route, mandatory);
        Ok(())
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

#[inline]
fn refuse_immediate(publish: &Publish<'_>) -> Result<(), Failure> {
    if publish.immediate {
        return Err(connection(ReplyCode::NotImplemented, "immediate=true", ID));
    }
    Ok(())
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

/// Whether the properties ask the broker for nothing.
#[inline]
fn says_nothing(properties: &Properties<'_>) -> bool {
    properties.headers.is_none()
        && properties.reply_to.is_none()
        && properties.expiration.is_none()
        && properties.user_id.is_none()
}

/// The cached route, if there is one; else checks permission and existence, and leaves the rest to
/// [`decide_route`], which needs the headers.
#[inline]
fn find_route(session: &mut Session, envelope: &[u8], exchange: &[u8]) -> Result<Option<RouteId>, Failure> {
    let version = session.vhost.version();
    if session.batch.routes.version != version || session.batch.routes.is_full() {
        session.flush();
        session.batch.routes.forget(version);
    }
    if let Some(route) = session.batch.routes.find(envelope) {
        return Ok(Some(route));
    }
    let name = String::from_utf8_lossy(exchange);
    session
        .check(Access::Write, &Entity::Exchange(name.into()))
        .and_then(|()| session.vhost.check_publish(exchange).map_err(Denied::from))
        .map_err(|denied| denied.failure(&session.vhost.name, ID))?;
    Ok(None)
}

/// Whether the user may publish to a topic exchange with these keys.
fn check_topics(
    session: &Session,
    (exchange, routing_key): (&[u8], &[u8]),
    copies: &Copies,
) -> Result<(), Failure> {
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
