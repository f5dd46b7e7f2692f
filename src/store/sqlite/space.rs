//! How much the database takes of the disk: what it has there and does not need, and what it has yet to take.
//!
//! A file of SQLite never shrinks; pages of settled messages are free for others. What stands in the log and is new
//! makes the file longer when it is moved there.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode};

use super::open::{PAGE_BYTES, open_reading};
use super::{database, is_full};
use crate::store::{Space, StoreError};

/// What is written goes into the log, and from there into the database.
const WRITES: u64 = 2;

#[derive(Debug)]
pub(super) struct SpaceGauge {
    path: PathBuf,
    /// There once the database is open.
    look: OnceLock<Mutex<Look>>,
}

/// A connection of its own, so that commits are not held up, and what it saw last.
#[derive(Debug)]
struct Look {
    connection: Connection,
    pages: Pages,
}

#[derive(Clone, Copy, Debug, Default)]
struct Pages {
    /// After the last commit, wherever they are.
    all: u64,
    /// Those of them that hold nothing.
    free: u64,
}

impl SpaceGauge {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            look: OnceLock::new(),
        }
    }

    /// Begins to look at the database in `path`, which is open.
    pub(super) fn open(&self, path: &Path) -> Result<(), StoreError> {
        let connection = open_reading(path)?;
        let pages = Pages::read(&connection)?;
        self.look.get_or_init(|| Mutex::new(Look { connection, pages }));
        Ok(())
    }

    /// The account, with so many bytes of messages that wait to be written.
    ///
    /// # Errors
    /// The database can not be read.
    pub(super) fn space(&self, pending_bytes: usize) -> Result<Space, StoreError> {
        let pages = self
            .look
            .get()
            .map_or(Ok(Pages::default()), |look| look.lock().pages())?;
        let length = fs::metadata(&self.path).map_or(0, |file| file.len());
        Ok(Space {
            spare: pages.free * PAGE_BYTES,
            owed: (pages.all * PAGE_BYTES).saturating_sub(length) + WRITES * pending_bytes as u64,
        })
    }
}

impl Look {
    /// As they are now; as they were, where somebody is in the way or there is no room to look.
    fn pages(&mut self) -> Result<Pages, StoreError> {
        match Pages::read(&self.connection) {
            Ok(pages) => self.pages = pages,
            Err(error) if is_full(&error) || is_busy(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(self.pages)
    }
}

impl Pages {
    fn read(connection: &Connection) -> Result<Self, StoreError> {
        let number = |sql| {
            connection
                .prepare_cached(sql)
                .and_then(|mut select| select.query_row([], |row| row.get(0)))
                .map(i64::unsigned_abs)
                .map_err(database("read the size of the database"))
        };
        Ok(Self {
            all: number("PRAGMA page_count")?,
            free: number("PRAGMA freelist_count")?,
        })
    }
}

fn is_busy(error: &StoreError) -> bool {
    let StoreError::Database { source, .. } = error else {
        return false;
    };
    matches!(
        source.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}
