//! When publishers are too far ahead of consumers.

use super::economy::queue;
use super::*;
use crate::broker::queue::consumers::ConsumerOptions;
use crate::clock::Timestamp;
use crate::message::Message;

const NOW: Timestamp = Timestamp::from_millis(1_000);

fn consumer(prefetch: u16) -> ConsumerOptions {
    ConsumerOptions {
        prefetch,
        no_ack: prefetch == 0,
        ..ConsumerOptions::default()
    }
}

#[test]
fn a_backlog_that_nobody_would_take_is_no_lead() {
    let (mut queue, mut effects) = queue(plain_settings(), 20_000, 8);
    assert_eq!(queue.taken_if_outrun(), None, "there is no consumer");
    queue.add_consumer(consumer(10));
    queue.dispatch(NOW, &mut effects);
    assert_eq!(queue.taken_if_outrun(), None, "the consumer waits for itself");
}

#[test]
fn a_consumer_whose_socket_is_behind_makes_a_lead_of_many_messages_or_bytes() {
    for (messages, bytes, taken) in [(20_000, 8, 4096), (6_000, 10_000, 105)] {
        let (mut queue, mut effects) = queue(plain_settings(), messages, bytes);
        let slot = queue.add_consumer(consumer(0));
        queue.dispatch(NOW, &mut effects);
        assert_eq!(effects.deliveries.len(), taken, "as much as an outbox takes");
        assert_eq!(queue.taken_if_outrun(), Some(taken as u64));
        let written = &effects.deliveries[0].message;
        queue.written(slot, 1, written.memory_bytes());
        queue.dispatch(NOW, &mut effects);
        assert_eq!(queue.taken_if_outrun(), Some(taken as u64 + 1));
    }
}

#[test]
fn a_few_messages_are_no_lead() {
    let (mut queue, mut effects) = queue(plain_settings(), 4096 + 8192, 8);
    queue.add_consumer(consumer(0));
    queue.dispatch(NOW, &mut effects);
    assert_eq!(queue.taken_if_outrun(), None);
    queue.publish(Message::new(b"", b"q", &[0, 0], b""), NOW, &mut effects);
    assert_eq!(queue.taken_if_outrun(), Some(4096));
}
