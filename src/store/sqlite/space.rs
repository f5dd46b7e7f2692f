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
use super::{Chain, database, is_full};
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
    /// It could not look the last time, and has said so.
    is_blind: bool,
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
        self.look.get_or_init(|| {
            Mutex::new(Look {
                connection,
                pages,
                is_blind: false,
            })
        });
        Ok(())
    }

    /// The account, with so many bytes of messages that wait to be written.
    pub(super) fn space(&self, pending_bytes: usize) -> Space {
        let pages = self
            .look
            .get()
            .map_or(Pages::default(), |look| look.lock().pages());
        let length = fs::metadata(&self.path).map_or(0, |file| file.len());
        Space {
            spare: pages.free * PAGE_BYTES,
            owed: (pages.all * PAGE_BYTES).saturating_sub(length) + WRITES * pending_bytes as u64,
        }
    }
}

impl Look {
    /// As they are now; as they were, where they can not be read. Whether the database is of use is the writer's to say.
    fn pages(&mut self) -> Pages {
        match Pages::read(&self.connection) {
            Ok(pages) => {
                self.pages = pages;
                self.is_blind = false;
            }
            Err(error) if is_full(&error) || is_busy(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut self.is_blind, true) {
                    tracing::warn!(error = %Chain(&error), "how much room the database has is not known; the last figure is used");
                }
            }
        }
        self.pages
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_read_leaves_the_last_figure() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("some.db");
        let writer = Connection::open(&path).unwrap();
        let fill = "CREATE TABLE t (b BLOB); INSERT INTO t VALUES (zeroblob(100000)); DELETE FROM t;";
        writer.execute_batch(fill).unwrap();
        drop(writer);
        let gauge = SpaceGauge::new(path.clone());
        gauge.open(&path).unwrap();
        let before = gauge.space(0);
        assert_ne!(before.spare, 0);
        let length = fs::metadata(&path).unwrap().len();
        fs::write(&path, vec![b'x'; usize::try_from(length).unwrap()]).unwrap();
        let look = gauge.look.get().unwrap();
        assert!(Pages::read(&look.lock().connection).is_err());
        assert_eq!(gauge.space(0), before);
    }
}
