//! (a) Publishers that are much faster than the disk, and than the consumer.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::bystander::Bystander;
use crate::gauge::MIB;
use crate::publisher::Publisher;
use crate::raw::{Outgoing, Raw, Seen, encode};
use crate::storm::{Storm, scale};

const PUBLISHERS: usize = 4;
const BODY_BYTES: usize = 1024;

/// Publishes that one publisher leaves unconfirmed.
const WINDOW: u64 = 5_000;

/// A disk that takes 10 MiB a second, and a window that the backlog passes many times over.
const CONFIG: &str = "[storage]\ncommit_interval = \"100ms\"\ngroup_bytes_max = \"1 MiB\"\n\
    pending_bytes_max = \"8 MiB\"\nmemory_window_bytes = \"4 MiB\"\n";

/// What a publisher may have sent that is not confirmed: what the broker lets wait for the disk, a group that is being
/// written, and what the buffers of both sockets hold.
const UNCONFIRMED_MAX: u64 = 32 * MIB;

/// One in so many messages is consumed while others are published.
const SLOWNESS: u64 = 4;

#[test]
fn publishers_that_are_faster_than_disk_and_consumers_are_slowed_and_lose_nothing() {
    let messages: u64 = scale(10_000, 1_000_000);
    let storm = Storm::begin("backlog", 160 * MIB, CONFIG);
    let mut client = storm.connect();
    client.declare("backlog", true).unwrap();
    let bystander = Bystander::publishing(storm.server.address());
    let published = AtomicU64::new(0);
    let mut consumer = Raw::consume(client, "backlog", 100, false);
    let mut next = [0; PUBLISHERS];
    let mut take = |consumer: &mut Raw| {
        let delivery = consumer.delivery();
        let (from, number) = (delivery.number >> 48, delivery.number & 0xFFFF_FFFF);
        let next = &mut next[usize::try_from(from).unwrap()];
        assert_eq!(number, *next, "of publisher {from}");
        *next += 1;
        assert!(!delivery.redelivered);
        consumer.ack(delivery.tag, false);
        consumer.flush().unwrap();
    };
    thread::scope(|scope| {
        let (storm, published) = (&storm, &published);
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|publisher| {
                scope.spawn(move || {
                    let mut own = Publisher::new(storm.connect());
                    for number in 0..messages {
                        let message = Outgoing {
                            is_persistent: true,
                            number: (publisher as u64) << 48 | number,
                            bytes: BODY_BYTES,
                        };
                        own.publish("backlog", message, WINDOW).unwrap();
                        published.fetch_add(1, Ordering::Relaxed);
                    }
                    own.finish().unwrap();
                    own.blocked
                })
            })
            .collect();
        let mut taken = 0;
        while publishers.iter().any(|publisher| !publisher.is_finished()) {
            if taken < published.load(Ordering::Relaxed) / SLOWNESS {
                take(&mut consumer);
                taken += 1;
            } else {
                thread::yield_now();
            }
        }
        let blocked: usize = publishers
            .into_iter()
            .map(|publisher| publisher.join().unwrap())
            .sum();
        assert_eq!(blocked, 0, "a backlog is no reason for an alarm");
        for _ in taken..PUBLISHERS as u64 * messages {
            take(&mut consumer);
        }
    });
    bystander.end("backlog");
    drop(consumer);
    let mut client = storm.connect();
    assert_eq!(client.ready("backlog").unwrap(), 0);
    client.delete("backlog").unwrap();
    drop(client);
    storm.check_peak();
    storm.end();
}

#[test]
fn a_publisher_that_waits_for_no_confirm_is_held_up_by_its_socket() {
    let messages: u64 = scale(64, 512) * MIB / BODY_BYTES as u64;
    let storm = Storm::begin("unread", 160 * MIB, CONFIG);
    let mut client = storm.connect();
    client.declare("unread", true).unwrap();
    client.select_confirms().unwrap();
    let bystander = Bystander::publishing(storm.server.address());
    let mut raw = Raw::new(client);
    let mut socket = raw.stream().try_clone().unwrap();
    let confirmed = AtomicU64::new(0);
    let most = thread::scope(|scope| {
        let confirmed = &confirmed;
        let writer = scope.spawn(move || {
            let (mut output, mut most) = (Vec::new(), 0);
            for number in 0..messages {
                let message = Outgoing {
                    is_persistent: true,
                    number,
                    bytes: BODY_BYTES,
                };
                encode(&mut output, "", "unread", message);
                if number % 64 == 63 {
                    socket.write_all(&output).unwrap();
                    output.clear();
                    most = most.max(number + 1 - confirmed.load(Ordering::Relaxed));
                }
            }
            socket.write_all(&output).unwrap();
            most * BODY_BYTES as u64
        });
        let mut last = 0;
        while last < messages {
            match raw.next().unwrap() {
                Seen::Confirm { tag, .. } => last = tag,
                other => panic!("a confirm was due, not {other:?}"),
            }
            confirmed.store(last, Ordering::Relaxed);
        }
        writer.join().unwrap()
    });
    println!("unread: {} KiB unconfirmed at most", most >> 10);
    assert!(
        most <= UNCONFIRMED_MAX,
        "{most} bytes were sent and not confirmed"
    );
    bystander.end("unread");
    drop(raw);
    let mut client = storm.connect();
    assert_eq!(u64::from(client.ready("unread").unwrap()), messages);
    client.delete("unread").unwrap();
    drop(client);
    storm.check_peak();
    storm.end();
}
