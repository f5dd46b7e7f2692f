//! Queue arguments: which are known, what they may hold, and which are compared when a queue is declared again.

use std::sync::Arc;

use amq_protocol::types::{AMQPValue, FieldTable};

use crate::amqp::field_table::type_name;

use super::refusal::{Entity, Refusal, integer};

/// Ten years, RabbitMQ's bound for times in milliseconds.
const MILLISECONDS_MAX: i64 = 315_360_000_000;

/// What an argument may hold.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// An integer in this range.
    Integer { min: i64, max: i64 },
    /// One of these strings; else this reason.
    OneOf {
        values: &'static [&'static str],
        reason: &'static str,
    },
    /// A string that names an exchange.
    Exchange,
    /// A string, only beside `x-dead-letter-exchange`.
    DeadLetterRoutingKey,
    /// A boolean.
    Boolean,
    /// Anything.
    Any,
    /// Not for a classic queue.
    OtherType,
}

const RULES: &[(&str, Rule)] = &[
    (
        "x-message-ttl",
        Rule::Integer {
            min: 0,
            max: MILLISECONDS_MAX,
        },
    ),
    (
        "x-expires",
        Rule::Integer {
            min: 1,
            max: MILLISECONDS_MAX,
        },
    ),
    (
        "x-max-length",
        Rule::Integer {
            min: 0,
            max: i64::MAX,
        },
    ),
    (
        "x-max-length-bytes",
        Rule::Integer {
            min: 0,
            max: i64::MAX,
        },
    ),
    ("x-max-priority", Rule::Integer { min: 0, max: 255 }),
    (
        "x-overflow",
        Rule::OneOf {
            values: &["drop-head", "reject-publish", "reject-publish-dlx"],
            reason: "invalid_overflow",
        },
    ),
    ("x-dead-letter-exchange", Rule::Exchange),
    ("x-dead-letter-routing-key", Rule::DeadLetterRoutingKey),
    ("x-single-active-consumer", Rule::Boolean),
    ("x-queue-mode", Rule::Any),
    ("x-queue-version", Rule::Integer { min: 1, max: 2 }),
    ("x-queue-master-locator", Rule::Any),
    (
        "x-queue-leader-locator",
        Rule::OneOf {
            values: &[
                "client-local",
                "balanced",
                "random",
                "least-leaders",
                "min-masters",
            ],
            reason: "invalid_queue_locator_arg",
        },
    ),
    ("x-dead-letter-strategy", Rule::OtherType),
    ("x-max-in-memory-length", Rule::OtherType),
    ("x-max-in-memory-bytes", Rule::OtherType),
    ("x-quorum-initial-group-size", Rule::OtherType),
    ("x-max-age", Rule::OtherType),
    ("x-stream-max-segment-size-bytes", Rule::OtherType),
    ("x-stream-filter-size-bytes", Rule::OtherType),
    ("x-initial-cluster-size", Rule::OtherType),
];

/// Arguments that a redeclaration must agree on, in RabbitMQ's order.
pub const COMPARED: [&str; 13] = [
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-overflow",
    "x-queue-mode",
    "x-queue-version",
    "x-single-active-consumer",
    "x-queue-type",
    "x-queue-leader-locator",
];

/// Arguments that are checked, kept and compared, and that nothing acts on yet.
const NOT_ACTED_ON: [&str; 9] = [
    "x-message-ttl",
    "x-expires",
    "x-max-length",
    "x-max-length-bytes",
    "x-overflow",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-priority",
    "x-single-active-consumer",
];

/// The arguments given that nothing acts on yet: whoever declares with them should be told.
pub fn not_acted_on(arguments: &FieldTable) -> impl Iterator<Item = &'static str> {
    NOT_ACTED_ON
        .into_iter()
        .filter(|argument| arguments.contains_key(argument))
}

/// An argument's value for the comparison; `x-queue-type: classic` counts as absent.
pub fn compared<'a>(arguments: &'a FieldTable, argument: &str) -> Option<&'a AMQPValue> {
    let value = arguments.inner().get(argument)?;
    if argument == "x-queue-type" && string(value).as_deref() == Some("classic") {
        return None;
    }
    Some(value)
}

/// Checks the arguments of a queue to be created.
///
/// # Errors
/// The first argument that is not acceptable, with RabbitMQ's reason.
pub fn validate(queue: &Arc<str>, arguments: &FieldTable) -> Result<(), Refusal> {
    check_type(queue, arguments)?;
    for (argument, rule) in RULES {
        if let Some(value) = arguments.inner().get(*argument) {
            check(queue, argument, *rule, value, arguments)?;
        }
    }
    Ok(())
}

fn check_type(queue: &Arc<str>, arguments: &FieldTable) -> Result<(), Refusal> {
    let Some(value) = arguments.inner().get("x-queue-type") else {
        return Ok(());
    };
    match string(value).as_deref() {
        Some("classic") => Ok(()),
        Some(kind @ ("quorum" | "stream")) => Err(invalid(
            queue,
            "x-queue-type",
            format!("\"this broker has no queues of type '{kind}' yet\""),
        )),
        Some(other) => Err(invalid(
            queue,
            "x-queue-type",
            format!("\"unsupported queue type '{other}'\""),
        )),
        None => Err(invalid(queue, "x-queue-type", unacceptable(value))),
    }
}

fn check(
    queue: &Arc<str>,
    argument: &'static str,
    rule: Rule,
    value: &AMQPValue,
    arguments: &FieldTable,
) -> Result<(), Refusal> {
    match rule {
        Rule::OtherType => Err(Refusal::ForeignArgument {
            queue: Arc::clone(queue),
            argument,
        }),
        Rule::Integer { min, max } => check_integer(queue, argument, value, min, max),
        Rule::OneOf { values, reason } => match string(value) {
            Some(given) if values.contains(&given.as_str()) => Ok(()),
            Some(_) => Err(invalid(queue, argument, reason.to_owned())),
            None => Err(invalid(queue, argument, unacceptable(value))),
        },
        Rule::Exchange => match value {
            AMQPValue::LongString(_) => Ok(()),
            other => Err(Refusal::ArgumentType {
                entity: Entity::Queue(Arc::clone(queue)),
                argument,
                found: type_name(other),
            }),
        },
        Rule::DeadLetterRoutingKey if string(value).is_none() => {
            Err(invalid(queue, argument, unacceptable(value)))
        }
        Rule::DeadLetterRoutingKey if !arguments.contains_key("x-dead-letter-exchange") => Err(invalid(
            queue,
            argument,
            "routing_key_but_no_dlx_defined".to_owned(),
        )),
        Rule::Any | Rule::DeadLetterRoutingKey => Ok(()),
        Rule::Boolean => match value {
            AMQPValue::Boolean(_) => Ok(()),
            other => Err(invalid(queue, argument, unacceptable(other))),
        },
    }
}

fn check_integer(
    queue: &Arc<str>,
    argument: &str,
    value: &AMQPValue,
    min: i64,
    max: i64,
) -> Result<(), Refusal> {
    let Some(given) = integer(value) else {
        return Err(invalid(
            queue,
            argument,
            format!("\"expected integer, got {}\"", type_name(value)),
        ));
    };
    if argument == "x-queue-version" && !(min..=max).contains(&given) {
        return Err(invalid(
            queue,
            argument,
            format!("\"unsupported queue version '{given}'\""),
        ));
    }
    let reason = if given < 0 {
        format!("{{value_negative,{given}}}")
    } else if given < min {
        format!("{{value_zero,{given}}}")
    } else if given > max && argument == "x-max-priority" {
        format!("{{max_value_exceeded,{given}}}")
    } else if given > max {
        format!("{{value_too_large,{given}}}")
    } else {
        return Ok(());
    };
    Err(invalid(queue, argument, reason))
}

fn invalid(queue: &Arc<str>, argument: &str, reason: String) -> Refusal {
    Refusal::InvalidArgument {
        entity: Entity::Queue(Arc::clone(queue)),
        argument: argument.into(),
        reason,
    }
}

fn unacceptable(value: &AMQPValue) -> String {
    format!("{{unacceptable_type,{}}}", type_name(value))
}

fn string(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        _ => None,
    }
}
