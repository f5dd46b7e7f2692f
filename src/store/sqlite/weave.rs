//! Late messages: those that get a place between stored ones, when transient messages leave memory for the disk.

use rusqlite::Connection;

use super::database;
use super::extras::Extras;
use super::segment::{POSITION_END, position_of, queue_of, row_id};
use super::segments::Segments;
use super::shared::{self, Places};
use crate::store::{PublishEntry, QueueId, StoreError};

impl Segments {
    /// Puts late messages where they belong: between two segments, or into the one that spans their place.
    pub(super) fn weave(
        &mut self,
        connection: &Connection,
        queue: QueueId,
        mut late: &[PublishEntry],
        places: &Places,
    ) -> Result<(), StoreError> {
        while let Some(PublishEntry { position, .. }) = late.first() {
            if let Some(id) = self.spanning(connection, queue, position.0)? {
                let end = self.cache[&id].records.end();
                let inside = late.partition_point(|entry| entry.position.0 < end);
                self.merge(connection, id, &late[..inside], places)?;
                late = &late[inside..];
            } else {
                let sql = "SELECT min(id) FROM segment WHERE id > ?1 AND id < ?2";
                let bounds = [row_id(queue, position.0), row_id(queue, POSITION_END)];
                let following: Option<i64> = connection
                    .prepare_cached(sql)
                    .and_then(|mut select| select.query_row(bounds, |row| row.get(0)))
                    .map_err(database("look for a segment"))?;
                let end = following.map_or(u64::MAX, position_of);
                let before = late.partition_point(|entry| entry.position.0 < end);
                self.write(connection, queue, &late[..before], places)?;
                late = &late[before..];
            }
        }
        Ok(())
    }

    /// Writes a segment again, with late messages in it and settled ones left out. The segment is of this run,
    /// since a run's places begin behind those of all earlier ones.
    fn merge(
        &mut self,
        connection: &Connection,
        id: i64,
        late: &[PublishEntry],
        places: &Places,
    ) -> Result<(), StoreError> {
        let failed = database("weave late messages into a segment");
        let (data, extras): (Vec<u8>, Option<Vec<u8>>) = connection
            .prepare_cached("SELECT data, extras FROM segment WHERE id = ?1")
            .and_then(|mut select| select.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))))
            .map_err(&failed)?;
        let extras = Extras::decode(id, &extras.unwrap_or_default())?;
        let old = self.forget(id).expect("the caller found it in the cache");
        for sql in [
            "DELETE FROM segment WHERE id = ?1",
            "DELETE FROM settled WHERE id = ?1",
        ] {
            connection
                .prepare_cached(sql)
                .and_then(|mut delete| delete.execute([id]))
                .map_err(&failed)?;
        }
        let queue = queue_of(id);
        let mut late = late.iter().peekable();
        for ((index, record), extra) in old.records.iter().zip(extras.iter()) {
            while let Some(entry) = late.next_if(|entry| entry.position.0 < record.position) {
                self.draft.add(entry, places);
            }
            late.next_if(|entry| entry.position.0 == record.position);
            if !old.settled.has(index) {
                self.draft.copy(&record, extra, &data)?;
            }
            if self.draft.is_full() {
                self.store_draft(connection, queue)?;
            }
        }
        self.store_draft(connection, queue)?;
        for row in old.records.shared_rows() {
            shared::release(connection, row)?;
        }
        Ok(())
    }
}
