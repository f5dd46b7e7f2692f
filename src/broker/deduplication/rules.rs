//! What arguments say about deduplication: which key, how long, how many. The names are those of RabbitMQ's plugin
//! and of LavinMQ.

use amq_protocol::types::{AMQPValue, FieldTable};
use sha2::{Digest, Sha256};

use crate::amqp::content::{self, Properties};
use crate::amqp::field_table::{self, Value};
use crate::broker::exchange::comparable;
use crate::broker::queue_arguments::MILLISECONDS_MAX;
use crate::broker::refusal::integer;
use crate::store::MessageKey;

/// The argument that asks for deduplication.
pub const X_MESSAGE_DEDUPLICATION: &str = "x-message-deduplication";

const X_CACHE_SIZE: &str = "x-cache-size";
const X_CACHE_TTL: &str = "x-cache-ttl";
const X_CACHE_PERSISTENCE: &str = "x-cache-persistence";
const X_DEDUPLICATION_HEADER: &str = "x-deduplication-header";
const X_DEDUPLICATION_BY: &str = "x-deduplication-by";

/// How long a key is known if nothing says otherwise: ten minutes.
const WINDOW: u64 = 600_000;

/// How long the plugin's exchanges know a key: until there are too many.
const FOREVER: u64 = MILLISECONDS_MAX.unsigned_abs();

/// Keys that are known at a time if nothing says otherwise.
const SIZE: usize = 1_000_000;

/// Keys that may be asked for: they are in memory, some eighty bytes each.
const SIZE_MAX: i64 = 10_000_000;

/// What deduplication goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    key: KeySource,
    /// How long a key is known, in milliseconds, unless its message says otherwise.
    window: u64,
    /// Keys at most.
    pub size: usize,
    /// Keys of persistent messages survive a restart.
    pub is_persistent: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum KeySource {
    /// The header of this name.
    Header(Box<[u8]>),
    /// The `message_id` property.
    MessageId,
}

/// Why arguments are not acceptable. Displays as the explanation of reply code 406.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesRefusal {
    /// Not a boolean.
    #[error("Invalid argument, 'x-message-deduplication' must be a boolean")]
    Switch,
    /// No certain number of keys.
    #[error("Missing or invalid argument, 'x-cache-size' must be an integer greater than 0")]
    Size,
    /// More keys than memory should hold.
    #[error("Invalid argument, 'x-cache-size' must be at most 10000000")]
    SizeTooLarge,
    /// No certain time.
    #[error("Invalid argument, 'x-cache-ttl' must be an integer greater than 0")]
    Window,
    /// More than ten years.
    #[error("Invalid argument, 'x-cache-ttl' must be at most 315360000000")]
    WindowTooLong,
    /// Neither way of keeping.
    #[error("Invalid argument, 'x-cache-persistence' must be either 'disk' or 'memory'")]
    Persistence,
    /// No header's name.
    #[error("Invalid argument, 'x-deduplication-header' must be a string")]
    Header,
    /// Neither source.
    #[error("Invalid argument, 'x-deduplication-by' must be either 'header' or 'message-id'")]
    By,
}

impl Rules {
    /// What the arguments ask for; nothing if they do not ask. `is_asked` is for the plugin's exchange type, which
    /// asks by itself and knows no window.
    ///
    /// # Errors
    /// The first argument that is not acceptable; none is looked at if nothing is asked for.
    pub fn from_arguments(arguments: &FieldTable, is_asked: bool) -> Result<Option<Self>, RulesRefusal> {
        let is_switched_on = match arguments.inner().get(X_MESSAGE_DEDUPLICATION) {
            None => false,
            Some(AMQPValue::Boolean(is_on)) => *is_on,
            Some(_) => return Err(RulesRefusal::Switch),
        };
        if !is_switched_on && !is_asked {
            return Ok(None);
        }
        let window = number(arguments, X_CACHE_TTL).map_err(|NotPositive| RulesRefusal::Window)?;
        if window.is_some_and(|window| window > MILLISECONDS_MAX) {
            return Err(RulesRefusal::WindowTooLong);
        }
        let size = number(arguments, X_CACHE_SIZE).map_err(|NotPositive| RulesRefusal::Size)?;
        if size.is_some_and(|size| size > SIZE_MAX) {
            return Err(RulesRefusal::SizeTooLarge);
        }
        Ok(Some(Self {
            key: key_source(arguments)?,
            window: window.map_or(if is_asked { FOREVER } else { WINDOW }, i64::unsigned_abs),
            size: size.map_or(SIZE, |size| usize::try_from(size).unwrap_or(SIZE)),
            is_persistent: match arguments.inner().get(X_CACHE_PERSISTENCE) {
                None => true,
                Some(value) => match string(value) {
                    Some(b"disk") => true,
                    Some(b"memory") => false,
                    _ => return Err(RulesRefusal::Persistence),
                },
            },
        }))
    }

    /// The key of a message with these property flags and values. One without is never a duplicate. Tables, arrays
    /// and void are no keys.
    pub fn key(&self, properties: &[u8]) -> Option<MessageKey> {
        let mut bytes = Vec::new();
        match &self.key {
            KeySource::Header(name) => match header(properties, name)? {
                Value::Table(_) | Value::Array(_) | Value::Void => return None,
                value => comparable::write(&mut bytes, value),
            },
            KeySource::MessageId => {
                let id = Properties::parse(properties).ok()?.message_id?;
                bytes.extend_from_slice(id);
            }
        }
        let digest = Sha256::digest(&bytes);
        Some(MessageKey(
            digest[..16].try_into().expect("sixteen bytes were taken"),
        ))
    }

    /// How long such a message's key is known, in milliseconds.
    pub fn window(&self, properties: &[u8]) -> u64 {
        match header(properties, X_CACHE_TTL.as_bytes()) {
            Some(Value::Int(window)) if window > 0 => window.unsigned_abs().min(FOREVER),
            _ => self.window,
        }
    }
}

/// An argument that should be a number above zero is none.
struct NotPositive;

/// The plugin takes decimal strings too.
fn number(arguments: &FieldTable, argument: &str) -> Result<Option<i64>, NotPositive> {
    let Some(value) = arguments.inner().get(argument) else {
        return Ok(None);
    };
    let parsed = || std::str::from_utf8(string(value)?).ok()?.parse().ok();
    let number = integer(value).or_else(parsed);
    number.filter(|number| *number > 0).map(Some).ok_or(NotPositive)
}

fn key_source(arguments: &FieldTable) -> Result<KeySource, RulesRefusal> {
    let header = match arguments.inner().get(X_DEDUPLICATION_HEADER) {
        None => X_DEDUPLICATION_HEADER.as_bytes(),
        Some(value) => string(value).ok_or(RulesRefusal::Header)?,
    };
    let by = arguments.inner().get(X_DEDUPLICATION_BY);
    match by.map(|value| string(value).unwrap_or_default()) {
        None | Some(b"header") => Ok(KeySource::Header(header.into())),
        Some(b"message-id") => Ok(KeySource::MessageId),
        Some(_) => Err(RulesRefusal::By),
    }
}

fn string(value: &AMQPValue) -> Option<&[u8]> {
    match value {
        AMQPValue::LongString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

fn header<'a>(properties: &'a [u8], name: &[u8]) -> Option<Value<'a>> {
    let entries = content::headers_range(properties)?;
    field_table::lookup(&properties[entries], name)
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

    fn rules(pairs: &[(&str, AMQPValue)]) -> Rules {
        Rules::from_arguments(&table(pairs), true)
            .expect("they are acceptable")
            .expect("it is asked for")
    }

    fn with_header(name: &str, value: AMQPValue) -> Vec<u8> {
        let mut entries = Vec::new();
        field_table::write(&mut entries, &table(&[(name, value)]));
        content::with_headers(&[0, 0], Some(&entries))
    }

    #[test]
    fn nothing_is_asked_unless_it_is_switched_on() {
        let odd = (X_CACHE_SIZE, text("no number"));
        let found = |pairs: &[(&str, AMQPValue)]| Rules::from_arguments(&table(pairs), false);
        assert_eq!(found(std::slice::from_ref(&odd)), Ok(None));
        let switched = |is_on| (X_MESSAGE_DEDUPLICATION, AMQPValue::Boolean(is_on));
        assert_eq!(found(&[odd.clone(), switched(false)]), Ok(None));
        assert_eq!(found(&[odd, switched(true)]), Err(RulesRefusal::Size));
        let all = found(&[switched(true)]).expect("acceptable").expect("asked for");
        assert_eq!((all.window, all.size, all.is_persistent), (WINDOW, SIZE, true));
        assert_eq!(rules(&[]).window, FOREVER, "the plugin's type knows no window");
    }

    #[test]
    fn arguments_are_taken_as_the_plugin_takes_them() {
        let found = rules(&[
            (X_CACHE_SIZE, text("100")),
            (X_CACHE_TTL, AMQPValue::LongInt(5_000)),
            (X_CACHE_PERSISTENCE, text("memory")),
        ]);
        assert_eq!(
            (found.size, found.window, found.is_persistent),
            (100, 5_000, false)
        );
        let refusals = [
            (X_MESSAGE_DEDUPLICATION, text("true"), RulesRefusal::Switch),
            (X_CACHE_SIZE, AMQPValue::LongInt(0), RulesRefusal::Size),
            (X_CACHE_SIZE, text("many"), RulesRefusal::Size),
            (
                X_CACHE_SIZE,
                AMQPValue::LongInt(10_000_001),
                RulesRefusal::SizeTooLarge,
            ),
            (X_CACHE_TTL, AMQPValue::LongInt(-1), RulesRefusal::Window),
            (X_CACHE_TTL, AMQPValue::Double(1.0), RulesRefusal::Window),
            (
                X_CACHE_TTL,
                AMQPValue::LongLongInt(315_360_000_001),
                RulesRefusal::WindowTooLong,
            ),
            (X_CACHE_PERSISTENCE, text("tape"), RulesRefusal::Persistence),
            (
                X_CACHE_PERSISTENCE,
                AMQPValue::Boolean(true),
                RulesRefusal::Persistence,
            ),
            (
                X_DEDUPLICATION_HEADER,
                AMQPValue::LongInt(1),
                RulesRefusal::Header,
            ),
            (X_DEDUPLICATION_BY, text("body"), RulesRefusal::By),
            (X_DEDUPLICATION_BY, AMQPValue::LongInt(1), RulesRefusal::By),
        ];
        for (argument, value, expected) in refusals {
            let arguments = table(&[(argument, value)]);
            assert_eq!(
                Rules::from_arguments(&arguments, true),
                Err(expected),
                "{arguments:?}"
            );
        }
    }

    #[test]
    fn a_key_is_a_header_of_any_scalar() {
        let rules = rules(&[]);
        let key = |value| rules.key(&with_header(X_DEDUPLICATION_HEADER, value));
        let scalars = [
            text("1"),
            text("2"),
            text(""),
            AMQPValue::LongInt(1),
            AMQPValue::Double(1.0),
            AMQPValue::Boolean(true),
            AMQPValue::Timestamp(1),
        ];
        for (place, one) in scalars.iter().enumerate() {
            for other in &scalars[..place] {
                assert_ne!(key(one.clone()), key(other.clone()), "{one:?} {other:?}");
            }
            assert!(key(one.clone()).is_some());
        }
        assert_eq!(key(AMQPValue::ShortInt(1)), key(AMQPValue::LongInt(1)));
        assert_eq!(key(AMQPValue::Void), None);
        assert_eq!(key(AMQPValue::FieldTable(FieldTable::default())), None);
        assert_eq!(rules.key(&with_header("other", text("1"))), None);
        assert_eq!(rules.key(&[0, 0]), None);
    }

    #[test]
    fn a_key_can_be_another_header_or_the_message_id() {
        let by_order = rules(&[(X_DEDUPLICATION_HEADER, text("order"))]);
        assert!(by_order.key(&with_header("order", text("1"))).is_some());
        assert_eq!(
            by_order.key(&with_header(X_DEDUPLICATION_HEADER, text("1"))),
            None
        );
        let by_id = rules(&[(X_DEDUPLICATION_BY, text("message-id"))]);
        let with_id = |id: u8| [0, 0x80, 1, id];
        assert_eq!(by_id.key(&with_id(1)), by_id.key(&with_id(1)));
        assert_ne!(by_id.key(&with_id(1)), by_id.key(&with_id(2)));
        assert_eq!(by_id.key(&with_header(X_DEDUPLICATION_HEADER, text("1"))), None);
    }

    #[test]
    fn a_message_may_say_how_long_its_key_is_known() {
        let rules = rules(&[(X_CACHE_TTL, AMQPValue::LongInt(5_000))]);
        let window = |value| rules.window(&with_header(X_CACHE_TTL, value));
        assert_eq!(window(AMQPValue::LongInt(70)), 70);
        assert_eq!(window(AMQPValue::LongLongInt(i64::MAX)), FOREVER);
        assert_eq!(window(AMQPValue::LongInt(0)), 5_000);
        assert_eq!(window(text("70")), 5_000);
        assert_eq!(rules.window(&[0, 0]), 5_000);
    }
}
