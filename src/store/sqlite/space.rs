//! How much the database takes of the disk: what it has there and does not need, and what it has yet to take.
//!
//! A file of SQLite never shrinks; pages of settled messages are free for others. What stands in the log and is new
//! makes the file longer when it is moved there.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

use super::database;
use super::open::PAGE_BYTES;
use crate::store::{Space, StoreError};

/// What is written goes into the log, and from there into the database.
const WRITES: u64 = 2;

#[derive(Debug)]
pub(super) struct SpaceGauge {
    path: PathBuf,
    /// Pages after the last commit, wherever they are.
    pages: AtomicU64,
    /// Those of them that hold nothing.
    free_pages: AtomicU64,
}

impl SpaceGauge {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            pages: AtomicU64::new(0),
            free_pages: AtomicU64::new(0),
        }
    }

    /// Looks at what the last commit left.
    pub(super) fn note(&self, connection: &Connection) -> Result<(), StoreError> {
        let number = |sql| {
            connection
                .prepare_cached(sql)
                .and_then(|mut select| select.query_row([], |row| row.get(0)))
                .map(i64::unsigned_abs)
                .map_err(database("read the size of the database"))
        };
        self.pages.store(number("PRAGMA page_count")?, Ordering::Relaxed);
        self.free_pages
            .store(number("PRAGMA freelist_count")?, Ordering::Relaxed);
        Ok(())
    }

    /// The account, with so many bytes of messages that wait to be written.
    pub(super) fn space(&self, pending_bytes: usize) -> Space {
        let length = fs::metadata(&self.path).map_or(0, |file| file.len());
        let pages = self.pages.load(Ordering::Relaxed);
        Space {
            spare: self.free_pages.load(Ordering::Relaxed) * PAGE_BYTES,
            owed: (pages * PAGE_BYTES).saturating_sub(length) + WRITES * pending_bytes as u64,
        }
    }
}
