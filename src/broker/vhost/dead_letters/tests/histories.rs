//! Random histories of queues that bury in each other: after any number of committed groups each message is in one
//! queue, or done with, whatever it died of and wherever it went.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::broker::outbox::Notice;
use crate::broker::queue::consumers::ConsumerSlot;

#[derive(Clone, Debug)]
struct Layout {
    numbers: Vec<(&'static str, i64)>,
    texts: Vec<(&'static str, String)>,
    is_single_active: bool,
    durable: bool,
}

/// Indices are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Publish {
        queue: usize,
        count: usize,
        expiration: Option<u8>,
    },
    Get {
        queue: usize,
    },
    Settle {
        which: usize,
        count: usize,
        settlement: Settlement,
    },
    Consume {
        queue: usize,
        prefetch: u16,
    },
    /// A consumer is cancelled, perhaps once more.
    Cancel {
        which: usize,
    },
    Pass(u64),
    /// So many groups are committed, then the broker dies.
    Crash(usize),
    Commit(usize),
    Settled,
}

fn steps() -> impl Strategy<Value = Step> {
    let settlements = prop_oneof![
        2 => Just(Settlement::Ack),
        2 => Just(Settlement::Discard),
        1 => Just(Settlement::Requeue),
        1 => Just(Settlement::Lost)
    ];
    prop_oneof![
        8 => (any::<usize>(), 1..5usize, prop::option::of(0..20u8))
            .prop_map(|(queue, count, expiration)| Step::Publish { queue, count, expiration }),
        5 => any::<usize>().prop_map(|queue| Step::Get { queue }),
        8 => (any::<usize>(), 1..4usize, settlements)
            .prop_map(|(which, count, settlement)| Step::Settle { which, count, settlement }),
        2 => (any::<usize>(), 0..3u16).prop_map(|(queue, prefetch)| Step::Consume { queue, prefetch }),
        2 => any::<usize>().prop_map(|which| Step::Cancel { which }),
        6 => prop_oneof![20 => 0..20u64, 1 => Just(10_000)].prop_map(Step::Pass),
        1 => (0..6usize).prop_map(Step::Crash),
        5 => (1..4usize).prop_map(Step::Commit),
        5 => Just(Step::Settled),
    ]
}

/// Queues that dead-letter to later ones, so that no message may get lost; or to any, and refuse.
fn layouts(is_lossless: bool) -> impl Strategy<Value = Vec<Layout>> {
    prop::collection::vec(layout(is_lossless), 2..6).prop_map(move |mut layouts| {
        let count = layouts.len();
        for (index, layout) in layouts.iter_mut().enumerate() {
            // Where the first queue has no one who buries in it, it may be lost with what it holds.
            layout.durable |= index > 0 || layout.texts.iter().any(|(name, _)| *name == "x-queue-type");
            let is_last = index + 1 == count;
            if is_lossless && is_last {
                layout.numbers.clear();
                layout.texts.clear();
                continue;
            }
            let key = layout
                .texts
                .iter_mut()
                .find(|(name, _)| *name == "x-dead-letter-routing-key");
            let key = &mut key.expect("all have one").1;
            let number: usize = key.parse().expect("it is a number");
            let target = if is_lossless {
                index + 1 + number % (count - index - 1)
            } else {
                1 + number % (count - 1)
            };
            *key = format!("q{target}");
        }
        layouts
    })
}

fn layout(is_lossless: bool) -> impl Strategy<Value = Layout> {
    let numbers = (
        prop::option::of(0..4i64),
        prop::option::of(prop_oneof![Just(0), 1..30i64]),
        prop::option::of(0..3i64),
        prop::option::weighted(0.3, 1..30i64),
        prop::option::weighted(0.3, 1..20i64),
    );
    let overflow = if is_lossless { 0..1usize } else { 0..3 };
    let others = (overflow, any::<usize>(), any::<bool>(), 0..3u8);
    (numbers, others).prop_map(
        |((length, ttl, limit, timeout, retry), (overflow, target, is_single_active, kind))| {
            let is_quorum = kind == 2;
            let mut numbers = Vec::new();
            let mut number = |name, value: Option<i64>| numbers.extend(value.map(|value| (name, value)));
            number("x-max-length", length);
            number("x-message-ttl", ttl);
            number("x-delivery-limit", limit.filter(|_| is_quorum));
            number("x-consumer-timeout", timeout);
            number("x-delayed-retry-min", retry.filter(|_| is_quorum));
            let overflow = ["drop-head", "reject-publish", "reject-publish-dlx"][overflow];
            let mut texts = vec![
                ("x-dead-letter-exchange", String::new()),
                ("x-dead-letter-routing-key", target.to_string()),
                ("x-overflow", overflow.to_owned()),
            ];
            if is_quorum {
                texts.push(("x-queue-type", "quorum".to_owned()));
                texts.push(("x-dead-letter-strategy", "at-least-once".to_owned()));
                texts.push(("x-delayed-retry-type", "all".to_owned()));
            }
            Layout {
                numbers,
                texts,
                is_single_active,
                durable: kind > 0,
            }
        },
    )
}

/// What is on disk of a message, over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    NotYet,
    Here,
    Gone,
}

struct Held {
    queue: usize,
    handle: DeliveryHandle,
    message: u64,
}

struct Consuming {
    queue: usize,
    slot: ConsumerSlot,
    source: SourceId,
}

struct History {
    world: World,
    layouts: Vec<Layout>,
    is_lossless: bool,
    queues: Vec<Arc<LiveQueue>>,
    outbox: Arc<Outbox>,
    consumers: Vec<Consuming>,
    cancelled: Vec<Consuming>,
    held: Vec<Held>,
    presence: BTreeMap<u64, Presence>,
    /// Messages that a client has acked.
    done: BTreeSet<u64>,
    /// The queues of all consumers that ever were.
    sources: BTreeMap<SourceId, usize>,
}

impl History {
    fn new(layouts: Vec<Layout>, is_lossless: bool) -> Self {
        let mut history = Self {
            world: World::with_window(2),
            layouts,
            is_lossless,
            queues: Vec::new(),
            outbox: Arc::default(),
            consumers: Vec::new(),
            cancelled: Vec::new(),
            held: Vec::new(),
            presence: BTreeMap::new(),
            done: BTreeSet::new(),
            sources: BTreeMap::new(),
        };
        history.declare_all();
        history
    }

    /// Queues that a crash took are declared again.
    fn declare_all(&mut self) {
        let layouts = self.layouts.iter().enumerate();
        self.queues = layouts
            .map(|(index, layout)| {
                let mut arguments = FieldTable::default();
                for (name, number) in &layout.numbers {
                    arguments.insert((*name).into(), AMQPValue::LongLongInt(*number));
                }
                for (name, text) in &layout.texts {
                    arguments.insert((*name).into(), AMQPValue::LongString(text.as_str().into()));
                }
                if layout.is_single_active {
                    arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
                }
                self.world
                    .declare_with(&format!("q{index}"), layout.durable, arguments)
            })
            .collect();
        self.settle_store();
    }

    fn step(&mut self, step: &Step) {
        let queue = |which: usize| which % self.queues.len();
        match *step {
            Step::Publish {
                queue: which,
                count,
                expiration,
            } => self.publish(queue(which), count, expiration),
            Step::Get { queue: which } => self.get(queue(which)),
            Step::Settle {
                which,
                count,
                settlement,
            } => self.settle(which, count, settlement),
            Step::Consume {
                queue: which,
                prefetch,
            } => self.consume(queue(which), prefetch),
            Step::Cancel { which } => self.cancel(which),
            Step::Pass(millis) => {
                self.world.now += Duration::from_millis(millis);
                self.world.clock.advance(self.world.now);
                self.world.fire();
            }
            Step::Crash(groups) => self.crash(groups),
            Step::Commit(groups) => {
                for _ in 0..groups {
                    self.world.store.commit(1);
                    self.observe();
                }
                self.world.store.answer_load();
            }
            Step::Settled => self.settle_store(),
        }
        self.read();
    }

    fn publish(&mut self, queue: usize, count: usize, expiration: Option<u8>) {
        let mut properties = PERSISTENT.to_vec();
        // From the last queue a message that expires goes nowhere, and that would be no loss.
        if let Some(expiration) = expiration.filter(|_| queue + 1 < self.queues.len()) {
            let text = expiration.to_string();
            properties[0] |= 1;
            properties.push(u8::try_from(text.len()).unwrap());
            properties.extend_from_slice(text.as_bytes());
        }
        let next = self.presence.len() as u64;
        let numbers = next..next + count as u64;
        self.presence
            .extend(numbers.clone().map(|number| (number, Presence::NotYet)));
        let key = format!("q{queue}");
        let messages =
            numbers.map(|number| Message::new(b"", key.as_bytes(), &properties, &number.to_be_bytes()));
        self.queues[queue].publish(messages);
    }

    fn get(&mut self, queue: usize) {
        loop {
            match self.queues[queue].get(false, &self.outbox) {
                Got::Empty => return,
                Got::Later => self.settle_store(),
                Got::Message { handle, message, .. } => {
                    let message = number(&message);
                    self.held.push(Held {
                        queue,
                        handle,
                        message,
                    });
                    return;
                }
            }
        }
    }

    fn settle(&mut self, which: usize, count: usize, settlement: Settlement) {
        for _ in 0..count.min(self.held.len()) {
            let index = which % self.held.len();
            let Held {
                queue,
                handle,
                message,
            } = self.held.swap_remove(index);
            // The last queue drops what is refused, and that would be no loss.
            let is_dropped = settlement == Settlement::Discard && queue + 1 == self.queues.len();
            let settlement = if is_dropped { Settlement::Ack } else { settlement };
            self.queues[queue].settle(std::iter::once((handle, settlement)));
            if settlement == Settlement::Ack {
                self.done.insert(message);
            }
        }
    }

    fn consume(&mut self, queue: usize, prefetch: u16) {
        let source = SourceId(self.sources.len() as u64);
        self.sources.insert(source, queue);
        let outlet = Outlet {
            outbox: Arc::clone(&self.outbox),
            channel: 1,
            source,
        };
        let options = ConsumerOptions {
            prefetch,
            ..ConsumerOptions::default()
        };
        let slot = self.queues[queue]
            .consume(options, outlet)
            .expect("nobody is exclusive");
        self.consumers.push(Consuming { queue, slot, source });
        self.queues[queue].dispatch();
    }

    fn cancel(&mut self, which: usize) {
        let all = self.consumers.len() + self.cancelled.len();
        if all == 0 {
            return;
        }
        let index = which % all;
        let consuming = if index < self.consumers.len() {
            self.consumers.swap_remove(index)
        } else {
            // The broker has cancelled it, and its channel has not read that yet.
            self.cancelled.swap_remove(index - self.consumers.len())
        };
        self.queues[consuming.queue].cancel(consuming.slot);
        self.queues[consuming.queue].dispatch();
    }

    /// The connection takes what lies in its outbox.
    fn read(&mut self) {
        let mut mail = Mail::default();
        self.outbox.take(&mut mail);
        for delivery in mail.deliveries {
            let queue = self.sources[&delivery.source];
            let mut all = self.consumers.iter().chain(&self.cancelled);
            let Some(consuming) = all.find(|consuming| consuming.source == delivery.source) else {
                // It comes too late: the client has cancelled.
                let back = (delivery.handle, Settlement::Return);
                self.queues[queue].settle(std::iter::once(back));
                continue;
            };
            let slot = consuming.slot;
            self.held.push(Held {
                queue,
                handle: delivery.handle,
                message: number(&delivery.message),
            });
            self.queues[queue].written(slot, 1, delivery.message.memory_bytes());
        }
        for notice in mail.notices {
            if let Notice::ConsumerCancelled { source, .. } = notice {
                let index = self
                    .consumers
                    .iter()
                    .position(|consuming| consuming.source == source);
                let index = index.expect("who is cancelled was there, and hears of it once");
                self.cancelled.push(self.consumers.swap_remove(index));
            }
        }
    }

    fn crash(&mut self, groups: usize) {
        for _ in 0..groups {
            self.world.store.commit(1);
            self.observe();
        }
        self.world.crash();
        self.outbox = Arc::default();
        self.consumers.clear();
        self.cancelled.clear();
        self.held.clear();
        self.observe();
        self.declare_all();
    }

    /// Commits everything, group by group, and answers what was asked.
    fn settle_store(&mut self) {
        loop {
            while self.world.store.pending_groups() > 0 {
                self.world.store.commit(1);
                self.observe();
            }
            self.world.spill.commit_all();
            if !self.world.store.answer_load() && !self.world.spill.answer_load() {
                return;
            }
        }
    }

    /// Looks at what a crash would leave now.
    fn observe(&mut self) {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for (_, message) in self.world.store.messages() {
            *counts.entry(number(&message)).or_default() += 1;
        }
        for (message, presence) in &mut self.presence {
            let count = counts.get(message).copied().unwrap_or_default();
            assert!(count <= 1, "{message} is there {count} times");
            let was = *presence;
            *presence = match (was, count) {
                (Presence::Gone | Presence::Here, 0) => Presence::Gone,
                (Presence::NotYet, 0) => Presence::NotYet,
                (Presence::Gone, _) => panic!("{message} comes back"),
                _ => Presence::Here,
            };
            let is_lost = was == Presence::Here && *presence == Presence::Gone;
            assert!(
                !(is_lost && self.is_lossless && !self.done.contains(message)),
                "{message} is lost"
            );
        }
    }

    /// Takes everything out and finds nothing left behind.
    fn finish(&mut self) {
        while !self.consumers.is_empty() {
            self.cancel(0);
        }
        for round in 0..3 {
            self.settle_store();
            self.read();
            self.settle(0, usize::MAX, Settlement::Ack);
            for queue in 0..self.queues.len() {
                loop {
                    self.get(queue);
                    if self.held.is_empty() {
                        break;
                    }
                    self.settle(0, usize::MAX, Settlement::Ack);
                }
            }
            self.step(&Step::Pass(if round == 0 { 10_000 } else { 20_000 }));
        }
        self.settle_store();
        if self.is_lossless {
            assert!(self.world.store.messages().is_empty(), "some can not be had");
        }
    }
}

fn number(message: &Message) -> u64 {
    u64::from_be_bytes(message.body().try_into().expect("eight bytes"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_dead_letter_is_lost_or_doubled(
        layouts in layouts(true),
        steps in prop::collection::vec(steps(), 1..60),
    ) {
        let mut history = History::new(layouts, true);
        for step in &steps {
            history.step(step);
        }
        history.finish();
    }

    #[test]
    fn no_dead_letter_is_doubled_where_queues_refuse_and_go_in_circles(
        layouts in layouts(false),
        steps in prop::collection::vec(steps(), 1..60),
    ) {
        let mut history = History::new(layouts, false);
        for step in &steps {
            history.step(step);
        }
        history.finish();
    }
}
