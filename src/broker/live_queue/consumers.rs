//! Consumers of a live queue, and where their deliveries go.

use std::sync::Arc;

use crate::broker::outbox::{Outbox, SourceId};
use crate::broker::queue::consumers::{ChannelLimit, ConsumerOptions, ConsumerSlot};

use super::{LiveQueue, Outcome};

/// Where a consumer's deliveries go.
#[derive(Clone, Debug)]
pub struct Outlet {
    /// The connection's outbox.
    pub outbox: Arc<Outbox>,
    /// Channel number.
    pub channel: u16,
    /// The channel's number for it.
    pub source: SourceId,
}

/// Why a consumer was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumeRefused {
    /// An exclusive consumer is there, or this one wants to be and is not alone, or others are meant to wait.
    ExclusiveUse,
    /// The queue is gone.
    Deleted,
}

impl LiveQueue {
    /// Adds a consumer. Nothing is delivered before [`LiveQueue::dispatch`], so that consume-ok can go first.
    ///
    /// # Errors
    /// When the queue is gone or in exclusive use, or can not be.
    pub fn consume(&self, options: ConsumerOptions, outlet: Outlet) -> Result<ConsumerSlot, ConsumeRefused> {
        let mut state = self.state.lock();
        if state.deleted {
            return Err(ConsumeRefused::Deleted);
        }
        let may_be_alone = state.queue.consumer_count() == 0 && !state.queue.is_single_active();
        if state.queue.has_exclusive_consumer() || (options.exclusive && !may_be_alone) {
            return Err(ConsumeRefused::ExclusiveUse);
        }
        let slot = state.queue.add_consumer(options);
        let index = slot.index as usize;
        if state.outlets.len() <= index {
            state.outlets.resize(index + 1, None);
        }
        state.outlets[index] = Some(outlet);
        Ok(slot)
    }

    /// Gives a consumer nothing more, before it is cancelled: what it gives back meanwhile goes before what a single
    /// active consumer's successor gets.
    pub fn suspend(&self, slot: ConsumerSlot) {
        self.state.lock().queue.suspend_consumer(slot);
    }

    /// Removes a consumer. Deliveries that lie in its outbox stay there. The successor of a single active one gets
    /// nothing before [`LiveQueue::dispatch`].
    pub fn cancel(self: &Arc<Self>, slot: ConsumerSlot) -> Outcome {
        let (_hold, mut state) = self.enter();
        let aftermath = {
            let state = &mut *state;
            let now = self.surroundings.clock.now();
            // If it has been taken away already, somebody else may be in its slot.
            if state.queue.remove_consumer(slot, now, &mut state.effects)
                && let Some(outlet) = state.outlets.get_mut(slot.index as usize)
            {
                *outlet = None;
            }
            let aftermath = self.carry_out(state);
            if state.queue.consumer_count() == 0 {
                state.slim();
            }
            aftermath
        };
        drop(state);
        self.finish(aftermath)
    }

    /// A consumer's socket took deliveries: gives it more.
    pub fn written(self: &Arc<Self>, slot: ConsumerSlot, messages: u32, bytes: usize) {
        self.change(|queue, now, effects| {
            queue.written(slot, messages, bytes);
            queue.dispatch(now, effects);
        });
    }

    /// Puts a consumer under a channel's limit, or takes it from under one. Gives out nothing yet: other consumers of the
    /// channel may come first.
    pub fn set_channel_limit(&self, slot: ConsumerSlot, limit: Option<Arc<ChannelLimit>>) {
        self.state.lock().queue.set_channel_limit(slot, limit);
    }

    /// The channel's limit has room again for this consumer. Gives out nothing yet.
    pub fn resume(&self, slot: ConsumerSlot) {
        self.state.lock().queue.resume(slot);
    }
}
