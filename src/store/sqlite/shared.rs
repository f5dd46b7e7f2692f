//! Messages that entered several queues in one group: their bytes stand once, in rows of their own.
//!
//! A row counts the segments that refer to it and goes with the last of them: with the last settled message of a
//! segment, not with each message.

use rusqlite::{Connection, params};
use rustc_hash::FxHashMap;

use super::database;
use super::group::QueueGroup;
use super::segment::Home;
use crate::message::Message;
use crate::store::{QueueId, StoreError};

/// Shorter messages are written again in every queue: that costs less than to find them.
pub(super) const SHARED_BYTES_MIN: usize = 128;

/// A row is closed when it holds so many bytes.
const ROW_BYTES: usize = 1 << 20;

/// Where the shared messages of a group are, by [`Message::identity`].
#[derive(Debug, Default)]
pub(super) struct Places(FxHashMap<usize, Home>);

impl Places {
    pub(super) fn get(&self, message: &Message) -> Option<Home> {
        self.0.get(&message.identity()).copied()
    }

    /// Writes the messages that stand in more than one queue of the group. `next` is the first free row.
    pub(super) fn write(
        connection: &Connection,
        queues: &FxHashMap<QueueId, QueueGroup>,
        next: &mut i64,
    ) -> Result<Self, StoreError> {
        let mut places = Self::default();
        let with_messages = || queues.values().filter(|queue| !queue.published.is_empty());
        if with_messages().nth(1).is_none() {
            return Ok(places);
        }
        let messages = || {
            with_messages()
                .flat_map(|queue| &queue.published)
                .map(|entry| &entry.message)
                .filter(|message| message.encoded_len() >= SHARED_BYTES_MIN)
        };
        let mut uses: FxHashMap<usize, u32> = FxHashMap::default();
        for message in messages() {
            *uses.entry(message.identity()).or_default() += 1;
        }
        let mut data = Vec::new();
        for message in messages().filter(|message| uses[&message.identity()] > 1) {
            let offset = u32::try_from(data.len()).expect("a row is below 4 GiB");
            places.0.entry(message.identity()).or_insert_with(|| {
                message.encode(&mut data);
                Home { row: *next, offset }
            });
            if data.len() >= ROW_BYTES {
                insert(connection, next, &mut data)?;
            }
        }
        if !data.is_empty() {
            insert(connection, next, &mut data)?;
        }
        Ok(places)
    }
}

fn insert(connection: &Connection, next: &mut i64, data: &mut Vec<u8>) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT INTO shared VALUES (?1, ?2)")
        .and_then(|mut insert| insert.execute(params![*next, *data]))
        .map_err(database("write shared messages"))?;
    *next += 1;
    data.clear();
    Ok(())
}

/// A segment refers to the row.
pub(super) fn retain(connection: &Connection, row: i64) -> Result<(), StoreError> {
    let sql = "INSERT INTO sharer VALUES (?1, 1) ON CONFLICT(id) DO UPDATE SET segments = segments + 1";
    connection
        .prepare_cached(sql)
        .and_then(|mut insert| insert.execute([row]))
        .map(|_| ())
        .map_err(database("count a shared row's segments"))
}

/// A segment that referred to the row is gone.
pub(super) fn release(connection: &Connection, row: i64) -> Result<(), StoreError> {
    let failed = database("count a shared row's segments");
    connection
        .prepare_cached("UPDATE sharer SET segments = segments - 1 WHERE id = ?1")
        .and_then(|mut update| update.execute([row]))
        .map_err(&failed)?;
    let gone = connection
        .prepare_cached("DELETE FROM sharer WHERE id = ?1 AND segments <= 0")
        .and_then(|mut delete| delete.execute([row]))
        .map_err(&failed)?;
    if gone > 0 {
        connection
            .prepare_cached("DELETE FROM shared WHERE id = ?1")
            .and_then(|mut delete| delete.execute([row]))
            .map_err(&failed)?;
    }
    Ok(())
}
