//! The entries of a page while it is being read. Its messages share memory, for they leave their queue one after the
//! other.

use crate::clock::Timestamp;
use crate::message::{BlockBuilder, Encoded};
use crate::store::{PageEntry, Position};

/// An entry but for its message; see [`PageEntry`].
pub(super) struct Stored {
    pub position: Position,
    pub delivery_count: u32,
    pub redelivered: bool,
    pub expires_at: Option<Timestamp>,
    pub rests_until: Option<Timestamp>,
    pub is_persistent: bool,
}

/// The entries of a page.
pub(super) struct Entries {
    done: Vec<PageEntry>,
    block: BlockBuilder,
    /// What belongs to the messages of the block.
    of_block: Vec<Stored>,
}

impl Entries {
    /// None yet, and room for so many.
    pub fn with_room(room: usize) -> Self {
        Self {
            done: Vec::with_capacity(room),
            block: BlockBuilder::default(),
            of_block: Vec::new(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.done.len() + self.of_block.len()
    }

    /// Adds one behind all others.
    pub fn add(&mut self, message: &Encoded<'_>, is_dead_letter: bool, stored: Stored) {
        if !self.block.takes_stored(message) {
            self.seal();
        }
        self.block.push_stored(message, is_dead_letter);
        self.of_block.push(stored);
    }

    /// All of them.
    pub fn finish(mut self) -> Vec<PageEntry> {
        self.seal();
        self.done
    }

    fn seal(&mut self) {
        let (done, mut of_block) = (&mut self.done, self.of_block.drain(..));
        self.block.seal(|message| {
            let stored = of_block.next().expect("each message of the block has one");
            done.push(PageEntry {
                position: stored.position,
                message,
                delivery_count: stored.delivery_count,
                redelivered: stored.redelivered,
                expires_at: stored.expires_at,
                rests_until: stored.rests_until,
                is_persistent: stored.is_persistent,
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    #[test]
    fn each_message_has_the_place_that_it_was_added_with() {
        let mut entries = Entries::with_room(0);
        for number in 0..50u8 {
            // Another priority now and then, so that blocks end at all sorts of places.
            let properties = [0x08, 0, number / 7 % 3];
            let bytes = Message::new(b"", b"q", &properties, &[number]).encoded();
            let encoded = Encoded::parse(&bytes).expect("own bytes");
            let stored = Stored {
                position: Position(u64::from(number)),
                delivery_count: u32::from(number),
                redelivered: number % 2 == 0,
                expires_at: None,
                rests_until: None,
                is_persistent: false,
            };
            entries.add(&encoded, number % 5 == 0, stored);
            assert_eq!(entries.len(), usize::from(number) + 1);
        }
        let entries = entries.finish();
        assert_eq!(entries.len(), 50);
        for (entry, number) in entries.iter().zip(0..) {
            assert_eq!(entry.message.body(), [number]);
            assert_eq!(entry.message.priority(), number / 7 % 3);
            assert_eq!(entry.message.is_dead_letter(), number % 5 == 0);
            assert_eq!(entry.position, Position(u64::from(number)));
            assert_eq!(
                (entry.delivery_count, entry.redelivered),
                (number.into(), number % 2 == 0)
            );
        }
    }
}
