//! A publisher that is faster than the consumers' sockets, whatever those do.

use super::*;

fn publish_to(queue: &str, count: usize) -> Vec<u8> {
    let publish = basic::Publish {
        exchange: "".into(),
        routing_key: queue.into(),
        mandatory: false,
        immediate: false,
    };
    let mut bytes = Vec::new();
    let publish = AMQPClass::Basic(basic::AMQPMethod::Publish(publish));
    method::encode(&mut bytes, 1, &publish);
    frame::header_frame(&mut bytes, 1, &[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.repeat(count)
}

fn consume(broker: &Arc<Broker>, now: Instant) -> Connection {
    let mut consumer = opened(broker, now, 0, false);
    let consume = basic::Consume {
        queue: "q".into(),
        consumer_tag: "".into(),
        no_local: false,
        no_ack: true,
        exclusive: false,
        nowait: false,
        arguments: FieldTable::default(),
    };
    let mut bytes = declare("q");
    let consume = AMQPClass::Basic(basic::AMQPMethod::Consume(consume));
    method::encode(&mut bytes, 1, &consume);
    consumer.receive(&bytes, now);
    assert_eq!(sent(&mut consumer), [(50, 11), (60, 21)]);
    consumer
}

#[test]
fn a_publisher_far_ahead_pauses_while_consumers_move_and_only_then() {
    let (broker, now) = (broker(), Instant::now());
    let mut consumer = consume(&broker, now);
    let mut publisher = opened(&broker, now, 0, false);
    for _ in 0..4 {
        publisher.receive(&publish_to("q", 4000), now);
        assert!(publisher.wants_read(), "the consumer stands still");
    }

    consumer.advance(now);
    assert!(sent(&mut consumer).len() >= 64);
    consumer.advance(now);
    publisher.receive(&publish_to("q", 1), now);
    assert!(publisher.wants_read(), "it has hardly sent anything");
    publisher.receive(&publish_to("q", 1000), now);
    assert!(!publisher.wants_read(), "the consumer moves");
    let end = publisher.next_timeout().expect("a pause ends");
    assert_eq!(end, now + Duration::from_millis(1));
    publisher.handle_timeout(end);
    assert!(publisher.wants_read());

    publisher.receive(&publish_to("q", 1000), end);
    assert!(publisher.wants_read(), "it has not moved since");
}

#[test]
fn a_pause_is_over_when_the_broker_closes_the_connection() {
    let (broker, now) = (broker(), Instant::now());
    let mut consumer = consume(&broker, now);
    let mut publisher = opened(&broker, now, 0, false);
    (0..4).for_each(|_| publisher.receive(&publish_to("q", 4000), now));
    assert!(sent(&mut consumer).is_empty());
    consumer.advance(now);
    sent(&mut consumer);
    consumer.advance(now);
    publisher.receive(&publish_to("q", 1000), now);
    assert!(!publisher.wants_read());

    broker.close_connections("the broker stops");
    publisher.advance(now);
    assert!(publisher.wants_read(), "the answer is awaited at once");
    let mut close_ok = Vec::new();
    let answer = AMQPClass::Connection(connection::AMQPMethod::CloseOk(connection::CloseOk {}));
    method::encode(&mut close_ok, 0, &answer);
    publisher.receive(&close_ok, now);
    assert_eq!(sent(&mut publisher), [(10, 50)]);
    assert!(publisher.is_finished());
}
