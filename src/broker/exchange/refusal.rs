//! Why an exchange does not take a binding, in RabbitMQ's words: clients' tests compare them.

use std::fmt::{self, Write as _};

use amq_protocol::types::{AMQPValue, FieldTable};

use crate::amqp::field_table::type_name;

use super::headers::X_MATCH;

/// Arguments that the exchange cannot match. Displays as the explanation of reply code 406.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BindingRefusal {
    /// A string that names no way to match.
    #[error("Invalid x-match field value {0}; expected all, any, all-with-x, or any-with-x")]
    MatchValue(Term),
    /// Not a string.
    #[error("Invalid x-match field type {type_name} (value {value}); expected longstr")]
    MatchType {
        /// RabbitMQ's name of the type that came.
        type_name: &'static str,
        /// The value that came.
        value: Term,
    },
    /// The key of a binding to a consistent hash exchange is its weight.
    #[error("The binding key must be an integer: {0}")]
    WeightType(Term),
    /// A weight below 1.
    #[error("The binding key must be greater than 0")]
    WeightTooSmall,
    /// A local random exchange does not match, and so takes no keys.
    #[error("Non empty binding '{0}' key not permitted")]
    KeyGiven(String),
    /// A local random exchange leads to queues only, and this is an exchange.
    #[error("Destination not found")]
    NotAQueue,
    /// It leads to classic queues only.
    #[error("Queue type {0} not valid for this exchange type")]
    QueueType(&'static str),
}

/// A value that displays as an Erlang term, as RabbitMQ prints it in its texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Term(pub AMQPValue);

/// Judges the arguments of a binding to a headers exchange.
pub(super) fn check_match(arguments: &FieldTable) -> Result<(), BindingRefusal> {
    match arguments.inner().get(X_MATCH) {
        None => Ok(()),
        Some(AMQPValue::LongString(text)) => match text.as_bytes() {
            b"all" | b"any" | b"all-with-x" | b"any-with-x" => Ok(()),
            _ => Err(BindingRefusal::MatchValue(Term(AMQPValue::LongString(
                text.clone(),
            )))),
        },
        Some(value) => Err(BindingRefusal::MatchType {
            type_name: type_name(value),
            value: Term(value.clone()),
        }),
    }
}

/// The weight that a binding key stands for, as Erlang reads integers. Beyond four billion all weigh the same.
pub(super) fn weight(key: &[u8]) -> Result<u32, BindingRefusal> {
    let (is_negative, digits) = match key {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BindingRefusal::WeightType(Term(AMQPValue::LongString(
            key.into(),
        ))));
    }
    let add = |weight: u32, digit: &u8| weight.saturating_mul(10).saturating_add(u32::from(digit - b'0'));
    match digits.iter().fold(0, add) {
        weight if weight > 0 && !is_negative => Ok(weight),
        _ => Err(BindingRefusal::WeightTooSmall),
    }
}

impl fmt::Display for Term {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_term(out, &self.0)
    }
}

/// Arguments come from a table whose depth was bounded when it was read.
fn write_term(out: &mut fmt::Formatter<'_>, value: &AMQPValue) -> fmt::Result {
    match value {
        AMQPValue::Boolean(value) => write!(out, "{value}"),
        AMQPValue::ShortShortInt(value) => write!(out, "{value}"),
        AMQPValue::ShortShortUInt(value) => write!(out, "{value}"),
        AMQPValue::ShortInt(value) => write!(out, "{value}"),
        AMQPValue::ShortUInt(value) => write!(out, "{value}"),
        AMQPValue::LongInt(value) => write!(out, "{value}"),
        AMQPValue::LongUInt(value) => write!(out, "{value}"),
        AMQPValue::LongLongInt(value) => write!(out, "{value}"),
        AMQPValue::Timestamp(value) => write!(out, "{value}"),
        AMQPValue::Float(value) => write!(out, "{:?}", f64::from(*value)),
        AMQPValue::Double(value) => write!(out, "{value:?}"),
        AMQPValue::DecimalValue(value) => write!(out, "{{{},{}}}", value.scale, value.value),
        AMQPValue::ShortString(text) => write_binary(out, text.as_str().as_bytes()),
        AMQPValue::LongString(text) => write_binary(out, text.as_bytes()),
        AMQPValue::ByteArray(bytes) => write_binary(out, bytes.as_slice()),
        AMQPValue::Void => out.write_str("undefined"),
        AMQPValue::FieldArray(values) => write_list(out, values.as_slice(), |out, value| {
            write!(out, "{{{},", type_name(value))?;
            write_term(out, value)?;
            out.write_char('}')
        }),
        AMQPValue::FieldTable(table) => write_list(out, table.inner(), |out, (name, value)| {
            out.write_char('{')?;
            write_binary(out, name.as_str().as_bytes())?;
            write!(out, ",{},", type_name(value))?;
            write_term(out, value)?;
            out.write_char('}')
        }),
    }
}

fn write_list<T>(
    out: &mut fmt::Formatter<'_>,
    items: impl IntoIterator<Item = T>,
    write: impl Fn(&mut fmt::Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    out.write_char('[')?;
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            out.write_char(',')?;
        }
        write(out, item)?;
    }
    out.write_char(']')
}

/// `<<"text">>` when every byte prints in Latin-1, else `<<1,2,3>>`.
fn write_binary(out: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let prints = |byte: &u8| matches!(byte, 8..=13 | 27 | 32..=126 | 160..=255);
    if bytes.is_empty() || !bytes.iter().all(prints) {
        let numbers = bytes.iter().map(u8::to_string).collect::<Vec<_>>();
        return write!(out, "<<{}>>", numbers.join(","));
    }
    out.write_str("<<\"")?;
    match str::from_utf8(bytes) {
        // RabbitMQ judges by Latin-1, but the bytes go out as they came.
        Ok(text) => text.chars().try_for_each(|letter| write_letter(out, letter))?,
        Err(_) => bytes
            .iter()
            .try_for_each(|byte| write_letter(out, char::from(*byte)))?,
    }
    out.write_str("\">>")
}

fn write_letter(out: &mut fmt::Formatter<'_>, letter: char) -> fmt::Result {
    match letter {
        '\u{8}' => out.write_str("\\b"),
        '\t' => out.write_str("\\t"),
        '\n' => out.write_str("\\n"),
        '\u{b}' => out.write_str("\\v"),
        '\u{c}' => out.write_str("\\f"),
        '\r' => out.write_str("\\r"),
        '\u{1b}' => out.write_str("\\e"),
        '"' | '\\' => write!(out, "\\{letter}"),
        letter => out.write_char(letter),
    }
}

#[cfg(test)]
mod tests {
    use amq_protocol::types::{DecimalValue, FieldArray, ShortString};

    use super::*;

    fn refusal(value: AMQPValue) -> Option<String> {
        let mut arguments = FieldTable::default();
        arguments.insert(ShortString::from("x-match"), value);
        check_match(&arguments).err().map(|refusal| refusal.to_string())
    }

    #[test]
    fn the_four_ways_to_match_are_taken_and_so_is_none() {
        for way in ["all", "any", "all-with-x", "any-with-x"] {
            assert_eq!(refusal(AMQPValue::LongString(way.into())), None, "{way}");
        }
        assert_eq!(check_match(&FieldTable::default()), Ok(()));
    }

    #[test]
    fn a_weight_is_an_integer_above_zero() {
        let integer = |term: &str| Err(format!("The binding key must be an integer: {term}"));
        let positive = || Err("The binding key must be greater than 0".to_owned());
        let rows: [(&[u8], Result<u32, String>); 12] = [
            (b"1", Ok(1)),
            (b"+007", Ok(7)),
            (b"4294967296", Ok(u32::MAX)),
            (b"99999999999999999999999", Ok(u32::MAX)),
            (b"0", positive()),
            (b"-3", positive()),
            (b"-0", positive()),
            (b"", integer("<<>>")),
            (b"abc", integer("<<\"abc\">>")),
            (b"1.5", integer("<<\"1.5\">>")),
            (b" 1", integer("<<\" 1\">>")),
            (b"+", integer("<<\"+\">>")),
        ];
        for (key, expected) in rows {
            assert_eq!(
                weight(key).map_err(|refusal| refusal.to_string()),
                expected,
                "{key:?}"
            );
        }
    }

    #[test]
    fn refusals_read_as_rabbitmq_words_them() {
        let text = |text: &str| AMQPValue::LongString(text.into());
        let value = |term: &str| {
            format!("Invalid x-match field value {term}; expected all, any, all-with-x, or any-with-x")
        };
        let kind = |kind: &str, term: &str| {
            format!("Invalid x-match field type {kind} (value {term}); expected longstr")
        };
        let mut nested = FieldTable::default();
        nested.insert(ShortString::from("k"), AMQPValue::ShortInt(-3));
        let mut array = FieldArray::default();
        array.push(AMQPValue::Double(1.0));
        array.push(text("a"));
        let rows = [
            (text("foo"), value("<<\"foo\">>")),
            (text(""), value("<<>>")),
            (text("All"), value("<<\"All\">>")),
            (text("a\"b\\\n"), value("<<\"a\\\"b\\\\\\n\">>")),
            (
                AMQPValue::LongString(vec![0, 1, 255].into()),
                value("<<0,1,255>>"),
            ),
            (text("é\u{1b}\t"), value("<<\"é\\e\\t\">>")),
            (text("Ã"), value("<<195,131>>")),
            (text("\u{7f}"), value("<<127>>")),
            (
                AMQPValue::LongString(vec![b'a', 0xE9].into()),
                value("<<\"aé\">>"),
            ),
            (AMQPValue::LongInt(1), kind("signedint", "1")),
            (AMQPValue::LongLongInt(-1), kind("long", "-1")),
            (AMQPValue::Boolean(true), kind("bool", "true")),
            (AMQPValue::Void, kind("void", "undefined")),
            (
                AMQPValue::ByteArray(b"all".as_slice().into()),
                kind("binary", "<<\"all\">>"),
            ),
            (
                AMQPValue::DecimalValue(DecimalValue { scale: 1, value: 15 }),
                kind("decimal", "{1,15}"),
            ),
            (AMQPValue::FieldArray(FieldArray::default()), kind("array", "[]")),
            (
                AMQPValue::FieldTable(nested),
                kind("table", "[{<<\"k\">>,short,-3}]"),
            ),
            (
                AMQPValue::FieldArray(array),
                kind("array", "[{double,1.0},{longstr,<<\"a\">>}]"),
            ),
        ];
        for (given, expected) in rows {
            assert_eq!(refusal(given.clone()), Some(expected), "{given:?}");
        }
    }
}
