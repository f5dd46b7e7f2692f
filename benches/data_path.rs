//! What a message costs from the producer's bytes to the consumer's: `cargo bench --bench data_path` prints
//! nanoseconds per message, in a few seconds. No socket, no disk and no other thread take part.
//!
//! `data_path WORK MESSAGES` moves just so many messages of one kind of work, for `instructions.py`.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, WriteContext, gen_frame};
use amq_protocol::protocol::{AMQPClass, basic, channel, confirm, connection, exchange, queue};
use amq_protocol::types::{FieldTable, LongString};
use leveret::broker::certificate::NameFrom;
use leveret::broker::changes::Declared;
use leveret::broker::limits::NodeLimits;
use leveret::broker::login::CheckAtOnce;
use leveret::broker::password::PasswordHash;
use leveret::broker::queue::level::Window;
use leveret::broker::vhost::Stores;
use leveret::broker::{Broker, Parts};
use leveret::clock::{Clock, Timestamp};
use leveret::connection::sasl::Mechanism;
use leveret::connection::{Connection, Settings};
use leveret::store::access::{AccessRows, PermissionRow, UserRow, VhostRow};
use leveret::store::memory::MemoryStore;
use leveret::store::{Recovered, Store};

/// The broker's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes that a producer's socket gives at once.
const READ_BYTES: usize = 128 << 10;

/// Messages of one measurement, and how many measurements the best is taken of.
const MESSAGES: u64 = 200_000;
const ROUNDS: usize = 5;

/// A kind of work.
struct Work {
    name: &'static str,
    body_bytes: usize,
    /// Queues that a fanout exchange fills; one is filled through the default exchange.
    queues: u16,
    /// An ack goes for so many deliveries; 0 is without.
    ack_each: u64,
    /// Persistent, into durable queues, with confirms.
    confirmed: bool,
}

const PLAIN: Work = Work {
    name: "transient-16",
    body_bytes: 16,
    queues: 1,
    ack_each: 0,
    confirmed: false,
};

const WORK: &[Work] = &[
    PLAIN,
    Work {
        name: "transient-1k",
        body_bytes: 1024,
        ..PLAIN
    },
    Work {
        name: "acked-16",
        ack_each: 100,
        ..PLAIN
    },
    Work {
        name: "acked-single-16",
        ack_each: 1,
        ..PLAIN
    },
    Work {
        name: "confirmed-16",
        ack_each: 100,
        confirmed: true,
        ..PLAIN
    },
    Work {
        name: "fanout-10",
        queues: 10,
        ..PLAIN
    },
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [name, messages] = &arguments[..]
        && let Some(work) = WORK.iter().find(|work| work.name == name)
    {
        let messages = messages.parse().expect("a number of messages");
        let delivered = Bench::new(work).run(messages);
        println!("{delivered} delivered");
        return;
    }
    for work in WORK {
        let mut bench = Bench::new(work);
        let round = |_| {
            let begin = Instant::now();
            let moved = bench.run(MESSAGES);
            begin.elapsed().as_secs_f64() * 1e9 / moved
        };
        let best = (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min);
        println!("{:<20} {best:>8.1} ns per delivered message", work.name);
    }
}

/// A broker with a producer and its consumers.
struct Bench {
    work: &'static Work,
    now: Instant,
    durable: Arc<MemoryStore>,
    producer: Connection,
    consumers: Vec<Consumer>,
    /// What the producer's socket gives at once, and how many messages that is.
    chunk: Vec<u8>,
    chunk_messages: u64,
}

struct Consumer {
    connection: Connection,
    /// Bytes of a delivery.
    delivery_bytes: usize,
    received: u64,
    acked: u64,
}

impl Bench {
    fn new(work: &'static Work) -> Self {
        let now = Instant::now();
        let durable = Arc::new(MemoryStore::default());
        let broker = broker(&durable, now);
        let mut producer = open(&broker, now);
        let exchange = if work.queues > 1 { "events" } else { "" };
        if work.queues > 1 {
            call(&mut producer, now, &durable, declare_exchange(exchange));
        }
        let consumers = (0..work.queues).map(|number| {
            let name = format!("queue-{number}");
            let mut connection = open(&broker, now);
            call(
                &mut connection,
                now,
                &durable,
                declare_queue(&name, work.confirmed),
            );
            if work.queues > 1 {
                call(&mut connection, now, &durable, bind(&name, exchange));
            }
            call(&mut connection, now, &durable, consume(&name, work.ack_each == 0));
            Consumer {
                connection,
                delivery_bytes: 0,
                received: 0,
                acked: 0,
            }
        });
        let consumers = consumers.collect();
        if work.confirmed {
            let select = confirm::AMQPMethod::Select(confirm::Select { nowait: false });
            call(&mut producer, now, &durable, AMQPClass::Confirm(select));
        }
        let message = publish(exchange, "queue-0", work);
        let chunk_messages = READ_BYTES / message.len();
        let mut bench = Self {
            work,
            now,
            durable,
            producer,
            consumers,
            chunk: message.repeat(chunk_messages),
            chunk_messages: chunk_messages as u64,
        };
        bench.learn(&message);
        bench
    }

    /// Sends one message, to see how long a delivery is.
    fn learn(&mut self, message: &[u8]) {
        self.producer.receive(message, self.now);
        self.settle();
        for consumer in &mut self.consumers {
            consumer.connection.advance(self.now);
            let deliver = consumer.connection.output();
            // The delivery tag takes eight bytes, whatever its value.
            consumer.delivery_bytes = deliver.len();
            assert!(consumer.delivery_bytes > self.work.body_bytes, "it was delivered");
            consumer.take(self.now, self.work.ack_each);
        }
        self.settle();
    }

    /// Moves at least so many messages and returns how many were delivered.
    fn run(&mut self, messages: u64) -> f64 {
        let before = self.received();
        let mut sent = 0;
        while sent < messages {
            self.producer.receive(&self.chunk, self.now);
            sent += self.chunk_messages;
            self.settle();
            for consumer in &mut self.consumers {
                consumer.take(self.now, self.work.ack_each);
            }
            self.settle();
        }
        let received = self.received() - before;
        let expected = sent * u64::from(self.work.queues);
        assert_eq!(received, expected, "everything was delivered");
        #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2^52 messages")]
        let received = received as f64;
        received
    }

    fn received(&self) -> u64 {
        self.consumers.iter().map(|consumer| consumer.received).sum()
    }

    /// The disk does what it was told, and the producer reads its confirms.
    fn settle(&mut self) {
        if self.work.confirmed {
            self.durable.commit_all();
            self.durable.answer_load();
            self.producer.advance(self.now);
            let len = self.producer.output().len();
            self.producer.wrote(len);
        }
    }
}

impl Consumer {
    /// Reads all that is there and acks it.
    fn take(&mut self, now: Instant, ack_each: u64) {
        loop {
            self.connection.advance(now);
            let len = self.connection.output().len();
            if len == 0 {
                return;
            }
            assert_eq!(len % self.delivery_bytes, 0, "whole deliveries of equal length");
            self.received += (len / self.delivery_bytes) as u64;
            self.connection.wrote(len);
            let mut acks = Vec::new();
            while ack_each > 0 && self.received - self.acked >= ack_each {
                self.acked += ack_each;
                let ack = basic::Ack {
                    delivery_tag: self.acked,
                    multiple: ack_each > 1,
                };
                ack_bytes(&mut acks, &ack);
            }
            if !acks.is_empty() {
                self.connection.receive(&acks, now);
            }
        }
    }
}

fn broker(durable: &Arc<MemoryStore>, now: Instant) -> Arc<Broker> {
    let name: Arc<str> = "guest".into();
    let everything: Arc<str> = ".*".into();
    let rows = AccessRows {
        vhosts: vec![VhostRow {
            name: "/".into(),
            ..VhostRow::default()
        }],
        users: vec![UserRow {
            name: Arc::clone(&name),
            password_hash: PasswordHash::sha256(b"guest", [0; 4]).encode().into(),
            algorithm: "".into(),
            tags: Vec::new(),
        }],
        permissions: vec![PermissionRow {
            user: name,
            vhost: "/".into(),
            configure: Arc::clone(&everything),
            write: Arc::clone(&everything),
            read: everything,
        }],
        ..AccessRows::default()
    };
    let parts = Parts {
        stores: Stores {
            durable: Arc::clone(durable) as Arc<dyn Store>,
            spill: Arc::new(MemoryStore::default()),
        },
        declared: Declared {
            rows,
            ..Declared::default()
        },
        loopback_users: Vec::new(),
        checks: Arc::new(CheckAtOnce),
        node_limits: NodeLimits::default(),
        policies: Vec::new(),
        window: Window {
            messages: 1 << 18,
            bytes: 64 << 20,
        },
        clock: Arc::new(Clock::new(now, Timestamp::from_millis(1))),
        seed: [1; 32],
    };
    Arc::new(Broker::new(parts, &Recovered::default()).expect("there is nothing to recover"))
}

/// A connection with channel 1 open; nothing is left to be sent.
fn open(broker: &Arc<Broker>, now: Instant) -> Connection {
    let settings = Arc::new(Settings {
        frame_max: 131_072,
        initial_frame_max: 8192,
        channel_max: 2047,
        heartbeat: 0,
        handshake_timeout: Duration::from_secs(10),
        message_size_max: 1 << 20,
        pending_bytes_max: 64 << 20,
        mechanisms: vec![Mechanism::Plain],
        external_name_from: NameFrom::DistinguishedName,
        anonymous_user: None,
        server_properties: FieldTable::default(),
    });
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut connection = Connection::new(Arc::clone(broker), settings, peer, now);
    let start_ok = connection::AMQPMethod::StartOk(connection::StartOk {
        client_properties: FieldTable::default(),
        mechanism: "PLAIN".into(),
        response: LongString::from("\0guest\0guest"),
        locale: "en_US".into(),
    });
    let tune_ok = connection::AMQPMethod::TuneOk(connection::TuneOk {
        channel_max: 2047,
        frame_max: 131_072,
        heartbeat: 0,
    });
    let open = connection::AMQPMethod::Open(connection::Open {
        virtual_host: "/".into(),
    });
    let mut bytes = b"AMQP\0\0\x09\x01".to_vec();
    for method in [start_ok, tune_ok, open] {
        bytes.extend(frame(&AMQPFrame::Method(0, AMQPClass::Connection(method))));
    }
    let open_channel = channel::AMQPMethod::Open(channel::Open {});
    bytes.extend(frame(&AMQPFrame::Method(1, AMQPClass::Channel(open_channel))));
    connection.receive(&bytes, now);
    connection.advance(now);
    let len = connection.output().len();
    assert!(
        connection.output().ends_with(b"\xCE") && len > 0,
        "the broker answers"
    );
    connection.wrote(len);
    connection
}

/// Sends a method on channel 1 and lets its answer go by.
fn call(connection: &mut Connection, now: Instant, durable: &MemoryStore, method: AMQPClass) {
    connection.receive(&frame(&AMQPFrame::Method(1, method)), now);
    durable.commit_all();
    durable.answer_load();
    connection.advance(now);
    let len = connection.output().len();
    assert!(len > 0, "the broker answers");
    connection.wrote(len);
    connection.advance(now);
}

fn declare_exchange(name: &str) -> AMQPClass {
    AMQPClass::Exchange(exchange::AMQPMethod::Declare(exchange::Declare {
        exchange: name.into(),
        kind: "fanout".into(),
        passive: false,
        durable: false,
        auto_delete: false,
        internal: false,
        nowait: false,
        arguments: FieldTable::default(),
    }))
}

fn declare_queue(name: &str, durable: bool) -> AMQPClass {
    AMQPClass::Queue(queue::AMQPMethod::Declare(queue::Declare {
        queue: name.into(),
        passive: false,
        durable,
        exclusive: false,
        auto_delete: false,
        nowait: false,
        arguments: FieldTable::default(),
    }))
}

fn bind(queue: &str, exchange: &str) -> AMQPClass {
    AMQPClass::Queue(queue::AMQPMethod::Bind(queue::Bind {
        queue: queue.into(),
        exchange: exchange.into(),
        routing_key: "".into(),
        nowait: false,
        arguments: FieldTable::default(),
    }))
}

fn consume(queue: &str, no_ack: bool) -> AMQPClass {
    AMQPClass::Basic(basic::AMQPMethod::Consume(basic::Consume {
        queue: queue.into(),
        consumer_tag: "consumer".into(),
        no_local: false,
        no_ack,
        exclusive: false,
        nowait: false,
        arguments: FieldTable::default(),
    }))
}

fn publish(exchange: &str, routing_key: &str, work: &Work) -> Vec<u8> {
    let publish = basic::AMQPMethod::Publish(basic::Publish {
        exchange: exchange.into(),
        routing_key: routing_key.into(),
        mandatory: false,
        immediate: false,
    });
    let mut properties = basic::AMQPProperties::default();
    if work.confirmed {
        properties = properties.with_delivery_mode(2);
    }
    let header = AMQPContentHeader {
        class_id: 60,
        body_size: work.body_bytes as u64,
        properties,
    };
    let frames = [
        AMQPFrame::Method(1, AMQPClass::Basic(publish)),
        AMQPFrame::Header(1, header),
        AMQPFrame::Body(1, vec![7; work.body_bytes]),
    ];
    frames.iter().flat_map(frame).collect()
}

fn ack_bytes(out: &mut Vec<u8>, ack: &basic::Ack) {
    out.extend([1, 0, 1, 0, 0, 0, 13, 0, 60, 0, 80]);
    out.extend(ack.delivery_tag.to_be_bytes());
    out.extend([u8::from(ack.multiple), 0xCE]);
}

fn frame(frame: &AMQPFrame) -> Vec<u8> {
    let written = gen_frame(frame)(WriteContext::from(Vec::new())).expect("it fits");
    written.into_inner().0
}
