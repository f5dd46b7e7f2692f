//! The embedded store: SQLite with a write-ahead log, one thread that writes, one that reads, one that checkpoints.
//!
//! It never answers on the caller's thread and never holds a queue's messages in memory. Messages lie in segments,
//! a row for all that one queue got in one group; see the modules for each kind of row.

mod access;
mod checkpoint;
mod copy;
mod definitions;
mod delayed;
mod draft;
mod entries;
mod extras;
mod garbage;
mod group;
mod lock;
mod log_index;
mod open;
mod pending;
mod reader;
mod recover;
mod remembered;
mod returned;
mod schema;
mod segment;
mod segments;
mod shared;
mod space;
mod summary;
mod varint;
mod verify;
mod weave;
mod writer;

use std::error::Error;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::task::Waker;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{ErrorCode, ffi};

pub use self::copy::{backup, restore};
use self::lock::DirectoryLock;
use self::pending::Pending;
use self::space::SpaceGauge;
pub use self::verify::{Findings, verify};
use crate::store::{Operation, Recovered, Sequence, Space, Store, StoreError};

/// Called once, from a thread of the store, when it has failed: nothing is committed any more.
pub type OnFailure = Box<dyn Fn(Arc<StoreError>) + Send + Sync>;

/// How a store is opened. The defaults are those of the broker's main store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// Name of the database file in the data directory.
    pub file_name: String,
    /// When a commit returns.
    pub durability: Durability,
    /// Delete what is there at open.
    pub fresh: bool,
    /// A group takes no more appends when it has so many operations. What one hold spans is never parted.
    pub group_operations_max: usize,
    /// A group takes no more appends when its messages have so many bytes.
    pub group_bytes_max: usize,
    /// Groups begin at least so far apart; zero writes as soon as the disk is free.
    pub group_interval_min: Duration,
    /// Size of the write-ahead log, in bytes, at which it is moved into the database. The log may grow to
    /// several times this under load.
    pub checkpoint_bytes: u64,
    /// Memory of each connection's page cache, in bytes.
    pub cache_bytes: u64,
    /// The database file does not grow beyond so many bytes; a group that needs more fails as on a full disk.
    pub file_bytes_max: Option<u64>,
}

/// What a commit waits for: the levels of SQLite's `synchronous`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The disk has it. Survives power loss.
    #[default]
    Full,
    /// The system has it; the disk has it at the next checkpoint. Survives the end of the process.
    Normal,
    /// The system has it, and the file may be damaged by power loss. For stores that start empty.
    Off,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            file_name: "leveret.db".to_owned(),
            durability: Durability::default(),
            fresh: false,
            group_operations_max: 65_536,
            group_bytes_max: 16 << 20,
            group_interval_min: Duration::ZERO,
            checkpoint_bytes: 24 << 20,
            cache_bytes: 16 << 20,
            file_bytes_max: None,
        }
    }
}

/// A store in a SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    core: Arc<Core>,
    /// Taken by the first close.
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    writer: JoinHandle<()>,
    _lock: DirectoryLock,
}

/// What the store's threads and its users share.
struct Core {
    pending: Pending,
    space: SpaceGauge,
    on_failure: OnFailure,
}

impl SqliteStore {
    /// Opens the database in `directory`, creating both if they are missing, and reads the definitions.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when the file is not ours, newer, or in use; else what the system or the database
    /// ran into.
    pub fn open(
        directory: &Path,
        settings: &StoreSettings,
        on_failure: OnFailure,
    ) -> Result<(Self, Recovered), StoreError> {
        let core = Arc::new(Core {
            pending: Pending::new(settings.group_operations_max, settings.group_bytes_max),
            space: SpaceGauge::new(directory.join(&settings.file_name)),
            on_failure,
        });
        let opened = open::open(&core, directory, settings)?;
        let (writer, reader) = (opened.writer, opened.reader);
        let writer = spawn("store-write", &core, move |core| writer.run(core, reader))?;
        let running = Mutex::new(Some(Running {
            writer,
            _lock: opened.lock,
        }));
        Ok((Self { core, running }, opened.recovered))
    }
}

impl Store for SqliteStore {
    fn append(&self, operations: &mut Vec<Operation>) -> Sequence {
        self.core.pending.append(operations)
    }

    fn hold(&self) {
        self.core.pending.hold();
    }

    fn release(&self) {
        self.core.pending.release();
    }

    fn committed(&self) -> Sequence {
        self.core.pending.committed()
    }

    fn wake_when_committed(&self, sequence: Sequence, waker: &Waker) -> bool {
        self.core.pending.wake_when_committed(sequence, waker)
    }

    fn pending_bytes(&self) -> usize {
        self.core.pending.bytes()
    }

    fn space(&self) -> Space {
        self.core.space.space(self.core.pending.bytes())
    }

    fn close(&self) -> Result<(), Arc<StoreError>> {
        let mut running = self.running.lock();
        if let Some(running) = running.take() {
            self.core.pending.close();
            // A panic there was reported by the thread itself.
            let _ = running.writer.join();
            self.core.pending.stop(None);
        }
        self.core.pending.failure().map_or(Ok(()), Err)
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        // What went wrong was reported when it happened.
        let _ = self.close();
    }
}

impl Core {
    /// Ends all commits, and tells the first time.
    fn fail(&self, error: StoreError) {
        let error = Arc::new(error);
        if self.pending.stop(Some(Arc::clone(&error))) {
            tracing::error!(error = %Chain(&*error), "the store has failed; nothing is written any more");
            (self.on_failure)(error);
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("pending", &self.pending)
            .finish_non_exhaustive()
    }
}

/// Starts a thread of the store, whose error or panic ends the store's work.
fn spawn(
    name: &str,
    core: &Arc<Core>,
    run: impl FnOnce(&Arc<Core>) -> Result<(), StoreError> + Send + 'static,
) -> Result<JoinHandle<()>, StoreError> {
    struct Watch(Arc<Core>);
    impl Drop for Watch {
        fn drop(&mut self) {
            if thread::panicking() {
                self.0.fail(StoreError::Damaged {
                    what: "the store's state".to_owned(),
                    reason: "a thread of it has panicked".to_owned(),
                });
            }
        }
    }
    let watch = Watch(Arc::clone(core));
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let watch = watch;
            if let Err(error) = run(&watch.0) {
                watch.0.fail(error);
            }
        })
        .map_err(|source| StoreError::Io {
            operation: "start the thread",
            path: name.to_owned(),
            source,
        })
}

/// Names the operation that the database refused.
fn database(operation: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |source| StoreError::Database { operation, source }
}

/// Whether the disk has no room: then nothing of the operation was done, and it may be tried again.
fn is_full(error: &StoreError) -> bool {
    let StoreError::Database { source, .. } = error else {
        return false;
    };
    source.sqlite_error().is_some_and(|code| {
        // The index of the log is a file as well.
        code.code == ErrorCode::DiskFull || code.extended_code == ffi::SQLITE_IOERR_SHMSIZE
    })
}

/// Names what was attempted on which file, for what the file system says.
fn file_system<'a>(operation: &'static str, path: &'a Path) -> impl Fn(io::Error) -> StoreError + 'a {
    move |source| StoreError::Io {
        operation,
        path: path.display().to_string(),
        source,
    }
}

/// A file or directory that is not what it should be, and what to do.
fn unusable(path: &Path, reason: String) -> StoreError {
    StoreError::Unusable {
        path: path.display().to_string(),
        reason,
    }
}

/// An error with its sources, on one line.
struct Chain<'a>(&'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
