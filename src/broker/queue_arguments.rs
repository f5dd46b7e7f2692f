//! Queue arguments: what they may hold, and which are compared when a queue is declared again. Which type of queue
//! knows which argument is said in `queue_type`.

use std::borrow::Cow;
use std::sync::Arc;

use amq_protocol::types::{AMQPValue, FieldTable};

use crate::amqp::field_table::type_name;

use super::queue::consumers::Activation;
use super::queue_type::{QueueType, TypeRefusal};
use super::refusal::{Entity, Refusal, integer};

/// Ten years, RabbitMQ's bound for times in milliseconds.
pub(super) const MILLISECONDS_MAX: i64 = 315_360_000_000;

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
}

/// An integer that is not negative.
const COUNT: Rule = Rule::Integer {
    min: 0,
    max: i64::MAX,
};

/// A time in milliseconds, 0 allowed.
const MILLISECONDS: Rule = Rule::Integer {
    min: 0,
    max: MILLISECONDS_MAX,
};

const RULES: &[(&str, Rule)] = &[
    (
        "x-expires",
        Rule::Integer {
            min: 1,
            max: MILLISECONDS_MAX,
        },
    ),
    ("x-message-ttl", MILLISECONDS),
    ("x-dead-letter-exchange", Rule::Exchange),
    ("x-dead-letter-routing-key", Rule::DeadLetterRoutingKey),
    (
        "x-dead-letter-strategy",
        Rule::OneOf {
            values: &["at-most-once", "at-least-once"],
            reason: "invalid_dlx_strategy",
        },
    ),
    ("x-max-length", COUNT),
    ("x-max-length-bytes", COUNT),
    ("x-max-in-memory-length", COUNT),
    ("x-max-in-memory-bytes", COUNT),
    ("x-max-priority", Rule::Integer { min: 0, max: 255 }),
    (
        "x-overflow",
        Rule::OneOf {
            values: &["drop-head", "reject-publish", "reject-publish-dlx"],
            reason: "invalid_overflow",
        },
    ),
    ("x-queue-mode", Rule::Any),
    ("x-queue-version", Rule::Integer { min: 1, max: 2 }),
    ("x-queue-master-locator", Rule::Any),
    ("x-single-active-consumer", Rule::Boolean),
    (
        "x-quorum-initial-group-size",
        Rule::Integer {
            min: 1,
            max: i64::MAX,
        },
    ),
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
    (
        "x-delivery-limit",
        Rule::Integer {
            min: i64::MIN,
            max: i64::MAX,
        },
    ),
    (
        "x-delayed-retry-type",
        Rule::OneOf {
            values: &["disabled", "all", "failed", "returned"],
            reason: "invalid_delayed_retry_type",
        },
    ),
    ("x-delayed-retry-min", MILLISECONDS),
    ("x-delayed-retry-max", MILLISECONDS),
    ("x-consumer-timeout", MILLISECONDS),
    ("x-consumer-disconnected-timeout", MILLISECONDS),
];

/// Arguments that a redeclaration must agree on, in RabbitMQ's order as far as it has them.
pub const COMPARED: [&str; 23] = [
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-in-memory-length",
    "x-max-in-memory-bytes",
    "x-max-priority",
    "x-overflow",
    "x-queue-mode",
    "x-queue-version",
    "x-single-active-consumer",
    QUEUE_TYPE,
    "x-quorum-initial-group-size",
    "x-queue-leader-locator",
    "x-delivery-limit",
    "x-delayed-retry-type",
    "x-delayed-retry-min",
    "x-delayed-retry-max",
    "x-consumer-timeout",
    "x-consumer-disconnected-timeout",
];

const QUEUE_TYPE: &str = "x-queue-type";

/// Arguments that choose between replicas, places and ways of storing, of which there is one here. `x-ha-policy` and
/// its like are not even checked.
const CHOOSING_NOTHING: [&str; 11] = [
    "x-queue-mode",
    "x-queue-version",
    "x-queue-leader-locator",
    "x-queue-master-locator",
    "x-quorum-initial-group-size",
    "x-max-in-memory-length",
    "x-max-in-memory-bytes",
    "x-consumer-disconnected-timeout",
    "x-ha-policy",
    "x-ha-nodes",
    "x-ha-policy-params",
];

/// The arguments given that make no difference on one node with one store.
pub fn choosing_nothing(arguments: &FieldTable) -> impl Iterator<Item = &'static str> {
    CHOOSING_NOTHING
        .into_iter()
        .filter(|argument| arguments.contains_key(argument))
}

/// An argument's value for the comparison. Every queue has a type, whether it was declared with one or not.
pub fn compared<'a>(
    arguments: &'a FieldTable,
    argument: &str,
    queue_type: QueueType,
) -> Option<Cow<'a, AMQPValue>> {
    match arguments.inner().get(argument) {
        None if argument == QUEUE_TYPE => {
            let name = AMQPValue::LongString(queue_type.name().into());
            Some(Cow::Owned(name))
        }
        value => value.map(Cow::Borrowed),
    }
}

/// The type that a declaration asks for, `default` if it names none.
///
/// # Errors
/// When there are no queues of that type.
pub fn queue_type(
    queue: &Arc<str>,
    arguments: &FieldTable,
    default: QueueType,
) -> Result<QueueType, Refusal> {
    let Some(value) = arguments.inner().get(QUEUE_TYPE) else {
        return Ok(default);
    };
    let name = string(value).ok_or_else(|| invalid(queue, QUEUE_TYPE, unacceptable(value)))?;
    QueueType::from_name(&name).ok_or_else(|| {
        let reason = match name.as_str() {
            "stream" => "\"this broker has no streams yet\"".to_owned(),
            _ => format!("\"unsupported queue type '{name}'\""),
        };
        invalid(queue, QUEUE_TYPE, reason)
    })
}

/// Notes the type in arguments that do not name it, so that it is still known after a restart.
pub fn note_type(arguments: &mut FieldTable, queue_type: QueueType) {
    if queue_type != QueueType::default() && !arguments.contains_key(QUEUE_TYPE) {
        let name = AMQPValue::LongString(queue_type.name().into());
        arguments.insert(QUEUE_TYPE.into(), name);
    }
}

/// Which consumers of a queue with these arguments are active.
pub fn activation(arguments: &FieldTable, queue_type: QueueType) -> Activation {
    let is_single = arguments.inner().get("x-single-active-consumer") == Some(&AMQPValue::Boolean(true));
    match queue_type {
        _ if !is_single => Activation::All,
        QueueType::Classic => Activation::Single,
        QueueType::Quorum => Activation::SingleByPriority,
    }
}

/// The highest priority that its messages may have; 0 if all are equal. `x-max-priority: 0` means two levels, as in
/// RabbitMQ.
pub fn max_priority(arguments: &FieldTable) -> u8 {
    let asked = arguments.inner().get("x-max-priority").and_then(integer);
    asked.map_or(0, |max| u8::try_from(max.max(1)).unwrap_or(u8::MAX))
}

/// Checks the arguments of a queue to be created; its type was found by [`queue_type`].
///
/// # Errors
/// The first argument that is not acceptable, with RabbitMQ's reason.
pub fn validate(queue: &Arc<str>, arguments: &FieldTable, queue_type: QueueType) -> Result<(), Refusal> {
    for (argument, rule) in RULES {
        if let Some(value) = arguments.inner().get(*argument) {
            check(queue, argument, *rule, value, arguments)?;
        }
    }
    let mut foreign = queue_type.foreign_arguments();
    match foreign.find(|argument| arguments.contains_key(argument)) {
        None => Ok(()),
        Some(argument) => Err(queue_type.refuses(queue, TypeRefusal::Argument(argument))),
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
        Rule::Integer { min, max } => check_integer(queue, argument, value, (min, max)).map(drop),
        Rule::OneOf { values, reason } => match string(value) {
            Some(given) if values.contains(&given.as_str()) => Ok(()),
            Some(_) => Err(invalid(queue, argument, reason.to_owned())),
            None => Err(invalid(queue, argument, unacceptable(value))),
        },
        Rule::Exchange => match value {
            AMQPValue::LongString(_) => check_length(queue, argument, value),
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
        Rule::DeadLetterRoutingKey => check_length(queue, argument, value),
        Rule::Any => Ok(()),
        Rule::Boolean => match value {
            AMQPValue::Boolean(_) => Ok(()),
            other => Err(invalid(queue, argument, unacceptable(other))),
        },
    }
}

/// A name or key that a delivery has to carry. RabbitMQ takes longer ones, and fails when it uses them.
fn check_length(queue: &Arc<str>, argument: &str, value: &AMQPValue) -> Result<(), Refusal> {
    match value {
        AMQPValue::LongString(text) if text.as_bytes().len() > 255 => {
            let reason = "\"expected at most 255 bytes\"";
            Err(invalid(queue, argument, reason.to_owned()))
        }
        _ => Ok(()),
    }
}

/// An integer in this range, with RabbitMQ's reason if it is none.
pub(super) fn check_integer(
    queue: &Arc<str>,
    argument: &str,
    value: &AMQPValue,
    (min, max): (i64, i64),
) -> Result<i64, Refusal> {
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
    let reason = if given < min.min(0) {
        format!("{{value_negative,{given}}}")
    } else if given < min {
        format!("{{value_zero,{given}}}")
    } else if given > max && argument == "x-max-priority" {
        format!("{{max_value_exceeded,{given}}}")
    } else if given > max {
        format!("{{value_too_large,{given}}}")
    } else {
        return Ok(given);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_hears_of_arguments_that_make_no_difference() {
        let names = "x-queue-mode x-queue-version x-queue-leader-locator x-queue-master-locator \
                     x-quorum-initial-group-size x-max-in-memory-length x-max-in-memory-bytes \
                     x-consumer-disconnected-timeout x-ha-policy x-ha-nodes x-ha-policy-params";
        let mut arguments = FieldTable::default();
        for argument in names.split(' ').chain(["x-max-length", "x-unknown"]) {
            arguments.insert(argument.into(), AMQPValue::LongInt(1));
        }
        let told: Vec<_> = choosing_nothing(&arguments).collect();
        assert!(names.split(' ').eq(told.iter().copied()), "{told:?}");
    }

    #[test]
    fn a_type_that_was_chosen_for_the_client_is_noted() {
        let queue: Arc<str> = "q".into();
        for (queue_type, noted) in [(QueueType::Classic, false), (QueueType::Quorum, true)] {
            let mut arguments = FieldTable::default();
            note_type(&mut arguments, queue_type);
            assert_eq!(arguments.contains_key(QUEUE_TYPE), noted);
            assert_eq!(
                super::queue_type(&queue, &arguments, QueueType::Classic),
                Ok(queue_type)
            );
        }
    }
}
