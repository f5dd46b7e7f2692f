//! A client's connection as a state machine: bytes in, bytes out. It knows no socket, task or clock.
//!
//! Its owner calls [`Connection::receive`] with what was read, [`Connection::advance`] when it was woken or has
//! written, and [`Connection::handle_timeout`] when [`Connection::next_timeout`] has come; it writes what
//! [`Connection::output`] holds, and calls [`Connection::terminate`] in the end.

mod batch;
mod channel;
mod closing;
mod error;
mod handshake;
mod heartbeat;
mod opening;
mod pace;
mod peer;
mod progress;
mod receive;
mod routes;
pub mod sasl;
mod session;
mod settings;
mod timeouts;
mod withheld;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use amq_protocol::protocol::{AMQPClass, channel as channel_class, connection};
use rustc_hash::FxHashMap;
use tracing::debug;

use crate::amqp::frame::{self, Frame, FrameKind};
use crate::amqp::method::{self, Method, MethodId};
use crate::amqp::reply_code::ReplyCode;
use crate::broker::outbox::Outbox;
use crate::broker::{Broker, ConnectionId};
use crate::message::MessageBuilder;

use channel::{Channel, Next};
use closing::Farewell;
use error::{Failure, unimplemented_method};
use handshake::{Handshake, Tuned, send};
use heartbeat::Heartbeat;
use pace::Pace;
use session::Session;

pub use peer::Peer;
pub use settings::Settings;

/// Deliveries are encoded until this much waits for the socket, bytes.
const OUTPUT_MARK: usize = 128 << 10;

/// Beyond this much unsent output nothing more is read: the peer asks, but does not listen. Bytes.
const OUTPUT_MAX: usize = 1 << 20;

/// A frame is never larger than this, even where `frame_max` is unlimited, bytes.
const PAYLOAD_CEILING: u32 = 16 << 20;

#[derive(Debug)]
enum State {
    /// The protocol header is awaited.
    ExpectHeader,
    Handshake(Handshake),
    Running,
    /// The broker has sent close; close-ok is awaited until the time.
    Closing(Instant),
    /// Nothing more is said or read; the socket is closed at the time, or when the peer does.
    Lingering(Instant),
    /// Over.
    Closed,
}

/// One client's connection.
#[derive(Debug)]
pub struct Connection {
    id: ConnectionId,
    outbox: Arc<Outbox>,
    broker: Arc<Broker>,
    settings: Arc<Settings>,
    peer: SocketAddr,
    /// Taken by the handshake.
    certificate: Option<Box<[u8]>>,
    state: State,
    /// Given when the vhost is opened, taken when the connection ends.
    session: Option<Session>,
    channels: FxHashMap<u16, Channel>,
    /// Received and not worked off: a part of a frame, or frames that wait.
    input: Vec<u8>,
    /// Makes messages of whole publishes.
    builder: MessageBuilder,
    output: Vec<u8>,
    /// Bytes of `output` that are written.
    written: usize,
    tuned: Tuned,
    heartbeat: Option<Heartbeat>,
    /// When the handshake must be done.
    handshake_end: Instant,
    /// The broker stops: the connection is closed when nothing is owed any more.
    farewell: Option<Farewell>,
    /// Channels with confirms that wait for the store.
    unconfirmed: Vec<u16>,
    /// Frames are left in `input` because the peer does not take its output.
    is_throttled: bool,
    pace: Pace,
    /// `connection.blocked` was sent, or would have been.
    is_blocked: bool,
}

impl Connection {
    /// A connection from `peer` on which nothing was received yet. The handshake's time runs from `now`.
    pub fn new(broker: Arc<Broker>, settings: Arc<Settings>, peer: impl Into<Peer>, now: Instant) -> Self {
        let Peer { address, certificate } = peer.into();
        let handshake_end = now + settings.handshake_timeout;
        let (id, outbox) = broker.connect();
        Self {
            id,
            outbox,
            broker,
            settings,
            peer: address,
            certificate,
            state: State::ExpectHeader,
            session: None,
            channels: FxHashMap::default(),
            input: Vec::new(),
            builder: MessageBuilder::default(),
            output: Vec::new(),
            written: 0,
            tuned: Tuned::default(),
            heartbeat: None,
            handshake_end,
            farewell: None,
            unconfirmed: Vec::new(),
            is_throttled: false,
            pace: Pace::default(),
            is_blocked: false,
        }
    }

    /// Whether deliveries wait until what moved them within the broker is on disk.
    pub fn withholds(&self) -> bool {
        let session = self.session.as_ref();
        session.is_some_and(|session| session.withheld.awaits().is_some())
    }

    fn bad_frame(&mut self, failure: Failure, now: Instant) {
        match &self.state {
            State::Handshake(handshake) if !handshake.is_tuned() => {
                debug!(peer = %self.peer, ?failure, "bad frame before tune-ok");
                self.linger(closing::SILENCE, now);
            }
            _ => self.fail(0, failure, now),
        }
    }

    fn frame(&mut self, frame: &Frame<'_>, now: Instant) {
        let done = match &self.state {
            State::Running => self.running_frame(frame, now),
            State::Closing(_) => {
                self.closing_frame(frame);
                Ok(())
            }
            _ => self.handshake_frame(frame, now),
        };
        if let Err(failure) = done {
            self.fail(frame.channel, failure, now);
        }
    }

    fn running_frame(&mut self, frame: &Frame<'_>, now: Instant) -> Result<(), Failure> {
        match frame.kind {
            FrameKind::Heartbeat if frame.channel == 0 => Ok(()),
            FrameKind::Heartbeat => Err(unexpected_frame(frame)),
            FrameKind::Method if frame.channel == 0 => self.connection_method(frame.payload, now),
            FrameKind::Method => self.channel_method(frame),
            FrameKind::Header | FrameKind::Body if frame.channel == 0 => Err(unexpected_frame(frame)),
            FrameKind::Header | FrameKind::Body => {
                let session = self
                    .session
                    .as_mut()
                    .expect("a running connection has its session");
                let channel = self
                    .channels
                    .get_mut(&frame.channel)
                    .ok_or_else(|| channel_not_open(MethodId::default()))?;
                channel.content(session, &mut self.output, frame)?;
                // A body that was begun is finished: only whole can it go to the disk.
                if frame.kind == FrameKind::Header {
                    self.block_if_alarmed();
                }
                Ok(())
            }
        }
    }

    fn connection_method(&mut self, payload: &[u8], now: Instant) -> Result<(), Failure> {
        let (id, method) = match method::decode(payload)? {
            Method::Other(id, AMQPClass::Connection(method)) => (id, method),
            Method::Other(id, _) => return Err(unexpected_method(id)),
            Method::Publish(_) => return Err(unexpected_method(MethodId::PUBLISH)),
            Method::Ack { .. } => return Err(unexpected_method(MethodId::new(60, 80))),
            Method::Nack { .. } => return Err(unexpected_method(MethodId::new(60, 120))),
            Method::Reject { .. } => return Err(unexpected_method(MethodId::new(60, 90))),
        };
        match method {
            connection::AMQPMethod::Close(close) => {
                debug!(
                    connection = self.id.0,
                    code = close.reply_code,
                    text = close.reply_text.as_str(),
                    "client closes"
                );
                self.release();
                send(
                    &mut self.output,
                    connection::AMQPMethod::CloseOk(connection::CloseOk {}),
                );
                self.linger(self.close_timeout(), now);
                Ok(())
            }
            connection::AMQPMethod::UpdateSecret(_) => {
                let ok = connection::AMQPMethod::UpdateSecretOk(connection::UpdateSecretOk {});
                send(&mut self.output, ok);
                Ok(())
            }
            _ => Err(unexpected_method(id)),
        }
    }

    fn channel_method(&mut self, frame: &Frame<'_>) -> Result<(), Failure> {
        let method = method::decode(frame.payload)?;
        let number = frame.channel;
        if let Method::Other(id, AMQPClass::Basic(amq_protocol::protocol::basic::AMQPMethod::Qos(_))) =
            &method
        {
            channel::check_prefetch_size(frame.payload, *id)?;
        }
        if matches!(method, Method::Other(..)) {
            // Confirms that are due go before its reply, and never to the next channel with its number.
            self.flush();
        }
        let Some(channel) = self.channels.get_mut(&number) else {
            return self.open_channel(number, &method);
        };
        let session = self
            .session
            .as_mut()
            .expect("a running connection has its session");
        session.follow_accounts();
        match channel.method(session, &mut self.output, method)? {
            Next::Open => {}
            Next::Closed => {
                self.channels.remove(&number);
                self.broker.close_channel(self.id);
                self.unconfirmed.retain(|other| *other != number);
            }
        }
        Ok(())
    }

    fn open_channel(&mut self, number: u16, method: &Method<'_>) -> Result<(), Failure> {
        let id = match method {
            Method::Other(_, AMQPClass::Channel(channel_class::AMQPMethod::Open(_))) => {
                let max = self.tuned.channel_max;
                if max != 0 && self.channels.len() >= usize::from(max) {
                    let count = self.channels.len();
                    let explanation = format!(
                        "number of channels opened ({count}) has reached the negotiated channel_max ({max})"
                    );
                    return Err(error::connection(
                        ReplyCode::NotAllowed,
                        explanation,
                        MethodId::default(),
                    ));
                }
                self.admit_channel()?;
                self.channels.insert(number, Channel::new(number));
                let ok = channel_class::AMQPMethod::OpenOk(channel_class::OpenOk {});
                method::encode(&mut self.output, number, &AMQPClass::Channel(ok));
                return Ok(());
            }
            Method::Other(id, AMQPClass::Connection(_)) => return Err(unimplemented_method(*id)),
            Method::Other(id, _) => *id,
            Method::Publish(_) => MethodId::PUBLISH,
            Method::Ack { .. } => MethodId::new(60, 80),
            Method::Nack { .. } => MethodId::new(60, 120),
            Method::Reject { .. } => MethodId::new(60, 90),
        };
        Err(channel_not_open(id))
    }

    /// Whether user and node may have one more channel.
    fn admit_channel(&self) -> Result<(), Failure> {
        self.broker.open_channel(self.id).map_err(|refused| {
            let session = self
                .session
                .as_ref()
                .expect("a running connection has its session");
            let explanation = refused.explanation(&session.user.name, &session.vhost.name);
            error::connection(ReplyCode::NotAllowed, explanation, MethodId::default())
        })
    }
}

fn channel_not_open(id: MethodId) -> Failure {
    error::connection(ReplyCode::ChannelError, "expected 'channel.open'", id)
}

fn unexpected_method(id: MethodId) -> Failure {
    error::connection(
        ReplyCode::ChannelError,
        "unexpected method in connection state running",
        id,
    )
}

fn unexpected_frame(frame: &Frame<'_>) -> Failure {
    let explanation = frame::snippet(frame.kind.number(), frame.payload);
    error::connection(ReplyCode::UnexpectedFrame, explanation, MethodId::default())
}

#[cfg(test)]
pub(crate) mod tests;
