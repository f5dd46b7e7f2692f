//! Delayed messages: a row each, found by the time at which it is due through an index, so that neither a start nor a
//! release looks at any other.
//!
//! A row's id is the exchange's number and the message's, as for queues. The rows of a deleted exchange go bit by bit,
//! also after a restart; nobody asks for them meanwhile.

use rusqlite::{Connection, Row, params, params_from_iter};
use rustc_hash::{FxHashMap, FxHashSet};

use super::database;
use super::segment::{POSITION_END, position_of, row_id};
use crate::clock::Timestamp;
use crate::message::Message;
use crate::store::{
    DelayedEntry, DelayedId, DelayedPage, DelayedRequest, DelayedWay, DelaysRow, Operation, Position,
    QueueId, RecoveredDelays, StoreError,
};

/// Rows of a deleted exchange that one transaction deletes.
const STEP_ROWS: i64 = 1000;

/// What one group of operations comes to for delayed messages.
#[derive(Debug, Default)]
pub(super) struct DelayedGroup {
    declared: Vec<DelaysRow>,
    deleted: Vec<QueueId>,
    changes: FxHashMap<QueueId, Changes>,
}

#[derive(Debug, Default)]
struct Changes {
    delayed: Vec<DelayedEntry>,
    ended: Vec<DelayedId>,
    /// One past the highest number that came.
    next: u64,
}

/// The sums of all exchanges' delayed messages.
#[derive(Debug, Default)]
pub(super) struct AllDelays {
    of: FxHashMap<QueueId, RecoveredDelays>,
    /// Deleted exchanges that still have rows.
    doomed: Vec<QueueId>,
}

impl DelayedGroup {
    pub(super) fn add(&mut self, operation: Operation) {
        match operation {
            Operation::DeclareDelays(row) => self.declared.push(row),
            Operation::DeleteDelays(id) => {
                self.changes.remove(&id);
                self.deleted.push(id);
            }
            Operation::Delay { delays, entry } => {
                let changes = self.changes.entry(delays).or_default();
                changes.next = changes.next.max(entry.id.position.0 + 1);
                changes.delayed.push(entry);
            }
            Operation::EndDelay { delays, mut ids } => {
                self.changes.entry(delays).or_default().ended.append(&mut ids);
            }
            _ => {}
        }
    }

    /// Drops what came and ended in the group.
    pub(super) fn cancel(&mut self) {
        for changes in self.changes.values_mut() {
            if changes.delayed.is_empty() || changes.ended.is_empty() {
                continue;
            }
            let mut ended: FxHashSet<DelayedId> = changes.ended.drain(..).collect();
            changes.delayed.retain(|entry| !ended.remove(&entry.id));
            changes.ended.extend(ended);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.declared.is_empty() && self.deleted.is_empty() && self.changes.is_empty()
    }
}

impl AllDelays {
    /// Reads the sums.
    pub(super) fn open(connection: &Connection) -> Result<Self, StoreError> {
        let failed = database("read the sums of delayed messages");
        let sql = "SELECT id, vhost, exchange, messages, body_bytes, next, is_deleted FROM delays";
        let mut select = connection.prepare(sql).map_err(&failed)?;
        let mut rows = select.query([]).map_err(&failed)?;
        let mut all = Self::default();
        while let Some(row) = rows.next().map_err(&failed)? {
            let (sums, is_deleted) = sums(row).map_err(&failed)?;
            if is_deleted {
                all.doomed.push(sums.row.id);
            } else {
                all.of.insert(sums.row.id, sums);
            }
        }
        Ok(all)
    }

    /// What a start finds.
    pub(super) fn recovered(&self) -> Vec<RecoveredDelays> {
        let mut all: Vec<_> = self.of.values().cloned().collect();
        all.sort_by_key(|delays| delays.row.id);
        all
    }

    /// Whether [`AllDelays::step`] has nothing to do.
    pub(super) fn is_clean(&self) -> bool {
        self.doomed.is_empty()
    }

    pub(super) fn apply(&mut self, connection: &Connection, group: &DelayedGroup) -> Result<(), StoreError> {
        for row in &group.declared {
            self.declare(connection, row)?;
        }
        for (id, changes) in &group.changes {
            // Operations on an exchange that was deleted meanwhile are void.
            if let Some(sums) = self.of.get_mut(id) {
                apply_changes(connection, sums, changes)?;
            }
        }
        for id in &group.deleted {
            self.delete(connection, *id)?;
        }
        Ok(())
    }

    /// Deletes some of the rows that deleted exchanges left.
    pub(super) fn step(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let Some(id) = self.doomed.last().copied() else {
            return Ok(());
        };
        let failed = database("delete delayed messages");
        let sql = "DELETE FROM delayed WHERE id IN \
                   (SELECT id FROM delayed WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3)";
        let deleted = connection
            .prepare_cached(sql)
            .and_then(|mut delete| delete.execute([row_id(id, 0), row_id(id, POSITION_END), STEP_ROWS]))
            .map_err(&failed)?;
        if deleted == 0 {
            self.doomed.pop();
            connection
                .prepare_cached("DELETE FROM delays WHERE id = ?1")
                .and_then(|mut delete| delete.execute([id.0]))
                .map_err(&failed)?;
        }
        Ok(())
    }

    fn declare(&mut self, connection: &Connection, row: &DelaysRow) -> Result<(), StoreError> {
        let failed = database("write an exchange that delays");
        connection
            .prepare_cached("UPDATE meta SET value = max(value, ?1) WHERE name = 'next_queue'")
            .and_then(|mut update| update.execute([i64::from(row.id.0) + 1]))
            .map_err(&failed)?;
        connection
            .prepare_cached("INSERT OR IGNORE INTO delays VALUES (?1, ?2, ?3, 0, 0, 0, 0)")
            .and_then(|mut insert| insert.execute(params![row.id.0, row.vhost, row.exchange]))
            .map_err(&failed)?;
        let sums = RecoveredDelays {
            row: row.clone(),
            messages: 0,
            body_bytes: 0,
            next: Position(0),
        };
        self.of.entry(row.id).or_insert(sums);
        Ok(())
    }

    fn delete(&mut self, connection: &Connection, id: QueueId) -> Result<(), StoreError> {
        if self.of.remove(&id).is_none() {
            return Ok(());
        }
        self.doomed.push(id);
        connection
            .prepare_cached("UPDATE delays SET is_deleted = 1 WHERE id = ?1")
            .and_then(|mut update| update.execute([id.0]))
            .map(|_| ())
            .map_err(database("delete an exchange's delayed messages"))
    }
}

fn apply_changes(
    connection: &Connection,
    sums: &mut RecoveredDelays,
    changes: &Changes,
) -> Result<(), StoreError> {
    let id = sums.row.id;
    for entry in &changes.delayed {
        insert(connection, id, entry).map_err(database("write a delayed message"))?;
        sums.messages += 1;
        sums.body_bytes += entry.message.body_len() as u64;
    }
    for ended in &changes.ended {
        if let Some(body_bytes) = end(connection, id, *ended)? {
            sums.messages = sums.messages.saturating_sub(1);
            sums.body_bytes = sums.body_bytes.saturating_sub(body_bytes);
        }
    }
    sums.next = sums.next.max(Position(changes.next));
    connection
        .prepare_cached("UPDATE delays SET messages = ?2, body_bytes = ?3, next = ?4 WHERE id = ?1")
        .and_then(|mut update| {
            update.execute(params![
                id.0,
                sums.messages.cast_signed(),
                sums.body_bytes.cast_signed(),
                sums.next.0.cast_signed()
            ])
        })
        .map(|_| ())
        .map_err(database("write the sums of delayed messages"))
}

fn insert(connection: &Connection, delays: QueueId, entry: &DelayedEntry) -> rusqlite::Result<usize> {
    let sql = "INSERT OR REPLACE INTO delayed VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let (copies, queue) = match &entry.way {
        DelayedWay::Exchange(copies) => (encode_copies(copies), None),
        DelayedWay::Queue(queue) => (None, Some(queue)),
    };
    connection.prepare_cached(sql)?.execute(params![
        row_id(delays, entry.id.position.0),
        delays.0,
        entry.id.due.millis().cast_signed(),
        entry.message.is_dead_letter(),
        (entry.message.body_len() as u64).cast_signed(),
        copies,
        entry.message.encoded(),
        queue,
    ])
}

/// Deletes a message's row; returns its body bytes if it was there.
fn end(connection: &Connection, delays: QueueId, id: DelayedId) -> Result<Option<u64>, StoreError> {
    let failed = database("end a delay");
    let sql = "DELETE FROM delayed WHERE id = ?1 RETURNING body_bytes";
    let mut delete = connection.prepare_cached(sql).map_err(&failed)?;
    let mut rows = delete.query([row_id(delays, id.position.0)]).map_err(&failed)?;
    let mut body_bytes = None;
    // To the end: only then the row is deleted.
    while let Some(row) = rows.next().map_err(&failed)? {
        body_bytes = Some(row.get::<_, i64>(0).map_err(&failed)?.cast_unsigned());
    }
    Ok(body_bytes)
}

/// Reads messages in the order in which they are due.
pub(super) fn read(connection: &Connection, request: &DelayedRequest) -> Result<DelayedPage, StoreError> {
    let failed = database("read delayed messages");
    // Two queries, since for one SQLite would look at all that are due together with the first.
    let columns = "SELECT id, due, is_dead_letter, copies, message, queue FROM delayed WHERE delays = ?1 AND";
    let together = format!("{columns} due = ?2 AND id >= ?3 ORDER BY id");
    let later = format!("{columns} due > ?2 ORDER BY due, id");
    let DelayedRequest { delays, from, .. } = request;
    let due = from.due.millis().cast_signed();
    let first = row_id(*delays, from.position.0);
    let mut page = DelayedPage::default();
    let mut bytes = 0;
    for (sql, parameters) in [
        (together, &[i64::from(delays.0), due, first][..]),
        (later, &[i64::from(delays.0), due]),
    ] {
        let mut select = connection.prepare_cached(&sql).map_err(&failed)?;
        let mut rows = select.query(params_from_iter(parameters)).map_err(&failed)?;
        while let Some(row) = rows.next().map_err(&failed)? {
            let count = page.entries.len();
            if count > 0 && (count >= request.messages_max || bytes >= request.bytes_max) {
                page.next = Some(id(row).map_err(&failed)?);
                return Ok(page);
            }
            let entry = entry(row)?;
            bytes += entry.message.memory_bytes();
            page.entries.push(entry);
        }
    }
    Ok(page)
}

/// Reads all messages of all exchanges that are there, one by one.
pub(super) fn each(
    connection: &Connection,
    mut take: impl FnMut(QueueId, Result<DelayedEntry, StoreError>),
) -> Result<(), StoreError> {
    let failed = database("read delayed messages");
    let sql = "SELECT id, due, is_dead_letter, copies, message, queue, delays FROM delayed \
               WHERE delays IN (SELECT id FROM delays WHERE NOT is_deleted) ORDER BY id";
    let mut select = connection.prepare(sql).map_err(&failed)?;
    let mut rows = select.query([]).map_err(&failed)?;
    while let Some(row) = rows.next().map_err(&failed)? {
        take(QueueId(row.get(6).map_err(&failed)?), entry(row));
    }
    Ok(())
}

fn entry(row: &Row<'_>) -> Result<DelayedEntry, StoreError> {
    let failed = database("read delayed messages");
    let id = id(row).map_err(&failed)?;
    let damaged = |reason: String| StoreError::Damaged {
        what: format!("delayed message {}", id.position.0),
        reason,
    };
    let column = |at| row.get_ref(at).map(|column| column.as_blob().unwrap_or_default());
    let is_dead_letter = row.get(2).map_err(&failed)?;
    let message = Message::decode(column(4).map_err(&failed)?, is_dead_letter);
    let copies = || {
        decode_copies(column(3).map_err(&failed)?)
            .ok_or_else(|| damaged("its routing keys do not parse".to_owned()))
    };
    Ok(DelayedEntry {
        id,
        way: match row.get(5).map_err(&failed)? {
            Some(queue) => DelayedWay::Queue(queue),
            None => DelayedWay::Exchange(copies()?),
        },
        message: message.map_err(|error| damaged(error.to_string()))?,
    })
}

fn id(row: &Row<'_>) -> rusqlite::Result<DelayedId> {
    Ok(DelayedId {
        due: Timestamp::from_millis(row.get::<_, i64>(1)?.cast_unsigned()),
        position: Position(position_of(row.get(0)?)),
    })
}

fn sums(row: &Row<'_>) -> rusqlite::Result<(RecoveredDelays, bool)> {
    let number = |at| row.get(at).map(i64::cast_unsigned);
    let sums = RecoveredDelays {
        row: DelaysRow {
            id: QueueId(row.get(0)?),
            vhost: row.get(1)?,
            exchange: row.get(2)?,
        },
        messages: number(3)?,
        body_bytes: number(4)?,
        next: Position(number(5)?),
    };
    Ok((sums, row.get(6)?))
}

/// The keys as short strings, one behind the other; `None` when there are none.
fn encode_copies(copies: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for key in copies {
        bytes.push(u8::try_from(key.len()).expect("routing keys are short strings"));
        bytes.extend_from_slice(key);
    }
    (!bytes.is_empty()).then_some(bytes)
}

fn decode_copies(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut copies = Vec::new();
    while let Some((len, rest)) = bytes.split_first() {
        let (key, rest) = rest.split_at_checked(usize::from(*len))?;
        copies.push(key.to_vec());
        bytes = rest;
    }
    Some(copies)
}
