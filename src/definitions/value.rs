//! AMQP values as JSON has them, and back.
//!
//! JSON knows fewer types: integers of all widths and timestamps become numbers, and come back as the widest
//! integer, as in RabbitMQ.

use amq_protocol::types::{AMQPValue, FieldTable, ShortString};
use serde_json::{Map, Number, Value};

use crate::amqp::field_table::DEPTH_MAX;

/// Why JSON is no field table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ValueError {
    #[error("the name {0:?} is longer than 255 bytes")]
    LongName(String),
    #[error("the number {0} does not fit 64 bits")]
    LargeNumber(Number),
    #[error("it is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
}

/// The table that an object stands for.
pub(super) fn table_from_json(object: &Map<String, Value>) -> Result<FieldTable, ValueError> {
    table(object, 1)
}

fn table(object: &Map<String, Value>, depth: usize) -> Result<FieldTable, ValueError> {
    if depth > DEPTH_MAX {
        return Err(ValueError::TooDeep);
    }
    let mut table = FieldTable::default();
    for (name, member) in object {
        let short = ShortString::try_new(name.as_str()).map_err(|_| ValueError::LongName(name.clone()))?;
        table.insert(short, value(member, depth)?);
    }
    Ok(table)
}

fn value(json: &Value, depth: usize) -> Result<AMQPValue, ValueError> {
    Ok(match json {
        Value::Null => AMQPValue::Void,
        Value::Bool(flag) => AMQPValue::Boolean(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => AMQPValue::LongLongInt(integer),
            (None, Some(double)) if number.is_f64() => AMQPValue::Double(double),
            _ => return Err(ValueError::LargeNumber(number.clone())),
        },
        Value::String(text) => AMQPValue::LongString(text.as_str().into()),
        Value::Array(_) if depth == DEPTH_MAX => return Err(ValueError::TooDeep),
        Value::Array(members) => {
            let members = members.iter().map(|member| value(member, depth + 1));
            AMQPValue::FieldArray(members.collect::<Result<Vec<_>, _>>()?.into())
        }
        Value::Object(object) => AMQPValue::FieldTable(table(object, depth + 1)?),
    })
}

/// The object that stands for a table. Bytes that are no text are replaced.
pub(super) fn table_to_json(table: &FieldTable) -> Map<String, Value> {
    let members = table.inner().iter();
    members
        .map(|(name, value)| (name.as_str().to_owned(), to_json(value)))
        .collect()
}

/// A value as JSON has it. Bytes that are no text are replaced.
pub(super) fn to_json(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(flag) => Value::Bool(*flag),
        AMQPValue::ShortShortInt(integer) => Value::from(*integer),
        AMQPValue::ShortShortUInt(integer) => Value::from(*integer),
        AMQPValue::ShortInt(integer) => Value::from(*integer),
        AMQPValue::ShortUInt(integer) => Value::from(*integer),
        AMQPValue::LongInt(integer) => Value::from(*integer),
        AMQPValue::LongUInt(integer) => Value::from(*integer),
        AMQPValue::LongLongInt(integer) => Value::from(*integer),
        // A time that far away is not read back as an integer.
        AMQPValue::Timestamp(seconds) => match i64::try_from(*seconds) {
            Ok(seconds) => Value::from(seconds),
            Err(_) => Value::from(i64::MAX),
        },
        AMQPValue::Float(number) => Value::from(f64::from(*number)),
        AMQPValue::Double(number) => Value::from(*number),
        AMQPValue::DecimalValue(decimal) => {
            Value::from(f64::from(decimal.value) / 10_f64.powi(i32::from(decimal.scale)))
        }
        AMQPValue::ShortString(text) => Value::from(text.as_str()),
        AMQPValue::LongString(text) => Value::from(lossy(text.as_bytes())),
        AMQPValue::ByteArray(bytes) => Value::from(lossy(bytes.as_slice())),
        AMQPValue::FieldArray(members) => members.as_slice().iter().map(to_json).collect(),
        AMQPValue::FieldTable(table) => Value::Object(table_to_json(table)),
        AMQPValue::Void => Value::Null,
    }
}

/// Whether [`table_to_json`] keeps every byte of the table's texts.
pub(super) fn is_text(table: &FieldTable) -> bool {
    table.inner().values().all(is_text_value)
}

fn is_text_value(value: &AMQPValue) -> bool {
    match value {
        AMQPValue::LongString(text) => str::from_utf8(text.as_bytes()).is_ok(),
        AMQPValue::ByteArray(bytes) => str::from_utf8(bytes.as_slice()).is_ok(),
        AMQPValue::FieldArray(members) => members.as_slice().iter().all(is_text_value),
        AMQPValue::FieldTable(table) => is_text(table),
        _ => true,
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use amq_protocol::types::DecimalValue;
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(object) => object,
            other => panic!("{other} is no object"),
        }
    }

    fn one(value: AMQPValue) -> Value {
        let mut table = FieldTable::default();
        table.insert("k".into(), value);
        table_to_json(&table)["k"].clone()
    }

    #[test]
    fn what_json_knows_comes_back_as_it_was() {
        let given = object(json!({
            "bool": true, "null": null, "max": i64::MAX, "min": i64::MIN, "double": 1.5, "whole": 2.0,
            "text": "é\u{0}", "list": [1, "a", [], {"k": [null]}], "table": {"": {}},
        }));
        let table = table_from_json(&given).unwrap();
        assert_eq!(table_to_json(&table), given);
        assert_eq!(table.inner()["max"], AMQPValue::LongLongInt(i64::MAX));
        assert_eq!(table.inner()["whole"], AMQPValue::Double(2.0));
    }

    #[test]
    fn what_json_does_not_know_becomes_what_comes_next() {
        let rows = [
            (AMQPValue::ShortShortInt(-1), json!(-1)),
            (AMQPValue::ShortUInt(7), json!(7)),
            (AMQPValue::LongUInt(u32::MAX), json!(u32::MAX)),
            (AMQPValue::Timestamp(5), json!(5)),
            (AMQPValue::Timestamp(u64::MAX), json!(i64::MAX)),
            (
                AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 150 }),
                json!(1.5),
            ),
            (AMQPValue::Float(0.5), json!(0.5)),
            (AMQPValue::Double(f64::NAN), Value::Null),
            (AMQPValue::ShortString("s".into()), json!("s")),
            (AMQPValue::LongString(vec![b'a', 0xff].into()), json!("a\u{fffd}")),
            (AMQPValue::ByteArray(b"x".as_slice().into()), json!("x")),
        ];
        for (value, expected) in rows {
            assert_eq!(one(value.clone()), expected, "{value:?}");
        }
        let mut table = FieldTable::default();
        assert!(is_text(&table));
        let inner = vec![AMQPValue::ByteArray(vec![0xff].into())];
        table.insert("k".into(), AMQPValue::FieldArray(inner.into()));
        assert!(!is_text(&table));
    }

    #[test]
    fn what_no_table_can_hold_is_refused() {
        let long = "x".repeat(256);
        let refused = |value| table_from_json(&object(value)).unwrap_err();
        assert_eq!(refused(json!({ &long: 1 })), ValueError::LongName(long.clone()));
        assert!(matches!(
            refused(json!({ "k": u64::MAX })),
            ValueError::LargeNumber(_)
        ));
        let nested = |levels: usize, innermost: Value| (0..levels).fold(innermost, |inner, _| json!([inner]));
        let deepest = nested(DEPTH_MAX - 1, json!(1));
        assert!(table_from_json(&object(json!({ "k": deepest }))).is_ok());
        for innermost in [json!([]), json!({})] {
            let deeper = nested(DEPTH_MAX - 1, innermost);
            assert_eq!(refused(json!({ "k": deeper })), ValueError::TooDeep);
        }
    }

    #[test]
    fn the_deepest_table_is_one_that_the_store_reads_back() {
        let nested = (0..DEPTH_MAX - 1).fold(json!(1), |inner, _| json!({ "k": inner }));
        let table = table_from_json(&object(json!({ "k": nested }))).unwrap();
        let mut entries = Vec::new();
        crate::amqp::field_table::write(&mut entries, &table);
        assert_eq!(crate::amqp::field_table::validate(&entries), Ok(()));
        assert_eq!(crate::amqp::field_table::to_owned(&entries), table);
    }
}
