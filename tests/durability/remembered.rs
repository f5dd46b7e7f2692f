//! What exchanges and queues remember of messages while the broker is killed and stopped.

use std::io;
use std::sync::mpsc;
use std::thread;

use amq_protocol::protocol::{AMQPClass, basic, exchange};
use amq_protocol::types::{AMQPValue, FieldTable};

use crate::client::{Client, Event};
use crate::support::TestServer;

const ROUNDS: usize = 6;
const BATCH: u32 = 20;

fn connect(server: &TestServer) -> Client {
    Client::connect(server.address()).unwrap()
}

fn table(name: &str, value: AMQPValue) -> FieldTable {
    let mut table = FieldTable::default();
    table.insert(name.into(), value);
    table
}

fn declare_exchange(client: &mut Client, name: &str, kind: &str, arguments: FieldTable) {
    let declare = exchange::Declare {
        exchange: name.into(),
        kind: kind.into(),
        durable: true,
        arguments,
        ..exchange::Declare::default()
    };
    let declare = AMQPClass::Exchange(exchange::AMQPMethod::Declare(declare));
    client.call(declare).unwrap();
}

/// A persistent message whose number is its body and its key.
fn publish_number(client: &mut Client, exchange: &str, number: u32) {
    let headers = table("x-deduplication-header", AMQPValue::LongUInt(number));
    let properties = basic::AMQPProperties::default()
        .with_delivery_mode(2)
        .with_headers(headers);
    client.publish_properties(exchange, "queue-1", false, properties, &number.to_be_bytes());
}

/// Publishes batch after batch, beginning with the one before `from`, and tells which are confirmed.
fn publish_on(
    client: &mut Client,
    exchange: &str,
    from: u32,
    confirmed: &mpsc::Sender<u32>,
) -> io::Result<()> {
    client.select_confirms()?;
    for batch in from.saturating_sub(1).. {
        // Each twice: the second is a duplicate of what is not on disk yet.
        for _ in 0..2 {
            (batch * BATCH..(batch + 1) * BATCH).for_each(|number| publish_number(client, exchange, number));
        }
        client.wait_for_confirms()?;
        if confirmed.send(batch).is_err() {
            break;
        }
    }
    Ok(())
}

/// Takes all messages of a queue.
fn numbers(client: &mut Client, queue: &str) -> Vec<u32> {
    let mut numbers = Vec::new();
    while let Some(delivery) = client.get(queue).unwrap() {
        client.ack(delivery.tag, false);
        numbers.push(u32::from_be_bytes(delivery.body.as_slice().try_into().unwrap()));
    }
    numbers
}

fn bodies(client: &mut Client, queue: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    while let Some(delivery) = client.get(queue).unwrap() {
        bodies.push(String::from_utf8(delivery.body).unwrap());
    }
    bodies
}

/// Publishes from a thread, and kills the broker a few confirms later, round after round. Whatever was not confirmed
/// is published again.
fn publish_through_kills(server: &mut TestServer, exchange: &'static str) -> u32 {
    let mut next = 0;
    for round in 0..ROUNDS {
        let (sender, confirmed) = mpsc::channel();
        let address = server.address();
        let publisher = thread::spawn(move || {
            let mut client = Client::connect(address).unwrap();
            publish_on(&mut client, exchange, next, &sender)
        });
        for _ in 0..2 + round % 3 {
            next = confirmed.recv().unwrap() + 1;
        }
        server.kill_and_restart();
        assert!(publisher.join().unwrap().is_err(), "the broker was killed");
        next = confirmed.try_iter().last().map_or(next, |last| last + 1);
    }
    let mut client = connect(server);
    client.select_confirms().unwrap();
    (0..(next + 1) * BATCH).for_each(|number| publish_number(&mut client, exchange, number));
    client.wait_for_confirms().unwrap();
    (next + 1) * BATCH
}

#[test]
fn kill_nine_while_all_is_published_again_and_again_neither_loses_nor_doubles() {
    let mut server = TestServer::start();
    let mut client = connect(&server);
    let on = table("x-message-deduplication", AMQPValue::Boolean(true));
    declare_exchange(&mut client, "unique", "fanout", on);
    for queue in ["queue-1", "queue-2"] {
        client.declare(queue, true).unwrap();
        client.bind(queue, "unique", "").unwrap();
    }
    let end = publish_through_kills(&mut server, "unique");
    let mut client = connect(&server);
    for queue in ["queue-1", "queue-2"] {
        let mut found = numbers(&mut client, queue);
        found.sort_unstable();
        assert_eq!(found, (0..end).collect::<Vec<_>>(), "{queue}");
    }
}

#[test]
fn kill_nine_neither_loses_nor_doubles_in_a_queue_that_takes_keys_once() {
    let mut server = TestServer::start();
    let mut client = connect(&server);
    let on = table("x-message-deduplication", AMQPValue::Boolean(true));
    client.declare_typed("queue-1", &on).unwrap();
    let end = publish_through_kills(&mut server, "");
    let mut found = numbers(&mut connect(&server), "queue-1");
    found.sort_unstable();
    assert_eq!(found, (0..end).collect::<Vec<_>>());
}

#[test]
fn keys_are_known_after_a_clean_restart_and_gone_with_their_exchange() {
    let mut server = TestServer::start();
    let mut client = connect(&server);
    client.select_confirms().unwrap();
    client.declare("queue-1", true).unwrap();
    let declare = |client: &mut Client| {
        let kind = "x-message-deduplication";
        declare_exchange(
            client,
            "unique",
            kind,
            table("x-cache-size", AMQPValue::LongInt(10)),
        );
        client.bind("queue-1", "unique", "").unwrap();
    };
    declare(&mut client);
    publish_number(&mut client, "unique", 1);
    client.wait_for_confirms().unwrap();
    restart(&mut server, &mut client);
    let mut client = connect(&server);
    client.select_confirms().unwrap();
    publish_number(&mut client, "unique", 1);
    publish_number(&mut client, "unique", 2);
    client.wait_for_confirms().unwrap();
    assert_eq!(numbers(&mut client, "queue-1"), [1, 2]);
    client.delete_exchange("unique").unwrap();
    declare(&mut client);
    server.kill_and_restart();
    let mut client = connect(&server);
    client.select_confirms().unwrap();
    client.purge("queue-1").unwrap();
    publish_number(&mut client, "unique", 1);
    client.wait_for_confirms().unwrap();
    assert_eq!(numbers(&mut client, "queue-1"), [1]);
}

/// Stops the broker, which says farewell to the client, and starts it again.
fn restart(server: &mut TestServer, client: &mut Client) {
    thread::scope(|scope| {
        scope.spawn(|| {
            assert!(matches!(client.expect_event().unwrap(), Event::Closed(320)));
            client.flush().unwrap();
        });
        server.stop_and_restart();
    });
}

#[test]
fn a_durable_history_survives_a_kill_and_a_stop() {
    let mut server = TestServer::start();
    let mut client = connect(&server);
    client.select_confirms().unwrap();
    let length = || table("x-recent-history-length", AMQPValue::LongInt(3));
    declare_exchange(&mut client, "news", "x-recent-history", length());
    client
        .declare_exchange("gossip", "x-recent-history", false)
        .unwrap();
    client.declare("early", true).unwrap();
    client.bind("early", "news", "").unwrap();
    for body in ["a", "b", "c", "d"] {
        client.publish("news", "", true, body.as_bytes());
        client.publish("gossip", "", true, body.as_bytes());
    }
    client.wait_for_confirms().unwrap();
    server.kill_and_restart();
    let mut client = connect(&server);
    assert!(connect(&server).has_exchange("gossip").is_err());
    client.declare("late", true).unwrap();
    client.bind("late", "news", "").unwrap();
    assert_eq!(bodies(&mut client, "late"), ["b", "c", "d"]);
    client.select_confirms().unwrap();
    client.publish("news", "", false, b"transient");
    client.wait_for_confirms().unwrap();
    restart(&mut server, &mut client);
    let mut client = connect(&server);
    client.declare("later", true).unwrap();
    client.bind("later", "news", "").unwrap();
    assert_eq!(bodies(&mut client, "later"), ["c", "d", "transient"]);
    client.delete_exchange("news").unwrap();
    declare_exchange(&mut client, "news", "x-recent-history", length());
    server.kill_and_restart();
    let mut client = connect(&server);
    client.declare("latest", true).unwrap();
    client.bind("latest", "news", "").unwrap();
    assert!(bodies(&mut client, "latest").is_empty());
}

#[test]
fn what_was_replayed_to_a_durable_queue_is_there_when_the_bind_is_answered() {
    let mut server = TestServer::start();
    let mut client = connect(&server);
    client.select_confirms().unwrap();
    declare_exchange(&mut client, "news", "x-recent-history", FieldTable::default());
    client.publish("news", "", true, b"a");
    client.publish("news", "", true, b"b");
    client.wait_for_confirms().unwrap();
    client.declare("late", true).unwrap();
    client.bind("late", "news", "").unwrap();
    server.kill_and_restart();
    assert_eq!(bodies(&mut connect(&server), "late"), ["a", "b"]);
}
