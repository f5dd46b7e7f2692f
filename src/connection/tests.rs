//! What depends on time and on alarms: a connection without a socket, on a clock of the test's own.

mod accounts;
mod blocks;
mod hoarding;
mod moves;
mod pace;
mod places;
mod replies;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use amq_protocol::protocol::{basic, channel, queue, tx};
use amq_protocol::types::{AMQPValue, FieldTable, LongString};

use super::handshake::PROTOCOL_HEADER;
use super::*;
use crate::broker::Parts;
use crate::broker::alarms::Alarm;
use crate::broker::certificate::NameFrom;
use crate::broker::changes::Declared;
use crate::broker::limits::NodeLimits;
use crate::broker::login::CheckAtOnce;
use crate::broker::password::PasswordHash;
use crate::broker::queue::level::Window;
use crate::broker::vhost::Stores;
use crate::store::access::{AccessRows, PermissionRow, TopicPermissionRow, UserRow, VhostRow};
use crate::store::memory::MemoryStore;
use crate::store::{Recovered, Store};

/// One user, who may do everything.
fn guest() -> Declared {
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
    Declared {
        rows,
        ..Declared::default()
    }
}

pub(crate) fn broker() -> Arc<Broker> {
    broker_with(guest())
}

fn broker_with(declared: Declared) -> Arc<Broker> {
    Arc::new(Broker::new(parts(declared), &Recovered::default()).unwrap())
}

fn parts(declared: Declared) -> Parts {
    let stores = Stores {
        durable: Arc::new(MemoryStore::default()),
        spill: Arc::new(MemoryStore::default()),
    };
    Parts {
        stores,
        declared,
        loopback_users: Vec::new(),
        checks: Arc::new(CheckAtOnce),
        node_limits: NodeLimits::default(),
        policies: Vec::new(),
        window: Window {
            messages: 100,
            bytes: 1 << 20,
        },
        clock: Arc::new(crate::clock::Clock::new(
            Instant::now(),
            crate::clock::Timestamp::from_millis(1),
        )),
        seed: [1; 32],
    }
}

pub(crate) fn settings() -> Arc<Settings> {
    Arc::new(Settings {
        frame_max: 131_072,
        initial_frame_max: 8192,
        channel_max: 2047,
        heartbeat: 60,
        handshake_timeout: Duration::from_secs(10),
        message_size_max: 1 << 20,
        pending_bytes_max: 1 << 20,
        mechanisms: vec![sasl::Mechanism::Plain],
        external_name_from: NameFrom::DistinguishedName,
        anonymous_user: None,
        server_properties: FieldTable::default(),
    })
}

/// A connection on which nothing was received.
pub(crate) fn new(broker: &Arc<Broker>, now: Instant) -> Connection {
    Connection::new(
        Arc::clone(broker),
        settings(),
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        now,
    )
}

/// A connection with channel 1 open; nothing is left to be sent.
fn opened(broker: &Arc<Broker>, now: Instant, heartbeat: u16, wants_blocked: bool) -> Connection {
    let mut capabilities = FieldTable::default();
    capabilities.insert("connection.blocked".into(), AMQPValue::Boolean(wants_blocked));
    let mut client_properties = FieldTable::default();
    client_properties.insert("capabilities".into(), AMQPValue::FieldTable(capabilities));
    let mut bytes = PROTOCOL_HEADER.to_vec();
    let start_ok = connection::StartOk {
        client_properties,
        mechanism: "PLAIN".into(),
        response: LongString::from("\0guest\0guest"),
        locale: "en_US".into(),
    };
    let tune_ok = connection::TuneOk {
        channel_max: 2047,
        frame_max: 131_072,
        heartbeat,
    };
    send(&mut bytes, connection::AMQPMethod::StartOk(start_ok));
    send(&mut bytes, connection::AMQPMethod::TuneOk(tune_ok));
    let open = connection::Open {
        virtual_host: "/".into(),
    };
    send(&mut bytes, connection::AMQPMethod::Open(open));
    let open = channel::AMQPMethod::Open(channel::Open {});
    method::encode(&mut bytes, 1, &AMQPClass::Channel(open));
    let mut connection = new(broker, now);
    connection.receive(&bytes, now);
    drop(sent(&mut connection));
    connection
}

/// Takes what the connection has to say, as class and method ids.
fn sent(connection: &mut Connection) -> Vec<(u16, u16)> {
    let output = connection.output().to_vec();
    if !output.is_empty() {
        connection.wrote(output.len());
    }
    let mut rest = &output[..];
    let mut ids = Vec::new();
    while let Ok(Some((frame, len))) = frame::parse(rest, u32::MAX) {
        let number = |at: usize| u16::from_be_bytes([frame.payload[at], frame.payload[at + 1]]);
        match frame.kind {
            FrameKind::Method => ids.push((number(0), number(2))),
            FrameKind::Heartbeat => ids.push((0, 8)),
            FrameKind::Header | FrameKind::Body => {}
        }
        rest = &rest[len..];
    }
    ids
}

fn publish() -> Vec<u8> {
    publish_of(0)
}

/// A publish whose body of that many bytes has not come.
fn publish_of(body_bytes: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let publish = basic::Publish {
        exchange: "amq.fanout".into(),
        routing_key: "".into(),
        mandatory: false,
        immediate: false,
    };
    method::encode(
        &mut bytes,
        1,
        &AMQPClass::Basic(basic::AMQPMethod::Publish(publish)),
    );
    let mut header = [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header[4..12].copy_from_slice(&body_bytes.to_be_bytes());
    frame::header_frame(&mut bytes, 1, &header);
    bytes
}

fn get() -> Vec<u8> {
    let mut bytes = Vec::new();
    let get = basic::Get {
        queue: "missing".into(),
        no_ack: true,
    };
    method::encode(&mut bytes, 1, &AMQPClass::Basic(basic::AMQPMethod::Get(get)));
    bytes
}

const BLOCKED: (u16, u16) = (10, 60);
const UNBLOCKED: (u16, u16) = (10, 61);
const CHANNEL_CLOSE: (u16, u16) = (20, 40);

fn encoded(method: &AMQPClass) -> Vec<u8> {
    let mut bytes = Vec::new();
    method::encode(&mut bytes, 1, method);
    bytes
}

/// Declares a transient queue.
fn declare(name: &str) -> Vec<u8> {
    let declare = queue::Declare {
        queue: name.into(),
        ..queue::Declare::default()
    };
    encoded(&AMQPClass::Queue(queue::AMQPMethod::Declare(declare)))
}

#[test]
fn a_publisher_is_blocked_while_an_alarm_stands_and_then_goes_on() {
    for wants_blocked in [true, false] {
        let (broker, now) = (broker(), Instant::now());
        let mut connection = opened(&broker, now, 0, wants_blocked);
        broker.set_alarm(Alarm::Disk, true);
        connection.advance(now);
        assert!(connection.wants_read(), "it has not published yet");
        connection.receive(&[publish(), get()].concat(), now);
        let expected: &[_] = if wants_blocked { &[BLOCKED] } else { &[] };
        assert_eq!(sent(&mut connection), expected);
        assert!(!connection.wants_read());
        assert!(!connection.poll_mail(Waker::noop()), "nothing can be done yet");

        broker.set_alarm(Alarm::Disk, false);
        while connection.poll_mail(Waker::noop()) {
            connection.advance(now);
        }
        let expected: &[_] = if wants_blocked {
            &[UNBLOCKED, CHANNEL_CLOSE]
        } else {
            &[CHANNEL_CLOSE]
        };
        assert_eq!(sent(&mut connection), expected, "what waited is worked off");
        assert!(connection.wants_read());
    }
}

#[test]
fn a_large_body_is_not_read_before_there_is_room_for_it() {
    const BODY_BYTES: u64 = 200 << 10;
    let (broker, now) = (broker(), Instant::now());
    broker.arrivals.bound(BODY_BYTES);
    let mut body = Vec::new();
    frame::body_frame(&mut body, 1, &vec![0x5A; 100 << 10]);
    let mut connections = [0; 3].map(|_| opened(&broker, now, 0, false));
    for connection in &mut connections {
        connection.receive(&publish_of(BODY_BYTES), now);
    }
    let [first, second, third] = &mut connections;
    assert!(first.wants_read());
    for waiting in [&mut *second, &mut *third] {
        // What it has sent already waits.
        waiting.receive(&[&body[..], &body, &get()].concat(), now);
        assert!(!waiting.wants_read());
        assert!(!waiting.poll_mail(Waker::noop()));
        assert!(sent(waiting).is_empty());
    }
    first.receive(&body, now);
    assert!(!second.poll_mail(Waker::noop()), "the half of it has come");
    first.receive(&publish_of(BODY_BYTES)[..8], now);
    assert!(first.wants_read());
    first.terminate();
    assert!(!third.poll_mail(Waker::noop()), "it is the second's turn");
    for waiting in [second, third] {
        assert!(waiting.poll_mail(Waker::noop()));
        waiting.advance(now);
        assert_eq!(sent(waiting), [CHANNEL_CLOSE], "all of it is worked off");
        assert!(waiting.wants_read());
    }
}

#[test]
fn who_adds_to_what_waits_for_the_disk_waits_and_others_do_not() {
    const DECLARE_OK: (u16, u16) = (50, 11);
    let now = Instant::now();
    let disk = Arc::<MemoryStore>::default();
    let mut parts = parts(guest());
    parts.stores.durable = Arc::clone(&disk) as Arc<dyn Store>;
    let broker = Arc::new(Broker::new(parts, &Recovered::default()).unwrap());
    let declare = |name: &str, durable| {
        let declare = queue::Declare {
            queue: name.into(),
            durable,
            ..queue::Declare::default()
        };
        let mut bytes = Vec::new();
        method::encode(
            &mut bytes,
            1,
            &AMQPClass::Queue(queue::AMQPMethod::Declare(declare)),
        );
        bytes
    };
    let publish = |queue: &str| {
        let mut bytes = Vec::new();
        let publish = basic::Publish {
            exchange: "".into(),
            routing_key: queue.into(),
            ..basic::Publish::default()
        };
        method::encode(
            &mut bytes,
            1,
            &AMQPClass::Basic(basic::AMQPMethod::Publish(publish)),
        );
        let header = [0, 60, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0x10, 0, 2];
        frame::header_frame(&mut bytes, 1, &header);
        frame::body_frame(&mut bytes, 1, &vec![0x5A; 1 << 16]);
        bytes
    };
    let [mut transient, mut durable] = [0; 2].map(|_| opened(&broker, now, 0, false));
    transient.receive(&declare("transient", false), now);
    assert_eq!(sent(&mut transient), [DECLARE_OK]);
    durable.receive(&declare("durable", true), now);
    disk.commit_all();
    durable.advance(now);
    assert_eq!(sent(&mut durable), [DECLARE_OK]);
    let mut published = 0;
    while durable.wants_read() {
        durable.receive(&publish("durable"), now);
        published += 1;
    }
    assert!(disk.pending_bytes() > settings().pending_bytes_max);
    assert!(published < 20, "{published} messages");
    transient.receive(&publish("transient"), now);
    assert!(transient.wants_read());
    disk.commit_all();
    assert!(durable.poll_mail(Waker::noop()));
    durable.advance(now);
    assert!(durable.wants_read());
}

#[test]
fn topic_permissions_are_for_copies_too() {
    let mut declared = guest();
    declared.rows.topic_permissions.push(TopicPermissionRow {
        user: "guest".into(),
        vhost: "/".into(),
        exchange: "amq.topic".into(),
        write: "^own".into(),
        read: "".into(),
    });
    let (broker, now) = (broker_with(declared), Instant::now());
    for (name, copy, is_refused) in [
        ("CC", "own.copy", false),
        ("CC", "others", true),
        ("BCC", "others", true),
        ("cc", "others", false),
    ] {
        let mut connection = opened(&broker, now, 0, false);
        let mut bytes = Vec::new();
        let publish = basic::Publish {
            exchange: "amq.topic".into(),
            routing_key: "own.key".into(),
            mandatory: false,
            immediate: false,
        };
        let publish = AMQPClass::Basic(basic::AMQPMethod::Publish(publish));
        method::encode(&mut bytes, 1, &publish);
        let copy_len = u8::try_from(copy.len()).unwrap();
        let array = [&[b'S', 0, 0, 0, copy_len][..], copy.as_bytes()].concat();
        let array_len = u8::try_from(array.len()).unwrap();
        let name_len = u8::try_from(name.len()).unwrap();
        let entry = [
            &[name_len][..],
            name.as_bytes(),
            &[b'A', 0, 0, 0, array_len],
            &array,
        ]
        .concat();
        let entry_len = u8::try_from(entry.len()).unwrap();
        let header = [
            &[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, entry_len],
            &entry[..],
        ];
        frame::header_frame(&mut bytes, 1, &header.concat());
        connection.receive(&bytes, now);
        let expected: &[_] = if is_refused { &[CHANNEL_CLOSE] } else { &[] };
        assert_eq!(sent(&mut connection), expected, "{name} {copy}");
    }
}

#[test]
fn a_handshake_that_takes_too_long_is_ended_without_a_word() {
    let (broker, now) = (broker(), Instant::now());
    let mut connection = new(&broker, now);
    connection.receive(&PROTOCOL_HEADER, now);
    drop(sent(&mut connection));
    let end = connection.next_timeout().unwrap();
    assert_eq!(end, now + Duration::from_secs(10));
    connection.handle_timeout(end);
    assert!(connection.is_finished());
    assert!(connection.output().is_empty());
}

#[test]
fn a_silent_peer_is_given_up_at_the_second_check() {
    let (broker, now) = (broker(), Instant::now());
    let mut connection = opened(&broker, now, 2, false);
    let mut beats = 0;
    while !connection.is_finished() {
        let due = connection.next_timeout().unwrap();
        assert!(due <= now + Duration::from_secs(6));
        connection.handle_timeout(due);
        beats += sent(&mut connection).len();
    }
    assert_eq!(
        beats, 2,
        "none after the first second, in which open-ok went out; then one each"
    );
    assert!(
        broker.connection_count() > 0,
        "it is registered until it is dropped"
    );
    drop(connection);
    assert_eq!(broker.connection_count(), 0);
}

#[test]
fn a_connection_forgets_exclusive_queues_that_are_gone() {
    let mut now = Instant::now();
    let broker = broker();
    let mut connection = opened(&broker, now, 0, false);
    for number in 0..50 {
        let mut arguments = FieldTable::default();
        arguments.insert("x-expires".into(), AMQPValue::LongInt(10));
        let declare = queue::Declare {
            queue: format!("brief-{number}").into(),
            passive: false,
            durable: false,
            exclusive: true,
            auto_delete: false,
            nowait: false,
            arguments,
        };
        let mut bytes = Vec::new();
        let declare = queue::AMQPMethod::Declare(declare);
        method::encode(&mut bytes, 1, &AMQPClass::Queue(declare));
        connection.receive(&bytes, now);
        assert_eq!(sent(&mut connection), [(50, 11)]);
        now += Duration::from_millis(10);
        broker.clock.advance(now);
        broker.timers.fire(broker.clock.now());
    }
    let session = connection.session.as_ref().expect("it is open");
    assert!(session.exclusive_queues.len() <= 4);
}
