//! Taking published messages into a queue, each key once if the queue deduplicates; and who is told when one that
//! `basic.get` asked for may be seen.

use std::sync::Arc;
use std::task::{Wake, Waker};

use smallvec::SmallVec;

use crate::broker::dead_letter;
use crate::broker::deduplication::{Candidate, Deduplication};
use crate::broker::outbox::{Notice, Outbox};
use crate::broker::queue::Queue;
use crate::broker::queue::effects::Effects;
use crate::clock::Timestamp;
use crate::message::Message;
use crate::store::{KeyRow, Sequence, Store};

use super::{LiveQueue, State};

/// What became of messages.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Those that were refused, by their numbers.
    pub rejected: SmallVec<[usize; 4]>,
    /// There were duplicates: what they repeat is on disk once this is committed.
    pub known_since: Option<Sequence>,
}

/// Tells a connection whose `basic.get` waits for a commit.
pub(super) struct TellsOutbox<'a> {
    outbox: &'a Arc<Outbox>,
    /// The connection will be told.
    pub is_asked: bool,
}

struct GetAgain(Arc<Outbox>);

impl<'a> TellsOutbox<'a> {
    pub fn new(outbox: &'a Arc<Outbox>) -> Self {
        Self {
            outbox,
            is_asked: false,
        }
    }

    /// Tells it when `after` is committed; false if it is.
    pub fn once_committed(&mut self, after: Sequence, store: &dyn Store) -> bool {
        let waker = Waker::from(Arc::new(GetAgain(Arc::clone(self.outbox))));
        self.is_asked = store.committed() < after && store.wake_when_committed(after, &waker);
        self.is_asked
    }
}

impl Wake for GetAgain {
    fn wake(self: Arc<Self>) {
        self.0.notify(Notice::GetAgain);
    }
}

impl LiveQueue {
    /// Takes messages that nobody may see before `after` is committed, if it is given.
    pub(super) fn take_after(
        &self,
        state: &mut State,
        messages: impl Iterator<Item = Message>,
        after: Option<Sequence>,
        now: Timestamp,
    ) -> Taken {
        let first = state.queue.next();
        let taken = self.take(&mut state.queue, messages, now, &mut state.effects);
        if let Some(after) = after {
            state.moved.note(first..state.queue.next(), after);
        }
        taken
    }

    fn take(
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
        // Those that came with it may all be duplicates.
        let message = message.detached();
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
