//! A queue's rules, without its surroundings: every verb changes the queue and adds what the caller must do to
//! [`Effects`]. It knows no exchange, no store, no connection and no clock. A message is ready (in the window or
//! unread in the store) or unacked, or it is not in the queue.

pub mod consumers;
pub mod effects;
pub mod ready;

use std::sync::Arc;

use crate::message::Message;
use crate::store::{PageEntry, Position};

use super::sparse_deque::SparseDeque;
use consumers::{Activation, ChannelLimit, ConsumerOptions, ConsumerSlot, Consumers};
use effects::{Delivery, Effects, Load, Unread};
use ready::{Ready, ReadyEntry, Window};

/// What does not change in a queue's life.
#[derive(Clone, Copy, Debug)]
pub struct QueueOptions {
    /// Persistent messages survive a restart.
    pub durable: bool,
    /// It is deleted with its last consumer.
    pub auto_delete: bool,
    /// Which of its consumers are active.
    pub activation: Activation,
    /// What may stay in memory.
    pub window: Window,
}

/// Whether messages of a durable queue may leave it. Before the first one does, the store has to know that from
/// now on they may have been seen, or a crash would bring them back without the redelivered flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HandOut {
    /// Nobody took anything since the store was last told so.
    Closed,
    /// The store was told, and has not answered.
    Opening,
    Open,
}

/// A message that was delivered and not settled.
#[derive(Debug)]
struct Unacked {
    message: Message,
    delivery_count: u32,
    /// It was flagged when it was handed out.
    redelivered: bool,
    stored: bool,
    /// `None` for `basic.get`.
    consumer: Option<ConsumerSlot>,
}

/// What `basic.get` finds.
#[derive(Debug)]
pub enum Got {
    /// No ready message.
    Empty,
    /// There is one, but it is not in memory yet: try again when [`Effects::get_again`] says so.
    Later,
    /// A message.
    Message {
        /// Its place, to settle it with.
        position: Position,
        /// The message.
        message: Message,
        /// It was handed out before.
        redelivered: bool,
        /// Ready messages left.
        remaining: u64,
    },
}

/// What becomes of an unacked message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It is done with.
    Ack,
    /// It goes back to its place.
    Requeue,
    /// It goes back and nobody saw it: it never left the broker.
    Return,
    /// It is refused for good.
    Discard,
}

/// A queue.
#[derive(Debug)]
pub struct Queue {
    options: QueueOptions,
    ready: Ready,
    unacked: SparseDeque<Unacked>,
    consumers: Consumers,
    next: Position,
    hand_out: HandOut,
    /// A consumer was there since the hand-out was opened.
    was_consumed: bool,
    /// Messages below this place were, or may have been, handed out before the broker started.
    seen_before: Position,
    /// A `basic.get` waits for a page or for the hand-out to open.
    get_waits: bool,
}

impl Queue {
    /// A queue whose messages, if any, are all `unread` in the store. `next` is the place of the next publish; those
    /// below `seen_before` may have been handed out in an earlier run.
    pub fn new(options: QueueOptions, unread: Unread, next: Position, seen_before: Position) -> Self {
        Self {
            options,
            ready: Ready::new(options.window, unread),
            unacked: SparseDeque::default(),
            consumers: Consumers::new(options.activation),
            next,
            hand_out: if options.durable {
                HandOut::Closed
            } else {
                HandOut::Open
            },
            was_consumed: false,
            seen_before,
            get_waits: false,
        }
    }

    /// Adds a message behind all others. Call [`Queue::dispatch`] after a batch of these.
    pub fn publish(&mut self, message: Message, effects: &mut Effects) {
        let position = self.next;
        self.next = Position(position.0 + 1);
        if self.ready.is_window_full() {
            self.ready.push_unread(position, &message);
            effects.published.push((position, message));
            return;
        }
        let stored = self.options.durable && message.is_persistent();
        if stored {
            effects.published.push((position, message.clone()));
        }
        self.ready.push(ReadyEntry {
            position,
            message,
            delivery_count: 0,
            redelivered: false,
            stored,
        });
    }

    /// Gives ready messages to consumers as long as there are both.
    pub fn dispatch(&mut self, effects: &mut Effects) {
        if self.consumers.is_empty() || !self.open(effects) {
            return;
        }
        while !self.ready.is_window_empty() {
            let Some(consumer) = self.consumers.take_turn() else {
                break;
            };
            let entry = self.ready.pop().expect("the window is not empty");
            let needs_ack = self.consumers.book(consumer, entry.message.memory_bytes());
            let (position, redelivered) = (entry.position, entry.redelivered);
            let message = self.hand_out(entry, Some(consumer), needs_ack, effects);
            effects.deliveries.push(Delivery {
                consumer,
                position,
                message,
                redelivered,
            });
        }
        self.load(effects);
    }

    /// Takes the first ready message for `basic.get`.
    pub fn get(&mut self, no_ack: bool, effects: &mut Effects) -> Got {
        if self.ready.count() == 0 {
            return Got::Empty;
        }
        let is_open = self.open(effects);
        if is_open && self.ready.is_window_empty() {
            self.load(effects);
        }
        if !is_open || self.ready.is_window_empty() {
            self.get_waits = true;
            return Got::Later;
        }
        let entry = self.ready.pop().expect("the window is not empty");
        let (position, redelivered) = (entry.position, entry.redelivered);
        let message = self.hand_out(entry, None, !no_ack, effects);
        self.load(effects);
        Got::Message {
            position,
            message,
            redelivered,
            remaining: self.ready.count(),
        }
    }

    /// Settles one unacked message. Returns false when it is not in the queue any more (purged with its queue,
    /// say), which is no error. Call [`Queue::dispatch`] after a batch of these.
    pub fn settle(&mut self, position: Position, settlement: Settlement, effects: &mut Effects) -> bool {
        let Some(unacked) = self.unacked.remove(position.0) else {
            return false;
        };
        if let Some(consumer) = unacked.consumer {
            self.consumers.settled(consumer);
        }
        let Unacked {
            message,
            mut delivery_count,
            mut redelivered,
            stored,
            ..
        } = unacked;
        match settlement {
            Settlement::Ack | Settlement::Discard => {
                if stored {
                    effects.settled.push(position);
                }
            }
            Settlement::Requeue | Settlement::Return => {
                if settlement == Settlement::Requeue {
                    delivery_count = delivery_count.saturating_add(1);
                    redelivered = true;
                    if stored {
                        effects.returned.push((position, delivery_count));
                    }
                }
                self.ready.put_back(ReadyEntry {
                    position,
                    message,
                    delivery_count,
                    redelivered,
                    stored,
                });
            }
        }
        if self.was_consumed {
            self.close_at_rest(effects);
        }
        true
    }

    /// Adds a consumer. The caller has checked [`Queue::has_exclusive_consumer`].
    pub fn add_consumer(&mut self, options: ConsumerOptions) -> ConsumerSlot {
        self.was_consumed = true;
        self.consumers.add(options)
    }

    /// Removes a consumer; its unacked messages stay with its channel.
    pub fn remove_consumer(&mut self, slot: ConsumerSlot, effects: &mut Effects) {
        if self.consumers.remove(slot) && self.consumers.is_empty() {
            effects.delete_queue = self.options.auto_delete;
            self.close_at_rest(effects);
        }
    }

    /// The consumer's socket took deliveries: there is room in its outbox again.
    pub fn written(&mut self, slot: ConsumerSlot, messages: u32, bytes: usize) {
        self.consumers.written(slot, messages, bytes);
    }

    /// Puts a consumer under a channel's limit, or takes it from under one.
    pub fn set_channel_limit(&mut self, slot: ConsumerSlot, limit: Option<Arc<ChannelLimit>>) {
        self.consumers.set_limit(slot, limit);
    }

    /// The channel's limit has room again for this consumer.
    pub fn resume(&mut self, slot: ConsumerSlot) {
        self.consumers.resume(slot);
    }

    /// Takes the page that [`Effects::load`] asked for. An empty page says only that the commit is done.
    pub fn page_loaded(&mut self, entries: Vec<PageEntry>, next: Position, effects: &mut Effects) {
        if self.hand_out == HandOut::Opening {
            self.hand_out = HandOut::Open;
        }
        let entries = entries.into_iter().map(|entry| ReadyEntry {
            position: entry.position,
            message: entry.message,
            delivery_count: entry.delivery_count,
            redelivered: entry.redelivered,
            stored: true,
        });
        self.ready.page_loaded(entries, next);
        effects.get_again = std::mem::take(&mut self.get_waits);
        if self.was_consumed && !effects.get_again {
            self.close_at_rest(effects);
        }
        self.dispatch(effects);
    }

    /// Drops all ready messages and returns how many there were.
    pub fn purge(&mut self, effects: &mut Effects) -> u64 {
        let count = self.ready.count();
        let (entries, unread) = self.ready.purge();
        effects.settled.extend(
            entries
                .iter()
                .filter(|entry| entry.stored)
                .map(|entry| entry.position),
        );
        effects.purged = (unread.messages > 0).then_some(unread);
        count
    }

    /// Forgets everything: the queue is deleted, and the caller tells the store.
    pub fn clear(&mut self) {
        *self = Self::new(self.options, Unread::default(), self.next, Position(0));
    }

    /// Ready messages.
    pub fn ready_count(&self) -> u64 {
        self.ready.count()
    }

    /// Delivered messages that are not settled.
    pub fn unacked_count(&self) -> usize {
        self.unacked.len()
    }

    /// Consumers.
    pub fn consumer_count(&self) -> usize {
        self.consumers.len()
    }

    /// Gives a consumer nothing more; see [`Consumers::suspend`].
    pub fn suspend_consumer(&mut self, slot: ConsumerSlot) {
        self.consumers.suspend(slot);
    }

    /// Whether a consumer asked to be the only one.
    pub fn has_exclusive_consumer(&self) -> bool {
        self.consumers.has_exclusive()
    }

    /// Books a message that leaves the ready ones: as unacked, or as done with.
    fn hand_out(
        &mut self,
        entry: ReadyEntry,
        consumer: Option<ConsumerSlot>,
        needs_ack: bool,
        effects: &mut Effects,
    ) -> Message {
        let ReadyEntry {
            position,
            message,
            delivery_count,
            redelivered,
            stored,
        } = entry;
        if needs_ack {
            let kept = Unacked {
                message: message.clone(),
                delivery_count,
                redelivered,
                stored,
                consumer,
            };
            self.unacked.insert(position.0, kept);
        } else if stored {
            effects.settled.push(position);
        }
        message
    }

    /// Whether messages may be handed out; if not, sees to it that they soon may.
    fn open(&mut self, effects: &mut Effects) -> bool {
        if self.hand_out == HandOut::Closed {
            self.hand_out = HandOut::Opening;
            effects.mark_delivered = Some(Position(u64::MAX));
            let only_commit = Load {
                from: self.next,
                to: self.next,
                messages_max: 0,
                bytes_max: 0,
            };
            effects.load = Some(self.ready.load().unwrap_or(only_commit));
        }
        self.hand_out == HandOut::Open
    }

    /// Closes the hand-out when nobody consumes and all that was handed out in this run is settled, or has come back
    /// with its count stored. While a page is on its way it stays open: its answer would be taken for that of the
    /// next opening. Between one `basic.get` and the next it is not called, or each would wait for the disk.
    pub fn close_at_rest(&mut self, effects: &mut Effects) {
        let is_at_rest = self.consumers.is_empty() && self.unacked.is_empty() && !self.ready.is_loading();
        if is_at_rest && self.options.durable && self.hand_out == HandOut::Open {
            self.hand_out = HandOut::Closed;
            self.was_consumed = false;
            effects.mark_delivered = Some(self.seen_before);
        }
    }

    fn load(&mut self, effects: &mut Effects) {
        if effects.load.is_none() {
            effects.load = self.ready.load();
        }
    }
}

#[cfg(test)]
mod tests;
