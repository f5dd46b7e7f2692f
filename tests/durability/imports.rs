//! Definitions that are imported while the broker is down, by a process that is killed as well.

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::client::Client;
use crate::support::{TestServer, leveret};

/// Which imports are there; each is whole or not at all.
#[derive(Debug, Default)]
pub struct Imports {
    there: Vec<bool>,
    pub killed: u32,
}

impl Imports {
    /// In one of two rounds: imports the next file, perhaps not to the end, and looks whether it is whole.
    pub fn change(&mut self, server: &TestServer, random: &mut StdRng) {
        if random.random() {
            return;
        }
        let number = self.there.len();
        let file = server.config().with_file_name("definitions.json");
        fs::write(&file, definitions(number).to_string()).unwrap();
        let mut import = Command::new(env!("CARGO_BIN_EXE_leveret"))
            .args(["definitions", "import"])
            .arg(&file)
            .arg("--data-dir")
            .arg(server.directory())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let is_killed = random.random();
        if is_killed {
            thread::park_timeout(Duration::from_micros(random.random_range(0..100_000)));
            import.kill().unwrap();
        }
        let is_done = import.wait().unwrap().success();
        assert!(is_done || is_killed, "the import failed");
        self.killed += u32::from(!is_done);
        self.there.push(is_done);
        let export = leveret(server.directory(), &["definitions", "export"]).unwrap();
        let export: Value = serde_json::from_str(&export).unwrap();
        for (number, was_there) in self.there.iter_mut().enumerate() {
            let name = format!("import-{number}");
            let found = [
                "users",
                "permissions",
                "policies",
                "exchanges",
                "queues",
                "bindings",
            ]
            .map(|kind| has(&export[kind], &name));
            let is_there = found == [true; 6];
            assert!(is_there || found == [false; 6], "half of {name}: {found:?}");
            assert!(is_there || !*was_there, "{name} is gone");
            *was_there = is_there;
        }
    }

    /// What is served is what was imported.
    pub fn check(&self, address: SocketAddr) {
        for (number, is_there) in self.there.iter().enumerate() {
            let name = format!("import-{number}");
            let connect = || Client::connect(address).unwrap();
            assert_eq!(connect().ready(&name).is_ok(), *is_there, "{name}");
            assert_eq!(connect().has_exchange(&name).is_ok(), *is_there, "{name}");
        }
    }
}

/// Whether one of the things has this name in any of its fields.
fn has(things: &Value, name: &str) -> bool {
    let things = things.as_array().expect("a list");
    things.iter().any(|thing| {
        let fields = thing.as_object().expect("an object");
        fields.values().any(|value| value == name)
    })
}

/// One of each kind, with this number in its name.
fn definitions(number: usize) -> Value {
    let name = format!("import-{number}");
    json!({
        "users": [
            { "name": "guest", "password_hash": "j9BChIOM6J01WYAQhP6n1tqNSFyqcYqqKgHPk1e/BaUarOlO",
              "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": "administrator" },
            { "name": name, "password_hash": "", "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": "" },
        ],
        "permissions": [
            { "user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*" },
            { "user": name, "vhost": "/", "configure": "", "write": "", "read": "" },
        ],
        "policies": [{
            "vhost": "/", "name": name, "pattern": format!("^{name}$"), "apply-to": "queues",
            "definition": { "max-length": 10 }, "priority": 1,
        }],
        "exchanges": [{
            "name": name, "vhost": "/", "type": "topic", "durable": true, "auto_delete": false,
            "internal": false, "arguments": {},
        }],
        "queues": [{ "name": name, "vhost": "/", "durable": true, "auto_delete": false, "arguments": {} }],
        "bindings": [{
            "source": name, "vhost": "/", "destination": name, "destination_type": "queue",
            "routing_key": "#", "arguments": {},
        }],
    })
}
