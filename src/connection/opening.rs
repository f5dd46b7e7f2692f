//! From the first bytes to an open vhost.

use std::sync::Arc;
use std::time::Instant;

use amq_protocol::protocol::AMQPClass;
use tracing::{debug, info, warn};

use crate::amqp::frame::{Frame, FrameKind};
use crate::amqp::method::{self, Method};
use crate::broker::census::Opened;
use crate::broker::login::LoginRefused;

use super::error::Failure;
use super::handshake::{self, Handshake, PROTOCOL_HEADER, Step};
use super::heartbeat::Heartbeat;
use super::session::Session;
use super::{Connection, Peer, State, closing, unexpected_frame};

impl Connection {
    pub(super) fn protocol_header(&mut self, header: [u8; 8], now: Instant) {
        if handshake::is_protocol_header(header) {
            let peer = Peer {
                address: self.peer,
                certificate: self.certificate.take(),
            };
            let own = (self.id, Arc::clone(&self.outbox));
            let handshake = Handshake::start(&self.settings, peer, own, &mut self.output);
            self.state = State::Handshake(handshake);
        } else {
            info!(peer = %self.peer, ?header, "not an AMQP 0-9-1 client");
            self.output.extend_from_slice(&PROTOCOL_HEADER);
            self.linger(closing::BAD_HEADER_LINGER, now);
        }
    }

    pub(super) fn handshake_frame(&mut self, frame: &Frame<'_>, now: Instant) -> Result<(), Failure> {
        let State::Handshake(handshake) = &mut self.state else {
            return Ok(());
        };
        if frame.kind == FrameKind::Heartbeat && frame.channel == 0 {
            return Ok(());
        }
        if frame.channel != 0 || frame.kind != FrameKind::Method {
            if handshake.is_tuned() {
                return Err(unexpected_frame(frame));
            }
            self.linger(closing::SILENCE, now);
            return Ok(());
        }
        let (id, method) = match method::decode(frame.payload) {
            Ok(Method::Other(id, AMQPClass::Connection(method))) => (id, method),
            decoded => {
                debug!(peer = %self.peer, ?decoded, "not a connection method in the handshake");
                self.linger(closing::SILENCE, now);
                return Ok(());
            }
        };
        let step = handshake.method(&self.broker, &self.settings, id, method, &mut self.output);
        self.handshake_step(step, now)
    }

    /// The password that this connection logs in with was checked.
    pub(super) fn password_checked(&mut self, verdict: Result<Arc<str>, LoginRefused>, now: Instant) {
        // The handshake may have timed out, or the broker be stopping.
        let State::Handshake(handshake) = &mut self.state else {
            return;
        };
        let step = handshake.password_checked(&self.settings, verdict, &mut self.output);
        if let Err(failure) = self.handshake_step(step, now) {
            self.fail(0, failure, now);
        }
    }

    fn handshake_step(&mut self, step: Step, now: Instant) -> Result<(), Failure> {
        match step {
            Step::Continue => {}
            Step::Opened(opened) => self.open(opened, now),
            Step::Silence { close, reason } => {
                warn!(peer = %self.peer, connection = self.id.0, reason, "handshake refused");
                if let Some(error) = close {
                    self.send_close(&error);
                }
                self.linger(closing::SILENCE, now);
            }
            Step::Refuse(error) => return Err(Failure::Connection(error)),
        }
        Ok(())
    }

    fn open(&mut self, opened: Opened, now: Instant) {
        let State::Handshake(handshake) = std::mem::replace(&mut self.state, State::Running) else {
            unreachable!("only a handshake opens")
        };
        self.tuned = handshake.tuned;
        self.heartbeat = Heartbeat::new(self.tuned.heartbeat, now);
        info!(
            peer = %self.peer,
            connection = self.id.0,
            user = &*opened.user.name,
            vhost = &*opened.vhost.name,
            name = handshake.connection_name.as_deref(),
            "connection opened"
        );
        self.session = Some(Session::new(
            (self.id, Arc::clone(&self.outbox)),
            Arc::clone(&self.broker),
            opened,
            Arc::clone(&self.settings),
            handshake.capabilities,
            self.tuned.frame_max,
        ));
    }
}
