//! Letters to an exchange that takes each key once.

use super::*;

/// A queue whose letters go to an exchange that takes each key once, and stay until somebody takes them.
fn dies_into_once(world: &World) -> Arc<LiveQueue> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-message-deduplication".into(), AMQPValue::Boolean(true));
    let once = ExchangeDeclaration {
        name: "once".into(),
        kind: "fanout".into(),
        durable: true,
        auto_delete: false,
        internal: false,
        arguments,
    };
    let declared = world.vhost.declare_exchange::<Refusal>(once, |_| Ok(()));
    declared.expect("it is acceptable");
    let quorum = [
        ("x-queue-type", "quorum"),
        ("x-dead-letter-strategy", "at-least-once"),
        ("x-overflow", "reject-publish"),
        ("x-dead-letter-exchange", "once"),
    ];
    world.declare("work", &[("x-message-ttl", 100)], &quorum)
}

fn bind_to_once(world: &World, queue: &Arc<LiveQueue>) {
    let bound = world
        .vhost
        .bind_queue(queue, &"once".into(), b"", &FieldTable::default());
    bound.expect("both are there");
}

fn keyed(exchange: &str, body: &str) -> Message {
    let mut headers = Vec::new();
    let key = AMQPValue::LongString("key".into());
    field_table::write_entry(&mut headers, b"x-deduplication-header", &key);
    let properties = content::with_headers(PERSISTENT, Some(&headers));
    Message::new(exchange.as_bytes(), b"work", &properties, body.as_bytes())
}

#[test]
fn a_letter_that_repeats_what_may_still_be_refused_stays_until_that_is_decided() {
    let mut world = World::new();
    let work = dies_into_once(&world);
    let dead = world.declare("dead", &[], &[]);
    bind_to_once(&world, &dead);
    let (_, mut traces) = world.vhost.pass(&keyed("once", "other"), &[]);
    work.publish(std::iter::once(keyed("", "job")));
    world.pass(100);
    assert_eq!(
        world.stored(),
        [pair("work", "job")],
        "the other one is undecided"
    );
    world.vhost.settle_traces(&mut traces, true);
    world.pass(10_000);
    assert_eq!(world.stored(), [pair("dead", "job")], "it was refused");
}

#[test]
fn a_letter_that_no_queue_takes_leaves_no_key() {
    let mut world = World::new();
    let work = dies_into_once(&world);
    work.publish(std::iter::once(keyed("", "job")));
    world.pass(100);
    assert_eq!(world.stored(), [pair("work", "job")], "there is no queue");
    let full = world.declare(
        "full",
        &[("x-max-length", 0)],
        &[("x-overflow", "reject-publish")],
    );
    bind_to_once(&world, &full);
    world.pass(10_000);
    assert_eq!(world.stored(), [pair("work", "job")], "and then a full one");
    bind_to_once(&world, &world.declare("dead", &[], &[]));
    world.pass(10_000);
    assert_eq!(world.stored(), [pair("dead", "job")]);
}
