//! What depends on time and on alarms: a connection without a socket, on a clock of the test's own.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use amq_protocol::protocol::{basic, channel};
use amq_protocol::types::{AMQPValue, FieldTable, LongString};

use super::handshake::PROTOCOL_HEADER;
use super::*;
use crate::broker::Parts;
use crate::broker::alarms::Alarm;
use crate::broker::permission::{Permission, Permissions, TopicPermission};
use crate::broker::queue::ready::Window;
use crate::broker::user::{PasswordHash, User, Users};
use crate::broker::vhost::Stores;
use crate::store::Recovered;
use crate::store::memory::MemoryStore;

fn broker() -> Arc<Broker> {
    broker_with(Permissions::default())
}

fn broker_with(mut permissions: Permissions) -> Arc<Broker> {
    let mut users = Users::new(Vec::new());
    users.insert(User {
        name: "guest".into(),
        tags: Vec::new(),
        password: PasswordHash::new(b"guest", [0; 4]),
    });
    permissions.set("guest", "/", Permission::new(".*", ".*", ".*").unwrap());
    let stores = Stores {
        durable: Arc::new(MemoryStore::default()),
        spill: Arc::new(MemoryStore::default()),
    };
    let parts = Parts {
        stores,
        users,
        permissions,
        vhosts: vec!["/".to_owned()],
        window: Window {
            messages: 100,
            bytes: 1 << 20,
        },
        seed: [1; 32],
    };
    Arc::new(Broker::new(parts, &Recovered::default()).unwrap())
}

fn settings() -> Arc<Settings> {
    Arc::new(Settings {
        frame_max: 131_072,
        initial_frame_max: 8192,
        channel_max: 2047,
        heartbeat: 60,
        handshake_timeout: Duration::from_secs(10),
        message_size_max: 1 << 20,
        pending_bytes_max: 1 << 20,
        mechanisms: vec![sasl::Mechanism::Plain],
        server_properties: FieldTable::default(),
    })
}

fn new(broker: &Arc<Broker>, now: Instant) -> Connection {
    Connection::new(
        Arc::clone(broker),
        settings(),
        (Ipv4Addr::LOCALHOST, 0).into(),
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
    frame::header_frame(&mut bytes, 1, &[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
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
fn topic_permissions_are_for_copies_too() {
    let mut permissions = Permissions::default();
    let own = TopicPermission::new("guest", "/", "^own", "").unwrap();
    permissions.set_topic("guest", "/", "amq.topic", own);
    let (broker, now) = (broker_with(permissions), Instant::now());
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
