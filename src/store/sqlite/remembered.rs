//! Rows of what exchanges and queues remember: keys by the time at which they expire, so that they come and go at
//! the ends of the table, and the messages of histories.

use std::sync::Arc;

use rusqlite::{Connection, Row, params};

use super::database;
use crate::clock::Timestamp;
use crate::message::{Message, MessageDecodeError};
use crate::store::{DestinationKind, HistoryRow, Keeper, KeyRow, MemoryChange, MessageKey, StoreError};

/// Writes what is remembered or forgotten.
pub(super) fn apply(connection: &Connection, change: &MemoryChange) -> Result<(), StoreError> {
    match change {
        MemoryChange::RememberKey(row) => {
            let sql = "INSERT OR IGNORE INTO known_key VALUES (?1, ?2, ?3, ?4, ?5)";
            with_key(connection, sql, row)
        }
        MemoryChange::ForgetKey(row) => {
            let sql = "DELETE FROM known_key WHERE vhost = ?1 AND is_exchange = ?2 AND name = ?3 AND \
                       expires_at = ?4 AND key = ?5";
            with_key(connection, sql, row)
        }
        MemoryChange::ForgetKeys { keeper, before } => {
            let sql = "DELETE FROM known_key WHERE vhost = ?1 AND is_exchange = ?2 AND name = ?3 AND \
                       expires_at < ?4";
            connection.prepare_cached(sql).and_then(|mut delete| {
                delete.execute(params![
                    keeper.vhost,
                    is_exchange(keeper),
                    keeper.name,
                    number(before.millis())
                ])
            })
        }
        MemoryChange::RecordHistory(row) => {
            let sql = "INSERT OR REPLACE INTO history VALUES (?1, ?2, ?3, ?4, ?5)";
            connection.prepare_cached(sql).and_then(|mut insert| {
                insert.execute(params![
                    row.keeper.vhost,
                    row.keeper.name,
                    number(row.place),
                    row.message.is_dead_letter(),
                    row.message.encoded()
                ])
            })
        }
        MemoryChange::ForgetHistory { keeper, before } => connection
            .prepare_cached("DELETE FROM history WHERE vhost = ?1 AND exchange = ?2 AND place < ?3")
            .and_then(|mut delete| delete.execute(params![keeper.vhost, keeper.name, number(*before)])),
    }
    .map(|_| ())
    .map_err(database("write what is remembered of messages"))
}

/// Reads all keys.
pub(super) fn keys(connection: &Connection) -> Result<Vec<KeyRow>, StoreError> {
    let sql = "SELECT vhost, name, is_exchange, expires_at, key FROM known_key \
               ORDER BY vhost, is_exchange, name, expires_at";
    let mut keepers = Keepers::default();
    read(connection, sql, |row| {
        let kind = if row.get(2)? {
            DestinationKind::Exchange
        } else {
            DestinationKind::Queue
        };
        Ok(KeyRow {
            keeper: keepers.get(row, kind)?,
            expires_at: Timestamp::from_millis(row.get::<_, i64>(3)?.unsigned_abs()),
            key: MessageKey(row.get(4)?),
        })
    })
}

/// Reads all histories.
pub(super) fn history(connection: &Connection) -> Result<Vec<HistoryRow>, StoreError> {
    let sql = "SELECT vhost, exchange, place, is_dead_letter, message FROM history \
               ORDER BY vhost, exchange, place";
    let mut keepers = Keepers::default();
    let rows = read(connection, sql, |row| {
        let bytes = row.get_ref(4)?.as_blob()?;
        let message = Message::decode(bytes, row.get(3)?);
        Ok((
            keepers.get(row, DestinationKind::Exchange)?,
            row.get::<_, i64>(2)?,
            message,
        ))
    })?;
    let whole =
        |(keeper, place, message): (Arc<Keeper>, i64, Result<Message, MessageDecodeError>)| match message {
            Ok(message) => Ok(HistoryRow {
                keeper,
                place: place.unsigned_abs(),
                message,
            }),
            Err(error) => Err(StoreError::Damaged {
                what: format!("a message in the history of exchange '{}'", keeper.name),
                reason: error.to_string(),
            }),
        };
    rows.into_iter().map(whole).collect()
}

/// Lets rows in a row share their keeper.
#[derive(Default)]
struct Keepers(Option<Arc<Keeper>>);

impl Keepers {
    /// The keeper whose vhost and name are the first two columns.
    fn get(&mut self, row: &Row<'_>, kind: DestinationKind) -> rusqlite::Result<Arc<Keeper>> {
        let keeper = Keeper {
            vhost: row.get(0)?,
            kind,
            name: row.get(1)?,
        };
        match &self.0 {
            Some(last) if **last == keeper => Ok(Arc::clone(last)),
            _ => Ok(Arc::clone(self.0.insert(Arc::new(keeper)))),
        }
    }
}

fn read<T>(
    connection: &Connection,
    sql: &str,
    make: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    connection
        .prepare(sql)
        .and_then(|mut select| select.query_map([], make)?.collect())
        .map_err(database("read what is remembered of messages"))
}

fn with_key(connection: &Connection, sql: &str, row: &KeyRow) -> rusqlite::Result<usize> {
    connection.prepare_cached(sql)?.execute(params![
        row.keeper.vhost,
        is_exchange(&row.keeper),
        row.keeper.name,
        number(row.expires_at.millis()),
        row.key.0
    ])
}

fn is_exchange(keeper: &Keeper) -> bool {
    keeper.kind == DestinationKind::Exchange
}

/// What SQLite has no room for is the end of time, or of places.
fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
