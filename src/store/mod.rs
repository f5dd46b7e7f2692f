//! What survives a restart: definitions and messages, in the order they were appended.
//!
//! The seam is narrow so that another database can stand behind it: append operations, watch one number, read a
//! page of a queue, load the definitions. Nothing here knows exchanges' rules, consumers or sockets, and nothing
//! above knows rows or SQL. Operations appended earlier are never on disk later than ones appended after them.

pub mod access;
mod delayed;
pub mod memory;
pub mod operation;
mod policy;
pub mod remembered;
pub mod sqlite;

use std::sync::Arc;
use std::task::Waker;

use rusqlite::ErrorCode;

pub use delayed::{
    DelayedEntry, DelayedId, DelayedPage, DelayedRequest, DelayedSink, DelayedWay, DelaysRow, RecoveredDelays,
};
pub use operation::{
    BindingRow, DestinationKind, ExchangeRow, ExpiringStretch, LevelRow, Operation, Page, PageEntry,
    PageRequest, PageSink, Position, PublishEntry, QueueId, QueueRow, Recovered, RecoveredLevel,
    RecoveredQueue,
};
pub use policy::{PolicyKind, PolicyRow};
pub use remembered::{HistoryRow, Keeper, KeyRow, MemoryChange, MessageKey};

/// Counts groups of appended operations: everything appended up to a number is on disk once
/// [`Store::committed`] has reached it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sequence(pub u64);

/// A store's account with its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes of its files that are free for what comes.
    pub spare: u64,
    /// Bytes that it will take at most for what it has accepted.
    pub owed: u64,
}

/// Why the store can not do its work. The message names the operation; the source is kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory or file is not ours, newer than we are, or in use by another process.
    #[error("{path}: {reason}")]
    Unusable {
        /// The file or directory.
        path: String,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// The database refused an operation.
    #[error("cannot {operation}")]
    Database {
        /// What was attempted, as a verb with its object.
        operation: &'static str,
        /// What the database said.
        source: rusqlite::Error,
    },
    /// The file system refused an operation.
    #[error("cannot {operation} {path}")]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On which file or directory.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A row does not hold what we once wrote.
    #[error("{what} is damaged: {reason}")]
    Damaged {
        /// Which row.
        what: String,
        /// In what way.
        reason: String,
    },
}

impl StoreError {
    /// Whether the data may not be what was written. A disk that is full, or a file that others hold, says nothing of
    /// what is in it. One that must not be written may say so of itself.
    pub fn may_be_damage(&self) -> bool {
        match self {
            Self::Database { source, .. } => !matches!(
                source.sqlite_error_code(),
                Some(
                    ErrorCode::DiskFull
                        | ErrorCode::DatabaseBusy
                        | ErrorCode::DatabaseLocked
                        | ErrorCode::CannotOpen
                        | ErrorCode::PermissionDenied
                        | ErrorCode::OutOfMemory
                )
            ),
            Self::Damaged { .. } => true,
            Self::Unusable { .. } | Self::Io { .. } => false,
        }
    }
}

/// The durable side of the broker. All methods return at once; a thread of the store's own does the work.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Adds operations to the group that is written next and returns the number to wait for.
    ///
    /// Call it while the lock of the queue concerned is held, so that a queue's operations stand in the order in
    /// which they happened. The vector is drained, so that the caller can use its allocation again.
    fn append(&self, operations: &mut Vec<Operation>) -> Sequence;

    /// Keeps the writer from closing a group until [`Store::release`]: what is appended in between is on disk
    /// whole or not at all. Held for microseconds only; holds may nest and overlap.
    ///
    /// Call it before any lock is taken: it may wait for the holds of others to end.
    fn hold(&self);

    /// Ends one [`Store::hold`].
    fn release(&self);

    /// The highest number whose operations are all on disk.
    fn committed(&self) -> Sequence;

    /// Wakes `waker` once, after `committed()` has reached `sequence`, or when the store fails. Returns false, and
    /// keeps nothing, when the number is reached already. After a failure it never will be: then it returns true,
    /// and there is nothing to do but wait for the end.
    fn wake_when_committed(&self, sequence: Sequence, waker: &Waker) -> bool;

    /// Bytes of messages appended and not yet on disk: publishers wait when this passes their mark.
    fn pending_bytes(&self) -> usize;

    /// What it may yet take of its disk, and what it has there and does not need.
    fn space(&self) -> Space;

    /// Writes all that is pending, checkpoints, and ends the store's threads. Later appends are not written.
    ///
    /// # Errors
    /// What the last group or the checkpoint ran into.
    fn close(&self) -> Result<(), Arc<StoreError>>;
}

/// A [`Store::hold`] that ends with its scope, also when that panics: a hold left behind would stop all commits.
#[derive(Debug)]
pub struct Hold<'a>(&'a dyn Store);

impl<'a> Hold<'a> {
    /// Begins to hold.
    pub fn new(store: &'a dyn Store) -> Self {
        store.hold();
        Self(store)
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn what_the_disk_or_others_are_to_blame_for_is_no_damage() {
        let rows = [
            (ffi::SQLITE_CORRUPT, true),
            (ffi::SQLITE_NOTADB, true),
            (ffi::SQLITE_IOERR_READ, true),
            (ffi::SQLITE_FULL, false),
            (ffi::SQLITE_BUSY, false),
            (ffi::SQLITE_LOCKED, false),
            (ffi::SQLITE_CANTOPEN, false),
            (ffi::SQLITE_READONLY, true),
        ];
        for (code, may_be_damage) in rows {
            let error = StoreError::Database {
                operation: "read it",
                source: rusqlite::Error::SqliteFailure(ffi::Error::new(code), None),
            };
            assert_eq!(error.may_be_damage(), may_be_damage, "{code}");
        }
    }
}
