//! Messages by priority: numbers of their own beside that of their queue.

use super::*;
use crate::store::LevelRow;

fn declare_level(id: u32, queue: u32, priority: u8) -> Operation {
    Operation::DeclareLevel(LevelRow {
        id: QueueId(id),
        queue: QueueId(queue),
        priority,
    })
}

/// Number, priority and messages of each level of a queue.
fn levels(recovered: &Recovered, queue: usize) -> Vec<(u32, u8, u64)> {
    let levels = &recovered.queues[queue].levels;
    levels
        .iter()
        .map(|level| (level.id.0, level.priority, level.messages))
        .collect()
}

#[test]
fn a_level_comes_back_inside_its_queue() {
    let directory = directory();
    let (store, _) = open(directory.path());
    commit(
        &store,
        [
            Operation::DeclareQueue(queue_row(1)),
            Operation::DeclareQueue(queue_row(2)),
            declare_level(3, 1, 9),
            declare_level(4, 2, 1),
            declare_level(5, 1, 4),
            publish(1, 0..2),
            publish(3, 0..3),
            publish(5, 10..14),
            Operation::MarkDelivered {
                queue: QueueId(5),
                before: Position(12),
            },
            settle(5, [10]),
        ],
    );
    drop(store);
    let (store, recovered) = open(directory.path());
    assert_eq!(recovered.next_queue, 6);
    assert_eq!(recovered.queues.len(), 2);
    assert_eq!(levels(&recovered, 0), [(1, 0, 2), (3, 9, 3), (5, 4, 3)]);
    assert_eq!(levels(&recovered, 1), [(2, 0, 0), (4, 1, 0)]);
    let last = &recovered.queues[0].levels[2];
    assert_eq!((last.next, last.delivered_before), (Position(14), Position(12)));
    let page = load(&store, 5, 0, 20, 10);
    assert_eq!(positions(&page), [11, 12, 13]);
    let redelivered: Vec<bool> = page.entries.iter().map(|entry| entry.redelivered).collect();
    assert_eq!(redelivered, [true, false, false]);
}

#[test]
fn a_deleted_level_leaves_nothing() {
    let directory = directory();
    let (store, _) = open(directory.path());
    commit(
        &store,
        [
            Operation::DeclareQueue(queue_row(1)),
            declare_level(2, 1, 1),
            declare_level(3, 1, 2),
            publish(2, 0..5),
            publish(3, 0..5),
        ],
    );
    commit(&store, [Operation::DeleteQueue(QueueId(2)), publish(2, 5..6)]);
    eventually(|| count(directory.path(), "segment") == 1);
    drop(store);
    let (store, recovered) = open(directory.path());
    assert_eq!(levels(&recovered, 0), [(1, 0, 0), (3, 2, 5)]);
    commit(&store, [3, 1].map(|id| Operation::DeleteQueue(QueueId(id))));
    for table in ["segment", "summary", "level", "queue", "garbage"] {
        eventually(|| count(directory.path(), table) == 0);
    }
}

#[test]
fn a_level_without_its_queue_goes_at_the_next_start() {
    let directory = directory();
    let (store, _) = open(directory.path());
    let transient = QueueRow {
        durable: false,
        ..queue_row(1)
    };
    commit(
        &store,
        [
            Operation::DeclareQueue(transient),
            declare_level(2, 1, 1),
            declare_level(3, 77, 1),
            publish(2, 0..5),
            publish(3, 0..5),
        ],
    );
    drop(store);
    let (_store, recovered) = open(directory.path());
    assert!(recovered.queues.is_empty());
    for table in ["segment", "summary", "level", "queue", "garbage"] {
        eventually(|| count(directory.path(), table) == 0);
    }
}
