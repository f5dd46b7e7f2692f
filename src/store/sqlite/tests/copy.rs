//! Backups: everything is in them, whatever goes on meanwhile, and nothing else gets the name of one.

use std::fs;

use rusqlite::types::Value;

use super::verify::{assert_sound, fill};
use super::*;

/// All rows of all tables, as text, but for the tables in which runs differ.
fn rows(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).expect("a database");
    let tables: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        .and_then(|mut select| select.query_map([], |row| row.get(0))?.collect())
        .expect("tables");
    let mut all = Vec::new();
    for table in tables {
        let mut select = connection
            .prepare(&format!("SELECT * FROM {table}"))
            .expect("a table");
        let columns = select.column_count();
        let row = |row: &rusqlite::Row<'_>| (0..columns).map(|at| row.get::<_, Value>(at)).collect();
        let found: rusqlite::Result<Vec<Vec<Value>>> = select.query_map([], row).and_then(Iterator::collect);
        all.extend(found.expect("rows").iter().map(|row| format!("{table} {row:?}")));
    }
    all
}

fn refusal(done: Result<Findings, StoreError>) -> String {
    done.expect_err("a refusal").to_string()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<_> = entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_backup_has_every_row_and_a_restored_one_is_the_same_but_flagged() {
    let (data, other) = (directory(), directory());
    let file = other.path().join("backup.db");
    let (store, recovered) = open(data.path());
    drop(recovered);
    fill(&store);
    let findings = backup(data.path(), &file, 0).expect("beside the store");
    assert!(findings.is_sound() && findings.messages == 8, "{findings:?}");
    assert_eq!(rows(&file), rows(&data.path().join("leveret.db")));
    assert_eq!(names(other.path()), ["backup.db"]);

    let restored = other.path().join("data");
    assert_eq!(restore(&file, &restored).expect("an empty directory"), findings);
    assert_eq!(names(&restored), ["leveret.db", "leveret.db.lock"]);
    assert_sound(&restored);
    let (store, recovered) = open(&restored);
    assert_eq!(recovered.queues[0].levels[0].messages, 5);
    let page = load(&store, 1, 0, 20, 20);
    assert_eq!(positions(&page), [0, 2, 4, 10, 11]);
    assert!(page.entries.iter().all(|entry| entry.redelivered));
    // What comes later has not been seen.
    commit(&store, [publish(1, 20..21)]);
    assert!(!load(&store, 1, 20, 21, 1).entries[0].redelivered);
}

#[cfg(unix)]
#[test]
fn a_backup_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;

    let (data, other) = (directory(), directory());
    let file = other.path().join("backup.db");
    let (_store, _) = open(data.path());
    backup(data.path(), &file, 0).expect("a backup");
    let mode = fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_backup_in_the_middle_of_work_is_a_group_that_was_committed() {
    let (data, other) = (directory(), directory());
    let (store, _) = open(data.path());
    commit(&store, [1, 2].map(|id| Operation::DeclareQueue(queue_row(id))));
    let (mut next, mut last) = (0, 0);
    for round in 0..8 {
        for _ in 0..200 {
            store.append(&mut vec![publish(1, next..next + 1), publish(2, next..next + 1)]);
            next += 1;
        }
        let file = other.path().join(format!("{round}.db"));
        let findings = backup(data.path(), &file, 0).expect("a backup");
        assert!(findings.is_sound(), "{findings:?}");
        assert!(
            findings.messages.is_multiple_of(2) && findings.messages >= last,
            "{findings:?}"
        );
        last = findings.messages;
        commit(&store, []);
    }
    assert!(last > 0, "all backups were made before anything was committed");
}

#[test]
fn a_backup_replaces_nothing_and_needs_room() {
    let (data, other) = (directory(), directory());
    let file = other.path().join("backup.db");
    let nothing = refusal(backup(data.path(), &file, 0));
    assert!(nothing.contains("nothing is stored there"), "{nothing}");
    let (store, _) = open(data.path());
    fill(&store);
    fs::write(&file, b"mine").expect("a file");
    assert!(refusal(backup(data.path(), &file, 0)).contains("a backup replaces nothing"));
    assert_eq!(fs::read(&file).expect("still there"), b"mine");
    let inside = data.path().join("backup.db");
    assert!(refusal(backup(data.path(), &inside, 0)).contains("in the data directory"));
    let file = other.path().join("other.db");
    let small = refusal(backup(data.path(), &file, u64::MAX / 2));
    assert!(small.contains("limits.disk_free_limit"), "{small}");
    fs::write(other.path().join("other.db.partial"), b"").expect("a file");
    assert!(refusal(backup(data.path(), &file, 0)).contains("at work, or was interrupted"));
    let nowhere = other.path().join("no/such/place.db");
    assert!(refusal(backup(data.path(), &nowhere, 0)).contains("cannot find"));
    assert_eq!(names(other.path()), ["backup.db", "other.db.partial"]);
}

#[test]
fn damaged_data_is_not_backed_up() {
    let (data, other) = (directory(), directory());
    let (store, _) = open(data.path());
    fill(&store);
    Connection::open(data.path().join("leveret.db"))
        .and_then(|connection| connection.execute("UPDATE segment SET data = zeroblob(length(data))", []))
        .expect("damage");
    let findings = backup(data.path(), &other.path().join("backup.db"), 0).expect("findings");
    assert!(!findings.is_sound());
    assert_eq!(names(other.path()), [""; 0]);
}

#[test]
fn only_a_whole_backup_is_restored_and_only_into_an_empty_directory() {
    let (data, other) = (directory(), directory());
    let file = other.path().join("backup.db");
    let (store, _) = open(data.path());
    fill(&store);
    backup(data.path(), &file, 0).expect("a backup");
    assert!(refusal(restore(&file, data.path())).contains("another process uses"));
    drop(store);
    assert!(refusal(restore(&file, data.path())).contains("it is not empty: there is \"leveret.db\""));

    let whole = fs::read(&file).expect("a backup");
    let target = other.path().join("data");
    let mut newer = whole.clone();
    newer[60..64].copy_from_slice(&99_u32.to_be_bytes());
    let bad: [(&[u8], &str); 5] = [
        (b"", "it is empty"),
        (&whole[..whole.len() / 2], "malformed"),
        (&[b'x'; 4096], "it is not a database"),
        (&newer, "written by a newer version (schema 99"),
        (&whole[4096..], "it is not a database"),
    ];
    for (bytes, expected) in bad {
        fs::write(&file, bytes).expect("a file");
        let error = restore(&file, &target).expect_err(expected);
        let error = Chain(&error).to_string();
        assert!(error.contains(expected), "{error}");
        assert!(names_of_data(&target).is_empty(), "{expected}");
    }
    fs::remove_file(&file).expect("a file");
    assert!(refusal(restore(&file, &target)).contains("there is no such file"));

    fs::write(&file, &whole).expect("a file");
    Connection::open(&file)
        .and_then(|connection| connection.execute("UPDATE summary SET messages = 77", []))
        .expect("wrong sums");
    assert!(!restore(&file, &target).expect("findings").is_sound());
    assert!(names_of_data(&target).is_empty());

    // What an interrupted restore left is no hindrance.
    fs::write(target.join("leveret.db.partial"), b"half").expect("a file");
    fs::write(&file, &whole).expect("a file");
    restore(&file, &target).expect("the whole one");
    assert_sound(&target);
}

/// What stands in a directory, but for the lock.
fn names_of_data(directory: &Path) -> Vec<String> {
    let is_data = |name: &String| name != "leveret.db.lock";
    if directory.exists() {
        names(directory).into_iter().filter(is_data).collect()
    } else {
        Vec::new()
    }
}

#[test]
fn a_backup_of_an_older_version_is_brought_up_to_date() {
    let other = directory();
    let file = other.path().join("backup.db");
    let mut connection = Connection::open(&file).expect("a database");
    schema::run(&mut connection, &schema::MIGRATIONS[..1]).expect("the first version");
    drop(connection);
    let target = other.path().join("data");
    assert!(restore(&file, &target).expect("an empty directory").is_current);
    open(&target);
}

#[test]
fn a_database_with_its_log_is_restored_with_what_is_in_the_log() {
    let (data, other) = (directory(), directory());
    let (store, _) = open(data.path());
    fill(&store);
    let crashed = crashed_copy(data.path());
    let target = other.path().join("data");
    let findings = restore(&crashed.path().join("leveret.db"), &target).expect("an empty directory");
    assert_eq!(findings.messages, 8);
}
