//! What a look at a whole database finds: nothing in a sound one, and each kind of damage.

use std::fs;

use super::*;
use crate::store::sqlite::copy::open_reader;
use crate::store::sqlite::schema;
use crate::store::sqlite::verify::examine;
use crate::store::{
    DelayedEntry, DelayedId, DelayedWay, DelaysRow, HistoryRow, Keeper, LevelRow, MemoryChange,
};

/// Looks at a database, also while a store is at work on it.
pub(super) fn look(directory: &Path) -> Findings {
    let connection = open_reader(&directory.join("leveret.db")).expect("a database");
    examine(&connection).expect("a database that can be read")
}

pub(super) fn assert_sound(directory: &Path) {
    let findings = look(directory);
    assert!(findings.is_sound() && findings.is_current, "{findings:#?}");
}

/// Something of everything: queues 1 and 2 with their own and shared messages, a level, exchange "x" that delays.
pub(super) fn fill(store: &dyn Store) {
    let exchange = ExchangeRow {
        vhost: "/".into(),
        name: "x".into(),
        kind: "fanout".into(),
        auto_delete: false,
        internal: false,
        arguments: FieldTable::default(),
    };
    let binding = BindingRow {
        vhost: "/".into(),
        source: "x".into(),
        destination_kind: DestinationKind::Queue,
        destination: "q1".into(),
        routing_key: Arc::from(&b"key"[..]),
        arguments: FieldTable::default(),
    };
    let level = LevelRow {
        id: QueueId(3),
        queue: QueueId(1),
        priority: 4,
    };
    let delays = DelaysRow {
        id: QueueId(4),
        vhost: "/".into(),
        exchange: "x".into(),
    };
    let remembered = MemoryChange::RecordHistory(HistoryRow {
        keeper: Arc::new(Keeper {
            vhost: "/".into(),
            kind: DestinationKind::Exchange,
            name: "x".into(),
        }),
        place: 7,
        message: message(PERSISTENT, b"remembered"),
    });
    commit(
        store,
        [
            Operation::DeclareExchange(exchange),
            Operation::DeclareQueue(queue_row(1)),
            Operation::DeclareQueue(queue_row(2)),
            Operation::DeclareLevel(level),
            Operation::Bind(binding),
            Operation::DeclareDelays(delays),
            Operation::Remember(remembered),
        ],
    );
    fill_messages(store);
}

fn fill_messages(store: &dyn Store) {
    let delayed = |position| DelayedEntry {
        id: DelayedId {
            due: at(1_000_000),
            position: Position(position),
        },
        message: message(PERSISTENT, b"later"),
        way: DelayedWay::Exchange(vec![b"copy".to_vec()]),
    };
    let shared = message(PERSISTENT, &[b's'; 500]);
    let fan = [1, 2].map(|queue| Operation::Publish {
        queue: QueueId(queue),
        messages: vec![entry(10, shared.clone())],
    });
    let expiring = PublishEntry {
        expires_at: Some(at(5_000_000)),
        ..entry(11, message(PERSISTENT, b"expires"))
    };
    let transient = entry(12, message(TRANSIENT, b"gone with this run"));
    let special = Operation::Publish {
        queue: QueueId(1),
        messages: vec![expiring, transient],
    };
    commit(store, [publish(1, 0..5), publish(3, 0..2)].into_iter().chain(fan));
    commit(store, [special, settle(1, [1, 3])]);
    commit(
        store,
        [1, 2, 3].map(|position| Operation::Delay {
            delays: QueueId(4),
            entry: delayed(position),
        }),
    );
}

#[test]
fn a_sound_directory_is_counted_and_not_changed() {
    let directory = directory();
    let (store, _) = open(directory.path());
    fill(&store);
    let error = verify(directory.path()).expect_err("it is in use");
    assert!(error.to_string().contains("another process uses"), "{error}");
    // As after a crash: the log is still to be taken over.
    let copy = crashed_copy(directory.path());
    let files =
        || ["leveret.db", "leveret.db-wal"].map(|name| fs::read(copy.path().join(name)).expect("a file"));
    let before = files();
    let findings = verify(copy.path()).expect("a database");
    assert_eq!(
        findings,
        Findings {
            schema: schema::MIGRATIONS.len(),
            is_current: true,
            exchanges: 1,
            queues: 2,
            bindings: 1,
            messages: 3 + 2 + 2 + 1,
            body_bytes: 5 * 6 + 2 * 500 + 7,
            delayed: 3,
            ..Findings::default()
        }
    );
    assert!(files() == before, "a look changed the files");
}

/// What is done to the rows that [`fill`] made, and a part of what is found; nothing where there is nothing to find.
const DAMAGE: &[(&str, &str)] = &[
    (
        "UPDATE summary SET messages = 9 WHERE queue = 1",
        "queue 1 holds 5 messages of 525 bytes; noted are 9",
    ),
    ("UPDATE summary SET next = 3 WHERE queue = 3", ""),
    (
        "UPDATE summary SET next = 2 WHERE queue = 1",
        "queue 1 would use place 2 again",
    ),
    ("DELETE FROM summary WHERE queue = 2", "queue 2 has no sums"),
    ("DELETE FROM shared", "the row of its bytes is missing"),
    (
        "UPDATE shared SET data = substr(data, 1, 100)",
        "its bytes are missing",
    ),
    (
        "UPDATE sharer SET segments = 1",
        "2 segments need shared row 1; noted are 1",
    ),
    (
        "UPDATE segment SET records = x'00' WHERE id = 1 << 39",
        "its records do not parse",
    ),
    (
        "UPDATE segment SET data = x'' WHERE id = 1 << 39",
        "its bytes are missing",
    ),
    (
        "UPDATE segment SET data = zeroblob(length(data)) WHERE id = 1 << 39",
        "message 0 of queue 1 is damaged",
    ),
    (
        "UPDATE segment SET id = id - 9 WHERE id = (1 << 39) + 11",
        "overlaps",
    ),
    ("UPDATE segment SET expires = NULL", "index of expiry"),
    ("UPDATE segment SET epoch = 99", "of a run that has not been"),
    (
        "UPDATE settled SET bits = x'ffff'",
        "more messages are settled than there are",
    ),
    (
        "DELETE FROM queue WHERE id = 2",
        "messages of queue 2, which is not there",
    ),
    (
        "DELETE FROM queue WHERE id = 1",
        "level 3 is of a queue that is not there",
    ),
    (
        "DELETE FROM exchange",
        "from \"x\" to \"q1\" in vhost \"/\" has lost an end",
    ),
    (
        "DELETE FROM exchange",
        "exchange \"x\" delays messages and is not there",
    ),
    ("UPDATE queue SET arguments = x'01'", "its arguments do not parse"),
    ("UPDATE queue SET name = 'q1'", "two queues have one name"),
    (
        "UPDATE meta SET value = 4 WHERE name = 'next_queue'",
        "the next queue would be number 4",
    ),
    ("UPDATE level SET id = 2", "two queues have one number"),
    (
        "DELETE FROM delayed WHERE due = 1000000 AND id = (4 << 39) + 2",
        "delays 2 messages of 10 bytes; noted are 3",
    ),
    ("UPDATE delayed SET message = x''", "delayed message 1 is damaged"),
    (
        "UPDATE delayed SET copies = x'09'",
        "its routing keys do not parse",
    ),
    (
        "UPDATE history SET message = x''",
        "in the history of exchange 'x' is damaged",
    ),
    ("DROP TABLE known_key", "no such table: known_key"),
];

/// The file of a sound database that has something of everything.
fn whole() -> Vec<u8> {
    let directory = directory();
    let (store, _) = open(directory.path());
    fill(&store);
    drop(store);
    fs::read(directory.path().join("leveret.db")).expect("a file")
}

#[test]
fn each_kind_of_damage_is_found_and_named() {
    let whole = whole();
    for (sql, expected) in DAMAGE {
        let copy = directory();
        let path = copy.path().join("leveret.db");
        fs::write(&path, &whole).expect("a copy");
        Connection::open(&path)
            .and_then(|connection| connection.execute_batch(sql))
            .expect(sql);
        let findings = verify(copy.path()).expect("a database");
        let found = findings.problems.join("\n");
        assert!(found.contains(expected), "{sql}: {found}");
        assert_eq!(findings.is_sound(), expected.is_empty(), "{sql}: {found}");
    }
}

#[test]
fn a_header_that_forbids_to_write_is_found() {
    let mut changed = whole();
    changed[18] ^= 0x80;
    let copy = directory();
    fs::write(copy.path().join("leveret.db"), changed).expect("a copy");
    let findings = verify(copy.path()).expect("a database");
    assert_eq!(
        findings.problems,
        ["SQLite: the header says that the file must not be written"]
    );
}

/// Only what is used is protected: a byte of a free page may be anything.
#[test]
fn flipped_bytes_never_end_the_look() {
    let whole = whole();
    let mut found = 0;
    for at in (100..whole.len()).step_by(211) {
        let copy = directory();
        let mut flipped = whole.clone();
        flipped[at] ^= 0xff;
        fs::write(copy.path().join("leveret.db"), flipped).expect("a copy");
        found += usize::from(verify(copy.path()).is_ok_and(|findings| !findings.is_sound()));
    }
    assert!(found > 0, "no flipped byte was found");
}

#[test]
fn of_an_older_schema_only_the_pages_are_looked_at() {
    let directory = directory();
    let mut connection = Connection::open(directory.path().join("leveret.db")).expect("a database");
    schema::run(&mut connection, &schema::MIGRATIONS[..2]).expect("the second version");
    drop(connection);
    let findings = verify(directory.path()).expect("a database");
    assert_eq!((findings.schema, findings.is_current), (2, false));
    assert!(findings.is_sound());
}

#[test]
fn there_has_to_be_something_to_look_at() {
    let directory = directory();
    let refusal = || verify(directory.path()).expect_err("a refusal").to_string();
    assert!(refusal().contains("nothing is stored there"));
    assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0);
    let path = directory.path().join("leveret.db");
    fs::write(&path, b"").expect("a file");
    assert!(refusal().contains("it is empty"));
    fs::write(&path, [b'x'; 4096]).expect("a file");
    assert!(refusal().contains("not a database"));
}

#[test]
fn many_problems_are_counted() {
    let directory = directory();
    let (store, _) = open(directory.path());
    commit(&store, (1..=80).map(|id| Operation::DeclareQueue(queue_row(id))));
    drop(store);
    Connection::open(directory.path().join("leveret.db"))
        .and_then(|connection| connection.execute("DELETE FROM summary", []))
        .expect("rows");
    let findings = verify(directory.path()).expect("a database");
    assert_eq!((findings.problems.len(), findings.further_problems), (50, 30));
}
