//! The keys that a policy's definition may have: what each holds, which queues it is for, and who wins when an
//! argument, a policy and an operator policy all have one.

use amq_protocol::types::AMQPValue;

use super::super::refusal::integer;
use super::Target;

/// A key of a definition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// As the definition has it.
    pub name: &'static str,
    /// The argument of a queue or exchange that means the same.
    pub argument: Option<&'static str>,
    /// What RabbitMQ calls it in `… is not a valid …`.
    pub noun: &'static str,
    /// An operator policy may have it.
    pub is_for_operators: bool,
    values: Values,
    queues: &'static [Target],
    merge: Merge,
}

/// What a key may hold.
#[derive(Clone, Copy, Debug)]
enum Values {
    Text,
    OneOf(&'static [&'static str]),
    /// An integer from here to there.
    Within(i64, i64),
    /// Digits and a unit: `7D`.
    Age,
    Anything,
}

/// Which of two values is in force: the one closer to the queue or set by the operator is `first`.
#[derive(Clone, Copy, Debug)]
enum Merge {
    First,
    Least,
    /// The least, where a negative one is no limit.
    LeastLimit,
    Most,
}

const CLASSIC: &[Target] = &[Target::ClassicQueue];
const QUORUM: &[Target] = &[Target::QuorumQueue];
const STREAM: &[Target] = &[Target::Stream];
const NOT_STREAM: &[Target] = &[Target::ClassicQueue, Target::QuorumQueue];
const ALL: &[Target] = &[Target::ClassicQueue, Target::QuorumQueue, Target::Stream];

const COUNT: Values = Values::Within(0, i64::MAX);
const LOCATORS: Values = Values::OneOf(&[
    "client-local",
    "balanced",
    "random",
    "least-leaders",
    "min-masters",
]);

/// Every key, with those of RabbitMQ's clusters and plugins that do nothing here: they have no argument.
const KEYS: &[Key] = &[
    key("alternate-exchange", "alternate exchange name", Values::Text).sets("alternate-exchange"),
    key("dead-letter-exchange", "dead letter exchange name", Values::Text)
        .sets("x-dead-letter-exchange")
        .on(NOT_STREAM),
    key("dead-letter-routing-key", "dead letter routing key", Values::Text)
        .sets("x-dead-letter-routing-key")
        .on(NOT_STREAM),
    key(
        "dead-letter-strategy",
        "dead letter strategy",
        Values::OneOf(&["at-most-once", "at-least-once"]),
    )
    .sets("x-dead-letter-strategy")
    .on(QUORUM),
    key("message-ttl", "message TTL", COUNT)
        .sets("x-message-ttl")
        .on(NOT_STREAM)
        .operators(Merge::Least),
    key("expires", "queue expiry", Values::Within(1, i64::MAX))
        .sets("x-expires")
        .on(NOT_STREAM)
        .operators(Merge::Least),
    key("max-length", "maximum length", COUNT)
        .sets("x-max-length")
        .on(NOT_STREAM)
        .operators(Merge::Least),
    key("max-length-bytes", "maximum length in bytes", COUNT)
        .sets("x-max-length-bytes")
        .operators(Merge::Least),
    key(
        "overflow",
        "overflow value",
        Values::OneOf(&["drop-head", "reject-publish", "reject-publish-dlx"]),
    )
    .sets("x-overflow")
    .on(NOT_STREAM)
    .operators(Merge::First),
    key(
        "delivery-limit",
        "delivery limit",
        Values::Within(i64::MIN, i64::MAX),
    )
    .sets("x-delivery-limit")
    .on(NOT_STREAM)
    .operators(Merge::LeastLimit),
    key("consumer-timeout", "consumer timeout", COUNT)
        .sets("x-consumer-timeout")
        .merged(Merge::Least),
    key(
        "delayed-retry-type",
        "delayed retry type",
        Values::OneOf(&["disabled", "all", "failed", "returned"]),
    )
    .sets("x-delayed-retry-type")
    .on(NOT_STREAM)
    .operators(Merge::First),
    key("delayed-retry-min", "delayed retry minimum", COUNT)
        .sets("x-delayed-retry-min")
        .on(NOT_STREAM)
        .operators(Merge::First),
    key("delayed-retry-max", "delayed retry maximum", COUNT)
        .sets("x-delayed-retry-max")
        .on(NOT_STREAM)
        .operators(Merge::First),
    key("max-age", "max age", Values::Age)
        .sets("x-max-age")
        .on(STREAM),
    key("stream-max-segment-size-bytes", "segment size", COUNT)
        .sets("x-stream-max-segment-size-bytes")
        .on(STREAM),
    key("stream-filter-size-bytes", "filter size", Values::Within(16, 255))
        .sets("x-stream-filter-size-bytes")
        .on(STREAM),
    key(
        "consumer-disconnected-timeout",
        "consumer disconnected timeout",
        COUNT,
    )
    .on(QUORUM),
    key("max-in-memory-length", "maximum memory in bytes", COUNT)
        .on(QUORUM)
        .operators(Merge::Least),
    key("max-in-memory-bytes", "maximum memory in bytes", COUNT)
        .on(QUORUM)
        .operators(Merge::Least),
    key(
        "target-group-size",
        "target group size",
        Values::Within(1, i64::MAX),
    )
    .on(QUORUM)
    .operators(Merge::Most),
    key("initial-cluster-size", "cluster size", COUNT).on(STREAM),
    key("queue-mode", "queue-mode value", Values::Anything).on(CLASSIC),
    key("queue-version", "queue version", Values::Within(1, 2))
        .on(CLASSIC)
        .operators(Merge::First),
    key("queue-leader-locator", "queue leader locator value", LOCATORS),
    key("queue-master-locator", "queue master locator", LOCATORS).on(CLASSIC),
    key("ha-mode", "ha-mode", Values::Anything).on(CLASSIC),
    key("ha-params", "ha-params", Values::Anything).on(CLASSIC),
    key("ha-sync-mode", "ha-sync-mode", Values::Anything).on(CLASSIC),
    key("ha-sync-batch-size", "ha-sync-batch-size", Values::Anything).on(CLASSIC),
    key(
        "ha-promote-on-shutdown",
        "ha-promote-on-shutdown",
        Values::Anything,
    )
    .on(CLASSIC),
    key("ha-promote-on-failure", "ha-promote-on-failure", Values::Anything).on(CLASSIC),
    key("federation-upstream", "federation upstream", Values::Text),
    key("federation-upstream-set", "federation upstream set", Values::Text),
    key(
        "federation-upstream-pattern",
        "federation upstream pattern",
        Values::Text,
    ),
    key("shards-per-node", "number of shards", COUNT),
    key("routing-key", "routing key", Values::Text),
];

impl Key {
    pub(super) fn of(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// Whether the key may hold the value.
    pub(super) fn accepts(&self, value: &AMQPValue) -> bool {
        match (self.values, value) {
            (Values::Anything, _) | (Values::Text, AMQPValue::LongString(_)) => true,
            (Values::OneOf(texts), AMQPValue::LongString(given)) => {
                texts.iter().any(|text| text.as_bytes() == given.as_bytes())
            }
            (Values::Age, AMQPValue::LongString(given)) => is_age(given.as_bytes()),
            (Values::Within(min, max), value) => {
                integer(value).is_some_and(|given| (min..=max).contains(&given))
            }
            _ => false,
        }
    }

    /// Whether it means something to such a queue. An exchange is not asked: it takes what concerns it.
    pub(super) fn suits(&self, target: Target) -> bool {
        target == Target::Exchange || self.queues.contains(&target)
    }

    /// What is in force when `first`, an argument or an operator's value, meets `second` of a policy.
    pub(super) fn merge<'v>(&self, first: &'v AMQPValue, second: &'v AMQPValue) -> &'v AMQPValue {
        let (Some(left), Some(right)) = (integer(first), integer(second)) else {
            return first;
        };
        let is_first = match self.merge {
            Merge::First => true,
            Merge::LeastLimit if left < 0 || right < 0 => left >= right,
            Merge::Least | Merge::LeastLimit => left <= right,
            Merge::Most => left >= right,
        };
        if is_first { first } else { second }
    }

    const fn sets(mut self, argument: &'static str) -> Self {
        self.argument = Some(argument);
        self
    }

    const fn on(mut self, queues: &'static [Target]) -> Self {
        self.queues = queues;
        self
    }

    const fn merged(mut self, merge: Merge) -> Self {
        self.merge = merge;
        self
    }

    const fn operators(mut self, merge: Merge) -> Self {
        self.is_for_operators = true;
        self.merged(merge)
    }
}

const fn key(name: &'static str, noun: &'static str, values: Values) -> Key {
    Key {
        name,
        argument: None,
        noun,
        is_for_operators: false,
        values,
        queues: ALL,
        merge: Merge::First,
    }
}

/// Digits and one of the units that a stream's `max-age` has.
fn is_age(text: &[u8]) -> bool {
    let Some((unit, digits)) = text.split_last() else {
        return false;
    };
    b"YMDhms".contains(unit)
        && digits.iter().all(u8::is_ascii_digit)
        && digits.iter().any(|digit| *digit != b'0')
}
