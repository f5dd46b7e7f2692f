//! The memory store against the real one.

use super::*;
use crate::message::Message;
use crate::store::{LevelRow, Position, PublishEntry, QueueId, QueueRow};

fn declare(id: u32) -> Vec<Operation> {
    vec![Operation::DeclareQueue(QueueRow {
        id: QueueId(id),
        vhost: "/".into(),
        name: format!("q{id}").into(),
        durable: true,
        auto_delete: false,
        arguments: amq_protocol::types::FieldTable::default(),
    })]
}

#[test]
fn a_hold_makes_one_group_of_what_it_spans() {
    let store = MemoryStore::default();
    let before = store.append(&mut declare(1));
    store.hold();
    store.append(&mut declare(2));
    let last = store.append(&mut declare(3));
    store.commit_all();
    assert_eq!(store.committed(), before, "the held group stays out");
    store.release();
    assert_eq!(store.pending_groups(), 1);
    store.commit(1);
    assert_eq!(store.committed(), last);
}

#[test]
fn a_crash_leaves_what_was_committed() {
    let store = MemoryStore::default();
    store.append(&mut declare(1));
    store.append(&mut declare(2));
    store.commit(1);
    let (_, recovered) = store.crash();
    assert_eq!(recovered.queues.len(), 1);
    assert_eq!(recovered.next_queue, 2);
}

#[test]
fn a_level_is_part_of_its_queue_and_goes_with_it() {
    let store = MemoryStore::default();
    for (level, queue) in [(2, 1), (3, 77)] {
        let entry = PublishEntry {
            position: Position(4),
            message: Message::new(b"", b"key", &[0, 0], b"body"),
            expires_at: None,
            is_persistent: true,
        };
        let row = LevelRow {
            id: QueueId(level),
            queue: QueueId(queue),
            priority: 5,
        };
        let publish = Operation::Publish {
            queue: row.id,
            messages: vec![entry],
        };
        store.append(&mut declare(1));
        store.append(&mut vec![Operation::DeclareLevel(row), publish]);
    }
    store.commit_all();
    let names: Vec<_> = store.messages().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["q1".into()], "the other one's queue is not there");
    let (store, recovered) = store.crash();
    let levels = recovered.queues[0].levels.iter();
    let sums: Vec<_> = levels
        .map(|level| (level.id.0, level.priority, level.messages, level.next.0))
        .collect();
    assert_eq!(sums, [(1, 0, 0, 0), (2, 5, 1, 5)]);
    assert_eq!(recovered.next_queue, 4);
    let gone = [2, 1].map(|id| Operation::DeleteQueue(QueueId(id)));
    store.append(&mut Vec::from(gone));
    store.commit_all();
    assert!(store.crash().1.queues.is_empty());
}
