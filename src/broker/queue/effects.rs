//! What a queue asks its caller to do after a verb. The queue itself reaches nothing.

use crate::clock::Timestamp;
use crate::message::Message;
use crate::store::{Position, PublishEntry};

use super::consumers::ConsumerSlot;
use super::level::LevelId;

/// Collected by the verbs of [`super::Queue`], carried out by its owner while the queue is still locked.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a wish of its own")]
pub struct Effects {
    /// Give these to the consumers, in this order.
    pub deliveries: Vec<Delivery>,
    /// What the store has to know, by [`LevelId::index`].
    pub levels: Vec<LevelEffects>,
    /// These left the queue because they failed, in this order: publish them where dead letters go.
    pub dead: Vec<DeadLetter>,
    /// Note that messages below this place may have been handed out.
    pub mark_delivered: Option<Position>,
    /// Read these, and call [`super::Queue::page_loaded`] for each when it is there and all of the above is on disk.
    pub loads: Vec<Load>,
    /// Call [`super::Queue::opened`] when all of the above is on disk.
    pub open: bool,
    /// A `basic.get` that had to wait can be tried again.
    pub get_again: bool,
    /// Take these consumers away and tell them.
    pub cancelled: Vec<ConsumerSlot>,
    /// The last consumer of an auto-delete queue is gone: delete the queue.
    pub delete_queue: bool,
    /// The queue was not used for too long: delete it.
    pub queue_expired: bool,
}

impl Effects {
    /// What concerns one level.
    pub fn of(&mut self, level: LevelId) -> &mut LevelEffects {
        let index = usize::from(level.index);
        if self.levels.len() <= index {
            self.levels.resize_with(index + 1, LevelEffects::default);
        }
        let effects = &mut self.levels[index];
        effects.priority = level.priority;
        effects
    }
}

/// What the store has to know of one level.
#[derive(Debug, Default)]
pub struct LevelEffects {
    /// The level's priority.
    pub priority: u8,
    /// Store these, positions ascending.
    pub published: Vec<PublishEntry>,
    /// These stored messages came back. Some may also be in `settled`, which is later.
    pub returned: Vec<Returned>,
    /// These stored messages are done with.
    pub settled: Vec<Position>,
    /// The unread part of the level is done with.
    pub purged: Option<Unread>,
}

/// A message that was handed out and came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returned {
    /// Its place.
    pub position: Position,
    /// How often that was so.
    pub delivery_count: u32,
    /// It is not handed out again before this time.
    pub rests_until: Option<Timestamp>,
}

/// One message on its way to a consumer.
#[derive(Debug)]
pub struct Delivery {
    /// Which consumer of the queue.
    pub consumer: ConsumerSlot,
    /// Which delivery, to settle it with.
    pub handle: DeliveryHandle,
    /// The message.
    pub message: Message,
    /// It was handed out before.
    pub redelivered: bool,
}

/// Tells a delivery from earlier and later ones of the same message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeliveryHandle {
    /// The message's place in the queue.
    pub position: Position,
    /// How often it had come back before.
    pub delivery_count: u32,
}

/// A message that failed.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The message as it was in the queue.
    pub message: Message,
    /// Why it failed.
    pub reason: DeathReason,
    /// The queue keeps it at this place until it hears that others have taken it ([`super::Queue::buried`]).
    pub kept: Option<Position>,
}

/// Why a message left a queue without being consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeathReason {
    /// A consumer refused it for good.
    Rejected,
    /// Its time was over.
    Expired,
    /// The queue was full.
    MaxLength,
    /// It came back too often.
    DeliveryLimit,
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
    /// Sum of their body bytes.
    pub body_bytes: u64,
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

    /// Counts one message more.
    pub fn add(&mut self, body_bytes: u64, is_persistent: bool) {
        self.messages += 1;
        self.body_bytes += body_bytes;
        if is_persistent {
            self.persistent += 1;
            self.persistent_bytes += body_bytes;
        }
    }

    /// Counts one message less. What the store found may be more than its summary said: never below none.
    pub fn subtract(&mut self, body_bytes: u64, is_persistent: bool) {
        self.messages = self.messages.saturating_sub(1);
        self.body_bytes = self.body_bytes.saturating_sub(body_bytes);
        if is_persistent {
            self.persistent = self.persistent.saturating_sub(1);
            self.persistent_bytes = self.persistent_bytes.saturating_sub(body_bytes);
        }
    }
}

/// A wish to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Of which level.
    pub level: LevelId,
    /// First place, included.
    pub from: Position,
    /// End, excluded.
    pub to: Position,
    /// At most so many messages.
    pub messages_max: usize,
    /// Stop after so many bytes.
    pub bytes_max: usize,
    /// Only those that are expired at this time.
    pub expired_at: Option<Timestamp>,
}
