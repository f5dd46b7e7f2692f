//! Messages that expire, that rest, and that are dead letters.

use super::*;
use crate::store::ExpiringStretch;

/// As [`publish`] has it, with expiries by position.
fn expiring(queue: u32, messages: impl IntoIterator<Item = (u64, Option<u64>)>) -> Operation {
    let entry = |(position, expires_at): (u64, Option<u64>)| PublishEntry {
        expires_at: expires_at.map(at),
        ..entry(position, message(PERSISTENT, b"x"))
    };
    Operation::Publish {
        queue: QueueId(queue),
        messages: messages.into_iter().map(entry).collect(),
    }
}

fn stretch(from: u64, to: u64, expires_next: u64) -> ExpiringStretch {
    ExpiringStretch {
        from: Position(from),
        to: Position(to),
        expires_next: at(expires_next),
    }
}

#[test]
fn only_expired_messages_are_given_and_the_next_time_is_told() {
    let directory = directory();
    let (store, _) = open(directory.path());
    commit(&store, [Operation::DeclareQueue(queue_row(1))]);
    commit(
        &store,
        [expiring(
            1,
            [(0, Some(50)), (1, None), (2, Some(30)), (3, Some(40))],
        )],
    );
    commit(&store, [publish(1, 4..8)]);
    commit(&store, [expiring(1, [(8, Some(90)), (9, Some(35))])]);
    let found = |from, now| {
        let page = load_expired(&store, 1, from, 10, now);
        assert_eq!(page.next, Position(10));
        let next = page.expires_next.map(Timestamp::millis);
        (positions(&page), next)
    };
    assert_eq!(found(0, 29), (vec![], Some(30)));
    assert_eq!(found(0, 30), (vec![2], Some(35)));
    assert_eq!(found(0, 40), (vec![2, 3, 9], Some(50)));
    assert_eq!(found(3, 40), (vec![3, 9], Some(90)));
    assert_eq!(found(0, 90), (vec![0, 2, 3, 8, 9], None));
    let all = load(&store, 1, 0, 10, 100);
    assert_eq!((all.entries.len(), all.expires_next), (10, None));
    assert_eq!(
        (all.entries[0].expires_at, all.entries[1].expires_at),
        (Some(at(50)), None)
    );
    commit(&store, [settle(1, [2, 9])]);
    assert_eq!(
        found(0, 45),
        (vec![3], Some(50)),
        "what is settled does not count"
    );
}

#[test]
fn a_long_look_for_expired_messages_ends_early_and_goes_on() {
    let directory = directory();
    let (store, _) = open(directory.path());
    commit(&store, [Operation::DeclareQueue(queue_row(1))]);
    for first in (0..1000).step_by(50) {
        let messages = (first..first + 50).map(|position| {
            let expires = if position == first { 2000 } else { 5000 - position };
            (position, Some(expires))
        });
        commit(&store, [expiring(1, messages)]);
        if first % 150 == 0 {
            commit(&store, [settle(1, [first])]);
        }
    }
    let (mut from, mut expires_next, mut pages) = (0, None::<Timestamp>, 0);
    let mut found = Vec::new();
    while from < 1000 {
        let page = load_expired(&store, 1, from, 1000, 3000);
        assert!(page.next.0 > from);
        found.extend(positions(&page));
        expires_next = expires_next.into_iter().chain(page.expires_next).min();
        (from, pages) = (page.next.0, pages + 1);
    }
    assert!(pages > 3, "{pages} pages");
    assert_eq!(expires_next, Some(at(4001)));
    let expected: Vec<u64> = (0..1000).step_by(50).filter(|first| first % 150 != 0).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_start_tells_where_messages_expire() {
    let directory = directory();
    let (store, _) = open(directory.path());
    commit(&store, [1, 2].map(|id| Operation::DeclareQueue(queue_row(id))));
    commit(&store, [publish(1, 0..4), publish(2, 0..4)]);
    commit(&store, [expiring(1, [(4, Some(50)), (5, None), (6, Some(30))])]);
    commit(&store, [publish(1, 7..9)]);
    commit(&store, [expiring(1, [(9, Some(40))])]);
    commit(&store, [publish(1, 10..12)]);
    drop(store);
    let (store, recovered) = open(directory.path());
    let expiring_of =
        |recovered: &Recovered, queue: usize| recovered.queues[queue].levels[0].expiring.clone();
    assert_eq!(
        expiring_of(&recovered, 0),
        [stretch(4, 9, 30), stretch(9, 12, 40)]
    );
    assert_eq!(expiring_of(&recovered, 1), []);
    for nth in 0..9 {
        commit(&store, [expiring(1, [(12 + nth, Some(100 - nth))])]);
    }
    commit(&store, [settle(1, 4..7)]);
    drop(store);
    let (_store, recovered) = open(directory.path());
    let stretches = expiring_of(&recovered, 0);
    assert!((2..=4).contains(&stretches.len()), "few and long: {stretches:?}");
    assert_eq!(
        (stretches[0].from, stretches[0].expires_next),
        (Position(9), at(40))
    );
    let last = stretches[stretches.len() - 1];
    assert_eq!((last.to, last.expires_next), (Position(21), at(92)));
}

#[test]
fn what_was_purged_expires_no_more() {
    let directory = directory();
    let (store, _) = open(directory.path());
    commit(&store, [Operation::DeclareQueue(queue_row(1))]);
    commit(
        &store,
        [expiring(1, (0..10).map(|position| (position, Some(50))))],
    );
    let purge = Operation::SettleRange {
        queue: QueueId(1),
        from: Position(0),
        to: Position(6),
        messages: 6,
        body_bytes: 6,
    };
    commit(&store, [purge]);
    assert_eq!(positions(&load_expired(&store, 1, 0, 10, 60)), [6, 7, 8, 9]);
    let copy = crashed_copy(directory.path());
    let (_again, recovered) = open(copy.path());
    let level = &recovered.queues[0].levels[0];
    assert_eq!(level.messages, 4);
    let all = level.expiring.iter().any(|part| part.to == Position(10));
    assert!(all && level.expiring.len() == 1);
}

#[test]
fn late_messages_and_their_neighbours_keep_what_is_special() {
    let directory = directory();
    let (store, _) = open(directory.path());
    let odd = (0..5).map(|nth| PublishEntry {
        expires_at: Some(at(100 + nth)),
        ..entry(1 + nth * 2, Message::dead_letter(b"x", b"k", PERSISTENT, b"dead"))
    });
    let odd = Operation::Publish {
        queue: QueueId(1),
        messages: odd.collect(),
    };
    commit(&store, [Operation::DeclareQueue(queue_row(1)), odd]);
    commit(&store, [settle(1, [3])]);
    commit(&store, [expiring(1, [(2, None), (4, Some(7)), (6, None)])]);
    let page = load(&store, 1, 0, 10, 100);
    let found: Vec<_> = page
        .entries
        .iter()
        .map(|entry| {
            (
                entry.position.0,
                entry.expires_at.map(Timestamp::millis),
                entry.message.is_dead_letter(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (1, Some(100), true),
            (2, None, false),
            (4, Some(7), false),
            (5, Some(102), true),
            (6, None, false),
            (7, Some(103), true),
            (9, Some(104), true)
        ]
    );
    assert_eq!(positions(&load_expired(&store, 1, 0, 10, 7)), [4]);
}

#[test]
fn what_rests_still_does_after_a_restart() {
    let directory = directory();
    let (store, _) = open(directory.path());
    let back = |position, rests_until: Option<u64>| Operation::Return {
        queue: QueueId(1),
        position: Position(position),
        delivery_count: 2,
        rests_until: rests_until.map(Timestamp::from_millis),
    };
    commit(&store, [Operation::DeclareQueue(queue_row(1)), publish(1, 0..3)]);
    commit(&store, [back(0, Some(u64::MAX)), back(1, Some(5)), back(2, None)]);
    commit(&store, [back(1, None)]);
    drop(store);
    let (store, _) = open(directory.path());
    let page = load(&store, 1, 0, 3, 10);
    let rests: Vec<_> = page.entries.iter().map(|entry| entry.rests_until).collect();
    assert_eq!(rests, [Some(at(u64::MAX)), None, None]);
    assert!(page.entries.iter().all(|entry| entry.delivery_count == 2));
}

#[test]
fn the_queue_decides_what_survives_not_the_message() {
    let directory = directory();
    let (store, _) = open(directory.path());
    let entry = |position, properties, is_persistent| PublishEntry {
        is_persistent,
        ..entry(position, message(properties, b"body"))
    };
    let messages = vec![entry(0, TRANSIENT, true), entry(1, PERSISTENT, false)];
    let both = Operation::Publish {
        queue: QueueId(1),
        messages,
    };
    commit(&store, [Operation::DeclareQueue(queue_row(1)), both]);
    let kept = |store: &SqliteStore| -> Vec<_> {
        let page = load(store, 1, 0, 2, 10);
        page.entries
            .iter()
            .map(|entry| (entry.position.0, entry.is_persistent))
            .collect()
    };
    assert_eq!(kept(&store), [(0, true), (1, false)]);
    drop(store);
    let (store, recovered) = open(directory.path());
    let level = &recovered.queues[0].levels[0];
    assert_eq!((level.messages, level.body_bytes), (1, 4));
    assert_eq!(kept(&store), [(0, true)]);
}

#[test]
fn plain_messages_cost_no_column() {
    let directory = directory();
    let (store, _) = open(directory.path());
    commit(&store, [Operation::DeclareQueue(queue_row(1)), publish(1, 0..50)]);
    commit(&store, [expiring(1, [(50, Some(9))])]);
    assert_eq!(count(directory.path(), "segment WHERE extras IS NULL"), 1);
    assert_eq!(count(directory.path(), "segment WHERE expires = 9"), 1);
}

#[test]
fn damaged_extras_fail_the_read_and_not_the_process() {
    let directory = directory();
    let (store, _) = open(directory.path());
    commit(&store, [Operation::DeclareQueue(queue_row(1))]);
    commit(&store, [expiring(1, [(0, Some(9))])]);
    drop(store);
    Connection::open(directory.path().join("leveret.db"))
        .and_then(|connection| connection.execute("UPDATE segment SET extras = x'00'", []))
        .expect("a damaged row");
    let (sender, failures) = mpsc::channel();
    let on_failure = Box::new(move |error| sender.send(error).expect("the test waits for it"));
    let (store, _) = SqliteStore::open(directory.path(), &StoreSettings::default(), on_failure)
        .expect("a store that opens");
    store.append(&mut vec![Operation::Load(request(1, 0, 1, 1))]);
    let error = failures.recv_timeout(DEADLINE).expect("the failure");
    assert!(error.to_string().ends_with("its extras do not parse"), "{error}");
}
