//! (g) The largest messages at full rate, and many of which only the half has come.

use std::sync::Mutex;
use std::thread;

use crate::bystander::Bystander;
use crate::gauge::MIB;
use crate::publisher::Publisher;
use crate::raw::{Outgoing, Raw, encode};
use crate::storm::{Storm, left_over, scale};
use crate::support::eventually;

const BODY_BYTES: usize = 16 << 20;

/// What SQLite's allocator keeps for the next large values.
const BLOBS_KEPT: u64 = 64 * MIB;

/// The share of the mark that messages may have together of which a part has come.
const ARRIVALS_SHARE: u64 = 8;

fn message(number: u64) -> Outgoing {
    Outgoing {
        is_persistent: true,
        number,
        bytes: BODY_BYTES,
    }
}

#[test]
fn messages_of_16_mib_at_full_rate_are_bounded_and_whole() {
    const PUBLISHERS: usize = 3;
    let messages: u64 = scale(12, 300);
    let storm = Storm::begin("large", 512 * MIB, "");
    let mut client = storm.connect();
    client.declare("large", true).unwrap();
    let bystander = Bystander::publishing(storm.server.address());
    thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let storm = &storm;
            scope.spawn(move || {
                let mut own = Publisher::new(storm.connect());
                for number in 0..messages {
                    own.publish("large", message((publisher as u64) << 48 | number), 2)
                        .unwrap();
                }
                own.finish().unwrap();
            });
        }
        let mut consumer = Raw::consume(client, "large", 2, false);
        let mut next = [0; PUBLISHERS];
        for _ in 0..PUBLISHERS as u64 * messages {
            let delivery = consumer.delivery();
            let next = &mut next[usize::try_from(delivery.number >> 48).unwrap()];
            assert_eq!(
                (delivery.number & 0xFFFF_FFFF, delivery.bytes),
                (*next, BODY_BYTES)
            );
            *next += 1;
            consumer.ack(delivery.tag, false);
            consumer.flush().unwrap();
        }
    });
    bystander.end("large");
    storm.check_peak();
    let mut client = storm.connect();
    assert_eq!(client.ready("large").unwrap(), 0);
    client.delete("large").unwrap();
    drop(client);
    storm.end_within(left_over() + BLOBS_KEPT);
}

/// Some have sent the half and pause, so that all others have to wait. Who publishes small messages does not, and in the
/// end all come whole.
#[test]
fn many_halves_of_large_messages_stay_below_the_mark_and_all_become_whole() {
    let halves: usize = scale(40, 600);
    let mark = scale(512, 1024) * MIB;
    let storm = Storm::begin("halves", mark, "");
    let mut client = storm.connect();
    client.declare("large", false).unwrap();
    client.declare("small", true).unwrap();
    let mut small = Publisher::new(storm.connect());
    let asking = Bystander::asking(storm.server.address());
    let mut whole = Vec::new();
    let large = Outgoing {
        is_persistent: false,
        ..message(7)
    };
    encode(&mut whole, "", "large", large);
    let (first, second) = whole.split_at(whole.len() / 2);
    let gate = Mutex::new(());
    thread::scope(|scope| {
        let (storm, gate) = (&storm, &gate);
        let closed = gate.lock().unwrap();
        // Each in a thread of its own, for the broker does not read most of them.
        let writers: Vec<_> = (0..halves)
            .map(|_| {
                let mut raw = Raw::new(storm.connect());
                scope.spawn(move || {
                    raw.write(first).unwrap();
                    drop(gate.lock().unwrap());
                    raw.write(second).unwrap();
                    raw
                })
            })
            .collect();
        let arriving = mark / ARRIVALS_SHARE / BODY_BYTES as u64 * first.len() as u64;
        eventually("the halves that may arrive are there", || {
            (storm.grown() > arriving - arriving / 8).then_some(())
        });
        for number in 0..100 {
            let message = Outgoing {
                is_persistent: true,
                number,
                bytes: 1000,
            };
            small.publish("small", message, 0).unwrap();
        }
        assert_eq!(small.blocked, 0, "no alarm stands");
        println!("halves: {} MiB while all wait", storm.gauge.resident() / MIB);
        assert!(storm.grown() <= mark / ARRIVALS_SHARE + halves as u64 * (256 << 10) + 32 * MIB);
        drop(closed);
        let mut consumer = Raw::consume(client, "large", 0, true);
        for _ in 0..halves {
            let delivery = consumer.delivery();
            assert_eq!((delivery.number, delivery.bytes), (7, BODY_BYTES));
        }
        for writer in writers {
            drop(writer.join().unwrap());
        }
    });
    asking.end("halves");
    storm.check_peak();
    drop(small);
    let mut client = storm.connect();
    for (queue, left) in [("large", 0), ("small", 100)] {
        assert_eq!(client.ready(queue).unwrap(), left);
        client.delete(queue).unwrap();
    }
    drop(client);
    storm.end_within(left_over() + BLOBS_KEPT);
}
