//! Random histories of a queue with a tiny window, so that it pages all the time, against the slow obvious model.

mod disk;
mod model;

use std::sync::Arc;

use proptest::prelude::*;

use super::consumers::{Activation, ChannelLimit, ConsumerOptions};
use super::effects::{Delivery, Effects, Unread};
use super::ready::Window;
use super::{Got, Queue, QueueOptions, Settlement};
use crate::message::Message;
use crate::store::Position;

use disk::Disk;
use model::{Expected, Model};

const PERSISTENT: &[u8] = &[0x10, 0x00, 2];
const TRANSIENT: &[u8] = &[0, 0];

/// Indices are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Publish {
        messages: u8,
        persistent: u8,
        is_large: bool,
    },
    Get {
        no_ack: bool,
    },
    Settle {
        which: usize,
        count: usize,
        settlement: Settlement,
    },
    AddConsumer {
        priority: i64,
        no_ack: bool,
        prefetch: u16,
        is_limited: bool,
    },
    RemoveConsumer {
        which: usize,
    },
    /// A consumer's socket takes so many deliveries.
    Written {
        which: usize,
        count: usize,
    },
    SetLimit {
        limit: u16,
    },
    Purge,
    /// The disk writes so many wishes.
    Write {
        count: usize,
    },
    /// The disk answers a page request, with so many messages at most.
    Answer {
        messages_max: usize,
    },
    /// The broker dies, and starts from what was written.
    Crash,
}

fn settlements() -> impl Strategy<Value = Settlement> {
    prop_oneof![
        3 => Just(Settlement::Ack),
        2 => Just(Settlement::Requeue),
        1 => Just(Settlement::Return),
        1 => Just(Settlement::Discard),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..6u8, any::<u8>(), prop::bool::weighted(0.02))
            .prop_map(|(messages, persistent, is_large)| Step::Publish { messages, persistent, is_large }),
        4 => prop::bool::weighted(0.3).prop_map(|no_ack| Step::Get { no_ack }),
        8 => (any::<usize>(), 1..4usize, settlements())
            .prop_map(|(which, count, settlement)| Step::Settle { which, count, settlement }),
        2 => (-1..2i64, prop::bool::weighted(0.2), 0..4u16, prop::bool::weighted(0.3))
            .prop_map(|(priority, no_ack, prefetch, is_limited)| {
                Step::AddConsumer { priority, no_ack, prefetch, is_limited }
            }),
        2 => any::<usize>().prop_map(|which| Step::RemoveConsumer { which }),
        3 => (any::<usize>(), 1..5usize).prop_map(|(which, count)| Step::Written { which, count }),
        1 => (0..4u16).prop_map(|limit| Step::SetLimit { limit }),
        1 => Just(Step::Purge),
        10 => (1..8usize).prop_map(|count| Step::Write { count }),
        6 => (1..6usize).prop_map(|messages_max| Step::Answer { messages_max }),
        1 => Just(Step::Crash),
    ]
}

fn limit() -> Arc<ChannelLimit> {
    let limit = ChannelLimit::new(0);
    limit.count_from(0);
    Arc::new(limit)
}

/// A queue, its model and its disk.
struct History {
    options: QueueOptions,
    queue: Queue,
    effects: Effects,
    model: Model,
    disk: Disk,
    limit: Arc<ChannelLimit>,
    next: u64,
    published: u64,
    get_waits: bool,
}

impl History {
    fn new(durable: bool, auto_delete: bool, window: usize) -> Self {
        let options = QueueOptions {
            durable,
            auto_delete,
            activation: Activation::All,
            window: Window {
                messages: window,
                bytes: 1 << 20,
            },
        };
        Self {
            options,
            queue: Queue::new(options, Unread::default(), Position(0), Position(0)),
            effects: Effects::default(),
            model: Model::default(),
            disk: Disk::default(),
            limit: limit(),
            next: 0,
            published: 0,
            get_waits: false,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Publish {
                messages,
                persistent,
                is_large,
            } => {
                for index in 0..messages {
                    self.publish(persistent >> index & 1 == 1, is_large);
                }
            }
            Step::Get { no_ack } => self.get(no_ack),
            Step::Settle {
                which,
                count,
                settlement,
            } => self.settle(which, count, settlement),
            Step::AddConsumer {
                priority,
                no_ack,
                prefetch,
                is_limited,
            } => {
                let options = ConsumerOptions {
                    timeout_ms: None,
                    priority,
                    no_ack,
                    exclusive: false,
                    prefetch: if no_ack { 0 } else { prefetch },
                    limit: (is_limited && !no_ack).then(|| Arc::clone(&self.limit)),
                };
                let slot = self.queue.add_consumer(options.clone());
                self.model.add_consumer(slot, options);
            }
            Step::RemoveConsumer { which } => self.remove_consumer(which),
            Step::Written { which, count } => self.written(which, count),
            Step::SetLimit { limit } => {
                self.limit.set(limit);
                self.model.limit = limit.into();
                self.resume();
            }
            Step::Purge => {
                let ready = self.model.ready.len() as u64;
                assert_eq!(self.queue.purge(&mut self.effects), ready);
                self.model.ready.clear();
            }
            Step::Write { count } => self.disk.write(count),
            Step::Answer { messages_max } => self.answer(messages_max),
            Step::Crash => self.crash(),
        }
        self.queue.dispatch(&mut self.effects);
        self.carry_out();
        self.check();
    }

    fn publish(&mut self, persistent: bool, is_large: bool) {
        self.published += 1;
        let mut body = self.published.to_be_bytes().to_vec();
        if is_large {
            body.resize(400 << 10, 0);
        }
        let properties = if persistent { PERSISTENT } else { TRANSIENT };
        let message = Message::new(b"", b"q", properties, &body);
        self.queue.publish(message.clone(), &mut self.effects);
        let expected = Expected {
            message,
            seen: false,
            survived: false,
        };
        self.model.ready.insert(Position(self.next), expected);
        self.next += 1;
    }

    fn get(&mut self, no_ack: bool) {
        match self.queue.get(no_ack, &mut self.effects) {
            Got::Empty => assert!(self.model.ready.is_empty(), "there are ready messages"),
            Got::Later => {
                assert!(!self.model.ready.is_empty(), "there is nothing to wait for");
                self.get_waits = true;
            }
            Got::Message {
                position,
                message,
                redelivered,
                remaining,
            } => {
                self.check_hand_out();
                self.model.got(position, &message, redelivered, no_ack);
                assert_eq!(remaining, self.model.ready.len() as u64);
            }
        }
    }

    fn settle(&mut self, which: usize, count: usize, settlement: Settlement) {
        for _ in 0..count.min(self.model.held.len()) {
            let index = which % self.model.held.len();
            let position = *self
                .model
                .held
                .keys()
                .nth(index)
                .expect("it is within the bounds");
            assert!(self.queue.settle(position, settlement, &mut self.effects));
            assert!(
                !self.queue.settle(position, settlement, &mut self.effects),
                "settled twice"
            );
            let (mut expected, gave_room) = self.model.release(position);
            expected.seen |= settlement == Settlement::Requeue;
            if matches!(settlement, Settlement::Requeue | Settlement::Return) {
                self.model.ready.insert(position, expected);
            }
            if gave_room {
                self.limit.release(1);
            }
        }
        self.resume();
    }

    /// As the channel does, in one go with what made room.
    fn resume(&mut self) {
        let limited = self.model.consumers.iter().filter(|consumer| consumer.is_limited);
        for consumer in limited {
            self.queue.resume(consumer.slot);
        }
        self.model.note_ability();
    }

    fn remove_consumer(&mut self, which: usize) {
        let count = self.model.consumers.len();
        if count == 0 {
            return;
        }
        let consumer = self.model.consumers.remove(which % count);
        if consumer.is_limited {
            // What it holds stays held, and the channel gives it back; here it no longer counts.
            let held = self.model.held.values();
            let unacked = held.filter(|held| held.consumer == Some(consumer.slot)).count();
            let unacked = u32::try_from(unacked).expect("small");
            self.model.limit_unacked -= unacked;
            self.limit.release(unacked);
        }
        self.queue.remove_consumer(consumer.slot, &mut self.effects);
        let is_last = count == 1;
        let delete = std::mem::take(&mut self.effects.delete_queue);
        assert_eq!(delete, self.options.auto_delete && is_last);
        self.resume();
    }

    fn written(&mut self, which: usize, count: usize) {
        let consumers = self.model.consumers.len();
        if consumers == 0 {
            return;
        }
        let consumer = &mut self.model.consumers[which % consumers];
        let count = count.min(consumer.outbox.len());
        let bytes = consumer.outbox.drain(..count).sum();
        let messages = u32::try_from(count).expect("small");
        self.queue.written(consumer.slot, messages, bytes);
        self.model.note_ability();
    }

    fn answer(&mut self, messages_max: usize) {
        if let Some((entries, next)) = self.disk.read(messages_max) {
            self.queue.page_loaded(entries, next, &mut self.effects);
            assert_eq!(self.effects.get_again, std::mem::take(&mut self.get_waits));
            self.effects.get_again = false;
        }
    }

    fn crash(&mut self) {
        let in_queue = |model: &Model| -> Vec<(Position, Expected, bool)> {
            let ready = model
                .ready
                .iter()
                .map(|(at, expected)| (*at, expected.clone(), false));
            let held = model
                .held
                .iter()
                .map(|(at, held)| (*at, held.expected.clone(), true));
            ready.chain(held).collect()
        };
        let before = in_queue(&self.model);
        let unwritten: Vec<_> = before
            .iter()
            .map(|(at, ..)| *at)
            .filter(|at| self.disk.is_publish_pending(*at))
            .collect();
        let (unread, next, seen_before) = self.disk.crash();
        if !self.options.durable {
            *self = Self::new(false, self.options.auto_delete, self.options.window.messages);
            return;
        }
        for (at, expected, _) in &before {
            let is_kept = self.disk.asked().contains_key(at);
            let must_be_kept = expected.message.is_persistent() && !unwritten.contains(at);
            assert_eq!(is_kept, must_be_kept, "{at:?} after a crash");
        }
        self.model = Model::default();
        for (at, stored) in self.disk.asked() {
            let known = before.iter().find(|(other, ..)| other == at);
            // What is not known was settled, and the disk did not hear of it: somebody saw it, or it was purged.
            let seen = known.is_some_and(|(_, expected, is_held)| expected.seen || *is_held);
            let expected = Expected {
                message: stored.message.clone(),
                seen,
                survived: true,
            };
            self.model.ready.insert(*at, expected);
        }
        self.next = next.0;
        self.get_waits = false;
        self.limit = limit();
        self.effects = Effects::default();
        self.queue = Queue::new(self.options, unread, next, seen_before);
    }

    fn check_hand_out(&self) {
        let is_open = !self.options.durable || self.disk.is_marked_from_now_on();
        assert!(is_open, "handed out before the disk knows");
    }

    fn carry_out(&mut self) {
        if !self.effects.deliveries.is_empty() {
            self.check_hand_out();
        }
        for delivery in std::mem::take(&mut self.effects.deliveries) {
            let Delivery {
                consumer,
                position,
                message,
                redelivered,
            } = delivery;
            self.model.delivered(consumer, position, &message, redelivered);
        }
        self.disk.take(&mut self.effects);
    }

    fn check(&self) {
        assert_eq!(self.queue.ready_count(), self.model.ready.len() as u64);
        assert_eq!(self.queue.unacked_count(), self.model.held.len());
        assert_eq!(self.queue.consumer_count(), self.model.consumers.len());
        if self.disk.is_idle() {
            assert!(!self.get_waits, "a get waits for nothing");
            let is_stuck = !self.model.ready.is_empty() && self.model.has_able_consumer();
            assert!(
                !is_stuck,
                "a consumer waits for nothing: {:?}",
                self.model.ready.keys()
            );
        }
    }

    /// Lets the disk catch up, takes everything out, and finds nothing left behind.
    fn finish(&mut self) {
        while !self.model.consumers.is_empty() {
            self.step(&Step::RemoveConsumer { which: 0 });
        }
        let rounds = self.model.ready.len() * 3 + 10;
        for _ in 0..rounds {
            let count = usize::MAX;
            self.step(&Step::Settle {
                which: 0,
                count,
                settlement: Settlement::Ack,
            });
            self.step(&Step::Get { no_ack: false });
            self.step(&Step::Write { count });
            self.step(&Step::Answer { messages_max: count });
        }
        assert!(
            self.model.ready.is_empty() && self.model.held.is_empty(),
            "some can not be had"
        );
        assert!(self.disk.is_idle());
        assert!(
            self.disk.asked().is_empty(),
            "left in the store: {:?}",
            self.disk.asked()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_queue_does_what_the_model_says(
        durable in any::<bool>(),
        auto_delete in any::<bool>(),
        window in 1..8usize,
        steps in prop::collection::vec(steps(), 1..120),
    ) {
        let mut history = History::new(durable, auto_delete, window);
        for step in &steps {
            history.step(step);
        }
        history.finish();
    }
}
