//! The headers that delay a message: `x-delay`, milliseconds from now, and `x-deliver-at`, a point in time.

use amq_protocol::types::AMQPValue;

use crate::amqp::content::{self, Properties};
use crate::amqp::field_table::{self, Value};
use crate::clock::Timestamp;
use crate::message::Message;
use crate::store::DelayedId;

const X_DELAY: &[u8] = b"x-delay";
const X_DELIVER_AT: &[u8] = b"x-deliver-at";

/// When a message is due that comes now with these header entries; with both headers at the later time. `None` when
/// it is not to be delayed: the headers are missing, no numbers, or do not lie ahead. `ahead_millis` is how far `now` is
/// ahead of the time of day, by which a point in time is meant.
pub fn due(headers: &[u8], now: Timestamp, ahead_millis: u64) -> Option<Timestamp> {
    let delay = field_table::lookup(headers, X_DELAY).and_then(ahead);
    let deliver_at = match field_table::lookup(headers, X_DELIVER_AT) {
        Some(Value::Timestamp(seconds)) => Some(seconds.saturating_mul(1000)),
        other => other.and_then(ahead),
    };
    let due = delay
        .map(|millis| now.plus(millis))
        .max(deliver_at.map(|at| Timestamp::from_millis(at).plus(ahead_millis)))?;
    (due > now).then_some(due.min(DelayedId::DUE_MAX))
}

/// The message as it goes on when its time has come: RabbitMQ negates `x-delay`, so that the next exchange does not
/// delay it again and consumers see that it was delayed.
pub fn released(message: &Message) -> Message {
    let properties = message.properties();
    let headers = Properties::parse(properties)
        .ok()
        .and_then(|parsed| parsed.headers);
    let Some(headers) = headers else {
        return message.clone();
    };
    let Some(delay) = field_table::lookup(headers, X_DELAY).and_then(ahead) else {
        return message.clone();
    };
    let mut entries = field_table::without_keys(headers, &[X_DELAY]);
    let negated = i64::try_from(delay).map_or(i64::MIN, |delay| -delay);
    let value = i32::try_from(negated).map_or(AMQPValue::LongLongInt(negated), AMQPValue::LongInt);
    field_table::write_entry(&mut entries, X_DELAY, &value);
    let properties = content::with_headers(properties, Some(&entries));
    let build = if message.is_dead_letter() {
        Message::dead_letter
    } else {
        Message::new
    };
    build(
        message.exchange(),
        message.routing_key(),
        &properties,
        message.body(),
    )
}

/// A positive whole number: as RabbitMQ's plugin does, from any integer, from a string of digits, and from a number
/// with a point without what is behind it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the conversion saturates, and fractions are to be cut off"
)]
fn ahead(value: Value<'_>) -> Option<u64> {
    let number = match value {
        Value::Int(number) => number,
        Value::Float(number) => f64::from(number) as i64,
        Value::Double(number) => number as i64,
        Value::Decimal { scale, value } => 10i64
            .checked_pow(scale.into())
            .map_or(0, |divisor| i64::from(value) / divisor),
        Value::LongString(text) | Value::Bytes(text) => std::str::from_utf8(text).ok()?.parse().ok()?,
        _ => return None,
    };
    u64::try_from(number).ok().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use amq_protocol::types::{DecimalValue, FieldTable};

    use super::*;

    const NOW: u64 = 1_000_000;

    fn entries(headers: &[(&str, AMQPValue)]) -> Vec<u8> {
        let mut entries = Vec::new();
        for (name, value) in headers {
            field_table::write_entry(&mut entries, name.as_bytes(), value);
        }
        entries
    }

    fn due_in(headers: &[(&str, AMQPValue)]) -> Option<u64> {
        due(&entries(headers), Timestamp::from_millis(NOW), 0).map(|due| due.millis() - NOW)
    }

    #[test]
    fn a_delay_is_any_positive_number() {
        let text = |text: &str| AMQPValue::LongString(text.into());
        let rows = [
            (AMQPValue::ShortShortInt(5), Some(5)),
            (AMQPValue::ShortShortUInt(200), Some(200)),
            (AMQPValue::ShortInt(300), Some(300)),
            (AMQPValue::ShortUInt(60_000), Some(60_000)),
            (AMQPValue::LongInt(70_000), Some(70_000)),
            (AMQPValue::LongUInt(u32::MAX), Some(4_294_967_295)),
            (AMQPValue::LongLongInt(1 << 40), Some(1 << 40)),
            (
                AMQPValue::LongLongInt(i64::MAX),
                Some(i64::MAX.unsigned_abs() - NOW),
            ),
            (AMQPValue::Float(2.9), Some(2)),
            (AMQPValue::Double(5000.5), Some(5000)),
            (
                AMQPValue::Double(f64::INFINITY),
                Some(i64::MAX.unsigned_abs() - NOW),
            ),
            (
                AMQPValue::DecimalValue(DecimalValue { scale: 1, value: 125 }),
                Some(12),
            ),
            (text("5000"), Some(5000)),
            (text("+7"), Some(7)),
            (AMQPValue::LongInt(0), None),
            (AMQPValue::LongInt(-5), None),
            (AMQPValue::Double(0.9), None),
            (AMQPValue::Double(f64::NAN), None),
            (text("-5"), None),
            (text("5s"), None),
            (text(""), None),
            (AMQPValue::Boolean(true), None),
            (AMQPValue::Void, None),
            (AMQPValue::Timestamp(NOW * 2), None),
            (AMQPValue::FieldTable(FieldTable::default()), None),
        ];
        for (value, expected) in rows {
            assert_eq!(due_in(&[("x-delay", value.clone())]), expected, "{value:?}");
        }
        assert_eq!(due_in(&[]), None);
    }

    #[test]
    fn a_time_to_deliver_at_is_in_milliseconds_or_a_timestamp_in_seconds() {
        let now = NOW.cast_signed();
        let rows = [
            (AMQPValue::LongLongInt(now + 5), Some(5)),
            (AMQPValue::LongString((now + 6).to_string().into()), Some(6)),
            (AMQPValue::Timestamp(NOW / 1000 + 2), Some(2000)),
            (
                AMQPValue::Timestamp(u64::MAX),
                Some(i64::MAX.unsigned_abs() - NOW),
            ),
            (AMQPValue::LongLongInt(now), None),
            (AMQPValue::LongLongInt(now - 1), None),
            (AMQPValue::LongLongInt(-1), None),
            (AMQPValue::Timestamp(NOW / 1000), None),
            (AMQPValue::Boolean(true), None),
        ];
        for (value, expected) in rows {
            assert_eq!(due_in(&[("x-deliver-at", value.clone())]), expected, "{value:?}");
        }
    }

    #[test]
    fn of_both_the_later_counts() {
        let at = |ahead: i64| ("x-deliver-at", AMQPValue::LongLongInt(NOW.cast_signed() + ahead));
        let delay = |millis| ("x-delay", AMQPValue::LongInt(millis));
        assert_eq!(due_in(&[at(50), delay(20)]), Some(50));
        assert_eq!(due_in(&[at(50), delay(70)]), Some(70));
        assert_eq!(due_in(&[at(-50), delay(70)]), Some(70));
        assert_eq!(due_in(&[at(50), delay(-70)]), Some(50));
    }

    #[test]
    fn a_point_in_time_is_meant_by_the_time_of_day() {
        let headers = |name: &str, value| entries(&[(name, AMQPValue::LongLongInt(value))]);
        let due = |headers: &[u8]| due(headers, Timestamp::from_millis(NOW), 400_000);
        let deliver_at = headers("x-deliver-at", 600_007);
        assert_eq!(due(&deliver_at), Some(Timestamp::from_millis(NOW + 7)));
        assert_eq!(due(&headers("x-deliver-at", 600_000)), None);
        assert_eq!(due(&headers("x-delay", 9)), Some(Timestamp::from_millis(NOW + 9)));
    }

    #[test]
    fn a_released_message_has_its_delay_negated_and_all_else_as_it_was() {
        let rows = [
            (AMQPValue::LongUInt(5000), Value::Int(-5000)),
            (AMQPValue::LongString("5000".into()), Value::Int(-5000)),
            (AMQPValue::Double(7.5), Value::Int(-7)),
            (AMQPValue::LongLongInt(1 << 40), Value::Int(-(1 << 40))),
            (AMQPValue::LongLongInt(i64::MAX), Value::Int(-i64::MAX)),
            (AMQPValue::LongInt(-3), Value::Int(-3)),
            (AMQPValue::Boolean(true), Value::Bool(true)),
        ];
        for (given, expected) in rows {
            let entries = entries(&[("a", AMQPValue::Void), ("x-delay", given.clone())]);
            let properties = content::with_headers(&[0x10, 0, 2], Some(&entries));
            let message = Message::dead_letter(b"x", b"key", &properties, b"body");
            let released = released(&message);
            let parsed = Properties::parse(released.properties()).expect("it was written just now");
            let headers = parsed.headers.expect("it had some");
            assert_eq!(field_table::lookup(headers, X_DELAY), Some(expected), "{given:?}");
            assert_eq!(field_table::lookup(headers, b"a"), Some(Value::Void));
            assert_eq!(released.envelope(), message.envelope());
            assert_eq!(released.body(), message.body());
            assert!(released.is_persistent() && released.is_dead_letter());
        }
    }
}
