//! Methods: payload bytes to values (here) and values to frames (`encode`).
//!
//! What comes once per message is read by hand and borrows; everything else goes through amq-protocol, after
//! `signature` has checked it.

mod encode;
mod signature;

use std::fmt;

use amq_protocol::protocol::{self, AMQPClass};

use crate::amqp::frame;
use crate::amqp::reply_code::ReplyCode;

pub use encode::{ack, basic_return, deliver, encode, get_ok, nack};

/// Class and method number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MethodId {
    /// Such as 60 for `basic`.
    pub class: u16,
    /// Such as 40 for `publish` within `basic`.
    pub method: u16,
}

/// A method from a client. The frequent ones borrow, the others own.
#[derive(Clone, Debug, PartialEq)]
pub enum Method<'a> {
    /// `basic.publish`; header and body frames follow.
    Publish(Publish<'a>),
    /// `basic.ack`
    Ack {
        /// 0 with `multiple`: everything so far.
        delivery_tag: u64,
        /// All outstanding up to the tag.
        multiple: bool,
    },
    /// `basic.nack`
    Nack {
        /// 0 with `multiple`: everything so far.
        delivery_tag: u64,
        /// All outstanding up to the tag.
        multiple: bool,
        /// Back to the queue rather than dead.
        requeue: bool,
    },
    /// `basic.reject`
    Reject {
        /// A single one.
        delivery_tag: u64,
        /// Back to the queue rather than dead.
        requeue: bool,
    },
    /// Everything else, decoded by amq-protocol; methods that only servers send too.
    Other(MethodId, AMQPClass),
}

/// The arguments of `basic.publish`. Names are any bytes, not necessarily UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Empty for the default exchange.
    pub exchange: &'a [u8],
    /// The routing key.
    pub routing_key: &'a [u8],
    /// Return it when no queue takes it.
    pub mandatory: bool,
    /// Not supported by any current broker.
    pub immediate: bool,
}

/// What is wrong with a method's bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MethodError {
    /// No such class or method.
    #[error("{}", self.explanation())]
    Unknown(MethodId),
    /// A short string that has to be UTF-8 is not.
    #[error("{}", self.explanation())]
    MalformedUtf8,
    /// Too few or too many bytes.
    #[error("{}", self.explanation())]
    Undecodable {
        /// The method.
        id: MethodId,
        /// The beginning of its arguments: more than fits a reply text.
        bytes: Vec<u8>,
    },
    /// A field table that does not parse or is nested too deep.
    #[error("{}", self.explanation())]
    BadTable(MethodId),
}

impl MethodId {
    /// `basic.publish`
    pub const PUBLISH: Self = Self::new(60, 40);

    /// From its two numbers.
    pub const fn new(class: u16, method: u16) -> Self {
        Self { class, method }
    }
}

impl fmt::Display for MethodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.class, self.method)
    }
}

impl MethodError {
    /// The reply code of the `connection.close` that answers it.
    pub const fn code(&self) -> ReplyCode {
        match self {
            Self::Unknown(_) => ReplyCode::CommandInvalid,
            Self::MalformedUtf8 | Self::Undecodable { .. } => ReplyCode::FrameError,
            Self::BadTable(_) => ReplyCode::SyntaxError,
        }
    }

    /// The method that the `connection.close` names; 0.0 for none.
    pub fn id(&self) -> MethodId {
        match self {
            Self::Unknown(id) | Self::BadTable(id) | Self::Undecodable { id, .. } => *id,
            Self::MalformedUtf8 => MethodId::default(),
        }
    }

    /// RabbitMQ's explanation of it, for the reply text; our own where RabbitMQ just drops the connection.
    pub fn explanation(&self) -> String {
        match self {
            Self::Unknown(_) => "unimplemented method".to_owned(),
            Self::MalformedUtf8 => "Malformed UTF-8 in shortstr".to_owned(),
            Self::Undecodable { bytes, .. } => format!("cannot decode {}", frame::octet_numbers(bytes)),
            Self::BadTable(_) => "malformed field table".to_owned(),
        }
    }
}

/// Reads the payload of a method frame.
///
/// # Errors
/// When there is no such method, or its arguments do not fill the payload exactly.
#[inline]
pub fn decode(payload: &[u8]) -> Result<Method<'_>, MethodError> {
    let Some(([c1, c0, m1, m0], arguments)) = payload.split_first_chunk::<4>() else {
        return Err(signature::undecodable(MethodId::default(), payload));
    };
    let id = MethodId::new(u16::from_be_bytes([*c1, *c0]), u16::from_be_bytes([*m1, *m0]));
    let hot = match (id.class, id.method) {
        (60, 40) => publish(arguments).map(Method::Publish),
        (60, 80) => settle(arguments).map(|(delivery_tag, bits)| Method::Ack {
            delivery_tag,
            multiple: bits & 1 != 0,
        }),
        (60, 90) => settle(arguments).map(|(delivery_tag, bits)| Method::Reject {
            delivery_tag,
            requeue: bits & 1 != 0,
        }),
        (60, 120) => settle(arguments).map(|(delivery_tag, bits)| Method::Nack {
            delivery_tag,
            multiple: bits & 1 != 0,
            requeue: bits & 2 != 0,
        }),
        _ => return other(id, payload, arguments),
    };
    hot.ok_or_else(|| signature::undecodable(id, arguments))
}

/// Ticket, exchange, routing key, bits, and nothing behind them.
#[inline]
pub(super) fn publish(arguments: &[u8]) -> Option<Publish<'_>> {
    let (&[_, _, exchange_len], rest) = arguments.split_first_chunk::<3>()?;
    let (exchange, rest) = rest.split_at_checked(usize::from(exchange_len))?;
    let (&key_len, rest) = rest.split_first()?;
    let (routing_key, bits) = rest.split_at_checked(usize::from(key_len))?;
    let &[bits] = bits else { return None };
    Some(Publish {
        exchange,
        routing_key,
        mandatory: bits & 1 != 0,
        immediate: bits & 2 != 0,
    })
}

/// Delivery tag and bits, and nothing behind them.
#[inline]
fn settle(arguments: &[u8]) -> Option<(u64, u8)> {
    let (tag, bits) = arguments.split_first_chunk::<8>()?;
    let &[bits] = bits else { return None };
    Some((u64::from_be_bytes(*tag), bits))
}

fn other<'a>(id: MethodId, payload: &'a [u8], arguments: &[u8]) -> Result<Method<'a>, MethodError> {
    signature::check(id, arguments)?;
    // Keys of tables are the one thing left that amq-protocol may refuse: it wants them to be UTF-8.
    match protocol::parse_class(payload) {
        Ok(([], class)) => Ok(Method::Other(id, class)),
        _ => Err(signature::undecodable(id, arguments)),
    }
}

#[cfg(test)]
mod tests;
