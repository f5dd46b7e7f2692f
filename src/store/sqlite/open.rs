//! Opens a database: lock, checks, migration, and what the last run left to do. The cost grows with the number of
//! queues, not of messages.

use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use super::checkpoint::{self, Checkpointer};
use super::lock::{self, DirectoryLock};
use super::reader::Reader;
use super::summary::Summaries;
use super::writer::{State, Writer};
use super::{Core, Durability, StoreSettings, database, file_system, log_index, recover, schema};
use crate::store::{Recovered, StoreError};

/// Bytes of a page. Fixed when the file is made.
pub(super) const PAGE_BYTES: u64 = 4096;

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
    create_directory(directory)?;
    let lock = lock::lock(&directory.join(format!("{}.lock", settings.file_name)))?;
    if settings.fresh {
        remove(directory, &settings.file_name)?;
    }
    if settings.durability == Durability::Full {
        log_index::check(&path)?;
    }
    let failed = database("open the database");
    let mut connection = Connection::open(&path).map_err(&failed)?;
    schema::check(&connection, &path)?;
    configure(&connection, settings).map_err(&failed)?;
    take_over_log(&connection)?;
    schema::migrate(&mut connection)?;

    let transaction = connection.transaction().map_err(&failed)?;
    let epoch = begin_run(&transaction).map_err(&failed)?;
    Summaries::begin_run(&transaction).map_err(&failed)?;
    let mut state = State::read(&transaction, epoch)?;
    let recovered = recover::recover(&transaction, &mut state)?;
    state.segments.flush(&transaction)?;
    state.summaries.write(&transaction)?;
    transaction.commit().map_err(&failed)?;
    core.space.open(&path)?;

    // The files' names have to survive a power loss as well.
    File::open(directory)
        .and_then(|names| names.sync_all())
        .map_err(file_system("sync", directory))?;

    let background = Connection::open(&path).map_err(&failed)?;
    configure(&background, settings).map_err(&failed)?;
    let reading = open_reading(&path)?;
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

/// Opens the database once more, to read.
pub(super) fn open_reading(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).map_err(database("open the database"))
}

fn configure_cache(connection: &Connection, settings: &StoreSettings) -> rusqlite::Result<()> {
    // A negative size is in KiB.
    let kib = i64::try_from(settings.cache_bytes / 1024).unwrap_or(i64::MAX);
    connection.pragma_update(None, "cache_size", -kib)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Makes the directory if it is missing, for its owner only: messages and the hashes of passwords are nobody else's
/// business.
pub(super) fn create_directory(directory: &Path) -> Result<(), StoreError> {
    let parent = directory.parent().map_or(Ok(()), fs::create_dir_all);
    parent
        .and_then(|()| DirBuilder::new().recursive(true).mode(0o700).create(directory))
        .map_err(file_system("create", directory))
}

/// Moves what an earlier run left in the log into the database, before anything is added to it. After a sync that
/// failed, parts of the log may be in the system's memory only, and look as if they were on disk: what would stand
/// behind them, synced and confirmed, were lost with them in a power cut.
fn take_over_log(connection: &Connection) -> Result<(), StoreError> {
    if !checkpoint::truncate(connection)? {
        tracing::warn!(
            "the log of the last run can not be taken over while a backup reads it; going on behind it"
        );
    }
    Ok(())
}

/// Gives this run its number.
fn begin_run(connection: &Connection) -> rusqlite::Result<i64> {
    let sql = "UPDATE meta SET value = value + 1 WHERE name = 'epoch' RETURNING value";
    connection.query_row(sql, [], |row| row.get(0))
}

/// Deletes a database with what belongs to it.
fn remove(directory: &Path, file_name: &str) -> Result<(), StoreError> {
    for suffix in ["", "-wal", "-shm"] {
        let path = directory.join(format!("{file_name}{suffix}"));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(file_system("delete", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}
