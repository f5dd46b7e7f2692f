//! kill -9 under a load of everything at once, again and again on the same directory.
//!
//! The law: what was confirmed is delivered or still there, what was never published never appears, and who has
//! seen a message is told so when it comes again.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::books::{BARRIER, Books, FAN, HELD, Id, QUEUES, Record, SHARED, TX_IN};
use crate::client::Client;
use crate::imports::Imports;
use crate::lines::{KINDS, Line};
use crate::load::{Consumer, Fuse, Publisher, Shift};
use crate::support::{DEADLINE, TestServer};
use crate::topology::Topology;
use crate::transaction;

/// What each consumer consumes.
const CONSUMERS: [&[usize]; 4] = [&[0, 1, SHARED], &[SHARED], &[FAN[0], FAN[1]], &[FAN[2], HELD]];
/// Messages for transactions to take, per round.
const FED_TRANSACTIONS: u32 = 60;
/// Rounds between two counts after which the queues are empty. After the others everything goes back.
const ROUNDS_PER_END: u32 = 4;

#[test]
fn kill_nine_under_mixed_load_loses_and_repeats_nothing() {
    let rounds = number("LEVERET_KILL_ROUNDS", 20);
    let mut random = StdRng::seed_from_u64(seed(rounds));
    let begin = Instant::now();
    let mut mixed = Mixed::start();
    for round in 1..=rounds {
        mixed.round(round, &mut random);
        mixed.check(round, round == rounds);
        println!("round {round} of {rounds}");
    }
    mixed.server.stop();
    mixed.report(rounds, begin.elapsed());
}

/// Without other load, so that the store's writer is often idle at a commit and would begin with a part of it.
#[test]
fn kill_nine_leaves_transactions_whole() {
    let rounds: u32 = number("LEVERET_KILL_ROUNDS", 20);
    let seed = seed(rounds);
    let mut random = StdRng::seed_from_u64(seed);
    let mut server = TestServer::start();
    let mut books = Books::default();
    declare(server.address());
    for round in 1..=rounds {
        let fed = feed_transactions(server.address(), round);
        let (fire, fired) = mpsc::channel();
        let fuse = Fuse::new(random.random_range(5..FED_TRANSACTIONS.into()), fire);
        let address = server.address();
        let seeds: [u64; 4] = random.random();
        let mut logs = vec![fed];
        let mut transactions = Vec::new();
        thread::scope(|scope| {
            let workers = [0, 1, 2, 3].map(|index| {
                let worker = index + 1;
                let shift = Shift {
                    address,
                    seed: seeds[usize::from(index)],
                    round,
                    worker,
                    fuse: &fuse,
                };
                scope.spawn(move || transaction::Worker::new(shift).work())
            });
            fired.recv_timeout(DEADLINE).expect("the transactions move");
            server.kill_and_restart();
            for worker in workers {
                let (log, its_transactions) = worker.join().unwrap();
                logs.push(log);
                transactions.extend(its_transactions);
            }
        });
        books.enter(round, &logs, transactions);
        books.enter_all(round + 1, &take_all(server.address(), true), true);
    }
}

/// Fills the queue that transactions take from.
fn feed_transactions(address: SocketAddr, round: u32) -> Vec<Record> {
    let mut client = Client::connect(address).unwrap();
    client.select_confirms().unwrap();
    let mut log = Vec::new();
    for number in 0..FED_TRANSACTIONS {
        let id = Id::new(round, 0, number);
        client.publish("", QUEUES[TX_IN], true, &id.body(50));
        log.push(Record::Published {
            id,
            queues: vec![TX_IN],
            is_persistent: true,
        });
        log.push(Record::Confirmed(id));
    }
    client.wait_for_confirms().unwrap();
    log
}

fn seed(rounds: u32) -> u64 {
    let seed = number("LEVERET_KILL_SEED", rand::random());
    println!("again with LEVERET_KILL_SEED={seed} LEVERET_KILL_ROUNDS={rounds}");
    seed
}

fn number<T: std::str::FromStr>(variable: &str, default: T) -> T {
    std::env::var(variable).map_or(default, |value| value.parse().ok().expect("a number"))
}

/// A broker that is killed and killed again, and what its clients know.
struct Mixed {
    server: TestServer,
    books: Books,
    lines: Vec<Line>,
    topology: Topology,
    imports: Imports,
    published: usize,
    delivered: usize,
    killed_starts: u32,
}

impl Mixed {
    fn start() -> Self {
        let server = TestServer::start();
        let address = server.address();
        declare(address);
        let mut client = Client::connect(address).unwrap();
        for kind in KINDS {
            kind.declare(&mut client);
        }
        Self {
            server,
            books: Books::default(),
            lines: KINDS.map(Line::new).into(),
            topology: Topology::new(),
            imports: Imports::default(),
            published: 0,
            delivered: 0,
            killed_starts: 0,
        }
    }

    /// Works until the fuse burns down, kills the broker, and enters what the workers saw.
    fn round(&mut self, round: u32, random: &mut StdRng) {
        let address = self.server.address();
        declare_transient(address);
        let (fire, fired) = mpsc::channel();
        let fuse = Fuse::new(random.random_range(200..8000), fire);
        let seeds: [u64; 16] = random.random();
        let shift = |worker: u8| Shift {
            address,
            seed: seeds[usize::from(worker)],
            // Even numbers are for counts.
            round: 2 * round - 1,
            worker,
            fuse: &fuse,
        };
        let (server, topology, imports) = (&mut self.server, &mut self.topology, &mut self.imports);
        let (lines, killed_starts) = (&mut self.lines, &mut self.killed_starts);
        let (logs, transactions) = thread::scope(|scope| {
            let publishers = [0, 1].map(|worker| scope.spawn(move || Publisher::new(shift(worker)).work()));
            let mut worker = 1;
            let consumers = CONSUMERS.map(|queues| {
                worker += 1;
                let shift = shift(worker);
                scope.spawn(move || Consumer::new(shift, queues).work())
            });
            let transactions = scope.spawn(move || transaction::Worker::new(shift(6)).work());
            let mut others = vec![scope.spawn(move || topology.work(&shift(7)))];
            for (worker, line) in (8..).zip(lines) {
                others.push(scope.spawn(move || line.work(&shift(worker))));
            }
            configure(server, random);
            fired.recv_timeout(DEADLINE).expect("the load moves");
            thread::park_timeout(Duration::from_micros(random.random_range(0..20_000)));
            server.kill();
            imports.change(server, random);
            *killed_starts += start_again(server, random);
            let workers = publishers.into_iter().chain(consumers);
            let mut logs: Vec<Vec<Record>> = workers.map(|worker| worker.join().unwrap()).collect();
            let (log, transactions) = transactions.join().unwrap();
            logs.push(log);
            for other in others {
                other.join().unwrap();
            }
            (logs, transactions)
        });
        self.books.enter(2 * round - 1, &logs, transactions);
    }

    /// Holds all that the broker has against what its clients know.
    fn check(&mut self, round: u32, is_last: bool) {
        let address = self.server.address();
        self.published += self.books.published;
        self.delivered += self.books.delivered;
        check_topology(address, &mut self.topology);
        self.imports.check(address);
        let acked = is_last || round.is_multiple_of(ROUNDS_PER_END);
        self.books.enter_all(2 * round, &take_all(address, acked), acked);
        thread::scope(|scope| {
            for line in &mut self.lines {
                scope.spawn(move || line.count(address, is_last));
            }
        });
    }

    fn report(&self, rounds: u32, took: Duration) {
        println!(
            "{rounds} rounds, {} starts and {} imports killed, {:?}: {} published, {} delivered",
            self.killed_starts, self.imports.killed, took, self.published, self.delivered
        );
        assert!(self.published > 0 && self.delivered > 0, "nothing happened");
        for line in &self.lines {
            println!("{}", line.report());
        }
    }
}

/// Another window of messages in memory for the next life, and a change for this one, which may be wrong.
fn configure(server: &TestServer, random: &mut StdRng) {
    let window = [5, 50, 1000][random.random_range(0..3)];
    let right = format!("[storage]\nmemory_window_messages = {window}\n");
    for text in ["[storage]\nmemory_window_messages = \"wrong\"\n", &right] {
        fs::write(server.config(), text).unwrap();
        server.hang_up();
    }
}

/// Starts the broker, often not before one or two starts were killed, and looks at what each has left. Returns how
/// many were killed.
fn start_again(server: &mut TestServer, random: &mut StdRng) -> u32 {
    server.verify();
    let killed = random.random_range(0_u32..3).saturating_sub(1);
    for _ in 0..killed {
        server.start_and_kill(Duration::from_micros(random.random_range(0..150_000)));
        server.verify();
    }
    server.restart();
    killed
}

fn declare(address: SocketAddr) {
    let mut client = Client::connect(address).unwrap();
    for queue in QUEUES {
        client.declare(queue, true).unwrap();
    }
    client.declare("proof", true).unwrap();
    client.declare_exchange("fan", "fanout", true).unwrap();
    for queue in FAN {
        client.bind(QUEUES[queue], "fan", "").unwrap();
    }
    client.declare_exchange("changes", "direct", true).unwrap();
}

/// Also binds them to durable ones, which survive while the binding must not.
fn declare_transient(address: SocketAddr) {
    let mut client = Client::connect(address).unwrap();
    client.declare("transient", false).unwrap();
    client.declare_exchange("transient", "fanout", false).unwrap();
    client.bind("transient", "fan", "").unwrap();
    client.bind(QUEUES[BARRIER], "transient", "").unwrap();
}

fn check_topology(address: SocketAddr, topology: &mut Topology) {
    let connect = || Client::connect(address).unwrap();
    assert!(
        connect().ready("transient").is_err(),
        "a transient queue came back"
    );
    assert!(
        connect().has_exchange("transient").is_err(),
        "a transient exchange came back"
    );
    let (fire, _fired) = mpsc::channel();
    let fuse = Fuse::new(i64::MAX, fire);
    topology.check(&Shift {
        address,
        seed: 0,
        round: 0,
        worker: 0,
        fuse: &fuse,
    });
}

/// Everything that is in the queues, in its order, with its redelivered flag. It is acked for good, or goes back.
fn take_all(address: SocketAddr, acked: bool) -> BTreeMap<usize, Vec<(Id, bool)>> {
    let mut client = Client::connect(address).unwrap();
    client.select_confirms().unwrap();
    let counts = QUEUES.map(|queue| client.ready(queue).unwrap());
    for queue in QUEUES {
        client.consume(queue).unwrap();
    }
    let mut found: BTreeMap<usize, Vec<_>> = (0..QUEUES.len()).map(|queue| (queue, Vec::new())).collect();
    let mut last = 0;
    for _ in 0..counts.iter().sum() {
        let delivery = client.expect_delivery();
        let queue = QUEUES.iter().position(|name| *name == delivery.consumer);
        let messages = found.get_mut(&queue.unwrap()).unwrap();
        messages.push((Id::of(&delivery.body), delivery.redelivered));
        last = delivery.tag;
    }
    let more = client.next(Duration::ZERO).unwrap();
    assert!(more.is_none(), "there was more than the queues said: {more:?}");
    for (queue, messages) in &found {
        assert_eq!(messages.len(), counts[*queue] as usize, "{}", QUEUES[*queue]);
    }
    if acked {
        client.ack(last, true);
        client.prove_on_disk("proof").unwrap();
    }
    found
}
