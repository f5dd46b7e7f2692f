//! From the bytes that a peer sends to frames, and to publishes whose frames are all there.

use std::time::Instant;

use crate::amqp::frame;
use crate::amqp::whole_ack::WholeAck;
use crate::amqp::whole_publish::WholePublish;

use super::channel::Channel;
use super::{Connection, OUTPUT_MARK, OUTPUT_MAX, PAYLOAD_CEILING, State};

impl Connection {
    /// Takes bytes from the peer and works off the frames in them, as far as nothing has to wait.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) {
        self.broker.clock.advance(now);
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.received();
        }
        let mut rest = self.complete_frame(bytes, now);
        if self.input.is_empty() {
            let used = self.work_off(rest, now);
            rest = &rest[used..];
        }
        self.input.extend_from_slice(rest);
        self.flush();
        let lead = self
            .session
            .as_mut()
            .and_then(|session| session.batch.take_lead());
        if let Some(lead) = lead {
            self.pace.keep(lead, bytes.len(), now);
        }
    }

    /// Adds to a frame of which a part was received before what is missing, and works it off, so that all behind it
    /// need not be copied. Returns what it did not take.
    fn complete_frame<'a>(&mut self, bytes: &'a [u8], now: Instant) -> &'a [u8] {
        let mut rest = bytes;
        while !self.input.is_empty() && !rest.is_empty() {
            let missing = frame::missing(&self.input);
            if missing == 0 {
                // Whole frames, which have to wait.
                break;
            }
            let part;
            (part, rest) = rest.split_at(missing.min(rest.len()));
            self.input.extend_from_slice(part);
            self.work_off_input(now);
        }
        rest
    }

    /// Works off frames that had to wait.
    pub(super) fn work_off_input(&mut self, now: Instant) {
        let mut input = std::mem::take(&mut self.input);
        let used = self.work_off(&input, now);
        if used == input.len() {
            input.clear();
            if input.capacity() > OUTPUT_MARK {
                input = Vec::new();
            }
        } else {
            input.drain(..used);
        }
        self.input = input;
    }

    /// Returns how many of the bytes are done with. What is gathered from them waits for [`Connection::flush`].
    fn work_off(&mut self, bytes: &[u8], now: Instant) -> usize {
        let mut used = 0;
        if matches!(self.state, State::ExpectHeader) {
            let Some(&header) = bytes.first_chunk::<8>() else {
                return 0;
            };
            self.protocol_header(header, now);
            used = header.len();
        }
        self.is_throttled = false;
        while !self.is_waiting() {
            if matches!(self.state, State::Lingering(_) | State::Closed) {
                return bytes.len();
            }
            if self.unsent() >= OUTPUT_MAX {
                self.is_throttled = true;
                break;
            }
            let hot = self.hot_methods(&bytes[used..], now);
            if hot > 0 {
                used += hot;
                continue;
            }
            match frame::parse(&bytes[used..], self.payload_max()) {
                Ok(None) => break,
                Ok(Some((frame, len))) => {
                    used += len;
                    self.frame(&frame, now);
                }
                Err(_) if matches!(self.state, State::Closing(_)) => return bytes.len(),
                Err(error) => {
                    self.bad_frame(error.into(), now);
                    return bytes.len();
                }
            }
        }
        used
    }

    /// Takes publishes and acks whose frames are all there, as [`Connection::frame`] would take them one by one, until
    /// something else has to be looked at. Returns the bytes that they take; 0 when something else is there, or nobody
    /// expects them.
    fn hot_methods(&mut self, bytes: &[u8], now: Instant) -> usize {
        if !matches!(self.state, State::Running) {
            return 0;
        }
        let payload_max = self.payload_max();
        let session = self
            .session
            .as_mut()
            .expect("a running connection has its session");
        let mut used = 0;
        let mut current: Option<(u16, &mut Channel)> = None;
        loop {
            let rest = &bytes[used..];
            let (output, builder) = (&mut self.output, &mut self.builder);
            let is_publish = if let Some((_, channel)) = &mut current
                && let Some(len) = channel.repeated_publish(session, output, builder, rest, payload_max)
            {
                used += len;
                true
            } else {
                let Some(hot) = Hot::parse(rest, payload_max) else {
                    break;
                };
                let number = hot.channel();
                if current.as_ref().is_none_or(|(other, _)| *other != number) {
                    session.follow_accounts();
                    let found = self.channels.get_mut(&number);
                    current = found
                        .filter(|channel| channel.takes_methods())
                        .map(|channel| (number, channel));
                }
                let Some((_, channel)) = &mut current else { break };
                used += hot.len();
                let done = match &hot {
                    Hot::Publish(whole) => channel.whole_publish(session, output, builder, whole),
                    Hot::Ack(ack) => channel.ack(session, ack.delivery_tag, ack.multiple),
                };
                if let Err(failure) = done {
                    self.fail(number, failure, now);
                    break;
                }
                matches!(hot, Hot::Publish(_))
            };
            if is_publish && self.broker.alarms.any() {
                self.block_if_alarmed();
                break;
            }
            if session.wait.is_some() || self.output.len() - self.written >= OUTPUT_MAX {
                break;
            }
        }
        used
    }

    fn payload_max(&self) -> u32 {
        match &self.state {
            State::Handshake(handshake) if handshake.tuned.frame_max > 0 => handshake.tuned.frame_max,
            _ if self.tuned.frame_max > 0 => self.tuned.frame_max,
            _ => PAYLOAD_CEILING,
        }
    }
}

/// What comes once per message, whole.
enum Hot<'a> {
    Publish(WholePublish<'a>),
    Ack(WholeAck),
}

impl<'a> Hot<'a> {
    #[inline]
    fn parse(bytes: &'a [u8], payload_max: u32) -> Option<Self> {
        match WholePublish::parse(bytes, payload_max) {
            Some(publish) => Some(Self::Publish(publish)),
            None => WholeAck::parse(bytes).map(Self::Ack),
        }
    }

    #[inline]
    fn channel(&self) -> u16 {
        match self {
            Self::Publish(publish) => publish.channel,
            Self::Ack(ack) => ack.channel,
        }
    }

    #[inline]
    fn len(&self) -> usize {
        match self {
            Self::Publish(publish) => publish.frames.len(),
            Self::Ack(_) => WholeAck::LEN,
        }
    }
}
