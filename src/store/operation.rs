//! The words of the store's language: what the broker appends, and what a start or a page read gives back.

use std::fmt;
use std::sync::Arc;

use amq_protocol::types::FieldTable;

use crate::message::Message;

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
    /// The queue and all its messages are gone.
    DeleteQueue(QueueId),
    /// A durable binding exists from now on; adding it twice is the same as once.
    Bind(BindingRow),
    /// The binding is gone; removing it twice is the same as once.
    Unbind(BindingRow),
    /// Messages enter a queue, positions ascending. The same [`Message`] in several queues within one group is
    /// stored once.
    Publish {
        /// The queue they enter.
        queue: QueueId,
        /// The messages with their places.
        messages: Vec<(Position, Message)>,
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
    /// Called once, from a thread of the store.
    pub sink: Arc<dyn PageSink>,
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
    /// First queue number that was never used.
    pub next_queue: u32,
}

/// A durable queue and the sum of its messages, which stay on disk until a [`PageRequest`] asks for them.
#[derive(Clone, Debug)]
pub struct RecoveredQueue {
    /// Its definition.
    pub row: QueueRow,
    /// Messages that came back.
    pub messages: u64,
    /// Sum of their body bytes.
    pub body_bytes: u64,
    /// No message has a place below this.
    pub first: Position,
    /// The place of the next publish.
    pub next: Position,
    /// Messages below this place may have been handed out ([`Operation::MarkDelivered`]).
    pub delivered_before: Position,
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
