//! The words of the store's language: what the broker appends, and what a start or a page read gives back.

use std::fmt;
use std::sync::Arc;

use amq_protocol::types::FieldTable;

use crate::clock::Timestamp;
use crate::message::Message;
use crate::store::access::{AccessChange, AccessRows};
use crate::store::policy::{PolicyKind, PolicyRow};

use super::delayed::{DelayedEntry, DelayedId, DelayedRequest, DelaysRow, RecoveredDelays};
use super::remembered::{HistoryRow, KeyRow, MemoryChange};

/// A queue's number in the store: given at declare, never used again, below 2^24.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId(pub u32);

/// A message's place in its queue: grows by one with each publish, kept on requeue, below 2^39.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position(pub u64);

/// One change of what is stored.
#[derive(Debug)]
pub enum Operation {
    /// A durable exchange exists from now on, or its definition is replaced.
    DeclareExchange(ExchangeRow),
    /// The exchange is gone; its bindings are unbound by operations of their own.
    DeleteExchange {
        /// Virtual host.
        vhost: Arc<str>,
        /// Exchange name.
        name: Arc<str>,
    },
    /// A queue exists from now on.
    DeclareQueue(QueueRow),
    /// A queue keeps its messages of one priority under a number of their own from now on. Those of priority 0 are
    /// under the queue's own.
    DeclareLevel(LevelRow),
    /// The queue, or the level, and all its messages are gone. The levels of a queue are deleted one by one, before
    /// the queue itself and together with it.
    DeleteQueue(QueueId),
    /// A durable binding exists from now on; adding it twice is the same as once.
    Bind(BindingRow),
    /// The binding is gone; removing it twice is the same as once.
    Unbind(BindingRow),
    /// A policy is in force from now on, in the place of one of the same kind and name.
    SetPolicy(PolicyRow),
    /// The policy is gone.
    ClearPolicy {
        /// Virtual host.
        vhost: Arc<str>,
        /// Of which kind.
        kind: PolicyKind,
        /// Its name.
        name: Arc<str>,
    },
    /// Who may do what is another from now on.
    Access(AccessChange),
    /// The clock of the broker showed this: it shall not show less after a restart.
    NoteTime(Timestamp),
    /// What exchanges and queues remember of messages is another from now on.
    Remember(MemoryChange),
    /// Messages enter a queue, positions ascending. The same [`Message`] in several queues within one group is
    /// stored once.
    Publish {
        /// The queue they enter.
        queue: QueueId,
        /// The messages with their places.
        messages: Vec<PublishEntry>,
    },
    /// Messages are done with (acked, dropped, dead-lettered): they never come back.
    Settle {
        /// The queue they leave.
        queue: QueueId,
        /// Their places, in any order.
        positions: Vec<Position>,
    },
    /// All messages in `from..to` are done with: the part of a queue that was purged unread.
    SettleRange {
        /// The queue they leave.
        queue: QueueId,
        /// First place, included.
        from: Position,
        /// Last place, excluded.
        to: Position,
        /// How many unsettled persistent messages the range holds. The store removes them bit by bit and so can
        /// not count them at once.
        messages: u64,
        /// Sum of their body bytes.
        body_bytes: u64,
    },
    /// A message was handed out and came back: after a restart it is redelivered, with this delivery count.
    Return {
        /// The queue it is in.
        queue: QueueId,
        /// Its place.
        position: Position,
        /// How often it was handed out.
        delivery_count: u32,
        /// It is not handed out again before this time.
        rests_until: Option<Timestamp>,
    },
    /// From now on every message of the queue below `before` may have been handed out, so that after a restart it
    /// is flagged redelivered. `Position(u64::MAX)` while consumers are at work.
    MarkDelivered {
        /// The queue.
        queue: QueueId,
        /// First place that was surely not handed out.
        before: Position,
    },
    /// Read messages of a queue once everything appended so far is on disk.
    Load(PageRequest),
    /// An exchange keeps delayed messages from now on.
    DeclareDelays(DelaysRow),
    /// The exchange is gone, and all the messages that it delays.
    DeleteDelays(QueueId),
    /// An exchange delays a message.
    Delay {
        /// The exchange's number.
        delays: QueueId,
        /// The message with its time.
        entry: DelayedEntry,
    },
    /// Messages are delayed no longer: they were released or cancelled.
    EndDelay {
        /// The exchange's number.
        delays: QueueId,
        /// Which messages.
        ids: Vec<DelayedId>,
    },
    /// Read delayed messages once everything appended so far is on disk.
    LoadDelayed(DelayedRequest),
}

/// A message that enters a queue.
#[derive(Clone, Debug)]
pub struct PublishEntry {
    /// Its place.
    pub position: Position,
    /// The message.
    pub message: Message,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// It survives a restart: its own delivery mode says so, or its queue keeps everything.
    pub is_persistent: bool,
}

/// Which messages to read, and who takes them.
#[derive(Clone)]
pub struct PageRequest {
    /// The queue.
    pub queue: QueueId,
    /// First place to read, included.
    pub from: Position,
    /// End of the places to read, excluded. `from == to` reads nothing and answers after the commit.
    pub to: Position,
    /// At most so many messages; at least one is read if there is one.
    pub messages_max: usize,
    /// Stop after so many bytes; at least one message is read if there is one.
    pub bytes_max: usize,
    /// Give only messages that expire at this time or before. Such a read looks at a bounded number of messages: it may
    /// end before `to` and have nothing to give.
    pub expired_at: Option<Timestamp>,
    /// Comes back in [`Page::tag`].
    pub tag: u32,
    /// Called once, from a thread of the store.
    pub sink: Arc<dyn PageSink>,
}

/// What is read once a group is committed.
#[derive(Debug)]
pub(super) enum Request {
    Messages(PageRequest),
    Delayed(DelayedRequest),
}

/// Takes what a [`PageRequest`] read.
pub trait PageSink: Send + Sync {
    /// `page` holds the unsettled messages in order.
    fn page_loaded(self: Arc<Self>, page: Page);
}

/// A run of stored messages.
#[derive(Debug, Default)]
pub struct Page {
    /// In ascending order of position.
    pub entries: Vec<PageEntry>,
    /// First place that was not looked at: `to` when all was read.
    pub next: Position,
    /// Of the unsettled messages that were looked at and not given, none expires before this; `None` when none ever
    /// does. It may be earlier than the first of them, but is later than [`PageRequest::expired_at`]. A read without
    /// that gives all that it looks at.
    pub expires_next: Option<Timestamp>,
    /// What the request said.
    pub tag: u32,
}

/// One stored message.
#[derive(Clone, Debug)]
pub struct PageEntry {
    /// Its place.
    pub position: Position,
    /// The message.
    pub message: Message,
    /// How often it was handed out and came back, as far as [`Operation::Return`] said.
    pub delivery_count: u32,
    /// It may have been handed out before.
    pub redelivered: bool,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// It is not handed out before this time ([`Operation::Return`]).
    pub rests_until: Option<Timestamp>,
    /// As [`PublishEntry::is_persistent`] said.
    pub is_persistent: bool,
}

/// An exchange's definition.
#[derive(Clone, Debug, PartialEq)]
pub struct ExchangeRow {
    /// Virtual host.
    pub vhost: Arc<str>,
    /// Name, unique in the vhost.
    pub name: Arc<str>,
    /// Type as declared (`direct`, `topic` …).
    pub kind: Arc<str>,
    /// Deleted with its last binding.
    pub auto_delete: bool,
    /// Not open to publishers.
    pub internal: bool,
    /// Arguments as declared.
    pub arguments: FieldTable,
}

/// A queue's definition.
#[derive(Clone, Debug, PartialEq)]
pub struct QueueRow {
    /// Its number.
    pub id: QueueId,
    /// Virtual host.
    pub vhost: Arc<str>,
    /// Name, unique in the vhost.
    pub name: Arc<str>,
    /// Survives a restart. Queues that do not are stored only while they spill, in a store that starts empty.
    pub durable: bool,
    /// Deleted with its last consumer.
    pub auto_delete: bool,
    /// Arguments as declared.
    pub arguments: FieldTable,
}

/// A queue's messages of one priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelRow {
    /// Its number, of the same kind as a queue's and never shared with one.
    pub id: QueueId,
    /// The queue that it is part of.
    pub queue: QueueId,
    /// The priority, above 0.
    pub priority: u8,
}

/// What a binding leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DestinationKind {
    /// A queue.
    Queue,
    /// Another exchange.
    Exchange,
}

/// A binding's definition; all fields together are its identity.
#[derive(Clone, Debug, PartialEq)]
pub struct BindingRow {
    /// Virtual host.
    pub vhost: Arc<str>,
    /// The exchange that routes.
    pub source: Arc<str>,
    /// What `destination` names.
    pub destination_kind: DestinationKind,
    /// Queue or exchange that receives.
    pub destination: Arc<str>,
    /// Binding key; any bytes.
    pub routing_key: Arc<[u8]>,
    /// Arguments, which the headers exchange matches.
    pub arguments: FieldTable,
}

/// What a start finds.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Durable exchanges.
    pub exchanges: Vec<ExchangeRow>,
    /// Durable queues with what they hold.
    pub queues: Vec<RecoveredQueue>,
    /// Durable bindings.
    pub bindings: Vec<BindingRow>,
    /// Policies of both kinds.
    pub policies: Vec<PolicyRow>,
    /// Virtual hosts, users, permissions and limits.
    pub access: AccessRows,
    /// A user was set or deleted once, though there may be none any more.
    pub had_users: bool,
    /// What the durable exchanges delay.
    pub delays: Vec<RecoveredDelays>,
    /// Keys that were seen, by keeper and in the order in which they expire.
    pub keys: Vec<KeyRow>,
    /// Histories, by keeper and in the order of their places.
    pub history: Vec<HistoryRow>,
    /// First queue number that was never used.
    pub next_queue: u32,
    /// What [`Operation::NoteTime`] said last.
    pub noted_time: Option<Timestamp>,
}

/// A durable queue and the sums of its messages, which stay on disk until a [`PageRequest`] asks for them.
#[derive(Clone, Debug)]
pub struct RecoveredQueue {
    /// Its definition.
    pub row: QueueRow,
    /// Its messages by priority. The first is that of priority 0, under the queue's own number; the others follow in
    /// the order in which they were declared.
    pub levels: Vec<RecoveredLevel>,
}

/// The sum of a queue's messages of one priority.
#[derive(Clone, Debug)]
pub struct RecoveredLevel {
    /// The number it is kept under.
    pub id: QueueId,
    /// The priority.
    pub priority: u8,
    /// Messages that came back.
    pub messages: u64,
    /// Sum of their body bytes.
    pub body_bytes: u64,
    /// No message has a place below this.
    pub first: Position,
    /// One past the highest place that was ever written.
    pub next: Position,
    /// Messages below this place may have been handed out ([`Operation::MarkDelivered`]).
    pub delivered_before: Position,
    /// Stretches in which messages expire, in ascending order; all such messages lie in one.
    pub expiring: Vec<ExpiringStretch>,
}

/// A stretch of stored messages, some of which expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiringStretch {
    /// First place, included.
    pub from: Position,
    /// End, excluded.
    pub to: Position,
    /// None of its messages expires before this; those that did first may be settled.
    pub expires_next: Timestamp,
}

impl fmt::Debug for PageRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageRequest")
            .field("queue", &self.queue)
            .field("from", &self.from)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}
