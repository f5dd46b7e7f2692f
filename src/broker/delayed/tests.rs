//! A broker with an exchange that delays, on a clock of the test's own and on disks that write late and die at any
//! moment, against what its clients know.

use std::time::{Duration, Instant};

use amq_protocol::types::{AMQPValue, FieldTable};

use super::*;
use crate::amqp::{content, field_table};
use crate::broker::changes::Declared;
use crate::broker::exchange::Criteria;
use crate::broker::limits::NodeLimits;
use crate::broker::login::CheckAtOnce;
use crate::broker::outbox::Outbox;
use crate::broker::queue::Got;
use crate::broker::queue::level::Window;
use crate::broker::queue_type::QueueType;
use crate::broker::refusal::Refusal;
use crate::broker::vhost::{ExchangeDeclaration, QueueDeclaration, Stores, Vhost};
use crate::broker::{Broker, ConnectionId, Parts};
use crate::clock::Clock;
use crate::store::Recovered;
use crate::store::access::{AccessRows, VhostRow};
use crate::store::memory::MemoryStore;

mod full_queues;
mod history;

const ME: ConnectionId = ConnectionId(1);

struct World {
    broker: Broker,
    durable: Arc<MemoryStore>,
    spill: Arc<MemoryStore>,
    now: Instant,
    window: Window,
}

fn broker(
    stores: [&Arc<MemoryStore>; 2],
    recovered: &Recovered,
    window: Window,
    now: (Instant, u64),
) -> Broker {
    let [durable, spill] = stores.map(|store| Arc::clone(store) as Arc<dyn Store>);
    let parts = Parts {
        stores: Stores { durable, spill },
        declared: Declared {
            rows: AccessRows {
                vhosts: vec![VhostRow {
                    name: "/".into(),
                    ..VhostRow::default()
                }],
                ..AccessRows::default()
            },
            ..Declared::default()
        },
        loopback_users: Vec::new(),
        checks: Arc::new(CheckAtOnce),
        node_limits: NodeLimits::default(),
        policies: Vec::new(),
        window,
        clock: Arc::new(Clock::new(now.0, Timestamp::from_millis(now.1))),
        seed: [3; 32],
    };
    Broker::new(parts, recovered).unwrap()
}

impl World {
    fn new(window: usize) -> Self {
        let (durable, spill) = (Arc::default(), Arc::default());
        let (now, window) = (
            Instant::now(),
            Window {
                messages: window,
                bytes: 1 << 20,
            },
        );
        let broker = broker([&durable, &spill], &Recovered::default(), window, (now, 1000));
        Self {
            broker,
            durable,
            spill,
            now,
            window,
        }
    }

    fn vhost(&self) -> Arc<Vhost> {
        self.broker.vhost("/").unwrap()
    }

    fn delayed(&self, exchange: &str) -> Arc<DelayedMessages> {
        self.vhost().delayed(exchange).unwrap()
    }

    fn declare_exchange(&self, name: &str, kind: &str, arguments: &[(&str, &str)], durable: bool) {
        let mut table = FieldTable::default();
        for (name, value) in arguments {
            table.insert((*name).into(), AMQPValue::LongString((*value).into()));
        }
        let asked = ExchangeDeclaration {
            name: name.into(),
            kind: kind.into(),
            durable,
            auto_delete: false,
            internal: false,
            arguments: table,
        };
        self.vhost()
            .declare_exchange(asked, |_| Ok::<_, Refusal>(()))
            .unwrap();
    }

    fn bind(&self, exchange: &str, queue: &str, key: &str) {
        self.bind_with(exchange, queue, key, FieldTable::default());
    }

    /// Declares the queue with these arguments, and binds it.
    fn bind_with(&self, exchange: &str, queue: &str, key: &str, arguments: FieldTable) {
        let asked = QueueDeclaration {
            name: queue.into(),
            durable: true,
            exclusive: false,
            auto_delete: false,
            default_type: QueueType::default(),
            arguments,
        };
        let declared = self
            .vhost()
            .declare_queue(asked, ME, || Ok::<_, Refusal>(()))
            .unwrap();
        let arguments = FieldTable::default();
        self.vhost()
            .bind_queue(&declared.queue, &exchange.into(), key.as_bytes(), &arguments)
            .unwrap();
    }

    /// Publishes as a connection does: the route is decided, then followed.
    fn publish(
        &self,
        exchange: &str,
        keys: &[&str],
        headers: &[(&str, AMQPValue)],
        body: &[u8],
    ) -> Option<Sequence> {
        let mut entries = Vec::new();
        for (name, value) in headers {
            field_table::write_entry(&mut entries, name.as_bytes(), value);
        }
        let properties = content::with_headers(&[0x10, 0, 2], Some(&entries));
        let message = Message::new(exchange.as_bytes(), keys[0].as_bytes(), &properties, body);
        let keys: Vec<_> = keys.iter().map(|key| key.as_bytes()).collect();
        let criteria = Criteria {
            routing_keys: &keys,
            properties: message.properties(),
        };
        let route = self.vhost().route(exchange.as_bytes(), &criteria).unwrap();
        for queue in &route.queues {
            queue.publish([message.clone()].into_iter());
        }
        route.delay(&message, None)
    }

    /// Time passes; whoever waits for it is called.
    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.broker.clock.advance(self.now);
        self.broker.timers.fire(self.broker.clock.now());
    }

    /// Lets the stores do all that they have to do, and time stand still.
    fn settle(&mut self) {
        for _ in 0..1000 {
            self.durable.commit_all();
            self.spill.commit_all();
            let moved = self.durable.answer_load() | self.spill.answer_load();
            let now = self.broker.clock.now();
            let is_due = self.broker.timers.next().is_some_and(|next| next <= now);
            if !moved && !is_due {
                return;
            }
            self.pass(0);
        }
        panic!("it does not come to rest");
    }

    fn ready(&self, queue: &str) -> u64 {
        self.vhost().queue(queue, ME).unwrap().counts().0
    }

    /// Bodies of all ready messages, which are gone then.
    fn take_all(&mut self, queue: &str) -> Vec<Vec<u8>> {
        let queue = self.vhost().queue(queue, ME).unwrap();
        let mut bodies = Vec::new();
        loop {
            match queue.get(true, &Arc::new(Outbox::default())) {
                Got::Empty => return bodies,
                Got::Later => self.settle(),
                Got::Message { message, .. } => bodies.push(message.body().to_vec()),
            }
        }
    }

    /// The broker dies and starts again with what was committed.
    fn crash(&mut self) {
        let (durable, recovered) = self.durable.crash();
        self.durable = Arc::new(durable);
        self.spill = Arc::default();
        let now = (self.now, self.broker.clock.now().millis());
        self.broker = broker([&self.durable, &self.spill], &recovered, self.window, now);
    }

    /// What [`DelayedMessages::list`] answers once the stores did their work.
    fn list(&mut self, exchange: &str, from: DelayedId, max: usize) -> DelayedPage {
        let answer = Arc::new(Mutex::new(None));
        let taken = Arc::clone(&answer);
        self.delayed(exchange)
            .list(from, max, Box::new(move |page| *taken.lock() = Some(page)));
        self.settle();
        answer.lock().take().expect("an answer")
    }
}

fn delay(millis: u64) -> [(&'static str, AMQPValue); 1] {
    [("x-delay", AMQPValue::LongLongInt(millis.cast_signed()))]
}

/// An exchange that delays, and a queue behind it.
fn world(window: usize) -> World {
    let world = World::new(window);
    world.declare_exchange(
        "later",
        "x-delayed-message",
        &[("x-delayed-type", "direct")],
        true,
    );
    world.bind("later", "q", "k");
    world
}

#[test]
fn a_message_comes_when_its_time_has_come_and_not_before() {
    let mut world = world(10);
    world.publish("later", &["k"], &delay(100), b"delayed");
    world.publish("later", &["k"], &delay(0), b"at once");
    world.publish("later", &["k"], &[], b"without");
    world.settle();
    assert_eq!((world.ready("q"), world.delayed("later").count()), (2, 1));
    world.pass(99);
    world.settle();
    assert_eq!(world.ready("q"), 2);
    world.pass(1);
    assert_eq!((world.ready("q"), world.delayed("later").count()), (3, 0));
    assert_eq!(world.take_all("q"), [&b"at once"[..], b"without", b"delayed"]);
}

#[test]
fn routing_happens_at_release_and_with_all_keys() {
    let mut world = world(10);
    world.declare_exchange("rest", "fanout", &[], true);
    let arguments = [("x-delayed-type", "topic"), ("alternate-exchange", "rest")];
    world.declare_exchange("topics", "x-delayed-message", &arguments, true);
    world.publish("topics", &["a.b", "c.d"], &delay(5), b"1");
    world.publish("topics", &["lost"], &delay(5), b"2");
    world.bind("topics", "ab", "a.*");
    world.bind("topics", "cd", "c.#");
    world.bind("rest", "others", "");
    world.settle();
    world.crash();
    world.pass(5);
    world.settle();
    assert_eq!(world.take_all("ab"), [b"1"]);
    assert_eq!(world.take_all("cd"), [b"1"], "the second key outlives a crash");
    assert_eq!(
        world.take_all("others"),
        [b"2"],
        "the alternate exchange takes what is left"
    );
}

#[test]
fn a_message_is_delayed_where_its_way_meets_the_exchange() {
    let mut world = world(10);
    world.declare_exchange("front", "fanout", &[], true);
    world.bind("front", "now", "");
    let arguments = FieldTable::default();
    world
        .vhost()
        .bind_exchange(&"later".into(), &"front".into(), b"", &arguments)
        .unwrap();
    world.publish("front", &["k"], &delay(7), b"both");
    world.settle();
    assert_eq!((world.ready("now"), world.ready("q")), (1, 0));
    world.pass(7);
    assert_eq!((world.ready("now"), world.ready("q")), (1, 1));
}

#[test]
fn a_message_is_delayed_once_though_it_comes_through_two_that_delay() {
    let mut world = world(10);
    world.declare_exchange(
        "first",
        "x-delayed-message",
        &[("x-delayed-type", "fanout")],
        true,
    );
    let arguments = FieldTable::default();
    world
        .vhost()
        .bind_exchange(&"later".into(), &"first".into(), b"", &arguments)
        .unwrap();
    world.publish("first", &["k"], &delay(7), b"once");
    world.pass(7);
    assert_eq!((world.ready("q"), world.delayed("later").count()), (1, 0));
}

#[test]
fn what_a_deleted_exchange_delays_goes_with_it() {
    let mut world = world(2);
    for number in 0..5 {
        world.publish("later", &["k"], &delay(10), &[number]);
    }
    world.settle();
    assert_eq!(world.durable.delayed_messages().len(), 5);
    let gone = world.delayed("later");
    world.vhost().delete_exchange(&"later".into(), false).unwrap();
    assert_eq!(
        world.durable.pending_groups(),
        1,
        "definition and messages go in one group"
    );
    world.settle();
    assert_eq!(world.durable.delayed_messages().len(), 0);
    world.declare_exchange(
        "later",
        "x-delayed-message",
        &[("x-delayed-type", "direct")],
        true,
    );
    world.bind("later", "q", "k");
    assert_eq!(
        gone.add(
            &Message::new(b"later", b"k", &[0, 0], b""),
            Timestamp::MIN,
            &[],
            None
        ),
        None
    );
    world.pass(10);
    world.settle();
    assert_eq!(
        world.ready("q"),
        0,
        "another exchange of that name has none of them"
    );
}

#[test]
fn an_exchange_that_is_not_durable_delays_in_the_spill_store() {
    let mut world = World::new(2);
    world.declare_exchange(
        "later",
        "x-delayed-message",
        &[("x-delayed-type", "direct")],
        false,
    );
    world.bind("later", "q", "k");
    for number in 0..5 {
        let after = world.publish("later", &["k"], &delay(10), &[number]);
        assert_eq!(after, None, "nothing to wait for");
    }
    world.settle();
    assert_eq!(world.durable.delayed_messages().len(), 0);
    assert_eq!(world.spill.delayed_messages().len(), 5);
    assert!(world.delayed("later").count_in_memory() <= 2);
    world.pass(10);
    world.settle();
    assert_eq!(world.take_all("q"), [[0], [1], [2], [3], [4]]);
    world.publish("later", &["k"], &delay(10), &[5]);
    world.vhost().delete_exchange(&"later".into(), false).unwrap();
    world.settle();
    assert_eq!(world.spill.delayed_messages().len(), 0);
}

#[test]
fn delayed_messages_are_listed_by_pages_and_cancelled() {
    let mut world = world(3);
    for number in 0..10u8 {
        world.publish("later", &["k"], &delay(100 - u64::from(number)), &[number]);
    }
    let first = world.list("later", DelayedId::FIRST, 4);
    let bodies = |page: &DelayedPage| {
        page.entries
            .iter()
            .map(|entry| entry.message.body()[0])
            .collect::<Vec<_>>()
    };
    assert_eq!(bodies(&first), [9, 8, 7, 6]);
    let second = world.list("later", first.next.expect("there are more"), 100);
    assert_eq!(bodies(&second), [5, 4, 3, 2, 1, 0]);
    assert_eq!(second.next, None);

    let cancel = |world: &mut World, id| {
        let answers = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..2 {
            let answers = Arc::clone(&answers);
            let answer = move |cancelled: Option<Sequence>| answers.lock().push(cancelled.is_some());
            world.delayed("later").cancel(id, Box::new(answer));
        }
        world.settle();
        let mut answers = answers.lock().clone();
        answers.sort_unstable();
        answers
    };
    for entry in [&first.entries[1], &second.entries[4]] {
        assert_eq!(
            cancel(&mut world, entry.id),
            [false, true],
            "only once: {:?}",
            entry.id
        );
    }
    let never = DelayedId {
        due: DelayedId::DUE_MAX,
        position: Position(9),
    };
    assert_eq!(cancel(&mut world, never), [false, false]);
    assert_eq!(world.delayed("later").count(), 8);
    world.pass(200);
    world.settle();
    assert_eq!(
        cancel(&mut world, first.entries[0].id),
        [false, false],
        "it was released"
    );
    let bodies: Vec<u8> = world.take_all("q").concat();
    assert_eq!(bodies, [9, 7, 6, 5, 4, 3, 2, 0]);
    assert_eq!(world.durable.delayed_messages().len(), 0);
}

#[test]
fn a_start_takes_a_window_of_many_messages_into_memory() {
    let mut world = world(8);
    for number in 0..5000u16 {
        world.publish(
            "later",
            &["k"],
            &delay(10 + u64::from(number % 50)),
            &number.to_be_bytes(),
        );
    }
    world.settle();
    assert!(world.delayed("later").count_in_memory() <= 8);
    world.crash();
    assert_eq!(
        (
            world.delayed("later").count(),
            world.delayed("later").count_in_memory()
        ),
        (5000, 0)
    );
    world.settle();
    assert_eq!(world.delayed("later").count_in_memory(), 8);
    world.pass(30);
    world.settle();
    assert!(world.delayed("later").count_in_memory() <= 8);
    assert_eq!(world.ready("q"), 2100);
}

#[test]
fn what_moved_waits_for_its_move_where_nothing_else_is_stored() {
    let world = World::new(100);
    world.declare_exchange(
        "later",
        "x-delayed-message",
        &[("x-delayed-type", "direct")],
        false,
    );
    let delayed = world.delayed("later");
    let message = Message::new(b"later", b"k", &[0, 0], b"");
    let after = [None, Some(Sequence(7))].map(|moved| {
        delayed.add(&message, Timestamp::MIN, &[], moved);
        delayed.take_turn().2
    });
    assert_eq!(after, [None, Some(Sequence(7))]);
}
