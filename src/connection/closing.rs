//! Ends: channels that fail, connections that are closed by either side, and peers that just vanish.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use amq_protocol::protocol::{AMQPClass, channel as channel_class, connection};
use tracing::{error, info, warn};

use crate::amqp::frame::{Frame, FrameKind};
use crate::amqp::method::{self, Method};
use crate::amqp::reply_code::{ReplyCode, reply_text};
use crate::broker::vhost::DeleteConditions;

use super::error::{ChannelError, ConnectionError, Failure};
use super::handshake::send;
use super::session::Session;
use super::{Connection, State};

/// How long RabbitMQ holds the socket of a client that failed to log in, so that guessing is slow.
pub(super) const SILENCE: Duration = Duration::from_secs(3);

/// How long a peer that speaks another protocol may take to read our header.
pub(super) const BAD_HEADER_LINGER: Duration = Duration::from_millis(500);

/// How long a connection that drains waits for the disk.
const FAREWELL_MAX: Duration = Duration::from_secs(5);

/// The longest wait for close-ok.
const CLOSE_TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// How a connection ends that still owes answers.
#[derive(Debug)]
pub(super) struct Farewell {
    reason: Arc<str>,
    /// Then it is closed whatever is owed.
    pub end: Instant,
}

impl Connection {
    /// Reads nothing more, and closes when what was read is answered.
    pub(super) fn drain(&mut self, reason: Arc<str>, now: Instant) {
        let end = now + FAREWELL_MAX;
        self.farewell = Some(Farewell { reason, end });
        self.say_farewell(now);
    }

    /// Closes a connection that drains if it owes nothing, or its time is up.
    pub(super) fn say_farewell(&mut self, now: Instant) {
        let Some(farewell) = &self.farewell else { return };
        let owes = !self.unconfirmed.is_empty() || self.session.as_ref().is_some_and(Session::awaits_commit);
        if owes && now < farewell.end {
            return;
        }
        let reason = Arc::clone(&farewell.reason);
        self.farewell = None;
        self.close_by_force(&reason, now);
    }

    /// Closes the channel or the connection with what went wrong.
    pub(super) fn fail(&mut self, number: u16, failure: Failure, now: Instant) {
        match failure {
            Failure::Channel(error) => self.fail_channel(number, &error),
            Failure::Connection(error) => self.fail_connection(&error, now),
        }
    }

    fn fail_channel(&mut self, number: u16, error: &ChannelError) {
        let session = self.session.as_mut().expect("channels have a session");
        warn!(
            peer = %self.peer,
            connection = self.id.0,
            user = &*session.user.name,
            channel = number,
            code = error.code.number(),
            text = error.explanation,
            "channel error"
        );
        let channel = self
            .channels
            .get_mut(&number)
            .expect("only an open channel fails");
        channel.fail(session);
        self.send_confirms();
        let close = channel_class::Close {
            reply_code: error.code.number(),
            reply_text: reply_text(error.code, &error.explanation),
            class_id: error.method.class,
            method_id: error.method.method,
        };
        let close = AMQPClass::Channel(channel_class::AMQPMethod::Close(close));
        method::encode(&mut self.output, number, &close);
    }

    fn fail_connection(&mut self, error: &ConnectionError, now: Instant) {
        let user = self.session.as_ref().map(|session| &*session.user.name);
        let code = error.code.number();
        warn!(peer = %self.peer, connection = self.id.0, user, code, text = error.explanation, "connection error");
        self.close(error, now);
    }

    /// Closes from the broker's side.
    pub(super) fn close(&mut self, error: &ConnectionError, now: Instant) {
        self.release();
        self.send_close(error);
        self.state = State::Closing(now + self.close_timeout());
    }

    pub(super) fn send_close(&mut self, error: &ConnectionError) {
        let close = connection::Close {
            reply_code: error.code.number(),
            reply_text: reply_text(error.code, &error.explanation),
            class_id: error.method.class,
            method_id: error.method.method,
        };
        send(&mut self.output, connection::AMQPMethod::Close(close));
    }

    /// After our close only close and close-ok count.
    pub(super) fn closing_frame(&mut self, frame: &Frame<'_>) {
        if frame.channel != 0 || frame.kind != FrameKind::Method {
            return;
        }
        match method::decode(frame.payload) {
            Ok(Method::Other(_, AMQPClass::Connection(connection::AMQPMethod::Close(_)))) => {
                send(
                    &mut self.output,
                    connection::AMQPMethod::CloseOk(connection::CloseOk {}),
                );
            }
            Ok(Method::Other(_, AMQPClass::Connection(connection::AMQPMethod::CloseOk(_)))) => {
                self.state = State::Closed;
            }
            _ => {}
        }
    }

    /// Waits for the peer to close the socket, reading nothing more.
    pub(super) fn linger(&mut self, time: Duration, now: Instant) {
        self.state = State::Lingering(now + time);
    }

    /// RabbitMQ waits for the smaller of the heartbeat and 30 s.
    pub(super) fn close_timeout(&self) -> Duration {
        match self.tuned.heartbeat {
            0 => CLOSE_TIMEOUT_MAX,
            seconds => Duration::from_secs(u64::from(seconds)).min(CLOSE_TIMEOUT_MAX),
        }
    }

    /// Ends everything that this connection has in the broker: consumers, unacked deliveries, exclusive queues.
    pub(super) fn release(&mut self) {
        let Some(mut session) = self.session.take() else {
            return;
        };
        session.flush();
        // One after the other by their numbers: what they held comes back in an order that can be told.
        let mut channels: BTreeMap<_, _> = std::mem::take(&mut self.channels).into_iter().collect();
        let left: Vec<_> = channels
            .values_mut()
            .flat_map(|channel| channel.cancel_all(&mut session))
            .collect();
        // Once for all channels: each would look through the mail of all the others.
        for delivery in session.take_back(|_| true) {
            if let Some(channel) = channels.get_mut(&delivery.channel) {
                channel.return_undelivered(&mut session, &delivery);
            }
        }
        for channel in channels.values_mut() {
            channel.give_back(&mut session);
        }
        for left in left {
            left.finish(&mut session);
        }
        self.unconfirmed.clear();
        self.broker.leave(self.id);
        for queue in session.exclusive_queues.drain(..) {
            session
                .vhost
                .remove_queue(&queue, DeleteConditions::default())
                .expect("without conditions there is nothing to refuse");
        }
        info!(
            peer = %self.peer,
            connection = self.id.0,
            user = &*session.user.name,
            vhost = &*session.vhost.name,
            "connection closed"
        );
    }

    /// The socket is gone, or will be: nothing of the connection stays.
    pub fn terminate(&mut self) {
        if matches!(self.state, State::Running) {
            warn!(peer = %self.peer, connection = self.id.0, "the client's socket ended without connection.close");
        }
        self.release();
        self.state = State::Closed;
    }

    /// Closes with 320, as an operator or a shutdown does. A connection without a vhost just ends.
    pub(super) fn close_by_force(&mut self, reason: &str, now: Instant) {
        match self.state {
            State::Running => self.close(
                &ConnectionError {
                    code: ReplyCode::ConnectionForced,
                    explanation: reason.to_owned(),
                    method: method::MethodId::default(),
                },
                now,
            ),
            State::Closing(_) => {}
            _ => self.state = State::Closed,
        }
    }
}

impl Drop for Connection {
    /// A task that panics or is dropped must not leave consumers behind.
    fn drop(&mut self) {
        // Unwinding may have left it half-changed; a second panic would end the whole broker.
        let released = catch_unwind(AssertUnwindSafe(|| self.release()));
        self.broker.disconnect(self.id);
        if released.is_err() {
            error!(peer = %self.peer, "a connection could not be released whole");
        }
    }
}
