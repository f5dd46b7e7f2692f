//! The end of a live queue.

use crate::broker::outbox::Notice;
use crate::broker::queue::Queue;
use crate::clock::Timestamp;
use crate::store::{Operation, Sequence};

use super::LiveQueue;

impl LiveQueue {
    /// Ends the queue if `may` agrees, which sees it and the time; returns the number of messages lost, or
    /// what `may` objected. Its consumers are told. The caller takes it out of the vhost.
    ///
    /// # Errors
    /// What `may` objected.
    pub fn delete<E>(
        &self,
        may: impl FnOnce(&Queue, Timestamp) -> Result<(), E>,
    ) -> Result<(u64, Option<Sequence>), E> {
        let mut state = self.state.lock();
        let ready = state.queue.ready_count();
        may(&state.queue, self.surroundings.clock.now())?;
        if std::mem::replace(&mut state.deleted, true) {
            return Ok((0, None));
        }
        // Routes that other connections keep may hold this for a while: it should not hold messages.
        state.queue.clear();
        if let Some(at) = state.scheduled.take() {
            self.surroundings.timers.cancel(self.timer, at);
        }
        for outlet in state.outlets.drain(..).flatten() {
            let notice = Notice::ConsumerCancelled {
                channel: outlet.channel,
                source: outlet.source,
            };
            outlet.outbox.notify(notice);
        }
        for outbox in state.get_waits.drain(..) {
            outbox.notify(Notice::GetAgain);
        }
        // Levels go before the queue that they are part of.
        let stored = state.stored.drain(..).rev().flatten();
        let mut deletions: Vec<_> = stored.map(Operation::DeleteQueue).collect();
        if let Some(deduplication) = &self.deduplication {
            deduplication.forget_all(&mut deletions);
        }
        let sequence = (!deletions.is_empty()).then(|| self.store.append(&mut deletions));
        Ok((ready, sequence))
    }

    /// Whether it is gone.
    pub fn is_deleted(&self) -> bool {
        self.state.lock().deleted
    }
}
