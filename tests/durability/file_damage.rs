//! The database of a broker that was stopped, with a byte changed: a start refuses it with a reason, or serves what
//! was published. Only what no check can find may differ.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use leveret::store::sqlite::verify;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use crate::client::Client;
use crate::look::{Look, look};
use crate::support::TestServer;

const QUEUES: [&str; 3] = ["short", "long", "acked"];
const MESSAGES: u32 = 40;
/// Bytes changed, one at a time; under one in ten the binary is started as well.
const CHANGES: u32 = 150;

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

/// Starts the binary on what `look` could not open: it ends with a reason.
fn expect_refusal(directory: &Path, what: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_leveret"))
        .args(["--listen", "127.0.0.1:0", "--data-dir"])
        .arg(directory)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(!output.status.success(), "{what}: {said}");
    assert!(
        !said.contains("panicked") && said.contains("the store failed"),
        "{what}: {said}"
    );
}

/// Starts the binary on what `look` could open, and takes what it serves.
fn expect_service(directory: &Path, is_sound: bool, what: &str) {
    let mut server = TestServer::on(directory);
    for queue in QUEUES {
        let Ok(mut client) = Client::connect(server.address()) else {
            break;
        };
        if client.ready(queue).is_err() {
            continue;
        }
        while let Ok(Some(delivery)) = client.get(queue) {
            let number = u32::from_be_bytes(delivery.body[..4].try_into().unwrap());
            assert!(
                is_sound || number < MESSAGES,
                "{what}: {number} was never published"
            );
        }
    }
    if !server.is_running() {
        server.logged(&["the store has failed"]);
    }
    assert!(!server.log().contains("panicked"), "{what}: {}", server.log());
}

#[test]
fn a_database_with_a_byte_changed_is_refused_or_served_as_it_was() {
    let (directory, bytes) = prepare();
    let whole = look(directory.path()).unwrap();
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut outcomes: BTreeMap<&str, u32> = BTreeMap::new();
    for turn in 0..CHANGES {
        let place = match turn % 5 {
            // Where tables begin is what matters most.
            0 => random.random_range(0..100),
            1 => random.random_range(0..bytes.len() / 4096) * 4096 + random.random_range(0..64),
            _ => random.random_range(0..bytes.len()),
        };
        let bits = 1 << random.random_range(0..8);
        let what = format!("byte {place} of {} with {bits:#x}", bytes.len());
        let changed = with_change(&bytes, place, bits);
        let is_sound = verify(changed.path()).is_ok_and(|findings| findings.is_sound());
        let found = look(changed.path());
        let outcome = outcome(&whole, &found, is_sound, &what);
        *outcomes.entry(outcome).or_default() += 1;
        if turn % 10 == 0 {
            let changed = with_change(&bytes, place, bits);
            match found {
                Err(_) => expect_refusal(changed.path(), &what),
                Ok(_) => expect_service(changed.path(), is_sound, &what),
            }
        }
    }
    println!("{outcomes:?}");
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
