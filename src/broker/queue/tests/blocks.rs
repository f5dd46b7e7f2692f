//! What stays for long does not keep the memory of those that it came with.

use super::*;
use crate::broker::queue::consumers::ConsumerOptions;
use crate::broker::queue::effects::Effects;
use crate::message::{BlockBuilder, Encoded, Message};

const NOW: Timestamp = Timestamp::from_millis(1_000);
const COUNT: usize = 10;

/// Messages that share memory.
fn block() -> Vec<Message> {
    let bytes = Message::new(b"", b"q", &[0, 0], b"body").encoded();
    let encoded = Encoded::parse(&bytes).expect("own bytes");
    let (mut block, mut messages) = (BlockBuilder::default(), Vec::new());
    for _ in 0..COUNT {
        block.push_stored(&encoded, false);
    }
    block.seal(|message| messages.push(message));
    messages
}

/// How many of these are among those.
fn shared(some: &[Message], with: &[Message]) -> usize {
    let is_shared = |message: &&Message| with.iter().any(|other| other.is_same(message));
    some.iter().filter(is_shared).count()
}

fn queue(settings: QueueSettings, prefetch: u16) -> (Queue, Effects) {
    let window = Window {
        messages: 1 << 20,
        bytes: 1 << 30,
    };
    let mut queue = empty_queue(window, settings, NOW);
    queue.add_consumer(ConsumerOptions {
        prefetch,
        ..ConsumerOptions::default()
    });
    (queue, Effects::default())
}

fn delivered(queue: &mut Queue, effects: &mut Effects) -> (Vec<Message>, Vec<DeliveryHandle>) {
    queue.dispatch(NOW, effects);
    let deliveries = effects.deliveries.drain(..);
    deliveries
        .map(|delivery| (delivery.message, delivery.handle))
        .unzip()
}

#[test]
fn what_comes_back_is_alone() {
    for settlement in [Settlement::Requeue, Settlement::Reject, Settlement::Lost] {
        let (mut queue, mut effects) = queue(plain_settings(), 0);
        let came = block();
        for message in &came {
            assert!(queue.publish(message.clone(), NOW, &mut effects));
        }
        let (messages, handles) = delivered(&mut queue, &mut effects);
        assert_eq!(
            shared(&messages, &came),
            COUNT,
            "the first time they are as they came"
        );
        assert!(queue.settle(handles[3], settlement, NOW, &mut effects));
        let (again, _) = delivered(&mut queue, &mut effects);
        assert_eq!((again.len(), shared(&again, &came)), (1, 0), "{settlement:?}");
        assert_eq!(again[0].content().body(), b"body");
    }
}

#[test]
fn what_waits_in_a_queue_that_refuses_others_is_alone() {
    let settings = QueueSettings {
        max_length: Some(1),
        overflow: Overflow::RejectPublish,
        ..plain_settings()
    };
    let (mut queue, mut effects) = queue(settings, 1);
    let came = block();
    let taken = came
        .iter()
        .filter(|message| queue.publish((*message).clone(), NOW, &mut effects));
    assert_eq!(taken.count(), 2, "one for the consumer, and one that waits");
    let (first, handles) = delivered(&mut queue, &mut effects);
    assert_eq!(shared(&first, &came), 1);
    assert!(queue.settle(handles[0], Settlement::Ack, NOW, &mut effects));
    let (second, _) = delivered(&mut queue, &mut effects);
    assert_eq!((second.len(), shared(&second, &came)), (1, 0));
}
