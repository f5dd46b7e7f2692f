//! The memory store against the real one.

use super::*;
use crate::store::QueueRow;

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
