//! The database file: whose it is, which version it has, and how it gets to ours.
//!
//! A migration is never changed once it was released; a change of the schema is a new step at the end.

use std::path::Path;

use rusqlite::{Connection, Error, ErrorCode};

use super::unusable;
use crate::store::StoreError;

/// "Lvrt": tells our files from other programs' databases.
const APPLICATION_ID: i32 = 0x4c76_7274;

/// Step `n` leads from version `n` to `n + 1`.
pub(super) const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO meta VALUES ('epoch', 0), ('next_queue', 0);
    CREATE TABLE exchange(
        vhost TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, auto_delete INTEGER NOT NULL,
        internal INTEGER NOT NULL, arguments BLOB NOT NULL, PRIMARY KEY(vhost, name)) WITHOUT ROWID;
    CREATE TABLE queue(
        id INTEGER PRIMARY KEY, vhost TEXT NOT NULL, name TEXT NOT NULL, durable INTEGER NOT NULL,
        auto_delete INTEGER NOT NULL, arguments BLOB NOT NULL);
    CREATE TABLE binding(
        vhost TEXT NOT NULL, source TEXT NOT NULL, to_exchange INTEGER NOT NULL, destination TEXT NOT NULL,
        routing_key BLOB NOT NULL, arguments BLOB NOT NULL,
        PRIMARY KEY(vhost, source, to_exchange, destination, routing_key, arguments)) WITHOUT ROWID;
    CREATE TABLE summary(
        queue INTEGER PRIMARY KEY, messages INTEGER NOT NULL, body_bytes INTEGER NOT NULL,
        next INTEGER NOT NULL, delivered_before INTEGER NOT NULL, redelivered_before INTEGER NOT NULL);
    CREATE TABLE segment(
        id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, records BLOB NOT NULL, data BLOB NOT NULL);
    CREATE TABLE settled(id INTEGER PRIMARY KEY, bits BLOB NOT NULL);
    CREATE TABLE returned(id INTEGER PRIMARY KEY, count INTEGER NOT NULL);
    CREATE TABLE shared(id INTEGER PRIMARY KEY, data BLOB NOT NULL);
    CREATE TABLE sharer(id INTEGER PRIMARY KEY, segments INTEGER NOT NULL);
    CREATE TABLE garbage(from_id INTEGER PRIMARY KEY, to_id INTEGER NOT NULL);
",
    "
    ALTER TABLE segment ADD COLUMN extras BLOB;
    ALTER TABLE segment ADD COLUMN expires INTEGER;
    CREATE INDEX segment_expires ON segment(id, expires) WHERE expires IS NOT NULL;
    ALTER TABLE returned ADD COLUMN rests_until INTEGER;
    CREATE TABLE level(id INTEGER PRIMARY KEY, queue INTEGER NOT NULL, priority INTEGER NOT NULL);
",
    "
    CREATE TABLE policy(
        vhost TEXT NOT NULL, is_operator INTEGER NOT NULL, name TEXT NOT NULL, pattern TEXT NOT NULL,
        apply_to TEXT NOT NULL, definition BLOB NOT NULL, priority INTEGER NOT NULL,
        PRIMARY KEY(vhost, is_operator, name)) WITHOUT ROWID;
",
    "
    CREATE TABLE vhost(
        name TEXT PRIMARY KEY, description TEXT NOT NULL, tags TEXT NOT NULL, default_queue_type TEXT)
        WITHOUT ROWID;
    CREATE TABLE user(
        name TEXT PRIMARY KEY, password_hash TEXT NOT NULL, algorithm TEXT NOT NULL, tags TEXT NOT NULL)
        WITHOUT ROWID;
    CREATE TABLE permission(
        user TEXT NOT NULL, vhost TEXT NOT NULL, configure TEXT NOT NULL, write TEXT NOT NULL,
        read TEXT NOT NULL, PRIMARY KEY(user, vhost)) WITHOUT ROWID;
    CREATE TABLE topic_permission(
        user TEXT NOT NULL, vhost TEXT NOT NULL, exchange TEXT NOT NULL, write TEXT NOT NULL,
        read TEXT NOT NULL, PRIMARY KEY(user, vhost, exchange)) WITHOUT ROWID;
    CREATE TABLE access_limit(
        of_vhost INTEGER NOT NULL, name TEXT NOT NULL, resource TEXT NOT NULL, max INTEGER NOT NULL,
        PRIMARY KEY(of_vhost, name, resource)) WITHOUT ROWID;
",
    "
    CREATE TABLE delays(
        id INTEGER PRIMARY KEY, vhost TEXT NOT NULL, exchange TEXT NOT NULL, messages INTEGER NOT NULL,
        body_bytes INTEGER NOT NULL, next INTEGER NOT NULL, is_deleted INTEGER NOT NULL);
    CREATE TABLE delayed(
        id INTEGER PRIMARY KEY, delays INTEGER NOT NULL, due INTEGER NOT NULL, is_dead_letter INTEGER NOT NULL,
        body_bytes INTEGER NOT NULL, copies BLOB, message BLOB NOT NULL);
    CREATE INDEX delayed_due ON delayed(delays, due);
",
    "
    CREATE TABLE known_key(
        vhost TEXT NOT NULL, is_exchange INTEGER NOT NULL, name TEXT NOT NULL, expires_at INTEGER NOT NULL,
        key BLOB NOT NULL, PRIMARY KEY(vhost, is_exchange, name, expires_at, key)) WITHOUT ROWID;
    CREATE TABLE history(
        vhost TEXT NOT NULL, exchange TEXT NOT NULL, place INTEGER NOT NULL, is_dead_letter INTEGER NOT NULL,
        message BLOB NOT NULL, PRIMARY KEY(vhost, exchange, place)) WITHOUT ROWID;
",
    // The queue that a delayed message is for, where its exchange has routed it before.
    "
    ALTER TABLE delayed ADD COLUMN queue TEXT;
",
];

/// Makes sure that the file is ours, without changing one that is not.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let found = (|| {
        let application = number("PRAGMA application_id")?;
        let version = number("PRAGMA user_version")?;
        let tables = number("SELECT count(*) FROM sqlite_schema")?;
        Ok::<_, Error>((application, version, tables))
    })();
    let (application, version, tables) = match found {
        Ok(found) => found,
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            return Err(unusable(
                path,
                "it is not a database; move it away or choose another data directory".to_owned(),
            ));
        }
        Err(source) => {
            return Err(StoreError::Database {
                operation: "read the database's header",
                source,
            });
        }
    };
    let is_empty = application == 0 && version == 0 && tables == 0;
    if application != i64::from(APPLICATION_ID) && !is_empty {
        let reason = "it is another program's database; move it away or choose another data directory";
        return Err(unusable(path, reason.to_owned()));
    }
    let newest = i64::try_from(MIGRATIONS.len()).expect("few steps");
    if version > newest {
        let reason = format!(
            "it was written by a newer version (schema {version}, this program knows {newest}); use that version"
        );
        return Err(unusable(path, reason));
    }
    Ok(())
}

/// Makes sure that the file is ours and holds something, without changing it.
pub(super) fn check_used(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    check(connection, path)?;
    let version = version(connection).map_err(|source| StoreError::Database {
        operation: "read the database's header",
        source,
    })?;
    if version == 0 {
        return Err(unusable(path, "it is empty".to_owned()));
    }
    Ok(())
}

/// Brings the schema to the newest version, in one transaction: it happens whole or not at all.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    run(connection, MIGRATIONS).map_err(|source| StoreError::Database {
        operation: "migrate the schema",
        source,
    })
}

/// How many steps the file has had.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<usize> {
    connection.query_row("PRAGMA user_version", [], |row| {
        row.get::<_, i64>(0)
            .map(|version| usize::try_from(version).unwrap_or(0))
    })
}

/// Carries out the steps that the file has not had.
pub(super) fn run(connection: &mut Connection, steps: &[&str]) -> rusqlite::Result<()> {
    let version = version(connection)?;
    if version >= steps.len() {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    for step in &steps[version..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(
        None,
        "user_version",
        i64::try_from(steps.len()).expect("few steps"),
    )?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(connection: &Connection) -> i64 {
        connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .expect("a pragma")
    }

    #[test]
    fn a_failing_step_leaves_the_version_before() {
        let mut connection = Connection::open_in_memory().expect("memory");
        run(&mut connection, &["CREATE TABLE a(x)"]).expect("first step");
        let broken = ["CREATE TABLE a(x)", "CREATE TABLE b(x)", "CREATE TABLE b(x)"];
        assert!(run(&mut connection, &broken).is_err());
        assert_eq!(version(&connection), 1);
        assert!(connection.prepare("SELECT * FROM b").is_err());
        run(&mut connection, &["CREATE TABLE a(x)", "CREATE TABLE b(x)"]).expect("second step alone");
        assert_eq!(version(&connection), 2);
    }
}
