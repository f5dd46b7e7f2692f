//! What a queue asks its caller to do after a verb. The queue itself reaches nothing.

use crate::message::Message;
use crate::store::Position;

use super::consumers::ConsumerSlot;

/// Collected by the verbs of [`super::Queue`], carried out by its owner while the queue is still locked.
#[derive(Debug, Default)]
pub struct Effects {
    /// Give these to the consumers, in this order.
    pub deliveries: Vec<Delivery>,
    /// Store these, positions ascending.
    pub published: Vec<(Position, Message)>,
    /// These stored messages came back, with how often they were handed out. Some may also be in `settled`, which is later.
    pub returned: Vec<(Position, u32)>,
    /// These stored messages are done with.
    pub settled: Vec<Position>,
    /// The unread part of the queue is done with.
    pub purged: Option<Unread>,
    /// Note that messages below this place may have been handed out.
    pub mark_delivered: Option<Position>,
    /// Read a page, and call [`super::Queue::page_loaded`] when it is there and all of the above is on disk.
    pub load: Option<Load>,
    /// A `basic.get` that had to wait can be tried again.
    pub get_again: bool,
    /// The last consumer of an auto-delete queue is gone: delete the queue.
    pub delete_queue: bool,
}

/// One message on its way to a consumer.
#[derive(Debug)]
pub struct Delivery {
    /// Which consumer of the queue.
    pub consumer: ConsumerSlot,
    /// Its place in the queue.
    pub position: Position,
    /// The message.
    pub message: Message,
    /// It was handed out before.
    pub redelivered: bool,
}

/// A stretch of messages that are in the store only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// No unread message has a place below this.
    pub from: Position,
    /// End of the stretch, excluded.
    pub to: Position,
    /// How many there are.
    pub messages: u64,
    /// How many of them are persistent. The store counts only those.
    pub persistent: u64,
    /// Sum of the persistent ones' body bytes.
    pub persistent_bytes: u64,
}

impl Unread {
    /// No messages, up to this place.
    pub fn empty(to: Position) -> Self {
        Self {
            from: to,
            to,
            ..Self::default()
        }
    }
}

/// A wish to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// First place, included.
    pub from: Position,
    /// End, excluded; equal to `from` when only the commit is of interest.
    pub to: Position,
    /// At most so many messages.
    pub messages_max: usize,
    /// Stop after so many bytes.
    pub bytes_max: usize,
}
