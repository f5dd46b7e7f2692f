//! From the file, the environment and the flags to one checked [`Config`].
//!
//! Each source is laid over the one before as a table, and the result is decoded once. Where a value came from is
//! remembered, so that a problem names the line, the variable or the flag.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use crate::config::key_path::{KeyPath, line_at};
use crate::config::{Config, ConfigError, Problem, Written};

/// Where the configuration comes from; later fields win over earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, if there is one. It must be readable.
    pub file: Option<PathBuf>,
    /// Environment variables; those that do not concern the configuration are left alone.
    pub environment: Vec<(OsString, OsString)>,
    /// Flags of the command line, in their order.
    pub flags: Vec<Override>,
}

impl Sources {
    /// The environment of this process, and in the absence of a file the default one if it exists.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<Override>) -> Self {
        let default_file = Path::new(DEFAULT_FILE);
        let file = file.or_else(|| default_file.exists().then(|| default_file.to_owned()));
        Self {
            file,
            environment: env::vars_os().collect(),
            flags,
        }
    }
}

/// A value given by a flag.
#[derive(Clone, Debug)]
pub struct Override {
    flag: String,
    keys: Vec<String>,
    value: Value,
}

impl Override {
    /// `key` has dots between tables; `flag` is named in errors.
    pub fn new(flag: &str, key: &str, value: impl Into<Value>) -> Self {
        Self {
            flag: flag.to_owned(),
            keys: key.split('.').map(str::to_owned).collect(),
            value: value.into(),
        }
    }

    /// The value is read as TOML if it is that, else as a string.
    pub fn parse(flag: &str, key: &str, text: &str) -> Self {
        let mut parsed = Self::new(flag, key, text);
        parsed.value = read_value(&parsed.keys, text);
        parsed
    }
}

/// Read when no other file is given.
const DEFAULT_FILE: &str = "config/leveret.toml";
const PREFIX: &str = "LEVERET_";

pub(super) fn load(sources: &Sources) -> Result<Config, ConfigError> {
    let mut overlay = Overlay::default();
    if let Some(path) = &sources.file {
        overlay.read_file(path);
    }
    let mut environment: Vec<_> = sources.environment.iter().collect();
    environment.sort();
    for (name, value) in environment {
        overlay.read_variable(name, value);
    }
    for flag in &sources.flags {
        overlay.set(flag.flag.clone(), &flag.keys, flag.value.clone());
    }
    overlay.finish()
}

/// The sources read so far.
#[derive(Default)]
struct Overlay {
    table: Table,
    /// The file's name and text, for line numbers.
    file: Option<(String, String)>,
    /// What did not come from the file; the last entry of a key counts.
    origins: Vec<(KeyPath, String)>,
    problems: Vec<Problem>,
}

impl Overlay {
    fn read_file(&mut self, path: &Path) {
        let name = path.display().to_string();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return self.problem(name, format!("cannot read the file: {error}")),
        };
        match toml::from_str(&text) {
            Ok(table) => self.table = table,
            Err(error) => {
                let line = error.span().map_or(1, |span| line_at(&text, span.start));
                self.problem(format!("{name}:{line}"), one_line(error.message()));
            }
        }
        self.file = Some((name, text));
    }

    /// `LEVERET_AMQP__HEARTBEAT=30s`. A name without `__` is somebody else's unless it looks like a slip of ours:
    /// containers get variables such as `LEVERET_PORT` from their surroundings.
    fn read_variable(&mut self, name: &OsString, value: &OsString) {
        let name = name.to_string_lossy().into_owned();
        let Some(path) = name.strip_prefix(PREFIX).map(str::to_ascii_lowercase) else {
            return;
        };
        let sections = sections();
        let keys: Vec<String> = path.split("__").map(str::to_owned).collect();
        if sections.contains_key(&keys[0]) {
            match value.to_str() {
                Some(value) => self.set(name, &keys, read_value(&keys, value)),
                None => self.problem(name, String::from("is not UTF-8")),
            }
        } else if keys.len() > 1 {
            let known: Vec<_> = sections.keys().map(String::as_str).collect();
            let reason = format!(
                "names no section: write {PREFIX}SECTION__KEY, where the section is one of {}",
                known.join(", ")
            );
            self.problem(name, reason);
        } else if let Some((section, key)) = meant(&sections, &path) {
            let meant = format!("{PREFIX}{section}__{key}").to_ascii_uppercase();
            self.problem(name, format!("has one underscore too few: write {meant}"));
        }
    }

    fn set(&mut self, origin: String, keys: &[String], value: Value) {
        if let Value::Table(nested) = nest(keys, value) {
            merge(&mut self.table, nested);
        }
        self.origins.push((KeyPath::new(keys), origin));
    }

    fn problem(&mut self, origin: String, reason: String) {
        self.problems.push(Problem {
            origin,
            key: String::new(),
            reason,
        });
    }

    fn finish(mut self) -> Result<Config, ConfigError> {
        let (mut config, found) = decode(self.table.clone());
        config.written = Written {
            vhosts: self.table.contains_key("vhosts"),
            users: self.table.contains_key("users"),
        };
        let found = if found.is_empty() && self.problems.is_empty() {
            config.check()
        } else {
            found
        };
        for (key, reason) in found {
            let origin = self.origin_of(&key);
            self.problems.push(Problem {
                origin,
                key: key.to_string(),
                reason,
            });
        }
        if self.problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError {
                problems: self.problems,
            })
        }
    }

    fn origin_of(&self, key: &KeyPath) -> String {
        let concerns = |path: &KeyPath| key.starts_with(path) || path.starts_with(key);
        if let Some((_, origin)) = self.origins.iter().rev().find(|(path, _)| concerns(path)) {
            return origin.clone();
        }
        match &self.file {
            Some((name, text)) => match key.line_in(text) {
                Some(line) => format!("{name}:{line}"),
                None => name.clone(),
            },
            None => String::from("built-in defaults"),
        }
    }
}

/// Decodes, and goes on without the value in question when there is a problem, so that all are found.
fn decode(mut table: Table) -> (Config, Vec<(KeyPath, String)>) {
    let mut found: Vec<(KeyPath, String)> = Vec::new();
    loop {
        let error = match serde_path_to_error::deserialize(Value::Table(table.clone())) {
            Ok(config) => return (config, found),
            Err(error) => error,
        };
        let key = KeyPath::from(error.path());
        let reason = plain_words(error.inner().message());
        // Taking a bad value out may leave its table incomplete; that is not the operator's doing.
        let follows = found
            .iter()
            .any(|(earlier, _)| earlier != &key && earlier.starts_with(&key));
        let is_removed = key.remove_from(&mut table);
        if !(follows && reason.starts_with("missing key")) {
            found.push((key, reason));
        }
        if !is_removed {
            return (Config::default(), found);
        }
    }
}

/// What the text means as a TOML value, and itself when it means nothing or is not what the key wants:
/// `identity.version` may be set to 4.1, which is a float to TOML.
fn read_value(keys: &[String], text: &str) -> Value {
    let string = Value::String(text.to_owned());
    let parsed = toml::from_str::<Table>(&format!("value = {text}")).ok();
    let value = parsed
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"));
    let is_fitting = |value: &Value| Config::deserialize(nest(keys, value.clone())).is_ok();
    match value {
        Some(value) if is_fitting(&value) || !is_fitting(&string) => value,
        _ => string,
    }
}

/// The value inside its tables.
fn nest(keys: &[String], value: Value) -> Value {
    keys.iter().rev().fold(value, |value, key| {
        Value::Table(Table::from_iter([(key.clone(), value)]))
    })
}

fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(over)) => merge(base, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// The sections with their keys, as the defaults have them.
fn sections() -> Table {
    match Value::try_from(Config::default()).expect("the defaults can be written as TOML") {
        Value::Table(table) => table,
        _ => Table::new(),
    }
}

/// The section and key whose names, with one underscore between them, are `path`.
fn meant<'s>(sections: &'s Table, path: &'s str) -> Option<(&'s str, &'s str)> {
    sections.iter().find_map(|(section, keys)| {
        let key = path.strip_prefix(section.as_str())?.strip_prefix('_')?;
        keys.as_table()?
            .contains_key(key)
            .then_some((section.as_str(), key))
    })
}

/// The decoder's message in the words of the file's reader.
fn plain_words(message: &str) -> String {
    const WORDS: [(&str, &str); 6] = [
        ("unknown field", "unknown key"),
        ("missing field", "missing key"),
        ("invalid type: map", "invalid type: table"),
        ("expected a sequence", "expected a list"),
        ("expected u16", "expected a number from 0 to 65535"),
        ("expected u32", "expected a number from 0 to 4294967295"),
    ];
    WORDS.iter().fold(one_line(message), |text, (theirs, ours)| {
        text.replace(theirs, ours)
    })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
