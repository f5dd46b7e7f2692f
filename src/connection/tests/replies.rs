//! Replies that wait for the disk, and what comes meanwhile.

use super::*;

/// A connection whose declare of a durable queue is not on disk yet.
fn waiting(broker: &Arc<Broker>, now: Instant) -> Connection {
    let mut connection = opened(broker, now, 0, true);
    let declare = queue::Declare {
        queue: "durable".into(),
        durable: true,
        ..queue::Declare::default()
    };
    let declare = encoded(&AMQPClass::Queue(queue::AMQPMethod::Declare(declare)));
    connection.receive(&declare, now);
    connection.advance(now);
    assert!(!connection.wants_read());
    assert!(sent(&mut connection).is_empty());
    connection
}

fn broker_on(disk: &Arc<MemoryStore>) -> Arc<Broker> {
    let mut parts = parts(guest());
    parts.stores.durable = Arc::clone(disk) as Arc<dyn Store>;
    Arc::new(Broker::new(parts, &Recovered::default()).unwrap())
}

#[test]
fn what_comes_while_a_reply_waits_keeps_nobody_busy() {
    let (disk, now) = (Arc::<MemoryStore>::default(), Instant::now());
    let broker = broker_on(&disk);
    let mut connection = waiting(&broker, now);
    broker.set_alarm(Alarm::Disk, true);
    assert!(connection.poll_mail(Waker::noop()), "it has mail");
    connection.advance(now);
    assert!(
        !connection.poll_mail(Waker::noop()),
        "which waits behind the reply"
    );

    disk.commit_all();
    assert!(connection.poll_mail(Waker::noop()));
    connection.advance(now);
    connection.receive(&publish(), now);
    assert_eq!(sent(&mut connection), [(50, 11), BLOCKED]);
    broker.set_alarm(Alarm::Disk, false);
    connection.advance(now);
    assert_eq!(sent(&mut connection), [UNBLOCKED]);
}

#[test]
fn who_is_closed_by_force_waits_for_no_reply() {
    let (disk, now) = (Arc::<MemoryStore>::default(), Instant::now());
    let broker = broker_on(&disk);
    let mut connection = waiting(&broker, now);
    broker.close_connections("the disk has failed");
    connection.advance(now);
    assert_eq!(sent(&mut connection), [(10, 50)]);
    assert!(connection.wants_read(), "for the answer");
    assert!(!connection.poll_mail(Waker::noop()));
}

#[test]
fn who_drains_waits_for_its_reply() {
    let (disk, now) = (Arc::<MemoryStore>::default(), Instant::now());
    let broker = broker_on(&disk);
    let mut connection = waiting(&broker, now);
    broker.drain_connections("the broker stops");
    connection.advance(now);
    assert!(!connection.poll_mail(Waker::noop()));
    assert!(sent(&mut connection).is_empty());
    disk.commit_all();
    connection.advance(now);
    assert_eq!(sent(&mut connection), [(50, 11), (10, 50)]);
}
