//! Definitions at start, and on the data directory of a broker that does not run.

use std::fs;
use std::path::Path;
use std::sync::{Arc, mpsc};

use tracing::{info, warn};

use crate::broker::Broker;
use crate::broker::vhost::Stores;
use crate::config::Config;
use crate::definitions::{self, Conflict, Definitions, DefinitionsError, Export, Origin};
use crate::store::Recovered;
use crate::store::access::AccessRows;
use crate::store::memory::MemoryStore;
use crate::store::sqlite::StoreSettings;

use super::{ServerError, open_stores, parts};

/// The broker, with the definitions that the configuration names.
pub(super) fn broker(config: &Config, stores: Stores, recovered: &Recovered) -> Result<Broker, ServerError> {
    if config.definitions.as_os_str().is_empty() {
        return Ok(Broker::new(parts(config, stores, recovered)?, recovered)?);
    }
    let file = &config.definitions;
    let definitions = read(file, None)?;
    let (broker, notes) = import(config, stores, recovered, file, &definitions, Conflict::IsTold)?;
    for note in notes {
        warn!("definitions: {note}");
    }
    info!(file = %file.display(), "imported definitions: {}", definitions.summary());
    Ok(broker)
}

/// Whether the file that the configuration names can be read. What is in it is tried at the start only, since that
/// depends on what is stored.
pub(super) fn check(config: &Config) -> Result<(), ServerError> {
    if !config.definitions.as_os_str().is_empty() {
        read(&config.definitions, None)?;
    }
    Ok(())
}

/// What an import came to, for the operator to read.
#[derive(Clone, Debug)]
pub struct Imported {
    /// How many of what.
    pub summary: String,
    /// What was left out.
    pub notes: Vec<String>,
}

/// Imports a file into the data directory, which no broker may use meanwhile. `vhost` is for a file that is the
/// export of a single one.
///
/// # Errors
/// When the file or something in it can not be used, or the directory; then nothing is changed.
pub fn import_definitions(
    config: &Config,
    file: &Path,
    vhost: Option<&str>,
) -> Result<Imported, ServerError> {
    let definitions = read(file, vhost)?;
    let (failures, _) = mpsc::channel();
    let (stores, recovered) = open_stores(config, &failures)?;
    let (_, notes) = import(
        config,
        stores.clone(),
        &recovered,
        file,
        &definitions,
        Conflict::IsRefused,
    )?;
    close(&stores)?;
    Ok(Imported {
        summary: definitions.summary(),
        notes,
    })
}

/// Writes down what is in the data directory, which no broker may use meanwhile.
///
/// # Errors
/// When there is nothing, or it can not be used.
pub fn export_definitions(config: &Config) -> Result<Export, ServerError> {
    let directory = &config.storage.directory;
    if !directory.join(StoreSettings::default().file_name).exists() {
        return Err(ServerError::NothingStored(directory.display().to_string()));
    }
    let (failures, _) = mpsc::channel();
    let (stores, recovered) = open_stores(config, &failures)?;
    let broker = Broker::new(parts(config, stores.clone(), &recovered)?, &recovered)?;
    let origin = Origin {
        product: &config.identity.product,
        version: &config.identity.version,
        cluster_name: &config.identity.cluster_name,
    };
    let export = definitions::export(&broker, origin);
    close(&stores)?;
    Ok(export)
}

fn read(file: &Path, vhost: Option<&str>) -> Result<Definitions, ServerError> {
    let text = fs::read(file).map_err(|source| ServerError::DefinitionsFile {
        file: file.display().to_string(),
        source,
    })?;
    Definitions::read(&text, vhost).map_err(|error| refused(file, error))
}

/// A broker with the definitions, which were tried on one without a disk first: what is refused changes nothing.
fn import(
    config: &Config,
    stores: Stores,
    recovered: &Recovered,
    file: &Path,
    definitions: &Definitions,
    conflict: Conflict,
) -> Result<(Broker, Vec<String>), ServerError> {
    let forgetful = Stores {
        durable: Arc::new(MemoryStore::default()),
        spill: Arc::new(MemoryStore::default()),
    };
    // As in RabbitMQ, whoever begins with users or vhosts of their own gets no others.
    let is_new = is_new(recovered);
    let parts = |stores| {
        let mut parts = parts(config, stores, recovered)?;
        if is_new && definitions.has_users() {
            parts.declared.default_users = AccessRows::default();
        }
        if is_new && definitions.has_vhosts() {
            parts.declared.default_vhosts = AccessRows::default();
        }
        Ok::<_, ServerError>(parts)
    };
    let rehearsal = Broker::new(parts(forgetful)?, recovered)?;
    definitions::import(definitions, &rehearsal, conflict).map_err(|error| refused(file, error))?;
    let broker = Broker::new(parts(stores)?, recovered)?;
    let notes = definitions::import(definitions, &broker, conflict).map_err(|error| refused(file, error))?;
    Ok((broker, notes))
}

/// Whether nothing was ever kept here.
fn is_new(recovered: &Recovered) -> bool {
    recovered.next_queue == 0
        && recovered.exchanges.is_empty()
        && recovered.bindings.is_empty()
        && recovered.policies.is_empty()
        && recovered.access == AccessRows::default()
        && !recovered.had_users
}

fn close(stores: &Stores) -> Result<(), ServerError> {
    stores.durable.close().map_err(ServerError::Store)?;
    stores.spill.close().map_err(ServerError::Store)
}

fn refused(file: &Path, source: DefinitionsError) -> ServerError {
    ServerError::Definitions {
        file: file.display().to_string(),
        source,
    }
}
