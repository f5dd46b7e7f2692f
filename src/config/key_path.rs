//! The place of a value in the configuration: `users[0].name`.

use std::fmt;

use serde_path_to_error::{Path, Segment as DecodedSegment};
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// Keys and indices from the top of the configuration down to a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyPath(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Key(String),
    Index(usize),
}

impl KeyPath {
    pub(super) fn new<I: IntoIterator<Item: Into<String>>>(keys: I) -> Self {
        Self(keys.into_iter().map(|key| Segment::Key(key.into())).collect())
    }

    /// From text with dots: `amqp.heartbeat`.
    pub(super) fn of(text: &str) -> Self {
        Self::new(text.split('.'))
    }

    pub(super) fn key(mut self, key: &str) -> Self {
        self.0.push(Segment::Key(key.to_owned()));
        self
    }

    pub(super) fn index(mut self, index: usize) -> Self {
        self.0.push(Segment::Index(index));
        self
    }

    pub(super) fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// Takes the value out of a table; of an array the whole is taken, so that the others keep their indices.
    /// Returns whether there was anything to take.
    pub(super) fn remove_from(&self, table: &mut Table) -> bool {
        let Some(last) = self
            .0
            .iter()
            .rposition(|segment| matches!(segment, Segment::Key(_)))
        else {
            return false;
        };
        let Segment::Key(key) = &self.0[last] else {
            return false;
        };
        let Some((first, path)) = self.0[..last].split_first() else {
            return table.remove(key).is_some();
        };
        let Segment::Key(first) = first else { return false };
        let parent = path.iter().try_fold(table.get_mut(first), |value, segment| {
            Some(match (value?, segment) {
                (Value::Table(table), Segment::Key(key)) => table.get_mut(key),
                (Value::Array(array), Segment::Index(index)) => array.get_mut(*index),
                _ => None,
            })
        });
        match parent {
            Some(Some(Value::Table(table))) => table.remove(key).is_some(),
            _ => false,
        }
    }

    /// The line, counted from one, on which the value stands in a document; of its nearest parent if it does not.
    pub(super) fn line_in(&self, text: &str) -> Option<usize> {
        let document = DeTable::parse(text).ok()?;
        let mut value: Option<&DeValue<'_>> = None;
        let mut offset = None;
        for segment in &self.0 {
            let found = match (segment, value) {
                (Segment::Key(key), None) => member(document.get_ref(), key),
                (Segment::Key(key), Some(DeValue::Table(table))) => member(table, key),
                (Segment::Index(index), Some(DeValue::Array(array))) => array
                    .get(*index)
                    .map(|element| (element.span().start, element.get_ref())),
                _ => None,
            };
            let Some((start, next)) = found else { break };
            offset = Some(start);
            value = Some(next);
        }
        offset.map(|offset| line_at(text, offset))
    }
}

impl From<&Path> for KeyPath {
    fn from(path: &Path) -> Self {
        let segment = |segment: &DecodedSegment| match segment {
            DecodedSegment::Seq { index } => Some(Segment::Index(*index)),
            DecodedSegment::Map { key } => Some(Segment::Key(key.clone())),
            DecodedSegment::Enum { .. } | DecodedSegment::Unknown => None,
        };
        Self(path.iter().map_while(segment).collect())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(formatter, "[{index}]")?,
                Segment::Key(key) => {
                    let dot = if position == 0 { "" } else { "." };
                    write!(formatter, "{dot}{}", key.escape_debug())?;
                }
            }
        }
        Ok(())
    }
}

/// The line, counted from one, of a byte offset.
pub(super) fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn member<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Option<(usize, &'t DeValue<'i>)> {
    let (name, value) = table.iter().find(|(name, _)| name.get_ref() == key)?;
    Some((name.span().start, value.get_ref()))
}
