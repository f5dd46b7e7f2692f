//! (e) A million deliveries that nobody acks.

use crate::bystander::Bystander;
use crate::gauge::MIB;
use crate::publisher::Publisher;
use crate::raw::{Outgoing, Raw};
use crate::storm::{Storm, scale};

const BODY_BYTES: usize = 100;
const WINDOW: u64 = 5_000;

/// Published, and then awaited, at once.
const RUN: usize = 5_000;

#[test]
fn a_million_unacked_deliveries_come_back_in_order_and_take_what_they_must() {
    let messages: u64 = scale(50_000, 1_000_000);
    let storm = Storm::begin("unacked", scale(160, 640) * MIB, "");
    let mut client = storm.connect();
    client.declare("queue", true).unwrap();
    let mut publisher = Publisher::new(client);
    let mut holder = Raw::consume(storm.connect(), "queue", 0, false);
    let bystander = Bystander::publishing(storm.server.address());
    for first in (0..messages).step_by(RUN) {
        let run = first..first + RUN as u64;
        for number in run.clone() {
            let message = Outgoing {
                is_persistent: true,
                number,
                bytes: BODY_BYTES,
            };
            publisher.publish("queue", message, WINDOW).unwrap();
        }
        publisher.finish().unwrap();
        for number in run {
            assert_eq!(holder.delivery().number, number);
        }
    }
    // Half of them is done with, the others go back.
    holder.ack(messages / 2, true);
    holder.flush().unwrap();
    drop(holder);
    let mut consumer = Raw::consume(storm.connect(), "queue", 1_000, false);
    for number in messages / 2..messages {
        let delivery = consumer.delivery();
        assert_eq!((delivery.number, delivery.redelivered), (number, true));
        if number % 100 == 99 {
            consumer.ack(delivery.tag, true);
            consumer.flush().unwrap();
        }
    }
    bystander.end("unacked");
    storm.check_peak();
    drop(consumer);
    drop(publisher);
    let mut client = storm.connect();
    assert_eq!(client.ready("queue").unwrap(), 0);
    client.delete("queue").unwrap();
    drop(client);
    storm.end();
}

/// Bytes of a message of the hoarder's.
const HOARDED_BYTES: usize = 16 << 10;

#[test]
fn a_consumer_that_acks_nothing_does_not_draw_the_backlog_into_memory() {
    let messages: u64 = scale(12_000, 200_000);
    let config = "[storage]\nmemory_window_bytes = \"4 MiB\"\npending_bytes_max = \"8 MiB\"\n";
    let storm = Storm::begin("hoarder", scale(128, 256) * MIB, config);
    let mut client = storm.connect();
    client.declare("backlog", true).unwrap();
    let mut publisher = Publisher::new(client);
    for number in 0..messages {
        let message = Outgoing {
            is_persistent: true,
            number,
            bytes: HOARDED_BYTES,
        };
        publisher.publish("backlog", message, 500).unwrap();
    }
    publisher.finish().unwrap();
    let asking = Bystander::asking(storm.server.address());
    let mut hoarder = Raw::consume(storm.connect(), "backlog", 0, false);
    let (mut next, mut held_most, mut held) = (0, 0, 0);
    while next < messages {
        // It acks only when it gets nothing more.
        if let Some(delivery) = hoarder.poll() {
            assert_eq!((delivery.number, delivery.redelivered), (next, false));
            next += 1;
            held += 1;
            held_most = held_most.max(held);
        } else if held > 0 {
            hoarder.ack(0, true);
            hoarder.flush().unwrap();
            held = 0;
        }
    }
    hoarder.ack(0, true);
    hoarder.flush().unwrap();
    asking.end("hoarder");
    println!("hoarder: {held_most} of {messages} messages unacked at most");
    storm.check_peak();
    drop((publisher, hoarder));
    storm.connect().delete("backlog").unwrap();
    storm.end();
}
