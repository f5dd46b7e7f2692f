//! Why the broker does not do what was asked, in its own words. Protocols turn these into their codes.

use std::fmt;
use std::sync::Arc;

use amq_protocol::types::AMQPValue;

use crate::amqp::field_table::type_name;

use super::limits::TooMany;
use super::queue_type::{QueueType, TypeRefusal};

/// A queue or an exchange, as named in refusals.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Entity {
    /// An exchange, by name.
    Exchange(Arc<str>),
    /// A queue, by name.
    Queue(Arc<str>),
}

impl Entity {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Exchange(name) | Self::Queue(name) => name,
        }
    }
}

/// A request that the broker refuses. The texts are RabbitMQ's, which client suites match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such queue or exchange.
    NotFound(Entity),
    /// The queue belongs to another connection, or was declared with another `exclusive` flag.
    Locked(Arc<str>),
    /// A consumer wants or has the queue for itself.
    ExclusiveUse(Arc<str>),
    /// It has consumers, or bindings.
    InUse(Entity),
    /// The queue has ready messages.
    NotEmpty(Arc<str>),
    /// It exists with another definition.
    Inequivalent {
        /// What exists.
        entity: Entity,
        /// The property or argument that differs.
        argument: &'static str,
        /// How it differs.
        difference: Difference,
    },
    /// The default exchange can not be declared, deleted or bound.
    DefaultExchange,
    /// The name begins with `amq.`.
    ReservedName(Entity),
    /// An `amq.` exchange can not be deleted.
    SystemExchange(Arc<str>),
    /// Publishers may not use the exchange.
    InternalExchange(Arc<str>),
    /// There is no such exchange type.
    UnknownExchangeType(Arc<str>),
    /// An argument is not what it should be; the reason is printed as RabbitMQ prints it.
    InvalidArgument {
        /// Of what.
        entity: Entity,
        /// Which argument.
        argument: Arc<str>,
        /// Why.
        reason: String,
    },
    /// An argument that names an exchange is not a string.
    ArgumentType {
        /// Of what.
        entity: Entity,
        /// Which argument.
        argument: &'static str,
        /// The type it has.
        found: &'static str,
    },
    /// Queues of this type do not do that.
    OfType {
        /// The queue.
        queue: Arc<str>,
        /// The type that it has or would have.
        queue_type: QueueType,
        /// What they do not do.
        why: TypeRefusal,
    },
    /// Reply queues are reached by name alone.
    BindReplyQueue,
    /// The exchange's type does not accept the binding.
    Binding(String),
    /// The vhost is gone; its connections are about to hear of it.
    VhostDeleted,
    /// There are as many as there may be.
    TooMany(TooMany),
    /// An exchange or queue can not work with an argument.
    Argument(String),
    /// The store has no number left for another durable queue.
    NoMoreQueues,
}

/// In what a redeclaration differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Both have a value.
    Values {
        /// As asked for now.
        received: String,
        /// As it is.
        current: String,
    },
    /// Only what exists has a value.
    Missing {
        /// As it is, with its type.
        current: String,
    },
    /// Only what is asked for has a value.
    Surplus {
        /// As asked for now, with its type.
        received: String,
    },
}

impl Difference {
    /// Two plain values.
    pub fn values(received: impl fmt::Display, current: impl fmt::Display) -> Self {
        Self::Values {
            received: received.to_string(),
            current: current.to_string(),
        }
    }

    /// Compares an argument's values as RabbitMQ does: integers by value whatever their width, the rest by type
    /// and value. `None` when they agree.
    pub fn between(received: Option<&AMQPValue>, current: Option<&AMQPValue>) -> Option<Self> {
        match (received, current) {
            (None, None) => None,
            (Some(received), Some(current)) if is_same(received, current) => None,
            (Some(received), Some(current)) => Some(Self::values(plain(received), plain(current))),
            (None, Some(current)) => Some(Self::Missing {
                current: typed(current),
            }),
            (Some(received), None) => Some(Self::Surplus {
                received: typed(received),
            }),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Values { received, current } => {
                write!(f, "received '{received}' but current is '{current}'")
            }
            Self::Missing { current } => write!(f, "received none but current is the value {current}"),
            Self::Surplus { received } => write!(f, "received the value {received} but current is none"),
        }
    }
}

/// The integer that a value holds, whatever its width.
pub fn integer(value: &AMQPValue) -> Option<i64> {
    Some(match value {
        AMQPValue::ShortShortInt(value) => i64::from(*value),
        AMQPValue::ShortShortUInt(value) => i64::from(*value),
        AMQPValue::ShortInt(value) => i64::from(*value),
        AMQPValue::ShortUInt(value) => i64::from(*value),
        AMQPValue::LongInt(value) => i64::from(*value),
        AMQPValue::LongUInt(value) => i64::from(*value),
        AMQPValue::LongLongInt(value) => *value,
        _ => return None,
    })
}

fn is_same(left: &AMQPValue, right: &AMQPValue) -> bool {
    match (integer(left), integer(right)) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

fn typed(value: &AMQPValue) -> String {
    format!("'{}' of type '{}'", plain(value), type_name(value))
}

/// A value as RabbitMQ prints it inside quotes.
fn plain(value: &AMQPValue) -> String {
    if let Some(value) = integer(value) {
        return value.to_string();
    }
    match value {
        AMQPValue::Boolean(value) => value.to_string(),
        AMQPValue::LongString(value) => value.to_string(),
        AMQPValue::ShortString(value) => value.to_string(),
        AMQPValue::Float(value) => format!("{value:?}"),
        AMQPValue::Double(value) => format!("{value:?}"),
        AMQPValue::Timestamp(value) => value.to_string(),
        AMQPValue::Void => "undefined".to_owned(),
        other => format!("{other:?}"),
    }
}

impl Refusal {
    /// The explanation, as RabbitMQ words it; `vhost` is where it happened.
    pub fn explanation(&self, vhost: &str) -> String {
        let full = |entity: &Entity| match entity {
            Entity::Exchange(name) => format!("exchange '{name}' in vhost '{vhost}'"),
            Entity::Queue(name) => format!("queue '{name}' in vhost '{vhost}'"),
        };
        let queue = |name: &Arc<str>| full(&Entity::Queue(Arc::clone(name)));
        match self {
            Self::NotFound(entity) => format!("no {}", full(entity)),
            Self::Locked(name) => format!(
                "cannot obtain exclusive access to locked {}. It could be originally declared on another \
                 connection or the exclusive property value does not match that of the original declaration.",
                queue(name)
            ),
            Self::ExclusiveUse(name) => format!("{} in exclusive use", queue(name)),
            Self::InUse(entity) => format!("{} in use", full(entity)),
            Self::NotEmpty(name) => format!("{} not empty", queue(name)),
            Self::Inequivalent {
                entity,
                argument,
                difference,
            } => {
                format!("inequivalent arg '{argument}' for {}: {difference}", full(entity))
            }
            Self::DefaultExchange => "operation not permitted on the default exchange".to_owned(),
            Self::ReservedName(Entity::Exchange(name)) => {
                format!("exchange name '{name}' contains reserved prefix 'amq.*'")
            }
            Self::ReservedName(Entity::Queue(name)) => {
                format!("queue name '{name}' contains reserved prefix 'amq.*'")
            }
            Self::SystemExchange(name) => {
                format!("deletion of system exchange '{name}' in vhost '{vhost}' not allowed")
            }
            Self::InternalExchange(name) => {
                format!("cannot publish to internal exchange '{name}' in vhost '{vhost}'")
            }
            Self::UnknownExchangeType(kind) => format!("unknown exchange type '{kind}'"),
            Self::InvalidArgument {
                entity,
                argument,
                reason,
            } => {
                format!("invalid arg '{argument}' for {}: {reason}", full(entity))
            }
            Self::ArgumentType {
                entity,
                argument,
                found,
            } => {
                format!("invalid type '{found}' for arg '{argument}' in {}", full(entity))
            }
            Self::OfType {
                queue: name,
                queue_type,
                why,
            } => why.explanation(*queue_type, &queue(name)),
            Self::BindReplyQueue => "cannot bind or unbind to a volatile (direct reply-to) queue".to_owned(),
            Self::VhostDeleted => format!("vhost '{vhost}' is deleted"),
            Self::TooMany(what) => what.explanation(vhost),
            Self::NoMoreQueues => "the store's numbers for durable queues are used up".to_owned(),
            Self::Binding(text) | Self::Argument(text) => text.clone(),
        }
    }
}
