//! Publishes of one read: those that share memory, and others between them.

use super::*;

/// A whole publish with these property flags and values.
pub(super) fn publish(exchange: &str, routing_key: &str, properties: &[u8], body: &[u8]) -> Vec<u8> {
    publish_as(false, exchange, routing_key, properties, body)
}

fn publish_as(mandatory: bool, exchange: &str, routing_key: &str, properties: &[u8], body: &[u8]) -> Vec<u8> {
    let publish = basic::Publish {
        exchange: exchange.into(),
        routing_key: routing_key.into(),
        mandatory,
        immediate: false,
    };
    let mut bytes = encoded(&AMQPClass::Basic(basic::AMQPMethod::Publish(publish)));
    let size = (body.len() as u64).to_be_bytes();
    frame::header_frame(&mut bytes, 1, &[&[0, 60, 0, 0], &size[..], properties].concat());
    if !body.is_empty() {
        frame::body_frame(&mut bytes, 1, body);
    }
    bytes
}

fn consume(queue: &str) -> Vec<u8> {
    let consume = basic::Consume {
        queue: queue.into(),
        no_ack: true,
        ..basic::Consume::default()
    };
    encoded(&AMQPClass::Basic(basic::AMQPMethod::Consume(consume)))
}

/// The contents that the connection has to say: properties and body.
fn contents(connection: &mut Connection) -> Vec<(Vec<u8>, Vec<u8>)> {
    let output = connection.output().to_vec();
    connection.wrote(output.len());
    let mut rest = &output[..];
    let mut contents: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    while let Ok(Some((frame, len))) = frame::parse(rest, u32::MAX) {
        match frame.kind {
            FrameKind::Header => contents.push((frame.payload[12..].to_vec(), Vec::new())),
            FrameKind::Body => contents
                .last_mut()
                .expect("a header comes first")
                .1
                .extend(frame.payload),
            _ => {}
        }
        rest = &rest[len..];
    }
    contents
}

#[test]
fn what_shares_memory_keeps_its_place_among_what_does_not() {
    const PLAIN: &[u8] = &[0, 0];
    const PERSISTENT: &[u8] = &[0x10, 0, 2];
    const PRIORITY: &[u8] = &[0x08, 0, 3];
    const EXPIRES: &[u8] = &[1, 0, 4, b'9', b'9', b'9', b'9'];
    const HEADERS: &[u8] = &[0x20, 0, 0, 0, 0, 4, 1, b'a', b't', 1];
    let broker = broker();
    let now = Instant::now();
    let [mut publisher, mut consumer] = [(); 2].map(|()| opened(&broker, now, 0, false));
    publisher.receive(&[declare("first"), declare("second")].concat(), now);
    consumer.receive(&consume("first"), now);
    drop(sent(&mut consumer));
    let large = vec![b'x'; 20_000];
    let bodies = [
        (PLAIN, &b"one"[..]),
        (PLAIN, b"two"),
        (PLAIN, b""),
        (HEADERS, b"with headers"),
        (PLAIN, b"three"),
        (PERSISTENT, b"four"),
        (PERSISTENT, b"five"),
        (PRIORITY, b"six"),
        (EXPIRES, b"expires"),
        (PLAIN, &large),
        (PLAIN, b"mandatory"),
        (PLAIN, b"last"),
    ];
    let elsewhere = publish("", "second", PLAIN, b"elsewhere");
    let mut bytes = Vec::new();
    for (properties, body) in bodies {
        bytes.extend(publish_as(body == b"mandatory", "", "first", properties, body));
        bytes.extend(&elsewhere);
    }
    // Then all again without anything between.
    for (properties, body) in bodies {
        bytes.extend(publish_as(body == b"mandatory", "", "first", properties, body));
    }
    publisher.receive(&bytes, now);
    assert_eq!(sent(&mut publisher).len(), 2, "two declare-ok, and no return");
    let expected = bodies.iter().chain(&bodies);
    consumer.advance(now);
    let got = contents(&mut consumer);
    let expected: Vec<_> = expected
        .map(|(properties, body)| (properties.to_vec(), body.to_vec()))
        .collect();
    assert_eq!(got, expected);
    consumer.receive(&consume("second"), now);
    consumer.advance(now);
    let elsewhere = contents(&mut consumer);
    assert_eq!(elsewhere.len(), bodies.len());
    assert!(elsewhere.iter().all(|(_, body)| body == b"elsewhere"));
}

fn bind(queue: &str, routing_key: &str) -> Vec<u8> {
    let bind = queue::Bind {
        queue: queue.into(),
        exchange: "amq.direct".into(),
        routing_key: routing_key.into(),
        ..queue::Bind::default()
    };
    encoded(&AMQPClass::Queue(queue::AMQPMethod::Bind(bind)))
}

#[test]
fn keys_that_lead_to_the_same_queues_are_one_way() {
    let broker = broker();
    let now = Instant::now();
    let mut publisher = opened(&broker, now, 0, false);
    let keys = ["a", "b", "other", "both", "nowhere", "elsewhere"];
    let mut bytes = [declare("queue"), declare("second")].concat();
    for (queue, key) in [("queue", "a"), ("queue", "b"), ("second", "other")] {
        bytes.extend(bind(queue, key));
    }
    bytes.extend([bind("queue", "both"), bind("second", "both")].concat());
    for key in keys {
        bytes.extend(publish("amq.direct", key, &[0, 0], b"body"));
    }
    publisher.receive(&bytes, now);
    let routes = &mut publisher.session.as_mut().unwrap().batch.routes;
    let [a, b, other, both, nowhere, elsewhere] = keys.map(|key| {
        let envelope = [
            b"\x0Aamq.direct",
            &[u8::try_from(key.len()).unwrap()][..],
            key.as_bytes(),
        ]
        .concat();
        routes.find(&envelope).expect("it was published with")
    });
    assert_eq!(a, b);
    for (different, than) in [
        (a, other),
        (a, both),
        (other, both),
        (a, nowhere),
        (nowhere, elsewhere),
    ] {
        assert_ne!(different, than);
    }
}

/// A publisher, and a consumer of `queue`.
fn pair() -> (Connection, Connection, Instant) {
    let (broker, now) = (broker(), Instant::now());
    let [mut publisher, mut consumer] = [(); 2].map(|()| opened(&broker, now, 0, false));
    publisher.receive(&declare("queue"), now);
    consumer.receive(&consume("queue"), now);
    drop([sent(&mut publisher), sent(&mut consumer)]);
    (publisher, consumer, now)
}

#[test]
fn what_came_before_a_publish_that_is_refused_arrives_once() {
    let bad_expiration: &[u8] = &[1, 0, 3, b'b', b'a', b'd'];
    let bad = [
        publish("missing", "queue", &[0, 0], b"bad"),
        publish("", "queue", bad_expiration, b"bad"),
    ];
    for bad in bad {
        let (mut publisher, mut consumer, now) = pair();
        let good = publish("", "queue", &[0, 0], b"good");
        publisher.receive(&[&good[..], &good, &bad, &good].concat(), now);
        assert_eq!(sent(&mut publisher), [CHANNEL_CLOSE]);
        consumer.advance(now);
        let got = contents(&mut consumer);
        assert_eq!(got.len(), 2, "the third came on a channel that is closed");
        assert!(got.iter().all(|(_, body)| body == b"good"));
    }
}

#[test]
fn a_transaction_takes_over_what_was_learned_before_it() {
    let (mut publisher, mut consumer, now) = pair();
    let message = publish("", "queue", &[0, 0], b"body");
    let select = encoded(&AMQPClass::Tx(tx::AMQPMethod::Select(tx::Select {})));
    let commit = encoded(&AMQPClass::Tx(tx::AMQPMethod::Commit(tx::Commit {})));
    let mut seen = |bytes: &[u8]| {
        publisher.receive(bytes, now);
        publisher.advance(now);
        consumer.advance(now);
        contents(&mut consumer).len()
    };
    assert_eq!(
        seen(&[&message[..], &message, &select, &message, &message].concat()),
        2
    );
    assert_eq!(seen(&commit), 2);
}
