//! (f) Ten thousand queues of a thousand messages.

use std::thread;

use crate::bystander::Bystander;
use crate::gauge::MIB;
use crate::publisher::Publisher;
use crate::raw::{Outgoing, Raw};
use crate::storm::{Storm, scale};

const WINDOW: u64 = 5_000;

/// What waits for the disk is bounded by itself; it should not be half of a small mark.
const CONFIG: &str = "[storage]\ngroup_bytes_max = \"4 MiB\"\npending_bytes_max = \"8 MiB\"\n";
const THREADS: usize = 8;

fn name(queue: usize) -> String {
    format!("queue-{queue}")
}

/// Every queue is far from filling its own window, and all of them together are far more than the mark.
#[test]
fn ten_thousand_queues_of_a_thousand_messages_stay_below_the_mark() {
    let (queues, messages): (usize, u64) = scale((300, 400), (10_000, 1_000));
    let bytes = scale(2048, 256);
    let storm = Storm::begin("many queues", scale(160, 1024) * MIB, CONFIG);
    let bystander = Bystander::publishing(storm.server.address());
    let share = |thread: usize| (0..queues).skip(thread).step_by(THREADS);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let storm = &storm;
            scope.spawn(move || {
                let mut client = storm.connect();
                for queue in share(thread) {
                    client.declare(&name(queue), true).unwrap();
                }
                let mut publisher = Publisher::new(client);
                for number in 0..messages {
                    for queue in share(thread) {
                        let message = Outgoing {
                            is_persistent: true,
                            number,
                            bytes,
                        };
                        publisher.publish(&name(queue), message, WINDOW).unwrap();
                    }
                }
                publisher.finish().unwrap();
                assert_eq!(publisher.blocked, 0, "there is room on the disk");
            });
        }
    });
    println!("many queues: full, {} MiB", storm.gauge.resident() / MIB);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let storm = &storm;
            scope.spawn(move || {
                for queue in share(thread) {
                    let mut consumer = Raw::consume(storm.connect(), &name(queue), 100, false);
                    for number in 0..messages {
                        let delivery = consumer.delivery();
                        assert_eq!(delivery.number, number, "queue {queue}");
                        if number % 50 == 49 {
                            consumer.ack(delivery.tag, true);
                            consumer.flush().unwrap();
                        }
                    }
                }
            });
        }
    });
    bystander.end("many queues");
    storm.check_peak();
    storm.end();
}
