//! Messages through publish, settle, return, purge and reopening.

use super::*;

#[test]
fn messages_come_back_in_order_after_a_restart() {
    let directory = directory();
    let (store, recovered) = open(directory.path());
    assert!(recovered.queues.is_empty());
    commit(&store, [Operation::DeclareQueue(queue_row(1)), publish(1, 0..10)]);
    commit(&store, [publish(1, 10..20), settle(1, [0, 1, 2, 15])]);
    store.close().expect("a clean end");
    let (store, recovered) = open(directory.path());
    assert_eq!(recovered.queues[0].row, queue_row(1));
    let queue = &recovered.queues[0].levels[0];
    assert_eq!((queue.messages, queue.next), (16, Position(20)));
    assert_eq!(queue.body_bytes, 7 * 6 + 9 * 7);
    let page = load(&store, 1, queue.first.0, 20, 100);
    assert_eq!(
        positions(&page),
        [3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 18, 19]
    );
    assert_eq!(page.next, Position(20));
    assert_eq!(page.entries[4].message.body(), b"body 7");
    assert!(
        page.entries
            .iter()
            .all(|entry| !entry.redelivered && entry.delivery_count == 0)
    );
}

#[test]
fn a_page_stops_at_its_limit_and_says_where_to_go_on() {
    let directory = directory();
    let (store, _) = open(directory.path());
    commit(
        &store,
        [
            Operation::DeclareQueue(queue_row(1)),
            publish(1, 0..10),
            settle(1, [4]),
        ],
    );
    let page = load(&store, 1, 2, 9, 3);
    assert_eq!((positions(&page), page.next), (vec![2, 3, 5], Position(6)));
    let page = load(&store, 1, 6, 9, 3);
    assert_eq!((positions(&page), page.next), (vec![6, 7, 8], Position(9)));
    let page = load(&store, 1, 9, 9, 3);
    assert_eq!((positions(&page), page.next), (vec![], Position(9)));
}

#[test]
fn a_settled_segment_leaves_no_row() {
    let directory = directory();
    let (store, _) = open(directory.path());
    commit(
        &store,
        [Operation::DeclareQueue(queue_row(1)), publish(1, 0..100)],
    );
    let back = Operation::Return {
        queue: QueueId(1),
        position: Position(5),
        delivery_count: 3,
        rests_until: None,
    };
    commit(&store, [back, settle(1, 10..100)]);
    assert_eq!(count(directory.path(), "segment"), 1);
    assert_eq!(load(&store, 1, 0, 100, 100).entries[5].delivery_count, 3);
    commit(&store, [settle(1, 0..10)]);
    for table in ["segment", "settled", "returned"] {
        assert_eq!(count(directory.path(), table), 0, "{table}");
    }
}

#[test]
fn a_message_in_many_queues_is_stored_once_until_the_last_lets_go() {
    let directory = directory();
    let (store, _) = open(directory.path());
    let body = [7; 2000];
    let shared = message(PERSISTENT, &body);
    let mut operations = Vec::new();
    for queue in 1..=10 {
        operations.push(Operation::DeclareQueue(queue_row(queue)));
        operations.push(Operation::Publish {
            queue: QueueId(queue),
            messages: vec![entry(0, message(PERSISTENT, b"own")), entry(1, shared.clone())],
        });
    }
    commit(&store, operations);
    assert_eq!(count(directory.path(), "shared"), 1);
    assert!(count(directory.path(), "segment WHERE length(data) > 100") == 0);
    for queue in 1..=10 {
        let page = load(&store, queue, 0, 2, 10);
        assert_eq!(page.entries[0].message.body(), b"own");
        assert_eq!(page.entries[1].message.body(), body);
        assert_eq!(count(directory.path(), "shared"), 1);
        commit(&store, [settle(queue, [0, 1])]);
    }
    assert_eq!(count(directory.path(), "shared"), 0);
    assert_eq!(count(directory.path(), "sharer"), 0);
}

#[test]
fn transient_messages_are_read_back_but_do_not_outlive_the_run() {
    let directory = directory();
    let (store, _) = open(directory.path());
    let mixed = Operation::Publish {
        queue: QueueId(1),
        messages: (0..6)
            .map(|at| {
                entry(
                    at,
                    message(if at % 2 == 0 { PERSISTENT } else { TRANSIENT }, b"x"),
                )
            })
            .collect(),
    };
    let only = Operation::Publish {
        queue: QueueId(2),
        messages: vec![entry(0, message(TRANSIENT, b"x"))],
    };
    let declare = [1, 2].map(|id| Operation::DeclareQueue(queue_row(id)));
    commit(&store, declare.into_iter().chain([mixed, only]));
    assert_eq!(positions(&load(&store, 1, 0, 6, 10)), [0, 1, 2, 3, 4, 5]);
    store.close().expect("a clean end");
    let (store, recovered) = open(directory.path());
    assert_eq!(
        (
            recovered.queues[0].levels[0].messages,
            recovered.queues[0].levels[0].body_bytes
        ),
        (3, 3)
    );
    assert_eq!(
        (
            recovered.queues[1].levels[0].messages,
            recovered.queues[1].levels[0].first
        ),
        (0, Position(1))
    );
    assert_eq!(positions(&load(&store, 1, 0, 6, 10)), [0, 2, 4]);
    commit(&store, [settle(1, [0, 2, 4])]);
    eventually(|| count(directory.path(), "segment") == 0);
}

#[test]
fn messages_that_come_late_stand_in_their_place() {
    let directory = directory();
    let (store, _) = open(directory.path());
    commit(&store, [Operation::DeclareQueue(queue_row(1))]);
    let odd = |range: std::ops::Range<u64>| {
        let messages = range
            .filter(|at| at % 2 == 1)
            .map(|at| entry(at, message(PERSISTENT, b"odd")));
        Operation::Publish {
            queue: QueueId(1),
            messages: messages.collect(),
        }
    };
    commit(&store, [odd(0..10)]);
    commit(&store, [odd(20..30), settle(1, [3])]);
    let even = (0..30)
        .filter(|at| at % 2 == 0)
        .map(|at| entry(at, message(TRANSIENT, b"even")));
    commit(
        &store,
        [Operation::Publish {
            queue: QueueId(1),
            messages: even.collect(),
        }],
    );
    let expected: Vec<u64> = (0..30)
        .filter(|at| at % 2 == 0 || ![3, 11, 13, 15, 17, 19].contains(at))
        .collect();
    let page = load(&store, 1, 0, 30, 100);
    assert_eq!(positions(&page), expected);
    for entry in &page.entries {
        let body: &[u8] = if entry.position.0 % 2 == 0 {
            b"even"
        } else {
            b"odd"
        };
        assert_eq!(entry.message.body(), body);
    }
    commit(&store, [settle(1, expected)]);
    assert_eq!(count(directory.path(), "segment"), 0);
}

#[test]
fn what_was_handed_out_before_a_restart_is_redelivered_after_it() {
    let directory = directory();
    let (store, _) = open(directory.path());
    let mark = |before| Operation::MarkDelivered {
        queue: QueueId(1),
        before: Position(before),
    };
    commit(
        &store,
        [
            Operation::DeclareQueue(queue_row(1)),
            publish(1, 0..4),
            mark(u64::MAX),
        ],
    );
    let flags = |store: &SqliteStore| -> Vec<bool> {
        load(store, 1, 0, 100, 100)
            .entries
            .iter()
            .map(|entry| entry.redelivered)
            .collect()
    };
    assert_eq!(flags(&store), [false; 4], "in this run the broker knows better");
    drop(store);
    let (store, recovered) = open(directory.path());
    assert_eq!(recovered.queues[0].levels[0].delivered_before, Position(4));
    commit(&store, [publish(1, 4..6)]);
    assert_eq!(flags(&store), [true, true, true, true, false, false]);
    commit(&store, [mark(5)]);
    drop(store);
    let (store, _) = open(directory.path());
    assert_eq!(flags(&store), [true, true, true, true, true, false]);
}

#[test]
fn a_purge_of_many_messages_is_at_once_and_its_rows_go_bit_by_bit() {
    let directory = directory();
    // Each append is a group.
    let settings = StoreSettings {
        group_operations_max: 1,
        ..StoreSettings::default()
    };
    let (store, _) = open_with(directory.path(), &settings);
    commit(
        &store,
        [
            Operation::DeclareQueue(queue_row(1)),
            Operation::DeclareQueue(queue_row(2)),
        ],
    );
    // Thin segments: one message each.
    for at in 0..2000 {
        store.append(&mut vec![publish(1, at..at + 1), publish(2, at..at + 1)]);
        commit(&store, []);
    }
    commit(&store, [publish(1, 2000..200_000)]);
    let purge = Operation::SettleRange {
        queue: QueueId(1),
        from: Position(1001),
        to: Position(199_990),
        messages: 198_989,
        body_bytes: 0,
    };
    // The late settle finds rows that are gone only in name.
    store.append(&mut vec![purge]);
    commit(&store, [settle(1, [199_000])]);
    let left = load(&store, 1, 900, 200_000, 1000);
    let expected: Vec<u64> = (900..1001).chain(199_990..200_000).collect();
    assert_eq!(positions(&left), expected);
    let copy = crashed_copy(directory.path());
    let (again, recovered) = open(copy.path());
    assert_eq!(recovered.queues[0].levels[0].messages, 1011);
    assert_eq!(positions(&load(&again, 1, 900, 200_000, 1000)), expected);
    for (store, path) in [(&store, directory.path()), (&again, copy.path())] {
        eventually(|| count(path, "garbage") == 0);
        assert_eq!(count(path, "segment WHERE id < 2 << 39"), 1001 + 1);
        assert_eq!(positions(&load(store, 1, 900, 200_000, 1000)), expected);
        assert_eq!(positions(&load(store, 2, 0, 5000, 5000)).len(), 2000);
    }
    commit(
        &store,
        [Operation::DeleteQueue(QueueId(1)), publish(2, 2000..2001)],
    );
    eventually(|| count(directory.path(), "segment") == 2001);
}

#[test]
fn what_was_purged_is_not_counted_again_when_it_is_settled() {
    let directory = directory();
    let (store, _) = open(directory.path());
    commit(&store, [Operation::DeclareQueue(queue_row(1)), publish(1, 0..10)]);
    let purge = Operation::SettleRange {
        queue: QueueId(1),
        from: Position(5),
        to: Position(10),
        messages: 5,
        body_bytes: 30,
    };
    commit(&store, [purge, settle(1, 4..8)]);
    drop(store);
    let (_store, recovered) = open(directory.path());
    assert_eq!(
        (
            recovered.queues[0].levels[0].messages,
            recovered.queues[0].levels[0].body_bytes
        ),
        (4, 24)
    );
}
