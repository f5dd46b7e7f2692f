//! A queue's rules, without its surroundings: every verb changes the queue and adds what the caller must do to
//! [`Effects`]. It knows no exchange, no store, no connection and no clock.
//!
//! A message is ready (in the window or unread in the store), unacked or resting, or it is not in the queue.

pub mod consumers;
mod dying;
mod economy;
pub mod effects;
mod expiry;
mod get;
mod hand_out;
mod holding;
mod lead;
pub mod level;
mod limits;
mod purge;
pub mod ready;
mod rest;
pub mod settings;
mod settle;
pub mod stretches;
mod timeout;

use std::collections::{BTreeMap, HashMap};
use std::iter;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::message::Message;
use crate::store::{PageEntry, Position, PublishEntry};

use super::headroom::Allowance;
use super::sparse_deque::SparseDeque;
use consumers::{Activation, ChannelLimit, ConsumerOptions, ConsumerSlot, Consumers};
use dying::Dying;
use effects::{Delivery, DeliveryHandle, Effects, Unread};
use hand_out::HandOut;
use level::{LevelId, Waiting, Window};
use ready::{PageLoaded, Ready};
use settings::QueueSettings;
use stretches::Stretches;

pub use get::Got;
pub use settle::Settlement;

/// What does not change in a queue's life.
#[derive(Clone, Copy, Debug)]
pub struct QueueOptions {
    /// Persistent messages survive a restart.
    pub durable: bool,
    /// All messages count as persistent, and deliveries that are not the first say how many there were before.
    pub is_quorum: bool,
    /// It is deleted with its last consumer.
    pub auto_delete: bool,
    /// Which of its consumers may take messages.
    pub activation: Activation,
    /// Messages with a higher priority count as having this one; 0 makes all equal.
    pub max_priority: u8,
    /// What may stay in memory.
    pub window: Window,
}

impl QueueOptions {
    /// Whether a message, persistent or not, would survive a restart in such a queue.
    #[inline]
    pub fn keeps(&self, is_persistent: bool) -> bool {
        self.durable && (is_persistent || self.is_quorum)
    }
}

/// What a queue starts from.
#[derive(Debug)]
pub struct Origin {
    /// What the store has, by priority: first that of priority 0, then others. Empty for a new queue.
    pub levels: Vec<(u8, Unread, Stretches)>,
    /// The place of the next publish.
    pub next: Position,
    /// Messages below this place may have been handed out in an earlier run.
    pub seen_before: Position,
}

/// A message that was delivered and not settled.
#[derive(Debug)]
struct Unacked {
    message: Message,
    level: LevelId,
    expires_at: Option<Timestamp>,
    delivery_count: u32,
    /// It was flagged when it was handed out.
    redelivered: bool,
    stored: bool,
    /// `None` for `basic.get`.
    consumer: Option<ConsumerSlot>,
    /// When the delivery counts as failed.
    times_out_at: Option<Timestamp>,
}

/// A queue.
#[derive(Debug)]
pub struct Queue {
    options: QueueOptions,
    settings: Arc<QueueSettings>,
    ready: Ready,
    unacked: SparseDeque<Unacked>,
    /// Messages that came back and wait to be ready again, by the time at which to look at them.
    resting: BTreeMap<(Timestamp, Position), (LevelId, Waiting)>,
    /// Dead letters that wait for somebody to take them.
    dying: Dying,
    /// What is unacked or rests, bytes.
    held_bytes: usize,
    allowance: Allowance,
    consumers: Consumers,
    next: Position,
    hand_out: HandOut,
    /// Messages below this place were, or may have been, handed out before the broker started.
    seen_before: Position,
    started: Timestamp,
    /// A `basic.get` waits for a page or for the hand-out to open.
    get_waits: bool,
    /// A `basic.get` found more that has expired than one turn lets go of.
    get_turns: bool,
    /// The first time at which a delivery may be late; never later than the truth.
    times_out_next: Option<Timestamp>,
    /// Deliveries that were late: their messages went back, and whoever held them still may settle them.
    late: HashMap<DeliveryHandle, Option<ConsumerSlot>>,
    /// Since when nobody has used the queue.
    unused_since: Option<Timestamp>,
    /// There was more to expire or to drop than one turn does.
    is_untidy: bool,
}

impl Queue {
    /// A queue with what the store has of it. That may be too much, if consumers held some of it before.
    pub fn new(options: QueueOptions, settings: QueueSettings, origin: Origin, now: Timestamp) -> Self {
        let mut queue = Self {
            options,
            settings: Arc::new(settings),
            ready: Ready::new(options.window, options.max_priority, origin.levels),
            unacked: SparseDeque::default(),
            resting: BTreeMap::new(),
            dying: Dying::default(),
            held_bytes: 0,
            allowance: Allowance::default(),
            consumers: Consumers::new(options.activation),
            next: origin.next,
            hand_out: HandOut::new(options.durable),
            seen_before: origin.seen_before,
            started: now,
            get_waits: false,
            get_turns: false,
            times_out_next: None,
            late: HashMap::new(),
            unused_since: Some(now),
            is_untidy: false,
        };
        queue.is_untidy = queue.is_over_limit();
        queue
    }

    /// Other arguments or policies count from now on. Messages keep the expiry that they entered with.
    pub fn set_settings(&mut self, settings: QueueSettings) {
        self.settings = Arc::new(settings);
        self.is_untidy = true;
    }

    /// Adds a message behind all others of its priority; false when the queue is full and refuses it. Call
    /// [`Queue::dispatch`] after a batch of these.
    #[inline]
    pub fn publish(&mut self, message: Message, now: Timestamp, effects: &mut Effects) -> bool {
        if self.refuses(&message) && self.still_refuses(&message, now, effects) {
            self.refuse(message, effects);
            return false;
        }
        let level = self.ready.level(message.priority());
        let mut is_window_full = self.ready.is_window_full(level);
        if is_window_full && self.is_open() && !self.consumers.is_empty() {
            // Others of its batch may have filled the window, and consumers can have them before this one enters.
            self.deliver(now, now, effects);
            is_window_full = self.ready.is_window_full(level);
        }
        let position = self.next;
        self.next = Position(position.0 + 1);
        let expires_at = self.expires_at(&message, now);
        let stored = self.options.keeps(message.is_persistent());
        if stored || is_window_full {
            let entry = PublishEntry {
                position,
                expires_at,
                is_persistent: message.is_persistent() || self.options.is_quorum,
                message: message.clone(),
            };
            if is_window_full {
                self.ready.push_unread(level, &entry);
            }
            effects.of(level).published.push(entry);
        }
        if is_window_full {
            return true;
        }
        // With priorities, others of its batch may have to go first.
        let is_first = self.ready.count() == 0 && self.options.max_priority == 0;
        let goes_on = is_first && self.is_open();
        if goes_on && let Some(consumer) = self.next_consumer() {
            let waiting = Waiting::new(message, expires_at, stored);
            self.give((level, position, waiting), consumer, now, effects);
        } else {
            let waiting = Waiting::new(self.as_one_that_stays(message), expires_at, stored);
            self.ready.insert(level, position, waiting);
        }
        true
    }

    /// Whether a full queue is so, too, when consumers have what they are waiting for: others of a batch may have filled
    /// it.
    #[cold]
    fn still_refuses(&mut self, message: &Message, now: Timestamp, effects: &mut Effects) -> bool {
        self.dispatch(now, effects);
        self.refuses(message)
    }

    /// Gives ready messages to consumers as long as there are both; then lets go of what has expired or is too much.
    pub fn dispatch(&mut self, now: Timestamp, effects: &mut Effects) {
        let has_consumers = !self.consumers.is_empty();
        let mut is_turn_over = false;
        if has_consumers && self.open(now, effects) {
            is_turn_over = !self.deliver(now, now, effects);
        }
        let waits = has_consumers || effects.get_again || self.get_waits || self.is_over_limit();
        if !is_turn_over && self.opening_since().is_none() {
            self.tidy(now, waits, effects);
        }
        if waits || self.is_over_limit() {
            self.ready.load(&mut effects.loads);
        }
    }

    /// Delivers what has not expired before `end`. What expires right now may still go: a TTL of 0 means delivery at
    /// once or never. False if so much has expired that deliveries have to wait for another turn.
    #[inline]
    fn deliver(&mut self, end: Timestamp, now: Timestamp, effects: &mut Effects) -> bool {
        if !self.expire_before(end, effects) {
            return false;
        }
        while let Some(level) = self.ready.next_in_memory() {
            let Some(consumer) = self.next_consumer() else {
                break;
            };
            let entry = self.ready.pop_of(level).expect("the next message is in memory");
            self.give(entry, consumer, now, effects);
        }
        true
    }

    /// Hands a message that is not among the ready ones to the consumer whose turn it is.
    #[expect(clippy::inline_always, reason = "its message would go by way of the stack")]
    #[inline(always)]
    fn give(
        &mut self,
        entry: (LevelId, Position, Waiting),
        consumer: ConsumerSlot,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        let (level, position, waiting) = entry;
        let (handle, redelivered) = (waiting.handle(position), waiting.redelivered);
        let counted = self.with_delivery_count(&waiting.message, waiting.delivery_count);
        let bytes = counted.as_ref().unwrap_or(&waiting.message).memory_bytes();
        let needs_ack = self.consumers.book(consumer, bytes);
        let kept = self.hand_out(
            (level, position, waiting),
            (Some(consumer), needs_ack),
            now,
            effects,
        );
        let message = counted.unwrap_or(kept);
        // Made when there is room for it, it need not wait on the stack until there is.
        effects.deliveries.extend(iter::once_with(|| Delivery {
            consumer,
            handle,
            message,
            redelivered,
        }));
    }

    /// Adds a consumer. The caller has checked [`Queue::has_exclusive_consumer`]; [`Queue::dispatch`] gives it what is
    /// ready.
    pub fn add_consumer(&mut self, options: ConsumerOptions) -> ConsumerSlot {
        self.unused_since = None;
        self.consumers.add(options)
    }

    /// Gives a consumer nothing more; see [`Consumers::suspend`].
    pub fn suspend_consumer(&mut self, slot: ConsumerSlot) {
        self.consumers.suspend(slot);
    }

    /// Removes a consumer; its unacked messages stay with its channel. Call [`Queue::dispatch`] for its successor, if
    /// a single one is active. False when it was not there.
    pub fn remove_consumer(&mut self, slot: ConsumerSlot, now: Timestamp, effects: &mut Effects) -> bool {
        if !self.consumers.remove(slot) {
            return false;
        }
        if self.consumers.is_empty() {
            self.unused_since = Some(now);
            effects.delete_queue = self.options.auto_delete;
            self.close_at_rest(effects);
        }
        true
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

    /// Takes a page of the level with this [`LevelId::index`], which [`Effects::loads`] asked for. `next` is the first
    /// place that it did not look at, `expires_next` when the first message expires that it left out.
    pub fn page_loaded(
        &mut self,
        level: u8,
        (mut entries, next): (Vec<PageEntry>, Position),
        expires_next: Option<Timestamp>,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        self.dying.take_out_of(level, &mut entries);
        self.limit_rests(&mut entries);
        match self.ready.page_loaded(level, entries, next, expires_next, now) {
            (level, PageLoaded::Window(resting)) => {
                for entry in resting {
                    self.rest_on(level, entry);
                }
            }
            (level, PageLoaded::Expired(entries)) => {
                for (position, waiting) in entries.into_iter().map(Waiting::read) {
                    self.expire(level, position, waiting, effects);
                }
            }
        }
        effects.get_again = std::mem::take(&mut self.get_waits);
        self.close_if_consumed(effects);
        self.dispatch(now, effects);
    }

    /// The place of the next message that enters.
    #[inline]
    pub fn next(&self) -> Position {
        self.next
    }

    /// Ready messages.
    pub fn ready_count(&self) -> u64 {
        self.ready.count()
    }

    /// Delivered messages that are not settled.
    pub fn unacked_count(&self) -> usize {
        self.unacked.len()
    }

    /// Messages that came back and are not ready again yet.
    pub fn resting_count(&self) -> usize {
        self.resting.len()
    }

    /// Consumers.
    pub fn consumer_count(&self) -> usize {
        self.consumers.len()
    }

    /// Whether a consumer asked to be the only one.
    pub fn has_exclusive_consumer(&self) -> bool {
        self.consumers.has_exclusive()
    }

    /// Whether only one consumer at a time gets messages.
    pub fn is_single_active(&self) -> bool {
        self.options.activation != Activation::All
    }

    /// What counts at the moment.
    pub fn settings(&self) -> &Arc<QueueSettings> {
        &self.settings
    }
}

#[cfg(test)]
mod tests;
