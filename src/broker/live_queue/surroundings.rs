//! What a live queue needs of the broker around it.

use std::fmt::Debug;
use std::sync::{Arc, Weak};

use crate::broker::delayed::DelayedMessages;
use crate::broker::headroom::Headroom;
use crate::broker::queue::level::Window;
use crate::broker::queue_ids::QueueIds;
use crate::broker::timers::Timers;
use crate::clock::Clock;
use crate::store::{Sequence, Store};

use super::{DeadLetters, LiveQueue};

/// The vhost, as its queues and delayed messages see it. Called when no lock of theirs is held.
pub trait QueueOwner: Send + Sync + Debug {
    /// Publishes a queue's dead letters where its settings say. Returns the last store sequence of a durable queue that
    /// took one.
    fn bury(&self, queue: &Arc<LiveQueue>, dead: DeadLetters) -> Option<Sequence>;

    /// Nobody has used the queue for too long: deletes it, unless somebody has come meanwhile.
    fn expire(&self, queue: &Arc<LiveQueue>);

    /// The queue's last consumer was taken away, and it is auto-delete: deletes it, unless somebody consumes again.
    fn delete_unused(&self, queue: &Arc<LiveQueue>);

    /// Routes the messages of an exchange that are due.
    fn release(&self, delayed: &Arc<DelayedMessages>);
}

/// Shared by all queues of a vhost.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// What time it is.
    pub clock: Arc<Clock>,
    /// Who calls when it is time.
    pub timers: Arc<Timers>,
    /// Where numbers for queues come from.
    pub ids: Arc<QueueIds>,
    /// What each queue may keep in memory.
    pub window: Window,
    /// How much less while memory is short.
    pub headroom: Arc<Headroom>,
    /// What survives a restart.
    pub durable: Arc<dyn Store>,
    /// The vhost.
    pub owner: Weak<dyn QueueOwner>,
}
