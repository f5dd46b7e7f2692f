//! What few messages have and the records of a segment therefore leave out: an expiry, a broker's `x-death` header.
//!
//! The column stands parallel to the records, by index, and is NULL when no record has anything of this. Neighbours
//! that agree take one entry together, as the messages of a queue with a TTL do that came in one batch. The writer
//! keeps none of it in memory.

use std::iter;

use super::varint::{put, take};
use crate::clock::Timestamp;
use crate::store::StoreError;

/// What is special about one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extra {
    pub expires_at: Option<Timestamp>,
    pub is_dead_letter: bool,
}

/// A time as the column `expires` has it; the end of time for what the column can not hold.
pub(super) fn expires_column(at: Timestamp) -> i64 {
    i64::try_from(at.millis()).unwrap_or(i64::MAX)
}

/// Those of a segment's records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extras {
    /// How many neighbours each is of.
    runs: Vec<(u32, Extra)>,
}

impl Extras {
    /// Adds that of the next record.
    pub(super) fn push(&mut self, extra: Extra) {
        match self.runs.last_mut() {
            Some((count, last)) if *last == extra => *count += 1,
            _ => self.runs.push((1, extra)),
        }
    }

    pub(super) fn clear(&mut self) {
        self.runs.clear();
    }

    /// The earliest expiry.
    pub(super) fn expires(&self) -> Option<Timestamp> {
        self.runs.iter().filter_map(|(_, extra)| extra.expires_at).min()
    }

    /// Writes the column, behind what `out` holds; nothing when no record has anything special.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let special = |(_, extra): &(u32, Extra)| *extra != Extra::default();
        let end = self.runs.iter().rposition(special).map_or(0, |last| last + 1);
        let mut before = 0_u64;
        for (count, extra) in &self.runs[..end] {
            let expires = u64::from(extra.expires_at.is_some());
            put(
                out,
                u64::from(*count) << 2 | u64::from(extra.is_dead_letter) << 1 | expires,
            );
            if let Some(at) = extra.expires_at {
                let delta = at.millis().wrapping_sub(before).cast_signed();
                // Small steps back are small numbers, too.
                put(out, (delta << 1 ^ delta >> 63).cast_unsigned());
                before = at.millis();
            }
        }
    }

    /// Reads the column of the segment at row `id`.
    pub(super) fn decode(id: i64, column: &[u8]) -> Result<Self, StoreError> {
        Self::read(column).ok_or_else(|| StoreError::Damaged {
            what: format!("segment {id}"),
            reason: "its extras do not parse".to_owned(),
        })
    }

    fn read(mut column: &[u8]) -> Option<Self> {
        let mut runs = Vec::new();
        let mut before = 0_u64;
        while !column.is_empty() {
            let head = take(&mut column)?;
            let count = u32::try_from(head >> 2).ok().filter(|count| *count > 0)?;
            let mut extra = Extra {
                expires_at: None,
                is_dead_letter: head & 2 != 0,
            };
            if head & 1 != 0 {
                let folded = take(&mut column)?;
                before = before.wrapping_add(folded >> 1 ^ (folded & 1).wrapping_neg());
                extra.expires_at = Some(Timestamp::from_millis(before));
            }
            runs.push((count, extra));
        }
        Some(Self { runs })
    }

    /// That of every record, without an end.
    pub(super) fn iter(&self) -> impl Iterator<Item = Extra> {
        let repeat = |(count, extra): &(u32, Extra)| iter::repeat_n(*extra, *count as usize);
        self.runs
            .iter()
            .flat_map(repeat)
            .chain(iter::repeat(Extra::default()))
    }
}

#[cfg(test)]
mod tests;
