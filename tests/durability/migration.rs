//! A start on the file of the first version that is killed, or whose disk fails, at each of its writes and syncs.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use rusqlite::Connection;
use tempfile::TempDir;

use crate::client::Client;
use crate::faults::{Fault, Faults, Kind, turns};
use crate::support::{TestServer, leveret};

/// The schema of version 1 as it was, with a durable queue "old" of three messages of two bytes.
const FIRST_VERSION: &str = include_str!("first-version.sql");

fn make(directory: &Path) {
    fs::create_dir(directory).unwrap();
    let database = Connection::open(directory.join("leveret.db")).unwrap();
    database
        .pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
        .unwrap();
    database.execute_batch(FIRST_VERSION).unwrap();
}

/// Starts a broker that may not come up; whether its own words tell of an error, if it ends by itself.
fn start(directory: &Path, faults: &Faults) -> Option<String> {
    // It opens the data as a broker does, and then ends.
    let output = Command::new(env!("CARGO_BIN_EXE_leveret"))
        .args(["definitions", "export", "--data-dir"])
        .arg(directory)
        .envs(faults.environment())
        .stdout(Stdio::null())
        .output()
        .unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_migration_is_done_whole_or_not_at_all_wherever_it_is_interrupted() {
    let faults = Faults::new();
    for (kind, fault) in [
        (Kind::Write, Fault::Kill),
        (Kind::Sync, Fault::Kill),
        (Kind::Write, Fault::NoSpace),
        (Kind::Sync, Fault::Io),
    ] {
        let mut interrupted = 0;
        for nth in turns() {
            let temporary = TempDir::new().unwrap();
            let directory = temporary.path().join("data");
            make(&directory);
            faults.arm(kind, nth, fault, fault != Fault::Kill);
            let failed = start(&directory, &faults);
            let has_fired = faults.fired() > 0;
            faults.disarm();
            if let Some(text) = &failed {
                interrupted += 1;
                let is_told = text.starts_with("leveret: ") && !text.contains("panicked");
                assert!(fault == Fault::Kill || is_told, "{kind:?} {nth}: {text}");
            }
            // Old or new, and nothing between.
            let said =
                leveret(&directory, &["verify"]).unwrap_or_else(|text| panic!("{kind:?} {nth}: {text}"));
            assert!(
                said.contains("schema 1") || said.contains("3 messages of 6 bytes"),
                "{said}"
            );
            if nth % 3 == 1 || !has_fired {
                let server = TestServer::on(&directory);
                assert_eq!(
                    Client::connect(server.address()).unwrap().ready("old").unwrap(),
                    3
                );
            }
            if !has_fired {
                break;
            }
        }
        assert!(
            interrupted > 2,
            "{kind:?} {fault:?}: {interrupted} starts were interrupted"
        );
    }
}
