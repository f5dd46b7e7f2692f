//! Queues that bury in each other, on a clock and a store of the test's own.

mod histories;
mod once;

use std::sync::Arc;
use std::time::{Duration, Instant};

use amq_protocol::types::{AMQPValue, FieldTable};

use super::*;
use crate::amqp::{content, field_table};
use crate::broker::ConnectionId;
use crate::broker::limits::Tally;
use crate::broker::live_queue::Outlet;
use crate::broker::outbox::{Mail, Outbox, SourceId};
use crate::broker::queue::consumers::ConsumerOptions;
use crate::broker::queue::effects::DeliveryHandle;
use crate::broker::queue::level::Window;
use crate::broker::queue::{Got, Settlement};
use crate::broker::queue_ids::QueueIds;
use crate::broker::queue_type::QueueType;
use crate::broker::refusal::Refusal;
use crate::broker::timers::Timers;
use crate::broker::vhost::{ExchangeDeclaration, QueueDeclaration, Shared, Stores};
use crate::clock::{Clock, Timestamp};
use crate::store::memory::MemoryStore;
use crate::store::{Recovered, Store};

const PERSISTENT: &[u8] = &[0x10, 0, 2];

struct World {
    vhost: Arc<Vhost>,
    store: Arc<MemoryStore>,
    spill: Arc<MemoryStore>,
    clock: Arc<Clock>,
    timers: Arc<Timers>,
    now: Instant,
    window: usize,
}

impl World {
    fn new() -> Self {
        Self::with_window(100)
    }

    /// Queues keep so many messages in memory.
    fn with_window(window: usize) -> Self {
        let now = Instant::now();
        let clock = Arc::new(Clock::new(now, Timestamp::from_millis(1_000)));
        Self::from_store(
            MemoryStore::default(),
            &Recovered::default(),
            (clock, now),
            window,
        )
    }

    fn from_store(
        store: MemoryStore,
        recovered: &Recovered,
        (clock, now): (Arc<Clock>, Instant),
        window: usize,
    ) -> Self {
        let (store, spill, timers) = (
            Arc::new(store),
            Arc::<MemoryStore>::default(),
            Arc::<Timers>::default(),
        );
        let shared = Shared {
            stores: Stores {
                durable: Arc::clone(&store) as Arc<dyn Store>,
                spill: Arc::clone(&spill) as Arc<dyn Store>,
            },
            clock: Arc::clone(&clock),
            timers: Arc::clone(&timers),
            ids: Arc::new(QueueIds::new(recovered.next_queue.max(1))),
            headroom: Arc::default(),
            window: Window {
                messages: window,
                bytes: 1 << 20,
            },
            policies: Arc::default(),
            queues: Tally::new(0),
            exchanges: Tally::new(0),
        };
        let vhost = Vhost::new("/", shared);
        for queue in &recovered.queues {
            vhost.recover_queue(queue).expect("it was acceptable before");
        }
        Self {
            vhost,
            store,
            spill,
            clock,
            timers,
            now,
            window,
        }
    }

    /// The broker dies, and starts from what is committed.
    fn crash(&mut self) {
        let (store, recovered) = self.store.crash();
        let time = (Arc::clone(&self.clock), self.now);
        *self = Self::from_store(store, &recovered, time, self.window);
    }

    fn declare(&self, name: &str, numbers: &[(&str, i64)], texts: &[(&str, &str)]) -> Arc<LiveQueue> {
        let mut arguments = FieldTable::default();
        for (name, number) in numbers {
            arguments.insert((*name).into(), AMQPValue::LongLongInt(*number));
        }
        for (name, text) in texts {
            arguments.insert((*name).into(), AMQPValue::LongString((*text).into()));
        }
        self.declare_with(name, true, arguments)
    }

    fn declare_with(&self, name: &str, durable: bool, arguments: FieldTable) -> Arc<LiveQueue> {
        let asked = QueueDeclaration {
            name: name.into(),
            durable,
            exclusive: false,
            auto_delete: false,
            default_type: QueueType::Classic,
            arguments,
        };
        let declared = self
            .vhost
            .declare_queue::<Refusal>(asked, ConnectionId(1), || Ok(()));
        declared.expect("the arguments are acceptable").queue
    }

    fn publish(queue: &Arc<LiveQueue>, body: &str) -> bool {
        let message = Message::new(b"", queue.definition.name.as_bytes(), PERSISTENT, body.as_bytes());
        queue.publish(std::iter::once(message)).rejected.is_empty()
    }

    /// Takes the first message, when everything is on disk.
    fn get(&self, queue: &Arc<LiveQueue>) -> Option<(DeliveryHandle, String)> {
        let outbox = Arc::new(Outbox::default());
        loop {
            match queue.get(false, &outbox) {
                Got::Empty => return None,
                Got::Message { handle, message, .. } => {
                    return Some((handle, String::from_utf8_lossy(message.body()).into_owned()));
                }
                Got::Later => self.write(),
            }
        }
    }

    /// The store does all that it was asked for.
    fn write(&self) {
        loop {
            self.store.commit_all();
            if !self.store.answer_load() {
                return;
            }
        }
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.clock.advance(self.now);
        self.fire();
        self.write();
    }

    /// Calls whose time has come, as long as there are any.
    fn fire(&self) {
        let now = self.clock.now();
        for _ in 0..100 {
            if self.timers.next().is_none_or(|next| next > now) {
                return;
            }
            self.timers.fire(now);
        }
        panic!("somebody wants to be called again and again");
    }

    /// Names and bodies of what a crash would leave.
    fn stored(&self) -> Vec<(String, String)> {
        let messages = self.store.messages().into_iter();
        let mut stored: Vec<_> = messages
            .map(|(queue, message)| {
                let body = String::from_utf8_lossy(message.body()).into_owned();
                (queue.to_string(), body)
            })
            .collect();
        stored.sort();
        stored
    }
}

fn to(queue: &str) -> [(&str, &str); 2] {
    [
        ("x-dead-letter-exchange", ""),
        ("x-dead-letter-routing-key", queue),
    ]
}

fn pair(queue: &str, body: &str) -> (String, String) {
    (queue.to_owned(), body.to_owned())
}

#[test]
fn a_dead_letter_is_in_one_queue_after_any_number_of_commits() {
    let world = World::new();
    world.declare("dead", &[], &[]);
    let work = world.declare("work", &[], &to("dead"));
    assert!(World::publish(&work, "job"));
    let (handle, _) = world.get(&work).expect("it is there");
    work.settle(std::iter::once((handle, Settlement::Discard)));
    let groups = world.store.pending_groups();
    assert!(groups > 0, "the store was asked for something");
    for _ in 0..groups {
        let before = world.stored();
        assert!(
            before == [pair("work", "job")] || before == [pair("dead", "job")],
            "{before:?}"
        );
        world.store.commit(1);
    }
    assert_eq!(world.stored(), [pair("dead", "job")]);
}

#[test]
fn a_chain_of_full_queues_ends() {
    let world = World::new();
    let names: Vec<String> = (0..50).map(|number| format!("q{number}")).collect();
    let queues: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(index, name)| world.declare(name, &[("x-max-length", 1)], &to(&names[(index + 1) % 50])))
        .collect();
    for round in 0..3 {
        for queue in &queues {
            assert!(World::publish(queue, &format!("{round}")));
        }
    }
    world.write();
    assert!(queues.iter().all(|queue| queue.counts().0 == 1));
}

#[test]
fn at_least_once_keeps_what_nobody_takes_and_offers_it_again() {
    let mut world = World::new();
    let quorum = [
        ("x-queue-type", "quorum"),
        ("x-dead-letter-strategy", "at-least-once"),
        ("x-overflow", "reject-publish"),
    ];
    let texts = [&quorum[..], &to("dead")].concat();
    let work = world.declare("work", &[("x-message-ttl", 100), ("x-max-length", 1)], &texts);
    assert!(World::publish(&work, "job"));
    world.pass(100);
    assert_eq!(work.counts().0, 0, "it is no longer ready");
    assert_eq!(world.stored(), [pair("work", "job")], "nobody has taken it");
    assert!(!World::publish(&work, "more"), "it still takes its place");
    world.declare(
        "dead",
        &[("x-max-length", 0)],
        &[("x-overflow", "reject-publish")],
    );
    world.pass(10_000);
    assert_eq!(world.stored(), [pair("work", "job")], "the queue refuses it");
    world
        .vhost
        .delete_queue("dead", ConnectionId(1), DeleteConditions::default())
        .expect("it is there");
    world.declare("dead", &[], &[]);
    world.pass(10_000);
    assert_eq!(world.stored(), [pair("dead", "job")]);
    assert!(World::publish(&work, "more"));
}

#[test]
fn an_exchange_that_delays_takes_a_letter_in_the_group_that_ends_it_in_its_queue() {
    let mut world = World::new();
    let mut arguments = FieldTable::default();
    arguments.insert("x-delayed-type".into(), AMQPValue::LongString("direct".into()));
    let later = ExchangeDeclaration {
        name: "later".into(),
        kind: "x-delayed-message".into(),
        durable: true,
        auto_delete: false,
        internal: true,
        arguments,
    };
    let declared = world.vhost.declare_exchange::<Refusal>(later, |_| Ok(()));
    declared.expect("it names a type to route by");
    let again = world.declare("again", &[], &[]);
    let bound = world
        .vhost
        .bind_queue(&again, &"later".into(), b"again", &FieldTable::default());
    bound.expect("both are there");
    let quorum = [
        ("x-queue-type", "quorum"),
        ("x-dead-letter-strategy", "at-least-once"),
        ("x-dead-letter-exchange", "later"),
        ("x-dead-letter-routing-key", "again"),
    ];
    let work = world.declare("work", &[("x-message-ttl", 100)], &quorum);
    world.write();
    let mut headers = Vec::new();
    field_table::write_entry(&mut headers, b"x-delay", &AMQPValue::LongInt(500));
    let properties = content::with_headers(PERSISTENT, Some(&headers));
    let message = Message::new(b"", b"work", &properties, b"job");
    work.publish(std::iter::once(message));
    world.write();
    world.now += Duration::from_millis(100);
    world.clock.advance(world.now);
    world.timers.fire(world.clock.now());
    while world.store.pending_groups() > 0 {
        assert_eq!(
            world.stored().len() + world.store.delayed_messages().len(),
            1,
            "it is in one place"
        );
        world.store.commit(1);
    }
    assert_eq!(
        (world.stored().len(), world.store.delayed_messages().len()),
        (0, 1)
    );
    world.pass(499);
    assert!(world.stored().is_empty());
    world.pass(1);
    assert_eq!(world.stored(), [pair("again", "job")]);
    world.pass(20_000);
    assert_eq!(world.stored(), [pair("again", "job")], "nothing offers it again");
}

#[test]
fn an_unused_queue_goes_with_its_messages_and_buries_none() {
    let mut world = World::new();
    world.declare("dead", &[], &[]);
    let unused = world.declare("unused", &[("x-expires", 1_000)], &to("dead"));
    assert!(World::publish(&unused, "job"));
    world.pass(600);
    world.get(&unused).expect("a get counts as use");
    world.pass(600);
    assert!(world.vhost.queue("unused", ConnectionId(1)).is_ok());
    world.pass(400);
    assert!(world.vhost.queue("unused", ConnectionId(1)).is_err());
    assert!(world.stored().is_empty());
}

#[test]
fn what_a_get_finds_expired_is_buried_in_the_same_group() {
    let mut world = World::new();
    world.declare("dead", &[], &[]);
    let work = world.declare("work", &[("x-message-ttl", 10)], &to("dead"));
    assert!(World::publish(&work, "job"));
    world.write();
    // The get comes before the timer.
    world.now += Duration::from_millis(10);
    world.clock.advance(world.now);
    assert!(world.get(&work).is_none());
    while world.store.pending_groups() > 0 {
        world.store.commit(1);
        let stored = world.stored();
        assert!(
            stored == [pair("work", "job")] || stored == [pair("dead", "job")],
            "{stored:?}"
        );
    }
    assert_eq!(world.stored(), [pair("dead", "job")]);
}

#[test]
fn a_durable_queue_that_a_transient_one_fills_buries_in_one_group() {
    let world = World::new();
    world.declare("dead", &[], &[]);
    let full = world.declare("full", &[("x-max-length", 1)], &to("dead"));
    let mut arguments = FieldTable::default();
    for (name, text) in to("full") {
        arguments.insert(name.into(), AMQPValue::LongString(text.into()));
    }
    let transient = world.declare_with("transient", false, arguments);
    assert!(World::publish(&full, "old"));
    assert!(World::publish(&transient, "new"));
    world.write();
    let (handle, _) = world.get(&transient).expect("it is there");
    transient.settle(std::iter::once((handle, Settlement::Discard)));
    while world.store.pending_groups() > 0 {
        let stored = world.stored();
        let olds = stored.iter().filter(|(_, body)| body == "old").count();
        assert_eq!(olds, 1, "{stored:?}");
        world.store.commit(1);
    }
    assert_eq!(world.stored(), [pair("dead", "old"), pair("full", "new")]);
}

#[test]
fn a_letter_that_one_of_two_queues_takes_is_not_offered_again() {
    let mut world = World::new();
    let taker = world.declare("taker", &[], &[]);
    let full = world.declare(
        "full",
        &[("x-max-length", 0)],
        &[("x-overflow", "reject-publish")],
    );
    for queue in [&taker, &full] {
        let bound = world
            .vhost
            .bind_queue(queue, &"amq.fanout".into(), b"", &FieldTable::default());
        bound.expect("both are there");
    }
    let texts = [
        ("x-queue-type", "quorum"),
        ("x-dead-letter-strategy", "at-least-once"),
        ("x-overflow", "reject-publish"),
        ("x-dead-letter-exchange", "amq.fanout"),
    ];
    let work = world.declare("work", &[("x-message-ttl", 100)], &texts);
    assert!(World::publish(&work, "job"));
    world.pass(100);
    world.pass(30_000);
    assert_eq!(taker.counts().0, 1);
    assert_eq!(world.stored(), [pair("taker", "job")]);
}

#[test]
fn a_letter_that_is_refused_and_goes_on_from_there_is_not_offered_again() {
    let mut world = World::new();
    let end = world.declare("end", &[], &[]);
    let texts = [&to("end")[..], &[("x-overflow", "reject-publish-dlx")]].concat();
    world.declare("full", &[("x-max-length", 0)], &texts);
    let texts = [
        &to("full")[..],
        &[
            ("x-queue-type", "quorum"),
            ("x-dead-letter-strategy", "at-least-once"),
            ("x-overflow", "reject-publish"),
        ],
    ]
    .concat();
    let work = world.declare("work", &[("x-message-ttl", 100)], &texts);
    assert!(World::publish(&work, "job"));
    world.pass(100);
    world.pass(30_000);
    assert_eq!(end.counts().0, 1);
    assert_eq!(world.stored(), [pair("end", "job")]);
}

#[test]
fn a_queue_that_nobody_ever_touches_expires() {
    let mut world = World::new();
    world.declare("unused", &[("x-expires", 1_000)], &[]);
    world.pass(1_000);
    assert!(world.vhost.queue("unused", ConnectionId(1)).is_err());
    world.declare("unused", &[("x-expires", 1_000)], &[]);
    world.write();
    world.crash();
    world.pass(999);
    assert!(world.vhost.queue("unused", ConnectionId(1)).is_ok());
    world.pass(1);
    assert!(world.vhost.queue("unused", ConnectionId(1)).is_err());
}

#[test]
fn what_a_start_finds_expires_though_nobody_touches_it() {
    let mut world = World::new();
    world.declare("dead", &[], &[]);
    let work = world.declare("work", &[("x-message-ttl", 100)], &to("dead"));
    assert!(World::publish(&work, "job"));
    world.write();
    world.crash();
    world.pass(99);
    assert_eq!(world.stored(), [pair("work", "job")]);
    world.pass(1);
    assert_eq!(world.stored(), [pair("dead", "job")]);
}

#[test]
fn a_consumer_that_the_broker_took_away_takes_nobody_with_it() {
    let mut world = World::new();
    let mut arguments = FieldTable::default();
    arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    arguments.insert("x-consumer-timeout".into(), AMQPValue::LongInt(10));
    let work = world.declare_with("work", true, arguments);
    let consume = |source| {
        let outlet = Outlet {
            outbox: Arc::default(),
            channel: 1,
            source: SourceId(source),
        };
        let outbox = Arc::clone(&outlet.outbox);
        let slot = work.consume(ConsumerOptions::default(), outlet);
        work.dispatch();
        (slot.expect("nobody is exclusive"), outbox)
    };
    let deliveries = |outbox: &Outbox| {
        let mut mail = Mail::default();
        outbox.take(&mut mail);
        mail.deliveries.len()
    };
    let (slow, slow_outbox) = consume(1);
    assert!(World::publish(&work, "job"));
    world.write();
    assert_eq!(deliveries(&slow_outbox), 1);
    world.pass(10);
    let (_, next_outbox) = consume(2);
    world.write();
    assert_eq!(
        deliveries(&next_outbox),
        1,
        "in the slot of the one that was late"
    );
    // Its channel has not heard of that yet.
    work.cancel(slow);
    assert!(World::publish(&work, "more"));
    world.write();
    assert_eq!(deliveries(&next_outbox), 1);
}

#[test]
fn an_auto_delete_queue_goes_with_its_only_consumer_that_was_late() {
    let mut world = World::new();
    let mut arguments = FieldTable::default();
    arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    arguments.insert("x-consumer-timeout".into(), AMQPValue::LongInt(10));
    let asked = QueueDeclaration {
        name: "work".into(),
        durable: true,
        exclusive: false,
        auto_delete: true,
        default_type: QueueType::Classic,
        arguments,
    };
    let declared = world
        .vhost
        .declare_queue::<Refusal>(asked, ConnectionId(1), || Ok(()));
    let work = declared.expect("the arguments are acceptable").queue;
    let outlet = Outlet {
        outbox: Arc::default(),
        channel: 1,
        source: SourceId(1),
    };
    let consumer = work.consume(ConsumerOptions::default(), outlet);
    consumer.expect("nobody is exclusive");
    work.dispatch();
    assert!(World::publish(&work, "job"));
    world.write();
    world.pass(10);
    assert_eq!(work.counts().1, 0, "it was taken away");
    assert!(world.vhost.queue("work", ConnectionId(1)).is_err());
    assert!(world.stored().is_empty());
}

#[test]
fn a_deleted_queue_is_waited_for_no_longer() {
    let world = World::new();
    let brief = world.declare("brief", &[("x-expires", 315_360_000_000)], &[]);
    assert!(world.timers.next().is_some());
    world
        .vhost
        .delete_queue("brief", ConnectionId(1), DeleteConditions::default())
        .expect("there is nothing against it");
    assert_eq!(world.timers.next(), None);
    brief.dispatch();
    assert_eq!(world.timers.next(), None);
}
