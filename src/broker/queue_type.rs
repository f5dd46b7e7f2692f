//! Types of queues (`x-queue-type`): what each demands of a declaration, and which arguments it alone knows.
//!
//! All of them are the same queue underneath. A quorum queue keeps every message, whatever its delivery mode.

use std::fmt;
use std::sync::Arc;

use super::refusal::Refusal;

/// What a queue was declared to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QueueType {
    /// The usual one.
    #[default]
    Classic,
    /// Durable and shared; what it holds survives, transient messages too.
    Quorum,
}

/// Arguments that only classic queues know. Any that is named in no list is for all types.
const CLASSIC_ONLY: &[&str] = &["x-queue-mode", "x-queue-version", "x-queue-master-locator"];

/// Arguments that only quorum queues know.
const QUORUM_ONLY: &[&str] = &[
    "x-dead-letter-strategy",
    "x-max-in-memory-length",
    "x-max-in-memory-bytes",
    "x-quorum-initial-group-size",
];

/// Arguments that only streams know, and there are none.
const STREAM_ONLY: &[&str] = &[
    "x-max-age",
    "x-stream-max-segment-size-bytes",
    "x-stream-filter-size-bytes",
    "x-initial-cluster-size",
];

impl QueueType {
    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "classic" => Some(Self::Classic),
            "quorum" => Some(Self::Quorum),
            _ => None,
        }
    }

    /// Its name, as `x-queue-type` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
        }
    }

    /// RabbitMQ's module for it, which its texts name.
    pub fn module(self) -> &'static str {
        match self {
            Self::Classic => "rabbit_classic_queue",
            Self::Quorum => "rabbit_quorum_queue",
        }
    }

    /// Arguments that other types of queues know and this one refuses.
    pub fn foreign_arguments(self) -> impl Iterator<Item = &'static str> {
        let others = match self {
            Self::Classic => QUORUM_ONLY,
            Self::Quorum => CLASSIC_ONLY,
        };
        others.iter().chain(STREAM_ONLY).copied()
    }

    /// As the refusal of what was asked of a queue of this type.
    pub fn refuses(self, queue: &Arc<str>, why: TypeRefusal) -> Refusal {
        Refusal::OfType {
            queue: Arc::clone(queue),
            queue_type: self,
            why,
        }
    }

    /// Whether the broker may choose the name of such a queue.
    pub fn may_be_server_named(self) -> bool {
        self == Self::Classic
    }

    /// This type if a queue with these properties can be of it, else the usual one.
    pub fn fitting(self, durable: bool, exclusive: bool, auto_delete: bool) -> Self {
        if self.is_compatible(durable, exclusive, auto_delete) {
            self
        } else {
            Self::default()
        }
    }

    /// Whether a queue with these properties can be of this type.
    pub fn is_compatible(self, durable: bool, exclusive: bool, auto_delete: bool) -> bool {
        match self {
            Self::Classic => true,
            Self::Quorum => durable && !exclusive && !auto_delete,
        }
    }
}

/// What queues of a type do not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeRefusal {
    /// The argument is for another type.
    Argument(&'static str),
    /// They can not have this property, which is named as RabbitMQ prints it.
    Property(&'static str),
    /// Their names come from their clients.
    ServerNamed,
    /// They are deleted without conditions; this one is named as RabbitMQ prints it.
    DeleteCondition(&'static str),
    /// Their consumers do not share a channel's limit.
    GlobalQos,
    /// Their messages are for the single active consumer alone.
    Get,
}

impl TypeRefusal {
    /// RabbitMQ's text; `queue` is the queue with its vhost.
    pub fn explanation(self, queue_type: QueueType, queue: &str) -> String {
        let module = queue_type.module();
        match self {
            Self::Argument(argument) => {
                format!("invalid arg '{argument}' for {queue} of queue type {module}")
            }
            Self::Property(property) => format!("invalid property '{property}' for {queue}"),
            Self::ServerNamed => format!("Cannot declare a server-named queue for type {module}"),
            Self::DeleteCondition(condition) => format!(
                "cannot delete {queue}. queue.delete operations with {condition} flag set are not supported by \
                 {queue_type} queues"
            ),
            Self::GlobalQos => format!("{queue} does not support global qos"),
            Self::Get => format!(
                "cannot obtain access to locked {queue}. basic.get operations are not supported by {queue_type} \
                 queues with single active consumer"
            ),
        }
    }
}

impl fmt::Display for QueueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
