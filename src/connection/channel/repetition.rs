//! Publishes that repeat the one before them but for the body: what was found out about that one holds for them.

use crate::amqp::publish_head::{PublishHead, Repeated};
use crate::amqp::whole_publish::WholePublish;
use crate::message::{MessageBuilder, Received, Traits};

use super::super::routes::RouteId;
use super::super::session::Session;
use super::Channel;
use super::publish::check_size;

/// What there is to repeat.
#[derive(Debug, Default)]
pub(super) struct Repetition {
    head: PublishHead,
    known: Option<Known>,
}

/// What was found out about a publish that goes out as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub route: RouteId,
    /// The routes of that time, see [`super::super::routes::Routes::epoch`].
    epoch: u64,
    pub traits: Traits,
    pub mandatory: bool,
    /// Nobody has to look at the message before its queues do.
    pub goes_straight: bool,
}

impl Known {
    /// What is known now.
    pub fn of(session: &Session, route: RouteId, traits: Traits, mandatory: bool) -> Self {
        let routes = &session.batch.routes;
        let found = routes.get(route);
        Self {
            route,
            epoch: routes.epoch(),
            traits,
            mandatory,
            goes_straight: !mandatory && found.is_straight(),
        }
    }
}

impl Channel {
    /// Takes a publish at the beginning of `bytes` if it repeats the last one. The channel [`Channel::takes_methods`];
    /// `builder` is anybody's. Returns the bytes that it takes; `None` also for what is too large, which others refuse.
    #[inline]
    pub fn repeated_publish(
        &mut self,
        session: &mut Session,
        output: &mut Vec<u8>,
        builder: &mut MessageBuilder,
        bytes: &[u8],
        payload_max: u32,
    ) -> Option<usize> {
        let known = self.repetition.known?;
        let routes = &session.batch.routes;
        if routes.epoch() != known.epoch || routes.version != session.vhost.version() {
            return None;
        }
        let repeated = self.repetition.head.repeat(bytes, payload_max)?;
        let Repeated {
            envelope,
            header_len,
            body,
            tail,
            len,
        } = repeated;
        check_size(body.len() as u64, session).ok()?;
        let received = Received {
            envelope,
            tail,
            header_len,
            body_len: body.len(),
        };
        self.gather_received(session, (output, builder), &received, known);
        Some(len)
    }

    /// Notes what was found out about a publish, which the next may repeat.
    pub(super) fn learn(&mut self, whole: &WholePublish<'_>, known: Known) {
        self.repetition.known = Some(known);
        self.repetition.head.learn(whole);
    }
}
