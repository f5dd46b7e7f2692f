//! Histories that once went wrong.

use super::history::{Content, History, Step};
use super::*;
use crate::broker::queue::effects::{Effects, Unread};
use crate::broker::queue::stretches::Stretches;
use crate::broker::queue::{Origin, Queue};
use crate::clock::Timestamp;
use crate::message::Message;
use crate::store::{PageEntry, Position};

fn options(durable: bool, activation: Activation) -> QueueOptions {
    QueueOptions {
        durable,
        is_quorum: false,
        auto_delete: false,
        activation,
        max_priority: 0,
        window: Window {
            messages: 4,
            bytes: 1 << 20,
        },
    }
}

fn publish(count: usize, expiration: Option<u64>) -> Step {
    let content = Content {
        persistent: true,
        padding: 0,
        priority: None,
        expiration,
    };
    Step::Publish(vec![content; count])
}

fn consumer(prefetch: u16, timeout_ms: Option<u64>) -> Step {
    Step::AddConsumer {
        priority: 0,
        no_ack: false,
        prefetch,
        is_limited: false,
        timeout_ms,
    }
}

fn settle(count: usize, settlement: Settlement) -> Step {
    Step::Settle {
        which: 0,
        count,
        settlement,
    }
}

fn advance(ms: u64) -> Step {
    Step::Advance { ms, punctual: true }
}

/// The disk catches up.
const DISK: [Step; 2] = [
    Step::Write { count: usize::MAX },
    Step::Answer {
        messages: usize::MAX,
        looks: usize::MAX,
    },
];

#[test]
fn a_queue_that_refuses_drops_nothing_that_it_took() {
    let settings = QueueSettings {
        max_length: Some(2),
        overflow: Overflow::RejectPublish,
        ..plain_settings()
    };
    let steps = [
        publish(2, None),
        Step::Get { no_ack: false },
        publish(1, None),
        settle(1, Settlement::Requeue),
    ];
    History::new(options(false, Activation::All), settings).run(&steps);
}

#[test]
fn a_batch_goes_to_consumers_before_the_queue_is_full() {
    let settings = QueueSettings {
        max_length: Some(1),
        overflow: Overflow::RejectPublish,
        ..plain_settings()
    };
    let steps = [consumer(0, None), publish(5, None)];
    History::new(options(false, Activation::All), settings).run(&steps);
}

#[test]
fn a_get_lets_nothing_expire_that_a_consumer_waits_for() {
    let [write, answer] = DISK;
    let steps = [
        consumer(0, None),
        publish(1, Some(0)),
        Step::Get { no_ack: false },
        write,
        answer,
    ];
    History::new(options(true, Activation::All), plain_settings()).run(&steps);
}

#[test]
fn what_expires_while_it_rests_is_not_delivered_once_more() {
    let settings = QueueSettings {
        delayed_retry: Some(DelayedRetry::new(RetryKind::All, Some(30), None)),
        ..plain_settings()
    };
    let steps = [
        consumer(0, None),
        publish(1, Some(20)),
        settle(1, Settlement::Requeue),
        advance(20),
    ];
    History::new(options(false, Activation::All), settings).run(&steps);
}

#[test]
fn a_rest_of_no_time_is_none() {
    let settings = QueueSettings {
        delayed_retry: Some(DelayedRetry::new(RetryKind::All, Some(0), None)),
        ..plain_settings()
    };
    let steps = [
        consumer(0, None),
        publish(1, Some(0)),
        settle(1, Settlement::Requeue),
    ];
    History::new(options(false, Activation::All), settings).run(&steps);
}

#[test]
fn a_consumer_that_is_gone_is_not_cancelled_once_more() {
    let settings = QueueSettings {
        consumer_timeout: Some(10),
        ..plain_settings()
    };
    let steps = [
        consumer(1, None),
        publish(2, None),
        advance(5),
        // The second delivery is late five milliseconds after the first.
        Step::RemoveConsumer {
            which: 0,
            gives_back: false,
        },
        consumer(1, None),
        advance(20),
    ];
    History::new(options(false, Activation::Single), settings).run(&steps);
}

#[test]
fn a_delivery_is_late_from_when_it_was_made() {
    let [write, answer] = DISK;
    let steps = [
        consumer(0, Some(15)),
        publish(1, None),
        advance(10),
        write,
        answer,
        advance(10),
    ];
    History::new(options(true, Activation::All), plain_settings()).run(&steps);
}

#[test]
fn a_batch_goes_to_consumers_before_the_window_is_full() {
    let mut history = History::new(options(false, Activation::All), plain_settings());
    history.take(&[consumer(0, None), publish(20, Some(0))]);
    assert_eq!(history.held(), 20);
}

#[test]
fn a_dead_letter_that_nobody_took_is_not_read_from_the_store_again() {
    let settings = QueueSettings {
        dead_letter: Some(DeadLetterTarget {
            at_least_once: true,
            ..dead_letters()
        }),
        ..plain_settings()
    };
    let [write, answer] = DISK;
    let steps = [
        Step::Bury(Burying::Refused),
        publish(4, None),
        publish(1, Some(5)),
        publish(1, None),
        advance(5),
        write,
        answer,
    ];
    History::new(options(true, Activation::All), settings).run(&steps);
}

#[test]
fn a_dead_letter_that_is_taken_while_a_page_is_read_does_not_come_back_with_it() {
    let settings = QueueSettings {
        dead_letter: Some(DeadLetterTarget {
            at_least_once: true,
            ..dead_letters()
        }),
        ..plain_settings()
    };
    let [write, answer] = DISK;
    let steps = [
        Step::Bury(Burying::Later),
        publish(4, None),
        publish(1, Some(5)),
        publish(1, None),
        advance(5),
        write.clone(),
        // The fifth has expired, and nobody has taken it yet.
        answer.clone(),
        consumer(0, None),
        write.clone(),
        // The hand-out opens, four messages go out, and the next page is asked for.
        answer.clone(),
        write,
        Step::Bury(Burying::Taken),
        answer,
    ];
    History::new(options(true, Activation::All), settings).run(&steps);
}

#[test]
fn a_rejected_message_that_nobody_takes_is_flagged_after_a_crash() {
    let settings = QueueSettings {
        dead_letter: Some(DeadLetterTarget {
            at_least_once: true,
            ..dead_letters()
        }),
        ..plain_settings()
    };
    let [write, answer] = DISK;
    let steps = [
        Step::Bury(Burying::Refused),
        consumer(0, None),
        publish(1, None),
        write.clone(),
        answer,
        settle(1, Settlement::Discard),
        Step::RemoveConsumer {
            which: 0,
            gives_back: false,
        },
        write,
        Step::Crash { in_stretch: 1 },
    ];
    History::new(options(true, Activation::All), settings).run(&steps);
}

#[test]
fn nobody_rests_for_hours_because_the_clock_was_set_back() {
    let settings = QueueSettings {
        delayed_retry: Some(DelayedRetry::new(RetryKind::All, Some(30), Some(50))),
        ..plain_settings()
    };
    let at = Timestamp::from_millis;
    let message = Message::new(b"", b"q", &[0, 0], b"");
    let unread = Unread {
        messages: 1,
        persistent: 1,
        to: Position(1),
        ..Unread::default()
    };
    let origin = Origin {
        levels: vec![(0, unread, Stretches::default())],
        next: Position(1),
        seen_before: Position(0),
    };
    let mut effects = Effects::default();
    let mut queue = Queue::new(options(false, Activation::All), settings, origin, at(1_000));
    queue.get(false, at(1_000), |_| true, &mut effects);
    let entry = PageEntry {
        position: Position(0),
        message,
        delivery_count: 1,
        redelivered: true,
        expires_at: None,
        rests_until: Some(at(3_600_000)),
        is_persistent: true,
    };
    queue.page_loaded(0, (vec![entry], Position(1)), None, at(1_000), &mut effects);
    assert_eq!(queue.due_next(), Some(at(1_050)));
}
