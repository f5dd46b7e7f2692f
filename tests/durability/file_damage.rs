//! The database of a broker that was stopped, with a byte changed: a start refuses it with a reason, or serves what
//! was published. Only what no check can find may differ.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use leveret::store::sqlite::verify;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use crate::client::Client;
use crate::look::{Look, look};
use crate::support::{Refusal, TestServer};

const QUEUES: [&str; 3] = ["short", "long", "acked"];
const MESSAGES: u32 = 40;
/// Bytes changed, one at a time.
const CHANGES: u32 = 150;
/// Kinds of places: the first page's header, that of any page, anywhere three times.
const PLACES: u32 = 5;
/// One of so many is shown to the binary as well. No multiple of what the kinds of places go by.
const CHANGES_PER_START: u32 = 7;

/// A directory with all kinds of rows, and the bytes of its database.
fn prepare() -> (TempDir, Vec<u8>) {
    let mut server = TestServer::start();
    let mut client = Client::connect(server.address()).unwrap();
    client.select_confirms().unwrap();
    client.declare_later();
    client.declare_exchange("fan", "fanout", true).unwrap();
    for queue in QUEUES {
        client.declare(queue, true).unwrap();
        client.bind(queue, "fan", "").unwrap();
    }
    for number in 0..MESSAGES {
        let mut body = number.to_be_bytes().to_vec();
        client.publish("fan", "", true, &body);
        client.delay(3_600_000, &body);
        body.resize(3000, b'.');
        client.publish("", "long", true, &body);
        client.wait_for_confirms().unwrap();
    }
    for _ in 0..MESSAGES / 2 {
        let delivery = client.get("acked").unwrap().unwrap();
        client.ack(delivery.tag, false);
    }
    client.prove_on_disk("short").unwrap();
    client.purge("short").unwrap();
    server.stop();
    let directory = TempDir::new().unwrap();
    let bytes = fs::read(server.directory().join("leveret.db")).unwrap();
    fs::write(directory.path().join("leveret.db"), &bytes).unwrap();
    (directory, bytes)
}

fn with_change(bytes: &[u8], place: usize, bits: u8) -> TempDir {
    let directory = TempDir::new().unwrap();
    let mut changed = bytes.to_vec();
    changed[place] ^= bits;
    fs::write(directory.path().join("leveret.db"), changed).unwrap();
    directory
}

/// Starts the binary on the database: it ends with a reason, or serves what `verify` finds whole, as `look` found it.
/// Whether it was ready.
fn start(directory: &Path, is_sound: bool, found: &Result<Look, String>, what: &str) -> bool {
    let mut server = match TestServer::try_on(directory) {
        Ok(server) => server,
        Err(refusal) => {
            // A changed name is found only where something else has to be of that name.
            let is_known = !is_sound || refusal.said.contains("cannot take over what is stored");
            assert!(is_known, "{what}, which verify does not find: {refusal:?}");
            expect_reason(&refusal, what);
            return false;
        }
    };
    for queue in QUEUES {
        let Some(numbers) = take(server.address(), queue) else {
            continue;
        };
        if is_sound {
            // The name of the queue may be what was changed.
            let found = found.as_ref().map(|found| found.queues.get(queue));
            assert_eq!(found, Ok(Some(&numbers)), "{what}, in {queue}");
        } else {
            let last = numbers.iter().max();
            assert!(last < Some(&MESSAGES), "{what}: {last:?} was never published");
        }
    }
    if is_sound {
        server.stop();
    } else if !server.is_running() {
        server.logged(&["ERROR", "the store has failed"]);
    }
    assert!(!server.log().contains("panicked"), "{what}: {}", server.log());
    true
}

/// All that can be taken from a queue; `None` if it is not there.
fn take(address: SocketAddr, queue: &str) -> Option<Vec<u32>> {
    let mut client = Client::connect(address).ok()?;
    client.ready(queue).ok()?;
    let mut numbers = Vec::new();
    while let Ok(Some(delivery)) = client.get(queue) {
        numbers.push(u32::from_be_bytes(delivery.body[..4].try_into().unwrap()));
    }
    Some(numbers)
}

/// It ended by itself, and says why and what to do.
fn expect_reason(refusal: &Refusal, what: &str) {
    assert_eq!(refusal.status.code(), Some(1), "{what}: {refusal:?}");
    let said = |part: &str| refusal.said.contains(part);
    assert!(!said("panicked"), "{what}: {refusal:?}");
    let is_why = said("leveret: the store failed: ") || said("leveret: cannot take over what is stored: ");
    let advice = [
        "leveret verify",
        "choose another data directory",
        "newer version",
        "[[vhosts]]",
    ];
    let is_what = advice.into_iter().any(said);
    assert!(is_why && is_what, "{what}: {refusal:?}");
}

#[test]
fn a_database_with_a_byte_changed_is_refused_or_served_as_it_was() {
    let (directory, bytes) = prepare();
    let whole = look(directory.path()).unwrap();
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut outcomes: BTreeMap<&str, u32> = BTreeMap::new();
    let mut starts = BTreeMap::new();
    for turn in 0..CHANGES {
        let place = match turn % PLACES {
            // Where tables begin is what matters most.
            0 => random.random_range(0..100),
            1 => random.random_range(0..bytes.len() / 4096) * 4096 + random.random_range(0..64),
            _ => random.random_range(0..bytes.len()),
        };
        let bits = 1 << random.random_range(0..8);
        let what = format!("byte {place} of {} with {bits:#x}", bytes.len());
        let changed = with_change(&bytes, place, bits);
        // Of an older version it looks at the pages only: what was changed may be the number of the version.
        let is_sound =
            verify(changed.path()).is_ok_and(|findings| findings.is_sound() && findings.is_current);
        let found = look(changed.path());
        let outcome = outcome(&whole, &found, is_sound, &what);
        *outcomes.entry(outcome).or_default() += 1;
        if turn % CHANGES_PER_START == 0 {
            let changed = with_change(&bytes, place, bits);
            let is_ready = start(changed.path(), is_sound, &found, &what);
            *starts.entry((turn % PLACES, is_ready)).or_insert(0) += 1;
        }
    }
    println!("{outcomes:?}; starts by kind of place, and whether they came to something: {starts:?}");
}

fn outcome(whole: &Look, found: &Result<Look, String>, is_sound: bool, what: &str) -> &'static str {
    match found {
        Err(reason) => {
            assert!(!reason.contains("panicked"), "{what}: {reason}");
            "refused"
        }
        Ok(found) if found == whole => "served as it was",
        Ok(found) => {
            // Nobody could tell that the bytes of a body are others.
            let numbers = found.queues.values().flatten();
            assert!(is_sound || numbers.max() < Some(&MESSAGES), "{what}: {found:?}");
            println!("{what}, sound {is_sound}: {found:?}");
            "served with a difference"
        }
    }
}
