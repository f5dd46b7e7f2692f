//! (g) The largest messages at full rate, and many of which only the half has come.

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

/// What the connections send before the broker looks at its memory again, and what growing buffers leave behind until
/// the allocator gives it back: about 1 MiB for each connection.
const OVERSHOOT_EACH: u64 = 1280 << 10;

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

#[test]
fn many_halves_of_large_messages_stop_at_the_mark_and_are_gone_on_with() {
    let halves: usize = scale(60, 600);
    let storm = Storm::begin("halves", scale(256, 1024) * MIB, "");
    let mut client = storm.connect();
    client.declare("large", true).unwrap();
    let asking = Bystander::asking(storm.server.address());
    let mut whole = Vec::new();
    encode(&mut whole, "", "large", message(7));
    let half = whole.len() / 2;
    let (whole, storm) = (&whole[..], &storm);
    // Each in a thread of its own, for the broker stops reading them.
    thread::scope(|scope| {
        let writers: Vec<_> = (0..halves)
            .map(|_| {
                let mut raw = Raw::new(storm.connect());
                let socket = raw.stream().try_clone().unwrap();
                (socket, scope.spawn(move || raw.write(&whole[..half])))
            })
            .collect();
        storm.server.logged(&["memory alarm set"]);
        for (socket, writer) in writers {
            // Whatever it had sent is forgotten.
            socket.shutdown(std::net::Shutdown::Both).unwrap();
            drop(writer.join().unwrap());
        }
    });
    asking.end("halves");
    storm.check_peak_within(halves as u64 * OVERSHOOT_EACH);
    storm.server.logged(&["memory alarm cleared"]);
    let mut publisher = Publisher::new(storm.connect());
    publisher.publish("large", message(1), 0).unwrap();
    let mut consumer = Raw::consume(client, "large", 0, true);
    assert_eq!(consumer.delivery().number, 1);
    drop((publisher, consumer));
    eventually("nothing is left", || {
        (storm.connect().ready("large").unwrap() == 0).then_some(())
    });
    storm.connect().delete("large").unwrap();
    storm.end();
}
