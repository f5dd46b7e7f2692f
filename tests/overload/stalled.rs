//! (d) Consumers that stop reading their sockets.

use std::thread;
use std::time::Instant;

use crate::bystander::Bystander;
use crate::gauge::MIB;
use crate::publisher::Publisher;
use crate::raw::{Outgoing, Raw};
use crate::storm::{Storm, scale};
use crate::support::DEADLINE;

const BODY_BYTES: usize = 16 << 10;

/// Window of unconfirmed publishes.
const WINDOW: u64 = 500;

/// What a consumer that does not read may keep from others: its outbox, what is encoded, and the buffers of both
/// sockets.
const HELD_MAX: u64 = 12 * MIB;

/// Two consumers of one queue, of which one reads nothing until all is over.
fn one_of_two_stops_reading(name: &'static str, is_durable: bool, no_ack: bool) {
    let messages: u64 = scale(8_000, 400_000);
    let storm = Storm::begin(name, 160 * MIB, "storage.memory_window_bytes = \"8 MiB\"\n");
    let mut client = storm.connect();
    client.declare("shared", is_durable).unwrap();
    let mut consumers = [client, storm.connect()].map(|client| Raw::consume(client, "shared", 0, no_ack));
    let bystander = Bystander::publishing(storm.server.address());
    let mut publisher = Publisher::new(storm.connect());
    let mut got = [Vec::new(), Vec::new()];
    let mut take = |consumers: &mut [Raw; 2], which: usize, is_due: bool| {
        let consumer = &mut consumers[which];
        let delivery = if is_due {
            Some(consumer.delivery())
        } else {
            consumer.poll()
        };
        let Some(delivery) = delivery else { return false };
        assert!(!delivery.redelivered);
        got[which].push(delivery.number);
        if !no_ack {
            consumer.ack(delivery.tag, false);
            consumer.flush().unwrap();
        }
        true
    };
    let read = messages - HELD_MAX / BODY_BYTES as u64;
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..messages {
                let message = Outgoing {
                    is_persistent: is_durable,
                    number,
                    bytes: BODY_BYTES,
                };
                publisher.publish("shared", message, WINDOW).unwrap();
            }
            publisher.finish().unwrap();
        });
        for _ in 0..read {
            take(&mut consumers, 1, true);
        }
    });
    bystander.end(name);
    storm.check_peak();
    let mut missing = messages - read;
    let end = Instant::now() + DEADLINE;
    for which in [0, 1].into_iter().cycle() {
        while missing > 0 && take(&mut consumers, which, false) {
            missing -= 1;
        }
        if missing == 0 {
            break;
        }
        assert!(Instant::now() < end, "{missing} messages are missing");
    }
    let [held, others] = got;
    println!("{name}: the one that did not read had {} messages", held.len());
    assert!(!held.is_empty());
    assert!(
        held.is_sorted() && others.is_sorted(),
        "each sees its own in order"
    );
    let mut all = [held, others].concat();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..messages), "each message comes once");
    drop(consumers);
    drop(publisher);
    storm.connect().delete("shared").unwrap();
    storm.end();
}

#[test]
fn who_stops_reading_deliveries_without_acks_holds_up_nobody() {
    one_of_two_stops_reading("stalled, auto-ack", false, true);
}

#[test]
fn who_stops_reading_with_acks_and_unlimited_prefetch_holds_up_nobody() {
    one_of_two_stops_reading("stalled, acks", true, false);
}
