//! The end of a live queue.

use crate::broker::outbox::Notice;
use crate::store::{Operation, Sequence};

use super::LiveQueue;

impl LiveQueue {
    /// Ends the queue if `may` agrees with its ready and consumer counts; returns the number of messages lost, or
    /// what `may` objected. Its consumers are told. The caller takes it out of the vhost.
    ///
    /// # Errors
    /// What `may` objected.
    pub fn delete<E>(
        &self,
        may: impl FnOnce(u64, usize) -> Result<(), E>,
    ) -> Result<(u64, Option<Sequence>), E> {
        let mut state = self.state.lock();
        let ready = state.queue.ready_count();
        may(ready, state.queue.consumer_count())?;
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

    /// Whether it still is to go because of `x-expires`.
    pub(in crate::broker) fn is_expired(&self) -> bool {
        let now = self.surroundings.clock.now();
        self.state.lock().queue.is_expired(now)
    }
}
