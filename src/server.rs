//! Puts the parts together: opens the stores, recovers the broker, listens, watches resources, and stops cleanly.

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use amq_protocol::types::{AMQPValue, FieldTable, LongString};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tracing::{error, info, warn};

use crate::broker::permission::{PatternError, Permission, Permissions};
use crate::broker::queue::ready::Window;
use crate::broker::user::{PasswordHash, PasswordHashError, SALT_BYTES, User, Users};
use crate::broker::vhost::Stores;
use crate::broker::{Broker, Parts, RecoverError};
use crate::config::{Config, Identity, Synchronous};
use crate::connection::Settings;
use crate::connection::sasl::Mechanism;
use crate::net::{BindError, Listener};
use crate::resources::Resources;
use crate::store::sqlite::{Durability, SqliteStore, StoreSettings};
use crate::store::{Recovered, StoreError};

/// How often memory and disk are looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// How long connections get to close when the broker stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// A permission's pattern can not be used.
    #[error("cannot use a permission of user {user:?}")]
    Pattern {
        /// Whose.
        user: String,
        /// Why.
        source: PatternError,
    },
    /// A password hash can not be used.
    #[error("cannot use the password hash of user {user:?}")]
    PasswordHash {
        /// Whose.
        user: String,
        /// Why.
        source: PasswordHashError,
    },
    /// The system refused something at start.
    #[error("cannot {operation}")]
    System {
        /// What.
        operation: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Runs the broker until SIGTERM or SIGINT, or until its store fails.
///
/// # Errors
/// When it can not start, or had to stop because of its store.
pub async fn run(config: Config) -> Result<(), ServerError> {
    // Before the broker says that it is ready: whoever reads that may send a signal at once.
    let signals = Signals::catch()?;
    let (failure_sender, failures) = mpsc::channel();
    let (stores, recovered) = open_stores(&config, &failure_sender)?;
    let broker = Arc::new(Broker::new(parts(&config, stores.clone())?, &recovered)?);
    drop(recovered);
    let settings = Arc::new(connection_settings(&config));
    let (stop, stopping) = watch::channel(false);
    let mut listeners = JoinSet::new();
    let mut addresses = Vec::new();
    for address in &config.listeners.amqp {
        let listener = Listener::bind(*address)?;
        addresses.push(listener.address().to_string());
        let (broker, settings) = (Arc::clone(&broker), Arc::clone(&settings));
        listeners.spawn(listener.serve(broker, settings, config.limits.connections_max, stopping.clone()));
    }
    info!(
        version = env!("CARGO_PKG_VERSION"),
        listeners = addresses.join(" "),
        data_directory = %config.storage.directory.display(),
        vhosts = broker.vhosts().count(),
        queues = broker.vhosts().map(|vhost| vhost.queues().len()).sum::<usize>(),
        "Server startup complete"
    );
    let failure = watch_until_stop(signals, &broker, &config, &failures).await;
    stop.send_replace(true);
    broker.close_connections("broker forced connection closure with reason 'shutdown'");
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
    for queue in broker.vhosts().flat_map(|vhost| vhost.queues()) {
        queue.close_at_rest();
    }
    stores.durable.close().map_err(ServerError::Store)?;
    stores.spill.close().map_err(ServerError::Store)?;
    info!("stopped");
    Ok(())
}

/// The signals that stop the broker.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on they no longer end the process by themselves.
    fn catch() -> Result<Self, ServerError> {
        let system = |operation| move |source| ServerError::System { operation, source };
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(system("listen for SIGTERM"))?,
            interrupt: signal(SignalKind::interrupt()).map_err(system("listen for SIGINT"))?,
        })
    }
}

/// Returns when it is time to stop: `None` for a signal, `Some` for a store that failed.
async fn watch_until_stop(
    mut signals: Signals,
    broker: &Broker,
    config: &Config,
    failures: &mpsc::Receiver<Arc<StoreError>>,
) -> Option<Arc<StoreError>> {
    let resources = Resources::new(&config.limits, &config.storage.directory);
    let mut ticks = interval(WATCH_INTERVAL);
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => { info!("SIGTERM: stopping"); return None; }
            _ = signals.interrupt.recv() => { info!("SIGINT: stopping"); return None; }
            _ = ticks.tick() => {
                resources.check(broker);
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
    let bounded = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let durable = StoreSettings {
        durability: match storage.synchronous {
            Synchronous::Full => Durability::Full,
            Synchronous::Normal => Durability::Normal,
            Synchronous::Off => Durability::Off,
        },
        group_bytes_max: bounded(storage.group_bytes_max),
        group_interval_min: storage.commit_interval,
        checkpoint_bytes: storage.checkpoint_bytes,
        ..StoreSettings::default()
    };
    let spill = StoreSettings {
        file_name: "spill.db".to_owned(),
        durability: Durability::Off,
        fresh: true,
        ..durable.clone()
    };
    let failed = |error| ServerError::Store(Arc::new(error));
    let (durable, recovered) =
        SqliteStore::open(&storage.directory, &durable, on_failure()).map_err(failed)?;
    let (spill, _) = SqliteStore::open(&storage.directory, &spill, on_failure()).map_err(failed)?;
    let stores = Stores {
        durable: Arc::new(durable),
        spill: Arc::new(spill),
    };
    Ok((stores, recovered))
}

fn parts(config: &Config, stores: Stores) -> Result<Parts, ServerError> {
    let mut users = Users::new(config.auth.loopback_users.clone());
    let mut permissions = Permissions::default();
    for user in &config.users {
        let password = match (&user.password, &user.password_hash) {
            (Some(password), _) => {
                let salt: [u8; SALT_BYTES] = rand::random();
                PasswordHash::new(password.expose().as_bytes(), salt)
            }
            (None, hash) => {
                let hash = hash.as_ref().map_or("", |hash| hash.expose());
                PasswordHash::decode(hash).map_err(|source| ServerError::PasswordHash {
                    user: user.name.clone(),
                    source,
                })?
            }
        };
        users.insert(User {
            name: user.name.as_str().into(),
            tags: user.tags.clone(),
            password,
        });
        for granted in &user.permissions {
            let permission =
                Permission::new(&granted.configure, &granted.write, &granted.read).map_err(|source| {
                    ServerError::Pattern {
                        user: user.name.clone(),
                        source,
                    }
                })?;
            permissions.set(&user.name, &granted.vhost, permission);
        }
    }
    Ok(Parts {
        stores,
        users,
        permissions,
        vhosts: config.vhosts.iter().map(|vhost| vhost.name.clone()).collect(),
        window: Window {
            messages: config.storage.memory_window_messages as usize,
            bytes: usize::try_from(config.storage.memory_window_bytes).unwrap_or(usize::MAX),
        },
        seed: rand::random(),
    })
}

fn connection_settings(config: &Config) -> Settings {
    let amqp = &config.amqp;
    Settings {
        frame_max: amqp.frame_max,
        initial_frame_max: amqp.initial_frame_max,
        channel_max: amqp.channel_max,
        heartbeat: u16::try_from(amqp.heartbeat.as_secs()).unwrap_or(u16::MAX),
        handshake_timeout: amqp.handshake_timeout,
        message_size_max: u64::from(amqp.max_message_size),
        pending_bytes_max: usize::try_from(config.storage.pending_bytes_max).unwrap_or(usize::MAX),
        mechanisms: config
            .auth
            .mechanisms
            .iter()
            .filter_map(|mechanism| Mechanism::from_name(mechanism.name()))
            .collect(),
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
