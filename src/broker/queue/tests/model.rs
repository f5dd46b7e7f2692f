//! The slow obvious queue: sorted maps, and for each delivery the question whether it was the right one.

use std::collections::{BTreeMap, VecDeque};

use crate::broker::queue::consumers::{ConsumerOptions, ConsumerSlot};
use crate::message::Message;
use crate::store::Position;

/// A consumer stops when so much waits in its outbox.
const OUTBOX_MESSAGES_MAX: usize = 4096;
const OUTBOX_BYTES_MAX: usize = 1 << 20;

/// A message in the queue.
#[derive(Clone, Debug)]
pub struct Expected {
    pub message: Message,
    /// A client saw it, so that it has to be flagged.
    pub seen: bool,
    /// It came through a crash: it may be flagged although nobody saw it.
    pub survived: bool,
}

/// A message that was handed out.
#[derive(Clone, Debug)]
pub struct Held {
    pub expected: Expected,
    pub consumer: Option<ConsumerSlot>,
}

#[derive(Debug)]
pub struct Consumer {
    pub slot: ConsumerSlot,
    pub options: ConsumerOptions,
    pub is_limited: bool,
    pub unacked: usize,
    /// Sizes of what waits for its socket.
    pub outbox: VecDeque<usize>,
    /// The turn since which it could take a message all the time.
    able_since: Option<u64>,
    last_turn: u64,
}

/// A queue.
#[derive(Debug, Default)]
pub struct Model {
    pub ready: BTreeMap<Position, Expected>,
    pub held: BTreeMap<Position, Held>,
    pub consumers: Vec<Consumer>,
    /// Of the channel that the limited consumers are on; 0 is none.
    pub limit: u32,
    pub limit_unacked: u32,
    turn: u64,
}

impl Model {
    pub fn add_consumer(&mut self, slot: ConsumerSlot, options: ConsumerOptions) {
        let is_limited = options.limit.is_some();
        self.consumers.push(Consumer {
            slot,
            options,
            is_limited,
            unacked: 0,
            outbox: VecDeque::new(),
            able_since: None,
            last_turn: 0,
        });
        self.note_ability();
    }

    fn can_take(&self, consumer: &Consumer) -> bool {
        let prefetch = usize::from(consumer.options.prefetch);
        (prefetch == 0 || consumer.unacked < prefetch)
            && consumer.outbox.len() < OUTBOX_MESSAGES_MAX
            && consumer.outbox.iter().sum::<usize>() < OUTBOX_BYTES_MAX
            && (!consumer.is_limited || self.limit == 0 || self.limit_unacked < self.limit)
    }

    /// Whether a consumer could take a message now.
    pub fn has_able_consumer(&self) -> bool {
        self.consumers.iter().any(|consumer| self.can_take(consumer))
    }

    /// Call after anything that changes who can take a message.
    pub fn note_ability(&mut self) {
        let able: Vec<bool> = self
            .consumers
            .iter()
            .map(|consumer| self.can_take(consumer))
            .collect();
        for (consumer, is_able) in self.consumers.iter_mut().zip(able) {
            match (is_able, consumer.able_since) {
                (true, None) => consumer.able_since = Some(self.turn),
                (false, _) => consumer.able_since = None,
                _ => {}
            }
        }
    }

    /// A message was delivered to a consumer: checks that it is the right message and the right consumer.
    pub fn delivered(&mut self, to: ConsumerSlot, at: Position, message: &Message, redelivered: bool) {
        let expected = self.take_first(at, message, redelivered);
        self.turn += 1;
        let index = self
            .consumers
            .iter()
            .position(|consumer| consumer.slot == to)
            .expect("deliveries go to consumers that are there");
        let chosen = &self.consumers[index];
        assert!(self.can_take(chosen), "{chosen:?} can take nothing");
        for other in &self.consumers {
            let priority = other.options.priority.cmp(&chosen.options.priority);
            assert!(
                priority.is_le() || !self.can_take(other),
                "{other:?} has precedence over {chosen:?}"
            );
            // Who could take something since before the chosen one's last turn, and had none, was next.
            let waited_longer = priority.is_eq()
                && other.slot != chosen.slot
                && chosen.last_turn > 0
                && other.last_turn < chosen.last_turn
                && other.able_since.is_some_and(|since| since < chosen.last_turn);
            assert!(!waited_longer, "it was the turn of {other:?}, not of {chosen:?}");
        }
        let turn = self.turn;
        let consumer = &mut self.consumers[index];
        consumer.last_turn = turn;
        consumer.outbox.push_back(message.memory_bytes());
        if !consumer.options.no_ack {
            consumer.unacked += 1;
            self.limit_unacked += u32::from(consumer.is_limited);
            let held = Held {
                expected,
                consumer: Some(to),
            };
            self.held.insert(at, held);
        }
        self.note_ability();
    }

    /// A message was taken by `basic.get`.
    pub fn got(&mut self, at: Position, message: &Message, redelivered: bool, no_ack: bool) {
        let expected = self.take_first(at, message, redelivered);
        if !no_ack {
            let consumer = None;
            self.held.insert(at, Held { expected, consumer });
        }
    }

    fn take_first(&mut self, at: Position, message: &Message, redelivered: bool) -> Expected {
        let (first, expected) = self
            .ready
            .pop_first()
            .expect("only ready messages are handed out");
        assert_eq!(at, first, "the first ready message is next");
        assert_eq!(expected.message.encoded(), message.encoded());
        assert!(
            redelivered || !expected.seen,
            "{at:?} was seen: it is redelivered"
        );
        assert!(
            !redelivered || expected.seen || expected.survived,
            "{at:?} was never handed out: it is not redelivered"
        );
        expected
    }

    /// Takes a message out of the unacked ones. Returns whether it gave room under the channel's limit.
    pub fn release(&mut self, at: Position) -> (Expected, bool) {
        let Held { expected, consumer } = self.held.remove(&at).expect("the test settles what is held");
        let holder = consumer.and_then(|slot| self.consumers.iter_mut().find(|other| other.slot == slot));
        let is_limited = holder.is_some_and(|holder| {
            holder.unacked -= 1;
            holder.is_limited
        });
        self.limit_unacked -= u32::from(is_limited);
        (expected, is_limited)
    }
}
