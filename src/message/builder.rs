//! From the parts of a message, as they arrive or were stored, to the message.

use crate::amqp::framed_content::{self, BOUNDARY_BYTES};

use super::{HEADER_FIXED_BYTES, Message, NOTE_BYTES, Traits, names};

/// A builder keeps no more room than this, bytes, from one message to the next.
pub(super) const BUSY_BYTES_MAX: usize = 256 << 10;

/// A message as its frames came, all of them together; borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Exchange and routing key, two short strings.
    pub envelope: &'a [u8],
    /// What stands from the end of the method's frame to the end of the last frame.
    pub tail: &'a [u8],
    /// Bytes of the content header frame's payload.
    pub header_len: usize,
    /// Bytes of the body.
    pub body_len: usize,
}

impl Received<'_> {
    /// Where behind the note the payloads of the content header and of the body begin.
    #[inline]
    pub(super) fn places(&self) -> (usize, usize) {
        let header_at = self.envelope.len() + BOUNDARY_BYTES;
        (header_at, header_at + self.header_len + BOUNDARY_BYTES)
    }

    /// Bytes that it takes as a message.
    #[inline]
    pub(super) fn len(&self) -> usize {
        let empty_body = if self.body_len == 0 { BOUNDARY_BYTES } else { 0 };
        NOTE_BYTES + self.envelope.len() + self.tail.len() + empty_body
    }

    /// Appends the message behind this note, but for its end.
    #[inline]
    pub(super) fn append(&self, bytes: &mut Vec<u8>, note: &[u8; NOTE_BYTES]) {
        bytes.reserve(self.len());
        bytes.extend_from_slice(note);
        bytes.extend_from_slice(self.envelope);
        bytes.extend_from_slice(&self.tail[..self.tail.len() - 1]);
        if self.body_len == 0 {
            framed_content::open_body(bytes, 0);
        }
    }
}

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

    /// All of a message at once.
    #[inline]
    pub fn whole(&mut self, received: &Received<'_>) {
        self.bytes.clear();
        received.append(&mut self.bytes, &[0; NOTE_BYTES]);
        (self.header_at, self.body_at) = received.places();
    }

    /// The message; `traits` are those of its properties. The whole body is there.
    #[inline]
    pub fn finish(&mut self, traits: Traits) -> Message {
        self.finish_with(traits, 0)
    }

    #[inline]
    pub(super) fn finish_with(&mut self, traits: Traits, flags: u8) -> Message {
        framed_content::close(&mut self.bytes);
        let (note, _) = self
            .bytes
            .split_first_chunk_mut::<NOTE_BYTES>()
            .expect("it was started");
        *note = traits.note(flags, self.header_at, self.body_at);
        let message = Message::alone(&self.bytes);
        if self.bytes.capacity() > BUSY_BYTES_MAX {
            self.bytes = Vec::new();
        }
        message
    }

    /// Gives its room back: an idle connection should hold none.
    pub fn rest(&mut self) {
        self.bytes = Vec::new();
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
