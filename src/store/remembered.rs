//! What exchanges and queues remember of messages that have passed: keys that tell duplicates, and the last messages.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::message::Message;

use super::{DestinationKind, Operation};

/// Stands for what makes a message unique: a hash that no two different values share in practice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageKey(pub [u8; 16]);

/// The exchange or queue that remembers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Keeper {
    /// Virtual host.
    pub vhost: Arc<str>,
    /// What `name` names.
    pub kind: DestinationKind,
    /// Exchange or queue.
    pub name: Arc<str>,
}

/// A key that was seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyRow {
    /// By whom.
    pub keeper: Arc<Keeper>,
    /// Until when messages with it are duplicates.
    pub expires_at: Timestamp,
    /// The key.
    pub key: MessageKey,
}

/// A message of an exchange's history.
#[derive(Clone, Debug)]
pub struct HistoryRow {
    /// The exchange.
    pub keeper: Arc<Keeper>,
    /// Its place; later ones have higher places.
    pub place: u64,
    /// The message.
    pub message: Message,
}

/// A change of what is remembered.
#[derive(Debug)]
pub enum MemoryChange {
    /// A message passed whose key was not known: later ones with it are duplicates.
    RememberKey(KeyRow),
    /// The message was not taken after all.
    ForgetKey(KeyRow),
    /// Keys that expire before this time are forgotten; all at the end of time.
    ForgetKeys {
        /// Who kept them.
        keeper: Arc<Keeper>,
        /// The time.
        before: Timestamp,
    },
    /// A message passed that is to be kept. Bodies stand here beside those in queues.
    RecordHistory(HistoryRow),
    /// Messages of a history below this place are forgotten.
    ForgetHistory {
        /// Who kept them.
        keeper: Arc<Keeper>,
        /// First place that stays.
        before: u64,
    },
}

impl From<MemoryChange> for Operation {
    fn from(change: MemoryChange) -> Self {
        Self::Remember(change)
    }
}
