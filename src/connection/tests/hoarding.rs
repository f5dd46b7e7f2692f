//! What a consumer that acks nothing gets, between one look at the memory and the next.

use std::path::Path;

use super::blocks::publish;
use super::*;
use crate::config::{Limits, Watermark};
use crate::resources::Resources;

const DELIVER: (u16, u16) = (60, 60);
const BODY_BYTES: usize = 100 << 10;
const MESSAGES: usize = 600;

fn consume(queue: &str) -> Vec<u8> {
    let consume = basic::Consume {
        queue: queue.into(),
        ..basic::Consume::default()
    };
    encoded(&AMQPClass::Basic(basic::AMQPMethod::Consume(consume)))
}

/// Takes what comes until nothing more does; returns how many deliveries that were.
fn drawn(connection: &mut Connection, now: Instant) -> usize {
    let mut deliveries = 0;
    loop {
        let methods = sent(connection);
        deliveries += methods.iter().filter(|method| **method == DELIVER).count();
        if methods.is_empty() && !connection.poll_mail(Waker::noop()) {
            return deliveries;
        }
        connection.advance(now);
    }
}

#[test]
fn who_fills_the_room_that_is_left_waits_for_the_next_look() {
    const MARK: u64 = 100 << 20;
    // Three quarters of what is left until a sixteenth below it.
    const RESIDENT: u64 = (100 - 28) * (1 << 20) - MARK / 16;
    const ROOM: usize = 21 << 20;
    let limits = Limits {
        memory_high_watermark: Watermark::Bytes(MARK),
        ..Limits::default()
    };
    let resources = Resources::new(&limits, Path::new("/"));
    let in_memory = Window {
        messages: MESSAGES,
        bytes: usize::MAX,
    };
    let parts = Parts {
        window: in_memory,
        ..parts(guest())
    };
    let broker = Arc::new(Broker::new(parts, &Recovered::default()).unwrap());
    let now = Instant::now();
    let [mut publisher, mut hoarder] = [(); 2].map(|()| opened(&broker, now, 0, false));
    publisher.receive(&declare("backlog"), now);
    for _ in 0..MESSAGES {
        publisher.receive(&publish("", "backlog", &[0, 0], &[7].repeat(BODY_BYTES)), now);
    }
    assert!(!resources.check_memory(&broker, RESIDENT).is_dispatch_due);
    hoarder.receive(&consume("backlog"), now);
    let first = drawn(&mut hoarder, now);
    let room = ROOM / BODY_BYTES;
    assert!((room..room + 20).contains(&first), "{first}, room for {room}");
    let look = resources.check_memory(&broker, RESIDENT);
    assert!(look.is_dispatch_due, "there was room after all");
    broker.dispatch_all();
    let second = drawn(&mut hoarder, now);
    assert!((room..room + 20).contains(&second), "{second}, room for {room}");
    // Near the mark nobody gets more, and no alarm is needed for it.
    assert!(!resources.check_memory(&broker, MARK - MARK / 16).is_dispatch_due);
    broker.dispatch_all();
    assert_eq!(drawn(&mut hoarder, now), 0);
    assert!(resources.check_memory(&broker, 0).is_dispatch_due);
    broker.dispatch_all();
    assert_eq!(drawn(&mut hoarder, now), MESSAGES - first - second);
}
