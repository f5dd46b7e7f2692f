//! A segment: a run of one queue's messages that were written together, and which of them are done with.
//!
//! Its row is never changed after it was written; settled messages are bits in a row of their own. Records that
//! look alike (same length, next position) take one entry together, so that a segment of equal messages costs a
//! few bytes of memory however many they are.

use super::varint::{put, take};
use crate::store::{QueueId, StoreError};

/// Low bits of a row id that hold the position; the queue's number stands above them.
const POSITION_BITS: u32 = 39;

/// First position that does not fit a row id.
pub(super) const POSITION_END: u64 = 1 << POSITION_BITS;

/// Row id of the segment of `queue` that begins at `position`: rows stand in the order of queues and positions.
pub(super) fn row_id(queue: QueueId, position: u64) -> i64 {
    // The end of the very last queue is one more than an integer holds.
    i64::try_from((u64::from(queue.0) << POSITION_BITS) + position.min(POSITION_END)).unwrap_or(i64::MAX)
}

/// The queue that a row id belongs to.
pub(super) fn queue_of(id: i64) -> QueueId {
    QueueId(u32::try_from(id.cast_unsigned() >> POSITION_BITS).expect("rows are written with 24 bits"))
}

/// The position that a row id stands for.
pub(super) fn position_of(id: i64) -> u64 {
    id.cast_unsigned() & (POSITION_END - 1)
}

/// Where a message's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Home {
    /// Row of `shared`, or 0 for the segment's own data.
    pub row: i64,
    /// First byte in it.
    pub offset: u32,
}

/// Neighbouring records that differ by their position only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Position of the first record.
    pub first: u64,
    /// Records, without a gap.
    pub count: u32,
    /// How many records of the segment stand before it.
    pub index: u32,
    /// Encoded bytes of each.
    pub len: u32,
    /// Body bytes of each.
    pub body_len: u32,
    /// Where the first one's bytes are; the others follow it.
    pub home: Home,
    pub is_persistent: bool,
}

/// One message of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub position: u64,
    pub len: u32,
    pub body_len: u32,
    pub home: Home,
    pub is_persistent: bool,
}

/// All records of a segment, as the column `records` keeps them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Records {
    pub runs: Vec<Run>,
    pub count: u32,
}

impl Run {
    fn end(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    /// The record `nth` places behind the first.
    pub(super) fn record(&self, nth: u32) -> Record {
        Record {
            position: self.first + u64::from(nth),
            len: self.len,
            body_len: self.body_len,
            home: Home {
                row: self.home.row,
                offset: self.home.offset + nth * self.len,
            },
            is_persistent: self.is_persistent,
        }
    }
}

impl Record {
    /// Its bytes, of the data that its home names.
    pub(super) fn slice<'a>(&self, data: &'a [u8]) -> Result<&'a [u8], StoreError> {
        let start = self.home.offset as usize;
        data.get(start..start + self.len as usize)
            .ok_or_else(|| StoreError::Damaged {
                what: format!("message {}", self.position),
                reason: "its bytes are missing".to_owned(),
            })
    }
}

impl Records {
    /// Adds a record behind the last one.
    pub(super) fn push(&mut self, record: Record) {
        self.count += 1;
        if let Some(run) = self.runs.last_mut() {
            assert!(record.position >= run.end(), "records stand in ascending order");
            if run.record(run.count) == record {
                run.count += 1;
                return;
            }
        }
        self.runs.push(Run {
            first: record.position,
            count: 1,
            index: self.count - 1,
            len: record.len,
            body_len: record.body_len,
            home: record.home,
            is_persistent: record.is_persistent,
        });
    }

    /// One past the last position.
    pub(super) fn end(&self) -> u64 {
        self.runs.last().map_or(0, Run::end)
    }

    /// The record at `position`, with its index.
    pub(super) fn find(&self, position: u64) -> Option<(u32, &Run)> {
        let after = self.runs.partition_point(|run| run.first <= position);
        let run = &self.runs[after.checked_sub(1)?];
        let nth = u32::try_from(position - run.first)
            .ok()
            .filter(|nth| *nth < run.count)?;
        Some((run.index + nth, run))
    }

    /// Every record with its index.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, Record)> {
        self.runs
            .iter()
            .flat_map(|run| (0..run.count).map(|nth| (run.index + nth, run.record(nth))))
    }

    /// The rows of `shared` that it refers to, each once.
    pub(super) fn shared_rows(&self) -> Vec<i64> {
        let mut rows: Vec<i64> = self
            .runs
            .iter()
            .map(|run| run.home.row)
            .filter(|row| *row != 0)
            .collect();
        rows.sort_unstable();
        rows.dedup();
        rows
    }

    /// Writes the column, behind what `out` holds.
    pub(super) fn encode(&self, first: u64, out: &mut Vec<u8>) {
        let mut expected = first;
        for run in &self.runs {
            let is_shared = run.home.row != 0;
            put(out, run.first - expected);
            put(out, u64::from(run.count));
            put(
                out,
                u64::from(run.len) << 2 | u64::from(is_shared) << 1 | u64::from(run.is_persistent),
            );
            put(out, u64::from(run.body_len));
            if is_shared {
                put(out, run.home.row.cast_unsigned());
                put(out, u64::from(run.home.offset));
            }
            expected = run.end();
        }
    }

    /// Reads the column of the segment that begins at row `id`.
    pub(super) fn decode(id: i64, column: &[u8]) -> Result<Self, StoreError> {
        let damaged = || StoreError::Damaged {
            what: format!("segment {id}"),
            reason: "its records do not parse".to_owned(),
        };
        Self::read(position_of(id), column).ok_or_else(damaged)
    }

    fn read(first: u64, mut column: &[u8]) -> Option<Self> {
        let mut records = Self::default();
        let mut expected = first;
        let mut offset = 0_u32;
        while !column.is_empty() {
            let first = expected.checked_add(take(&mut column)?)?;
            let count = u32::try_from(take(&mut column)?)
                .ok()
                .filter(|count| *count > 0)?;
            let flags = take(&mut column)?;
            let len = u32::try_from(flags >> 2).ok()?;
            let body_len = u32::try_from(take(&mut column)?).ok()?;
            let bytes = len.checked_mul(count)?;
            let home = if flags & 2 == 0 {
                let home = Home { row: 0, offset };
                offset = offset.checked_add(bytes)?;
                home
            } else {
                let row = take(&mut column)?.cast_signed();
                let offset = u32::try_from(take(&mut column)?).ok()?;
                offset.checked_add(bytes)?;
                Home { row, offset }
            };
            records.runs.push(Run {
                first,
                count,
                index: records.count,
                len,
                body_len,
                home,
                is_persistent: flags & 1 != 0,
            });
            records.count = records.count.checked_add(count)?;
            expected = first
                .checked_add(u64::from(count))
                .filter(|end| *end <= POSITION_END)?;
        }
        (records.count > 0).then_some(records)
    }
}

/// Which records of a segment are settled: a bit per record, by index. Bits that were never set may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u8>);

impl Bits {
    pub(super) fn from_column(column: &[u8]) -> Self {
        Self(column.to_vec())
    }

    pub(super) fn column(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn has(&self, index: u32) -> bool {
        self.0
            .get(index as usize / 8)
            .is_some_and(|byte| byte & 1 << (index % 8) != 0)
    }

    /// Returns whether it was not set before.
    pub(super) fn set(&mut self, index: u32) -> bool {
        let at = index as usize / 8;
        if self.0.len() <= at {
            self.0.resize(at + 1, 0);
        }
        let fresh = self.0[at] & 1 << (index % 8) == 0;
        self.0[at] |= 1 << (index % 8);
        fresh
    }

    pub(super) fn count(&self) -> u32 {
        self.0.iter().map(|byte| byte.count_ones()).sum()
    }
}

#[cfg(test)]
mod tests;
