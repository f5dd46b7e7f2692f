//! What a queue's arguments and policies come to: limits, expiry, and what becomes of messages that fail.
//!
//! Unlike [`super::QueueOptions`] these may change while the queue lives.

use std::sync::Arc;

use amq_protocol::types::{AMQPValue, FieldTable};

use crate::broker::queue_type::QueueType;
use crate::broker::refusal::integer;

/// How long a delivery of a quorum queue may stay unacked, ms, as in RabbitMQ.
const QUORUM_CONSUMER_TIMEOUT: u64 = 1_800_000;

/// Returns after which a message of a quorum queue with a dead letter exchange is dead, as in RabbitMQ 4.
const QUORUM_DELIVERY_LIMIT: u32 = 20;

/// What happens to a publish that finds the queue full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// It enters, and the first messages of the lowest priority leave.
    #[default]
    DropHead,
    /// It is refused.
    RejectPublish,
    /// It is refused, and dead-lettered.
    RejectPublishDlx,
}

/// Which returns make a message rest before it is delivered again (`x-delayed-retry-type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryKind {
    /// All.
    All,
    /// Those that count towards the delivery limit.
    Failed,
    /// Those that a consumer asked for with `basic.nack` or `basic.recover`.
    Returned,
}

/// How long a message rests: `min` for each delivery, at most `max`. Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelayedRetry {
    /// Which returns it is for.
    pub kind: RetryKind,
    /// For the first delivery.
    pub min: u64,
    /// At most.
    pub max: u64,
}

/// Where dead letters go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterTarget {
    /// The exchange, which need not exist.
    pub exchange: Arc<str>,
    /// The routing key; `None` keeps that of the message.
    pub routing_key: Option<Arc<str>>,
    /// A message that nobody takes there stays (`x-dead-letter-strategy: at-least-once`).
    pub at_least_once: bool,
}

/// Times are milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueSettings {
    /// How long messages stay.
    pub message_ttl: Option<u64>,
    /// How long the queue stays without being used.
    pub expires: Option<u64>,
    /// Ready messages at most.
    pub max_length: Option<u64>,
    /// Body bytes of ready messages at most.
    pub max_length_bytes: Option<u64>,
    /// What happens beyond the two.
    pub overflow: Overflow,
    /// Where dead letters go; without it they are dropped.
    pub dead_letter: Option<DeadLetterTarget>,
    /// Returns after which a message is dead.
    pub delivery_limit: Option<u32>,
    /// How long a delivery may stay unacked, unless its consumer says otherwise.
    pub consumer_timeout: Option<u64>,
    /// How returned messages rest.
    pub delayed_retry: Option<DelayedRetry>,
}

impl QueueSettings {
    /// What a queue's arguments ask for, and what its type adds. They were checked when it was declared; what does not
    /// fit counts as absent.
    pub fn new(arguments: &FieldTable, queue_type: QueueType) -> Self {
        let mut settings = Self::from_arguments(arguments);
        if queue_type == QueueType::Quorum {
            settings.consumer_timeout.get_or_insert(QUORUM_CONSUMER_TIMEOUT);
            // RabbitMQ has this limit also where nothing takes dead letters, and drops them.
            if settings.dead_letter.is_some() {
                settings.delivery_limit.get_or_insert(QUORUM_DELIVERY_LIMIT);
            }
        }
        settings
    }

    fn from_arguments(arguments: &FieldTable) -> Self {
        let number = |name: &str| {
            let value = integer(arguments.inner().get(name)?)?;
            u64::try_from(value).ok()
        };
        let text = |name: &str| text(arguments, name);
        let dead_letter = text("x-dead-letter-exchange").map(|exchange| DeadLetterTarget {
            exchange: exchange.into(),
            routing_key: text("x-dead-letter-routing-key").map(Into::into),
            at_least_once: text("x-dead-letter-strategy").as_deref() == Some("at-least-once"),
        });
        Self {
            message_ttl: number("x-message-ttl"),
            expires: number("x-expires"),
            max_length: number("x-max-length"),
            max_length_bytes: number("x-max-length-bytes"),
            overflow: text("x-overflow")
                .and_then(|name| Overflow::from_name(&name))
                .unwrap_or_default(),
            dead_letter,
            // A negative limit is none, also where the queue's type has one.
            delivery_limit: arguments
                .inner()
                .get("x-delivery-limit")
                .and_then(integer)
                .map(|limit| u32::try_from(limit).unwrap_or(u32::MAX)),
            consumer_timeout: number("x-consumer-timeout"),
            delayed_retry: text("x-delayed-retry-type")
                .and_then(|name| RetryKind::from_name(&name))
                .map(|kind| {
                    DelayedRetry::new(kind, number("x-delayed-retry-min"), number("x-delayed-retry-max"))
                }),
        }
    }
}

impl Overflow {
    /// The value that the argument or policy key names.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "drop-head" => Some(Self::DropHead),
            "reject-publish" => Some(Self::RejectPublish),
            "reject-publish-dlx" => Some(Self::RejectPublishDlx),
            _ => None,
        }
    }
}

impl RetryKind {
    /// The value that the argument or policy key names; `disabled` is none.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "all" => Some(Self::All),
            "failed" => Some(Self::Failed),
            "returned" => Some(Self::Returned),
            _ => None,
        }
    }
}

impl DelayedRetry {
    /// Without `min` a message rests for a second, without `max` at most for the larger of `min` and a minute.
    pub fn new(kind: RetryKind, min: Option<u64>, max: Option<u64>) -> Self {
        let min = min.unwrap_or(1_000);
        Self {
            kind,
            min,
            max: max.unwrap_or_else(|| min.max(60_000)),
        }
    }

    /// How long a message rests that has come back so many times.
    pub fn rest(&self, delivery_count: u32) -> u64 {
        self.min
            .saturating_mul(u64::from(delivery_count.max(1)))
            .min(self.max)
    }
}

fn text(arguments: &FieldTable, name: &str) -> Option<String> {
    match arguments.inner().get(name)? {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
