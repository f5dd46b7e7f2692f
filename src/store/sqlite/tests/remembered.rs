//! Keys and histories come back as the operations left them.

use super::*;
use crate::store::memory::MemoryStore;
use crate::store::{HistoryRow, Keeper, KeyRow, MemoryChange, MessageKey};

fn keeper(kind: DestinationKind, name: &str) -> Arc<Keeper> {
    Arc::new(Keeper {
        vhost: "/".into(),
        kind,
        name: name.into(),
    })
}

fn key(keeper: &Arc<Keeper>, number: u8, expires_at: u64) -> KeyRow {
    KeyRow {
        keeper: Arc::clone(keeper),
        expires_at: Timestamp::from_millis(expires_at),
        key: MessageKey([number; 16]),
    }
}

fn history(keeper: &Arc<Keeper>, place: u64) -> MemoryChange {
    let body = format!("body {place}");
    let message = match place % 2 {
        0 => message(TRANSIENT, body.as_bytes()),
        _ => Message::dead_letter(b"dlx", b"key", PERSISTENT, body.as_bytes()),
    };
    MemoryChange::RecordHistory(HistoryRow {
        keeper: Arc::clone(keeper),
        place,
        message,
    })
}

/// All changes, on a queue and an exchange of the same name.
fn operations() -> Vec<Operation> {
    let exchange = keeper(DestinationKind::Exchange, "orders");
    let queue = keeper(DestinationKind::Queue, "orders");
    let gone = keeper(DestinationKind::Exchange, "gone");
    let mut operations = Vec::new();
    for owner in [&exchange, &queue, &gone] {
        operations
            .extend((1..=8).map(|n| MemoryChange::RememberKey(key(owner, n, 1_000 + u64::from(n / 2)))));
    }
    operations.extend([
        MemoryChange::RememberKey(key(&queue, 1, 1_000)),
        MemoryChange::RememberKey(key(&queue, 9, u64::MAX)),
        MemoryChange::ForgetKey(key(&exchange, 5, 1_002)),
        MemoryChange::ForgetKey(key(&exchange, 6, 7)),
        MemoryChange::ForgetKeys {
            keeper: Arc::clone(&queue),
            before: Timestamp::from_millis(1_002),
        },
        MemoryChange::ForgetKeys {
            keeper: Arc::clone(&gone),
            before: Timestamp::from_millis(u64::MAX),
        },
    ]);
    operations.extend((0..6).map(|place| history(&exchange, place)));
    operations.extend((0..3).map(|place| history(&gone, place)));
    operations.push(MemoryChange::ForgetHistory {
        keeper: exchange,
        before: 2,
    });
    operations.push(MemoryChange::ForgetHistory {
        keeper: gone,
        before: u64::MAX,
    });
    operations.into_iter().map(Operation::from).collect()
}

/// Keeper, place, bytes, and whether it is a dead letter.
type Recorded = (Arc<Keeper>, u64, Vec<u8>, bool);

/// In a form that compares; the end of time is as far as SQLite counts.
fn remembered(recovered: Recovered) -> (Vec<KeyRow>, Vec<Recorded>) {
    let mut keys = recovered.keys;
    for row in &mut keys {
        row.expires_at = row
            .expires_at
            .min(Timestamp::from_millis(i64::MAX.unsigned_abs()));
    }
    keys.sort_unstable();
    let whole = |row: HistoryRow| {
        let message = row.message;
        (row.keeper, row.place, message.encoded(), message.is_dead_letter())
    };
    (keys, recovered.history.into_iter().map(whole).collect())
}

#[test]
fn what_is_remembered_comes_back() {
    let memory = MemoryStore::default();
    memory.append(&mut operations());
    memory.commit_all();
    let expected = remembered(memory.crash().1);
    assert_eq!((expected.0.len(), expected.1.len()), (7 + 6, 4));

    let directory = directory();
    let (store, recovered) = open(directory.path());
    assert!(recovered.keys.is_empty() && recovered.history.is_empty());
    commit(&store, operations());
    store.close().expect("it closes");
    let (_, recovered) = open(directory.path());
    assert_eq!(remembered(recovered), expected);
}

#[test]
fn keys_come_in_the_order_in_which_they_expire() {
    let directory = directory();
    let (store, _) = open(directory.path());
    let owner = keeper(DestinationKind::Exchange, "orders");
    let times = [30, 10, 20];
    commit(
        &store,
        times.map(|at| MemoryChange::RememberKey(key(&owner, 1, at)).into()),
    );
    store.close().expect("it closes");
    let (_, recovered) = open(directory.path());
    let found: Vec<_> = recovered.keys.iter().map(|row| row.expires_at.millis()).collect();
    assert_eq!(found, [10, 20, 30]);
}

#[test]
fn the_messages_of_histories_count_as_pending() {
    let owner = keeper(DestinationKind::Exchange, "orders");
    let settings = StoreSettings {
        group_interval_min: Duration::from_hours(1),
        ..StoreSettings::default()
    };
    let directory = directory();
    let (store, _) = open_with(directory.path(), &settings);
    commit(&store, [history(&owner, 0).into()]);
    store.append(&mut vec![history(&owner, 1).into()]);
    assert!(store.pending_bytes() > 0);
}
