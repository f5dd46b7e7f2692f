//! Replies that wait for the disk, and what comes meanwhile.

use amq_protocol::protocol::exchange;

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

/// Two clients ask for the same, one after the other: neither has its answer before it is on disk.
fn asked_twice(
    method: &AMQPClass,
    answer: (u16, u16),
    [one, other]: [&mut Connection; 2],
    disk: &MemoryStore,
) {
    let now = Instant::now();
    for connection in [&mut *one, &mut *other] {
        connection.receive(&encoded(method), now);
        connection.advance(now);
        assert_eq!(sent(connection), [], "{method:?}");
    }
    disk.commit_all();
    for connection in [one, other] {
        connection.advance(now);
        assert_eq!(sent(connection), [answer], "{method:?}");
    }
}

#[test]
fn what_somebody_else_asked_for_just_now_is_answered_when_it_is_on_disk() {
    let (disk, now) = (Arc::<MemoryStore>::default(), Instant::now());
    let broker = broker_on(&disk);
    disk.commit_all();
    let [mut one, mut other] = [(); 2].map(|()| opened(&broker, now, 0, false));
    let of_queue = |method| AMQPClass::Queue(method);
    let of_exchange = |method| AMQPClass::Exchange(method);
    let rows = [
        (
            of_queue(queue::AMQPMethod::Declare(queue::Declare {
                queue: "jobs".into(),
                durable: true,
                ..queue::Declare::default()
            })),
            (50, 11),
        ),
        (
            of_exchange(exchange::AMQPMethod::Declare(exchange::Declare {
                exchange: "news".into(),
                kind: "fanout".into(),
                durable: true,
                ..exchange::Declare::default()
            })),
            (40, 11),
        ),
        (
            of_queue(queue::AMQPMethod::Bind(queue::Bind {
                queue: "jobs".into(),
                exchange: "news".into(),
                ..queue::Bind::default()
            })),
            (50, 21),
        ),
        (
            of_queue(queue::AMQPMethod::Unbind(queue::Unbind {
                queue: "jobs".into(),
                exchange: "news".into(),
                ..queue::Unbind::default()
            })),
            (50, 51),
        ),
        (
            of_exchange(exchange::AMQPMethod::Delete(exchange::Delete {
                exchange: "news".into(),
                ..exchange::Delete::default()
            })),
            (40, 21),
        ),
        (
            of_queue(queue::AMQPMethod::Delete(queue::Delete {
                queue: "jobs".into(),
                ..queue::Delete::default()
            })),
            (50, 41),
        ),
    ];
    for (method, answer) in rows {
        asked_twice(&method, answer, [&mut one, &mut other], &disk);
    }
}

#[test]
fn a_queue_that_was_declared_just_now_is_found_when_it_is_on_disk() {
    let (disk, now) = (Arc::<MemoryStore>::default(), Instant::now());
    let broker = broker_on(&disk);
    let _declares = waiting(&broker, now);
    let passive = queue::Declare {
        queue: "durable".into(),
        passive: true,
        ..queue::Declare::default()
    };
    let mut other = opened(&broker, now, 0, false);
    other.receive(
        &encoded(&AMQPClass::Queue(queue::AMQPMethod::Declare(passive))),
        now,
    );
    other.advance(now);
    assert_eq!(sent(&mut other), []);
    disk.commit_all();
    other.advance(now);
    assert_eq!(sent(&mut other), [(50, 11)]);
}

#[test]
fn a_queue_that_was_purged_just_now_is_empty_when_that_is_on_disk() {
    let (disk, now) = (Arc::<MemoryStore>::default(), Instant::now());
    let broker = broker_on(&disk);
    let mut connection = waiting(&broker, now);
    disk.commit_all();
    connection.advance(now);
    assert_eq!(sent(&mut connection), [(50, 11)]);
    let vhost = broker.vhost("/").expect("it was declared");
    let queue = vhost.queue("durable", ConnectionId(0)).expect("it is there");
    let persistent = crate::message::Message::new(b"", b"durable", &[0x10, 0, 2], b"body");
    queue.publish(std::iter::once(persistent));
    disk.commit_all();
    let purge = queue::Purge {
        queue: "durable".into(),
        ..queue::Purge::default()
    };
    let purge = AMQPClass::Queue(queue::AMQPMethod::Purge(purge));
    let mut other = opened(&broker, now, 0, false);
    asked_twice(&purge, (50, 31), [&mut connection, &mut other], &disk);
}
