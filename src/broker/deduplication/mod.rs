//! Deduplication: an exchange or a queue takes one message with a certain key within a window of time.
//!
//! Keys are exact and bounded in number; those of persistent messages are in the store, in the group in which the
//! message enters its queues, so that a crash loses both or neither.

mod known_keys;
mod rules;

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashSet;

use crate::clock::Timestamp;
use crate::store::{Keeper, KeyRow, MemoryChange, MessageKey, Operation, Position, Sequence, Store};

use self::known_keys::{Known, KnownKeys};
pub use self::rules::{Rules, RulesRefusal, X_MESSAGE_DEDUPLICATION};

/// Keys of the store that were forgotten before it is told so.
const FORGOTTEN_MAX: usize = 256;

/// Keys whose window is over that a message lets go of.
const SWEPT_MAX: usize = 16;

/// Where a message entered a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its own priority.
    pub priority: u8,
    /// Its position.
    pub position: Position,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}

/// Who may still have messages whose window is over. While it has one, its key is known.
pub trait Holder {
    /// Whether the message that entered at that place is still there.
    fn holds(&self, place: Place, now: Timestamp) -> bool;

    /// The same at little cost: yes is not sure.
    fn may_hold(&self, place: Place, now: Timestamp) -> bool;
}

/// An exchange, which holds nothing.
struct Passer;

impl Holder for Passer {
    fn holds(&self, _: Place, _: Timestamp) -> bool {
        false
    }

    fn may_hold(&self, _: Place, _: Timestamp) -> bool {
        false
    }
}

/// A message that is to be taken if its key is not known.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its key.
    pub key: MessageKey,
    /// Its property flags and values.
    pub properties: &'a [u8],
    /// It survives a restart.
    pub is_persistent: bool,
    /// Where it enters a queue.
    pub place: Option<Place>,
}

/// A message that was taken, by what is known of it since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    key: MessageKey,
    /// Which of all keys that were added it is: those of one batch end in the same millisecond.
    number: u64,
    expires_at: Timestamp,
    is_stored: bool,
}

/// What an exchange or a queue knows. It tells its caller what the store has to know.
#[derive(Debug)]
pub struct Deduplicator {
    rules: Rules,
    keeper: Arc<Keeper>,
    /// It is durable, and so are the keys of persistent messages.
    is_stored: bool,
    keys: KnownKeys,
    /// Keys of the store that are forgotten here and not there.
    forgotten: usize,
    /// Numbers of keys whose messages are on their way to queues that may refuse them.
    undecided: FxHashSet<u64>,
}

/// A deduplicator that many publishers share.
#[derive(Debug)]
pub struct Deduplication {
    rules: Rules,
    /// Where keys go; none if they stay in memory.
    store: Option<Arc<dyn Store>>,
    deduplicator: Mutex<Deduplicator>,
}

impl Deduplicator {
    /// One that knows nothing. `is_durable` is whether the keeper survives a restart.
    pub fn new(rules: Rules, keeper: Arc<Keeper>, is_durable: bool) -> Self {
        Self {
            is_stored: is_durable && rules.is_persistent,
            keys: KnownKeys::new(rules.size),
            keeper,
            rules,
            forgotten: 0,
            undecided: FxHashSet::default(),
        }
    }

    /// Takes over what the store knew.
    pub fn recover(&mut self, rows: &[KeyRow]) {
        for row in rows {
            let known = Known {
                expires_at: row.expires_at,
                kept_until: row.expires_at,
                is_stored: true,
                place: None,
            };
            self.forgotten += self.keys.insert(row.key, known);
        }
    }

    /// The key of a message with these properties.
    pub fn key(&self, properties: &[u8]) -> Option<MessageKey> {
        self.rules.key(properties)
    }

    /// Whether a message with this key was taken, and its window is not over or `holder` still has it.
    pub fn knows(&self, key: &MessageKey, now: Timestamp, holder: &impl Holder) -> bool {
        self.keys.get(key).is_some_and(|known| {
            known.expires_at > now || known.place.is_some_and(|place| holder.holds(place, now))
        })
    }

    /// The same, and it is decided that the message stays taken: whoever has a duplicate of it may forget it.
    pub fn has_taken(&self, key: &MessageKey, now: Timestamp, holder: &impl Holder) -> bool {
        let is_undecided = self
            .keys
            .number(key)
            .is_some_and(|number| self.undecided.contains(&number));
        !is_undecided && self.knows(key, now, holder)
    }

    /// Takes a message, if none with its key was taken; else it is a duplicate. Until [`Deduplicator::decide`] or
    /// [`Deduplicator::forget`] it is undecided.
    pub fn accept(
        &mut self,
        candidate: &Candidate<'_>,
        now: Timestamp,
        holder: &impl Holder,
        operations: &mut Vec<Operation>,
    ) -> Option<Taken> {
        let is_duplicate = self.knows(&candidate.key, now, holder);
        (!is_duplicate).then(|| {
            let taken = self.remember(candidate, now, holder, operations);
            self.undecided.insert(taken.number);
            taken
        })
    }

    /// The message stays taken.
    pub fn decide(&mut self, taken: &Taken) {
        self.undecided.remove(&taken.number);
    }

    /// Remembers a message, whose window begins now, whether or not one with its key was taken.
    pub fn remember(
        &mut self,
        candidate: &Candidate<'_>,
        now: Timestamp,
        holder: &impl Holder,
        operations: &mut Vec<Operation>,
    ) -> Taken {
        let expires_at = now.plus(self.rules.window(candidate.properties));
        let known = Known {
            expires_at,
            kept_until: expires_at,
            is_stored: candidate.is_persistent && self.is_stored,
            place: candidate.place,
        };
        let replaced = self.keys.get(&candidate.key);
        self.forgotten += usize::from(replaced.is_some_and(|known| known.is_stored));
        self.forgotten += self.keys.insert(candidate.key, known);
        let taken = Taken {
            key: candidate.key,
            number: self.keys.last_number(),
            expires_at,
            is_stored: known.is_stored,
        };
        if taken.is_stored {
            operations.push(MemoryChange::RememberKey(self.row(&taken)).into());
        }
        self.sweep(now, holder, operations);
        taken
    }

    /// Forgets some of the keys whose window is over, and keeps those of messages that may still be there.
    fn sweep(&mut self, now: Timestamp, holder: &impl Holder, operations: &mut Vec<Operation>) {
        for _ in 0..SWEPT_MAX {
            let Some((key, known)) = self.keys.pop_due(now) else {
                break;
            };
            // After a restart only windows count.
            self.forgotten += usize::from(known.is_stored);
            if known.place.is_some_and(|place| holder.may_hold(place, now)) {
                let kept = Known {
                    kept_until: now.plus(self.rules.window(&[])),
                    is_stored: false,
                    ..known
                };
                self.forgotten += self.keys.insert(key, kept);
            }
        }
        if self.forgotten >= FORGOTTEN_MAX {
            self.forgotten = 0;
            let forget = MemoryChange::ForgetKeys {
                keeper: Arc::clone(&self.keeper),
                before: self.keys.first().unwrap_or(now),
            };
            operations.push(forget.into());
        }
    }

    /// The message was not taken after all. The store may know its key also when it has gone for others here.
    pub fn forget(&mut self, taken: &Taken, operations: &mut Vec<Operation>) {
        self.decide(taken);
        let known = self.keys.get(&taken.key);
        let ends_with_another =
            known.is_some_and(|known| known.is_stored && known.expires_at == taken.expires_at);
        if self.keys.number(&taken.key) == Some(taken.number) {
            self.keys.remove(&taken.key);
        } else if ends_with_another {
            // One that was taken since, whose row is the same.
            return;
        }
        if taken.is_stored && self.is_stored {
            operations.push(MemoryChange::ForgetKey(self.row(taken)).into());
        }
    }

    /// The keeper is gone: nothing more is stored, since another may come under its name.
    pub fn forget_all(&mut self, operations: &mut Vec<Operation>) {
        if std::mem::take(&mut self.is_stored) {
            let forget = MemoryChange::ForgetKeys {
                keeper: Arc::clone(&self.keeper),
                before: Timestamp::from_millis(u64::MAX),
            };
            operations.push(forget.into());
        }
    }

    /// How many keys it holds.
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    fn row(&self, taken: &Taken) -> KeyRow {
        KeyRow {
            keeper: Arc::clone(&self.keeper),
            expires_at: taken.expires_at,
            key: taken.key,
        }
    }
}

impl Deduplication {
    /// One that knows nothing.
    pub fn new(rules: Rules, keeper: Arc<Keeper>, is_durable: bool, store: &Arc<dyn Store>) -> Self {
        let deduplicator = Deduplicator::new(rules.clone(), keeper, is_durable);
        Self {
            rules,
            store: deduplicator.is_stored.then(|| Arc::clone(store)),
            deduplicator: Mutex::new(deduplicator),
        }
    }

    /// Takes over what the store knew.
    pub fn recover(&self, rows: &[KeyRow]) {
        self.deduplicator.lock().recover(rows);
    }

    /// The key of a message with these properties.
    pub fn key(&self, properties: &[u8]) -> Option<MessageKey> {
        self.rules.key(properties)
    }

    /// Whether a message with this key was taken.
    pub fn knows(&self, key: &MessageKey, now: Timestamp) -> bool {
        self.knows_in(&Passer, key, now)
    }

    /// The same for a queue.
    pub fn knows_in(&self, queue: &impl Holder, key: &MessageKey, now: Timestamp) -> bool {
        self.deduplicator.lock().knows(key, now, queue)
    }

    /// Takes a message, if none with its key was taken; else it is a duplicate. The caller holds the store, so that the
    /// key is in the group of what the message enters.
    pub fn accept(&self, candidate: &Candidate<'_>, now: Timestamp) -> Option<Taken> {
        let mut deduplicator = self.deduplicator.lock();
        let mut operations = Vec::new();
        let taken = deduplicator.accept(candidate, now, &Passer, &mut operations);
        // Under the lock: whoever finds the key known finds it appended as well.
        self.append(operations);
        taken
    }

    /// Whether a message with this key was taken, and no queue can refuse it any more.
    pub fn has_taken(&self, key: &MessageKey, now: Timestamp) -> bool {
        self.deduplicator.lock().has_taken(key, now, &Passer)
    }

    /// The message stays taken.
    pub fn decide(&self, taken: &Taken) {
        self.deduplicator.lock().decide(taken);
    }

    /// Remembers a message that `queue` has taken. Its caller holds the store, and the queue, so that whoever finds
    /// the key known finds both appended.
    pub fn remember_in(&self, queue: &impl Holder, candidate: &Candidate<'_>, now: Timestamp) {
        let mut deduplicator = self.deduplicator.lock();
        let mut operations = Vec::new();
        deduplicator.remember(candidate, now, queue, &mut operations);
        self.append(operations);
    }

    /// The message was not taken after all.
    pub fn forget(&self, taken: &Taken) {
        let mut deduplicator = self.deduplicator.lock();
        let mut operations = Vec::new();
        deduplicator.forget(taken, &mut operations);
        self.append(operations);
    }

    /// The exchange or queue is gone.
    pub fn forget_all(&self, operations: &mut Vec<Operation>) {
        self.deduplicator.lock().forget_all(operations);
    }

    /// All that was appended up to now, the keys of duplicates among it, is on disk once this is committed. `None` if
    /// keys stay in memory.
    pub fn appended(&self) -> Option<Sequence> {
        self.store.as_ref().map(|store| store.append(&mut Vec::new()))
    }

    /// How many keys it holds.
    pub fn key_count(&self) -> usize {
        self.deduplicator.lock().key_count()
    }

    fn append(&self, mut operations: Vec<Operation>) {
        if let Some(store) = &self.store
            && !operations.is_empty()
        {
            store.append(&mut operations);
        }
    }
}

#[cfg(test)]
mod tests;
