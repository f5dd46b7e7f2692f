//! Messages that share an allocation. To allocate and free each of a flood of small messages costs more than to copy
//! them: one thread allocates, another one frees, and each time they contend for what the allocator notes.

use triomphe::ThinArc;

use crate::amqp::framed_content;

use super::builder::{BUSY_BYTES_MAX, Received};
use super::encoded::Encoded;
use super::{Message, Traits};

/// As long as one message of a block is there, so are all: no message keeps more than so many, and a block of more than
/// one has no more bytes (with the count and length in front of them one of the allocator's sizes).
const BLOCK_MESSAGES_MAX: usize = 16;
const BLOCK_BYTES_MAX: usize = (8 << 10) - 16;

/// A builder of a connection that has nothing to do keeps no more room than this, bytes: they are many.
const IDLE_BYTES_MAX: usize = 4096;

/// Collects messages that go the same way, for one block.
#[derive(Debug, Default)]
pub struct BlockBuilder {
    /// One message behind the other.
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<u32>,
    /// Those of each of them: with another priority or expiration they would not leave together.
    traits: Traits,
}

impl BlockBuilder {
    /// Whether a message that was published belongs into the block, beside those that it has.
    #[inline]
    pub fn takes(&self, received: &Received<'_>, traits: Traits) -> bool {
        self.has_room(received.len(), traits)
    }

    /// Adds a message that was published, whose properties have these traits.
    #[inline]
    pub fn push(&mut self, received: &Received<'_>, traits: Traits) {
        let (header_at, body_at) = received.places();
        received.append(&mut self.bytes, &traits.note(0, header_at, body_at));
        framed_content::close(&mut self.bytes);
        self.end(traits);
    }

    /// Whether a message that was stored belongs into the block.
    pub fn takes_stored(&self, encoded: &Encoded<'_>) -> bool {
        self.has_room(encoded.len(), encoded.traits)
    }

    /// Adds a message that was stored, as [`Message::decode`] would read it.
    pub fn push_stored(&mut self, encoded: &Encoded<'_>, is_dead_letter: bool) {
        encoded.append(&mut self.bytes, is_dead_letter);
        self.end(encoded.traits);
    }

    /// How many messages it has.
    #[inline]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it has none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Gives the messages to `take`, in order, and has none then.
    #[inline]
    pub fn seal(&mut self, mut take: impl FnMut(Message)) {
        if self.is_empty() {
            return;
        }
        let block = ThinArc::from_header_and_slice((), &self.bytes);
        let mut at = 0;
        for end in self.ends.drain(..) {
            take(Message {
                block: ThinArc::clone(&block),
                at,
                len: end - at,
            });
            at = end;
        }
        self.bytes.clear();
        self.give_back(BUSY_BYTES_MAX);
    }

    /// Gives its room back if that is more than an idle connection should hold.
    pub fn rest(&mut self) {
        self.give_back(IDLE_BYTES_MAX);
    }

    #[inline]
    fn has_room(&self, len: usize, traits: Traits) -> bool {
        self.is_empty()
            || (traits == self.traits
                && self.len() < BLOCK_MESSAGES_MAX
                && self.bytes.len() + len <= BLOCK_BYTES_MAX)
    }

    #[inline]
    fn end(&mut self, traits: Traits) {
        self.traits = traits;
        self.ends
            .push(u32::try_from(self.bytes.len()).expect("a message is below 4 GiB"));
    }

    #[inline]
    fn give_back(&mut self, max: usize) {
        if self.is_empty() && self.bytes.capacity() > max {
            self.bytes = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageBuilder;

    const KEY: &[u8] = b"\x06orders\x06placed";

    /// What stands behind the method's frame, and how long the header is.
    fn tail(properties: &[u8], body: &[u8]) -> (Vec<u8>, usize) {
        let mut bytes = Vec::new();
        let size = (body.len() as u64).to_be_bytes();
        let header = [&[0, 60, 0, 0], &size[..], properties].concat();
        bytes.push(0xCE);
        crate::amqp::frame::header_frame(&mut bytes, 1, &header);
        if !body.is_empty() {
            crate::amqp::frame::body_frame(&mut bytes, 1, body);
        }
        (bytes, header.len())
    }

    fn received<'a>((tail, header_len): &'a (Vec<u8>, usize), body: &[u8]) -> Received<'a> {
        Received {
            envelope: KEY,
            tail,
            header_len: *header_len,
            body_len: body.len(),
        }
    }

    fn sealed(block: &mut BlockBuilder) -> Vec<Message> {
        let mut messages = Vec::new();
        block.seal(|message| messages.push(message));
        assert!(block.is_empty());
        messages
    }

    #[test]
    fn messages_of_a_block_are_what_they_are_alone() {
        let traits = Traits {
            persistent: true,
            priority: 7,
            expiration: None,
        };
        let properties = &[0x18, 0, 2, 7][..];
        let bodies = [&b"first"[..], b"", b"a longer one", b"", b"last"];
        let tails = bodies.map(|body| tail(properties, body));
        let mut block = BlockBuilder::default();
        for (tail, body) in tails.iter().zip(bodies) {
            assert!(block.takes(&received(tail, body), traits));
            block.push(&received(tail, body), traits);
        }
        assert_eq!(block.len(), bodies.len());
        let messages = sealed(&mut block);
        for ((message, tail), body) in messages.iter().zip(&tails).zip(bodies) {
            let mut builder = MessageBuilder::default();
            builder.whole(&received(tail, body));
            let alone = builder.finish(traits);
            assert_eq!(message.bytes(), alone.bytes());
            assert_eq!((message.body(), message.properties()), (body, properties));
            assert!(message.is_persistent() && message.priority() == 7 && !message.is_dead_letter());
            assert_eq!(message.memory_bytes(), alone.memory_bytes());
        }
        let mut identities: Vec<usize> = messages.iter().map(Message::identity).collect();
        assert!(messages.iter().all(|message| message.is_same(&message.clone())));
        identities.dedup();
        assert_eq!(identities.len(), bodies.len(), "each is one of its own");
        let shares = |message: &Message| message.block.as_ptr() == messages[0].block.as_ptr();
        assert!(messages.iter().all(shares));
        drop(sealed(&mut block));
        assert_eq!(messages[4].body(), b"last", "the builder is used again");
    }

    #[test]
    fn what_was_stored_is_read_as_it_is_alone() {
        let message = Message::new(b"orders", b"placed", &[0, 0], b"body");
        let bytes = message.encoded();
        let encoded = Encoded::parse(&bytes).expect("own bytes");
        let mut block = BlockBuilder::default();
        for is_dead_letter in [false, true] {
            assert!(block.takes_stored(&encoded));
            block.push_stored(&encoded, is_dead_letter);
        }
        for (read, is_dead_letter) in sealed(&mut block).iter().zip([false, true]) {
            let alone = Message::decode(&bytes, is_dead_letter).expect("own bytes");
            assert_eq!(read.bytes(), alone.bytes());
            assert_eq!(read.is_dead_letter(), is_dead_letter);
            assert_eq!(read.content().body(), message.body());
        }
    }

    #[test]
    fn a_block_is_small_unless_it_is_for_one_message() {
        let large = vec![1; BLOCK_BYTES_MAX];
        let large_tail = tail(&[0, 0], &large);
        let small_tail = tail(&[0, 0], b"body");
        let (large, small) = (received(&large_tail, &large), received(&small_tail, b"body"));
        let traits = Traits::default();
        let mut block = BlockBuilder::default();
        assert!(block.takes(&large, traits));
        block.push(&large, traits);
        assert!(!block.takes(&small, traits));
        assert_eq!(sealed(&mut block).len(), 1);
        while block.takes(&small, traits) {
            block.push(&small, traits);
        }
        assert_eq!(sealed(&mut block).len(), BLOCK_MESSAGES_MAX);
        let body = vec![1; 1024];
        let tail = tail(&[0, 0], &body);
        while block.takes(&received(&tail, &body), traits) {
            block.push(&received(&tail, &body), traits);
        }
        let messages = sealed(&mut block);
        assert_eq!(messages.len(), 7);
        assert!(messages[0].block.slice.len() <= BLOCK_BYTES_MAX);
    }

    #[test]
    fn messages_that_will_not_leave_together_share_nothing() {
        let (tail, body) = (tail(&[0, 0], b"body"), b"body");
        let mut block = BlockBuilder::default();
        block.push(&received(&tail, body), Traits::default());
        for other in [
            Traits {
                priority: 1,
                ..Traits::default()
            },
            Traits {
                expiration: Some(10),
                ..Traits::default()
            },
            Traits {
                persistent: true,
                ..Traits::default()
            },
        ] {
            assert!(!block.takes(&received(&tail, body), other), "{other:?}");
        }
    }

    #[test]
    fn one_that_is_detached_keeps_nobody_else() {
        let (tail, body) = (tail(&[0, 0], b"body"), b"body");
        let mut block = BlockBuilder::default();
        for _ in 0..2 {
            block.push(&received(&tail, body), Traits::default());
        }
        let first = sealed(&mut block).swap_remove(0);
        let detached = first.clone().detached();
        assert!(!detached.is_same(&first));
        assert_eq!(detached.bytes(), first.bytes());
        assert_eq!(detached.block.slice.len(), detached.bytes().len());
        assert!(
            detached.clone().detached().is_same(&detached),
            "it is alone already"
        );
    }

    #[test]
    fn an_idle_one_holds_little() {
        let body = vec![1; IDLE_BYTES_MAX + 1];
        let tail = tail(&[0, 0], &body);
        let mut block = BlockBuilder::default();
        block.push(&received(&tail, &body), Traits::default());
        block.rest();
        assert_eq!(block.len(), 1, "nothing is lost");
        drop(sealed(&mut block));
        block.rest();
        assert!(block.bytes.capacity() <= IDLE_BYTES_MAX);
    }
}
