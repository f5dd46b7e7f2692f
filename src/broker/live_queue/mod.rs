//! A declared queue at work: its definition, and its rules behind the lock that everybody takes once per batch.
//!
//! `carry_out` does what the rules ask for; nothing here is called per message.

mod carry_out;
mod consumers;
mod deletion;
mod moved;
mod origin;
mod surroundings;
mod take;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use amq_protocol::types::FieldTable;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::message::Message;
use crate::store::{Operation, Position, QueueId, QueueRow, Sequence, Store};

use super::ConnectionId;
use super::deduplication::Deduplication;
use super::outbox::Outbox;
use super::queue::consumers::Activation;
use super::queue::effects::{DeadLetter, DeliveryHandle, Effects};
use super::queue::settings::QueueSettings;
use super::queue::{Got, Queue, QueueOptions, Settlement};
use super::queue_arguments;
use super::queue_ids::LiveQueueId;
use super::queue_type::QueueType;
use super::timers::TimerId;
use moved::Moved;
use take::TellsOutbox;

pub use consumers::{ConsumeRefused, Outlet};
pub use surroundings::{QueueOwner, Surroundings};

/// A queue's definition: what it was declared with.
#[derive(Clone, Debug)]
pub struct QueueDefinition {
    /// Name, unique in its vhost.
    pub name: Arc<str>,
    /// It survives a restart.
    pub durable: bool,
    /// It is deleted with its last consumer.
    pub auto_delete: bool,
    /// The connection that alone may use it, and with which it ends.
    pub owner: Option<ConnectionId>,
    /// What it was declared to be.
    pub queue_type: QueueType,
    /// Arguments as declared.
    pub arguments: FieldTable,
}

impl QueueDefinition {
    /// Which of its consumers are active.
    pub fn activation(&self) -> Activation {
        queue_arguments::activation(&self.arguments, self.queue_type)
    }

    /// Only one of its consumers gets messages, and when it goes another does.
    pub fn has_single_active_consumer(&self) -> bool {
        self.activation() != Activation::All
    }
}

/// What a verb leaves to its caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Everything that the verb asked of the store is on disk once this is committed.
    pub sequence: Option<Sequence>,
    /// The queue's last consumer is gone and it is auto-delete: delete it.
    pub delete: bool,
}

/// What became of messages that were published.
#[derive(Debug, Default)]
pub struct Published {
    /// Those that entered are on disk once this is committed.
    pub sequence: Option<Sequence>,
    /// Which of them the queue refused because it is full: numbers in the order of the publishes, from 0.
    pub rejected: SmallVec<[usize; 4]>,
    /// See [`Queue::taken_if_outrun`].
    pub taken_if_outrun: Option<u64>,
}

/// Dead letters that wait to be published.
#[derive(Debug)]
pub struct DeadLetters {
    /// Say where.
    pub settings: Arc<QueueSettings>,
    /// In the order in which they failed.
    pub letters: Vec<DeadLetter>,
    /// Nobody sees them elsewhere before the durable store has committed this: with it they have left the queue, and
    /// what moved into it lately has come.
    pub left: Option<Sequence>,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    outlets: Vec<Option<Outlet>>,
    /// Connections whose `basic.get` waits.
    get_waits: Vec<Arc<Outbox>>,
    /// Messages that nobody may see yet.
    moved: Moved,
    /// Gone from its vhost: what still arrives is dropped.
    deleted: bool,
    /// The numbers of its levels in the store; one that is not durable has none before it spills.
    stored: Vec<Option<QueueId>>,
    /// What the store was last told of which messages may have been seen.
    marked: Option<Position>,
    /// What the headroom was last told of how much is held, bytes.
    held_told: usize,
    /// When the timers will call.
    scheduled: Option<Timestamp>,
    effects: Effects,
    operations: Vec<Operation>,
}

impl State {
    /// Gives back what is kept for the next messages: queues are many, and most of them idle.
    fn slim(&mut self) {
        self.queue.slim();
        self.effects.deliveries = Vec::new();
        self.effects.levels = Vec::new();
        self.operations = Vec::new();
    }
}

/// A queue that is declared and in use.
#[derive(Debug)]
pub struct LiveQueue {
    /// Names it while the broker runs.
    pub id: LiveQueueId,
    /// The vhost it is in.
    pub vhost: Arc<str>,
    /// What it was declared with.
    pub definition: QueueDefinition,
    /// What has to be committed before anybody is told that it is there; nothing if a start found it, or it is not
    /// durable.
    pub declared: OnceLock<Sequence>,
    options: QueueOptions,
    store: Arc<dyn Store>,
    surroundings: Surroundings,
    timer: TimerId,
    /// It is durable and dead letters go somewhere: removal and publish have to be one group of the store.
    buries: AtomicBool,
    /// It takes messages with the same key once.
    deduplication: Option<Deduplication>,
    state: Mutex<State>,
}

impl LiveQueue {
    /// What tells the store of this queue under the given number.
    pub fn declaration(&self, id: QueueId) -> Operation {
        Operation::DeclareQueue(QueueRow {
            id,
            vhost: Arc::clone(&self.vhost),
            name: Arc::clone(&self.definition.name),
            durable: self.definition.durable,
            auto_delete: self.definition.auto_delete,
            arguments: self.definition.arguments.clone(),
        })
    }

    /// Adds messages and gives them out. Dropped when the queue is gone.
    pub fn publish(self: &Arc<Self>, messages: impl Iterator<Item = Message>) -> Published {
        self.publish_after(messages, None)
    }

    /// The same, where nobody sees them before the durable store has committed `after`.
    pub fn publish_after(
        self: &Arc<Self>,
        messages: impl Iterator<Item = Message>,
        after: Option<Sequence>,
    ) -> Published {
        let (_hold, state) = self.enter();
        let ((taken, taken_if_outrun), aftermath) = self.change_state(state, |state, now| {
            let taken = self.take_after(state, messages, after, now);
            (taken, state.queue.taken_if_outrun())
        });
        let outcome = self.finish(aftermath);
        Published {
            sequence: outcome.sequence.max(taken.known_since),
            rejected: taken.rejected,
            taken_if_outrun,
        }
    }

    /// The same for messages that were in the broker before, and left their place with `after`. Those that die of it
    /// here are not buried but returned, so that the dead letters of a chain of queues do not become a chain of calls.
    pub fn publish_dead(
        self: &Arc<Self>,
        messages: impl Iterator<Item = Message>,
        after: Option<Sequence>,
    ) -> (Published, Option<DeadLetters>) {
        let take = |state: &mut State, now| self.take_after(state, messages, after, now);
        let (taken, aftermath) = self.change_state(self.state.lock(), take);
        let (outcome, dead) = self.wake_and_tell(aftermath);
        let published = Published {
            sequence: outcome.sequence.max(taken.known_since),
            rejected: taken.rejected,
            taken_if_outrun: None,
        };
        (published, dead)
    }

    /// What has become of dead letters that the queue keeps until others have taken them.
    pub fn buried(self: &Arc<Self>, letters: impl Iterator<Item = (Position, bool)>) {
        self.change(|queue, now, effects| {
            for (position, is_taken) in letters {
                queue.buried(position, is_taken, now, effects);
            }
        });
    }

    /// Settles unacked messages and gives out what that makes room for.
    pub fn settle(
        self: &Arc<Self>,
        settlements: impl Iterator<Item = (DeliveryHandle, Settlement)>,
    ) -> Outcome {
        self.change(|queue, now, effects| {
            for (handle, settlement) in settlements {
                queue.settle(handle, settlement, now, effects);
            }
            queue.dispatch(now, effects);
        })
        .1
    }

    /// Takes one message for `basic.get`; `outbox` hears of it when a [`Got::Later`] can be tried again.
    pub fn get(self: &Arc<Self>, no_ack: bool, outbox: &Arc<Outbox>) -> Got {
        let (_hold, mut state) = self.enter();
        let (got, aftermath) = {
            let state = &mut *state;
            if state.deleted {
                return Got::Empty;
            }
            let now = self.surroundings.clock.now();
            state.queue.allow(self.surroundings.headroom.allowance());
            let mut tells = TellsOutbox::new(outbox);
            let (durable, moved) = (&*self.surroundings.durable, &state.moved);
            let may_go = |place| {
                moved
                    .awaits(place)
                    .is_none_or(|after| !tells.once_committed(after, durable))
            };
            let got = state.queue.get(no_ack, now, may_go, &mut state.effects);
            if matches!(got, Got::Later) && !tells.is_asked {
                state.get_waits.push(Arc::clone(outbox));
            }
            (got, self.carry_out(state))
        };
        drop(state);
        self.finish(aftermath);
        got
    }

    /// The broker stops: the store is told exactly what was handed out, if nothing is unacked.
    pub fn close_at_rest(self: &Arc<Self>) {
        self.change(|queue, _, effects| queue.close_at_rest(effects));
    }

    /// Gives out what is ready.
    pub fn dispatch(self: &Arc<Self>) {
        self.change(Queue::dispatch);
    }

    /// Drops all messages that nobody holds and returns how many there were.
    pub fn purge(self: &Arc<Self>) -> (u64, Outcome) {
        self.change(|queue, _, effects| queue.purge(effects))
    }

    /// Other settings count from now on: a policy has changed.
    pub fn set_settings(self: &Arc<Self>, settings: QueueSettings) {
        if self.buries_with(&settings) {
            // What it lets go of now is buried already.
            self.buries.store(true, Ordering::Release);
        }
        self.change(|queue, now, effects| {
            self.note_settings(&settings);
            queue.set_settings(settings);
            queue.dispatch(now, effects);
        });
    }

    /// What its arguments and policies come to.
    pub fn settings(&self) -> Arc<QueueSettings> {
        Arc::clone(self.state.lock().queue.settings())
    }

    /// Somebody asked for it: `x-expires` begins anew.
    pub fn touch(&self) {
        let now = self.surroundings.clock.now();
        self.state.lock().queue.touch(now);
    }

    /// Whether a message, persistent or not, would survive a restart in this queue.
    pub fn keeps(&self, is_persistent: bool) -> bool {
        self.options.keeps(is_persistent)
    }

    /// Ready messages and consumers, as `queue.declare-ok` tells them.
    pub fn counts(&self) -> (u64, usize) {
        let state = self.state.lock();
        (state.queue.ready_count(), state.queue.consumer_count())
    }

    /// Delivered messages that are not settled.
    pub fn unacked_count(&self) -> usize {
        self.state.lock().queue.unacked_count()
    }

    /// Messages that came back and are not ready again yet.
    pub fn resting_count(&self) -> usize {
        self.state.lock().queue.resting_count()
    }

    /// The caller has the lock: who has it knows whether it needs the store's group.
    fn note_settings(&self, settings: &QueueSettings) {
        self.buries.store(self.buries_with(settings), Ordering::Release);
    }

    fn buries_with(&self, settings: &QueueSettings) -> bool {
        self.definition.durable && settings.dead_letter.is_some()
    }
}

#[cfg(test)]
mod tests;
