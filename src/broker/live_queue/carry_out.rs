//! Carrying out what a queue's verbs ask for, while its lock is held: to the store and to the outboxes, in the order
//! in which things happened. Wakers are called when the lock is gone.

use std::sync::Arc;
use std::task::Waker;

use smallvec::SmallVec;

use crate::broker::outbox::{Notice, OutboxDelivery};
use crate::broker::queue::Queue;
use crate::broker::queue::effects::{Delivery, Effects, Unread};
use crate::store::{Operation, Page, PageRequest, PageSink, QueueId};

use super::{LiveQueue, Outcome, State};

/// To be called when no lock is held. Most batches wake one consumer or none.
pub(super) type Wakers = SmallVec<[Waker; 4]>;

impl LiveQueue {
    pub(super) fn change<R>(
        self: &Arc<Self>,
        verb: impl FnOnce(&mut Queue, &mut Effects) -> R,
    ) -> (R, Outcome) {
        let (result, outcome, wakers) = {
            let mut state = self.state.lock();
            let state = &mut *state;
            let result = verb(&mut state.queue, &mut state.effects);
            let (outcome, wakers) = self.carry_out(state);
            (result, outcome, wakers)
        };
        wake(wakers);
        (result, outcome)
    }

    /// Carries out and empties the effects. Returns the wakers to call without the lock.
    pub(super) fn carry_out(self: &Arc<Self>, state: &mut State) -> (Outcome, Wakers) {
        let mut wakers = Wakers::new();
        let effects = &mut state.effects;
        if state.deleted {
            *effects = Effects::default();
            state.queue.clear();
            return (Outcome::default(), wakers);
        }
        self.collect_operations(effects, &mut state.operations, &mut state.stored);
        let sequence = (!state.operations.is_empty()).then(|| self.store.append(&mut state.operations));
        let mut deliveries = effects.deliveries.drain(..).peekable();
        while let Some(Delivery { consumer, .. }) = deliveries.peek() {
            let consumer = *consumer;
            let outlet = state.outlets[consumer.index as usize]
                .as_ref()
                .expect("a consumer has its outlet");
            let run = std::iter::from_fn(|| deliveries.next_if(|delivery| delivery.consumer == consumer));
            wakers.extend(outlet.outbox.deliver(run.map(|delivery| OutboxDelivery {
                channel: outlet.channel,
                source: outlet.source,
                position: delivery.position,
                redelivered: delivery.redelivered,
                message: delivery.message,
            })));
        }
        drop(deliveries);
        if std::mem::take(&mut effects.get_again) {
            for outbox in state.get_waits.drain(..) {
                outbox.notify(Notice::GetAgain);
            }
        }
        (
            Outcome {
                sequence,
                delete: std::mem::take(&mut effects.delete_queue),
            },
            wakers,
        )
    }

    fn collect_operations(
        self: &Arc<Self>,
        effects: &mut Effects,
        operations: &mut Vec<Operation>,
        stored: &mut Option<QueueId>,
    ) {
        if stored.is_none() && !effects.published.is_empty() {
            let id = self.ids.spilled();
            operations.push(self.declaration(id));
            *stored = Some(id);
        }
        let Some(queue) = *stored else {
            return;
        };
        if !effects.published.is_empty() {
            operations.push(Operation::Publish {
                queue,
                messages: std::mem::take(&mut effects.published),
            });
        }
        // Before the settled ones: what came back may have been handed out again, and be done with.
        for (position, delivery_count) in effects.returned.drain(..) {
            operations.push(Operation::Return {
                queue,
                position,
                delivery_count,
            });
        }
        if !effects.settled.is_empty() {
            operations.push(Operation::Settle {
                queue,
                positions: std::mem::take(&mut effects.settled),
            });
        }
        if let Some(Unread {
            from,
            to,
            persistent,
            persistent_bytes,
            ..
        }) = effects.purged.take()
        {
            operations.push(Operation::SettleRange {
                queue,
                from,
                to,
                messages: persistent,
                body_bytes: persistent_bytes,
            });
        }
        if let Some(before) = effects.mark_delivered.take() {
            operations.push(Operation::MarkDelivered { queue, before });
        }
        if let Some(load) = effects.load.take() {
            operations.push(Operation::Load(PageRequest {
                queue,
                from: load.from,
                to: load.to,
                messages_max: load.messages_max,
                bytes_max: load.bytes_max,
                sink: Arc::clone(self) as Arc<dyn PageSink>,
            }));
        }
    }
}

/// Wakes connections. Not under a lock: they may be on another thread and want it at once.
pub(super) fn wake(wakers: Wakers) {
    for waker in wakers {
        waker.wake();
    }
}

impl PageSink for LiveQueue {
    fn page_loaded(self: Arc<Self>, page: Page) {
        self.change(|queue, effects| queue.page_loaded(page.entries, page.next, effects));
    }
}
