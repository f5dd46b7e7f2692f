//! Files of earlier versions, and files whose sums are wrong.

use rusqlite::params;

use super::*;
use crate::store::sqlite::schema;

#[test]
fn a_file_of_the_first_version_is_read_and_written_on() {
    let directory = directory();
    let mut connection = Connection::open(directory.path().join("leveret.db")).expect("a database");
    schema::run(&mut connection, &schema::MIGRATIONS[..1]).expect("the first version");
    // Four equal messages from 10 on, the second settled, the third returned; the first two were handed out.
    let (first, third) = ((1_i64 << 39) + 10, (1_i64 << 39) + 12);
    let data = message(PERSISTENT, b"hi").encoded().repeat(4);
    let records: [u8; 4] = [0, 4, 22 << 2 | 1, 2];
    let rows = |connection: &Connection| {
        connection.execute_batch(
            "UPDATE meta SET value = 2 WHERE name = 'next_queue';
             INSERT INTO queue VALUES (1, '/', 'q1', 1, 0, x'');
             INSERT INTO summary VALUES (1, 3, 6, 14, 12, 0)",
        )?;
        let sql = "INSERT INTO segment VALUES (?1, 1, ?2, ?3)";
        connection.execute(sql, params![first, records, data])?;
        connection.execute("INSERT INTO settled VALUES (?1, x'02')", [first])?;
        connection.execute("INSERT INTO returned VALUES (?1, 3)", [third])
    };
    rows(&connection).expect("rows");
    drop(connection);

    let (store, recovered) = open(directory.path());
    assert_eq!((recovered.next_queue, recovered.queues.len()), (2, 1));
    assert_eq!(recovered.queues[0].row, queue_row(1));
    let level = &recovered.queues[0].levels[0];
    assert_eq!((level.messages, level.body_bytes), (3, 6));
    assert_eq!((level.first, level.next), (Position(10), Position(14)));
    assert!(level.expiring.is_empty());
    let late = PublishEntry {
        expires_at: Some(at(9)),
        ..entry(14, message(PERSISTENT, b"new"))
    };
    let publish = Operation::Publish {
        queue: QueueId(1),
        messages: vec![late],
    };
    commit(&store, [publish]);
    let page = load(&store, 1, 0, 20, 20);
    let found: Vec<_> = page
        .entries
        .iter()
        .map(|entry| {
            (
                entry.position.0,
                entry.delivery_count,
                entry.redelivered,
                entry.rests_until,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (10, 0, true, None),
            (12, 3, true, None),
            (13, 0, false, None),
            (14, 0, false, None)
        ]
    );
    assert!(page.entries.iter().all(|entry| entry.is_persistent));
    assert_eq!(page.entries[0].message.body(), b"hi");
    assert_eq!(positions(&load_expired(&store, 1, 0, 20, 9)), [14]);
    commit(&store, [settle(1, [10, 12, 13, 14])]);
    for table in ["segment", "settled", "returned"] {
        assert_eq!(count(directory.path(), table), 0, "{table}");
    }
}

/// What a file's schema is, as text.
fn schema_of(connection: &Connection) -> Vec<String> {
    let sql = "SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY name";
    let schema = connection
        .prepare(sql)
        .and_then(|mut select| select.query_map([], |row| row.get(0))?.collect());
    schema.expect("a schema")
}

#[test]
fn a_migration_that_fails_at_any_step_or_ends_in_its_middle_changes_nothing() {
    let newest = schema::MIGRATIONS.len();
    for (from, failing) in (1..newest).flat_map(|from| (from..newest).map(move |step| (from, step))) {
        let directory = directory();
        let path = directory.path().join("leveret.db");
        let mut connection = Connection::open(&path).expect("a database");
        connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
            .expect("a log");
        schema::run(&mut connection, &schema::MIGRATIONS[..from]).expect("an older version");
        let before = schema_of(&connection);
        let broken = format!(
            "{}; INSERT INTO no_such_table VALUES (1)",
            schema::MIGRATIONS[failing]
        );
        let mut steps = schema::MIGRATIONS.to_vec();
        steps[failing] = &broken;
        assert!(schema::run(&mut connection, &steps).is_err());
        assert_eq!(schema::version(&connection).expect("a version"), from);
        assert_eq!(schema_of(&connection), before);
        // The same as a crash would have it, with what was already written out.
        connection
            .execute_batch("PRAGMA cache_spill = ON; PRAGMA cache_size = 1; BEGIN")
            .expect("a transaction");
        for step in &schema::MIGRATIONS[from..failing] {
            connection.execute_batch(step).expect("a step");
        }
        let crashed = crashed_copy(directory.path());
        let crashed = Connection::open(crashed.path().join("leveret.db")).expect("a database");
        assert_eq!(
            (schema::version(&crashed).expect("a version"), schema_of(&crashed)),
            (from, before)
        );
        connection.execute_batch("ROLLBACK").expect("the end");
        drop(connection);
        drop(open(directory.path()));
        let migrated = Connection::open(&path).expect("a database");
        assert_eq!(schema::version(&migrated).expect("a version"), newest);
        verify::assert_sound(directory.path());
    }
}

#[test]
fn a_start_counts_again_before_it_throws_away_what_was_not_counted() {
    let directory = directory();
    let (store, _) = open(directory.path());
    let messages = vec![entry(5, message(TRANSIENT, b"x"))];
    let transient = Operation::Publish {
        queue: QueueId(1),
        messages,
    };
    commit(
        &store,
        [
            Operation::DeclareQueue(queue_row(1)),
            Operation::DeclareQueue(queue_row(2)),
        ],
    );
    commit(&store, [publish(1, 0..5), transient, publish(2, 0..3)]);
    commit(&store, [settle(1, [2]), settle(2, 0..3)]);
    drop(store);
    Connection::open(directory.path().join("leveret.db"))
        .and_then(|connection| {
            connection.execute_batch(
                "UPDATE summary SET messages = 0, body_bytes = 0 WHERE queue = 1;
                 UPDATE summary SET messages = 7, body_bytes = 70 WHERE queue = 2",
            )
        })
        .expect("wrong sums");
    for _ in 0..2 {
        let (store, recovered) = open(directory.path());
        let sums = [0, 1].map(|queue: usize| {
            let level = &recovered.queues[queue].levels[0];
            (level.messages, level.body_bytes)
        });
        assert_eq!(sums, [(4, 24), (0, 0)]);
        assert_eq!(positions(&load(&store, 1, 0, 6, 10)), [0, 1, 3, 4]);
    }
}
