//! What a connection does when time has passed: heartbeats, and ends of what may not last for ever.

use std::time::Instant;

use tracing::info;

use crate::amqp::frame;

use super::heartbeat::Heartbeat;
use super::{Connection, State};

impl Connection {
    /// When [`Connection::handle_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::ExpectHeader | State::Handshake(_) => Some(self.handshake_end),
            State::Running => {
                let heartbeat = self.heartbeat.as_ref().map(Heartbeat::next);
                let farewell = self.farewell.as_ref().map(|farewell| farewell.end);
                let times = heartbeat.into_iter().chain(farewell);
                times.chain(self.pace.until()).min()
            }
            State::Closing(end) | State::Lingering(end) => Some(*end),
            State::Closed => None,
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.broker.clock.advance(now);
        match &self.state {
            State::ExpectHeader | State::Handshake(_) if now >= self.handshake_end => {
                info!(peer = %self.peer, connection = self.id.0, "handshake timed out");
                self.state = State::Closed;
            }
            State::Closing(end) | State::Lingering(end) if now >= *end => self.state = State::Closed,
            State::Running => {
                self.pace.go_on(now);
                self.say_farewell(now);
                let is_reading = !self.is_blocked && !self.is_waiting();
                let Some(heartbeat) = &mut self.heartbeat else {
                    return;
                };
                let due = heartbeat.due(now, is_reading);
                if due.is_dead {
                    info!(peer = %self.peer, connection = self.id.0, "missed heartbeats from client");
                    self.state = State::Closed;
                    self.terminate();
                } else if due.send {
                    frame::heartbeat(&mut self.output);
                }
            }
            _ => {}
        }
    }
}
