//! The segments that the writer touches: writes them, settles their messages, and deletes them when all are.
//!
//! A bounded number of them is kept in memory, so that an ack seldom asks the database; what is not there is read
//! again. Segments of a queue never overlap: a late message between older ones is woven into theirs.

use std::collections::BTreeMap;
use std::mem;

use rusqlite::{Connection, OptionalExtension, params};

use super::database;
use super::draft::Draft;
use super::extras::expires_column;
use super::returned::{self, Returned};
use super::segment::{Bits, POSITION_END, Records, queue_of, row_id};
use super::shared::{self, Places};
use crate::store::{Position, PublishEntry, QueueId, StoreError};

/// Runs in memory, at about 50 bytes each; a segment counts for [`SEGMENT_COST`] more. Tests meet the limit soon.
const CACHE_RUNS_MAX: usize = if cfg!(test) { 60 } else { 400_000 };

/// What a segment costs besides its runs, in runs.
const SEGMENT_COST: usize = 4;

#[derive(Debug)]
pub(super) struct Segments {
    pub(super) cache: BTreeMap<i64, Segment>,
    cache_runs: usize,
    /// Segments that changed and have to be written or deleted before the commit.
    changed: Vec<i64>,
    /// Where the next eviction looks.
    hand: i64,
    /// This run's number: transient messages of other runs are gone.
    epoch: i64,
    /// Some queue has rows in `returned`.
    has_returned: bool,
    pub(super) draft: Draft,
    column: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub records: Records,
    pub settled: Bits,
    /// Records that are not settled.
    live: u32,
    /// There is a row in `settled`.
    has_bits: bool,
    is_changed: bool,
}

/// What the settled messages were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Persistent ones.
    pub messages: i64,
    /// Sum of their body bytes.
    pub body_bytes: i64,
}

impl Segments {
    pub(super) fn new(epoch: i64, has_returned: bool) -> Self {
        Self {
            cache: BTreeMap::new(),
            cache_runs: 0,
            changed: Vec::new(),
            hand: 0,
            epoch,
            has_returned,
            draft: Draft::default(),
            column: Vec::new(),
        }
    }

    /// This run's number.
    pub(super) fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Writes messages, ascending, into a queue whose segments all end at or before `next`, but for late ones.
    pub(super) fn publish(
        &mut self,
        connection: &Connection,
        queue: QueueId,
        messages: &[PublishEntry],
        next: u64,
        places: &Places,
    ) -> Result<(), StoreError> {
        let late = messages.partition_point(|entry| entry.position.0 < next);
        if late > 0 {
            self.weave(connection, queue, &messages[..late], places)?;
        }
        self.write(connection, queue, &messages[late..], places)
    }

    pub(super) fn write(
        &mut self,
        connection: &Connection,
        queue: QueueId,
        messages: &[PublishEntry],
        places: &Places,
    ) -> Result<(), StoreError> {
        for entry in messages {
            self.draft.add(entry, places);
            if self.draft.is_full() {
                self.store_draft(connection, queue)?;
            }
        }
        self.store_draft(connection, queue)
    }

    /// Writes the draft's row, if there is anything in it, and begins the next.
    pub(super) fn store_draft(&mut self, connection: &Connection, queue: QueueId) -> Result<(), StoreError> {
        let Some(first) = self.draft.records.runs.first().map(|run| run.first) else {
            return Ok(());
        };
        let records = mem::take(&mut self.draft.records);
        self.column.clear();
        records.encode(first, &mut self.column);
        let split = self.column.len();
        self.draft.extras.encode(&mut self.column);
        let (column, extras) = self.column.split_at(split);
        let extras = (!extras.is_empty()).then_some(extras);
        let expires = self.draft.extras.expires().map(expires_column);
        let id = row_id(queue, first);
        let sql =
            "INSERT INTO segment(id, epoch, records, data, extras, expires) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let values = params![id, self.epoch, column, self.draft.data, extras, expires];
        connection
            .prepare_cached(sql)
            .and_then(|mut insert| insert.execute(values))
            .map_err(database("write messages"))?;
        self.draft.clear();
        for row in records.shared_rows() {
            shared::retain(connection, row)?;
        }
        self.remember(id, records, Bits::default(), false);
        Ok(())
    }

    /// Marks messages as settled; `positions` ascend. Those that are not stored, or settled already, do not count.
    pub(super) fn settle(
        &mut self,
        connection: &Connection,
        queue: QueueId,
        positions: &[Position],
    ) -> Result<Count, StoreError> {
        let mut count = Count::default();
        let mut rest = positions.iter().peekable();
        while let Some(position) = rest.peek() {
            let Some(id) = self.spanning(connection, queue, position.0)? else {
                rest.next();
                continue;
            };
            let segment = self.cache.get_mut(&id).expect("it was just found");
            let end = segment.records.end();
            while let Some(position) = rest.next_if(|position| position.0 < end) {
                segment.settle(position.0, &mut count);
            }
            self.note_change(id);
        }
        Ok(count)
    }

    /// Marks what a segment holds of `from..to` as settled, without counting.
    pub(super) fn discard(
        &mut self,
        connection: &Connection,
        queue: QueueId,
        at: u64,
        (from, to): (u64, u64),
    ) -> Result<(), StoreError> {
        let Some(id) = self.spanning(connection, queue, at)? else {
            return Ok(());
        };
        let segment = self.cache.get_mut(&id).expect("it was just found");
        let gone: Vec<u64> = segment
            .records
            .iter()
            .map(|(_, record)| record.position)
            .filter(|position| (from..to).contains(position))
            .collect();
        for position in gone {
            segment.settle(position, &mut Count::default());
        }
        self.note_change(id);
        Ok(())
    }

    /// Notes that a message came back.
    pub(super) fn put_returned(
        &mut self,
        connection: &Connection,
        queue: QueueId,
        returned: &Returned,
    ) -> Result<(), StoreError> {
        let Some(id) = self.spanning(connection, queue, returned.position.0)? else {
            return Ok(());
        };
        let segment = &self.cache[&id];
        let is_live = segment
            .records
            .find(returned.position.0)
            .is_some_and(|(index, _)| !segment.settled.has(index));
        if is_live {
            self.has_returned = true;
            returned::write(connection, queue, returned)?;
        }
        Ok(())
    }

    /// Writes what changed: bits of segments with live messages; others are deleted.
    pub(super) fn flush(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let mut changed = mem::take(&mut self.changed);
        for id in changed.drain(..) {
            let Some(segment) = self.cache.get_mut(&id).filter(|segment| segment.is_changed) else {
                continue;
            };
            segment.is_changed = false;
            if segment.live == 0 {
                let segment = self.forget(id).expect("it was there");
                self.delete(connection, id, &segment.records, segment.has_bits)?;
            } else {
                segment.has_bits = true;
                connection
                    .prepare_cached("INSERT OR REPLACE INTO settled VALUES (?1, ?2)")
                    .and_then(|mut insert| insert.execute(params![id, segment.settled.column()]))
                    .map_err(database("write which messages are settled"))?;
            }
        }
        self.changed = changed;
        Ok(())
    }

    /// Deletes a segment's rows, wherever it stands.
    pub(super) fn delete(
        &mut self,
        connection: &Connection,
        id: i64,
        records: &Records,
        has_bits: bool,
    ) -> Result<(), StoreError> {
        self.forget(id);
        let failed = database("delete settled messages");
        connection
            .prepare_cached("DELETE FROM segment WHERE id = ?1")
            .and_then(|mut delete| delete.execute([id]))
            .map_err(&failed)?;
        if has_bits {
            connection
                .prepare_cached("DELETE FROM settled WHERE id = ?1")
                .and_then(|mut delete| delete.execute([id]))
                .map_err(&failed)?;
        }
        if self.has_returned {
            returned::delete(connection, id, row_id(queue_of(id), records.end()))?;
        }
        for row in records.shared_rows() {
            shared::release(connection, row)?;
        }
        Ok(())
    }

    /// Makes room in memory. Nothing may wait to be flushed.
    pub(super) fn evict(&mut self) {
        while self.cache_runs > CACHE_RUNS_MAX {
            let victim = self.cache.range(self.hand..).next().map(|(id, _)| *id);
            match victim {
                Some(id) => {
                    self.hand = id;
                    self.forget(id);
                }
                None => self.hand = 0,
            }
        }
    }

    /// The segment whose first and last record have `position` between them; it is in the cache then.
    pub(super) fn spanning(
        &mut self,
        connection: &Connection,
        queue: QueueId,
        position: u64,
    ) -> Result<Option<i64>, StoreError> {
        let bounds = [row_id(queue, 0), row_id(queue, position.min(POSITION_END - 1))];
        let cached = self.cache.range(bounds[0]..=bounds[1]).next_back();
        if let Some((id, _)) = cached.filter(|(_, segment)| segment.records.end() > position) {
            return Ok(Some(*id));
        }
        let cached = cached.map(|(id, _)| *id);
        let sql = "SELECT id, records, (SELECT bits FROM settled WHERE settled.id = segment.id) FROM segment \
                   WHERE id >= ?1 AND id <= ?2 ORDER BY id DESC LIMIT 1";
        let failed = database("look for a segment");
        let mut select = connection.prepare_cached(sql).map_err(&failed)?;
        let found = select
            .query_row(bounds, |row| {
                let id: i64 = row.get(0)?;
                let bits = row.get_ref(2)?.as_blob_or_null()?.map(Bits::from_column);
                Ok((id, Records::decode(id, row.get_ref(1)?.as_blob()?), bits))
            })
            .optional()
            .map_err(&failed)?;
        let Some((id, records, bits)) = found.filter(|(id, ..)| Some(*id) != cached) else {
            return Ok(None);
        };
        let records = records?;
        let end = records.end();
        let has_bits = bits.is_some();
        self.remember(id, records, bits.unwrap_or_default(), has_bits);
        Ok((end > position).then_some(id))
    }

    fn remember(&mut self, id: i64, records: Records, settled: Bits, has_bits: bool) {
        self.cache_runs += records.runs.len() + SEGMENT_COST;
        let live = records.count - settled.count().min(records.count);
        let segment = Segment {
            records,
            settled,
            live,
            has_bits,
            is_changed: false,
        };
        self.cache.insert(id, segment);
    }

    pub(super) fn forget(&mut self, id: i64) -> Option<Segment> {
        let segment = self.cache.remove(&id)?;
        self.cache_runs -= segment.records.runs.len() + SEGMENT_COST;
        Some(segment)
    }

    fn note_change(&mut self, id: i64) {
        if self.cache[&id].is_changed {
            self.changed.push(id);
        }
    }
}

impl Segment {
    fn settle(&mut self, position: u64, count: &mut Count) {
        let Some((index, run)) = self.records.find(position) else {
            return;
        };
        if !self.settled.set(index) {
            return;
        }
        self.live -= 1;
        self.is_changed = true;
        if run.is_persistent {
            count.messages += 1;
            count.body_bytes += i64::from(run.body_len);
        }
    }
}
