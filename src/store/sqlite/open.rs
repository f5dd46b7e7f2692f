//! Opens a database: lock, checks, migration, and what the last run left to do. The cost grows with the number of
//! queues, not of messages.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::checkpoint::Checkpointer;
use super::garbage::Garbage;
use super::lock::{self, DirectoryLock};
use super::reader::Reader;
use super::segment::{POSITION_END, position_of, row_id};
use super::segments::Segments;
use super::summary::Summaries;
use super::writer::{State, Writer};
use super::{Core, Durability, StoreSettings, database, definitions, schema};
use crate::store::{Position, QueueId, Recovered, RecoveredQueue, StoreError};

/// Bytes of a page. Fixed when the file is made.
const PAGE_BYTES: u64 = 4096;

/// What [`open`] made.
pub(super) struct Opened {
    pub writer: Writer,
    pub reader: Reader,
    pub lock: DirectoryLock,
    pub recovered: Recovered,
}

pub(super) fn open(
    core: &Arc<Core>,
    directory: &Path,
    settings: &StoreSettings,
) -> Result<Opened, StoreError> {
    let path = directory.join(&settings.file_name);
    fs::create_dir_all(directory).map_err(io("create", directory))?;
    let lock = lock::lock(&directory.join(format!("{}.lock", settings.file_name)))?;
    if settings.fresh {
        remove(directory, &settings.file_name)?;
    }
    let failed = database("open the database");
    let mut connection = Connection::open(&path).map_err(&failed)?;
    schema::check(&connection, &path)?;
    configure(&connection, settings).map_err(&failed)?;
    schema::migrate(&mut connection)?;

    let transaction = connection.transaction().map_err(&failed)?;
    let epoch = begin_run(&transaction).map_err(&failed)?;
    let number = |sql: &str| {
        transaction
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .map_err(&failed)
    };
    let mut state = State {
        summaries: Summaries::open(&transaction)?,
        segments: Segments::new(epoch, number("SELECT EXISTS (SELECT 1 FROM returned)")? != 0),
        garbage: Garbage::open(&transaction)?,
        next_shared: number("SELECT coalesce(max(id), 0) + 1 FROM shared")?,
    };
    let recovered = recover(&transaction, &mut state)?;
    state.segments.flush(&transaction)?;
    state.summaries.write(&transaction)?;
    transaction.commit().map_err(&failed)?;

    // The files' names have to survive a power loss as well.
    File::open(directory)
        .and_then(|names| names.sync_all())
        .map_err(io("sync", directory))?;

    let background = Connection::open(&path).map_err(&failed)?;
    configure(&background, settings).map_err(&failed)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let reading = Connection::open_with_flags(&path, flags).map_err(&failed)?;
    configure_cache(&reading, settings).map_err(&failed)?;
    let threshold = i32::try_from(settings.checkpoint_bytes / PAGE_BYTES).unwrap_or(i32::MAX);
    let checkpointer = Checkpointer::start(core, &mut connection, background, threshold.max(1))?;
    Ok(Opened {
        writer: Writer {
            connection,
            state,
            checkpointer,
            interval_min: settings.group_interval_min,
        },
        reader: Reader {
            connection: reading,
            epoch,
        },
        lock,
        recovered,
    })
}

fn configure(connection: &Connection, settings: &StoreSettings) -> rusqlite::Result<()> {
    let synchronous = match settings.durability {
        Durability::Full => "FULL",
        Durability::Normal => "NORMAL",
        Durability::Off => "OFF",
    };
    connection.pragma_update(None, "page_size", PAGE_BYTES.cast_signed())?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    if let Some(bytes) = settings.file_bytes_max {
        let pages = (bytes / PAGE_BYTES).max(1).cast_signed();
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    configure_cache(connection, settings)
}

fn configure_cache(connection: &Connection, settings: &StoreSettings) -> rusqlite::Result<()> {
    // A negative size is in KiB.
    let kib = i64::try_from(settings.cache_bytes / 1024).unwrap_or(i64::MAX);
    connection.pragma_update(None, "cache_size", -kib)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Gives this run its number.
fn begin_run(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "UPDATE meta SET value = value + 1 WHERE name = 'epoch' RETURNING value";
    connection.query_row(sql, [], |row| row.get(0))
}

/// Reads the definitions, and lets go of what does not outlive a run.
fn recover(connection: &Connection, state: &mut State) -> Result<Recovered, StoreError> {
    let failed = database("read the definitions");
    let mut recovered = Recovered {
        exchanges: definitions::exchanges(connection)?,
        bindings: definitions::bindings(connection)?,
        queues: Vec::new(),
        next_queue: connection
            .query_row("SELECT value FROM meta WHERE name = 'next_queue'", [], |row| {
                row.get(0)
            })
            .map_err(&failed)?,
    };
    for row in definitions::queues(connection)? {
        if !row.durable {
            state.delete_queue(connection, row.id)?;
            continue;
        }
        let summary = state.summaries.get(row.id).copied().unwrap_or_default();
        if summary.messages == 0 && first(connection, &state.garbage, row.id)?.is_some() {
            // Transient messages of an earlier run: nobody will ask for them.
            let all = (0, summary.next);
            state.garbage.add(connection, &mut state.segments, row.id, all)?;
        }
        let first = first(connection, &state.garbage, row.id)?;
        recovered.queues.push(RecoveredQueue {
            messages: summary.messages,
            body_bytes: summary.body_bytes,
            first: Position(first.filter(|_| summary.messages > 0).unwrap_or(summary.next)),
            next: Position(summary.next),
            delivered_before: Position(summary.redelivered_before),
            row,
        });
    }
    connection
        .execute("DELETE FROM queue WHERE NOT durable", [])
        .map_err(&failed)?;
    Ok(recovered)
}

/// A place that no stored message of the queue is below; none if there is no message.
fn first(connection: &Connection, garbage: &Garbage, queue: QueueId) -> Result<Option<u64>, StoreError> {
    let end = row_id(queue, POSITION_END);
    let sql = "SELECT id FROM segment WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 1";
    let found: Option<i64> = connection
        .prepare_cached(sql)
        .and_then(|mut select| {
            select
                .query_row([row_id(queue, 0), end], |row| row.get(0))
                .optional()
        })
        .map_err(database("look for a queue's first message"))?;
    let Some(mut id) = found else {
        return Ok(None);
    };
    while let Some(after) = garbage.end_of(id) {
        if after >= end {
            return Ok(None);
        }
        id = after;
    }
    Ok(Some(position_of(id)))
}

/// Deletes a database with what belongs to it.
fn remove(directory: &Path, file_name: &str) -> Result<(), StoreError> {
    for suffix in ["", "-wal", "-shm"] {
        let path = directory.join(format!("{file_name}{suffix}"));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(io("delete", &path)(error)),
            _ => {}
        }
    }
    Ok(())
}

fn io<'a>(operation: &'static str, path: &'a Path) -> impl Fn(std::io::Error) -> StoreError + 'a {
    move |source| StoreError::Io {
        operation,
        path: path.display().to_string(),
        source,
    }
}
