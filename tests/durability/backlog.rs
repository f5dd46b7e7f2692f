//! More messages than the memory window holds: nothing changes but where they wait.

use std::thread;
use std::time::Duration;

use crate::client::{Client, Event};
use crate::support::{TestServer, eventually};

/// A window that each of these tests passes many times over.
const SMALL_WINDOW: &str = "[storage]\nmemory_window_messages = 1000\n";
const PUBLISHES_PER_FLUSH: u32 = 500;

fn connect(server: &TestServer) -> Client {
    Client::connect(server.address()).unwrap()
}

/// Publishes the numbers of `range` and waits for their confirms.
fn publish(client: &mut Client, queue: &str, is_persistent: bool, range: std::ops::Range<u32>) {
    for number in range {
        client.publish("", queue, is_persistent, &number.to_be_bytes());
        if number % PUBLISHES_PER_FLUSH == 0 {
            client.flush().unwrap();
        }
    }
    client.wait_for_confirms().unwrap();
}

/// Consumes and acks `range`, which has to come in order; returns how many came flagged.
fn consume(client: &mut Client, queue: &str, range: std::ops::Range<u32>) -> usize {
    client.qos(300).unwrap();
    client.consume(queue).unwrap();
    let mut redelivered = 0;
    for number in range {
        let delivery = client.expect_delivery();
        assert_eq!(delivery.body, number.to_be_bytes(), "message {number} is due");
        redelivered += usize::from(delivery.redelivered);
        if number % 100 == 99 {
            client.ack(delivery.tag, true);
        }
    }
    redelivered
}

#[test]
fn two_hundred_thousand_messages_are_there_at_once_and_in_order_after_a_kill() {
    let mut server = TestServer::with_config(SMALL_WINDOW);
    let mut client = connect(&server);
    client.select_confirms().unwrap();
    client.declare("backlog", true).unwrap();
    publish(&mut client, "backlog", true, 0..200_000);
    server.kill_and_restart();
    let mut client = connect(&server);
    assert_eq!(client.ready("backlog").unwrap(), 200_000);
    assert_eq!(
        consume(&mut client, "backlog", 0..200_000),
        0,
        "nobody had seen one"
    );
    assert!(client.next(Duration::ZERO).unwrap().is_none());
    assert_eq!(connect(&server).ready("backlog").unwrap(), 0);
}

#[test]
fn order_holds_beyond_the_window_while_publishing_goes_on() {
    let server = TestServer::with_config(SMALL_WINDOW);
    let mut publisher = connect(&server);
    publisher.select_confirms().unwrap();
    publisher.declare("queue", true).unwrap();
    publish(&mut publisher, "queue", true, 0..10_000);
    thread::scope(|scope| {
        scope.spawn(|| publish(&mut publisher, "queue", true, 10_000..40_000));
        let mut consumer = connect(&server);
        assert_eq!(consume(&mut consumer, "queue", 0..40_000), 0);
    });
}

#[test]
fn transient_messages_beyond_the_window_spill_and_come_back_in_order() {
    let server = TestServer::with_config(SMALL_WINDOW);
    let mut client = connect(&server);
    client.select_confirms().unwrap();
    client.declare("transient", false).unwrap();
    publish(&mut client, "transient", false, 0..30_000);
    assert_eq!(client.ready("transient").unwrap(), 30_000);
    assert_eq!(consume(&mut connect(&server), "transient", 0..30_000), 0);
}

#[test]
fn transient_and_persistent_messages_keep_their_common_order_beyond_the_window() {
    let server = TestServer::with_config(SMALL_WINDOW);
    let mut client = connect(&server);
    client.select_confirms().unwrap();
    client.declare("mixed", true).unwrap();
    for number in 0..10_000u32 {
        client.publish("", "mixed", number % 3 == 0, &number.to_be_bytes());
    }
    client.wait_for_confirms().unwrap();
    assert_eq!(consume(&mut connect(&server), "mixed", 0..10_000), 0);
}

#[test]
fn messages_requeued_beyond_the_window_return_to_their_place() {
    let server = TestServer::with_config(SMALL_WINDOW);
    let mut client = connect(&server);
    client.select_confirms().unwrap();
    client.declare("queue", true).unwrap();
    publish(&mut client, "queue", true, 0..5_000);
    let mut holder = connect(&server);
    holder.qos(3_000).unwrap();
    holder.consume("queue").unwrap();
    for number in 0..3_000u32 {
        assert_eq!(holder.expect_delivery().body, number.to_be_bytes());
    }
    drop(holder);
    eventually("the broker sees that the holder is gone", || {
        (client.ready("queue").unwrap() == 5_000).then_some(())
    });
    assert_eq!(consume(&mut connect(&server), "queue", 0..5_000), 3_000);
}

#[test]
fn a_purge_beyond_the_window_leaves_what_is_published_after_it() {
    let mut server = TestServer::with_config(SMALL_WINDOW);
    let mut client = connect(&server);
    client.select_confirms().unwrap();
    client.declare("queue", true).unwrap();
    publish(&mut client, "queue", true, 0..5_000);
    assert_eq!(client.purge("queue").unwrap(), 5_000);
    publish(&mut client, "queue", true, 5_000..8_000);
    server.kill_and_restart();
    let mut client = connect(&server);
    assert_eq!(client.ready("queue").unwrap(), 3_000);
    consume(&mut client, "queue", 5_000..8_000);
    assert!(!matches!(
        client.next(Duration::ZERO).unwrap(),
        Some(Event::Delivery(_))
    ));
}

/// The store counts persistent messages only; a purge of spilled transient ones once took the unacked ones off that
/// count, and the next start found the queue empty.
#[test]
fn unacked_messages_survive_a_purge_of_transient_ones_beyond_the_window() {
    let mut server = TestServer::with_config("[storage]\nmemory_window_messages = 5\n");
    let mut client = connect(&server);
    client.select_confirms().unwrap();
    client.declare("queue", true).unwrap();
    publish(&mut client, "queue", true, 0..3);
    let mut holder = connect(&server);
    holder.qos(3).unwrap();
    holder.consume("queue").unwrap();
    for number in 0..3u32 {
        assert_eq!(holder.expect_delivery().body, number.to_be_bytes());
    }
    publish(&mut client, "queue", false, 3..33);
    assert_eq!(client.purge("queue").unwrap(), 30);
    server.kill_and_restart();
    let mut client = connect(&server);
    assert_eq!(client.ready("queue").unwrap(), 3);
    assert_eq!(consume(&mut client, "queue", 0..3), 3);
}
