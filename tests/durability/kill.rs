//! kill -9 under load, again and again on the same directory.
//!
//! The law: what was confirmed is delivered or still there, what was never published never appears, and who has
//! seen a message is told so when it comes again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rusqlite::Connection;

use crate::books::{BARRIER, Books, FAN, HELD, Id, QUEUES, Record, SHARED, TX_IN};
use crate::client::Client;
use crate::load::{Consumer, Fuse, Publisher, Shift};
use crate::support::{DEADLINE, TestServer};
use crate::topology::Topology;
use crate::transaction;

/// What each consumer consumes.
const CONSUMERS: [&[usize]; 4] = [&[0, 1, SHARED], &[SHARED], &[FAN[0], FAN[1]], &[FAN[2], HELD]];
/// Messages for transactions to take, per round.
const FED_TRANSACTIONS: u32 = 60;
/// Rounds between two counts of everything.
const ROUNDS_PER_COUNT: u32 = 3;

#[test]
fn kill_nine_under_load_loses_and_repeats_nothing() {
    run("", number("LEVERET_KILL_ROUNDS", 20));
}

#[test]
fn kill_nine_with_more_than_memory_holds_loses_and_repeats_nothing() {
    run(
        "[storage]\nmemory_window_messages = 50\n",
        number("LEVERET_KILL_ROUNDS", 20) / 2,
    );
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
        books.enter_all(round + 1, &take_all(server.address()));
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

fn run(config: &str, rounds: u32) {
    let seed = seed(rounds);
    let begin = Instant::now();
    let mut random = StdRng::seed_from_u64(seed);
    let mut server = TestServer::with_config(config);
    let mut books = Books::default();
    let mut topology = Topology::new();
    declare(server.address());
    let mut delivered = 0;
    for round in 1..=rounds {
        declare_transient(server.address());
        round_of_load(&mut server, round, &mut random, &mut books, &mut topology);
        delivered += books.delivered;
        check_topology(server.address(), &mut topology);
        println!(
            "round {round}: {} published, {} delivered",
            books.published, books.delivered
        );
        if round % ROUNDS_PER_COUNT == 0 || round == rounds {
            books.enter_all(round + 1, &take_all(server.address()));
        }
    }
    assert!(delivered > 0 && books.len() > 0, "nothing happened");
    server.stop();
    let database = Connection::open(server.directory().join("leveret.db")).unwrap();
    let verdict: String = database
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(verdict, "ok");
    println!(
        "{rounds} rounds, {} messages, {delivered} deliveries, {:?}",
        books.len(),
        begin.elapsed()
    );
}

/// Works until the fuse burns down, kills the broker, and enters what the workers saw.
fn round_of_load(
    server: &mut TestServer,
    round: u32,
    random: &mut StdRng,
    books: &mut Books,
    topology: &mut Topology,
) {
    let address = server.address();
    let (fire, fired) = mpsc::channel();
    let fuse = Fuse::new(random.random_range(200..6000), fire);
    let seeds: [u64; 8] = random.random();
    let shift = |worker: u8| {
        let seed = seeds[usize::from(worker)];
        Shift {
            address,
            seed,
            round,
            worker,
            fuse: &fuse,
        }
    };
    let (logs, transactions) = thread::scope(|scope| {
        let publishers = [0, 1].map(|worker| scope.spawn(move || Publisher::new(shift(worker)).work()));
        let mut worker = 1;
        let consumers = CONSUMERS.map(|queues| {
            worker += 1;
            let shift = shift(worker);
            scope.spawn(move || Consumer::new(shift, queues).work())
        });
        let transactions = scope.spawn(move || transaction::Worker::new(shift(6)).work());
        let changes = scope.spawn(move || topology.work(&shift(7)));
        fired.recv_timeout(DEADLINE).expect("the load moves");
        server.kill_and_restart();
        let workers = publishers.into_iter().chain(consumers);
        let mut logs: Vec<Vec<Record>> = workers.map(|worker| worker.join().unwrap()).collect();
        let (log, transactions) = transactions.join().unwrap();
        logs.push(log);
        changes.join().unwrap();
        (logs, transactions)
    });
    books.enter(round, &logs, transactions);
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

/// Everything that is in the queues, in its order, with its redelivered flag. It is acked for good.
fn take_all(address: SocketAddr) -> BTreeMap<usize, Vec<(Id, bool)>> {
    let mut found = BTreeMap::new();
    for (index, queue) in QUEUES.iter().enumerate() {
        let mut client = Client::connect(address).unwrap();
        client.select_confirms().unwrap();
        let count = client.ready(queue).unwrap();
        client.consume(queue).unwrap();
        let mut messages = Vec::new();
        let mut last = 0;
        for _ in 0..count {
            let delivery = client.expect_delivery();
            last = delivery.tag;
            messages.push((Id::of(&delivery.body), delivery.redelivered));
        }
        client.ack(last, true);
        let more = client.next(Duration::ZERO).unwrap();
        assert!(
            more.is_none(),
            "{queue} said it has {count} messages, and had more: {more:?}"
        );
        client.prove_on_disk("proof").unwrap();
        found.insert(index, messages);
    }
    found
}
