//! What a connection does when nothing was received: mail from queues, commits of the store, and what was waiting for
//! them.

use std::task::Waker;
use std::time::Instant;

use amq_protocol::protocol::{AMQPClass, basic, connection};

use crate::amqp::method;
use crate::broker::alarms::blocked_reason;
use crate::broker::outbox::{Mail, Notice};
use crate::store::Sequence;

use super::batch::Confirmed;
use super::handshake::{send, short_text};
use super::session::Wait;
use super::{Connection, OUTPUT_MARK, OUTPUT_MAX, State};

impl Connection {
    /// Takes mail and commits, and goes on with what waited for them.
    pub fn advance(&mut self, now: Instant) {
        self.broker.clock.advance(now);
        if self.unsent() == 0 {
            self.output.clear();
            self.written = 0;
            self.socket_took_all();
        }
        self.take_commits();
        if let Some(session) = &mut self.session {
            session.release_withheld();
        }
        // A reply that waited goes before what happened meanwhile: delete-ok before the cancel of its consumers.
        let mut goes_on = self.end_wait();
        let awaits_verdict = self.session.is_none() && self.is_waiting();
        self.deliver(now);
        self.say_farewell(now);
        goes_on |= awaits_verdict && !self.is_waiting();
        if goes_on || self.has_input_to_work_off() {
            self.work_off_input(now);
            self.flush();
        }
    }

    /// Whether more should be read from the peer.
    pub fn wants_read(&self) -> bool {
        match self.state {
            State::Closed => false,
            State::Lingering(_) => true,
            State::Running if self.pace.until().is_some() => false,
            _ => !self.is_waiting() && self.unsent() < OUTPUT_MAX,
        }
    }

    /// What waits for the socket.
    pub fn output(&self) -> &[u8] {
        &self.output[self.written..]
    }

    /// The socket took so many bytes of [`Connection::output`].
    pub fn wrote(&mut self, len: usize) {
        let is_throttled = self.unsent() >= OUTPUT_MAX;
        self.written += len;
        if let Some(heartbeat) = &mut self.heartbeat {
            // While it is not read, taking what is sent is the only sign of life that a peer can give.
            if is_throttled {
                heartbeat.received();
            }
            heartbeat.sent();
        }
        if self.unsent() == 0 {
            self.output.clear();
            self.written = 0;
        } else if self.written > OUTPUT_MARK {
            self.output.drain(..self.written);
            self.written = 0;
        }
    }

    /// Gives memory back that an idle connection does not need.
    pub fn rest(&mut self) {
        if self.input.is_empty() && self.input.capacity() > 4096 {
            self.input = Vec::new();
        }
        self.builder.rest();
        if let Some(session) = &mut self.session {
            session.batch.rest();
        }
    }

    /// Writes to `spare` from now on, if it has no buffer of its own: whoever drives many connections lends them one
    /// while it does, so that idle ones hold none and busy ones need not make theirs grow each time.
    pub fn lend_output(&mut self, spare: &mut Vec<u8>) {
        if self.output.capacity() == 0 {
            std::mem::swap(&mut self.output, spare);
        }
    }

    /// Gives the buffer back, or its own, if all of it is sent. The larger one stays in `spare`.
    pub fn return_output(&mut self, spare: &mut Vec<u8>) {
        if self.output.is_empty() {
            let own = std::mem::take(&mut self.output);
            if own.capacity() > spare.capacity() {
                *spare = own;
            }
        }
    }

    /// Whether the socket is to be closed once the output is written.
    pub fn is_finished(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Whether [`Connection::advance`] has something to do now. If not, `waker` is called when it has.
    pub fn poll_mail(&self, waker: &Waker) -> bool {
        let Some(session) = &self.session else {
            return self.outbox.poll(waker);
        };
        let has_room = self.unsent() < OUTPUT_MARK;
        let has_mail = !session.mail.deliveries.is_empty()
            || !session.mail.notices.is_empty() && !session.awaits_commit();
        if has_room && (has_mail || session.outbox.poll(waker)) {
            return true;
        }
        let durable = &session.broker.stores.durable;
        let awaited = self
            .unconfirmed
            .iter()
            .filter_map(|number| self.channels.get(number)?.awaits())
            .min();
        let mut awaited = awaited.into_iter().chain(session.withheld.awaits());
        if awaited.any(|sequence| !durable.wake_when_committed(sequence, waker)) {
            return true;
        }
        match &session.wait {
            Some(Wait::Commit { sequence, .. } | Wait::Withheld { sequence, .. }) => {
                !durable.wake_when_committed(*sequence, waker)
            }
            Some(Wait::Get { is_due, .. }) => *is_due,
            Some(Wait::Pressure { .. }) => {
                let stores = [durable, &session.broker.stores.spill];
                let has_moved = stores.iter().any(|store| {
                    let next = Sequence(store.committed().0 + 1);
                    store.pending_bytes() > 0 && !store.wake_when_committed(next, waker)
                });
                // The last group may have been written between the two looks.
                has_moved || !session.is_under_pressure()
            }
            Some(Wait::Alarm) => !self.is_blocked,
            Some(Wait::Place(place)) => place.poll(waker),
            None => false,
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        match (&self.session, &self.state) {
            (Some(session), _) => self.farewell.is_some() || session.wait.is_some(),
            (None, State::Handshake(handshake)) => handshake.awaits_verdict(),
            (None, _) => false,
        }
    }

    /// Whether frames were left because too much output waited, and now there is room.
    fn has_input_to_work_off(&self) -> bool {
        self.is_throttled && !self.is_waiting() && self.unsent() < OUTPUT_MAX
    }

    pub(super) fn unsent(&self) -> usize {
        self.output.len() - self.written
    }

    /// Hands gathered publishes and settlements to the queues and sends the confirms that are due.
    pub(super) fn flush(&mut self) {
        let Some(session) = &mut self.session else { return };
        session.flush();
        self.send_confirms();
    }

    /// Passes the confirms of the last flushes to their channels.
    pub(super) fn send_confirms(&mut self) {
        let Some(session) = &mut self.session else { return };
        let confirmed = session.batch.take_confirmed();
        let mut rest = &confirmed[..];
        while let Some(first) = rest.first() {
            let number = first.channel;
            let is_other = |confirmed: &Confirmed| confirmed.channel != number;
            let len = rest.iter().position(is_other).unwrap_or(rest.len());
            if let Some(channel) = self.channels.get_mut(&number) {
                channel.confirm(&rest[..len], &mut self.output);
                if channel.awaits().is_some() && !self.unconfirmed.contains(&number) {
                    self.unconfirmed.push(number);
                }
            }
            rest = &rest[len..];
        }
        session.batch.give_back_confirmed(confirmed);
    }

    fn take_commits(&mut self) {
        if self.unconfirmed.is_empty() {
            return;
        }
        let committed = self.broker.stores.durable.committed();
        let (channels, output) = (&mut self.channels, &mut self.output);
        self.unconfirmed.retain(|number| {
            let Some(channel) = channels.get_mut(number) else {
                return false;
            };
            channel.committed(committed, output);
            channel.awaits().is_some()
        });
    }

    fn socket_took_all(&mut self) {
        for channel in self.channels.values_mut().filter(|channel| channel.has_written()) {
            channel.socket_took_all();
        }
    }

    /// Encodes deliveries while the output has room, then sees to the notices.
    fn deliver(&mut self, now: Instant) {
        let Some(session) = &mut self.session else {
            let mut mail = Mail::default();
            self.outbox.take(&mut mail);
            for notice in mail.notices {
                self.notice(notice, now);
            }
            return;
        };
        session.take_mail();
        let output_max = self.written + OUTPUT_MARK;
        while self.output.len() < output_max
            && let Some(first) = session.mail.deliveries.front()
        {
            match self.channels.get_mut(&first.channel) {
                Some(channel) => {
                    let deliveries = &mut session.mail.deliveries;
                    channel.deliver(deliveries, session.frame_max, &mut self.output, output_max);
                }
                None => drop(session.mail.deliveries.pop_front()),
            }
        }
        // A reply that waits for the disk goes first: queue.delete-ok before the basic.cancel that it causes. But who is
        // to close at once does so: a disk that has failed writes nothing any more.
        let is_due = session.mail.deliveries.is_empty() && !session.awaits_commit();
        let is_wanted = |notice: &mut Notice| is_due || matches!(notice, Notice::Close(_));
        let notices: Vec<_> = session.mail.notices.extract_if(.., is_wanted).collect();
        for notice in notices {
            self.notice(notice, now);
        }
    }

    fn notice(&mut self, notice: Notice, now: Instant) {
        match notice {
            Notice::ConsumerCancelled {
                channel: number,
                source,
            } => {
                let Some(channel) = self.channels.get_mut(&number) else {
                    return;
                };
                let Some(tag) = channel.consumer_cancelled(source) else {
                    return;
                };
                let session = self.session.as_ref().expect("channels have a session");
                if session.capabilities.consumer_cancel_notify {
                    let cancel = basic::Cancel {
                        consumer_tag: short_text(&tag),
                        nowait: true,
                    };
                    let cancel = AMQPClass::Basic(basic::AMQPMethod::Cancel(cancel));
                    method::encode(&mut self.output, number, &cancel);
                }
            }
            Notice::GetAgain => {
                if let Some(Wait::Get { is_due, .. }) =
                    self.session.as_mut().and_then(|session| session.wait.as_mut())
                {
                    *is_due = true;
                }
            }
            Notice::Alarms(standing) => {
                if self.is_blocked && standing.is_empty() {
                    self.is_blocked = false;
                    let session = self.session.as_ref();
                    if session.is_some_and(|session| session.capabilities.connection_blocked) {
                        let unblocked = connection::AMQPMethod::Unblocked(connection::Unblocked {});
                        send(&mut self.output, unblocked);
                    }
                }
            }
            Notice::PasswordChecked(verdict) => self.password_checked(verdict, now),
            Notice::Close(reason) => self.close_by_force(&reason, now),
            Notice::Drain(reason) => self.drain(reason, now),
        }
    }

    /// While an alarm stands, a connection that begins to publish a message is not read on.
    pub(super) fn block_if_alarmed(&mut self) {
        if !self.broker.alarms.any() {
            return;
        }
        let standing = self.broker.alarms.standing();
        let (Some(session), Some(reason)) = (&mut self.session, blocked_reason(&standing)) else {
            return;
        };
        if session.wait.is_none() {
            session.wait = Some(Wait::Alarm);
        }
        if !std::mem::replace(&mut self.is_blocked, true) && session.capabilities.connection_blocked {
            let blocked = connection::Blocked {
                reason: short_text(&reason),
            };
            send(&mut self.output, connection::AMQPMethod::Blocked(blocked));
        }
    }

    /// Ends the wait if what it was for has come. Returns whether frames may be worked off again.
    fn end_wait(&mut self) -> bool {
        let Some(session) = &mut self.session else {
            return false;
        };
        match session.wait.take() {
            None => return false,
            Some(Wait::Commit { sequence, reply })
                if session.broker.stores.durable.committed() >= sequence =>
            {
                self.output.extend_from_slice(&reply);
            }
            Some(Wait::Get {
                channel: number,
                queue,
                no_ack,
                is_due: true,
            }) => {
                if let Some(channel) = self.channels.get_mut(&number) {
                    channel.try_get(session, &mut self.output, &queue, no_ack);
                }
            }
            Some(Wait::Withheld {
                sequence,
                channel: number,
                rest,
            }) if session.broker.stores.durable.committed() >= sequence => {
                // It may have been committed just now.
                session.release_withheld();
                if let Some(channel) = self.channels.get_mut(&number) {
                    channel.go_on(session, &mut self.output, &rest);
                }
            }
            Some(Wait::Pressure { next }) if !session.is_under_pressure() => {
                session.arrived.clear();
                session.wait = next.map(Wait::Place);
            }
            Some(Wait::Alarm) if !self.is_blocked => {}
            // While an alarm stands, nothing is begun.
            Some(Wait::Place(place)) if place.is_granted() => self.block_if_alarmed(),
            still => session.wait = still,
        }
        let is_over = self
            .session
            .as_ref()
            .is_some_and(|session| session.wait.is_none());
        if is_over {
            self.flush();
        }
        is_over
    }
}
