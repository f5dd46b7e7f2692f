//! The broker as a process among others.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use tempfile::TempDir;

#[test]
fn a_broker_whose_log_nobody_reads_stops_cleanly() {
    let directory = TempDir::new().unwrap();
    let mut broker = Command::new(env!("CARGO_BIN_EXE_leveret"))
        .args(["--listen", "127.0.0.1:0", "--data-dir"])
        .arg(directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(broker.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("Server startup complete") {
        line.clear();
        assert!(
            log.read_line(&mut line).unwrap() > 0,
            "the log ended before the broker was ready"
        );
    }
    drop(log);
    drop(broker.stderr.take());
    let signalled = Command::new("kill")
        .arg("-TERM")
        .arg(broker.id().to_string())
        .status()
        .unwrap();
    assert!(signalled.success());
    assert!(broker.wait().unwrap().success());
}
