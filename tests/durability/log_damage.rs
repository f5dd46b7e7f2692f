//! The write-ahead log of a killed broker, cut at any length or with a byte changed: what is left is what the broker had
//! after some number of its groups.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use amq_protocol::protocol::{AMQPClass, tx};
use leveret::store::sqlite::verify;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::client::Client;
use crate::look::{Look, look};
use crate::support::{TestServer, leveret};

const HEADER_BYTES: u64 = 32;
const FRAME_BYTES: u64 = 24 + 4096;
/// Each is one group.
const STEPS: u32 = 24;
/// Messages that are in the database before the log begins.
const BEFORE: u32 = 10;
const TX_OUT: [&str; 3] = ["tx-0", "tx-1", "tx-2"];

/// A killed broker's directory, and what it had when its log was so long.
struct Scene {
    directory: TempDir,
    states: BTreeMap<u64, Look>,
}

impl Scene {
    fn new() -> Self {
        let mut server = TestServer::start();
        let mut state = begin(server.address());
        // The next start moves all of it into the database.
        server.kill_and_restart();
        let log = server.directory().join("leveret.db-wal");
        let length = || fs::metadata(&log).map_or(0, |log| log.len());
        let mut client = Client::connect(server.address()).unwrap();
        client.select_confirms().unwrap();
        let mut transactions = Client::connect(server.address()).unwrap();
        transactions
            .call(AMQPClass::Tx(tx::AMQPMethod::Select(tx::Select {})))
            .unwrap();
        // From now on nothing but the steps is written.
        let taken = transactions.get("before").unwrap().unwrap();
        let mut states = BTreeMap::from([(length(), state.clone())]);
        for number in BEFORE..BEFORE + STEPS {
            step(number, &mut state, &mut client, &mut transactions, taken.tag);
            states.insert(length(), state.clone());
        }
        server.kill();
        let directory = TempDir::new().unwrap();
        copy(server.directory(), directory.path());
        Self { directory, states }
    }

    fn length(&self) -> u64 {
        *self.states.keys().next_back().unwrap()
    }

    /// What there is when the log ends there: all groups that had ended, and no part of others.
    fn check(&self, end: u64, what: &str, found: &Look) {
        let (at, least) = self
            .states
            .range(..=end)
            .next_back()
            .unwrap_or_else(|| self.states.first_key_value().expect("the first state"));
        let next = self.states.range(at + 1..).next().map(|(_, state)| state);
        let may_be_next = *at < end && next == Some(found);
        assert!(
            found == least || may_be_next,
            "{what}:\n{found:?}\nis not\n{least:?}"
        );
    }

    /// The same directory with this log, and with or without the index of the log.
    fn with_log(&self, log: &[u8], index: Index) -> TempDir {
        let directory = TempDir::new().unwrap();
        copy(self.directory.path(), directory.path());
        fs::write(directory.path().join("leveret.db-wal"), log).unwrap();
        let path = directory.path().join("leveret.db-shm");
        match index {
            Index::Kept => {}
            Index::Gone => fs::remove_file(path).unwrap(),
            Index::Garbled => {
                let mut bytes = fs::read(&path).unwrap();
                bytes.iter_mut().step_by(7).for_each(|byte| *byte ^= 0x55);
                fs::write(&path, bytes).unwrap();
            }
        }
        directory
    }

    fn log(&self) -> Vec<u8> {
        fs::read(self.directory.path().join("leveret.db-wal")).unwrap()
    }
}

#[derive(Clone, Copy, Debug)]
enum Index {
    Kept,
    Gone,
    Garbled,
}

/// Declares everything, and publishes what is there before the log begins.
fn begin(address: SocketAddr) -> Look {
    let mut client = Client::connect(address).unwrap();
    let mut state = Look::default();
    for queue in TX_OUT.iter().chain(&["before", "one"]) {
        client.declare(queue, true).unwrap();
        state.queues.insert((*queue).to_owned(), Vec::new());
    }
    client.declare_exchange("fan", "fanout", true).unwrap();
    client.declare_later();
    state.queues.insert("queue".to_owned(), Vec::new());
    state.exchanges = ["fan", "later"].map(str::to_owned).into();
    state.bindings.insert(("later".to_owned(), "queue".to_owned()));
    client.select_confirms().unwrap();
    for number in 0..BEFORE {
        client.publish("", "before", true, &number.to_be_bytes());
        state.add("before", number);
    }
    client.wait_for_confirms().unwrap();
    state
}

/// Something that is one group, whole or not at all, waited for.
fn step(number: u32, state: &mut Look, client: &mut Client, transactions: &mut Client, taken: u64) {
    let name = format!("declared-{}", number / 6);
    let own = || name.clone();
    match number % 6 {
        0 => {
            client.declare(&name, true).unwrap();
            state.queues.insert(own(), Vec::new());
        }
        1 => {
            client.bind(&name, "fan", "").unwrap();
            state.bindings.insert(("fan".to_owned(), own()));
        }
        2 => {
            client.publish("", "one", true, &long(number));
            client.wait_for_confirms().unwrap();
            state.add("one", number);
        }
        3 => {
            for queue in TX_OUT {
                transactions.publish("", queue, true, &long(number));
                state.add(queue, number);
            }
            // Once only: it is there no longer afterwards.
            if state.queues["before"].first() == Some(&0) {
                transactions.ack(taken, false);
                state.queues.get_mut("before").unwrap().remove(0);
            }
            let commit = AMQPClass::Tx(tx::AMQPMethod::Commit(tx::Commit {}));
            transactions.call(commit).unwrap();
        }
        4 => {
            client.delay(3_600_000, &long(number));
            client.wait_for_confirms().unwrap();
            state.delayed += 1;
        }
        _ => {
            client.delete(&name).unwrap();
            state.queues.remove(&name);
            state.bindings.remove(&("fan".to_owned(), own()));
        }
    }
}

impl Look {
    fn add(&mut self, queue: &str, number: u32) {
        self.queues.get_mut(queue).unwrap().push(number);
    }
}

/// A body of more than a page, now and then.
fn long(number: u32) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(if number.is_multiple_of(2) { 6000 } else { 20 }, b'.');
    body
}

fn copy(from: &Path, to: &Path) {
    for file in ["leveret.db", "leveret.db-wal", "leveret.db-shm"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
}

/// What `verify` has to say: nothing but that the log is short, if the index tells.
fn expect_sound(directory: &Path, is_short: bool, what: &str) {
    let findings = verify(directory).unwrap();
    let is_told = findings
        .problems
        .iter()
        .any(|problem| problem.contains("write-ahead log"));
    assert_eq!(
        findings.problems.len(),
        usize::from(is_told),
        "{what}: {findings:?}"
    );
    assert_eq!(is_told, is_short, "{what}: {findings:?}");
}

#[test]
fn a_log_cut_at_any_length_leaves_whole_groups_in_order() {
    let scene = Scene::new();
    let log = scene.log();
    assert_eq!(log.len() as u64, scene.length());
    let frames = (scene.length() - HEADER_BYTES) / FRAME_BYTES;
    let mut ends = vec![0, 1, HEADER_BYTES - 1, HEADER_BYTES];
    for frame in 0..frames {
        let begin = HEADER_BYTES + frame * FRAME_BYTES;
        ends.extend([
            begin,
            begin + 23,
            begin + 24,
            begin + 2000,
            begin + FRAME_BYTES - 1,
        ]);
    }
    ends.push(scene.length());
    for (turn, end) in ends.into_iter().enumerate() {
        let index = [Index::Kept, Index::Gone, Index::Garbled][turn % 3];
        let what = format!("{end} bytes of {}, the index {index:?}", scene.length());
        let cut = &log[..usize::try_from(end).unwrap()];
        let directory = scene.with_log(cut, index);
        let is_short = matches!(index, Index::Kept) && end < scene.length();
        expect_sound(directory.path(), is_short, &what);
        scene.check(end, &what, &look(directory.path()).unwrap());
    }
}

#[test]
fn a_log_with_a_byte_changed_anywhere_leaves_whole_groups_in_order() {
    let scene = Scene::new();
    let log = scene.log();
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut places: Vec<u64> = (0..HEADER_BYTES).step_by(3).collect();
    for frame in 0..(scene.length() - HEADER_BYTES) / FRAME_BYTES {
        let begin = HEADER_BYTES + frame * FRAME_BYTES;
        // The page's number, the commit's mark, salts, checksums, and anywhere in the page.
        let fields = [0..4, 4..8, 8..16, 16..24, 24..FRAME_BYTES];
        places.extend(fields.map(|field| begin + random.random_range(field)));
    }
    for (turn, place) in places.into_iter().enumerate() {
        let index = [Index::Kept, Index::Gone, Index::Garbled][turn % 3];
        let what = format!("byte {place} of {}, the index {index:?}", scene.length());
        let mut changed = log.clone();
        changed[usize::try_from(place).unwrap()] ^= 1 << random.random_range(0..8);
        let directory = scene.with_log(&changed, index);
        expect_sound(directory.path(), matches!(index, Index::Kept), &what);
        let end = match place {
            0..HEADER_BYTES => 0,
            _ => place - (place - HEADER_BYTES) % FRAME_BYTES,
        };
        scene.check(end, &what, &look(directory.path()).unwrap());
    }
}

#[test]
fn a_broker_says_what_its_log_lacks_and_serves_the_rest() {
    let scene = Scene::new();
    let log = scene.log();
    let directory = scene.with_log(&log[..log.len() - 5000], Index::Kept);
    let server = TestServer::on(directory.path());
    let line = server.logged(&[
        "WARN",
        "the write-ahead log was cut or damaged since it was written",
    ]);
    assert!(line.contains("what was confirmed in them is lost"), "{line}");
    let mut client = Client::connect(server.address()).unwrap();
    client.consume("one").unwrap();
    let delivery = client.expect_delivery();
    assert_eq!(
        delivery.body,
        long(u32::from_be_bytes(delivery.body[..4].try_into().unwrap()))
    );
    drop(server);
    // Whole, it says nothing.
    let directory = scene.with_log(&log, Index::Kept);
    leveret(directory.path(), &["verify"]).unwrap();
    let server = TestServer::on(directory.path());
    assert!(!server.log().contains("write-ahead log"), "{}", server.log());
}

/// The files of a broker that were copied one after another, the log first: before the copy of the others, pages that
/// it lacks were moved to the database. All of them, or with a reader some.
fn copied_in_turn(has_reader: bool) -> TempDir {
    let mut server = TestServer::start();
    let database = server.directory().join("leveret.db");
    let mut client = Client::connect(server.address()).unwrap();
    client.declare("one", true).unwrap();
    client.select_confirms().unwrap();
    let mut publish = |numbers: std::ops::Range<u32>| {
        for number in numbers {
            client.publish("", "one", true, &long(number));
            client.wait_for_confirms().unwrap();
        }
    };
    publish(0..BEFORE);
    let directory = TempDir::new().unwrap();
    let log = "leveret.db-wal";
    fs::copy(server.directory().join(log), directory.path().join(log)).unwrap();
    publish(BEFORE..2 * BEFORE);
    let reader = Connection::open(&database).unwrap();
    if has_reader {
        reader
            .execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")
            .unwrap();
        publish(2 * BEFORE..3 * BEFORE);
    }
    let checkpoint = Connection::open(&database).unwrap();
    checkpoint
        .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
        .unwrap();
    server.kill();
    for file in ["leveret.db", "leveret.db-shm"] {
        fs::copy(server.directory().join(file), directory.path().join(file)).unwrap();
    }
    directory
}

/// Neither a start nor `verify` goes on, however often; returns what the start says.
fn expect_out_of_step(directory: &Path) -> String {
    let refuse = || {
        let problem = leveret(directory, &["verify"]).unwrap_err();
        let refusal = TestServer::try_on(directory).map(drop).unwrap_err();
        assert_eq!(refusal.status.code(), Some(1), "{refusal:?}");
        for said in [&problem, &refusal.said] {
            assert!(
                said.contains("the database already has them, so that the two do not fit together"),
                "{said}"
            );
        }
        refusal.said
    };
    refuse();
    refuse()
}

#[test]
fn a_database_newer_than_its_log_is_refused_and_serves_all_without_it() {
    let directory = copied_in_turn(false);
    let said = expect_out_of_step(directory.path());
    assert!(
        said.contains("set the files that end with -wal and -shm aside, and start again"),
        "{said}"
    );
    for file in ["leveret.db-wal", "leveret.db-shm"] {
        fs::remove_file(directory.path().join(file)).unwrap();
    }
    leveret(directory.path(), &["verify"]).unwrap();
    let server = TestServer::on(directory.path());
    let mut client = Client::connect(server.address()).unwrap();
    for number in 0..2 * BEFORE {
        assert_eq!(client.get("one").unwrap().unwrap().body, long(number));
    }
    assert!(client.get("one").unwrap().is_none());
}

#[test]
fn a_database_newer_than_its_log_and_not_complete_is_refused_for_good() {
    let directory = copied_in_turn(true);
    let said = expect_out_of_step(directory.path());
    assert!(said.contains("restore a backup"), "{said}");
}
