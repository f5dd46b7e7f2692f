//! A message as it lies in queues: immutable, shared by reference, already in the bytes that go out again.
//!
//! It never changes after it was built; a dead letter or a stripped header is a new message.

mod block;
mod builder;
mod encoded;

use std::fmt;

use triomphe::ThinArc;

use crate::amqp::content::Properties;
use crate::amqp::framed_content::{BOUNDARY_BYTES, FramedContent};

pub use block::BlockBuilder;
pub use builder::{MessageBuilder, Received};
pub use encoded::{Encoded, MessageDecodeError};

/// class id, weight and body size in front of the property flags.
const HEADER_FIXED_BYTES: usize = 12;

/// What the broker notes in front of a message's own bytes: flags, priority, where behind the note the payloads of the
/// content header and of the body begin, expiration.
const NOTE_BYTES: usize = 16;

/// `delivery_mode` is 2.
const PERSISTENT: u8 = 1;
/// The broker wrote its `x-death` header.
const DEAD_LETTER: u8 = 2;
/// The expiration of the note is meant.
const EXPIRES: u8 = 4;

/// A published message. Cloning shares it: on fan-out every queue holds the same bytes.
///
/// It is one piece of memory: the note, and the names and the content as they go out. Small ones that came one after the
/// other and go the same way share an allocation, a block (see [`BlockBuilder`]).
#[derive(Clone)]
pub struct Message {
    block: ThinArc<(), u8>,
    /// Where in its block it begins.
    at: u32,
    len: u32,
}

/// What queues read of a message's properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// `delivery_mode` is 2.
    pub persistent: bool,
    /// The `priority` property, 0 when absent.
    pub priority: u8,
    /// The `expiration` property, milliseconds; absent or no number: `None`.
    pub expiration: Option<u64>,
}

impl Traits {
    /// Reads them.
    #[inline]
    pub fn of(properties: &Properties<'_>) -> Self {
        // What is not refused as negative may still be written so: it is zero.
        let expiration = properties.expiration.and_then(|text| {
            let text = std::str::from_utf8(text).ok()?;
            text.strip_prefix('-').unwrap_or(text).parse().ok()
        });
        Self {
            persistent: properties.delivery_mode == Some(2),
            priority: properties.priority.unwrap_or(0),
            expiration,
        }
    }

    #[inline]
    fn note(self, flags: u8, header_at: usize, body_at: usize) -> [u8; NOTE_BYTES] {
        let header_at = u16::try_from(header_at).expect("two shortstrs are at most 512 bytes");
        let body_at = u32::try_from(body_at).expect("a header fits a frame");
        let persistent = if self.persistent { PERSISTENT } else { 0 };
        let expires = if self.expiration.is_some() { EXPIRES } else { 0 };
        let [h0, h1] = header_at.to_le_bytes();
        let [b0, b1, b2, b3] = body_at.to_le_bytes();
        let mut note = [0; NOTE_BYTES];
        note[..8].copy_from_slice(&[
            flags | persistent | expires,
            self.priority,
            h0,
            h1,
            b0,
            b1,
            b2,
            b3,
        ]);
        note[8..].copy_from_slice(&self.expiration.unwrap_or(0).to_le_bytes());
        note
    }
}

impl Message {
    /// A whole message at once: for messages that the broker makes itself, and for tests.
    pub fn new(exchange: &[u8], routing_key: &[u8], properties: &[u8], body: &[u8]) -> Self {
        Self::build((exchange, routing_key), properties, body, 0)
    }

    /// The same for a message whose `x-death` header the broker wrote, and will believe.
    pub fn dead_letter(exchange: &[u8], routing_key: &[u8], properties: &[u8], body: &[u8]) -> Self {
        Self::build((exchange, routing_key), properties, body, DEAD_LETTER)
    }

    /// The same message with other properties.
    pub fn with_properties(&self, properties: &[u8]) -> Self {
        let names = (self.exchange(), self.routing_key());
        Self::build(names, properties, self.body(), self.flags() & DEAD_LETTER)
    }

    fn build((exchange, routing_key): (&[u8], &[u8]), properties: &[u8], body: &[u8], flags: u8) -> Self {
        let traits =
            Traits::of(&Properties::parse(properties).expect("the broker writes properties that parse"));
        let mut builder = MessageBuilder::default();
        builder.start(exchange, routing_key);
        builder.header(body.len() as u64, properties, body.len());
        builder.body(body);
        builder.finish_with(traits, flags)
    }

    /// Name of the exchange it was published to; empty for the default exchange.
    pub fn exchange(&self) -> &[u8] {
        names(self.envelope()).0
    }

    /// The routing key it was published with.
    pub fn routing_key(&self) -> &[u8] {
        names(self.envelope()).1
    }

    /// Names and content as they go out.
    #[inline]
    pub fn content(&self) -> FramedContent<'_> {
        let &[_, _, h0, h1, b0, b1, b2, b3, ..] = self.note();
        let header_at = usize::from(u16::from_le_bytes([h0, h1]));
        let body_at = u32::from_le_bytes([b0, b1, b2, b3]) as usize;
        FramedContent::new(&self.bytes()[NOTE_BYTES..], header_at, body_at)
    }

    /// Exchange and routing key as two shortstrs: the tail of `basic.deliver`, `get-ok` and `return`.
    pub fn envelope(&self) -> &[u8] {
        self.content().envelope()
    }

    /// Payload of the content header frame: class, weight, body size, flags, properties.
    pub fn header(&self) -> &[u8] {
        self.content().header()
    }

    /// The property flags and values.
    pub fn properties(&self) -> &[u8] {
        &self.header()[HEADER_FIXED_BYTES..]
    }

    /// The body, whole.
    #[inline]
    pub fn body(&self) -> &[u8] {
        self.content().body()
    }

    /// Bytes of the body.
    #[inline]
    pub fn body_len(&self) -> usize {
        self.content().body_len()
    }

    /// `delivery_mode` 2: it survives a restart in a durable queue.
    #[inline]
    pub fn is_persistent(&self) -> bool {
        self.flags() & PERSISTENT != 0
    }

    /// The `priority` property, 0 when absent.
    #[inline]
    pub fn priority(&self) -> u8 {
        let &[_, priority, ..] = self.note();
        priority
    }

    /// The `expiration` property, milliseconds.
    #[inline]
    pub fn expiration(&self) -> Option<u64> {
        let &[flags, .., e0, e1, e2, e3, e4, e5, e6, e7] = self.note();
        (flags & EXPIRES != 0).then(|| u64::from_le_bytes([e0, e1, e2, e3, e4, e5, e6, e7]))
    }

    /// The broker wrote its `x-death` header; what a client sends under that name tells nothing. The store keeps
    /// this beside [`Message::encoded`].
    pub fn is_dead_letter(&self) -> bool {
        self.flags() & DEAD_LETTER != 0
    }

    /// Bytes that it stands for: names, header and body, and their framing.
    #[inline]
    pub fn memory_bytes(&self) -> usize {
        self.len as usize - NOTE_BYTES
    }

    /// Whether both are the same bytes: one publish that fanned out.
    pub fn is_same(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }

    /// A number that is equal for clones that live at the same time, and for no others.
    pub fn identity(&self) -> usize {
        self.bytes().as_ptr().addr()
    }

    /// Names, header and body in one piece, as the store keeps them; [`Message::decode`] reads it back.
    pub fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        self.encode(&mut bytes);
        bytes
    }

    /// Appends what [`Message::encoded`] gives.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let content = self.content();
        out.reserve(self.encoded_len());
        out.extend_from_slice(content.envelope());
        out.extend_from_slice(content.header());
        out.extend_from_slice(content.body());
    }

    /// Bytes that it takes there.
    pub fn encoded_len(&self) -> usize {
        self.memory_bytes() - 2 * BOUNDARY_BYTES - 1
    }

    /// Reads what [`Message::encoded`] and [`Message::is_dead_letter`] gave.
    ///
    /// # Errors
    /// When the bytes are cut or damaged.
    pub fn decode(bytes: &[u8], is_dead_letter: bool) -> Result<Self, MessageDecodeError> {
        let encoded = Encoded::parse(bytes)?;
        let mut bytes = Vec::with_capacity(encoded.len());
        encoded.append(&mut bytes, is_dead_letter);
        Ok(Self::alone(&bytes))
    }

    /// The same in an allocation of its own: for one that is likely to stay when those that came with it are gone, and
    /// would keep the memory of all of them.
    pub fn detached(self) -> Self {
        if self.len as usize == self.block.slice.len() {
            self
        } else {
            Self::alone(self.bytes())
        }
    }

    /// Alone in its block.
    fn alone(bytes: &[u8]) -> Self {
        Self {
            block: ThinArc::from_header_and_slice((), bytes),
            at: 0,
            len: u32::try_from(bytes.len()).expect("a message is below 4 GiB"),
        }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.block.slice[self.at as usize..][..self.len as usize]
    }

    #[inline]
    fn note(&self) -> &[u8; NOTE_BYTES] {
        self.bytes()
            .first_chunk()
            .expect("every message begins with its note")
    }

    #[inline]
    fn flags(&self) -> u8 {
        self.note()[0]
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Message").field(&self.bytes()).finish()
    }
}

/// Splits the exchange and the routing key off the front of a message's bytes.
fn names(bytes: &[u8]) -> (&[u8], &[u8]) {
    let exchange_end = 1 + usize::from(bytes[0]);
    let key_end = exchange_end + 1 + usize::from(bytes[exchange_end]);
    (&bytes[1..exchange_end], &bytes[exchange_end + 1..key_end])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// delivery-mode and priority: flag bits 12 and 11.
    const PERSISTENT_PRIORITY_7: &[u8] = &[0x18, 0x00, 2, 7];

    #[test]
    fn parts_come_back_as_they_went_in() {
        let message = Message::new(b"orders", b"order.placed", PERSISTENT_PRIORITY_7, b"body");
        assert_eq!(message.exchange(), b"orders");
        assert_eq!(message.routing_key(), b"order.placed");
        assert_eq!(message.properties(), PERSISTENT_PRIORITY_7);
        assert_eq!(message.body(), b"body");
        assert!(message.is_persistent());
        assert_eq!(message.priority(), 7);
    }

    #[test]
    fn every_expiration_that_is_accepted_counts() {
        for (text, millis) in [("10", 10), ("+10", 10), ("007", 7), ("0", 0), ("-0", 0)] {
            let len = u8::try_from(text.len()).expect("short");
            let properties = [&[1, 0, len][..], text.as_bytes()].concat();
            let message = Message::new(b"", b"q", &properties, b"");
            assert_eq!(message.expiration(), Some(millis), "{text}");
        }
    }

    #[test]
    fn decode_reads_what_encoded_gave() {
        for body_len in [0, 1, 100, 5000] {
            let body = vec![9; body_len];
            let message = Message::new(b"", b"q", &[0, 0], &body);
            let back = Message::decode(&message.encoded(), false).expect("own bytes");
            assert_eq!(back.envelope(), message.envelope());
            assert_eq!(back.header(), message.header());
            assert_eq!(back.body(), body);
            assert!(!back.is_persistent());
        }
    }

    #[test]
    fn decode_refuses_another_class_or_a_weight() {
        let message = Message::new(b"x", b"key", PERSISTENT_PRIORITY_7, b"body");
        for at in 6..10 {
            let mut bytes = message.encoded();
            bytes[at] ^= 1;
            assert!(Message::decode(&bytes, false).is_err(), "byte {at}");
        }
    }

    #[test]
    fn decode_refuses_every_cut() {
        let message = Message::new(b"x", b"key", PERSISTENT_PRIORITY_7, b"body");
        let bytes = message.encoded();
        for len in 0..bytes.len() {
            assert!(
                Message::decode(&bytes[..len], false).is_err(),
                "cut at {len} was read"
            );
        }
    }
}
