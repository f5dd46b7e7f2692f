//! From the parts of a message, as they arrive or were stored, to the message.

use std::sync::Arc;

use crate::amqp::content::Properties;
use crate::amqp::framed_content::{self, BOUNDARY_BYTES};

use super::{DEAD_LETTER, HEADER_FIXED_BYTES, Message, MessageDecodeError, NOTE_BYTES, Traits, names};

/// A builder keeps no more room than this, bytes, from one message to the next.
const BUSY_BYTES_MAX: usize = 256 << 10;

/// The same for a connection that has nothing to do: they are many.
const IDLE_BYTES_MAX: usize = 4096;

/// Collects a message: exchange, routing key, content header, then body frames; or all of it at once, and then it is
/// used again for the next.
#[derive(Debug, Default)]
pub struct MessageBuilder {
    /// As in [`Message`]; the note is written last.
    bytes: Vec<u8>,
    /// Behind the note, as is `body_at`.
    header_at: usize,
    body_at: usize,
}

impl MessageBuilder {
    /// Starts anew from the arguments of `basic.publish`; both names are at most 255 bytes, not necessarily UTF-8.
    pub fn start(&mut self, exchange: &[u8], routing_key: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&[0; NOTE_BYTES]);
        for name in [exchange, routing_key] {
            self.bytes
                .push(u8::try_from(name.len()).expect("a shortstr holds at most 255 bytes"));
            self.bytes.extend_from_slice(name);
        }
    }

    /// Adds the content header: `properties` are the property flags and values as received.
    /// Reserves room for the body, but never more than `reserve_max` bytes on the sender's word. The body is below
    /// 4 GiB.
    pub fn header(&mut self, body_size: u64, properties: &[u8], reserve_max: usize) {
        let body_len = usize::try_from(body_size).expect("a body fits the memory");
        let room = body_len.min(reserve_max);
        let framing = 2 * BOUNDARY_BYTES + 1;
        self.bytes
            .reserve(framing + HEADER_FIXED_BYTES + properties.len() + room);
        framed_content::open_header(&mut self.bytes, HEADER_FIXED_BYTES + properties.len());
        self.header_at = self.bytes.len() - NOTE_BYTES;
        let mut fixed = [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        fixed[4..].copy_from_slice(&body_size.to_be_bytes());
        self.bytes.extend_from_slice(&fixed);
        self.bytes.extend_from_slice(properties);
        framed_content::open_body(&mut self.bytes, body_len);
        self.body_at = self.bytes.len() - NOTE_BYTES;
    }

    /// Reserves room for all of the body, on the sender's word.
    pub fn expect_body(&mut self, size: u64) {
        let body_len = usize::try_from(size).expect("a body fits the memory");
        self.bytes.reserve(body_len + 1);
    }

    /// Adds one body frame's payload.
    pub fn body(&mut self, payload: &[u8]) {
        self.bytes.extend_from_slice(payload);
    }

    /// All of a message at once, from its publish: exchange and routing key (two short strings), and what stands from
    /// the end of the method's frame to the end of the last frame.
    #[inline]
    pub fn whole(&mut self, envelope: &[u8], tail: &[u8], header_len: usize, body_len: usize) {
        let tail = &tail[..tail.len() - 1];
        self.bytes.clear();
        self.bytes.reserve(NOTE_BYTES + envelope.len() + tail.len() + 1);
        self.bytes.extend_from_slice(&[0; NOTE_BYTES]);
        self.bytes.extend_from_slice(envelope);
        self.header_at = envelope.len() + BOUNDARY_BYTES;
        self.bytes.extend_from_slice(tail);
        if body_len == 0 {
            framed_content::open_body(&mut self.bytes, 0);
        }
        self.body_at = self.header_at + header_len + BOUNDARY_BYTES;
    }

    /// The message; `traits` are those of its properties. The whole body is there.
    #[inline]
    pub fn finish(&mut self, traits: Traits) -> Message {
        self.finish_with(traits, 0)
    }

    #[inline]
    pub(super) fn finish_with(&mut self, traits: Traits, flags: u8) -> Message {
        framed_content::close(&mut self.bytes);
        let header_at = u16::try_from(self.header_at).expect("two shortstrs are at most 512 bytes");
        let body_at = u32::try_from(self.body_at).expect("a header fits a frame");
        let (note, _) = self
            .bytes
            .split_first_chunk_mut::<NOTE_BYTES>()
            .expect("it was started");
        *note = traits.note(flags, header_at, body_at);
        let message = Message(Arc::from(&self.bytes[..]));
        self.give_back(BUSY_BYTES_MAX);
        message
    }

    /// See [`Message::decode`]; for many messages in turn.
    ///
    /// # Errors
    /// When the bytes are cut or damaged.
    pub fn decode(&mut self, bytes: &[u8], is_dead_letter: bool) -> Result<Message, MessageDecodeError> {
        let bad = |reason| MessageDecodeError(bytes.len(), reason);
        let exchange_len = usize::from(*bytes.first().ok_or(bad("empty"))?);
        let key_len = usize::from(*bytes.get(1 + exchange_len).ok_or(bad("no routing key"))?);
        let header_at = 2 + exchange_len + key_len;
        let fixed = bytes
            .get(header_at..header_at + HEADER_FIXED_BYTES)
            .filter(|fixed| fixed.starts_with(&[0, 60, 0, 0]))
            .ok_or(bad("no header"))?;
        let body_size = u64::from_be_bytes(fixed[4..12].try_into().expect("eight bytes were sliced"));
        let body_at = usize::try_from(body_size)
            .ok()
            .and_then(|size| bytes.len().checked_sub(size))
            .filter(|at| *at >= header_at + HEADER_FIXED_BYTES)
            .ok_or(bad("body cut short"))?;
        if u32::try_from(body_at).is_err() {
            return Err(bad("header too long"));
        }
        let properties = &bytes[header_at + HEADER_FIXED_BYTES..body_at];
        let traits = Properties::parse(properties).map_err(|_| bad("properties do not parse"))?;
        let flags = if is_dead_letter { DEAD_LETTER } else { 0 };
        self.bytes.clear();
        self.bytes.extend_from_slice(&[0; NOTE_BYTES]);
        self.bytes.extend_from_slice(&bytes[..header_at]);
        self.header(body_size, properties, bytes.len());
        self.body(&bytes[body_at..]);
        Ok(self.finish_with(Traits::of(&traits), flags))
    }

    /// Gives its room back if that is more than an idle connection should hold.
    pub fn rest(&mut self) {
        self.give_back(IDLE_BYTES_MAX);
    }

    #[inline]
    fn give_back(&mut self, max: usize) {
        if self.bytes.capacity() > max {
            self.bytes = Vec::new();
        }
    }

    /// The property flags and values of the content header.
    #[inline]
    pub fn properties(&self) -> &[u8] {
        &self.bytes[NOTE_BYTES + self.header_at + HEADER_FIXED_BYTES..][..self.properties_len()]
    }

    #[inline]
    fn properties_len(&self) -> usize {
        self.body_at - BOUNDARY_BYTES - self.header_at - HEADER_FIXED_BYTES
    }

    /// The body bytes received so far.
    pub fn body_bytes(&self) -> &[u8] {
        &self.bytes[NOTE_BYTES + self.body_at..]
    }

    /// Exchange and routing key as two shortstrs.
    #[inline]
    pub fn envelope(&self) -> &[u8] {
        &self.bytes[NOTE_BYTES..NOTE_BYTES + self.header_at - BOUNDARY_BYTES]
    }

    /// The exchange and the routing key it was started with.
    pub fn names(&self) -> (&[u8], &[u8]) {
        names(&self.bytes[NOTE_BYTES..])
    }
}
