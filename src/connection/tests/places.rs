//! Room for large bodies: who gets it, who waits, and what an alarm stops.

use super::*;

const BODY_BYTES: u64 = 200 << 10;

fn broker_for(bodies: u64) -> Arc<Broker> {
    let broker = broker();
    broker.arrivals.bound(bodies * BODY_BYTES);
    broker
}

/// The same frames for another channel.
fn on(number: u16, mut frames: Vec<u8>) -> Vec<u8> {
    let mut at = 0;
    while let Ok(Some((_, len))) = frame::parse(&frames[at..], u32::MAX) {
        frames[at + 1..at + 3].copy_from_slice(&number.to_be_bytes());
        at += len;
    }
    frames
}

/// Half of a large body.
fn half() -> Vec<u8> {
    let mut bytes = Vec::new();
    let body = vec![0x5A; usize::try_from(BODY_BYTES).unwrap() / 2];
    frame::body_frame(&mut bytes, 1, &body);
    bytes
}

/// A large message without the second half of its body.
fn begun() -> Vec<u8> {
    [publish_of(BODY_BYTES), half()].concat()
}

fn open_channels(connection: &mut Connection, numbers: impl Iterator<Item = u16>, now: Instant) {
    for number in numbers {
        let mut bytes = Vec::new();
        let open = channel::AMQPMethod::Open(channel::Open {});
        method::encode(&mut bytes, number, &AMQPClass::Channel(open));
        connection.receive(&bytes, now);
    }
    drop(sent(connection));
}

#[test]
fn who_sends_one_large_message_after_the_other_lets_others_in_between() {
    let (broker, now) = (broker_for(1), Instant::now());
    let [mut first, mut second] = [0; 2].map(|_| opened(&broker, now, 0, false));
    // Its route is known from then on, so that nothing is flushed for its sake.
    first.receive(&[begun(), half()].concat(), now);
    first.receive(&begun(), now);
    second.receive(&publish_of(BODY_BYTES), now);
    assert!(!second.poll_mail(Waker::noop()));
    // The end of one and the beginning of the next come in one read.
    first.receive(&[half(), begun()].concat(), now);
    assert!(second.poll_mail(Waker::noop()));
    assert!(!first.wants_read());
    assert!(!first.poll_mail(Waker::noop()));
    second.advance(now);
    second.receive(&[half(), half(), publish_of(BODY_BYTES)].concat(), now);
    assert!(!second.wants_read());
    assert!(first.poll_mail(Waker::noop()), "now it is the first's turn");
    first.advance(now);
    assert!(first.wants_read());
}

#[test]
fn the_halves_of_one_connection_are_bounded_and_what_is_too_much_costs_its_channel() {
    let (broker, now) = (broker_for(2), Instant::now());
    let mut connection = opened(&broker, now, 0, false);
    open_channels(&mut connection, 2..=20, now);
    for number in 1..=4 {
        connection.receive(&on(number, begun()), now);
    }
    assert_eq!(sent(&mut connection), []);
    for number in 5..=20 {
        connection.receive(&on(number, begun()), now);
        assert_eq!(sent(&mut connection), [CHANNEL_CLOSE], "channel {number}");
    }
    // Those that were begun come to their end, and give their room back.
    for number in 1..=4 {
        connection.receive(&on(number, [half(), begun(), half(), get()].concat()), now);
        assert_eq!(
            sent(&mut connection),
            [CHANNEL_CLOSE],
            "all was worked off, get too"
        );
    }
    assert!(connection.wants_read());
}

#[test]
fn a_body_that_was_begun_is_read_to_its_end_under_an_alarm() {
    let (broker, now) = (broker_for(1), Instant::now());
    let [mut first, mut second] = [0; 2].map(|_| opened(&broker, now, 0, true));
    first.receive(&begun(), now);
    second.receive(&publish_of(BODY_BYTES), now);
    broker.set_alarm(Alarm::Memory, true);
    first.advance(now);
    assert!(first.wants_read());
    first.receive(&half()[..100], now);
    assert!(first.wants_read());
    first.receive(&[&half()[100..], &publish_of(BODY_BYTES)].concat(), now);
    assert_eq!(sent(&mut first), [BLOCKED], "the next waits");
    assert!(!first.wants_read());
    // It has its turn, but nothing is begun now.
    assert!(second.poll_mail(Waker::noop()));
    second.advance(now);
    assert_eq!(sent(&mut second), [BLOCKED]);
    assert!(!second.wants_read());
    broker.set_alarm(Alarm::Memory, false);
    for connection in [&mut second, &mut first] {
        while connection.poll_mail(Waker::noop()) {
            connection.advance(now);
        }
        assert_eq!(sent(connection), [UNBLOCKED]);
        assert!(connection.wants_read());
        connection.receive(&[half(), half(), get()].concat(), now);
        assert_eq!(sent(connection), [CHANNEL_CLOSE]);
    }
}

fn on_disk() -> (Arc<MemoryStore>, Arc<Broker>, Instant) {
    let disk = Arc::<MemoryStore>::default();
    let mut parts = parts(guest());
    parts.stores.durable = Arc::clone(&disk) as Arc<dyn Store>;
    let broker = Arc::new(Broker::new(parts, &Recovered::default()).unwrap());
    (disk, broker, Instant::now())
}

/// Its messages go to a durable queue.
fn publisher_to_disk(disk: &MemoryStore, broker: &Arc<Broker>, now: Instant) -> Connection {
    let mut publisher = opened(broker, now, 0, true);
    let declare = queue::Declare {
        queue: "durable".into(),
        durable: true,
        ..queue::Declare::default()
    };
    let bind = queue::Bind {
        queue: "durable".into(),
        exchange: "amq.fanout".into(),
        ..queue::Bind::default()
    };
    for method in [queue::AMQPMethod::Declare(declare), queue::AMQPMethod::Bind(bind)] {
        let mut bytes = Vec::new();
        method::encode(&mut bytes, 1, &AMQPClass::Queue(method));
        publisher.receive(&bytes, now);
        disk.commit_all();
        publisher.advance(now);
        assert_eq!(sent(&mut publisher).len(), 1);
    }
    publisher
}

#[test]
fn what_waits_for_the_disk_keeps_its_room_and_the_next_body_has_its_turn() {
    let (disk, broker, now) = on_disk();
    broker.arrivals.bound(BODY_BYTES);
    let mut first = publisher_to_disk(&disk, &broker, now);
    let mut second = opened(&broker, now, 0, false);
    first.receive(&begun(), now);
    while disk.pending_bytes() <= settings().pending_bytes_max {
        assert!(first.wants_read());
        first.receive(&[half(), begun()].concat(), now);
        while first.poll_mail(Waker::noop()) {
            first.advance(now);
        }
    }
    assert!(!first.wants_read());
    second.receive(&publish_of(BODY_BYTES), now);
    first.advance(now);
    assert!(
        !second.poll_mail(Waker::noop()),
        "the last body waits for the disk"
    );
    disk.commit_all();
    while first.poll_mail(Waker::noop()) {
        first.advance(now);
    }
    assert!(first.wants_read(), "it was there before the second");
    assert!(!second.poll_mail(Waker::noop()));
    first.receive(&[half(), begun()].concat(), now);
    assert!(second.poll_mail(Waker::noop()));
    assert!(!first.wants_read());
}

#[test]
fn an_alarm_stops_the_next_body_also_behind_one_that_waits_for_the_disk() {
    let (disk, broker, now) = on_disk();
    broker.arrivals.bound(4 * BODY_BYTES);
    let mut publisher = publisher_to_disk(&disk, &broker, now);
    publisher.receive(&begun(), now);
    let body_bytes = usize::try_from(BODY_BYTES).unwrap();
    while disk.pending_bytes() + body_bytes <= settings().pending_bytes_max {
        publisher.receive(&[half(), begun()].concat(), now);
    }
    broker.set_alarm(Alarm::Memory, true);
    publisher.receive(&[half(), publish_of(BODY_BYTES)].concat(), now);
    assert_eq!(sent(&mut publisher), [BLOCKED]);
    disk.commit_all();
    while publisher.poll_mail(Waker::noop()) {
        publisher.advance(now);
    }
    assert!(!publisher.wants_read(), "nothing is begun while an alarm stands");
    broker.set_alarm(Alarm::Memory, false);
    while publisher.poll_mail(Waker::noop()) {
        publisher.advance(now);
    }
    assert!(publisher.wants_read());
}
