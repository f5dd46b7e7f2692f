//! A broker and its stores in one thread, and the time that it lives in.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use amq_protocol::types::FieldTable;
use leveret::broker::certificate::NameFrom;
use leveret::broker::changes::Declared;
use leveret::broker::limits::NodeLimits;
use leveret::broker::login::CheckAtOnce;
use leveret::broker::password::PasswordHash;
use leveret::broker::queue::level::Window;
use leveret::broker::vhost::{Stores, Vhost};
use leveret::broker::{Broker, Parts};
use leveret::clock::{Clock, Timestamp};
use leveret::connection::sasl::Mechanism;
use leveret::connection::{Connection, Settings};
use leveret::message::Message;
use leveret::store::access::{AccessRows, PermissionRow, UserRow, VhostRow};
use leveret::store::memory::MemoryStore;
use leveret::store::{Recovered, Store};

/// What the wall clock shows in the beginning, ms.
const BEGINNING: u64 = 1_000_000_000;

pub struct Node {
    pub now: Instant,
    pub durable: Arc<MemoryStore>,
    pub spill: Arc<MemoryStore>,
    pub broker: Arc<Broker>,
    pub settings: Arc<Settings>,
    /// Messages that exchanges remembered when the broker came back last, oldest first.
    pub history: Vec<Message>,
    window: Window,
    limits: NodeLimits,
    crashes: u8,
}

impl Node {
    pub fn new(window_messages: usize, pending_bytes_max: usize) -> Self {
        Self::limited(window_messages, pending_bytes_max, NodeLimits::default())
    }

    /// The same, with so many connections, channels, queues and exchanges at most.
    pub fn limited(window_messages: usize, pending_bytes_max: usize, limits: NodeLimits) -> Self {
        let window = Window {
            messages: window_messages,
            bytes: 1 << 20,
        };
        let (durable, spill) = (Arc::new(MemoryStore::default()), Arc::new(MemoryStore::default()));
        let now = Instant::now();
        let clock = Arc::new(Clock::new(now, Timestamp::from_millis(BEGINNING)));
        let stores = (&durable, &spill);
        let broker = broker(stores, &Recovered::default(), window, limits.clone(), clock, 0);
        Self {
            now,
            durable,
            spill,
            broker,
            settings: Arc::new(settings(pending_bytes_max)),
            history: Vec::new(),
            window,
            limits,
            crashes: 0,
        }
    }

    /// What the broker's clock shows, ms.
    pub fn millis(&self) -> u64 {
        self.broker.clock.now().millis()
    }

    pub fn vhost(&self) -> Arc<Vhost> {
        self.broker.vhost("/").expect("it is configured")
    }

    pub fn connect(&self) -> Connection {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Connection::new(
            Arc::clone(&self.broker),
            Arc::clone(&self.settings),
            peer,
            self.now,
        )
    }

    /// Time goes on; nobody is called.
    pub fn advance(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.broker.clock.advance(self.now);
    }

    /// Calls whoever asked to be called by now.
    pub fn fire(&self) {
        self.broker.timers.fire(self.broker.clock.now());
    }

    /// The process dies, and another one starts from what was committed, at a time that the wall clock shows by then.
    pub fn crash(&mut self, wall_clock: u64) {
        let (durable, recovered) = self.durable.crash();
        self.durable = Arc::new(durable);
        self.spill = Arc::new(MemoryStore::default());
        let clock = Arc::new(Clock::new(self.now, Timestamp::from_millis(wall_clock)));
        let history = recovered.history.iter();
        self.history = history.map(|row| row.message.clone()).collect();
        self.crashes = self.crashes.wrapping_add(1);
        let stores = (&self.durable, &self.spill);
        let limits = self.limits.clone();
        self.broker = broker(stores, &recovered, self.window, limits, clock, self.crashes);
    }
}

fn settings(pending_bytes_max: usize) -> Settings {
    Settings {
        frame_max: 4096,
        initial_frame_max: 4096,
        channel_max: 8,
        heartbeat: 0,
        handshake_timeout: Duration::from_secs(10),
        message_size_max: 1 << 20,
        pending_bytes_max,
        mechanisms: vec![Mechanism::Plain],
        external_name_from: NameFrom::DistinguishedName,
        anonymous_user: None,
        server_properties: FieldTable::default(),
    }
}

/// One user, who may do everything.
fn guest() -> Declared {
    let name: Arc<str> = "guest".into();
    let everything: Arc<str> = ".*".into();
    let rows = AccessRows {
        vhosts: vec![VhostRow {
            name: "/".into(),
            ..VhostRow::default()
        }],
        users: vec![UserRow {
            name: Arc::clone(&name),
            password_hash: PasswordHash::sha256(b"guest", [0; 4]).encode().into(),
            algorithm: "".into(),
            tags: Vec::new(),
        }],
        permissions: vec![PermissionRow {
            user: name,
            vhost: "/".into(),
            configure: Arc::clone(&everything),
            write: Arc::clone(&everything),
            read: everything,
        }],
        ..AccessRows::default()
    };
    Declared {
        rows,
        ..Declared::default()
    }
}

fn broker(
    (durable, spill): (&Arc<MemoryStore>, &Arc<MemoryStore>),
    recovered: &Recovered,
    window: Window,
    node_limits: NodeLimits,
    clock: Arc<Clock>,
    crashes: u8,
) -> Arc<Broker> {
    let parts = Parts {
        stores: Stores {
            durable: Arc::clone(durable) as Arc<dyn Store>,
            spill: Arc::clone(spill) as Arc<dyn Store>,
        },
        declared: guest(),
        loopback_users: Vec::new(),
        checks: Arc::new(CheckAtOnce),
        node_limits,
        policies: Vec::new(),
        window,
        clock,
        // What is drawn by chance is not drawn again after a restart.
        seed: [crashes.wrapping_add(7); 32],
    };
    Arc::new(Broker::new(parts, recovered).expect("the store holds what a broker wrote"))
}
