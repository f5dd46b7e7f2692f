//! Letting go of all messages at once: `queue.purge` and the end of a queue.

use crate::clock::Timestamp;
use crate::store::Position;

use super::effects::Effects;
use super::level::Waiting;
use super::settings::QueueSettings;
use super::{Origin, Queue};

impl Queue {
    /// Drops all messages that nobody holds and returns how many there were.
    pub fn purge(&mut self, effects: &mut Effects) -> u64 {
        let count = self.ready.count() + self.resting.len() as u64 + self.dying.count();
        let mut purged = Vec::new();
        let settle = |level, position, waiting: Waiting| {
            if waiting.stored {
                effects.of(level).settled.push(position);
            }
        };
        self.ready
            .purge(settle, |level, unread| purged.push((level, unread)));
        for (level, unread) in purged {
            effects.of(level).purged = Some(unread);
        }
        for ((_, position), (level, waiting)) in std::mem::take(&mut self.resting) {
            self.held_bytes -= waiting.message.memory_bytes();
            if waiting.stored {
                effects.of(level).settled.push(position);
            }
        }
        self.purge_dying(effects);
        count
    }

    /// Forgets everything: the queue is deleted, and the caller tells the store.
    pub fn clear(&mut self) {
        let origin = Origin {
            levels: Vec::new(),
            next: self.next,
            seen_before: Position(0),
        };
        *self = Self::new(
            self.options,
            QueueSettings::default(),
            origin,
            Timestamp::from_millis(0),
        );
        self.unused_since = None;
    }
}
