//! The file that the configuration names.

use std::process::Command;

use lapin::options::{
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, ExchangeKind};
use serde_json::json;

use crate::directory::{Directory, exchange, queue};
use crate::support::TestServer;

/// Whether the broker has the queue.
async fn has_queue(server: &TestServer, name: &str) -> bool {
    let connection = Connection::connect(&server.uri(), ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(name.into(), passive, FieldTable::default());
    declared.await.is_ok()
}

#[tokio::test]
async fn definitions_are_there_when_the_broker_says_that_it_is_ready_and_at_every_start() {
    let mut transient = queue("transient");
    transient["durable"] = json!(false);
    let files = Directory::new();
    let file = files.file(
        "definitions.json",
        json!({ "queues": [queue("q"), transient] }).to_string(),
    );
    let mut server = TestServer::with_config(&format!("definitions = '{}'", file.display()));
    assert!(has_queue(&server, "q").await);
    assert!(has_queue(&server, "transient").await);
    files.file(
        "definitions.json",
        json!({ "queues": [queue("q"), queue("later")] }).to_string(),
    );
    server.kill_and_restart();
    assert!(has_queue(&server, "q").await);
    assert!(has_queue(&server, "later").await);
    assert!(!has_queue(&server, "transient").await);
}

#[tokio::test]
async fn a_start_takes_nothing_away() {
    let files = Directory::new();
    let file = files.file("definitions.json", json!({ "queues": [queue("q")] }).to_string());
    let mut server = TestServer::with_config(&format!("definitions = '{}'", file.display()));
    let connection = Connection::connect(&server.uri(), ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare("own".into(), durable, FieldTable::default());
    declared.await.unwrap();
    let deleted = channel.queue_delete("q".into(), QueueDeleteOptions::default());
    deleted.await.unwrap();
    server.stop_and_restart();
    assert!(has_queue(&server, "own").await);
    assert!(has_queue(&server, "q").await, "it is imported again");
}

#[tokio::test]
async fn what_clients_declared_otherwise_keeps_no_broker_from_starting() {
    let files = Directory::new();
    let binding = |source: &str, destination: &str| {
        json!({
            "source": source, "vhost": "/", "destination": destination, "destination_type": "queue",
            "routing_key": "5", "arguments": {},
        })
    };
    let file = files.file(
        "definitions.json",
        json!({
            "queues": [queue("changed"), queue("no-room"), queue("same")],
            "exchanges": [exchange("changed")],
            "bindings": [
                binding("changed", "changed"), binding("changed", "same"), binding("changed", "no-room"),
            ],
        })
        .to_string(),
    );
    let config = format!(
        "definitions = '{}'\nvhosts = [{{ name = '/', queues_max = 3 }}]",
        file.display()
    );
    let mut server = TestServer::with_config(&config);
    let connection = Connection::connect(&server.uri(), ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    for name in ["changed", "no-room"] {
        let deleted = channel.queue_delete(name.into(), QueueDeleteOptions::default());
        deleted.await.unwrap();
    }
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let mut other = FieldTable::default();
    other.insert("x-max-length".into(), 5.into());
    for (name, arguments) in [("changed", other), ("own", FieldTable::default())] {
        channel
            .queue_declare(name.into(), durable, arguments)
            .await
            .unwrap();
    }
    let deleted = channel.exchange_delete("changed".into(), ExchangeDeleteOptions::default());
    deleted.await.unwrap();
    let durable = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let kind = ExchangeKind::Custom("x-local-random".into());
    let declared = channel.exchange_declare("changed".into(), kind, durable, FieldTable::default());
    declared.await.unwrap();

    server.stop_and_restart();
    for (name, reason) in [
        ("queue 'changed'", "inequivalent arg 'x-max-length'"),
        ("queue 'no-room'", "queue limit in vhost '/' (3) is reached"),
        ("exchange 'changed'", "inequivalent arg 'type'"),
        ("to queue 'changed'", "Non empty binding '5' key not permitted"),
        ("to queue 'same'", "Non empty binding '5' key not permitted"),
        ("to queue 'no-room'", "no queue 'no-room'"),
    ] {
        server.logged(&["WARN", "definitions: ", name, "was left out", reason]);
    }
    assert!(has_queue(&server, "own").await && !has_queue(&server, "no-room").await);
}

#[test]
fn a_check_of_the_configuration_looks_at_the_file() {
    let directory = Directory::new();
    let good = directory.file("definitions.json", json!({ "queues": [queue("q")] }).to_string());
    let bad = directory.file("bad.json", "[]");
    let missing = bad.with_file_name("missing.json");
    for (file, reason) in [
        (&good, None),
        (&bad, Some("bad.json: it is not a file of definitions")),
        (&missing, Some("cannot read the definitions in")),
    ] {
        let config = directory.file("at-start.toml", format!("definitions = '{}'", file.display()));
        let output = Command::new(env!("CARGO_BIN_EXE_leveret"))
            .args(["check-config", "--config"])
            .arg(config)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.success(), reason.is_none(), "{said}");
        assert!(said.contains(reason.unwrap_or_default()), "{said}");
    }
}

#[test]
fn a_broker_does_not_start_on_definitions_that_it_can_not_use() {
    let directory = Directory::new();
    let bad = directory.file(
        "definitions.json",
        json!({ "queues": [{ "name": "q", "vhost": "no" }] }).to_string(),
    );
    let missing = bad.with_file_name("missing.json");
    for (file, reason) in [
        (&bad, "definitions.json: queue 'q': there is no vhost 'no'"),
        (&missing, "cannot read the definitions in"),
    ] {
        let config = directory.file("at-start.toml", format!("definitions = '{}'", file.display()));
        let output = Command::new(env!("CARGO_BIN_EXE_leveret"))
            .args(["--listen", "127.0.0.1:0", "--config"])
            .arg(config)
            .arg("--data-dir")
            .arg(directory.data())
            .output()
            .unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(reason), "{said}");
    }
}
