//! A broker, its stores and its clients in one thread, and the hand that moves them.

use std::collections::BTreeSet;
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
use leveret::broker::vhost::Stores;
use leveret::broker::{Broker, Parts};
use leveret::clock::{Clock, Timestamp};
use leveret::connection::sasl::Mechanism;
use leveret::connection::{Connection, Settings};
use leveret::store::access::{AccessRows, PermissionRow, UserRow, VhostRow};
use leveret::store::memory::MemoryStore;
use leveret::store::{Recovered, Store};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::actions;
use super::channel::Channel;
use super::client::{Client, number};
use super::ledger::{Ledger, QUEUES};
use super::topology;

const CLIENTS: usize = 3;

pub struct World {
    pub rng: StdRng,
    pub ledger: Ledger,
    pub clients: Vec<Client>,
    now: Instant,
    clock: Arc<Clock>,
    durable: Arc<MemoryStore>,
    spill: Arc<MemoryStore>,
    broker: Arc<Broker>,
    settings: Arc<Settings>,
    window: Window,
    serial: u64,
}

fn settings() -> Settings {
    Settings {
        frame_max: 4096,
        initial_frame_max: 4096,
        channel_max: 8,
        heartbeat: 0,
        handshake_timeout: Duration::from_secs(10),
        message_size_max: 1 << 20,
        pending_bytes_max: 4000,
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
    durable: &Arc<MemoryStore>,
    spill: &Arc<MemoryStore>,
    recovered: &Recovered,
    window: Window,
    clock: &Arc<Clock>,
) -> Arc<Broker> {
    let parts = Parts {
        stores: Stores {
            durable: Arc::clone(durable) as Arc<dyn Store>,
            spill: Arc::clone(spill) as Arc<dyn Store>,
        },
        declared: guest(),
        loopback_users: Vec::new(),
        checks: Arc::new(CheckAtOnce),
        node_limits: NodeLimits::default(),
        policies: Vec::new(),
        window,
        clock: Arc::clone(clock),
        seed: [7; 32],
    };
    Arc::new(Broker::new(parts, recovered).expect("the store holds what a broker wrote"))
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let (durable, spill) = (Arc::new(MemoryStore::default()), Arc::new(MemoryStore::default()));
        let window = Window {
            messages: rng.random_range(1..8),
            bytes: 1 << 20,
        };
        let now = Instant::now();
        let clock = Arc::new(Clock::new(now, Timestamp::from_millis(1_000_000)));
        let broker = broker(&durable, &spill, &Recovered::default(), window, &clock);
        let mut world = Self {
            rng,
            ledger: Ledger::default(),
            clients: Vec::new(),
            now,
            clock,
            durable,
            spill,
            broker,
            settings: Arc::new(settings()),
            window,
            serial: 0,
        };
        world.set_up();
        world
    }

    fn connect(&mut self) -> Client {
        self.serial += 1;
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let connection = Connection::new(
            Arc::clone(&self.broker),
            Arc::clone(&self.settings),
            peer,
            self.now,
        );
        Client::new(connection, self.serial)
    }

    /// Declares what every history has, and lets the clients come.
    fn set_up(&mut self) {
        let mut client = self.connect();
        topology::declare_all(&mut client);
        self.clients.push(client);
        self.quiesce();
        self.abort(0);
        while self.clients.len() < CLIENTS {
            let client = self.connect();
            self.clients.push(client);
        }
    }

    pub fn step(&mut self) {
        self.now += Duration::from_millis(self.rng.random_range(0..50));
        self.clock.advance(self.now);
        self.broker.timers.fire(self.clock.now());
        let which = self.rng.random_range(0..self.clients.len());
        match self.rng.random_range(0..1000) {
            0..350 => actions::act(self, which),
            350..600 => {
                let max = self.rng.random_range(1..200);
                self.clients[which].feed(max, self.now);
            }
            600..800 => {
                let max = self.rng.random_range(1..300);
                self.clients[which].read(max, self.now, &mut self.ledger);
            }
            800..880 => self.durable.commit(self.rng.random_range(1..5)),
            880..910 => self.spill.commit(self.rng.random_range(1..5)),
            910..985 => {
                self.durable.answer_load();
                self.spill.answer_load();
            }
            985..990 => {
                self.abort(which);
                let client = self.connect();
                self.clients.push(client);
            }
            990..997 => self.quiesce(),
            _ => self.crash(),
        }
        if self.clients[which..]
            .first()
            .is_some_and(|client| client.is_closed)
        {
            self.abort(which);
            let client = self.connect();
            self.clients.push(client);
        }
    }

    /// A client's socket is gone.
    fn abort(&mut self, which: usize) {
        let mut client = self.clients.remove(which);
        client.connection.terminate();
        self.ledger.closing -= client.closing;
        for channel in client.channels.values_mut() {
            channel.forget(&mut self.ledger);
        }
        self.ledger.order_floor = self.ledger.published.len() as u64;
        let exclusive = format!("x{}", client.serial);
        let vhost = self.broker.vhost("/").expect("it is configured");
        let stays = vhost
            .queues()
            .iter()
            .any(|queue| *queue.definition.name == *exclusive);
        assert!(!stays, "{exclusive} outlives its connection");
    }

    /// The process dies: what was committed stays.
    fn crash(&mut self) {
        let (durable, recovered) = self.durable.crash();
        self.durable = Arc::new(durable);
        self.spill = Arc::new(MemoryStore::default());
        while !self.clients.is_empty() {
            self.abort(0);
        }
        let kept: BTreeSet<(usize, u64)> = self
            .durable
            .messages()
            .iter()
            .filter_map(|(queue, message)| {
                let id = u64::from_be_bytes(*message.body().first_chunk().expect("a number"));
                Some((number(queue)?, id))
            })
            .collect();
        self.ledger.crashed(&kept);
        self.broker = broker(&self.durable, &self.spill, &recovered, self.window, &self.clock);
        self.set_up();
    }

    /// Lets everything happen that can, and looks whether it has.
    pub fn quiesce(&mut self) {
        let mut idle_rounds = 0;
        while idle_rounds < 3 {
            let mut moved = self.durable.pending_groups() + self.spill.pending_groups() > 0;
            self.durable.commit_all();
            self.spill.commit_all();
            moved |= self.durable.answer_load() | self.spill.answer_load();
            for client in &mut self.clients {
                moved |= client.feed(usize::MAX, self.now);
                moved |= client.read(usize::MAX, self.now, &mut self.ledger);
            }
            idle_rounds = if moved { 0 } else { idle_rounds + 1 };
        }
        for client in self.clients.iter_mut().filter(|client| !client.is_closed) {
            assert!(client.to_broker.is_empty(), "the broker reads no more");
            for channel in client.channels.values_mut() {
                channel.settle_down(&mut self.ledger);
            }
        }
        self.ledger.settle_down();
        self.check_queues();
    }

    fn check_queues(&self) {
        let vhost = self.broker.vhost("/").expect("it is configured");
        for queue in vhost.queues() {
            let Some(index) = number(&queue.definition.name) else {
                continue;
            };
            let (ready, consumers) = queue.counts();
            self.ledger
                .check_count(index, ready + queue.unacked_count() as u64);
            let channels = || self.clients.iter().flat_map(|client| client.channels.values());
            let mine = |channel: &&Channel| {
                let consumers = channel.consumers.values();
                consumers.filter(|consumer| consumer.queue == Some(index)).count()
            };
            let expected: usize = channels().map(|channel| mine(&channel)).sum();
            assert_eq!(consumers, expected, "consumers of {}", QUEUES[index]);
            let is_stuck = ready > 0 && channels().any(|channel| channel.wants_more(index));
            assert!(
                !is_stuck,
                "{ready} messages of {} wait for nothing",
                QUEUES[index]
            );
        }
    }

    /// Takes everything out and finds nothing left behind.
    pub fn finish(&mut self) {
        self.quiesce();
        while !self.clients.is_empty() {
            self.abort(0);
        }
        let client = self.connect();
        self.clients.push(client);
        topology::consume_all(&mut self.clients[0]);
        loop {
            self.quiesce();
            if !topology::ack_all(self) {
                break;
            }
        }
        topology::delete_others(&mut self.clients[0]);
        self.quiesce();
        self.ledger.check_drained();
        let vhost = self.broker.vhost("/").expect("it is configured");
        let mut names: Vec<String> = vhost
            .queues()
            .iter()
            .map(|queue| queue.definition.name.to_string())
            .collect();
        names.sort();
        assert_eq!(names, QUEUES, "queues that are left");
        assert_eq!(self.durable.messages().len(), 0, "left in the durable store");
        assert_eq!(self.spill.messages().len(), 0, "left in the spill store");
    }
}
