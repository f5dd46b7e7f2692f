//! What the broker knows and decides: virtual hosts, exchanges, queues, users and permissions. Synchronous, and
//! without sockets, clocks or random numbers; it refuses in its own words, which `connection` turns into reply codes.

pub mod alarms;
pub mod consumer_arguments;
pub mod exchange;
pub mod live_queue;
pub mod outbox;
pub mod permission;
pub mod queue;
pub mod queue_arguments;
mod queue_ids;
pub mod queue_type;
pub mod refusal;
pub mod sparse_deque;
pub mod user;
pub mod vhost;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustc_hash::FxHashMap;

use crate::store::Recovered;

use alarms::{Alarm, Alarms};
use outbox::{Notice, Outbox};
use permission::Permissions;
use queue::ready::Window;
use queue_ids::QueueIds;
use refusal::Refusal;
use user::Users;
use vhost::{Stores, Vhost};

pub use queue_ids::LiveQueueId;

/// A connection's number, never used twice while the broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// What a broker is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where durable things and overflowing messages go.
    pub stores: Stores,
    /// Who may log in.
    pub users: Users,
    /// Who may do what.
    pub permissions: Permissions,
    /// Virtual hosts to have, besides those that the store knows queues of.
    pub vhosts: Vec<String>,
    /// How much of each queue stays in memory.
    pub window: Window,
    /// For names that the broker chooses; a simulation gives a fixed one.
    pub seed: [u8; 32],
}

/// The broker.
#[derive(Debug)]
pub struct Broker {
    /// Who may log in.
    pub users: Users,
    /// Who may do what.
    pub permissions: Permissions,
    /// Resource alarms.
    pub alarms: Alarms,
    /// Where durable things and overflowing messages go.
    pub stores: Stores,
    vhosts: FxHashMap<Arc<str>, Arc<Vhost>>,
    connections: Mutex<FxHashMap<ConnectionId, Arc<Outbox>>>,
    next_connection: AtomicU64,
    random: Mutex<StdRng>,
}

/// Something in the store that this configuration has no place for.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// Its vhost is not configured.
    #[error("the store holds {what} in vhost '{vhost}', which is not configured: add it to [[vhosts]]")]
    UnknownVhost {
        /// An exchange, queue or binding.
        what: String,
        /// The vhost it is in.
        vhost: Arc<str>,
    },
    /// The definition is not acceptable to this version.
    #[error("the store holds {what} that this version can not use: {reason}")]
    Refused {
        /// An exchange, queue or binding.
        what: String,
        /// Why not.
        reason: String,
    },
}

impl Broker {
    /// A broker with what its store held.
    ///
    /// # Errors
    /// When the store holds something that the configuration has no place for.
    pub fn new(parts: Parts, recovered: &Recovered) -> Result<Self, RecoverError> {
        let ids = Arc::new(QueueIds::new(recovered.next_queue));
        let vhosts: FxHashMap<Arc<str>, Arc<Vhost>> = parts
            .vhosts
            .iter()
            .map(|name| {
                Arc::new(Vhost::new(
                    name,
                    parts.stores.clone(),
                    Arc::clone(&ids),
                    parts.window,
                ))
            })
            .map(|vhost| (Arc::clone(&vhost.name), vhost))
            .collect();
        let broker = Self {
            users: parts.users,
            permissions: parts.permissions,
            alarms: Alarms::default(),
            stores: parts.stores,
            vhosts,
            connections: Mutex::default(),
            next_connection: AtomicU64::new(1),
            random: Mutex::new(StdRng::from_seed(parts.seed)),
        };
        broker.recover(recovered)?;
        Ok(broker)
    }

    fn recover(&self, recovered: &Recovered) -> Result<(), RecoverError> {
        let vhost = |vhost: &Arc<str>, what: &dyn Fn() -> String| {
            self.vhost(vhost).ok_or_else(|| RecoverError::UnknownVhost {
                what: what(),
                vhost: Arc::clone(vhost),
            })
        };
        let refused = |what: String, vhost: &str| {
            let vhost = vhost.to_owned();
            move |refusal: Refusal| RecoverError::Refused {
                what,
                reason: refusal.explanation(&vhost),
            }
        };
        for row in &recovered.exchanges {
            let what = || format!("exchange '{}'", row.name);
            vhost(&row.vhost, &what)?
                .recover_exchange(row)
                .map_err(refused(what(), &row.vhost))?;
        }
        for found in &recovered.queues {
            let what = || format!("queue '{}'", found.row.name);
            vhost(&found.row.vhost, &what)?
                .recover_queue(found)
                .map_err(refused(what(), &found.row.vhost))?;
        }
        for row in &recovered.bindings {
            let what = || format!("a binding from '{}' to '{}'", row.source, row.destination);
            vhost(&row.vhost, &what)?
                .recover_binding(row)
                .map_err(refused(what(), &row.vhost))?;
        }
        Ok(())
    }

    /// The vhost of that name.
    pub fn vhost(&self, name: &str) -> Option<&Arc<Vhost>> {
        self.vhosts.get(name)
    }

    /// All vhosts, in no order.
    pub fn vhosts(&self) -> impl Iterator<Item = &Arc<Vhost>> {
        self.vhosts.values()
    }

    /// Registers a connection, so that it hears of alarms and of the end.
    pub fn connect(&self) -> (ConnectionId, Arc<Outbox>) {
        let id = ConnectionId(self.next_connection.fetch_add(1, Ordering::Relaxed));
        let outbox = Arc::new(Outbox::default());
        self.connections.lock().insert(id, Arc::clone(&outbox));
        (id, outbox)
    }

    /// Forgets a connection.
    pub fn disconnect(&self, id: ConnectionId) {
        self.connections.lock().remove(&id);
    }

    /// How many connections there are.
    pub fn connection_count(&self) -> usize {
        self.connections.lock().len()
    }

    /// Asks all connections to close with 320.
    pub fn close_connections(&self, reason: &str) {
        let reason: Arc<str> = reason.into();
        self.notify_all(&Notice::Close(reason));
    }

    /// Raises or clears an alarm and tells all connections if that changes anything. Returns whether it did.
    pub fn set_alarm(&self, alarm: Alarm, stands: bool) -> bool {
        let Some(standing) = self.alarms.set(alarm, stands) else {
            return false;
        };
        self.notify_all(&Notice::Alarms(standing));
        true
    }

    /// A name that nobody else has: the prefix and 22 characters of 16 random bytes, as RabbitMQ makes them.
    pub fn unique_name(&self, prefix: &str) -> String {
        let bytes: [u8; 16] = self.random.lock().random();
        format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    fn notify_all(&self, notice: &Notice) {
        let outboxes: Vec<_> = self.connections.lock().values().cloned().collect();
        for outbox in outboxes {
            outbox.notify(notice.clone());
        }
    }
}
