//! What an exchange's arguments say about its matching, and why they are refused, in RabbitMQ's words.

use amq_protocol::types::{AMQPValue, FieldTable};

use crate::broker::refusal::integer;

use super::ExchangeKind;
use super::refusal::Term;

/// Messages that an `x-recent-history` exchange keeps when it is not told how many.
const HISTORY_LENGTH: usize = 20;

/// What an `x-consistent-hash` exchange looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HashedPart {
    /// The routing key, without CC and BCC.
    RoutingKey,
    /// The header of this name.
    Header(Box<[u8]>),
    /// A property.
    Property(HashedProperty),
}

/// Properties that `hash-property` may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HashedProperty {
    CorrelationId,
    MessageId,
    Timestamp,
}

/// Arguments that an exchange type can not work with. Displays as the explanation of reply code 406.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ArgumentRefusal {
    /// `hash-property` names none that can be hashed.
    #[error("Unsupported property: {0}")]
    Property(String),
    /// Only one thing can be hashed.
    #[error("hash-header and hash-property are mutually exclusive")]
    TwoParts,
    /// `hash-header` or `hash-property` is not a string.
    #[error("Invalid argument {value}, '{argument}' must be a string")]
    NotAString {
        /// Which one.
        argument: &'static str,
        /// The value that came.
        value: Term,
    },
    /// A history of no or no certain length.
    #[error("Invalid argument {0}, 'x-recent-history-length' must be a positive integer")]
    HistoryLength(Term),
}

/// Judges the arguments of an exchange of this kind. Those of other kinds are not looked at.
///
/// # Errors
/// The first that the kind can not work with.
pub fn check(kind: ExchangeKind, arguments: &FieldTable) -> Result<(), ArgumentRefusal> {
    match kind {
        ExchangeKind::ConsistentHash => hashed_part(arguments).map(drop),
        ExchangeKind::RecentHistory => history_length(arguments).map(drop),
        _ => Ok(()),
    }
}

/// What the arguments say to hash.
pub(super) fn hashed_part(arguments: &FieldTable) -> Result<HashedPart, ArgumentRefusal> {
    let header = string(arguments, "hash-header")?;
    let property = string(arguments, "hash-property")?;
    match (header, property) {
        (None, None) => Ok(HashedPart::RoutingKey),
        (Some(header), None) => Ok(HashedPart::Header(header.into())),
        (None, Some(property)) => HashedProperty::from_name(property)
            .map(HashedPart::Property)
            .ok_or_else(|| ArgumentRefusal::Property(String::from_utf8_lossy(property).into_owned())),
        (Some(_), Some(_)) => Err(ArgumentRefusal::TwoParts),
    }
}

/// How many messages the arguments say to keep.
///
/// # Errors
/// When it is not a positive integer.
pub fn history_length(arguments: &FieldTable) -> Result<usize, ArgumentRefusal> {
    let Some(value) = arguments.inner().get("x-recent-history-length") else {
        return Ok(HISTORY_LENGTH);
    };
    integer(value)
        .and_then(|length| usize::try_from(length).ok())
        .filter(|length| *length > 0)
        .ok_or_else(|| ArgumentRefusal::HistoryLength(Term(value.clone())))
}

impl HashedProperty {
    fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"correlation_id" => Some(Self::CorrelationId),
            b"message_id" => Some(Self::MessageId),
            b"timestamp" => Some(Self::Timestamp),
            _ => None,
        }
    }
}

fn string<'a>(
    arguments: &'a FieldTable,
    argument: &'static str,
) -> Result<Option<&'a [u8]>, ArgumentRefusal> {
    match arguments.inner().get(argument) {
        None => Ok(None),
        Some(AMQPValue::LongString(text)) => Ok(Some(text.as_bytes())),
        Some(value) => Err(ArgumentRefusal::NotAString {
            argument,
            value: Term(value.clone()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(pairs: &[(&str, AMQPValue)]) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in pairs {
            table.insert((*name).into(), value.clone());
        }
        table
    }

    fn text(text: &str) -> AMQPValue {
        AMQPValue::LongString(text.into())
    }

    #[test]
    fn a_hash_is_of_the_routing_key_a_header_or_a_property() {
        let header = |name: &str| HashedPart::Header(name.as_bytes().into());
        let rows = [
            (table(&[]), Ok(HashedPart::RoutingKey)),
            (
                table(&[("hash-header", text("customer"))]),
                Ok(header("customer")),
            ),
            (
                table(&[("hash-property", text("message_id"))]),
                Ok(HashedPart::Property(HashedProperty::MessageId)),
            ),
            (
                table(&[("hash-property", text("correlation_id"))]),
                Ok(HashedPart::Property(HashedProperty::CorrelationId)),
            ),
            (
                table(&[("hash-property", text("timestamp"))]),
                Ok(HashedPart::Property(HashedProperty::Timestamp)),
            ),
            (
                table(&[("hash-property", text("app_id"))]),
                Err("Unsupported property: app_id"),
            ),
            (
                table(&[("hash-property", text("timestamp")), ("hash-header", text("h"))]),
                Err("hash-header and hash-property are mutually exclusive"),
            ),
            (
                table(&[("hash-header", AMQPValue::LongInt(1))]),
                Err("Invalid argument 1, 'hash-header' must be a string"),
            ),
        ];
        for (arguments, expected) in rows {
            let found = hashed_part(&arguments).map_err(|refusal| refusal.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{arguments:?}");
            assert_eq!(
                check(ExchangeKind::ConsistentHash, &arguments).is_ok(),
                hashed_part(&arguments).is_ok()
            );
            assert_eq!(check(ExchangeKind::Direct, &arguments), Ok(()));
        }
    }

    #[test]
    fn a_history_has_a_positive_length() {
        let rows = [
            (AMQPValue::LongInt(1), Ok(1)),
            (AMQPValue::LongLongInt(500), Ok(500)),
            (AMQPValue::ShortShortUInt(7), Ok(7)),
            (AMQPValue::LongInt(0), Err("0")),
            (AMQPValue::LongInt(-30), Err("-30")),
            (AMQPValue::Double(2.0), Err("2.0")),
            (text("5"), Err("<<\"5\">>")),
        ];
        for (value, expected) in rows {
            let arguments = table(&[("x-recent-history-length", value)]);
            let expected = expected.map_err(|term| {
                format!("Invalid argument {term}, 'x-recent-history-length' must be a positive integer")
            });
            let found = history_length(&arguments).map_err(|refusal| refusal.to_string());
            assert_eq!(found, expected, "{arguments:?}");
            assert_eq!(
                check(ExchangeKind::RecentHistory, &arguments).is_ok(),
                found.is_ok()
            );
        }
        assert_eq!(history_length(&FieldTable::default()), Ok(20));
    }
}
