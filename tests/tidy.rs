//! The shape of the source: who may import whom, how long things may get, what must not be written.
//!
//! Plain scanning of text, on the ground that the source is formatted. A rule that stands in the way is changed here,
//! in the commit that needs it, with the reason. The last test shows each rule what it exists to catch.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "tidy/source.rs"]
mod source;

use std::path::Path;

use crate::source::{Source, collect};

/// Each module at the top and the modules it may name. They stand in layers: what is named stands further up.
const IMPORTS: &[(&str, &str)] = &[
    ("lib", ""),
    ("amqp", ""),
    ("clock", ""),
    ("message", "amqp"),
    ("store", "message clock amqp"),
    ("broker", "store message clock amqp"),
    ("config", "broker"),
    ("definitions", "broker store amqp"),
    ("connection", "broker store message clock amqp"),
    ("net", "connection broker store message clock amqp"),
    ("resources", "config broker"),
    ("password_checker", "broker"),
    (
        "server",
        "config definitions resources password_checker net connection broker store message clock amqp",
    ),
    ("bench", "amqp"),
    ("cli", "config bench"),
    ("logging", "config"),
    ("main", "cli logging config server bench broker"),
];

/// Inside the broker: these return what they want done and name others by id; they do it to nobody.
const BROKER_CORES: &[&str] = &["src/broker/queue/", "src/broker/exchange/"];
const HIDDEN_FROM_CORES: &[&str] = &["crate::broker::vhost", "crate::broker::outbox", "crate::store"];
/// Plain numbers, which a queue may know of the store.
const STORE_IDS: &[&str] = &[
    "crate::store::QueueId",
    "crate::store::Position",
    "crate::store::PageEntry",
    "crate::store::PublishEntry",
    "crate::store::ExpiringStretch",
];

/// A word and the modules that may use it.
const WORDS: &[(&str, &str)] = &[
    ("tokio", "net server bench main"),
    ("rusqlite", "store"),
    ("rustls", "net"),
    ("env::var", "config"),
    ("Instant::now", "net server bench store"),
    ("SystemTime::now", "net server bench store"),
];

const FILE_LINES_MAX: usize = 400;
/// Longer files, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];
const FUNCTION_LINES_MAX: usize = 70;

const UNFINISHED: &[&str] = &["TODO", "FIXME", "XXX", "todo!", "unimplemented!"];
const NOT_IN_TESTS: &[&str] = &[
    "#[ignore",
    "#[should_panic",
    "thread::sleep",
    "time::sleep",
    "time.sleep(",
    "sleep_until",
];
/// Tests that must let time pass, each with its reason.
const PAUSES: &[(&str, &str)] = &[
    (
        "interop/orders/inventory/inventory.py",
        "a service waits between attempts to connect",
    ),
    (
        "interop/orders/processes.py",
        "between two looks at a condition with a deadline",
    ),
    (
        "interop/python/with_py_amqp/test_endurance.py",
        "the idle pause is the subject",
    ),
    ("interop/celery/test_loss.py", "the idle pause is the subject"),
];

fn imports(source: &Source) -> Vec<String> {
    if !source.is_product() {
        return Vec::new();
    }
    let own = source.module();
    let Some(position) = IMPORTS.iter().position(|(module, _)| *module == own) else {
        return vec![format!("module {own} is not in the table of imports")];
    };
    let allowed: Vec<_> = IMPORTS[position].1.split_whitespace().collect();
    let is_above = |name: &&str| IMPORTS[..position].iter().any(|(module, _)| module == name);
    assert!(
        allowed.iter().all(is_above),
        "the table of imports lets {own} import upwards"
    );
    let names = source.names();
    let tops = names.iter().filter_map(|name| name.split("::").nth(1));
    let modules = tops.filter(|top| IMPORTS.iter().any(|(module, _)| module == top));
    modules
        .filter(|top| *top != own && !allowed.contains(top))
        .map(|top| format!("{own} names {top}"))
        .collect()
}

fn broker_cores(source: &Source) -> Vec<String> {
    if !BROKER_CORES.iter().any(|core| source.path.starts_with(core)) {
        return Vec::new();
    }
    let is_of = |name: &str, of: &str| {
        name.strip_prefix(of)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let is_hidden = |name: &&String| {
        HIDDEN_FROM_CORES.iter().any(|hidden| is_of(name, hidden))
            && !STORE_IDS.iter().any(|id| is_of(name, id))
    };
    source
        .names()
        .iter()
        .filter(is_hidden)
        .map(|name| format!("names {name}"))
        .collect()
}

fn words(source: &Source) -> Vec<String> {
    let code = source.code();
    let is_out_of_place = |(word, modules): &&(&str, &str)| {
        code.contains(word) && modules.split_whitespace().all(|module| module != source.module())
    };
    WORDS
        .iter()
        .filter(is_out_of_place)
        .map(|(word, modules)| format!("{word} is for {modules}"))
        .collect()
}

fn file_sizes(source: &Source) -> Vec<String> {
    let lines = source.product().len();
    let is_listed = LONG_FILES.iter().any(|(path, _)| *path == source.path);
    match (lines > FILE_LINES_MAX, is_listed) {
        (true, false) => vec![format!("has {lines} lines; at most {FILE_LINES_MAX}")],
        (false, true) => vec![String::from("is no longer long: take it off the list")],
        _ => Vec::new(),
    }
}

fn function_sizes(source: &Source) -> Vec<String> {
    let lines: Vec<_> = source.text.lines().collect();
    let mut complaints = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let words = line.split_whitespace();
        let mut modifiers = words.take_while(|word| *word != "fn");
        let is_function = line.split_whitespace().any(|word| word == "fn")
            && modifiers.all(|word| ["const", "async"].contains(&word) || word.starts_with("pub"));
        let opening = lines[start..].iter().find(|line| line.ends_with(['{', ';', '}']));
        if !is_function || !opening.is_some_and(|line| line.ends_with('{')) {
            continue;
        }
        let indent = &line[..line.len() - line.trim_start().len()];
        let closing = format!("{indent}}}");
        let length = lines[start..]
            .iter()
            .position(|line| *line == closing)
            .map_or(usize::MAX, |end| end + 1);
        if length > FUNCTION_LINES_MAX {
            complaints.push(format!(
                "line {}: {length} lines; at most {FUNCTION_LINES_MAX}",
                start + 1
            ));
        }
    }
    complaints
}

fn unfinished(source: &Source) -> Vec<String> {
    let found = UNFINISHED.iter().filter(|word| source.text.contains(**word));
    found.map(|word| format!("contains {word}")).collect()
}

fn pauses(source: &Source) -> Vec<String> {
    if PAUSES.iter().any(|(path, _)| *path == source.path) {
        return Vec::new();
    }
    let words = |line: &str| NOT_IN_TESTS.iter().find(|word| line.contains(**word));
    source
        .tests()
        .filter_map(words)
        .map(|word| format!("a test has {word}"))
        .collect()
}

fn head_comments(source: &Source) -> Vec<String> {
    let lines = source
        .text
        .lines()
        .take_while(|line| line.starts_with("//!"))
        .count();
    let is_good = (1..=10).contains(&lines);
    if is_good {
        Vec::new()
    } else {
        vec![String::from("must begin with one to ten lines of //!")]
    }
}

type Check = fn(&Source) -> Vec<String>;

/// Lets a check see every file below the folders.
fn examine(folders: &[&str], check: Check) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for folder in folders {
        collect(root, &root.join(folder), &mut sources);
    }
    assert!(!sources.is_empty(), "nothing found in {folders:?}");
    let complain = |source: &Source| -> Vec<String> {
        check(source)
            .iter()
            .map(|complaint| format!("{}: {complaint}", source.path))
            .collect()
    };
    let complaints: Vec<_> = sources.iter().flat_map(complain).collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn modules_import_downwards_only() {
    examine(&["src"], imports);
}

#[test]
fn queues_and_exchanges_see_neither_vhost_nor_store_nor_outbox() {
    examine(&["src"], broker_cores);
}

#[test]
fn runtime_database_environment_and_clock_stay_in_their_modules() {
    examine(&["src"], words);
}

#[test]
fn files_are_not_long() {
    examine(&["src"], file_sizes);
}

#[test]
fn functions_are_not_long() {
    examine(&["src", "tests"], function_sizes);
}

#[test]
fn nothing_is_left_for_later() {
    examine(&["src", "tests", "interop"], unfinished);
}

#[test]
fn no_test_sleeps_or_is_switched_off() {
    examine(&["src", "tests", "interop"], pauses);
}

#[test]
fn every_file_says_what_it_is() {
    examine(&["src", "tests"], head_comments);
}

/// Rule, file, text, and a part of the complaint; nothing where there must be none.
const EXAMPLES: &str = r#"
imports | src/amqp/frame.rs | use crate::message::Message; | amqp names message
imports | src/broker/mod.rs | use crate::{amqp, net::driver}; | broker names net
imports | src/net/mod.rs | use crate::{amqp::{a, b::{c}}, config::Amqp}; | net names config
imports | src/store/sqlite/mod.rs | super::super::broker::f(); | store names broker
imports | src/cli.rs | use leveret::server; | cli names server
imports | src/new.rs | | module new is not in the table
imports | src/broker/mod.rs | /// [`crate::net`]\nuse crate::{store::{Store, StoreError}, amqp}; |
imports | src/store/mod.rs | #[cfg(test)]\nmod tests {\n    use crate::broker::Broker;\n} |
cores | src/broker/queue/ready.rs | use crate::store::{Position, Store}; | crate::store::Store
cores | src/broker/exchange/topic.rs | use super::super::vhost::Vhost; | crate::broker::vhost::Vhost
cores | src/broker/queue/mod.rs | use super::outbox; | crate::broker::outbox
cores | src/broker/queue/mod.rs | use crate::store::{Position, QueueId};\nuse super::limits; |
words | src/connection/mod.rs | use tokio::net; | tokio is for
words | src/broker/mod.rs | let now = Instant::now(); | Instant::now is for
words | src/server.rs | use rusqlite::Connection; | rusqlite is for
words | src/server.rs | std::env::var("X") | env::var is for
file_sizes | src/amqp/mod.rs | LINES 401 | has 401 lines
file_sizes | src/amqp/mod.rs | LINES 400 |
file_sizes | src/amqp/mod.rs | LINES 300\n#[cfg(test)]\nmod tests {LINES 300} |
function_sizes | src/amqp/mod.rs |     pub(crate) fn f(\n        a: u8,\n    ) {LINES 68    } | 71 lines
function_sizes | src/amqp/mod.rs |     pub(crate) fn f(\n        a: u8,\n    ) {LINES 67    } |
unfinished | tests/wire.rs | // TODO: more | contains TODO
pauses | src/a.rs | #[cfg(test)]\nmod tests {\n#[ignore] | #[ignore
pauses | src/a/tests.rs | tokio::time::sleep(s) | time::sleep
pauses | interop/python/test_x.py | time.sleep(1) | time.sleep(
pauses | tests/x.rs | #[should_panic(expected = "x")] | #[should_panic
pauses | src/net/mod.rs | time::sleep(delay).await; |
head_comments | src/a.rs | use std::fs; | must begin
head_comments | src/a.rs | //! What it is. |
"#;

#[test]
fn every_rule_catches_what_it_exists_for() {
    let rules: [(&str, Check); 8] = [
        ("imports", imports),
        ("cores", broker_cores),
        ("words", words),
        ("file_sizes", file_sizes),
        ("function_sizes", function_sizes),
        ("unfinished", unfinished),
        ("pauses", pauses),
        ("head_comments", head_comments),
    ];
    for example in EXAMPLES.trim().lines() {
        let [name, path, text, complaint] = example.split(" |").collect::<Vec<_>>()[..] else {
            panic!("not four parts: {example}");
        };
        let mut text = text.strip_prefix(' ').unwrap_or(text).replace("\\n", "\n");
        for count in [67, 68, 300, 400, 401] {
            text = text.replace(&format!("LINES {count}"), &"\n".repeat(count));
        }
        let (_, rule) = rules.iter().find(|(rule, _)| *rule == name).unwrap();
        let complaints = rule(&Source::new(path.trim(), &text)).join("; ");
        let complaint = complaint.trim();
        let is_caught = complaints.contains(complaint) && complaints.is_empty() == complaint.is_empty();
        assert!(is_caught, "{example}\ngave {complaints:?}");
    }
}
