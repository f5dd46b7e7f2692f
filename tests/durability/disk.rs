//! A disk that fails, or has no room: nothing is confirmed falsely, and a broker that goes on serves.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::client::{Client, Event};
use crate::faults::{Fault, Faults, Kind, turns};
use crate::support::{TestServer, leveret};

/// Few messages in memory, so that what is delivered is read from the disk.
const SMALL_WINDOW: &str = "storage.memory_window_messages = 10";

/// What a client knows of its messages.
#[derive(Default)]
struct Books {
    published: u64,
    confirmed: BTreeSet<u64>,
    acked: BTreeSet<u64>,
}

impl Books {
    /// Publishes and acks until it is through or the broker is gone.
    fn work(&mut self, server: &TestServer) -> io::Result<()> {
        let mut client = Client::connect(server.address())?;
        client.select_confirms()?;
        client.declare("queue", true)?;
        for _ in 0..6 {
            let before = self.published;
            for _ in 0..8 {
                client.publish("", "queue", true, &body(self.published));
                self.published += 1;
            }
            client.wait_for_confirms()?;
            self.confirmed.extend(before..self.published);
        }
        for _ in 0..30 {
            let delivery = client.get("queue")?.expect("more were confirmed");
            client.ack(delivery.tag, false);
            self.acked.insert(number(&delivery.body));
        }
        client.prove_on_disk("proof")
    }

    /// What a broker has without the faults.
    fn check(&self, server: &TestServer, turn: &str) {
        let mut client = Client::connect(server.address()).unwrap();
        let mut found = BTreeSet::new();
        if client.declare("queue", true).unwrap() > 0 {
            while let Some(delivery) = client.get("queue").unwrap() {
                let number = number(&delivery.body);
                assert!(found.insert(number), "{turn}: {number} is there twice");
                assert!(number < self.published, "{turn}: {number} was never published");
            }
        }
        let lost: Vec<_> = self
            .confirmed
            .difference(&self.acked)
            .filter(|number| !found.contains(number))
            .collect();
        assert!(lost.is_empty(), "{turn}: {lost:?} were confirmed and are gone");
    }
}

fn body(number: u64) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(1000, b'.');
    body
}

fn number(body: &[u8]) -> u64 {
    u64::from_be_bytes(body[..8].try_into().unwrap())
}

/// Lets one call after the other fail, each under a broker of its own, until none is left that could.
fn fail_one_call_after_the_other(kind: Kind, fault: Fault, survives: bool) {
    let faults = Faults::new();
    let mut failed = 0;
    for nth in turns() {
        let turn = format!("{kind:?} {nth} with {fault:?}");
        let mut server = TestServer::with_environment(SMALL_WINDOW, &faults.environment());
        Client::connect(server.address())
            .and_then(|mut client| client.declare("proof", true))
            .unwrap();
        let mut books = Books::default();
        faults.arm(kind, nth, fault, !survives);
        let worked = books.work(&server);
        let has_fired = faults.fired() > 0;
        let expect_end = has_fired && !survives;
        if expect_end {
            assert!(
                !server.ends(),
                "{turn}: a broker without its disk ends with an error"
            );
            server.logged(&["ERROR", "the store has failed; nothing is written any more"]);
        } else {
            worked.unwrap_or_else(|error| panic!("{turn}: {error}"));
            assert!(server.is_running(), "{turn}");
            server.kill();
        }
        faults.disarm();
        leveret(server.directory(), &["verify"]).unwrap_or_else(|text| panic!("{turn}: {text}"));
        server.restart();
        books.check(&server, &turn);
        failed += i32::from(has_fired);
        if !has_fired {
            break;
        }
    }
    assert!(failed > 3, "{failed} calls failed");
}

#[test]
fn a_write_that_fails_ends_the_broker_and_loses_nothing_that_was_confirmed() {
    fail_one_call_after_the_other(Kind::Write, Fault::Io, false);
}

#[test]
fn a_sync_that_fails_ends_the_broker_and_loses_nothing_that_was_confirmed() {
    fail_one_call_after_the_other(Kind::Sync, Fault::Io, false);
}

#[test]
fn a_read_that_fails_ends_the_broker_and_loses_nothing_that_was_confirmed() {
    fail_one_call_after_the_other(Kind::Read, Fault::Io, false);
}

#[test]
fn a_write_without_room_is_made_again() {
    fail_one_call_after_the_other(Kind::Write, Fault::NoSpace, true);
}

#[test]
fn a_write_that_is_cut_short_is_made_whole() {
    fail_one_call_after_the_other(Kind::Write, Fault::CutShort, true);
}

#[test]
fn publishers_are_blocked_before_the_disk_is_full_and_go_on_when_consumers_made_room() {
    const MARK: i64 = 20_000_000;
    let faults = Faults::new();
    faults.set_free(Some(100_000_000));
    let config = "limits.disk_free_limit = 20_000_000\n[storage]\npending_bytes_max = '8 MiB'\n\
                  checkpoint_bytes = '4 MiB'\nmemory_window_messages = 1000\n";
    let server = TestServer::with_environment(config, &faults.environment());
    let mut publisher = Client::connect(server.address()).unwrap();
    publisher.select_confirms().unwrap();
    publisher.declare("queue", true).unwrap();
    let (mut confirmed, mut is_blocked) = (0, false);
    while !is_blocked {
        publisher.publish("", "queue", true, &vec![b'x'; 20_000]);
        while let Some(event) = publisher.next(Duration::ZERO).unwrap() {
            match event {
                Event::Confirm { tag, .. } => confirmed = tag,
                Event::Blocked(true) => is_blocked = true,
                other => panic!("a publisher got {other:?}"),
            }
        }
    }
    assert!(confirmed > 500, "{confirmed} were confirmed before the mark");
    server.logged(&["WARN", "disk alarm set: publishers are blocked"]);
    assert_eq!(
        faults.fired(),
        0,
        "the disk was full before publishers were blocked"
    );
    let mut consumer = Client::connect(server.address()).unwrap();
    consumer.qos(200).unwrap();
    consumer.consume("queue").unwrap();
    let last = publisher.published;
    for _ in 0..confirmed {
        let delivery = consumer.expect_delivery();
        consumer.ack(delivery.tag, false);
    }
    consumer.flush().unwrap();
    server.logged(&["WARN", "disk alarm cleared"]);
    while confirmed < last {
        match publisher.expect_event().unwrap() {
            Event::Confirm { tag, .. } => confirmed = tag,
            Event::Blocked(_) => {}
            other => panic!("a publisher got {other:?}"),
        }
    }
    assert_eq!(faults.fired(), 0, "the disk was full");
    assert!(
        faults.free() > 0 && faults.free() < 100_000_000 - MARK,
        "{} are free",
        faults.free()
    );
}

#[test]
fn a_disk_that_others_fill_up_stops_confirms_but_not_consumers_until_there_is_room() {
    let faults = Faults::new();
    faults.set_free(Some(1 << 30));
    let mut server = TestServer::with_environment("", &faults.environment());
    let mut publisher = Client::connect(server.address()).unwrap();
    publisher.select_confirms().unwrap();
    publisher.declare("queue", true).unwrap();
    (0..20).for_each(|number| publisher.publish("", "queue", true, &body(number)));
    publisher.wait_for_confirms().unwrap();
    let mut consumer = Client::connect(server.address()).unwrap();
    consumer.qos(5).unwrap();
    consumer.consume("queue").unwrap();
    let first = consumer.expect_delivery();

    faults.set_free(Some(0));
    consumer.ack(first.tag, false);
    consumer.flush().unwrap();
    server.logged(&[
        "ERROR",
        "the disk is full; nothing is confirmed until there is room",
    ]);
    server.logged(&["WARN", "disk alarm set"]);
    publisher.publish("", "queue", true, &body(20));
    publisher.flush().unwrap();
    for number_expected in 1..20 {
        let delivery = consumer.expect_delivery();
        assert_eq!(number(&delivery.body), number_expected, "consumers are served on");
        consumer.ack(delivery.tag, false);
    }
    consumer.flush().unwrap();
    assert!(matches!(publisher.expect_event().unwrap(), Event::Blocked(true)));
    assert!(
        publisher.next(Duration::ZERO).unwrap().is_none(),
        "nothing is confirmed"
    );
    assert!(server.is_running());

    faults.set_free(Some(1 << 30));
    server.logged(&["INFO", "there is room on the disk again"]);
    let (mut is_confirmed, mut is_blocked) = (false, true);
    while !is_confirmed || is_blocked {
        match publisher.expect_event().unwrap() {
            Event::Confirm { tag: 21, .. } => is_confirmed = true,
            Event::Blocked(blocks) => is_blocked = blocks,
            other => panic!("a publisher got {other:?}"),
        }
    }
    assert_eq!(number(&consumer.expect_delivery().body), 20);
    server.kill_and_restart();
    let mut client = Client::connect(server.address()).unwrap();
    let mut last = None;
    while let Some(delivery) = client.get("queue").unwrap() {
        last = Some(number(&delivery.body));
    }
    assert_eq!(last, Some(20), "it was confirmed");
}

#[test]
fn a_backup_that_fails_at_any_write_leaves_no_file() {
    let mut server = TestServer::start();
    let mut books = Books::default();
    Client::connect(server.address())
        .and_then(|mut client| client.declare("proof", true))
        .unwrap();
    books.work(&server).unwrap();
    server.stop();
    let faults = Faults::of("backup.db");
    for (kind, fault) in [
        (Kind::Write, Fault::NoSpace),
        (Kind::Write, Fault::Kill),
        (Kind::Sync, Fault::Io),
        (Kind::Read, Fault::Io),
    ] {
        let mut failed = 0;
        for nth in turns() {
            let elsewhere = TempDir::new().unwrap();
            let file = elsewhere.path().join("backup.db");
            faults.arm(kind, nth, fault, fault != Fault::Kill);
            let output: Output = Command::new(env!("CARGO_BIN_EXE_leveret"))
                .arg("backup")
                .arg(&file)
                .arg("--data-dir")
                .arg(server.directory())
                .envs(faults.environment())
                .output()
                .unwrap();
            let has_fired = faults.fired() > 0;
            faults.disarm();
            assert_eq!(output.status.success(), !has_fired, "{kind:?} {nth}: {output:?}");
            assert_eq!(file.exists(), !has_fired, "{kind:?} {nth}: {output:?}");
            if has_fired && fault != Fault::Kill {
                let left = elsewhere.path().read_dir().unwrap().next();
                assert!(left.is_none(), "{kind:?} {nth}: {left:?}");
            }
            if !has_fired {
                leveret(
                    &elsewhere.path().join("data"),
                    &["restore", file.to_str().unwrap()],
                )
                .unwrap();
                break;
            }
            failed += 1;
        }
        assert!(failed > 0, "{kind:?} {fault:?}");
    }
    leveret(server.directory(), &["verify"]).unwrap();
}

#[test]
fn what_waits_for_room_is_bounded() {
    const MESSAGES: u64 = 150;
    let faults = Faults::new();
    let config = "limits.disk_free_limit = 0\n[storage]\npending_bytes_max = '1 MiB'\n\
                  memory_window_bytes = '1 MiB'\n";
    let server = TestServer::with_environment(config, &faults.environment());
    let mut publisher = Client::connect(server.address()).unwrap();
    publisher.select_confirms().unwrap();
    publisher.declare("queue", true).unwrap();
    let mut other = Client::connect(server.address()).unwrap();
    faults.set_free(Some(0));
    thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..MESSAGES {
                publisher.publish("", "queue", true, &vec![b'x'; 1_000_000]);
                publisher.flush().unwrap();
            }
            publisher.wait_for_confirms().unwrap();
        });
        server.logged(&["ERROR", "the disk is full"]);
        // Others are served, while the one that floods the broker is not read.
        let mut ready = 0;
        for _ in 0..500 {
            ready = other.ready("queue").unwrap();
        }
        assert!(u64::from(ready) < MESSAGES / 2, "{ready} were taken in");
        faults.set_free(None);
    });
    assert_eq!(u64::from(other.ready("queue").unwrap()), MESSAGES);
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 130_000, "the broker took {kib} KiB");
}
