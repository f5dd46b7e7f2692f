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

fn candidate(number: u64) -> Candidate<'static> {
    Candidate {
        key: key(number),
        properties: &[0, 0],
        is_persistent: true,
        place: None,
    }
}

/// Accepts a persistent message.
fn accept(deduplicator: &mut Deduplicator, number: u64, now: u64) -> (bool, Vec<Operation>) {
    let mut operations = Vec::new();
    let taken = deduplicator.accept(&candidate(number), at(now), &Passer, &mut operations);
    (taken.is_some(), operations)
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
        assert!(keys.knows(&key(7), at(now), &Passer));
    }
    assert_eq!(keys.key_count(), 1);
}

#[test]
fn a_message_that_was_not_taken_may_come_again() {
    let mut keys = deduplicator(&[], true);
    let mut operations = Vec::new();
    let taken = keys.accept(&candidate(1), at(1), &Passer, &mut operations);
    keys.forget(&taken.expect("it is new"), &mut operations);
    assert_eq!(stored(operations).keys, []);
    assert!(accept(&mut keys, 1, 2).0);
}

#[test]
fn a_message_that_was_not_taken_may_come_again_after_a_crash_though_its_key_had_to_go_for_others() {
    let mut keys = deduplicator(&[("x-cache-size", AMQPValue::LongInt(2))], true);
    let mut operations = Vec::new();
    let taken = keys.accept(&candidate(1), at(1), &Passer, &mut operations);
    for number in [2, 3] {
        assert!(
            keys.accept(&candidate(number), at(2), &Passer, &mut operations)
                .is_some()
        );
    }
    assert!(!keys.knows(&key(1), at(2), &Passer));
    keys.forget(&taken.expect("it is new"), &mut operations);
    let left = stored(operations).keys;
    assert_eq!(
        left.iter().map(|row| row.key).collect::<Vec<_>>(),
        [key(2), key(3)]
    );
}

#[test]
fn what_was_taken_since_stays_when_an_earlier_one_is_forgotten() {
    // Messages of one batch are taken in the same millisecond.
    for times in [[1, 2, 3], [1, 1, 1]] {
        let mut keys = deduplicator(&[("x-cache-size", AMQPValue::LongInt(1))], true);
        let mut operations = Vec::new();
        let taken = [1, 2, 1].iter().zip(times).map(|(number, now)| {
            keys.accept(&candidate(*number), at(now), &Passer, &mut operations)
                .expect("it is new")
        });
        let first = taken.collect::<Vec<_>>()[0];
        keys.forget(&first, &mut operations);
        assert!(keys.knows(&key(1), at(3), &Passer), "{times:?}");
        let left = stored(operations).keys;
        assert!(left.iter().any(|row| row.key == key(1)), "{times:?}");
    }
}

#[test]
fn only_keys_of_persistent_messages_in_durable_keepers_are_stored() {
    let told = |mut keys: Deduplicator, is_persistent| {
        let mut operations = Vec::new();
        let candidate = Candidate {
            is_persistent,
            ..candidate(1)
        };
        let taken = keys.accept(&candidate, at(1), &Passer, &mut operations);
        keys.forget(&taken.expect("it is new"), &mut operations);
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
        assert!(again.knows(&key(number), at(3_001), &Passer), "{number}");
    }
    assert_eq!(again.key_count(), 500);
    // Each message lets go of some.
    let operations: Vec<_> = (0..32)
        .flat_map(|number| accept(&mut again, 9_000 + number, 10_000).1)
        .collect();
    assert_eq!(again.key_count(), 32);
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
    let taken = keys.accept(&candidate(1), at(1)).expect("it is new");
    assert_eq!(keys.accept(&candidate(1), at(1)), None);
    let sequence = keys.appended().expect("keys are stored");
    assert!(store.committed() < sequence);
    store.commit_all();
    assert!(store.committed() >= sequence);
    assert!(keys.knows(&key(1), at(2)));
    keys.forget(&taken);
    assert_eq!(keys.key_count(), 0);
}

/// A queue that holds these positions, and can not always tell at once.
struct Held(Vec<u64>);

impl Holder for Held {
    fn holds(&self, place: Place, _: Timestamp) -> bool {
        self.0.contains(&place.position.0)
    }

    fn may_hold(&self, _: Place, _: Timestamp) -> bool {
        true
    }
}

#[test]
fn a_key_is_known_beyond_its_window_while_its_message_is_held() {
    let mut keys = deduplicator(&[("x-cache-ttl", AMQPValue::LongInt(100))], true);
    let mut operations = Vec::new();
    let at_place = |number| Candidate {
        place: Some(Place {
            priority: 0,
            position: Position(number),
            expires_at: None,
        }),
        ..candidate(number)
    };
    let mut held = Held(vec![1, 2]);
    for number in 1..=3 {
        assert!(
            keys.accept(&at_place(number), at(1), &held, &mut operations)
                .is_some()
        );
    }
    // The sweep keeps them, for all may be held. That makes none of them known that is not.
    assert!(
        keys.accept(&at_place(9), at(150), &held, &mut operations)
            .is_some()
    );
    for (number, is_known) in [(1, true), (2, true), (3, false)] {
        assert_eq!(keys.knows(&key(number), at(150), &held), is_known, "{number}");
    }
    assert!(
        keys.accept(&at_place(1), at(151), &held, &mut operations)
            .is_none()
    );
    held.0.clear();
    assert!(
        keys.accept(&at_place(1), at(152), &held, &mut operations)
            .is_some()
    );
    assert!(!keys.knows(&key(2), at(152), &held));
}

#[test]
fn keys_of_messages_that_are_gone_are_swept() {
    let mut keys = deduplicator(&[("x-cache-ttl", AMQPValue::LongInt(100))], true);
    for number in 0..1_000 {
        assert!(accept(&mut keys, number, 1).0);
    }
    for number in 0..100 {
        assert!(accept(&mut keys, 5_000 + number, 200).0);
    }
    assert_eq!(keys.key_count(), 100);
}

#[test]
fn nothing_is_stored_once_the_keeper_is_gone() {
    let mut keys = deduplicator(&[], true);
    let mut operations = Vec::new();
    let taken = keys.accept(&candidate(1), at(1), &Passer, &mut operations);
    assert_eq!(operations.len(), 1);
    operations.clear();
    keys.forget_all(&mut operations);
    assert_eq!(operations.len(), 1);
    keys.forget(&taken.expect("it is new"), &mut operations);
    assert_eq!((accept(&mut keys, 2, 1).1.len(), operations.len()), (0, 1));
}
