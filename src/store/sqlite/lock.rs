//! One process per database: a lock file that the system lets go when the process ends, however it ends.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::store::StoreError;

/// Holds the lock until it is dropped. The file stays: removing it would let two processes lock two files.
#[derive(Debug)]
pub(super) struct DirectoryLock(#[expect(dead_code, reason = "kept open for the lock on it")] File);

/// Locks `path`, which is created if it is missing.
pub(super) fn lock(path: &Path) -> Result<DirectoryLock, StoreError> {
    let failed = |source| StoreError::Io {
        operation: "lock",
        path: path.display().to_string(),
        source,
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(DirectoryLock(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::Unusable {
            path: path.display().to_string(),
            reason: "another process uses this data directory; stop it or choose another directory"
                .to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
