//! Messages that were handed out and came back: few have a row here.

use rusqlite::{Connection, Row, params};

use super::database;
use super::segment::{position_of, row_id};
use crate::clock::Timestamp;
use crate::store::{Position, QueueId, StoreError};

/// A message that came back, as [`crate::store::Operation::Return`] said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Returned {
    pub position: Position,
    pub delivery_count: u32,
    pub rests_until: Option<Timestamp>,
}

/// Adds the row, or replaces it.
pub(super) fn write(connection: &Connection, queue: QueueId, returned: &Returned) -> Result<(), StoreError> {
    let id = row_id(queue, returned.position.0);
    let rests_until = returned.rests_until.map(|at| at.millis().cast_signed());
    connection
        .prepare_cached("INSERT OR REPLACE INTO returned(id, count, rests_until) VALUES (?1, ?2, ?3)")
        .and_then(|mut insert| insert.execute(params![id, returned.delivery_count, rests_until]))
        .map(|_| ())
        .map_err(database("note a returned message"))
}

/// Those of one queue from one row id to another, excluded; ascending.
pub(super) fn read(connection: &Connection, from: i64, to: i64) -> Result<Vec<Returned>, StoreError> {
    let sql = "SELECT id, count, rests_until FROM returned WHERE id >= ?1 AND id < ?2 ORDER BY id";
    let returned = |row: &Row<'_>| {
        let rests_until: Option<i64> = row.get(2)?;
        Ok(Returned {
            position: Position(position_of(row.get(0)?)),
            delivery_count: row.get(1)?,
            rests_until: rests_until.map(|at| Timestamp::from_millis(at.cast_unsigned())),
        })
    };
    connection
        .prepare_cached(sql)
        .and_then(|mut select| select.query_map([from, to], returned)?.collect())
        .map_err(database("read returned messages"))
}

/// Deletes the rows from one id to another, excluded.
pub(super) fn delete(connection: &Connection, from: i64, to: i64) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM returned WHERE id >= ?1 AND id < ?2")
        .and_then(|mut delete| delete.execute([from, to]))
        .map(|_| ())
        .map_err(database("delete settled messages"))
}
