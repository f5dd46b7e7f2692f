//! A declared queue at work: its definition, and its rules behind the lock that everybody takes once per batch.
//!
//! `carry_out` does what the rules ask for; nothing here is called per message.

mod carry_out;

use std::sync::Arc;

use amq_protocol::types::FieldTable;
use parking_lot::Mutex;

use crate::message::Message;
use crate::store::{Operation, Position, QueueId, QueueRow, RecoveredQueue, Sequence, Store};

use super::ConnectionId;
use super::outbox::{Notice, Outbox, SourceId};
use super::queue::consumers::{Activation, ChannelLimit, ConsumerOptions, ConsumerSlot};
use super::queue::effects::{Effects, Unread};
use super::queue::ready::Window;
use super::queue::{Got, Queue, QueueOptions, Settlement};
use super::queue_arguments;
use super::queue_ids::{LiveQueueId, QueueIds};
use super::queue_type::QueueType;

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

/// What a verb leaves to its caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Everything that the verb asked of the store is on disk once this is committed.
    pub sequence: Option<Sequence>,
    /// The queue's last consumer is gone and it is auto-delete: delete it.
    pub delete: bool,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    outlets: Vec<Option<Outlet>>,
    /// Connections whose `basic.get` waits.
    get_waits: Vec<Arc<Outbox>>,
    /// Gone from its vhost: what still arrives is dropped.
    deleted: bool,
    /// Its number in the store; one that is not durable has none before it spills.
    stored: Option<QueueId>,
    effects: Effects,
    operations: Vec<Operation>,
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
    store: Arc<dyn Store>,
    ids: Arc<QueueIds>,
    state: Mutex<State>,
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
    /// A new, empty queue. `stored` is its number in the store if it is durable; then the caller appends
    /// [`LiveQueue::declaration`].
    pub fn new(
        ids: &Arc<QueueIds>,
        stored: Option<QueueId>,
        vhost: &Arc<str>,
        definition: QueueDefinition,
        store: &Arc<dyn Store>,
        window: Window,
    ) -> Arc<Self> {
        let options = QueueOptions {
            durable: definition.durable,
            auto_delete: definition.auto_delete,
            activation: definition.activation(),
            window,
        };
        let queue = Queue::new(options, Unread::default(), Position(0), Position(0));
        Self::with(ids, stored, vhost, definition, store, queue)
    }

    /// A durable queue that a start found in the store.
    pub fn recovered(
        ids: &Arc<QueueIds>,
        found: &RecoveredQueue,
        queue_type: QueueType,
        store: &Arc<dyn Store>,
        window: Window,
    ) -> Arc<Self> {
        let RecoveredQueue {
            row,
            messages,
            body_bytes,
            first,
            next,
            delivered_before,
        } = found;
        let definition = QueueDefinition {
            name: Arc::clone(&row.name),
            durable: true,
            auto_delete: row.auto_delete,
            owner: None,
            queue_type,
            arguments: row.arguments.clone(),
        };
        let unread = Unread {
            from: *first,
            to: *next,
            messages: *messages,
            persistent: *messages,
            persistent_bytes: *body_bytes,
        };
        let options = QueueOptions {
            durable: true,
            auto_delete: row.auto_delete,
            activation: definition.activation(),
            window,
        };
        let queue = Queue::new(options, unread, *next, (*delivered_before).min(*next));
        Self::with(ids, Some(row.id), &row.vhost, definition, store, queue)
    }

    fn with(
        ids: &Arc<QueueIds>,
        stored: Option<QueueId>,
        vhost: &Arc<str>,
        definition: QueueDefinition,
        store: &Arc<dyn Store>,
        queue: Queue,
    ) -> Arc<Self> {
        let state = State {
            queue,
            outlets: Vec::new(),
            get_waits: Vec::new(),
            deleted: false,
            stored,
            effects: Effects::default(),
            operations: Vec::new(),
        };
        Arc::new(Self {
            id: ids.live(),
            vhost: Arc::clone(vhost),
            definition,
            store: Arc::clone(store),
            ids: Arc::clone(ids),
            state: Mutex::new(state),
        })
    }

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
    pub fn publish(self: &Arc<Self>, messages: impl Iterator<Item = Message>) -> Outcome {
        self.change(|queue, effects| {
            for message in messages {
                queue.publish(message, effects);
            }
            queue.dispatch(effects);
        })
        .1
    }

    /// Settles unacked messages and gives out what that makes room for.
    pub fn settle(self: &Arc<Self>, settlements: impl Iterator<Item = (Position, Settlement)>) -> Outcome {
        self.change(|queue, effects| {
            for (position, settlement) in settlements {
                queue.settle(position, settlement, effects);
            }
            queue.dispatch(effects);
        })
        .1
    }

    /// Takes one message for `basic.get`; `outbox` hears of it when a [`Got::Later`] can be tried again.
    pub fn get(self: &Arc<Self>, no_ack: bool, outbox: &Arc<Outbox>) -> Got {
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.deleted {
            return Got::Empty;
        }
        let got = state.queue.get(no_ack, &mut state.effects);
        if matches!(got, Got::Later) {
            state.get_waits.push(Arc::clone(outbox));
        }
        self.carry_out(state);
        got
    }

    /// Adds a consumer. Nothing is delivered before [`LiveQueue::dispatch`], so that consume-ok can go first.
    ///
    /// # Errors
    /// When the queue is gone or in exclusive use, or can not be.
    pub fn consume(&self, options: ConsumerOptions, outlet: Outlet) -> Result<ConsumerSlot, ConsumeRefused> {
        let mut state = self.state.lock();
        if state.deleted {
            return Err(ConsumeRefused::Deleted);
        }
        let may_be_alone = state.queue.consumer_count() == 0 && !self.definition.has_single_active_consumer();
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
        let (outcome, wakers) = {
            let mut state = self.state.lock();
            let state = &mut *state;
            state.queue.remove_consumer(slot, &mut state.effects);
            if let Some(outlet) = state.outlets.get_mut(slot.index as usize) {
                *outlet = None;
            }
            self.carry_out(state)
        };
        carry_out::wake(wakers);
        outcome
    }

    /// The broker stops: the store is told exactly what was handed out, if nothing is unacked.
    pub fn close_at_rest(self: &Arc<Self>) {
        self.change(Queue::close_at_rest);
    }

    /// Gives out what is ready.
    pub fn dispatch(self: &Arc<Self>) {
        self.change(Queue::dispatch);
    }

    /// A consumer's socket took deliveries: gives it more.
    pub fn written(self: &Arc<Self>, slot: ConsumerSlot, messages: u32, bytes: usize) {
        self.change(|queue, effects| {
            queue.written(slot, messages, bytes);
            queue.dispatch(effects);
        });
    }

    /// Puts a consumer under a channel's limit, or takes it from under one.
    pub fn set_channel_limit(self: &Arc<Self>, slot: ConsumerSlot, limit: Option<Arc<ChannelLimit>>) {
        self.change(|queue, effects| {
            queue.set_channel_limit(slot, limit);
            queue.dispatch(effects);
        });
    }

    /// The channel's limit has room again for this consumer.
    pub fn resume(self: &Arc<Self>, slot: ConsumerSlot) {
        self.change(|queue, effects| {
            queue.resume(slot);
            queue.dispatch(effects);
        });
    }

    /// Drops all ready messages and returns how many there were.
    pub fn purge(self: &Arc<Self>) -> (u64, Outcome) {
        self.change(Queue::purge)
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
        let deletion = state.stored.map(Operation::DeleteQueue);
        let sequence = deletion.map(|operation| self.store.append(&mut vec![operation]));
        Ok((ready, sequence))
    }
}
