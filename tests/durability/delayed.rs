//! Messages that wait for their time while the broker is killed.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use amq_protocol::protocol::{AMQPClass, basic, exchange};
use amq_protocol::types::{AMQPValue, FieldTable};
use leveret::broker::changes::Declared;
use leveret::broker::limits::NodeLimits;
use leveret::broker::login::CheckAtOnce;
use leveret::broker::queue::level::Window;
use leveret::broker::refusal::Refusal;
use leveret::broker::vhost::{ExchangeDeclaration, Stores};
use leveret::broker::{Broker, Parts};
use leveret::clock::{Clock, Timestamp};
use leveret::message::Message;
use leveret::store::access::{AccessRows, VhostRow};
use leveret::store::memory::MemoryStore;
use leveret::store::sqlite::{SqliteStore, StoreSettings};
use leveret::store::{DelayedId, Sequence, Store};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use crate::client::Client;
use crate::support::{DEADLINE, TestServer, eventually};

const ROUNDS: u32 = 6;
const PUBLISHES_PER_ROUND: u32 = 400;
const DELAY_MAX_MS: i32 = 300;

fn delayed_type() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-delayed-type".into(), AMQPValue::LongString("direct".into()));
    arguments
}

impl Client {
    /// The durable exchange `later`, which delays, and the durable queue `queue` behind it.
    pub fn declare_later(&mut self) {
        let declare = exchange::Declare {
            exchange: "later".into(),
            kind: "x-delayed-message".into(),
            durable: true,
            arguments: delayed_type(),
            ..exchange::Declare::default()
        };
        let declare = AMQPClass::Exchange(exchange::AMQPMethod::Declare(declare));
        self.call(declare).unwrap();
        self.declare("queue", true).unwrap();
        self.bind("queue", "later", "k").unwrap();
    }

    pub fn delay(&mut self, millis: i32, body: &[u8]) {
        let mut headers = FieldTable::default();
        headers.insert("x-delay".into(), AMQPValue::LongInt(millis));
        let properties = basic::AMQPProperties::default()
            .with_delivery_mode(2)
            .with_headers(headers);
        self.publish_properties("later", "k", false, properties, body);
    }
}

/// Publishes until the broker is gone, and tells which numbers were confirmed.
fn publish_on(client: &mut Client, round: u32, seed: u64, confirmed: &mpsc::Sender<u32>) -> io::Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    for number in 0..PUBLISHES_PER_ROUND {
        let number = round * PUBLISHES_PER_ROUND + number;
        client.delay(random.random_range(1..DELAY_MAX_MS), &number.to_be_bytes());
        if number % 10 == 9 {
            client.wait_for_confirms()?;
            for number in number - 9..=number {
                confirmed.send(number).expect("the test listens");
            }
        }
    }
    Ok(())
}

fn number(body: &[u8]) -> u32 {
    u32::from_be_bytes(body.try_into().expect("a number"))
}

#[test]
fn kill_nine_while_messages_are_delayed_and_released_loses_and_doubles_none() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut server = TestServer::with_config("[storage]\nmemory_window_messages = 20\n");
    Client::connect(server.address()).unwrap().declare_later();
    let mut confirmed = BTreeSet::new();
    for round in 0..ROUNDS {
        let mut client = Client::connect(server.address()).unwrap();
        client.select_confirms().unwrap();
        let (sender, receiver) = mpsc::channel();
        let (seed, fuse) = (random.random(), random.random_range(10..PUBLISHES_PER_ROUND));
        thread::scope(|scope| {
            // It ends with the broker, or before.
            scope.spawn(move || drop(publish_on(&mut client, round, seed, &sender)));
            for _ in 0..fuse {
                if let Ok(number) = receiver.recv_timeout(DEADLINE) {
                    confirmed.insert(number);
                }
            }
            server.kill_and_restart();
        });
        confirmed.extend(receiver.try_iter());
    }
    assert!(confirmed.len() >= 10, "hardly anything was confirmed");
    let mut client = Client::connect(server.address()).unwrap();
    // What comes last: all others are due before.
    client.delay(DELAY_MAX_MS, &u32::MAX.to_be_bytes());
    client.consume("queue").unwrap();
    let mut came = BTreeSet::new();
    loop {
        let number = number(&client.expect_delivery().body);
        if number == u32::MAX {
            break;
        }
        assert!(came.insert(number), "{number} comes twice");
    }
    let lost: Vec<_> = confirmed.difference(&came).collect();
    assert!(lost.is_empty(), "confirmed and lost: {lost:?}");
    assert!(
        matches!(client.next(Duration::ZERO), Ok(None)),
        "something comes behind the last one"
    );
}

#[test]
fn a_start_with_two_hundred_thousand_delayed_messages_begins_with_the_next_one() {
    const MANY: u32 = 200_000;
    /// More than the window holds.
    const NEXT: u32 = 1500;
    const HOUR_MS: i32 = 3_600_000;
    let mut server = TestServer::with_config("[storage]\nmemory_window_messages = 1000\n");
    let mut client = Client::connect(server.address()).unwrap();
    client.select_confirms().unwrap();
    client.declare_later();
    for number in 0..MANY {
        client.delay(HOUR_MS, &number.to_be_bytes());
        if number % 500 == 0 {
            client.flush().unwrap();
        }
    }
    for number in 0..NEXT {
        client.delay(2000, &number.to_be_bytes());
    }
    client.wait_for_confirms().unwrap();
    server.kill_and_restart();
    let mut client = Client::connect(server.address()).unwrap();
    client.consume("queue").unwrap();
    for number in 0..NEXT {
        let delivery = client.expect_delivery();
        assert_eq!(self::number(&delivery.body), number, "they come in order");
    }
    assert!(matches!(client.next(Duration::ZERO), Ok(None)), "the others wait");
}

struct Woken(mpsc::Sender<()>);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.send(()).expect("the test waits for it");
    }
}

/// A broker of this process on a store in `directory`.
fn broker(directory: &std::path::Path, window: usize) -> (Broker, Arc<dyn Store>) {
    let failed = Box::new(|error| panic!("the store has failed: {error:?}"));
    let (durable, recovered) = SqliteStore::open(directory, &StoreSettings::default(), failed).unwrap();
    let durable: Arc<dyn Store> = Arc::new(durable);
    let parts = Parts {
        stores: Stores {
            durable: Arc::clone(&durable),
            spill: Arc::new(MemoryStore::default()),
        },
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
        window: Window {
            messages: window,
            bytes: 1 << 20,
        },
        clock: Arc::new(Clock::new(Instant::now(), Timestamp::from_millis(1))),
        seed: [0; 32],
    };
    (Broker::new(parts, &recovered).unwrap(), durable)
}

fn wait_for(store: &dyn Store, sequence: Sequence) {
    let (sender, woken) = mpsc::channel();
    if store.wake_when_committed(sequence, &Waker::from(Arc::new(Woken(sender)))) {
        woken.recv_timeout(DEADLINE).expect("a commit in time");
    }
}

#[test]
fn two_hundred_thousand_delayed_messages_cost_the_memory_of_a_window() {
    const MANY: u64 = 200_000;
    const WINDOW: usize = 100;
    let directory = TempDir::new().unwrap();
    let (first, store) = broker(directory.path(), WINDOW);
    let asked = ExchangeDeclaration {
        name: "later".into(),
        kind: "x-delayed-message".into(),
        durable: true,
        auto_delete: false,
        internal: false,
        arguments: delayed_type(),
    };
    let vhost = first.vhost("/").unwrap();
    vhost.declare_exchange(asked, |_| Ok::<_, Refusal>(())).unwrap();
    let delayed = vhost.delayed("later").unwrap();
    let mut sequence = None;
    for number in 0..MANY {
        let message = Message::new(b"later", b"k", &[0, 0], &number.to_be_bytes());
        // In an order of its own, so that the window has to let go of most of them.
        let due = Timestamp::from_millis(1_000_000 - (number * 7919) % MANY);
        sequence = delayed.add(&message, due, &[], None);
        assert!(delayed.count_in_memory() <= WINDOW);
    }
    wait_for(&*store, sequence.expect("a durable exchange"));
    assert_eq!(delayed.count(), MANY);
    drop(delayed);
    drop(first);
    store.close().unwrap();
    drop(store);

    let (second, store) = broker(directory.path(), WINDOW);
    let delayed = second.vhost("/").unwrap().delayed("later").unwrap();
    assert_eq!(delayed.count(), MANY);
    eventually("the first page is read", || {
        (delayed.count_in_memory() == WINDOW).then_some(())
    });
    let (sender, listed) = mpsc::channel();
    let answer = move |page| sender.send(page).expect("the test waits for it");
    delayed.list(DelayedId::FIRST, usize::MAX, Box::new(answer));
    let page = listed.recv_timeout(DEADLINE).expect("a page in time");
    assert_eq!(page.entries.len(), 1000, "a list is bounded too");
    assert!(page.entries.is_sorted_by_key(|entry| entry.id) && page.next.is_some());
    store.close().unwrap();
}
