//! The words for delayed messages: kept by the time at which they are due, and read in that order.

use std::fmt;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::message::Message;

use super::{Position, QueueId};

/// Names a delayed message among those of its exchange. They are due in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DelayedId {
    /// When it is to be routed; below 2^63 milliseconds.
    pub due: Timestamp,
    /// Its number, which grows by one with each message that the exchange delays and is never used again; below 2^39.
    pub position: Position,
}

impl DelayedId {
    /// Not after any other.
    pub const FIRST: Self = Self {
        due: Timestamp::MIN,
        position: Position(0),
    };

    /// The latest time that can be told from the ones before it.
    pub const DUE_MAX: Timestamp = Timestamp::from_millis(i64::MAX.unsigned_abs());
}

/// A message that waits for its time.
#[derive(Clone, Debug)]
pub struct DelayedEntry {
    /// Its place in the order.
    pub id: DelayedId,
    /// The message as it will be routed.
    pub message: Message,
    /// Where it goes then.
    pub way: DelayedWay,
}

/// Where a delayed message goes when its time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DelayedWay {
    /// On from its exchange, by these routing keys besides its own (CC and BCC).
    Exchange(Vec<Vec<u8>>),
    /// Into the queue of this name, which was full when it came there.
    Queue(Arc<str>),
}

/// An exchange that delays messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelaysRow {
    /// The number that its delayed messages are kept under, of the same kind as a queue's and never shared with one.
    pub id: QueueId,
    /// Virtual host.
    pub vhost: Arc<str>,
    /// Exchange name.
    pub exchange: Arc<str>,
}

/// The sums of an exchange's delayed messages, which stay on disk until a [`DelayedRequest`] asks for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredDelays {
    /// Whose they are.
    pub row: DelaysRow,
    /// How many there are.
    pub messages: u64,
    /// Sum of their body bytes.
    pub body_bytes: u64,
    /// One past the highest number that was ever given.
    pub next: Position,
}

/// Which delayed messages to read, and who takes them.
#[derive(Clone)]
pub struct DelayedRequest {
    /// Whose.
    pub delays: QueueId,
    /// The first to read, if it is there.
    pub from: DelayedId,
    /// At most so many messages; at least one is read if there is one.
    pub messages_max: usize,
    /// Stop after so many bytes; at least one message is read if there is one.
    pub bytes_max: usize,
    /// Called once, from a thread of the store.
    pub sink: Arc<dyn DelayedSink>,
}

/// Takes what a [`DelayedRequest`] read.
pub trait DelayedSink: Send + Sync {
    /// `page` holds the messages in the order in which they are due.
    fn delayed_loaded(self: Arc<Self>, page: DelayedPage);
}

/// A run of delayed messages.
#[derive(Clone, Debug, Default)]
pub struct DelayedPage {
    /// In ascending order.
    pub entries: Vec<DelayedEntry>,
    /// The first message that was not given; `None` when there are no more.
    pub next: Option<DelayedId>,
}

impl fmt::Debug for DelayedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DelayedRequest")
            .field("delays", &self.delays)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}
