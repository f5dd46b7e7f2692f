//! What a peer did wrong, as reply code, text and the method it concerns; and the broker's refusals in these terms.

use std::sync::Arc;

use crate::amqp::field_table::TableError;
use crate::amqp::frame::FrameError;
use crate::amqp::method::{MethodError, MethodId};
use crate::amqp::reply_code::ReplyCode;
use crate::broker::queue_type::TypeRefusal;
use crate::broker::refusal::{Entity, Refusal};

/// A mistake that ends a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelError {
    /// Reply code.
    pub code: ReplyCode,
    /// Explanation; the code's name goes in front of it.
    pub explanation: String,
    /// The method that failed; 0.0 for none.
    pub method: MethodId,
}

/// A mistake that ends the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionError {
    /// Reply code.
    pub code: ReplyCode,
    /// Explanation; the code's name goes in front of it, unless it is empty: then the name stands alone.
    pub explanation: String,
    /// The method that failed; 0.0 for none.
    pub method: MethodId,
}

/// Either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The channel ends.
    Channel(ChannelError),
    /// The connection ends.
    Connection(ConnectionError),
}

/// A refusal on its way to a [`Failure`]: who failed to do what is known one level up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// By the broker.
    Refused(Refusal),
    /// By the user's permissions; the whole explanation.
    Access(String),
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Denied {
    /// As the failure of `method` in `vhost`.
    pub fn failure(self, vhost: &str, method: MethodId) -> Failure {
        match self {
            Self::Access(explanation) => channel(ReplyCode::AccessRefused, explanation, method),
            Self::Refused(refusal) => match code(&refusal) {
                // What is not offered at all costs the connection, in RabbitMQ as well.
                code @ ReplyCode::NotImplemented => connection(code, refusal.explanation(vhost), method),
                code => channel(code, refusal.explanation(vhost), method),
            },
        }
    }
}

fn code(refusal: &Refusal) -> ReplyCode {
    match refusal {
        Refusal::NotFound(_) | Refusal::VhostDeleted => ReplyCode::NotFound,
        Refusal::Locked(_) => ReplyCode::ResourceLocked,
        Refusal::OfType { why, .. } => match why {
            TypeRefusal::Get => ReplyCode::ResourceLocked,
            TypeRefusal::DeleteCondition(_) | TypeRefusal::GlobalQos => ReplyCode::NotImplemented,
            TypeRefusal::Argument(_) | TypeRefusal::Property(_) | TypeRefusal::ServerNamed => {
                ReplyCode::PreconditionFailed
            }
        },
        Refusal::ExclusiveUse(_)
        | Refusal::DefaultExchange
        | Refusal::BindReplyQueue
        | Refusal::ReservedName(_)
        | Refusal::SystemExchange(_)
        | Refusal::InternalExchange(_) => ReplyCode::AccessRefused,
        Refusal::InUse(_)
        | Refusal::NotEmpty(_)
        | Refusal::Inequivalent { .. }
        | Refusal::UnknownExchangeType(_)
        | Refusal::InvalidArgument { .. }
        | Refusal::ArgumentType { .. }
        | Refusal::NoMoreQueues
        | Refusal::TooMany(_)
        | Refusal::Binding(_)
        | Refusal::Argument(_) => ReplyCode::PreconditionFailed,
    }
}

/// A channel failure.
pub fn channel(code: ReplyCode, explanation: impl Into<String>, method: MethodId) -> Failure {
    Failure::Channel(ChannelError {
        code,
        explanation: explanation.into(),
        method,
    })
}

/// A connection failure.
pub fn connection(code: ReplyCode, explanation: impl Into<String>, method: MethodId) -> Failure {
    Failure::Connection(ConnectionError {
        code,
        explanation: explanation.into(),
        method,
    })
}

/// 406, the commonest.
pub fn precondition(explanation: impl Into<String>, method: MethodId) -> Failure {
    channel(ReplyCode::PreconditionFailed, explanation, method)
}

/// 404 for a queue that was not named and of which none was declared.
pub fn no_queue_declared(method: MethodId) -> Failure {
    channel(ReplyCode::NotFound, "no previously declared queue", method)
}

/// 503 for a method that a client may not send here.
pub fn unimplemented_method(method: MethodId) -> Failure {
    connection(ReplyCode::CommandInvalid, "unimplemented method", method)
}

/// The queue is gone, though its handle was found a moment ago.
pub fn queue_is_gone(name: &Arc<str>) -> Refusal {
    Refusal::NotFound(Entity::Queue(Arc::clone(name)))
}

impl From<FrameError> for Failure {
    fn from(error: FrameError) -> Self {
        connection(ReplyCode::FrameError, error.explanation(), MethodId::default())
    }
}

impl From<MethodError> for Failure {
    fn from(error: MethodError) -> Self {
        connection(error.code(), error.explanation(), error.id())
    }
}

/// Properties or headers that do not parse: RabbitMQ's channel process crashes on them, and clients see 541.
pub fn bad_properties() -> Failure {
    connection(ReplyCode::InternalError, "", MethodId::default())
}

impl From<TableError> for Failure {
    fn from(_: TableError) -> Self {
        bad_properties()
    }
}
