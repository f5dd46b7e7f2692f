//! A new configuration while the broker runs: what can be changed then is, what can not is named in the log.

use std::sync::Arc;

use tracing::{error, info, warn};

use crate::config::{Config, Limits, Log, Sources, Verify};
use crate::net::{ClientCertificates, Entrance, Terms, TlsError, TlsFiles, load_tls};

use super::connection_settings;

/// Sets what is logged from now on; fails for a filter that can not be used.
pub type SetLog = Box<dyn Fn(&Log) -> Result<(), String> + Send + Sync>;

/// Knows where the configuration is and what it was at the start.
pub struct Reload {
    sources: Sources,
    set_log: SetLog,
    started_with: Config,
    entrance: Arc<Entrance>,
}

impl Reload {
    /// For a broker that was started with this configuration.
    pub fn new(sources: Sources, set_log: SetLog, started_with: Config, entrance: Arc<Entrance>) -> Self {
        Self {
            sources,
            set_log,
            started_with,
            entrance,
        }
    }

    /// Reads everything again. If anything is wrong nothing changes, and the log says what it is. Returns the limits
    /// to watch from now on.
    pub fn run(&self) -> Option<Limits> {
        let config = match Config::load(&self.sources) {
            Ok(config) => config,
            Err(error) => {
                for problem in error.problems {
                    error!(%problem, "the new configuration is not usable; the old one stays in force");
                }
                return None;
            }
        };
        let mut terms = match terms(&config) {
            Ok(terms) => terms,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                error!(%error, cause, "the new configuration is not usable; the old one stays in force");
                return None;
            }
        };
        if let Err(error) = (self.set_log)(&config.log) {
            error!(
                error,
                "cannot change what is logged; the old configuration stays in force"
            );
            return None;
        }
        if terms.tls.is_none() {
            // Listeners stay until a restart, and those for TLS need a certificate.
            terms.tls.clone_from(&self.entrance.terms().tls);
        }
        self.entrance.set_terms(terms);
        let waiting = needs_restart(&self.started_with, &config);
        if !waiting.is_empty() {
            warn!(
                keys = waiting.join(" "),
                "changed in the configuration, but in force after a restart only"
            );
        }
        info!("the configuration is reloaded");
        Some(config.limits)
    }
}

/// What new connections are given, with certificates read from their files.
///
/// # Errors
/// When a file is missing or unfit.
pub fn terms(config: &Config) -> Result<Terms, TlsError> {
    let tls = &config.tls;
    let clients = (tls.verify != Verify::None).then(|| ClientCertificates {
        ca: tls.client_ca.clone(),
        are_required: tls.verify == Verify::Required,
    });
    let files = TlsFiles {
        certificate: tls.certificate.clone(),
        key: tls.key.clone(),
        clients,
    };
    let speaks_tls = !config.listeners.amqps.is_empty();
    Ok(Terms {
        settings: Arc::new(connection_settings(config)),
        tls: speaks_tls.then(|| load_tls(&files)).transpose()?,
        proxies: config.listeners.proxy_protocol_from.clone(),
        connections_max: sockets_max(config.limits.connections_max),
    })
}

/// Some more than there may be connections, so that those beyond the limit come as far as being told so.
fn sockets_max(connections_max: u32) -> u32 {
    match connections_max {
        0 => 0,
        max => max.saturating_add(max / 8).saturating_add(16),
    }
}

/// The keys that differ and that a running broker does not change.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let keys = [
        ("listeners.amqp", old.listeners.amqp != new.listeners.amqp),
        ("listeners.amqps", old.listeners.amqps != new.listeners.amqps),
        ("storage", old.storage != new.storage),
        (
            "auth.loopback_users",
            old.auth.loopback_users != new.auth.loopback_users,
        ),
        (
            "limits.channels_max",
            old.limits.channels_max != new.limits.channels_max,
        ),
        (
            "limits.queues_max",
            old.limits.queues_max != new.limits.queues_max,
        ),
        (
            "limits.exchanges_max",
            old.limits.exchanges_max != new.limits.exchanges_max,
        ),
        ("log.format", old.log.format != new.log.format),
        ("vhosts", old.vhosts != new.vhosts),
        ("users", old.users != new.users),
        ("definitions", old.definitions != new.definitions),
        ("policies", old.policies != new.policies),
        (
            "operator_policies",
            old.operator_policies != new.operator_policies,
        ),
    ];
    keys.iter()
        .filter(|(_, differs)| *differs)
        .map(|(key, _)| *key)
        .collect()
}
