//! However much is due at once, a turn lets go of a bounded number of messages, and the rest follows.

use super::*;
use crate::broker::queue::Got;
use crate::broker::queue::consumers::ConsumerOptions;
use crate::broker::queue::effects::{DeathReason, Effects};
use crate::message::Message;
use crate::store::{PageEntry, Position};

const MESSAGES: usize = 10_000;

/// What one call may let go of: a turn of what is in the way of deliveries, and one of the rest.
const TURN_MAX: usize = 2 * 4096;

const START: Timestamp = Timestamp::from_millis(1_000);

fn queue(settings: QueueSettings) -> Queue {
    with_window(2 * MESSAGES, settings)
}

fn with_window(messages: usize, settings: QueueSettings) -> Queue {
    let window = Window {
        messages,
        bytes: 64 << 20,
    };
    empty_queue(window, settings, START)
}

fn fill(queue: &mut Queue, effects: &mut Effects) {
    for _ in 0..MESSAGES {
        let message = Message::new(b"", b"q", &[0, 0], b"body");
        assert!(queue.publish(message, START, effects));
    }
    queue.dispatch(START, effects);
}

/// Calls the queue at `now` as long as it wants to be; returns the reasons of deaths by call.
fn deaths(queue: &mut Queue, now: Timestamp) -> Vec<Vec<DeathReason>> {
    let mut calls = Vec::new();
    while queue.due_next().is_some_and(|due| due <= now) {
        assert!(calls.len() < 100, "it wants to be called again and again");
        let mut effects = Effects::default();
        queue.tick(now, &mut effects);
        calls.push(effects.dead.iter().map(|letter| letter.reason).collect());
    }
    calls
}

fn check(calls: &[Vec<DeathReason>], reason: DeathReason, count: usize) {
    let all: Vec<_> = calls.iter().flatten().collect();
    assert_eq!(all.len(), count);
    assert!(all.iter().all(|death| **death == reason));
    let largest = calls.iter().map(Vec::len).max();
    assert!(largest <= Some(TURN_MAX), "{largest:?} in one turn");
}

#[test]
fn many_messages_expire_in_turns_also_while_a_consumer_is_there() {
    let settings = QueueSettings {
        message_ttl: Some(10),
        ..plain_settings()
    };
    let mut queue = queue(settings);
    let busy = ConsumerOptions {
        prefetch: 1,
        ..ConsumerOptions::default()
    };
    queue.add_consumer(busy);
    fill(&mut queue, &mut Effects::default());
    let calls = deaths(&mut queue, START.plus(11));
    check(&calls, DeathReason::Expired, MESSAGES - 1);
    assert_eq!(queue.ready_count(), 0);
}

#[test]
fn a_consumer_gets_what_is_left_when_many_have_expired() {
    let settings = QueueSettings {
        message_ttl: Some(10),
        ..plain_settings()
    };
    let mut queue = queue(settings);
    fill(&mut queue, &mut Effects::default());
    let now = START.plus(11);
    let mut effects = Effects::default();
    queue.add_consumer(ConsumerOptions::default());
    let last = Message::new(b"", b"q", &[0, 0], b"last");
    assert!(queue.publish(last, now, &mut effects));
    let mut delivered = 0;
    while queue.due_next().is_some_and(|due| due <= now) {
        queue.tick(now, &mut effects);
        delivered += std::mem::take(&mut effects.deliveries).len();
    }
    assert_eq!((delivered, effects.dead.len()), (1, MESSAGES));
}

/// One `basic.get` once let go of all of them while it held the lock.
#[test]
fn a_get_lets_go_of_a_turn_of_expired_messages_and_comes_again() {
    let settings = QueueSettings {
        message_ttl: Some(10),
        ..plain_settings()
    };
    let mut queue = queue(settings);
    fill(&mut queue, &mut Effects::default());
    let now = START.plus(11);
    let mut calls = Vec::new();
    loop {
        let mut effects = Effects::default();
        let got = queue.get(false, now, |_| true, &mut effects);
        calls.push(effects.dead.iter().map(|letter| letter.reason).collect());
        if !matches!(got, Got::Later) {
            assert!(matches!(got, Got::Empty), "{got:?}");
            break;
        }
        let mut effects = Effects::default();
        assert!(
            queue.due_next().is_some_and(|due| due <= now),
            "the timer is asked for"
        );
        queue.tick(now, &mut effects);
        assert!(effects.get_again, "it is told to ask again");
        calls.push(effects.dead.iter().map(|letter| letter.reason).collect());
    }
    assert!(calls.len() > 1);
    check(&calls, DeathReason::Expired, MESSAGES);
}

#[test]
fn many_deliveries_are_late_in_turns() {
    let settings = QueueSettings {
        consumer_timeout: Some(10),
        delivery_limit: Some(0),
        ..plain_settings()
    };
    let mut queue = queue(settings);
    let mut effects = Effects::default();
    let slots: Vec<_> = (0..4)
        .map(|_| queue.add_consumer(ConsumerOptions::default()))
        .collect();
    fill(&mut queue, &mut effects);
    assert_eq!((slots.len(), queue.unacked_count()), (4, MESSAGES));
    let calls = deaths(&mut queue, START.plus(10));
    check(&calls, DeathReason::DeliveryLimit, MESSAGES);
}

#[test]
fn many_rests_end_in_turns() {
    let settings = QueueSettings {
        message_ttl: Some(20),
        delayed_retry: Some(DelayedRetry::new(RetryKind::All, Some(60), None)),
        ..plain_settings()
    };
    let mut queue = queue(settings);
    let mut effects = Effects::default();
    for _ in 0..4 {
        queue.add_consumer(ConsumerOptions::default());
    }
    fill(&mut queue, &mut effects);
    for delivery in std::mem::take(&mut effects.deliveries) {
        queue.settle(delivery.handle, Settlement::Requeue, START, &mut effects);
    }
    assert_eq!(queue.resting_count(), MESSAGES);
    let calls = deaths(&mut queue, START.plus(20));
    check(&calls, DeathReason::Expired, MESSAGES);
}

#[test]
fn a_consumer_is_served_though_something_expires_all_the_time() {
    let mut queue = with_window(4, plain_settings());
    let mut effects = Effects::default();
    let properties = |millis: u64| {
        let text = millis.to_string();
        let len = u8::try_from(text.len()).expect("short");
        [&[1, 0, len][..], text.as_bytes()].concat()
    };
    // The last ones expire first, one every ten milliseconds, and all are in the store but for the first four.
    let messages: Vec<_> = (0..100)
        .map(|number| Message::new(b"", b"q", &properties(10 * (100 - number)), b"body"))
        .collect();
    for message in &messages {
        assert!(queue.publish(message.clone(), START, &mut effects));
    }
    queue.dispatch(START, &mut effects);
    let mut now = START.plus(10);
    queue.tick(now, &mut effects);
    let own = ConsumerOptions {
        no_ack: true,
        ..ConsumerOptions::default()
    };
    queue.add_consumer(own);
    queue.dispatch(now, &mut effects);
    let mut reads = Vec::new();
    while reads.len() < 20 {
        let load = effects.loads.pop().expect("there is more to read");
        let places = load.from.0..load.to.0.min(100);
        let from = usize::try_from(load.from.0).expect("there are few");
        let entries = places.clone().zip(&messages[from..]);
        let entries = entries.map(|(position, message)| PageEntry {
            position: Position(position),
            message: message.clone(),
            delivery_count: 0,
            redelivered: false,
            expires_at: Some(START.plus(message.expiration().expect("each has one"))),
            rests_until: None,
            is_persistent: false,
        });
        let is_wanted = |entry: &PageEntry| load.expired_at.is_none_or(|at| entry.expires_at == Some(at));
        let entries: Vec<_> = entries.filter(is_wanted).take(load.messages_max).collect();
        let next = match load.expired_at {
            Some(_) => load.to,
            None => Position(entries.last().map_or(load.to.0, |last| last.position.0 + 1)),
        };
        reads.push(load.expired_at.is_some());
        now = now.plus(10);
        queue.page_loaded(
            0,
            (entries, next),
            load.expired_at.map(|at| at.plus(10)),
            now,
            &mut effects,
        );
    }
    assert!(reads.contains(&true) && reads.contains(&false), "{reads:?}");
    assert!(
        effects.deliveries.len() > 10,
        "{} deliveries",
        effects.deliveries.len()
    );
}
