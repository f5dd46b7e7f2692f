//! Puts the parts together: opens the stores, recovers the broker, listens, watches resources, and stops cleanly.

mod data_directory;
mod declared;
mod definitions;
mod error;
mod reload;
mod time;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use amq_protocol::types::{AMQPValue, FieldTable, LongString};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

use crate::broker::limits::NodeLimits;
use crate::broker::policy::{Policy, PolicyKind};
use crate::broker::queue::level::Window;
use crate::broker::vhost::Stores;
use crate::broker::{Broker, Parts};
use crate::config::{Config, Identity, Sources, Storage, Synchronous};
use crate::connection::Settings;
use crate::connection::sasl::Mechanism;
use crate::net::{BindError, Entrance, Listener, Transport};
use crate::password_checker::PasswordChecker;
use crate::resources::{self, Resources};
use crate::store::sqlite::{Durability, SqliteStore, StoreSettings};
use crate::store::{Recovered, StoreError};

use reload::Reload;

pub use data_directory::{Findings, backup, restore, verify};
pub use definitions::{Imported, export_definitions, import_definitions};
pub use error::ServerError;
pub use reload::SetLog;

/// How long connections get to close when the broker stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Looks at the files that the configuration names, beyond what the configuration itself can check.
///
/// # Errors
/// When the broker would not start with them.
pub fn check_files(config: &Config) -> Result<(), ServerError> {
    reload::terms(config)?;
    definitions::check(config)
}

/// Runs the broker until SIGTERM or SIGINT, or until its store fails. On SIGHUP it reads the sources of its
/// configuration again.
///
/// # Errors
/// When it can not start, or had to stop because of its store.
pub async fn run(config: Config, sources: Sources, set_log: SetLog) -> Result<(), ServerError> {
    // Before the broker says that it is ready: whoever reads that may send a signal at once.
    let signals = Signals::catch()?;
    resources::allow_files();
    let terms = reload::terms(&config)?;
    let (failure_sender, failures) = mpsc::channel();
    let (stores, recovered) = open_stores(&config, &failure_sender)?;
    let broker = Arc::new(definitions::broker(&config, stores.clone(), &recovered)?);
    drop(recovered);
    warn_of_idle_policies(&policies(&config)?, &broker);
    time::warn_of_step(&broker.clock);
    let entrance = Arc::new(Entrance::new(Arc::clone(&broker), terms));
    let (stop, stopping) = watch::channel(false);
    let mut listeners = JoinSet::new();
    let mut listen = |addresses: &[SocketAddr], transport| {
        let mut bound = Vec::new();
        for address in addresses {
            let listener = Listener::bind(*address, transport)?;
            bound.push(listener.address().to_string());
            listeners.spawn(listener.serve(Arc::clone(&entrance), stopping.clone()));
        }
        Ok::<_, BindError>(bound.join(" "))
    };
    let plain = listen(&config.listeners.amqp, Transport::Plain)?;
    let encrypted = listen(&config.listeners.amqps, Transport::Tls)?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        listeners = plain,
        tls_listeners = encrypted,
        data_directory = %config.storage.directory.display(),
        vhosts = broker.vhosts().len(),
        queues = broker.vhosts().iter().map(|vhost| vhost.queues().len()).sum::<usize>(),
        "Server startup complete"
    );
    let timers = tokio::spawn(time::fire_timers(Arc::clone(&broker)));
    let notes = tokio::spawn(time::note_time(Arc::clone(&broker)));
    let reload = Reload::new(sources, set_log, config.clone(), entrance);
    let failure = watch_until_stop(signals, &broker, &config, &failures, &reload).await;
    stop.send_replace(true);
    let reason = "broker forced connection closure with reason 'shutdown'";
    match failure {
        None => broker.drain_connections(reason),
        // What waits for the disk would wait for ever.
        Some(_) => broker.close_connections(reason),
    }
    let drained = timeout(DRAIN_TIMEOUT, async {
        while listeners.join_next().await.is_some() {}
    })
    .await;
    if drained.is_err() {
        warn!("some connections did not close in time and are dropped");
        listeners.shutdown().await;
    }
    if let Some(failure) = failure {
        return Err(ServerError::Store(failure));
    }
    timers.abort();
    notes.abort();
    for queue in broker.vhosts().iter().flat_map(|vhost| vhost.queues()) {
        queue.close_at_rest();
    }
    time::note_once(&broker);
    stores.durable.close().map_err(ServerError::Store)?;
    stores.spill.close().map_err(ServerError::Store)?;
    info!("stopped");
    Ok(())
}

/// The signals that stop the broker, and the one that makes it read its configuration again.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// From now on they no longer end the process by themselves.
    fn catch() -> Result<Self, ServerError> {
        let system = |operation| move |source| ServerError::System { operation, source };
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(system("listen for SIGTERM"))?,
            interrupt: signal(SignalKind::interrupt()).map_err(system("listen for SIGINT"))?,
            hang_up: signal(SignalKind::hangup()).map_err(system("listen for SIGHUP"))?,
        })
    }
}

/// Gives out what was held back in all queues, one round after the other: where they are many, a round may take longer
/// than the time between two looks.
#[derive(Default)]
struct DispatchRounds {
    is_due: bool,
    round: Option<JoinHandle<()>>,
}

impl DispatchRounds {
    /// Begins a round if one is due, now or since the last one began, and that has ended.
    fn run(&mut self, is_due: bool, broker: &Arc<Broker>) {
        self.is_due |= is_due;
        if self.is_due && self.round.as_ref().is_none_or(JoinHandle::is_finished) {
            self.is_due = false;
            let broker = Arc::clone(broker);
            self.round = Some(spawn_blocking(move || broker.dispatch_all()));
        }
    }
}

/// Returns when it is time to stop: `None` for a signal, `Some` for a store that failed.
async fn watch_until_stop(
    mut signals: Signals,
    broker: &Arc<Broker>,
    config: &Config,
    failures: &mpsc::Receiver<Arc<StoreError>>,
    reload: &Reload,
) -> Option<Arc<StoreError>> {
    let mut resources = Resources::new(&config.limits, &config.storage.directory);
    let mut rounds = DispatchRounds::default();
    let mut pause = pin!(sleep(Duration::ZERO));
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => { info!("SIGTERM: stopping"); return None; }
            _ = signals.interrupt.recv() => { info!("SIGINT: stopping"); return None; }
            _ = signals.hang_up.recv() => {
                info!("SIGHUP: reading the configuration again");
                if let Some(limits) = reload.run() {
                    resources = Resources::new(&limits, &config.storage.directory);
                    broker.set_connections_max(limits.connections_max as usize);
                }
            }
            () = &mut pause => {
                let look = resources.check(broker);
                rounds.run(look.is_dispatch_due, broker);
                pause.as_mut().reset(Instant::now() + look.pause);
                if let Ok(failure) = failures.try_recv() {
                    error!("the store failed: nothing can be confirmed any more, stopping");
                    return Some(failure);
                }
            }
        }
    }
}

fn open_stores(
    config: &Config,
    failures: &mpsc::Sender<Arc<StoreError>>,
) -> Result<(Stores, Recovered), ServerError> {
    let storage = &config.storage;
    let on_failure = || {
        let failures = failures.clone();
        // The receiver is gone only when the broker is stopping anyway.
        Box::new(move |failure| drop(failures.send(failure)))
    };
    let failed = |error| ServerError::Store(Arc::new(error));
    let (durable, recovered) =
        SqliteStore::open(&storage.directory, &durable_settings(storage), on_failure()).map_err(failed)?;
    let (spill, _) =
        SqliteStore::open(&storage.directory, &spill_settings(storage), on_failure()).map_err(failed)?;
    let stores = Stores {
        durable: Arc::new(durable),
        spill: Arc::new(spill),
    };
    Ok((stores, recovered))
}

/// Of the store for what survives a restart.
fn durable_settings(storage: &Storage) -> StoreSettings {
    StoreSettings {
        durability: match storage.synchronous {
            Synchronous::Full => Durability::Full,
            Synchronous::Normal => Durability::Normal,
            Synchronous::Off => Durability::Off,
        },
        group_bytes_max: usize::try_from(storage.group_bytes_max).unwrap_or(usize::MAX),
        group_interval_min: storage.commit_interval,
        checkpoint_bytes: storage.checkpoint_bytes,
        ..StoreSettings::default()
    }
}

/// Of the store for what only has to leave memory.
fn spill_settings(storage: &Storage) -> StoreSettings {
    StoreSettings {
        file_name: "spill.db".to_owned(),
        durability: Durability::Off,
        fresh: true,
        ..durable_settings(storage)
    }
}

fn parts(config: &Config, stores: Stores, recovered: &Recovered) -> Result<Parts, ServerError> {
    let limit = |max: u32| max as usize;
    Ok(Parts {
        policies: policies(config)?,
        stores,
        declared: declared::declared(config),
        loopback_users: config.auth.loopback_users.clone(),
        checks: Arc::new(PasswordChecker::start().map_err(|source| ServerError::System {
            operation: "start a thread",
            source,
        })?),
        node_limits: NodeLimits {
            node: config.identity.cluster_name.clone(),
            connections: limit(config.limits.connections_max),
            channels: limit(config.limits.channels_max),
            queues: limit(config.limits.queues_max),
            exchanges: limit(config.limits.exchanges_max),
        },
        window: Window {
            messages: config.storage.memory_window_messages as usize,
            bytes: usize::try_from(config.storage.memory_window_bytes).unwrap_or(usize::MAX),
        },
        clock: Arc::new(time::clock(recovered.noted_time)),
        seed: rand::random(),
    })
}

/// The policies of the configuration, with their vhosts.
fn policies(config: &Config) -> Result<Vec<(String, PolicyKind, Policy)>, ServerError> {
    let user = config.policies.iter().map(|policy| (PolicyKind::User, policy));
    let operator = config.operator_policies.iter();
    user.chain(operator.map(|policy| (PolicyKind::Operator, policy)))
        .map(|(kind, written)| {
            let policy = written.checked(kind).map_err(|source| ServerError::Policy {
                name: written.name.clone(),
                source,
            })?;
            Ok((written.vhost.clone(), kind, policy))
        })
        .collect()
}

/// Tells of configured policies that do nothing, or nothing yet: their vhost may be made later.
fn warn_of_idle_policies(policies: &[(String, PolicyKind, Policy)], broker: &Broker) {
    for (vhost, _, policy) in policies {
        let name = &*policy.name;
        for key in policy.without_effect() {
            warn!(policy = name, "policy key '{key}' has no effect here");
        }
        if broker.vhost(vhost).is_none() {
            warn!(
                policy = name,
                vhost, "there is no such vhost: the configured policy waits for it"
            );
        }
    }
}

fn connection_settings(config: &Config) -> Settings {
    let amqp = &config.amqp;
    let pending_bytes_max = resources::pending_bytes_max(&config.limits, config.storage.pending_bytes_max);
    Settings {
        frame_max: amqp.frame_max,
        initial_frame_max: amqp.initial_frame_max,
        channel_max: amqp.channel_max,
        heartbeat: u16::try_from(amqp.heartbeat.as_secs()).unwrap_or(u16::MAX),
        handshake_timeout: amqp.handshake_timeout,
        message_size_max: u64::from(amqp.max_message_size),
        pending_bytes_max: usize::try_from(pending_bytes_max).unwrap_or(usize::MAX),
        mechanisms: config
            .auth
            .mechanisms
            .iter()
            .filter_map(|mechanism| Mechanism::from_name(mechanism.name()))
            .collect(),
        external_name_from: config.auth.external_name_from,
        anonymous_user: Some(config.auth.anonymous_user.clone()).filter(|name| !name.is_empty()),
        server_properties: server_properties(&config.identity),
    }
}

/// What RabbitMQ's clients look at: product and version steer some of them, capabilities most.
fn server_properties(identity: &Identity) -> FieldTable {
    let mut capabilities = FieldTable::default();
    for capability in [
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "consumer_priorities",
        "authentication_failure_close",
        "per_consumer_qos",
        "direct_reply_to",
        "accept_consumer_cancel_ok",
    ] {
        capabilities.insert(capability.into(), AMQPValue::Boolean(true));
    }
    let mut properties = FieldTable::default();
    properties.insert("capabilities".into(), AMQPValue::FieldTable(capabilities));
    let texts = [
        ("product", identity.product.as_str()),
        ("version", &identity.version),
        ("cluster_name", &identity.cluster_name),
        ("platform", &identity.platform),
        ("information", &identity.information),
        ("copyright", &identity.copyright),
        ("broker", "Leveret"),
        ("broker_version", env!("CARGO_PKG_VERSION")),
    ];
    for (key, text) in texts {
        properties.insert(key.into(), AMQPValue::LongString(LongString::from(text)));
    }
    properties
}

#[cfg(test)]
mod tests;
