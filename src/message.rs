//! A message as it lies in queues: immutable, shared by reference, already in the bytes that go out again.
//!
//! It never changes after it was built; a dead letter or a stripped header is a new message.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::amqp::content::Properties;

/// Bytes held inside the message's own allocation; longer messages take a second one.
const INLINE_BYTES: usize = 112;

/// class id, weight and body size in front of the property flags.
const HEADER_FIXED_BYTES: usize = 12;

/// A published message. Cloning shares it: on fan-out every queue holds the same allocation.
#[derive(Clone, Debug)]
pub struct Message(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// exchange (shortstr), routing key (shortstr), content header payload, body.
    bytes: SmallVec<[u8; INLINE_BYTES]>,
    /// Where the content header payload begins; at most 512.
    header_at: u16,
    /// Where the body begins.
    body_at: u32,
    traits: Traits,
    /// The broker wrote its `x-death` header.
    is_dead_letter: bool,
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
}

/// Why stored bytes are not a message.
#[derive(Debug, thiserror::Error)]
#[error("{0} bytes are not a stored message: {1}")]
pub struct MessageDecodeError(usize, &'static str);

/// Collects a message while its frames arrive: exchange, routing key, content header, then body frames.
#[derive(Debug, Default)]
pub struct MessageBuilder {
    bytes: SmallVec<[u8; INLINE_BYTES]>,
    header_at: u16,
    body_at: u32,
}

impl MessageBuilder {
    /// Starts from the arguments of `basic.publish`; both names are at most 255 bytes, not necessarily UTF-8.
    pub fn new(exchange: &[u8], routing_key: &[u8]) -> Self {
        let mut bytes = SmallVec::new();
        for name in [exchange, routing_key] {
            bytes.push(u8::try_from(name.len()).expect("a shortstr holds at most 255 bytes"));
            bytes.extend_from_slice(name);
        }
        let header_at = u16::try_from(bytes.len()).expect("two shortstrs are at most 512 bytes");
        Self {
            bytes,
            header_at,
            body_at: 0,
        }
    }

    /// Adds the content header: `properties` are the property flags and values as received.
    /// Reserves room for the body, but never more than `reserve_max` bytes on the sender's word.
    pub fn header(&mut self, body_size: u64, properties: &[u8], reserve_max: usize) {
        let room = usize::try_from(body_size).unwrap_or(usize::MAX).min(reserve_max);
        self.bytes.reserve(HEADER_FIXED_BYTES + properties.len() + room);
        self.bytes.extend_from_slice(&60u16.to_be_bytes());
        self.bytes.extend_from_slice(&0u16.to_be_bytes());
        self.bytes.extend_from_slice(&body_size.to_be_bytes());
        self.bytes.extend_from_slice(properties);
        self.body_at = u32::try_from(self.bytes.len()).expect("a header fits a frame");
    }

    /// Adds one body frame's payload.
    pub fn body(&mut self, payload: &[u8]) {
        self.bytes.extend_from_slice(payload);
    }

    /// Body bytes received so far.
    pub fn body_len(&self) -> u64 {
        self.bytes.len() as u64 - u64::from(self.body_at)
    }

    /// The message; `traits` are those of its properties.
    pub fn finish(self, traits: Traits) -> Message {
        Message(Arc::new(Inner {
            traits,
            is_dead_letter: false,
            bytes: self.bytes,
            header_at: self.header_at,
            body_at: self.body_at,
        }))
    }

    /// The property flags and values of the content header.
    pub fn properties(&self) -> &[u8] {
        &self.bytes[usize::from(self.header_at) + HEADER_FIXED_BYTES..self.body_at as usize]
    }

    /// The body bytes received so far.
    pub fn body_bytes(&self) -> &[u8] {
        &self.bytes[self.body_at as usize..]
    }

    /// Exchange and routing key as two shortstrs.
    pub fn envelope(&self) -> &[u8] {
        &self.bytes[..usize::from(self.header_at)]
    }

    /// The exchange and the routing key it was started with.
    pub fn names(&self) -> (&[u8], &[u8]) {
        names(&self.bytes)
    }
}

impl Message {
    /// A whole message at once: for messages that the broker makes itself, and for tests.
    pub fn new(exchange: &[u8], routing_key: &[u8], properties: &[u8], body: &[u8]) -> Self {
        let mut builder = MessageBuilder::new(exchange, routing_key);
        builder.header(body.len() as u64, properties, body.len());
        builder.body(body);
        let properties = Properties::parse(properties).expect("the broker writes properties that parse");
        builder.finish(Traits::of(&properties))
    }

    /// The same for a message whose `x-death` header the broker wrote, and will believe.
    pub fn dead_letter(exchange: &[u8], routing_key: &[u8], properties: &[u8], body: &[u8]) -> Self {
        let mut message = Self::new(exchange, routing_key, properties, body);
        let inner = Arc::get_mut(&mut message.0).expect("nobody else has it yet");
        inner.is_dead_letter = true;
        message
    }

    /// The same message with other properties.
    pub fn with_properties(&self, properties: &[u8]) -> Self {
        let (exchange, routing_key) = (self.exchange(), self.routing_key());
        if self.is_dead_letter() {
            Self::dead_letter(exchange, routing_key, properties, self.body())
        } else {
            Self::new(exchange, routing_key, properties, self.body())
        }
    }

    /// Name of the exchange it was published to; empty for the default exchange.
    pub fn exchange(&self) -> &[u8] {
        names(&self.0.bytes).0
    }

    /// The routing key it was published with.
    pub fn routing_key(&self) -> &[u8] {
        names(&self.0.bytes).1
    }

    /// Exchange and routing key as two shortstrs: the tail of `basic.deliver`, `get-ok` and `return`.
    pub fn envelope(&self) -> &[u8] {
        &self.0.bytes[..usize::from(self.0.header_at)]
    }

    /// Payload of the content header frame: class, weight, body size, flags, properties.
    pub fn header(&self) -> &[u8] {
        &self.0.bytes[usize::from(self.0.header_at)..self.0.body_at as usize]
    }

    /// The property flags and values.
    pub fn properties(&self) -> &[u8] {
        &self.header()[HEADER_FIXED_BYTES..]
    }

    /// The body, whole.
    pub fn body(&self) -> &[u8] {
        &self.0.bytes[self.0.body_at as usize..]
    }

    /// `delivery_mode` 2: it survives a restart in a durable queue.
    pub fn is_persistent(&self) -> bool {
        self.0.traits.persistent
    }

    /// The `priority` property, 0 when absent.
    pub fn priority(&self) -> u8 {
        self.0.traits.priority
    }

    /// The `expiration` property, milliseconds.
    pub fn expiration(&self) -> Option<u64> {
        self.0.traits.expiration
    }

    /// The broker wrote its `x-death` header; what a client sends under that name tells nothing. The store keeps
    /// this beside [`Message::encoded`].
    pub fn is_dead_letter(&self) -> bool {
        self.0.is_dead_letter
    }

    /// Bytes of memory that it stands for: names, header and body.
    pub fn memory_bytes(&self) -> usize {
        self.0.bytes.len()
    }

    /// Whether both are the same allocation: one publish that fanned out.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A number that is equal for clones that live at the same time, and for no others.
    pub fn identity(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Names, header and body in one piece, as the store keeps them; [`Message::decode`] reads it back.
    pub fn encoded(&self) -> &[u8] {
        &self.0.bytes
    }

    /// Reads what [`Message::encoded`] and [`Message::is_dead_letter`] gave.
    ///
    /// # Errors
    /// When the bytes are cut or damaged.
    pub fn decode(bytes: &[u8], is_dead_letter: bool) -> Result<Self, MessageDecodeError> {
        let bad = |reason| MessageDecodeError(bytes.len(), reason);
        let exchange_len = usize::from(*bytes.first().ok_or(bad("empty"))?);
        let key_len = usize::from(*bytes.get(1 + exchange_len).ok_or(bad("no routing key"))?);
        let header_at = 2 + exchange_len + key_len;
        let fixed = bytes
            .get(header_at..header_at + HEADER_FIXED_BYTES)
            .ok_or(bad("no header"))?;
        let body_size = u64::from_be_bytes(fixed[4..12].try_into().expect("eight bytes were sliced"));
        let body_at = usize::try_from(body_size)
            .ok()
            .and_then(|size| bytes.len().checked_sub(size))
            .filter(|at| *at >= header_at + HEADER_FIXED_BYTES)
            .ok_or(bad("body cut short"))?;
        let properties = Properties::parse(&bytes[header_at + HEADER_FIXED_BYTES..body_at])
            .map_err(|_| bad("properties do not parse"))?;
        Ok(Self(Arc::new(Inner {
            traits: Traits::of(&properties),
            is_dead_letter,
            header_at: u16::try_from(header_at).expect("two shortstrs are at most 512 bytes"),
            body_at: u32::try_from(body_at).map_err(|_| bad("header too long"))?,
            bytes: SmallVec::from_slice(bytes),
        })))
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
            let back = Message::decode(message.encoded(), false).expect("own bytes");
            assert_eq!(back.envelope(), message.envelope());
            assert_eq!(back.header(), message.header());
            assert_eq!(back.body(), body);
            assert!(!back.is_persistent());
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
