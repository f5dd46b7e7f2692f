//! Carrying out what a queue's verbs ask for, while its lock is held: to the store and to the outboxes, in the order
//! in which things happened. Wakers are called, and dead letters published, when the lock is gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use parking_lot::MutexGuard;
use smallvec::SmallVec;

use crate::broker::outbox::{Notice, OutboxDelivery};
use crate::broker::queue::Queue;
use crate::broker::queue::effects::{Delivery, Effects, LevelEffects, Unread};
use crate::broker::timers::Timed;
use crate::clock::Timestamp;
use crate::store::{Hold, LevelRow, Operation, Page, PageRequest, PageSink, Position, QueueId};

use super::{DeadLetters, LiveQueue, Outcome, State};

/// To be called when no lock is held. Most batches wake one consumer or none.
type Wakers = SmallVec<[Waker; 4]>;

/// Deliveries that a queue at rest keeps room for.
const DELIVERIES_KEPT: usize = 128;

/// Marks the answer that opens the hand-out; levels have numbers below 256.
const OPEN: u32 = u32::MAX;

/// What is left to do when the lock is gone.
#[derive(Debug, Default)]
pub(super) struct Aftermath {
    outcome: Outcome,
    wakers: Wakers,
    dead: Option<DeadLetters>,
    /// The queue was not used for too long.
    expired: bool,
}

impl LiveQueue {
    pub(super) fn change<R>(
        self: &Arc<Self>,
        verb: impl FnOnce(&mut Queue, Timestamp, &mut Effects) -> R,
    ) -> (R, Outcome) {
        let (_hold, state) = self.enter();
        let verb = |state: &mut State, now| verb(&mut state.queue, now, &mut state.effects);
        let (result, aftermath) = self.change_state(state, verb);
        (result, self.finish(aftermath))
    }

    pub(super) fn change_state<R>(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        verb: impl FnOnce(&mut State, Timestamp) -> R,
    ) -> (R, Aftermath) {
        let state = &mut *state;
        let now = self.surroundings.clock.now();
        state.queue.allow(self.surroundings.headroom.allowance());
        let result = verb(state, now);
        if !state.effects.cancelled.is_empty() {
            cancel(state, now);
        }
        (result, self.carry_out(state))
    }

    /// The queue's lock, and before it the store's group where that is needed: whoever had the lock meanwhile may have
    /// changed the settings, so that it is needed only now.
    pub(super) fn enter(&self) -> (Option<Hold<'_>>, MutexGuard<'_, State>) {
        loop {
            let hold = self.needs_group().then(|| Hold::new(&*self.store));
            let state = self.state.lock();
            if hold.is_some() || !self.needs_group() {
                return (hold, state);
            }
        }
    }

    /// A durable queue's dead letters leave it and enter others in one group; a message and its key enter in one.
    fn needs_group(&self) -> bool {
        self.buries.load(Ordering::Acquire) || self.deduplicates()
    }

    /// Does what had to wait for the lock to go.
    pub(super) fn finish(self: &Arc<Self>, aftermath: Aftermath) -> Outcome {
        let (mut outcome, dead) = self.wake_and_tell(aftermath);
        if let Some(dead) = dead
            && let Some(owner) = self.surroundings.owner.upgrade()
        {
            outcome.sequence = outcome.sequence.max(owner.bury(self, dead));
        }
        outcome
    }

    pub(super) fn wake_and_tell(self: &Arc<Self>, aftermath: Aftermath) -> (Outcome, Option<DeadLetters>) {
        let Aftermath {
            outcome,
            wakers,
            dead,
            expired,
        } = aftermath;
        for waker in wakers {
            waker.wake();
        }
        if expired && let Some(owner) = self.surroundings.owner.upgrade() {
            owner.expire(self);
        }
        (outcome, dead)
    }

    /// Carries out and empties the effects.
    pub(super) fn carry_out(self: &Arc<Self>, state: &mut State) -> Aftermath {
        let mut wakers = Wakers::new();
        if state.deleted {
            state.effects = Effects::default();
            state.queue.clear();
            return Aftermath::default();
        }
        self.collect_operations(state);
        let sequence = (!state.operations.is_empty()).then(|| self.store.append(&mut state.operations));
        if !state.moved.is_empty() {
            state.moved.forget(self.surroundings.durable.committed());
        }
        self.surroundings
            .headroom
            .hold(state.queue.held_bytes(), &mut state.held_told);
        deliver(state, &mut wakers);
        wakers.extend(self.schedule(state));
        let effects = &mut state.effects;
        if std::mem::take(&mut effects.get_again) {
            for outbox in state.get_waits.drain(..) {
                outbox.notify(Notice::GetAgain);
            }
        }
        let dead = (!effects.dead.is_empty()).then(|| {
            let moved = state.moved.latest(self.surroundings.durable.committed());
            DeadLetters {
                settings: Arc::clone(state.queue.settings()),
                letters: std::mem::take(&mut effects.dead),
                left: sequence.filter(|_| self.definition.durable).max(moved),
            }
        });
        Aftermath {
            outcome: Outcome {
                sequence,
                delete: std::mem::take(&mut effects.delete_queue),
            },
            wakers,
            dead,
            expired: std::mem::take(&mut effects.queue_expired),
        }
    }

    /// Asks the timers for a first call. A queue that nobody touches expires, too, and so does what a start found in it.
    pub(in crate::broker) fn start(self: &Arc<Self>) {
        let waker = self.schedule(&mut self.state.lock());
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Asks the timers for a call if the queue needs an earlier one than they know of. Returns whom to wake.
    fn schedule(self: &Arc<Self>, state: &mut State) -> Option<Waker> {
        let due = state.queue.due_next()?;
        if state.scheduled.is_some_and(|scheduled| scheduled <= due) {
            return None;
        }
        let this = Arc::downgrade(self) as std::sync::Weak<dyn Timed>;
        let instead_of = state.scheduled.replace(due);
        self.surroundings
            .timers
            .schedule(self.timer, due, instead_of, this)
    }

    fn collect_operations(self: &Arc<Self>, state: &mut State) {
        for index in 0..state.effects.levels.len() {
            let level = std::mem::take(&mut state.effects.levels[index]);
            let id = state.stored.get(index).copied().flatten();
            let id = id.or_else(|| {
                (!level.published.is_empty()).then(|| self.declare_level(state, index, level.priority))
            });
            if let Some(id) = id {
                state.effects.levels[index] = collect_level(id, level, &mut state.operations);
            }
        }
        let State {
            effects,
            operations,
            stored,
            marked,
            ..
        } = state;
        if let Some(before) = effects.mark_delivered.take() {
            *marked = Some(before);
            let numbers = stored.iter().copied().flatten();
            operations.extend(numbers.map(|queue| Operation::MarkDelivered { queue, before }));
        }
        let loads = effects.loads.drain(..).map(|load| {
            let queue = stored[usize::from(load.level.index)].expect("what it reads was stored");
            Operation::Load(PageRequest {
                queue,
                from: load.from,
                to: load.to,
                messages_max: load.messages_max,
                bytes_max: load.bytes_max,
                expired_at: load.expired_at,
                tag: load.level.index.into(),
                sink: Arc::clone(self) as Arc<dyn PageSink>,
            })
        });
        operations.extend(loads);
        if std::mem::take(&mut effects.open) {
            operations.push(Operation::Load(PageRequest {
                queue: stored[0].expect("a queue that has to open is durable"),
                from: Position(0),
                to: Position(0),
                messages_max: 0,
                bytes_max: 0,
                expired_at: None,
                tag: OPEN,
                sink: Arc::clone(self) as Arc<dyn PageSink>,
            }));
        }
    }

    /// Gives a level a number in the store: the queue spills for the first time, or a priority is met for the first
    /// time.
    fn declare_level(&self, state: &mut State, index: usize, priority: u8) -> QueueId {
        let ids = &self.surroundings.ids;
        let durable = self.definition.durable;
        let id = if durable { ids.level() } else { ids.spilled() };
        if state.stored.len() <= index {
            state.stored.resize(index + 1, None);
        }
        state.stored[index] = Some(id);
        let declaration = match state.stored[0] {
            Some(queue) if durable => Operation::DeclareLevel(LevelRow { id, queue, priority }),
            _ => self.declaration(id),
        };
        state.operations.push(declaration);
        if let Some(before) = state.marked {
            state
                .operations
                .push(Operation::MarkDelivered { queue: id, before });
        }
        id
    }
}

/// Takes consumers away whose deliveries were late, and serves those that come after them.
fn cancel(state: &mut State, now: Timestamp) {
    for slot in std::mem::take(&mut state.effects.cancelled) {
        let is_removed = state.queue.remove_consumer(slot, now, &mut state.effects);
        let place = state.outlets.get_mut(slot.index as usize).filter(|_| is_removed);
        if let Some(outlet) = place.and_then(Option::take) {
            outlet.outbox.notify(Notice::ConsumerCancelled {
                channel: outlet.channel,
                source: outlet.source,
            });
        }
    }
    state.queue.dispatch(now, &mut state.effects);
}

/// Empties a level's effects into operations; its vectors are used again where they can be.
fn collect_level(queue: QueueId, mut level: LevelEffects, operations: &mut Vec<Operation>) -> LevelEffects {
    if !level.published.is_empty() {
        operations.push(Operation::Publish {
            queue,
            messages: std::mem::take(&mut level.published),
        });
    }
    // Before the settled ones: what came back may have been handed out again, and be done with.
    for returned in level.returned.drain(..) {
        operations.push(Operation::Return {
            queue,
            position: returned.position,
            delivery_count: returned.delivery_count,
            rests_until: returned.rests_until,
        });
    }
    if !level.settled.is_empty() {
        operations.push(Operation::Settle {
            queue,
            positions: std::mem::take(&mut level.settled),
        });
    }
    if let Some(Unread {
        from,
        to,
        persistent,
        persistent_bytes,
        ..
    }) = level.purged.take()
    {
        operations.push(Operation::SettleRange {
            queue,
            from,
            to,
            messages: persistent,
            body_bytes: persistent_bytes,
        });
    }
    level
}

fn deliver(state: &mut State, wakers: &mut Wakers) {
    if state.effects.deliveries.is_empty() && state.queue.ready_count() == 0 {
        // A long backlog is gone, and with it the need for so much room.
        state.effects.deliveries.shrink_to(DELIVERIES_KEPT);
        return;
    }
    let mut deliveries = state.effects.deliveries.drain(..);
    while let Some(&Delivery { consumer, .. }) = deliveries.as_slice().first() {
        let rest = deliveries.as_slice();
        let is_other = |delivery: &Delivery| delivery.consumer != consumer;
        let run = rest.iter().position(is_other).unwrap_or(rest.len());
        // A consumer that was taken away in the same turn gets nothing; its channel gives back what it holds.
        let outlet = state.outlets[consumer.index as usize]
            .as_ref()
            .expect("a consumer has its outlet");
        let run = deliveries.by_ref().take(run).map(|delivery| OutboxDelivery {
            channel: outlet.channel,
            source: outlet.source,
            handle: delivery.handle,
            redelivered: delivery.redelivered,
            message: delivery.message,
        });
        wakers.extend(if state.moved.is_empty() {
            outlet.outbox.deliver(run)
        } else {
            outlet
                .outbox
                .deliver_after(run, |place| state.moved.awaits(place))
        });
    }
}

impl PageSink for LiveQueue {
    fn page_loaded(self: Arc<Self>, page: Page) {
        self.change(|queue, now, effects| match u8::try_from(page.tag) {
            Ok(level) => {
                let found = (page.entries, page.next);
                queue.page_loaded(level, found, page.expires_next, now, effects);
            }
            Err(_) => queue.opened(now, effects),
        });
    }
}

impl Timed for LiveQueue {
    fn is_due(self: Arc<Self>) {
        self.state.lock().scheduled = None;
        let ((), outcome) = self.change(Queue::tick);
        if outcome.delete
            && let Some(owner) = self.surroundings.owner.upgrade()
        {
            owner.delete_unused(&self);
        }
    }
}
