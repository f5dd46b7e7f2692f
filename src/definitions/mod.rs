//! Definitions as RabbitMQ exports them: a JSON file of users, vhosts, permissions, policies, queues, exchanges and
//! bindings, imported whole or not at all.
//!
//! The JSON's types stay in here. What an entry means, and whether it is acceptable, the broker decides: an import
//! is rehearsed on a broker without a disk, and then done for good under one hold of the store.

mod access;
mod document;
mod entries;
mod export;
mod import;
mod value;

use std::fmt::Display;

pub use export::{Export, Origin, export};
pub use import::{Conflict, Definitions, import};

/// Why a file of definitions is not imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionsError {
    /// It is not an object of JSON.
    #[error("it is not a file of definitions: {0}")]
    Json(String),
    /// Something in it is not acceptable.
    #[error("{entry}: {reason}")]
    Entry {
        /// What, with its place or its name and virtual host.
        entry: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl DefinitionsError {
    fn entry(entry: impl Display, reason: impl Display) -> Self {
        Self::Entry {
            entry: entry.to_string(),
            reason: reason.to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
