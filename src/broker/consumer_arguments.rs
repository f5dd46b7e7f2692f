//! Arguments of `basic.consume`.

use std::sync::Arc;

use amq_protocol::types::FieldTable;

use super::queue_arguments::{MILLISECONDS_MAX, check_integer};
use super::queue_type::{QueueType, TypeRefusal};
use super::refusal::Refusal;

/// Arguments that only consumers of streams have. Any that is named nowhere is ignored, as RabbitMQ does.
const STREAM_ONLY: [&str; 3] = ["x-stream-offset", "x-stream-filter", "x-stream-match-unfiltered"];

/// What a consumer asks for by arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumerArguments {
    /// `x-priority`: higher first.
    pub priority: i64,
    /// `x-consumer-timeout`: how long a delivery may stay unacked, ms; `None` is what the queue says.
    pub timeout_ms: Option<u64>,
}

impl ConsumerArguments {
    /// Reads the arguments of a consumer of a queue of this type.
    ///
    /// # Errors
    /// The first that is not acceptable, with RabbitMQ's reason.
    pub fn parse(queue: &Arc<str>, queue_type: QueueType, arguments: &FieldTable) -> Result<Self, Refusal> {
        let integer = |argument, range| {
            let value = arguments.inner().get(argument);
            value
                .map(|value| check_integer(queue, argument, value, range))
                .transpose()
        };
        let priority = integer("x-priority", (i64::MIN, i64::MAX))?.unwrap_or(0);
        let timeout_ms = integer("x-consumer-timeout", (0, MILLISECONDS_MAX))?.map(i64::unsigned_abs);
        match STREAM_ONLY
            .into_iter()
            .find(|argument| arguments.contains_key(argument))
        {
            None => Ok(Self { priority, timeout_ms }),
            Some(argument) => Err(queue_type.refuses(queue, TypeRefusal::Argument(argument))),
        }
    }
}
