//! A data directory and what the command does with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A data directory of the test's own, with a place for files beside it.
pub struct Directory {
    temporary: TempDir,
}

impl Directory {
    /// With a user whose password is hashed with the same salt each time.
    pub fn new() -> Self {
        Self::with_config(&format!("[[users]]\nname = 'fixed'\npassword_hash = '{HASH}'"))
    }

    pub fn with_config(config: &str) -> Self {
        let temporary = TempDir::new().unwrap();
        fs::write(temporary.path().join("leveret.toml"), config).unwrap();
        Self { temporary }
    }

    pub fn data(&self) -> PathBuf {
        self.temporary.path().join("data")
    }

    /// A file beside the data.
    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.temporary.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// `leveret definitions …` on this directory.
    pub fn definitions(&self, arguments: &[&str]) -> Output {
        on(
            &self.data(),
            &self.temporary.path().join("leveret.toml"),
            arguments,
        )
    }

    pub fn import(&self, definitions: &Value) -> Output {
        let file = self.file("definitions.json", definitions.to_string());
        self.definitions(&["import", file.to_str().unwrap()])
    }

    /// Why an import is refused, without the file's name.
    pub fn refusal(&self, definitions: &Value) -> String {
        let output = self.import(definitions);
        assert!(!output.status.success(), "{definitions} is imported");
        let text = stderr(&output);
        let (_, reason) = text.split_once("definitions.json: ").expect(&text);
        reason.trim_end().to_owned()
    }

    pub fn export(&self) -> Value {
        let output = self.definitions(&["export"]);
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// `leveret definitions …` on any data directory.
pub fn on(data: &Path, config: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leveret"))
        .arg("definitions")
        .args(arguments)
        .arg("--config")
        .arg(config)
        .arg("--data-dir")
        .arg(data)
        .output()
        .unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Of the password "test12", from RabbitMQ's guide.
const HASH: &str = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR";

/// What RabbitMQ 3.10 exported of a whole broker.
pub const RABBITMQ: &str = include_str!("rabbitmq-3.10.json");

/// What it exported of one virtual host of that broker.
pub const RABBITMQ_VHOST: &str = include_str!("rabbitmq-3.10-vhost.json");

/// The names in a list of a file.
pub fn names(definitions: &Value, list: &str) -> Vec<String> {
    let entries = definitions[list].as_array().unwrap().iter();
    entries
        .map(|entry| entry["name"].as_str().unwrap().to_owned())
        .collect()
}

/// A queue as files have it.
pub fn queue(name: &str) -> Value {
    json!({ "name": name, "vhost": "/", "durable": true, "auto_delete": false, "arguments": {} })
}

/// An exchange as files have it.
pub fn exchange(name: &str) -> Value {
    json!({
        "name": name, "vhost": "/", "type": "fanout", "durable": true, "auto_delete": false, "internal": false,
        "arguments": {},
    })
}
