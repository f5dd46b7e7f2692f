//! Backups of a broker at work, restored and served by another one; and the look that says whether data is sound.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use tempfile::TempDir;

use crate::client::{Client, Event};
use crate::support::{TestServer, eventually, leveret};

/// Publishes numbered persistent messages with confirms until it is told to stop; `confirmed` counts.
fn publish_until(address: SocketAddr, stop: &AtomicBool, confirmed: &AtomicU64) {
    let mut client = Client::connect(address).unwrap();
    client.select_confirms().unwrap();
    let mut published = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..50 {
            client.publish("fan", "", true, &published.to_be_bytes());
            published += 1;
        }
        while confirmed.load(Ordering::Relaxed) < published {
            match client.expect_event().unwrap() {
                Event::Confirm { tag, .. } => confirmed.store(tag, Ordering::Relaxed),
                other => panic!("a publisher got {other:?}"),
            }
        }
    }
}

fn declare(address: SocketAddr) {
    let mut client = Client::connect(address).unwrap();
    client.declare_exchange("fan", "fanout", true).unwrap();
    for queue in ["one", "two"] {
        client.declare(queue, true).unwrap();
        client.bind(queue, "fan", "").unwrap();
    }
}

/// Numbers of a queue's messages, which all have to be flagged as redelivered.
fn take_all(address: SocketAddr, queue: &str) -> Vec<u64> {
    let mut client = Client::connect(address).unwrap();
    let count = client.ready(queue).unwrap();
    client.consume(queue).unwrap();
    (0..count)
        .map(|_| {
            let delivery = client.expect_delivery();
            assert!(delivery.redelivered, "it may have been seen since the backup");
            u64::from_be_bytes(delivery.body.try_into().unwrap())
        })
        .collect()
}

#[test]
fn a_backup_under_load_holds_all_that_was_confirmed_before_it() {
    let server = TestServer::start();
    declare(server.address());
    let elsewhere = TempDir::new().unwrap();
    let (stop, confirmed) = (AtomicBool::new(false), AtomicU64::new(0));
    let backups: Vec<_> = thread::scope(|scope| {
        scope.spawn(|| publish_until(server.address(), &stop, &confirmed));
        let backups = (0..3)
            .map(|round| {
                let before = confirmed.load(Ordering::Relaxed);
                let file = elsewhere.path().join(format!("{round}.db"));
                let said = leveret(server.directory(), &["backup", file.to_str().unwrap()]).unwrap();
                assert!(said.contains("1 exchanges, 2 queues, 2 bindings"), "{said}");
                eventually("more is confirmed", || {
                    (confirmed.load(Ordering::Relaxed) > before).then_some(())
                });
                (file, before)
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        backups
    });
    let refused = leveret(server.directory(), &["verify"]).unwrap_err();
    assert!(
        refused.contains("another process uses this data directory"),
        "{refused}"
    );
    for (round, (file, before)) in backups.iter().enumerate() {
        let data = elsewhere.path().join(format!("data-{round}"));
        leveret(&data, &["restore", file.to_str().unwrap()]).unwrap();
        leveret(&data, &["verify"]).unwrap();
        let restored = TestServer::on(&data);
        for queue in ["one", "two"] {
            let found = take_all(restored.address(), queue);
            let expected: Vec<u64> = (0..found.len() as u64).collect();
            assert_eq!(found, expected, "it is of one moment");
            assert!(found.len() as u64 >= *before, "{} of {before}", found.len());
        }
        // It is a broker like any other, with the topology of the first.
        let mut client = Client::connect(restored.address()).unwrap();
        client.select_confirms().unwrap();
        client.publish("fan", "", true, b"on we go");
        client.wait_for_confirms().unwrap();
    }
}

#[test]
fn a_backup_of_a_killed_broker_has_what_is_in_its_log() {
    let mut server = TestServer::start();
    declare(server.address());
    let mut client = Client::connect(server.address()).unwrap();
    client.select_confirms().unwrap();
    (0..100_u64).for_each(|number| client.publish("fan", "", true, &number.to_be_bytes()));
    client.wait_for_confirms().unwrap();
    server.kill();
    let files =
        || ["leveret.db", "leveret.db-wal"].map(|name| fs::read(server.directory().join(name)).unwrap());
    let before = files();
    let elsewhere = TempDir::new().unwrap();
    let (file, data) = (elsewhere.path().join("backup.db"), elsewhere.path().join("data"));
    leveret(server.directory(), &["backup", file.to_str().unwrap()]).unwrap();
    let said = leveret(server.directory(), &["verify"]).unwrap();
    assert!(
        said.contains("ok: 1 exchanges, 2 queues, 2 bindings, 200 messages of 1600 bytes"),
        "{said}"
    );
    assert!(files() == before, "a backup and a look change nothing");
    leveret(&data, &["restore", file.to_str().unwrap()]).unwrap();
    let restored = TestServer::on(&data);
    assert_eq!(take_all(restored.address(), "two").len(), 100);
}

#[test]
fn what_can_not_be_done_is_refused_with_a_reason() {
    let server = TestServer::start();
    let elsewhere = TempDir::new().unwrap();
    let file = elsewhere.path().join("backup.db");
    let path = file.to_str().unwrap();
    let refused = |directory: &Path, arguments: &[&str]| leveret(directory, arguments).unwrap_err();
    leveret(server.directory(), &["backup", path]).unwrap();
    assert!(refused(server.directory(), &["backup", path]).contains("a backup replaces nothing"));
    assert!(
        refused(server.directory(), &["restore", path]).contains("another process uses this data directory")
    );
    let nothing = elsewhere.path().join("nothing");
    assert!(refused(&nothing, &["backup", "x.db"]).contains("nothing is stored there"));
    assert!(refused(&nothing, &["verify"]).contains("nothing is stored there"));
    assert!(!nothing.exists(), "looking for data makes none");
}

#[test]
fn damage_is_told_line_by_line_with_an_exit_code() {
    let mut server = TestServer::start();
    declare(server.address());
    server.stop();
    rusqlite::Connection::open(server.directory().join("leveret.db"))
        .and_then(|database| database.execute("DELETE FROM summary", []))
        .unwrap();
    let said = leveret(server.directory(), &["verify"]).unwrap_err();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(
        lines[0].ends_with("queue 0 has no sums") && lines[1].ends_with("queue 1 has no sums"),
        "{said}"
    );
    assert!(lines[2].contains("the data is damaged, problems: 2"), "{said}");
    let elsewhere = TempDir::new().unwrap();
    let file = elsewhere.path().join("backup.db");
    let said = leveret(server.directory(), &["backup", file.to_str().unwrap()]).unwrap_err();
    assert!(
        said.contains("there is no backup of it") && !file.exists(),
        "{said}"
    );
}
