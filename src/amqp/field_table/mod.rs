//! Field tables, read in place from the bytes between a table's length and its end ("entries").
//!
//! The broker forwards tables byte for byte; only arguments that it stores become a `FieldTable`.
//! [`validate`] judges; everything else takes validated entries and leaves out what does not parse.
//! Tags are RabbitMQ's, not the spec's: `s` is a short integer, `L` and `l` are the same signed one.

mod encode;

use amq_protocol::types::{AMQPValue, DecimalValue, FieldArray, FieldTable, ShortString};

pub use encode::{type_name, write, write_entry};

/// Tables and arrays inside each other, the outermost counted. It bounds the recursion, here and in amq-protocol.
pub const DEPTH_MAX: usize = 32;

/// Why entries are not a field table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// A key or a value reaches past the end.
    #[error("a field table is cut short")]
    Cut,
    /// No such field type.
    #[error("a field table holds a value of unknown type {0}")]
    UnknownTag(u8),
    /// More than [`DEPTH_MAX`] levels.
    #[error("a field table is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
}

/// One value, borrowed. Integers of every width are one kind here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// `t`
    Bool(bool),
    /// `b`, `B`, `s`, `U`, `u`, `I`, `i`, `l`, `L`
    Int(i64),
    /// `f`
    Float(f32),
    /// `d`
    Double(f64),
    /// `D`: value divided by ten to the power of scale.
    Decimal {
        /// Digits behind the point.
        scale: u8,
        /// All digits.
        value: u32,
    },
    /// `S`, any bytes.
    LongString(&'a [u8]),
    /// `x`
    Bytes(&'a [u8]),
    /// `A`: the values without the length, for [`Values`].
    Array(&'a [u8]),
    /// `F`: the entries without the length, for [`Entries`].
    Table(&'a [u8]),
    /// `T`: seconds since the epoch.
    Timestamp(u64),
    /// `V`
    Void,
}

/// The entries of a table in their order; ends early where they do not parse.
#[derive(Clone, Debug)]
pub struct Entries<'a>(&'a [u8]);

/// The values of an array in their order; ends early where they do not parse.
#[derive(Clone, Debug)]
pub struct Values<'a>(&'a [u8]);

/// A value as it stands: its tag, and its bytes without tag and length.
#[derive(Clone, Copy)]
struct Raw<'a> {
    tag: u8,
    bytes: &'a [u8],
}

/// Checks entries to the last byte, nested ones too. Keys and strings may be any bytes, keys may repeat.
///
/// # Errors
/// The first thing that is wrong.
pub fn validate(entries: &[u8]) -> Result<(), TableError> {
    validate_level(entries, true, 1)
}

/// The value of a key; the first one when the key repeats, as RabbitMQ does.
pub fn lookup<'a>(entries: &'a [u8], key: &[u8]) -> Option<Value<'a>> {
    Entries::new(entries)
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

/// Whether [`rewrite_long_tags`] would change anything.
pub fn has_long_tags(entries: &[u8]) -> bool {
    has_long_tags_level(entries, true, 1)
}

/// Writes `L` as `l` and `U` as `s`, nested ones too: same values and widths, but Java, Go and .NET clients
/// refuse the former.
pub fn rewrite_long_tags(entries: &mut [u8]) {
    rewrite_level(entries, true, 1);
}

/// A table to keep. Of a repeated key the first value stays; a key that is not UTF-8 gets replacement characters.
pub fn to_owned(entries: &[u8]) -> FieldTable {
    owned_table(entries, 1)
}

/// The entries whose key is none of `keys`, byte for byte. Only the outermost table is looked at.
pub fn without_keys(entries: &[u8], keys: &[&[u8]]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(entries.len());
    let mut rest = entries;
    while let Ok((key, _, tail)) = split_entry(rest) {
        if !keys.contains(&key) {
            kept.extend_from_slice(&rest[..rest.len() - tail.len()]);
        }
        rest = tail;
    }
    kept
}

impl<'a> Entries<'a> {
    /// Over the bytes of a table without its length.
    pub fn new(entries: &'a [u8]) -> Self {
        Self(entries)
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, raw, rest) = split_entry(self.0).ok()?;
        self.0 = rest;
        Some((key, raw.value()))
    }
}

impl<'a> Values<'a> {
    /// Over the bytes of an array without its length.
    pub fn new(values: &'a [u8]) -> Self {
        Self(values)
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (raw, rest) = split_value(self.0).ok()?;
        self.0 = rest;
        Some(raw.value())
    }
}

impl<'a> Raw<'a> {
    fn value(self) -> Value<'a> {
        match self.tag {
            b't' => Value::Bool(self.bytes[0] != 0),
            b'b' => Value::Int(i8::from_be_bytes(self.fixed()).into()),
            b'B' => Value::Int(self.bytes[0].into()),
            b's' | b'U' => Value::Int(i16::from_be_bytes(self.fixed()).into()),
            b'u' => Value::Int(u16::from_be_bytes(self.fixed()).into()),
            b'I' => Value::Int(i32::from_be_bytes(self.fixed()).into()),
            b'i' => Value::Int(u32::from_be_bytes(self.fixed()).into()),
            b'l' | b'L' => Value::Int(i64::from_be_bytes(self.fixed())),
            b'f' => Value::Float(f32::from_be_bytes(self.fixed())),
            b'd' => Value::Double(f64::from_be_bytes(self.fixed())),
            b'D' => {
                let [scale, value @ ..] = self.fixed::<5>();
                Value::Decimal {
                    scale,
                    value: u32::from_be_bytes(value),
                }
            }
            b'S' => Value::LongString(self.bytes),
            b'x' => Value::Bytes(self.bytes),
            b'A' => Value::Array(self.bytes),
            b'F' => Value::Table(self.bytes),
            b'T' => Value::Timestamp(u64::from_be_bytes(self.fixed())),
            _ => Value::Void,
        }
    }

    /// The value to keep; below the deepest level tables and arrays come out empty.
    fn owned(self, depth: usize) -> AMQPValue {
        match (self.tag, self.value()) {
            (b'b', _) => AMQPValue::ShortShortInt(i8::from_be_bytes(self.fixed())),
            (b'B', _) => AMQPValue::ShortShortUInt(self.bytes[0]),
            (b's' | b'U', _) => AMQPValue::ShortInt(i16::from_be_bytes(self.fixed())),
            (b'u', _) => AMQPValue::ShortUInt(u16::from_be_bytes(self.fixed())),
            (b'I', _) => AMQPValue::LongInt(i32::from_be_bytes(self.fixed())),
            (b'i', _) => AMQPValue::LongUInt(u32::from_be_bytes(self.fixed())),
            (_, Value::Int(int)) => AMQPValue::LongLongInt(int),
            (_, Value::Bool(bool)) => AMQPValue::Boolean(bool),
            (_, Value::Float(float)) => AMQPValue::Float(float),
            (_, Value::Double(double)) => AMQPValue::Double(double),
            (_, Value::Decimal { scale, value }) => AMQPValue::DecimalValue(DecimalValue { scale, value }),
            (_, Value::LongString(bytes)) => AMQPValue::LongString(bytes.into()),
            (_, Value::Bytes(bytes)) => AMQPValue::ByteArray(bytes.into()),
            (_, Value::Array(values)) => AMQPValue::FieldArray(owned_array(values, depth + 1)),
            (_, Value::Table(entries)) => AMQPValue::FieldTable(owned_table(entries, depth + 1)),
            (_, Value::Timestamp(seconds)) => AMQPValue::Timestamp(seconds),
            (_, Value::Void) => AMQPValue::Void,
        }
    }

    fn fixed<const N: usize>(self) -> [u8; N] {
        self.bytes.try_into().expect("split_value measured it by its tag")
    }
}

/// Key, value and the bytes behind them.
fn split_entry(entries: &[u8]) -> Result<(&[u8], Raw<'_>, &[u8]), TableError> {
    let (len, rest) = entries.split_first().ok_or(TableError::Cut)?;
    let (key, rest) = rest.split_at_checked(usize::from(*len)).ok_or(TableError::Cut)?;
    let (raw, rest) = split_value(rest)?;
    Ok((key, raw, rest))
}

/// A value and the bytes behind it.
fn split_value(values: &[u8]) -> Result<(Raw<'_>, &[u8]), TableError> {
    let (&tag, rest) = values.split_first().ok_or(TableError::Cut)?;
    let (len, rest) = match tag {
        b'V' => (0, rest),
        b't' | b'b' | b'B' => (1, rest),
        b's' | b'U' | b'u' => (2, rest),
        b'I' | b'i' | b'f' => (4, rest),
        b'D' => (5, rest),
        b'l' | b'L' | b'd' | b'T' => (8, rest),
        b'S' | b'x' | b'A' | b'F' => {
            let (len, rest) = rest.split_first_chunk::<4>().ok_or(TableError::Cut)?;
            let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| TableError::Cut)?;
            (len, rest)
        }
        _ => return Err(TableError::UnknownTag(tag)),
    };
    let (bytes, rest) = rest.split_at_checked(len).ok_or(TableError::Cut)?;
    Ok((Raw { tag, bytes }, rest))
}

/// One table (keyed) or array.
fn validate_level(mut rest: &[u8], keyed: bool, depth: usize) -> Result<(), TableError> {
    if depth > DEPTH_MAX {
        return Err(TableError::TooDeep);
    }
    while !rest.is_empty() {
        let (raw, tail) = split_at_level(rest, keyed)?;
        if matches!(raw.tag, b'A' | b'F') {
            validate_level(raw.bytes, raw.tag == b'F', depth + 1)?;
        }
        rest = tail;
    }
    Ok(())
}

fn has_long_tags_level(mut rest: &[u8], keyed: bool, depth: usize) -> bool {
    while let Ok((raw, tail)) = split_at_level(rest, keyed) {
        let found = match raw.tag {
            b'L' | b'U' => true,
            b'A' | b'F' => depth < DEPTH_MAX && has_long_tags_level(raw.bytes, raw.tag == b'F', depth + 1),
            _ => false,
        };
        if found {
            return true;
        }
        rest = tail;
    }
    false
}

fn rewrite_level(bytes: &mut [u8], keyed: bool, depth: usize) {
    let mut at = 0;
    while let Ok((raw, tail)) = split_at_level(&bytes[at..], keyed) {
        let (tag, len) = (raw.tag, raw.bytes.len());
        let end = bytes.len() - tail.len();
        let value_at = end - len;
        match tag {
            b'L' => bytes[value_at - 1] = b'l',
            b'U' => bytes[value_at - 1] = b's',
            b'A' | b'F' if depth < DEPTH_MAX => {
                rewrite_level(&mut bytes[value_at..end], tag == b'F', depth + 1);
            }
            _ => {}
        }
        at = end;
    }
}

fn split_at_level(rest: &[u8], keyed: bool) -> Result<(Raw<'_>, &[u8]), TableError> {
    if keyed {
        split_entry(rest).map(|(_, raw, tail)| (raw, tail))
    } else {
        split_value(rest)
    }
}

fn owned_table(mut rest: &[u8], depth: usize) -> FieldTable {
    let mut table = FieldTable::default();
    while depth <= DEPTH_MAX
        && let Ok((key, raw, tail)) = split_entry(rest)
    {
        // Replacement characters are longer than what they replace; a key that no longer fits is left out.
        if let Ok(key) = ShortString::try_new(String::from_utf8_lossy(key))
            && !table.contains_key(key.as_str())
        {
            table.insert(key, raw.owned(depth));
        }
        rest = tail;
    }
    table
}

fn owned_array(mut rest: &[u8], depth: usize) -> FieldArray {
    let mut array = FieldArray::default();
    while depth <= DEPTH_MAX
        && let Ok((raw, tail)) = split_value(rest)
    {
        array.push(raw.owned(depth));
        rest = tail;
    }
    array
}

#[cfg(test)]
pub(in crate::amqp) mod tests;
