//! Deduplication: an exchange or a queue takes one message with a certain key within a window of time.
//!
//! Keys are exact and bounded in number; those of persistent messages are in the store, in the group in which the
//! message enters its queues, so that a crash loses both or neither.

mod known_keys;
mod rules;

use std::sync::Arc;

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::store::{Keeper, KeyRow, MemoryChange, MessageKey, Operation, Sequence, Store};

use self::known_keys::{Known, KnownKeys};
pub use self::rules::{Rules, RulesRefusal, X_MESSAGE_DEDUPLICATION};

/// Keys of the store that were forgotten before it is told so.
const FORGOTTEN_MAX: usize = 256;

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
}

/// A deduplicator of an exchange, which many publishers share.
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
        }
    }

    /// Takes over what the store knew.
    pub fn recover(&mut self, rows: &[KeyRow]) {
        for row in rows {
            let known = Known {
                expires_at: row.expires_at,
                is_stored: true,
            };
            self.forgotten += self.keys.insert(row.key, known);
        }
    }

    /// The key of a message with these properties.
    pub fn key(&self, properties: &[u8]) -> Option<MessageKey> {
        self.rules.key(properties)
    }

    /// Whether a message with this key was taken.
    pub fn knows(&self, key: &MessageKey, now: Timestamp) -> bool {
        self.keys.get(key, now).is_some()
    }

    /// Takes a message with this key, if none was taken: false for a duplicate. `is_persistent` is whether the message
    /// survives a restart.
    pub fn accept(
        &mut self,
        key: MessageKey,
        properties: &[u8],
        is_persistent: bool,
        now: Timestamp,
        operations: &mut Vec<Operation>,
    ) -> bool {
        self.forgotten += self.keys.expire(now);
        if self.knows(&key, now) {
            return false;
        }
        let known = Known {
            expires_at: now.plus(self.rules.window(properties)),
            is_stored: is_persistent && self.is_stored,
        };
        self.forgotten += self.keys.insert(key, known);
        if known.is_stored {
            operations.push(MemoryChange::RememberKey(self.row(key, known)).into());
        }
        if self.forgotten >= FORGOTTEN_MAX {
            self.forgotten = 0;
            let forget = MemoryChange::ForgetKeys {
                keeper: Arc::clone(&self.keeper),
                before: self.keys.first().unwrap_or(now),
            };
            operations.push(forget.into());
        }
        true
    }

    /// The message was not taken after all.
    pub fn forget(&mut self, key: MessageKey, operations: &mut Vec<Operation>) {
        if let Some(known) = self.keys.remove(&key)
            && known.is_stored
        {
            operations.push(MemoryChange::ForgetKey(self.row(key, known)).into());
        }
    }

    /// The keeper is gone.
    pub fn forget_all(&self, operations: &mut Vec<Operation>) {
        if self.is_stored {
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

    fn row(&self, key: MessageKey, known: Known) -> KeyRow {
        KeyRow {
            keeper: Arc::clone(&self.keeper),
            expires_at: known.expires_at,
            key,
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
        self.deduplicator.lock().knows(key, now)
    }

    /// Takes a message with this key, if none was taken: false for a duplicate. The caller holds the store, so that
    /// the key is in the group of what the message enters.
    pub fn accept(&self, key: MessageKey, properties: &[u8], is_persistent: bool, now: Timestamp) -> bool {
        let mut deduplicator = self.deduplicator.lock();
        let mut operations = Vec::new();
        let is_new = deduplicator.accept(key, properties, is_persistent, now, &mut operations);
        // Under the lock: whoever finds the key known finds it appended as well.
        self.append(operations);
        is_new
    }

    /// The message was not taken after all.
    pub fn forget(&self, key: MessageKey) {
        let mut deduplicator = self.deduplicator.lock();
        let mut operations = Vec::new();
        deduplicator.forget(key, &mut operations);
        self.append(operations);
    }

    /// The exchange is gone.
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
