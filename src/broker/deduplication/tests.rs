//! Which messages are duplicates, and what the store is told.

use amq_protocol::types::{AMQPValue, FieldTable};

use crate::store::memory::MemoryStore;
use crate::store::{DestinationKind, Recovered};

use super::*;

fn keeper() -> Arc<Keeper> {
    Arc::new(Keeper {
        vhost: "/".into(),
        kind: DestinationKind::Exchange,
        name: "orders".into(),
    })
}

fn rules(pairs: &[(&str, AMQPValue)]) -> Rules {
    let mut table = FieldTable::default();
    table.insert(X_MESSAGE_DEDUPLICATION.into(), AMQPValue::Boolean(true));
    for (name, value) in pairs {
        table.insert((*name).into(), value.clone());
    }
    Rules::from_arguments(&table, false)
        .expect("they are acceptable")
        .expect("it is asked for")
}

fn deduplicator(pairs: &[(&str, AMQPValue)], is_durable: bool) -> Deduplicator {
    Deduplicator::new(rules(pairs), keeper(), is_durable)
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn key(number: u64) -> MessageKey {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    MessageKey(bytes)
}

/// Accepts a persistent message.
fn accept(deduplicator: &mut Deduplicator, number: u64, now: u64) -> (bool, Vec<Operation>) {
    let mut operations = Vec::new();
    let is_new = deduplicator.accept(key(number), &[0, 0], true, at(now), &mut operations);
    (is_new, operations)
}

#[test]
fn a_key_is_taken_once_within_the_window_which_does_not_move() {
    let mut keys = deduplicator(&[("x-cache-ttl", AMQPValue::LongInt(100))], true);
    for (now, is_new) in [
        (1, true),
        (2, false),
        (100, false),
        (101, true),
        (200, false),
        (201, true),
    ] {
        let (found, operations) = accept(&mut keys, 7, now);
        assert_eq!(
            (found, operations.len()),
            (is_new, usize::from(is_new)),
            "at {now}"
        );
        assert!(keys.knows(&key(7), at(now)));
    }
    assert_eq!(keys.key_count(), 1);
}

#[test]
fn a_message_that_was_not_taken_may_come_again() {
    let mut keys = deduplicator(&[], true);
    assert!(accept(&mut keys, 1, 1).0);
    let mut operations = Vec::new();
    keys.forget(key(1), &mut operations);
    keys.forget(key(2), &mut operations);
    assert!(matches!(
        operations[..],
        [Operation::Remember(MemoryChange::ForgetKey(_))]
    ));
    assert!(accept(&mut keys, 1, 2).0);
}

#[test]
fn only_keys_of_persistent_messages_in_durable_keepers_are_stored() {
    let told = |mut keys: Deduplicator, is_persistent| {
        let mut operations = Vec::new();
        assert!(keys.accept(key(1), &[0, 0], is_persistent, at(1), &mut operations));
        keys.forget(key(1), &mut operations);
        keys.forget_all(&mut operations);
        operations.len()
    };
    let in_memory = [("x-cache-persistence", AMQPValue::LongString("memory".into()))];
    assert_eq!(told(deduplicator(&[], true), true), 3);
    assert_eq!(told(deduplicator(&[], true), false), 1, "all are forgotten");
    assert_eq!(told(deduplicator(&[], false), true), 0);
    assert_eq!(told(deduplicator(&in_memory, true), true), 0);
}

/// What the store knows after all that was appended.
fn stored(operations: Vec<Operation>) -> Recovered {
    let store = MemoryStore::default();
    store.append(&mut { operations });
    store.commit_all();
    store.crash().1
}

#[test]
fn the_store_forgets_what_has_expired_and_what_was_too_much() {
    let mut all = Vec::new();
    let mut keys = deduplicator(
        &[
            ("x-cache-ttl", AMQPValue::LongInt(1_000)),
            ("x-cache-size", AMQPValue::LongInt(500)),
        ],
        true,
    );
    for number in 0..3_000 {
        let (is_new, operations) = accept(&mut keys, number, 1 + number);
        assert!(is_new);
        all.extend(operations);
    }
    assert_eq!(keys.key_count(), 500);
    let left = stored(all).keys;
    assert!((500..500 + FORGOTTEN_MAX).contains(&left.len()), "{}", left.len());
    let mut again = deduplicator(&[("x-cache-size", AMQPValue::LongInt(500))], true);
    again.recover(&left);
    for number in 2_500..3_000 {
        assert!(again.knows(&key(number), at(3_001)), "{number}");
    }
    assert_eq!(again.key_count(), 500);
    let (is_new, operations) = accept(&mut again, 9_999, 10_000);
    assert!(is_new);
    assert!(
        operations
            .iter()
            .any(|operation| matches!(operation, Operation::Remember(MemoryChange::ForgetKeys { .. }))),
        "{operations:?}"
    );
}

#[test]
fn who_finds_a_key_known_waits_for_it() {
    let store = Arc::new(MemoryStore::default());
    let shared: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
    let keys = Deduplication::new(rules(&[]), keeper(), true, &shared);
    assert!(keys.accept(key(1), &[0, 0], true, at(1)));
    assert!(!keys.accept(key(1), &[0, 0], true, at(1)));
    let sequence = keys.appended().expect("keys are stored");
    assert!(store.committed() < sequence);
    store.commit_all();
    assert!(store.committed() >= sequence);
    assert!(keys.knows(&key(1), at(2)));
    keys.forget(key(1));
    assert_eq!(keys.key_count(), 0);
}
