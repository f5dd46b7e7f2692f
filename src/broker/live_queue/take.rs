//! Taking published messages into a queue, each key once if the queue deduplicates.

use smallvec::SmallVec;

use crate::broker::dead_letter;
use crate::broker::deduplication::{Candidate, Deduplication};
use crate::broker::queue::Queue;
use crate::broker::queue::effects::Effects;
use crate::clock::Timestamp;
use crate::message::Message;
use crate::store::{KeyRow, Sequence};

use super::LiveQueue;

/// What became of messages.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Those that were refused, by their numbers.
    pub rejected: SmallVec<[usize; 4]>,
    /// There were duplicates: what they repeat is on disk once this is committed.
    pub known_since: Option<Sequence>,
}

impl LiveQueue {
    pub(super) fn take(
        &self,
        queue: &mut Queue,
        messages: impl Iterator<Item = Message>,
        now: Timestamp,
        effects: &mut Effects,
    ) -> Taken {
        let mut taken = Taken::default();
        for (index, message) in messages.enumerate() {
            let is_taken = match &self.deduplication {
                None => queue.publish(message, now, effects),
                Some(deduplication) => {
                    self.take_once(deduplication, queue, message, (now, effects), &mut taken)
                }
            };
            if !is_taken {
                taken.rejected.push(index);
            }
        }
        queue.dispatch(now, effects);
        taken
    }

    /// Whether the queue takes the message, or knows it. A dead letter of its own that comes back, say from a queue
    /// where it waited to be tried again, is no duplicate of itself.
    fn take_once(
        &self,
        deduplication: &Deduplication,
        queue: &mut Queue,
        message: Message,
        (now, effects): (Timestamp, &mut Effects),
        taken: &mut Taken,
    ) -> bool {
        let Some(key) = deduplication.key(message.properties()) else {
            return queue.publish(message, now, effects);
        };
        let comes_back = dead_letter::has_died_in(&message, &self.definition.name);
        if !comes_back && deduplication.knows_in(queue, &key, now) {
            taken.known_since = deduplication.appended();
            return true;
        }
        let place = queue.next_place(&message, now);
        if !queue.publish(message.clone(), now, effects) {
            return false;
        }
        let candidate = Candidate {
            key,
            properties: message.properties(),
            is_persistent: self.keeps(message.is_persistent()),
            place: Some(place),
        };
        deduplication.remember_in(queue, &candidate, now);
        true
    }

    /// Takes over keys that the store knew.
    pub(in crate::broker) fn recover_keys(&self, rows: &[KeyRow]) {
        if let Some(deduplication) = &self.deduplication {
            deduplication.recover(rows);
        }
    }

    /// Whether it takes messages with the same key once.
    pub(in crate::broker) fn deduplicates(&self) -> bool {
        self.deduplication.is_some()
    }
}
