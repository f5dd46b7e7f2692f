//! Why a broker did not start, or had to stop, and what to do about it.

use std::io;
use std::sync::Arc;

use crate::broker::RecoverError;
use crate::broker::policy::PolicyError;
use crate::definitions::DefinitionsError;
use crate::net::{BindError, TlsError};
use crate::store::StoreError;

/// Why the broker did not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The store can not be used, or failed while the broker ran.
    #[error("the store failed")]
    Store(#[source] Arc<StoreError>),
    /// What is stored does not go with the configuration.
    #[error("cannot take over what is stored")]
    Recover(#[from] RecoverError),
    /// An address can not be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The certificates can not be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A policy of the configuration can not be used.
    #[error("cannot use policy {name:?}")]
    Policy {
        /// Its name.
        name: String,
        /// Why.
        source: PolicyError,
    },
    /// A file of definitions can not be read.
    #[error("cannot read the definitions in {file}")]
    DefinitionsFile {
        /// Its name.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file of definitions can not be imported; nothing of it was.
    #[error("cannot import {file}")]
    Definitions {
        /// Its name.
        file: String,
        /// Why.
        source: DefinitionsError,
    },
    /// The data directory holds no broker's data.
    #[error("there is no data in {0}")]
    NothingStored(String),
    /// The system refused something at start.
    #[error("cannot {operation}")]
    System {
        /// What.
        operation: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl ServerError {
    /// What to do about a broker that ended with this, where the error does not say it itself.
    pub fn advice(&self) -> Option<&'static str> {
        let is_of_data = match self {
            Self::Store(error) => error.may_be_damage(),
            Self::Recover(error) => !matches!(error, RecoverError::UnknownVhost { .. }),
            _ => false,
        };
        is_of_data.then_some(
            "if the disk is in order, look with `leveret verify`, and restore a backup if it finds something",
        )
    }
}
