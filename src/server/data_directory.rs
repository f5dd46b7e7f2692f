//! Backup, restore and a check of the data directory, beside or without a broker.

use std::path::Path;
use std::sync::Arc;

use crate::config::Config;
use crate::store::sqlite;

use super::ServerError;

pub use crate::store::sqlite::Findings;

/// Writes what the data directory holds to a new file, also while a broker works there.
///
/// # Errors
/// When there is nothing, or the file can not be written; then none is left, as where the findings are not sound.
pub fn backup(config: &Config, file: &Path) -> Result<Findings, ServerError> {
    let keep_free = config.limits.disk_free_limit;
    sqlite::backup(&config.storage.directory, file, keep_free)
        .map_err(|error| ServerError::Store(Arc::new(error)))
}

/// Fills the data directory, which must be empty, from a backup.
///
/// # Errors
/// When the backup can not be used, or the directory; then nothing is restored, as where the findings are not sound.
pub fn restore(config: &Config, file: &Path) -> Result<Findings, ServerError> {
    sqlite::restore(file, &config.storage.directory).map_err(|error| ServerError::Store(Arc::new(error)))
}

/// Looks at all that the data directory holds, which no broker may use meanwhile.
///
/// # Errors
/// When there is nothing to look at.
pub fn verify(config: &Config) -> Result<Findings, ServerError> {
    sqlite::verify(&config.storage.directory).map_err(|error| ServerError::Store(Arc::new(error)))
}
