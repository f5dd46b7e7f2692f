//! Random histories of a queue with a tiny window, so that it pages all the time, against the slow obvious model.

mod blocks;
mod disk;
mod economy;
mod history;
mod lead;
mod model;
mod regressions;
mod turns;

use proptest::prelude::*;

use super::consumers::{Activation, ConsumerSlot};
use super::effects::DeliveryHandle;
use super::level::{LevelId, Window};
use super::settings::{DeadLetterTarget, DelayedRetry, Overflow, QueueSettings, RetryKind};
use super::{Origin, Queue, QueueOptions, Settlement};
use crate::clock::Timestamp;
use crate::store::Position;

use model::OFFER_INTERVAL;

use history::{Burying, Content, History, Step};

fn settlements() -> impl Strategy<Value = Settlement> {
    prop_oneof![
        4 => Just(Settlement::Ack),
        2 => Just(Settlement::Requeue),
        1 => Just(Settlement::Reject),
        1 => Just(Settlement::Lost),
        1 => Just(Settlement::Return),
        1 => Just(Settlement::Discard),
    ]
}

/// Something with this probability.
fn maybe<T: Clone + std::fmt::Debug>(
    probability: f64,
    values: impl Strategy<Value = T>,
) -> impl Strategy<Value = Option<T>> {
    (0.0..1.0, values).prop_map(move |(chance, value)| (chance >= 1.0 - probability).then_some(value))
}

fn contents(with_traits: bool) -> impl Strategy<Value = Content> {
    let plain = (any::<bool>(), prop_oneof![30 => 0..60usize, 1 => Just(400 << 10)]);
    let traits = (maybe(0.5, 0..12u8), maybe(0.4, prop_oneof![Just(0), 0..60u64]));
    (plain, traits).prop_map(move |((persistent, padding), (priority, expiration))| Content {
        persistent,
        padding,
        priority: priority.filter(|_| with_traits),
        expiration: expiration.filter(|_| with_traits),
    })
}

/// What every queue sees.
fn plain_steps(with_traits: bool) -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec(contents(with_traits), 1..6).prop_map(Step::Publish),
        4 => prop::bool::weighted(0.3).prop_map(|no_ack| Step::Get { no_ack }),
        8 => (any::<usize>(), 1..4usize, settlements())
            .prop_map(|(which, count, settlement)| Step::Settle { which, count, settlement }),
        2 => (-1..2i64, prop::bool::weighted(0.2), 0..4u16, prop::bool::weighted(0.3)).prop_flat_map(
            move |(priority, no_ack, prefetch, is_limited)| {
                let timeout_ms = maybe(if with_traits { 0.3 } else { 0.0 }, 0..40u64);
                timeout_ms.prop_map(move |timeout_ms| Step::AddConsumer {
                    priority,
                    no_ack,
                    prefetch,
                    is_limited,
                    timeout_ms,
                })
            },
        ),
        2 => (any::<usize>(), any::<bool>())
            .prop_map(|(which, gives_back)| Step::RemoveConsumer { which, gives_back }),
        3 => (any::<usize>(), 1..5usize).prop_map(|(which, count)| Step::Written { which, count }),
        1 => (0..4u16).prop_map(|limit| Step::SetLimit { limit }),
        1 => Just(Step::Purge),
        2 => prop_oneof![Just(usize::MAX), 0..4096usize].prop_map(|bytes| Step::Narrow { bytes }),
        10 => (1..8usize).prop_map(|count| Step::Write { count }),
        6 => (1..6usize, 1..9usize).prop_map(|(messages, looks)| Step::Answer { messages, looks }),
        1 => (1..5usize).prop_map(|in_stretch| Step::Crash { in_stretch }),
    ]
}

/// What a queue sees whose settings concern time, and may change.
fn steps(each: f64) -> impl Strategy<Value = Step> {
    prop_oneof![
        48 => plain_steps(true),
        10 => (0..25u64, prop::bool::weighted(0.7)).prop_map(|(ms, punctual)| Step::Advance { ms, punctual }),
        4 => Just(Step::Tick),
        1 => Just(Step::Touch),
        1 => Just(Step::Advance { ms: OFFER_INTERVAL, punctual: true }),
        1 => settings(each).prop_map(Step::SetSettings),
        2 => prop_oneof![Just(Burying::Taken), Just(Burying::Refused), Just(Burying::Later)].prop_map(Step::Bury),
    ]
}

fn retries() -> impl Strategy<Value = DelayedRetry> {
    let kinds = prop_oneof![
        Just(RetryKind::All),
        Just(RetryKind::Failed),
        Just(RetryKind::Returned)
    ];
    (kinds, 0..20u64, 0..50u64).prop_map(|(kind, min, max)| DelayedRetry { kind, min, max })
}

/// Each setting is there with this probability. Dead letters always go somewhere: else nobody could tell who died.
fn settings(each: f64) -> impl Strategy<Value = QueueSettings> {
    let overflows = prop_oneof![
        2 => Just(Overflow::DropHead),
        1 => Just(Overflow::RejectPublish),
        1 => Just(Overflow::RejectPublishDlx)
    ];
    let lengths = (maybe(each, 0..12u64), maybe(each / 2.0, 0..400u64), overflows);
    let times = (
        maybe(each, prop_oneof![Just(0), 1..80u64]),
        maybe(each / 3.0, 30..200u64),
        maybe(each, 0..60u64),
    );
    let returns = (
        maybe(each, 0..4u32),
        maybe(each, retries()),
        prop::bool::weighted(0.25),
    );
    (lengths, times, returns).prop_map(
        |(
            (max_length, max_length_bytes, overflow),
            (message_ttl, expires, consumer_timeout),
            (delivery_limit, delayed_retry, at_least_once),
        )| QueueSettings {
            message_ttl,
            expires,
            max_length,
            max_length_bytes,
            overflow,
            dead_letter: Some(DeadLetterTarget {
                at_least_once,
                ..dead_letters()
            }),
            delivery_limit,
            consumer_timeout,
            delayed_retry,
        },
    )
}

fn dead_letters() -> DeadLetterTarget {
    DeadLetterTarget {
        exchange: "dlx".into(),
        routing_key: None,
        at_least_once: false,
    }
}

fn plain_settings() -> QueueSettings {
    QueueSettings {
        dead_letter: Some(dead_letters()),
        ..QueueSettings::default()
    }
}

/// A transient queue that is new.
fn empty_queue(window: Window, settings: QueueSettings, now: Timestamp) -> Queue {
    let options = QueueOptions {
        durable: false,
        is_quorum: false,
        auto_delete: false,
        activation: Activation::All,
        max_priority: 0,
        window,
    };
    let origin = Origin {
        levels: Vec::new(),
        next: Position(0),
        seen_before: Position(0),
    };
    Queue::new(options, settings, origin, now)
}

/// A queue without any argument.
fn plain_options() -> impl Strategy<Value = QueueOptions> {
    (any::<bool>(), any::<bool>(), 1..8usize).prop_map(|(durable, auto_delete, messages)| QueueOptions {
        durable,
        is_quorum: false,
        auto_delete,
        activation: Activation::All,
        max_priority: 0,
        window: Window {
            messages,
            bytes: 1 << 20,
        },
    })
}

fn options(activations: impl Strategy<Value = Activation>) -> impl Strategy<Value = QueueOptions> {
    let priorities = prop_oneof![2 => Just(0u8), 1 => Just(1), 1 => Just(3), 1 => Just(9)];
    (
        plain_options(),
        priorities,
        activations,
        prop::bool::weighted(0.3),
    )
        .prop_map(|(options, max_priority, activation, is_quorum)| QueueOptions {
            is_quorum: is_quorum && options.durable,
            activation,
            max_priority,
            window: Window {
                messages: options.window.messages * (usize::from(max_priority) + 1),
                ..options.window
            },
            ..options
        })
}

fn activations() -> impl Strategy<Value = Activation> {
    prop_oneof![
        2 => Just(Activation::All),
        1 => Just(Activation::Single),
        1 => Just(Activation::SingleByPriority)
    ]
}

/// `PROPTEST_CASES` says how many histories of each kind.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    let cases = std::env::var_os("PROPTEST_CASES").map_or(400, |_| default.cases);
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..default
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_plain_queue_does_what_the_model_says(
        options in plain_options(),
        steps in prop::collection::vec(plain_steps(false), 1..120),
    ) {
        History::new(options, plain_settings()).run(&steps);
    }

    #[test]
    fn a_queue_with_any_settings_does_what_the_model_says(
        options in options(activations()),
        settings in settings(0.35),
        steps in prop::collection::vec(steps(0.4), 1..150),
    ) {
        History::new(options, settings).run(&steps);
    }

    #[test]
    fn a_queue_with_all_settings_at_once_does_what_the_model_says(
        options in options(prop_oneof![Just(Activation::Single), Just(Activation::SingleByPriority)]),
        settings in settings(1.0),
        steps in prop::collection::vec(steps(1.0), 1..150),
    ) {
        let options = QueueOptions { durable: true, max_priority: options.max_priority.max(3), ..options };
        History::new(options, settings).run(&steps);
    }
}
