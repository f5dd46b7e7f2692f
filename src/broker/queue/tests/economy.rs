//! What a queue does while memory is short.

use super::*;
use crate::broker::headroom::Allowance;
use crate::broker::queue::consumers::ConsumerOptions;
use crate::broker::queue::effects::Effects;
use crate::message::Message;

const NOW: Timestamp = Timestamp::from_millis(1_000);

const SHORT: Allowance = Allowance {
    window_bytes: usize::MAX,
    holds_back: true,
};

pub(super) fn queue(settings: QueueSettings, messages: usize, bytes: usize) -> (Queue, Effects) {
    let window = Window {
        messages: 1 << 20,
        bytes: 1 << 30,
    };
    let (mut queue, mut effects) = (empty_queue(window, settings, NOW), Effects::default());
    let message = Message::new(b"", b"q", &[0, 0], &vec![0; bytes]);
    for _ in 0..messages {
        assert!(queue.publish(message.clone(), NOW, &mut effects));
    }
    (queue, effects)
}

/// Takes what was delivered out of the effects, and tells the queue that the socket took it.
fn deliveries(queue: &mut Queue, effects: &mut Effects) -> Vec<(ConsumerSlot, DeliveryHandle)> {
    let mut all = Vec::new();
    loop {
        queue.dispatch(NOW, effects);
        if effects.deliveries.is_empty() {
            return all;
        }
        for delivery in effects.deliveries.drain(..) {
            queue.written(delivery.consumer, 1, delivery.message.memory_bytes());
            all.push((delivery.consumer, delivery.handle));
        }
    }
}

#[test]
fn who_settles_nothing_gets_no_more_than_a_thousand_and_others_go_on() {
    let (mut queue, mut effects) = queue(plain_settings(), 5_000, 8);
    queue.allow(SHORT);
    let hoarder = queue.add_consumer(ConsumerOptions::default());
    assert_eq!(deliveries(&mut queue, &mut effects).len(), 1024);
    let busy = queue.add_consumer(ConsumerOptions {
        prefetch: 1,
        ..ConsumerOptions::default()
    });
    let mut served = 0;
    while let [(slot, handle)] = deliveries(&mut queue, &mut effects)[..] {
        assert_eq!(slot, busy);
        served += 1;
        if served == 1_000 {
            break;
        }
        queue.settle(handle, Settlement::Ack, NOW, &mut effects);
    }
    assert_eq!(served, 1_000);
    queue.allow(Allowance::default());
    let rest = deliveries(&mut queue, &mut effects);
    assert_eq!(rest.len(), 5_000 - 1024 - 1_000);
    assert!(rest.iter().all(|(slot, _)| *slot == hoarder));
}

#[test]
fn who_holds_much_holds_up_neither_those_who_settle_nor_those_who_need_not() {
    let (mut queue, mut effects) = queue(plain_settings(), 2_000, 64 << 10);
    queue.allow(SHORT);
    queue.add_consumer(ConsumerOptions::default());
    let held = deliveries(&mut queue, &mut effects).len();
    assert!((250..=257).contains(&held), "{held} of 64 KiB are 16 MiB");
    let busy = queue.add_consumer(ConsumerOptions {
        prefetch: 10,
        ..ConsumerOptions::default()
    });
    for _ in 0..100 {
        let [(slot, handle)] = deliveries(&mut queue, &mut effects)[..] else {
            panic!("one, as long as it has nothing unacked");
        };
        assert_eq!(slot, busy);
        queue.settle(handle, Settlement::Ack, NOW, &mut effects);
    }
    let free = queue.add_consumer(ConsumerOptions {
        no_ack: true,
        ..ConsumerOptions::default()
    });
    let rest = deliveries(&mut queue, &mut effects);
    assert_eq!(rest.len(), 2_000 - held - 100);
    assert_eq!(rest.iter().filter(|(slot, _)| *slot == busy).count(), 1);
    assert_eq!(
        rest.iter().filter(|(slot, _)| *slot == free).count(),
        rest.len() - 1
    );
}

#[test]
fn a_delivery_more_follows_each_settlement() {
    let (mut queue, mut effects) = queue(plain_settings(), 3_000, 8);
    queue.allow(SHORT);
    queue.add_consumer(ConsumerOptions::default());
    let first = deliveries(&mut queue, &mut effects);
    for (_, handle) in &first[..100] {
        queue.settle(*handle, Settlement::Ack, NOW, &mut effects);
    }
    assert_eq!(deliveries(&mut queue, &mut effects).len(), 100);
}

#[test]
fn large_messages_count_by_their_bytes() {
    let (mut queue, mut effects) = queue(plain_settings(), 100, 1 << 20);
    queue.allow(SHORT);
    for _ in 0..4 {
        queue.add_consumer(ConsumerOptions::default());
    }
    let held = deliveries(&mut queue, &mut effects);
    assert_eq!(held.len(), 16);
    queue.settle(held[3].1, Settlement::Requeue, NOW, &mut effects);
    assert_eq!(deliveries(&mut queue, &mut effects).len(), 1);
}

#[test]
fn what_rests_or_is_not_taken_is_bounded() {
    let resting = QueueSettings {
        delayed_retry: Some(DelayedRetry::new(RetryKind::All, Some(60_000), None)),
        ..plain_settings()
    };
    let untaken = QueueSettings {
        dead_letter: Some(DeadLetterTarget {
            at_least_once: true,
            ..dead_letters()
        }),
        ..plain_settings()
    };
    for (settings, settlement) in [(resting, Settlement::Reject), (untaken, Settlement::Discard)] {
        let (mut queue, mut effects) = queue(settings, 10_000, 8);
        queue.allow(SHORT);
        queue.add_consumer(ConsumerOptions {
            prefetch: 10,
            ..ConsumerOptions::default()
        });
        let mut failed = 0;
        loop {
            let held = deliveries(&mut queue, &mut effects);
            if held.is_empty() {
                break;
            }
            failed += held.len();
            for (_, handle) in held {
                queue.settle(handle, settlement, NOW, &mut effects);
            }
        }
        assert!((4096..4200).contains(&failed), "{failed} with {settlement:?}");
        queue.allow(Allowance::default());
        assert_eq!(deliveries(&mut queue, &mut effects).len(), 10, "it goes on");
    }
}

#[test]
fn a_narrow_window_sends_new_messages_to_the_store_and_a_wide_one_takes_them_back() {
    let (mut queue, mut effects) = queue(plain_settings(), 10, 1_000);
    let is_stored = |queue: &mut Queue, effects: &mut Effects| {
        let message = Message::new(b"", b"q", &[0, 0], &[0; 1_000]);
        assert!(queue.publish(message, NOW, effects));
        let stored = effects.of(LevelId::BASE).published.len();
        effects.of(LevelId::BASE).published.clear();
        stored > 0
    };
    assert!(!is_stored(&mut queue, &mut effects));
    queue.allow(Allowance {
        window_bytes: 11_000,
        holds_back: false,
    });
    assert!(is_stored(&mut queue, &mut effects), "eleven are there already");
    queue.allow(Allowance::default());
    assert!(is_stored(&mut queue, &mut effects), "they stay in order");
    assert_eq!(queue.ready_count(), 13);
    queue.add_consumer(ConsumerOptions::default());
    assert_eq!(deliveries(&mut queue, &mut effects).len(), 11);
    let load = effects.loads.pop().expect("the others are read");
    assert!(load.messages_max >= 2);
}
