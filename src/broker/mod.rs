//! What the broker knows and decides: virtual hosts, exchanges, queues, users and permissions. Synchronous, and
//! without sockets, clocks or random numbers; it refuses in its own words, which `connection` turns into reply codes.

pub mod accounts;
pub mod alarms;
pub mod arrivals;
pub mod census;
pub mod certificate;
pub mod changes;
pub mod consumer_arguments;
pub mod dead_letter;
pub mod deduplication;
pub mod delayed;
pub mod exchange;
pub mod headroom;
pub mod history;
pub mod limits;
pub mod live_queue;
pub mod login;
pub mod outbox;
pub mod password;
pub mod pattern;
pub mod permission;
pub mod policy;
pub mod queue;
pub mod queue_arguments;
mod queue_ids;
pub mod queue_type;
pub mod refusal;
pub mod sparse_deque;
pub mod timers;
pub mod user;
pub mod vhost;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::{Mutex, RwLock};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustc_hash::FxHashMap;

use crate::clock::Clock;
use crate::store::Recovered;

use accounts::{Accounts, ChangeRefused};
use alarms::{Alarm, Alarms};
use arrivals::Arrivals;
use census::Census;
use changes::{Declared, Turn};
use limits::{NodeLimits, Tally};
use login::PasswordChecks;
use outbox::{Notice, Outbox};
use policy::{Policy, PolicyKind};
use queue::level::Window;
use queue_ids::QueueIds;
use refusal::Refusal;
use timers::Timers;
use vhost::{Shared, Stores, Vhost};

pub use queue_ids::LiveQueueId;

/// A connection's number, never used twice while the broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// What a broker is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where durable things and overflowing messages go.
    pub stores: Stores,
    /// Virtual hosts, users, permissions and limits, besides those that are stored.
    pub declared: Declared,
    /// Users who may log in from this machine only; they may not exist.
    pub loopback_users: Vec<String>,
    /// Where slow passwords are checked.
    pub checks: Arc<dyn PasswordChecks>,
    /// How much there may be on the whole node.
    pub node_limits: NodeLimits,
    /// Policies of the configuration file, with their vhosts, which may not exist yet.
    pub policies: Vec<(String, PolicyKind, Policy)>,
    /// How much of each queue stays in memory.
    pub window: Window,
    /// What time it is.
    pub clock: Arc<Clock>,
    /// For names that the broker chooses; a simulation gives a fixed one.
    pub seed: [u8; 32],
}

/// The broker.
#[derive(Debug)]
pub struct Broker {
    /// Resource alarms.
    pub alarms: Alarms,
    /// Room for large messages of which a part has come.
    pub arrivals: Arrivals,
    /// Where durable things and overflowing messages go.
    pub stores: Stores,
    /// What time it is. Shells advance it.
    pub clock: Arc<Clock>,
    /// What waits for a time. A shell fires it.
    pub timers: Arc<Timers>,
    // Locks are taken in the order in which they stand here.
    turn: Mutex<Turn>,
    vhosts: RwLock<FxHashMap<Arc<str>, Arc<Vhost>>>,
    accounts: RwLock<(Arc<Accounts>, u64)>,
    /// The number beside the accounts, to be looked at without their lock.
    accounts_version: AtomicU64,
    census: Mutex<Census>,
    shared: Shared,
    node_limits: NodeLimits,
    /// 0 is without limit.
    connections_max: AtomicUsize,
    checks: Arc<dyn PasswordChecks>,
    next_connection: AtomicU64,
    random: Mutex<StdRng>,
}

/// Something in the store or the configuration that there is no place for.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// Its vhost is not configured.
    #[error("the store holds {what} in vhost '{vhost}', which is not configured: add it to [[vhosts]]")]
    UnknownVhost {
        /// A policy, exchange, queue or binding.
        what: String,
        /// The vhost it is in.
        vhost: Arc<str>,
    },
    /// The definition is not acceptable to this version.
    #[error("the store holds {what} that this version can not use: {reason}")]
    Refused {
        /// A policy, exchange, queue or binding.
        what: String,
        /// Why not.
        reason: String,
    },
    /// A user, permission or limit can not be used.
    #[error("who may do what")]
    Accounts(#[from] ChangeRefused),
}

impl Broker {
    /// A broker with what its store held.
    ///
    /// # Errors
    /// When the store holds something that the configuration has no place for.
    pub fn new(parts: Parts, recovered: &Recovered) -> Result<Self, RecoverError> {
        let mut random = StdRng::from_seed(parts.seed);
        let shared = Shared {
            stores: parts.stores.clone(),
            clock: Arc::clone(&parts.clock),
            timers: Arc::default(),
            policies: parts.policies.into(),
            ids: Arc::new(QueueIds::new(recovered.next_queue)),
            window: parts.window,
            headroom: Arc::default(),
            queues: Tally::new(parts.node_limits.queues),
            exchanges: Tally::new(parts.node_limits.exchanges),
        };
        let mut accounts = Accounts::new(parts.loopback_users, random.random());
        let turn = Turn::first(recovered, parts.declared, &mut accounts)?;
        let accounts = Arc::new(accounts);
        let broker = Self {
            alarms: Alarms::default(),
            arrivals: Arrivals::default(),
            stores: parts.stores,
            clock: parts.clock,
            timers: Arc::clone(&shared.timers),
            turn: Mutex::new(turn),
            vhosts: RwLock::default(),
            accounts: RwLock::default(),
            accounts_version: AtomicU64::new(0),
            census: Mutex::default(),
            shared,
            connections_max: AtomicUsize::new(parts.node_limits.connections),
            node_limits: parts.node_limits,
            checks: parts.checks,
            next_connection: AtomicU64::new(1),
            random: Mutex::new(random),
        };
        broker.replace_accounts(accounts);
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
        for row in &recovered.policies {
            let what = format!("policy '{}'", row.name);
            let vhost = vhost(&row.vhost, &|| what.clone())?;
            vhost.recover_policy(row).map_err(|error| RecoverError::Refused {
                what,
                reason: error.to_string(),
            })?;
        }
        for row in &recovered.exchanges {
            let what = || format!("exchange '{}'", row.name);
            vhost(&row.vhost, &what)?
                .recover_exchange(row)
                .map_err(refused(what(), &row.vhost))?;
        }
        for found in &recovered.delays {
            let what = || format!("delayed messages of exchange '{}'", found.row.exchange);
            vhost(&found.row.vhost, &what)?
                .recover_delays(found)
                .map_err(refused(what(), &found.row.vhost))?;
        }
        for found in &recovered.queues {
            let what = || format!("queue '{}'", found.row.name);
            vhost(&found.row.vhost, &what)?
                .recover_queue(found)
                .map_err(refused(what(), &found.row.vhost))?;
        }
        for rows in recovered
            .keys
            .chunk_by(|left, right| left.keeper.vhost == right.keeper.vhost)
        {
            let keeper = &rows[0].keeper;
            let what = || format!("what '{}' knows of messages", keeper.name);
            vhost(&keeper.vhost, &what)?.recover_keys(rows);
        }
        for rows in recovered
            .history
            .chunk_by(|left, right| left.keeper.vhost == right.keeper.vhost)
        {
            let keeper = &rows[0].keeper;
            let what = || format!("the history of exchange '{}'", keeper.name);
            vhost(&keeper.vhost, &what)?.recover_history(rows);
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
    pub fn vhost(&self, name: &str) -> Option<Arc<Vhost>> {
        self.vhosts.read().get(name).cloned()
    }

    /// All vhosts, in no order.
    pub fn vhosts(&self) -> Vec<Arc<Vhost>> {
        self.vhosts.read().values().cloned().collect()
    }

    /// Registers a connection, so that it hears of alarms and of the end.
    pub fn connect(&self) -> (ConnectionId, Arc<Outbox>) {
        let id = ConnectionId(self.next_connection.fetch_add(1, Ordering::Relaxed));
        let outbox = Arc::new(Outbox::default());
        self.census.lock().connect(id, Arc::clone(&outbox));
        (id, outbox)
    }

    /// Forgets a connection.
    pub fn disconnect(&self, id: ConnectionId) {
        self.census.lock().disconnect(id);
    }

    /// How many connections there are.
    pub fn connection_count(&self) -> usize {
        self.census.lock().len()
    }

    /// Asks all connections to read nothing more and to close with 320 once all that they have read is answered.
    pub fn drain_connections(&self, reason: &str) {
        self.notify_all(&Notice::Drain(reason.into()));
    }

    /// Asks all connections to close with 320 at once.
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

    /// Consumers may hold so many bytes more: see [`Headroom::renew`]. If it returns true, [`Broker::dispatch_all`] is due.
    pub fn renew_headroom(&self, room: u64) -> bool {
        self.shared.headroom.renew(room)
    }

    /// How many queues there are, in all vhosts.
    pub fn queue_count(&self) -> usize {
        self.shared.queues.so_far()
    }

    /// Each queue may keep so many bytes of ready messages in memory at most, if its window is not smaller.
    pub fn narrow_windows(&self, bytes: usize) {
        self.shared.headroom.narrow(bytes);
    }

    /// Whether windows are narrower than they could be.
    pub fn has_narrow_windows(&self) -> bool {
        self.shared.headroom.allowance().window_bytes < usize::MAX
    }

    /// Gives out what was held back while memory was short. Takes its time where queues are many.
    pub fn dispatch_all(&self) {
        for queue in self.vhosts().iter().flat_map(|vhost| vhost.queues()) {
            queue.dispatch();
        }
    }

    /// A name that nobody else has: the prefix and 22 characters of 16 random bytes, as RabbitMQ makes them.
    pub fn unique_name(&self, prefix: &str) -> String {
        let bytes: [u8; 16] = self.random.lock().random();
        format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    fn notify_all(&self, notice: &Notice) {
        let outboxes = self.census.lock().outboxes(|_| true);
        for outbox in outboxes {
            outbox.notify(notice.clone());
        }
    }
}
