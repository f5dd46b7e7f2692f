//! Ranges of messages that are gone in one stroke (a purged or deleted queue) and whose rows go bit by bit.
//!
//! The range is written in the transaction of the purge; the rows follow in later ones, a bounded number at a
//! time, also after a restart. Until then everyone who reads rows leaves the range out.

use rusqlite::Connection;

use super::database;
use super::segment::{Records, position_of, queue_of, row_id};
use super::segments::Segments;
use crate::store::{QueueId, StoreError};

/// Segments deleted in one transaction.
const STEP_SEGMENTS: usize = 256;

/// Bytes of deleted segments after which a transaction deletes no more: each of their pages is touched.
const STEP_BYTES: i64 = 4 << 20;

#[derive(Debug, Default)]
pub(super) struct Garbage {
    /// Row ids from, included, and to, excluded; from is unique.
    ranges: Vec<(i64, i64)>,
}

impl Garbage {
    pub(super) fn open(connection: &Connection) -> Result<Self, StoreError> {
        let failed = database("read what is to be deleted");
        let mut select = connection
            .prepare("SELECT from_id, to_id FROM garbage")
            .map_err(&failed)?;
        let ranges = select
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .and_then(Iterator::collect)
            .map_err(&failed)?;
        Ok(Self { ranges })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The end of the range that `id` lies in, if it does.
    pub(super) fn end_of(&self, id: i64) -> Option<i64> {
        let range = self.ranges.iter().find(|(from, to)| (*from..*to).contains(&id));
        range.map(|(_, to)| *to)
    }

    /// Adds the messages `from..to` of a queue.
    pub(super) fn add(
        &mut self,
        connection: &Connection,
        segments: &mut Segments,
        queue: QueueId,
        (from, to): (u64, u64),
    ) -> Result<(), StoreError> {
        if from >= to {
            return Ok(());
        }
        // A segment that begins before the range is not met again by the steps.
        segments.discard(connection, queue, from, (from, to))?;
        self.insert(connection, (row_id(queue, from), row_id(queue, to)))
    }

    /// Deletes some of the rows. Changed segments have to be flushed afterwards.
    pub(super) fn step(
        &mut self,
        connection: &Connection,
        segments: &mut Segments,
    ) -> Result<(), StoreError> {
        let Some((from, to)) = self.ranges.first().copied() else {
            return Ok(());
        };
        let found = find(connection, from, to)?;
        let queue = queue_of(from);
        let end = (to - row_id(queue, 0)).cast_unsigned();
        for (id, records) in &found {
            if records.end() <= end {
                segments.delete(connection, *id, records, true)?;
            } else {
                segments.discard(connection, queue, position_of(*id), (position_of(from), end))?;
            }
        }
        self.ranges.remove(0);
        connection
            .prepare_cached("DELETE FROM garbage WHERE from_id = ?1")
            .and_then(|mut delete| delete.execute([from]))
            .map_err(database("note what was deleted"))?;
        match found.last() {
            Some((last, _)) => self.insert(connection, (last + 1, to)),
            None => Ok(()),
        }
    }

    /// Adds a range, or lengthens the one that begins at the same place.
    fn insert(&mut self, connection: &Connection, (from, mut to): (i64, i64)) -> Result<(), StoreError> {
        match self.ranges.iter_mut().find(|range| range.0 == from) {
            Some(range) => {
                to = to.max(range.1);
                range.1 = to;
            }
            None => self.ranges.push((from, to)),
        }
        connection
            .prepare_cached("INSERT OR REPLACE INTO garbage VALUES (?1, ?2)")
            .and_then(|mut insert| insert.execute([from, to]))
            .map(|_| ())
            .map_err(database("note what is to be deleted"))
    }
}

/// The next segments of a range, as many as one step deletes.
fn find(connection: &Connection, from: i64, to: i64) -> Result<Vec<(i64, Records)>, StoreError> {
    let failed = database("look for what is to be deleted");
    let sql = "SELECT id, records, length(data) FROM segment WHERE id >= ?1 AND id < ?2 ORDER BY id";
    let mut select = connection.prepare_cached(sql).map_err(&failed)?;
    let mut rows = select.query([from, to]).map_err(&failed)?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next().map_err(&failed)? {
        let id: i64 = row.get(0).map_err(&failed)?;
        let column = row.get_ref(1).map_err(&failed)?;
        found.push((id, Records::decode(id, column.as_blob().unwrap_or_default())?));
        bytes += row.get::<_, i64>(2).map_err(&failed)?;
        if found.len() >= STEP_SEGMENTS || bytes >= STEP_BYTES {
            break;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    #[test]
    fn ranges_that_begin_together_are_one_with_the_longer_end() {
        let mut connection = Connection::open_in_memory().expect("memory");
        schema::migrate(&mut connection).expect("an empty database");
        for ends in [[50, 100], [100, 50]] {
            let mut garbage = Garbage::default();
            for end in ends {
                garbage.insert(&connection, (5, end)).expect("a row");
            }
            assert_eq!(garbage.ranges, [(5, 100)]);
            assert_eq!(Garbage::open(&connection).expect("rows").ranges, [(5, 100)]);
            connection.execute("DELETE FROM garbage", []).expect("rows");
        }
    }
}
