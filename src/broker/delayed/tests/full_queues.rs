//! Delayed messages that find their queue full, and what exchanges behind the one that delays remember.

use super::*;
use crate::broker::vhost::DeleteConditions;

/// How long until a full queue is tried again.
const INTERVAL: u64 = 1_000;

/// A queue `full` behind the exchange, of one message, that then does this.
fn bind_full(world: &World, overflow: &str, more: &[(&str, &str)]) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    for (name, value) in [("x-overflow", overflow)].iter().chain(more) {
        arguments.insert((*name).into(), AMQPValue::LongString((*value).into()));
    }
    world.bind_with("later", "full", "k", arguments);
}

fn publish_three(world: &mut World) {
    for body in [b"a", b"b", b"c"] {
        world.publish("later", &["k"], &delay(10), body);
    }
    world.settle();
    world.pass(10);
    world.settle();
}

#[test]
fn a_full_queue_gets_delayed_messages_when_it_has_room_and_others_do_not_get_them_twice() {
    for crashes in [false, true] {
        let mut world = world(100);
        bind_full(&world, "reject-publish", &[]);
        publish_three(&mut world);
        assert_eq!((world.ready("full"), world.delayed("later").count()), (1, 2));
        for expected in [&b"a"[..], b"b", b"c"] {
            if crashes {
                world.crash();
                world.settle();
            }
            assert_eq!(world.take_all("full"), [expected]);
            world.settle();
            world.pass(INTERVAL);
            world.settle();
        }
        assert_eq!((world.ready("full"), world.delayed("later").count()), (0, 0));
        assert_eq!(world.take_all("q"), [b"a", b"b", b"c"]);
    }
}

#[test]
fn a_crash_while_a_full_queue_is_tried_neither_loses_nor_doubles() {
    for commits in 0..8 {
        let mut world = world(100);
        bind_full(&world, "reject-publish", &[]);
        for body in [b"a", b"b"] {
            world.publish("later", &["k"], &delay(10), body);
        }
        world.settle();
        world.pass(10);
        world.durable.commit(commits);
        world.crash();
        world.settle();
        assert_eq!((world.ready("full"), world.delayed("later").count()), (1, 1));
        assert_eq!(world.take_all("q"), [b"a", b"b"]);
    }
}

#[test]
fn more_messages_than_fit_in_memory_wait_for_a_full_queue() {
    let mut world = world(4);
    bind_full(&world, "reject-publish", &[]);
    for number in 0..40 {
        world.publish("later", &["k"], &delay(10), &[number]);
    }
    world.settle();
    world.pass(10);
    world.settle();
    let delayed = world.delayed("later");
    assert_eq!(delayed.count(), 39);
    assert!(delayed.count_in_memory() <= 4);
    let mut came = Vec::new();
    while came.len() < 40 {
        came.extend(world.take_all("full"));
        world.pass(INTERVAL);
        world.settle();
    }
    came.sort();
    assert_eq!(came, (0..40).map(|number| vec![number]).collect::<Vec<_>>());
    assert_eq!(world.ready("q"), 40);
}

#[test]
fn a_queue_that_dead_letters_what_it_refuses_is_not_tried_again() {
    let mut world = world(100);
    let to_dead = [
        ("x-dead-letter-exchange", ""),
        ("x-dead-letter-routing-key", "dead"),
    ];
    bind_full(&world, "reject-publish-dlx", &to_dead);
    world.bind("later", "dead", "other");
    publish_three(&mut world);
    assert_eq!(world.delayed("later").count(), 0);
    assert_eq!(world.take_all("full"), [b"a"]);
    assert_eq!(world.take_all("dead"), [b"b", b"c"]);
}

#[test]
fn what_waits_for_a_queue_that_is_deleted_ends_with_it() {
    let mut world = world(100);
    bind_full(&world, "reject-publish", &[]);
    publish_three(&mut world);
    let full = world.vhost().queue("full", ME).unwrap();
    world
        .vhost()
        .remove_queue(&full, DeleteConditions::default())
        .unwrap();
    world.pass(INTERVAL);
    world.settle();
    assert_eq!(world.delayed("later").count(), 0);
    assert_eq!(world.ready("q"), 3);
}

#[test]
fn a_history_begins_with_the_release() {
    let mut world = World::new(100);
    let delayed_type = [("x-delayed-type", "x-recent-history")];
    world.declare_exchange("later", "x-delayed-message", &delayed_type, true);
    world.declare_exchange("behind", "x-recent-history", &[], true);
    let bound = world
        .vhost()
        .bind_exchange(&"behind".into(), &"later".into(), b"", &FieldTable::default());
    bound.unwrap();
    world.publish("later", &["k"], &delay(10), b"a");
    world.settle();
    for exchange in ["later", "behind"] {
        world.bind(exchange, &format!("{exchange} before"), "");
    }
    assert_eq!(
        (world.ready("later before"), world.ready("behind before")),
        (0, 0)
    );
    world.pass(10);
    world.settle();
    world.crash();
    for exchange in ["later", "behind"] {
        assert_eq!(world.take_all(&format!("{exchange} before")), [b"a"]);
        world.bind(exchange, &format!("{exchange} after"), "");
        assert_eq!(world.take_all(&format!("{exchange} after")), [b"a"]);
    }
}
