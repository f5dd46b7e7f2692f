//! Files and directories that are refused, and commits that fail.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn refusal(directory: &Path) -> String {
    let opened = SqliteStore::open(directory, &StoreSettings::default(), Box::new(|_| {}));
    match opened {
        Err(error @ StoreError::Unusable { .. }) => error.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_second_user_of_the_directory_is_refused() {
    let directory = directory();
    let (store, _) = open(directory.path());
    assert!(refusal(directory.path()).contains("another process uses this data directory"));
    drop(store);
    open(directory.path());
}

#[test]
fn a_directory_that_was_missing_is_for_its_owner_only() {
    let directory = directory();
    let others_may = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o077;
    let missing = directory.path().join("parent/data");
    open(&missing);
    assert_eq!(others_may(&missing), 0);
    std::fs::set_permissions(&missing, Permissions::from_mode(0o755)).unwrap();
    open(&missing);
    assert_ne!(others_may(&missing), 0, "one that is there stays as it is");
}

#[test]
fn another_store_may_stand_beside() {
    let directory = directory();
    let (_store, _) = open(directory.path());
    let settings = StoreSettings {
        file_name: "spill.db".to_owned(),
        fresh: true,
        durability: Durability::Off,
        ..StoreSettings::default()
    };
    let (spill, _) = open_with(directory.path(), &settings);
    commit(&spill, [Operation::DeclareQueue(queue_row(1)), publish(1, 0..10)]);
    assert_eq!(load(&spill, 1, 0, 10, 10).entries.len(), 10);
    drop(spill);
    let (spill, recovered) = open_with(directory.path(), &settings);
    assert!(
        recovered.queues.is_empty() && recovered.next_queue == 0,
        "it starts empty"
    );
    assert!(load(&spill, 1, 0, 10, 10).entries.is_empty());
}

#[test]
fn what_is_no_database_is_refused() {
    let directory = directory();
    let path = directory.path().join("leveret.db");
    std::fs::write(&path, [b'x'; 4096]).expect("a file");
    assert!(refusal(directory.path()).contains("it is not a database"));
    assert_eq!(std::fs::read(&path).expect("still there"), [b'x'; 4096]);
}

#[test]
fn a_foreign_database_is_refused_and_not_changed() {
    let directory = directory();
    let path = directory.path().join("leveret.db");
    Connection::open(&path)
        .and_then(|connection| connection.execute_batch("CREATE TABLE theirs(x)"))
        .expect("a database");
    let before = std::fs::read(&path).expect("a file");
    assert!(refusal(directory.path()).contains("another program's database"));
    assert_eq!(std::fs::read(&path).expect("still there"), before);
}

#[test]
fn a_newer_schema_is_refused() {
    let directory = directory();
    drop(open(directory.path()));
    Connection::open(directory.path().join("leveret.db"))
        .and_then(|connection| connection.pragma_update(None, "user_version", 99))
        .expect("a newer version");
    assert!(refusal(directory.path()).contains("schema 99"));
}

#[test]
fn a_failed_commit_is_told_once_and_nothing_is_committed_after_it() {
    let directory = directory();
    let (sender, failures) = mpsc::channel();
    let on_failure = Box::new(move |error| sender.send(error).expect("the test waits for it"));
    let (store, _) = SqliteStore::open(directory.path(), &StoreSettings::default(), on_failure)
        .expect("a store that opens");
    commit(&store, [Operation::DeclareQueue(queue_row(1))]);
    Connection::open(directory.path().join("leveret.db"))
        .and_then(|connection| connection.execute_batch("DROP TABLE segment"))
        .expect("a damaged database");
    let committed = store.committed();
    let sequence = store.append(&mut vec![publish(1, 0..10)]);
    let (sender, woken) = mpsc::channel();
    let waits = store.wake_when_committed(sequence, &Waker::from(Arc::new(Wake(sender))));
    if waits && store.core.pending.failure().is_none() {
        woken.recv_timeout(DEADLINE).expect("woken by the failure");
    }
    let error = failures.recv_timeout(DEADLINE).expect("the failure");
    assert_eq!(error.to_string(), "cannot write messages");
    let later = store.append(&mut vec![publish(1, 10..20)]);
    assert!(later > sequence);
    assert_eq!((store.committed(), store.pending_bytes()), (committed, 0));
    assert!(store.wake_when_committed(later, Waker::noop()), "it never comes");
    assert!(store.close().is_err());
    assert!(failures.try_recv().is_err());
}

#[test]
fn a_full_disk_loses_nothing_that_was_committed() {
    for file_bytes_max in [150_000, 200_000, 300_000] {
        let directory = directory();
        let settings = StoreSettings {
            file_bytes_max: Some(file_bytes_max),
            ..StoreSettings::default()
        };
        let (sender, failures) = mpsc::channel();
        let on_failure = Box::new(move |error| sender.send(error).expect("the test waits for it"));
        let (store, _) =
            SqliteStore::open(directory.path(), &settings, on_failure).expect("a store that opens");
        commit(&store, [Operation::DeclareQueue(queue_row(1))]);
        let mut sequences = Vec::new();
        let mut next = 0;
        while next * 20 < file_bytes_max {
            sequences.push(store.append(&mut vec![publish(1, next..next + 100)]));
            next += 100;
        }
        // It waits for room, and at the end no longer.
        let error = store.close().expect_err("a full disk");
        assert!(format!("{error:?}").contains("full"), "{error:?}");
        failures.recv_timeout(DEADLINE).expect("the failure");
        let on_disk = store.committed();
        let committed = sequences.iter().filter(|sequence| **sequence <= on_disk).count() as u64 * 100;
        assert!(committed < next);
        drop(store);
        let (store, recovered) = open(directory.path());
        assert_eq!(recovered.queues[0].levels[0].messages, committed);
        assert_eq!(
            load(&store, 1, 0, next, usize::MAX).entries.len() as u64,
            committed
        );
    }
}

#[test]
fn after_the_end_appends_are_harmless() {
    let directory = directory();
    let (store, _) = open(directory.path());
    store.close().expect("a clean end");
    let sequence = store.append(&mut vec![publish(1, 0..10)]);
    assert!(
        store.wake_when_committed(sequence, Waker::noop()),
        "it never comes"
    );
    store.close().expect("nothing more to do");
    open(directory.path());
}
