//! Definitions come back as they went in.

use amq_protocol::types::{AMQPValue, ShortString};

use super::*;
use crate::store::memory::MemoryStore;
use crate::store::{PolicyKind, PolicyRow};

fn arguments(value: i32) -> FieldTable {
    let mut table = FieldTable::default();
    table.insert(ShortString::from("x-number"), AMQPValue::LongInt(value));
    table.insert(
        ShortString::from("x-inner"),
        AMQPValue::FieldTable(FieldTable::default()),
    );
    table
}

fn exchange(name: &str) -> ExchangeRow {
    ExchangeRow {
        vhost: "/".into(),
        name: name.into(),
        kind: "topic".into(),
        auto_delete: true,
        internal: false,
        arguments: arguments(1),
    }
}

fn binding(value: i32) -> BindingRow {
    BindingRow {
        vhost: "/".into(),
        source: "orders".into(),
        destination_kind: DestinationKind::Exchange,
        destination: "audit".into(),
        routing_key: Arc::from(&b"no\xffutf8"[..]),
        arguments: arguments(value),
    }
}

#[test]
fn definitions_come_back_as_they_were_declared() {
    let directory = directory();
    let (store, _) = open(directory.path());
    let mut queue = queue_row(7);
    queue.arguments = arguments(5);
    queue.auto_delete = true;
    let mut lost = queue_row(8);
    lost.durable = false;
    commit(
        &store,
        [
            Operation::DeclareExchange(exchange("orders")),
            Operation::DeclareExchange(exchange("gone")),
            Operation::DeclareQueue(queue.clone()),
            Operation::DeclareQueue(lost),
            publish(8, 0..10),
            Operation::Bind(binding(1)),
            Operation::Bind(binding(1)),
            Operation::Bind(binding(2)),
            Operation::Bind(binding(3)),
        ],
    );
    commit(
        &store,
        [
            Operation::DeleteExchange {
                vhost: "/".into(),
                name: "gone".into(),
            },
            Operation::Unbind(binding(2)),
            Operation::Unbind(binding(2)),
        ],
    );
    drop(store);
    let (_store, recovered) = open(directory.path());
    assert_eq!(recovered.exchanges, [exchange("orders")]);
    assert_eq!(recovered.bindings, [binding(1), binding(3)]);
    assert_eq!(recovered.queues.len(), 1);
    assert_eq!(recovered.queues[0].row, queue);
    assert_eq!(recovered.next_queue, 9);
}

fn policy(kind: PolicyKind, name: &str, priority: i64) -> PolicyRow {
    PolicyRow {
        vhost: "/".into(),
        kind,
        name: name.into(),
        pattern: "^orders".into(),
        apply_to: "queues".into(),
        priority,
        definition: arguments(9),
    }
}

#[test]
fn policies_of_both_kinds_come_back_as_they_were_last_set() {
    let (user, operator) = (PolicyKind::User, PolicyKind::Operator);
    let directory = directory();
    let (store, _) = open(directory.path());
    let memory = MemoryStore::default();
    let operations = || {
        [
            Operation::SetPolicy(policy(user, "a", 1)),
            Operation::SetPolicy(policy(operator, "a", -2)),
            Operation::SetPolicy(policy(user, "a", i64::MAX)),
            Operation::SetPolicy(policy(user, "gone", 4)),
            Operation::SetPolicy(policy(operator, "gone", 5)),
            Operation::ClearPolicy {
                vhost: "/".into(),
                kind: user,
                name: "gone".into(),
            },
        ]
    };
    commit(&store, operations());
    memory.append(&mut operations().into());
    memory.commit_all();
    drop(store);
    let expected = [
        policy(user, "a", i64::MAX),
        policy(operator, "a", -2),
        policy(operator, "gone", 5),
    ];
    assert_eq!(open(directory.path()).1.policies, expected);
    let by_kind = |mut rows: Vec<PolicyRow>| {
        rows.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        rows
    };
    assert_eq!(by_kind(memory.crash().1.policies), expected);
}

#[test]
fn queue_numbers_are_not_used_again() {
    let directory = directory();
    let (store, _) = open(directory.path());
    commit(
        &store,
        [
            Operation::DeclareQueue(queue_row(41)),
            Operation::DeleteQueue(QueueId(41)),
        ],
    );
    drop(store);
    assert_eq!(open(directory.path()).1.next_queue, 42);
}

#[test]
fn the_time_that_was_noted_last_comes_back() {
    let directory = directory();
    let (store, recovered) = open(directory.path());
    assert_eq!(recovered.noted_time, None);
    commit(&store, [at(7), at(9)].map(Operation::NoteTime));
    drop(store);
    assert_eq!(open(directory.path()).1.noted_time, Some(at(9)));
}
