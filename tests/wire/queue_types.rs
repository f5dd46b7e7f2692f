//! Types of queues: what each refuses, and with which words.

use crate::bytes::{consume, entry, get, int, publish, qos, queue_bind, queue_declare, queue_delete, text};
use crate::client::{Client, server};
use crate::rows::{Row, channel, check, connection};

const DURABLE: u8 = 2;

fn quorum(more: impl AsRef<[u8]>) -> Vec<u8> {
    [&text("x-queue-type", "quorum"), more.as_ref()].concat()
}

fn single_active() -> Vec<u8> {
    entry("x-single-active-consumer", b't', &[1])
}

/// A quorum queue's declaration that is refused; the text goes on behind the queue's name.
fn refused(name: &'static str, bits: u8, more: impl AsRef<[u8]>, before: &str, after: &str) -> Row {
    let text = format!("PRECONDITION_FAILED - {before} for queue 'type-bad' in vhost '/'{after}");
    channel(
        name,
        queue_declare("type-bad", bits, &quorum(more)),
        406,
        &text,
        (50, 10),
    )
}

/// An argument of a quorum queue that is refused for its value.
fn invalid(argument: &'static str, value: impl AsRef<[u8]>, reason: &str) -> Row {
    let before = format!("invalid arg '{argument}'");
    refused(argument, DURABLE, value, &before, &format!(": {reason}"))
}

/// An argument that quorum queues do not have.
fn foreign(argument: &'static str, value: impl AsRef<[u8]>) -> Row {
    let before = format!("invalid arg '{argument}'");
    refused(
        argument,
        DURABLE,
        value,
        &before,
        " of queue type rabbit_quorum_queue",
    )
}

#[test]
fn a_quorum_queue_is_durable_shared_lasting_and_named() {
    check(vec![
        refused("transient", 0, [], "invalid property 'non-durable'", ""),
        refused("exclusive", 2 | 4, [], "invalid property 'exclusive-owner'", ""),
        refused(
            "exclusive and transient",
            4,
            [],
            "invalid property 'exclusive-owner'",
            "",
        ),
        refused("auto-delete", 2 | 8, [], "invalid property 'auto-delete'", ""),
        refused("all of it", 4 | 8, [], "invalid property 'auto-delete'", ""),
        channel(
            "no name",
            queue_declare("", DURABLE, &quorum([])),
            406,
            "PRECONDITION_FAILED - Cannot declare a server-named queue for type rabbit_quorum_queue",
            (50, 10),
        ),
        channel(
            "an unknown type and no name",
            queue_declare("", DURABLE, &text("x-queue-type", "foo")),
            406,
            "PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue '' in vhost '/': \"unsupported queue type 'foo'\"",
            (50, 10),
        ),
    ]);
}

#[test]
fn a_quorum_queues_arguments_are_checked() {
    check(vec![
        invalid(
            "x-quorum-initial-group-size",
            int("x-quorum-initial-group-size", 0),
            "{value_zero,0}",
        ),
        invalid(
            "x-quorum-initial-group-size",
            text("x-quorum-initial-group-size", "3"),
            "\"expected integer, got longstr\"",
        ),
        invalid(
            "x-max-in-memory-length",
            int("x-max-in-memory-length", -1),
            "{value_negative,-1}",
        ),
        invalid(
            "x-max-in-memory-bytes",
            int("x-max-in-memory-bytes", -1),
            "{value_negative,-1}",
        ),
        invalid(
            "x-dead-letter-strategy",
            text("x-dead-letter-strategy", "twice"),
            "invalid_dlx_strategy",
        ),
        invalid(
            "x-dead-letter-strategy",
            int("x-dead-letter-strategy", 1),
            "{unacceptable_type,signedint}",
        ),
        invalid(
            "x-queue-leader-locator",
            text("x-queue-leader-locator", "x"),
            "invalid_queue_locator_arg",
        ),
        foreign("x-queue-mode", text("x-queue-mode", "lazy")),
        foreign("x-queue-version", int("x-queue-version", 2)),
        foreign(
            "x-queue-master-locator",
            text("x-queue-master-locator", "min-masters"),
        ),
        foreign("x-max-age", text("x-max-age", "1h")),
        foreign(
            "x-stream-max-segment-size-bytes",
            int("x-stream-max-segment-size-bytes", 1000),
        ),
        foreign(
            "x-stream-filter-size-bytes",
            int("x-stream-filter-size-bytes", 16),
        ),
        foreign("x-initial-cluster-size", int("x-initial-cluster-size", 1)),
    ]);
}

#[test]
fn what_a_quorum_queue_knows_is_accepted_and_compared() {
    let server = server();
    let mut client = Client::open(server.address());
    let arguments = [
        int("x-quorum-initial-group-size", 3),
        int("x-max-in-memory-length", 0),
        int("x-max-in-memory-bytes", 0),
        text("x-dead-letter-exchange", "amq.fanout"),
        text("x-dead-letter-strategy", "at-least-once"),
        text("x-overflow", "reject-publish"),
        text("x-queue-leader-locator", "balanced"),
        int("x-delivery-limit", -1),
        int("x-max-priority", 9),
    ];
    for _ in 0..2 {
        client.call(
            &queue_declare("type-args", DURABLE, &quorum(arguments.concat())),
            1,
            (50, 11),
        );
    }
    let text = "PRECONDITION_FAILED - inequivalent arg 'x-dead-letter-strategy' for queue 'type-args' in vhost '/': \
                received none but current is the value 'at-least-once' of type 'longstr'";
    let fewer = [&arguments[..4], &arguments[5..]].concat().concat();
    client.refused(
        &queue_declare("type-args", DURABLE, &quorum(fewer)),
        1,
        406,
        text,
        (50, 10),
    );
    client.call(&queue_delete("type-args", 0), 1, (50, 41));
}

#[test]
fn a_type_is_part_of_what_a_redeclaration_agrees_on() {
    let server = server();
    let mut client = Client::open(server.address());
    let text_of = |received: &str, current: &str| {
        format!(
            "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'type-same' in vhost '/': \
             received '{received}' but current is '{current}'"
        )
    };
    for (current, other) in [("quorum", "classic"), ("classic", "quorum")] {
        let declare = |kind: &str| queue_declare("type-same", DURABLE, &text("x-queue-type", kind));
        client.call(&declare(current), 1, (50, 11));
        client.call(&declare(current), 1, (50, 11));
        for received in [other, "stream"] {
            client.refused(&declare(received), 1, 406, &text_of(received, current), (50, 10));
        }
        if current == "quorum" {
            // No type is the default one.
            let plain = queue_declare("type-same", DURABLE, &[]);
            client.refused(&plain, 1, 406, &text_of("classic", "quorum"), (50, 10));
        }
        client.call(&queue_delete("type-same", 0), 1, (50, 41));
    }
}

#[test]
fn streams_are_refused_until_there_are_any() {
    check(vec![channel(
        "a stream",
        queue_declare("type-stream", DURABLE, &text("x-queue-type", "stream")),
        406,
        "PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue 'type-stream' in vhost '/': \
         \"this broker has no streams yet\"",
        (50, 10),
    )]);
}

#[test]
fn a_quorum_queue_is_deleted_without_conditions() {
    let server = server();
    let declare = queue_declare("type-delete", DURABLE, &quorum([]));
    let row = |name, bits, flag: &str| {
        connection(
            name,
            [declare.clone(), queue_delete("type-delete", bits)].concat(),
            540,
            &format!(
                "NOT_IMPLEMENTED - cannot delete queue 'type-delete' in vhost '/'. queue.delete operations with {flag} \
                 flag set are not supported by quorum queues"
            ),
            (50, 40),
        )
    };
    check(vec![
        row("if-unused", 1, "if-unused"),
        row("if-empty", 2, "if-empty"),
        row("both", 3, "if-unused"),
    ]);
    let mut client = Client::open(server.address());
    assert_eq!(client.call(&queue_delete("type-delete", 0), 1, (50, 41)), [0; 4]);
}

#[test]
fn consumers_of_a_quorum_queue_share_no_limit() {
    let server = server();
    let declare = queue_declare("type-qos", DURABLE, &quorum([]));
    check(vec![connection(
        "global qos",
        [declare.clone(), qos(5, true), consume("type-qos", "t", 0, &[])].concat(),
        540,
        "NOT_IMPLEMENTED - queue 'type-qos' in vhost '/' does not support global qos",
        (60, 20),
    )]);
    let mut client = Client::open(server.address());
    client.call(&qos(5, true), 1, (60, 11));
    client.call(&qos(1, false), 1, (60, 11));
    client.send(&[publish("", "type-qos", b"1"), publish("", "type-qos", b"2")].concat());
    client.call(&consume("type-qos", "t", 0, &[]), 1, (60, 21));
    assert_eq!(client.delivery().2, "1");
    client.sync();
    client.call(&queue_delete("type-qos", 0), 1, (50, 41));
}

#[test]
fn a_quorum_queue_with_a_single_active_consumer_is_not_got_from() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(
        &queue_declare("type-get", DURABLE, &quorum(single_active())),
        1,
        (50, 11),
    );
    let text = "RESOURCE_LOCKED - cannot obtain access to locked queue 'type-get' in vhost '/'. basic.get operations \
                are not supported by quorum queues with single active consumer";
    client.refused(&get("type-get", false), 1, 405, text, (60, 70));
    client.call(&queue_delete("type-get", 0), 1, (50, 41));
    // Without it, and on a classic queue, it is fine.
    client.call(&queue_declare("type-get", DURABLE, &quorum([])), 1, (50, 11));
    client.send(&publish("", "type-get", b"x"));
    assert_eq!(client.get("type-get").unwrap().2, "x");
    client.call(&queue_delete("type-get", 0), 1, (50, 41));
    client.call(&queue_declare("type-get", 0, &single_active()), 1, (50, 11));
    client.send(&publish("", "type-get", b"y"));
    assert_eq!(client.get("type-get").unwrap().2, "y");
    client.call(&queue_delete("type-get", 0), 1, (50, 41));
}

#[test]
fn limits_of_delivery_and_time_are_for_queues_of_every_type() {
    let row = |argument: &'static str, value: Vec<u8>, reason: &str| {
        channel(
            argument,
            queue_declare("type-any", 8, &value),
            406,
            &format!(
                "PRECONDITION_FAILED - invalid arg '{argument}' for queue 'type-any' in vhost '/': {reason}"
            ),
            (50, 10),
        )
    };
    let no_integer = "\"expected integer, got longstr\"";
    let mut rows = vec![
        row("x-delivery-limit", text("x-delivery-limit", "3"), no_integer),
        row(
            "x-delayed-retry-type",
            text("x-delayed-retry-type", "some"),
            "invalid_delayed_retry_type",
        ),
        row(
            "x-delayed-retry-type",
            int("x-delayed-retry-type", 1),
            "{unacceptable_type,signedint}",
        ),
    ];
    for argument in [
        "x-delayed-retry-min",
        "x-delayed-retry-max",
        "x-consumer-timeout",
        "x-consumer-disconnected-timeout",
    ] {
        rows.push(row(argument, text(argument, "3"), no_integer));
        rows.push(row(argument, int(argument, -1), "{value_negative,-1}"));
        let too_large = entry(argument, b'l', &315_360_000_001_i64.to_be_bytes());
        rows.push(row(argument, too_large, "{value_too_large,315360000001}"));
    }
    check(rows);
    let server = server();
    let mut client = Client::open(server.address());
    for kind in ["all", "failed", "returned", "disabled"] {
        let arguments = [
            int("x-delivery-limit", 0),
            text("x-delayed-retry-type", kind),
            int("x-delayed-retry-min", 1000),
            int("x-delayed-retry-max", 0),
            int("x-consumer-timeout", 0),
            int("x-consumer-disconnected-timeout", 60_000),
        ];
        let name = format!("type-any-{kind}");
        client.call(&queue_declare(&name, 4, &arguments.concat()), 1, (50, 11));
        for (index, argument) in arguments.iter().enumerate() {
            let mut others = arguments.to_vec();
            others.remove(index);
            let name_len = usize::from(argument[0]);
            let argument = String::from_utf8_lossy(&argument[1..=name_len]).into_owned();
            client.send(&queue_declare(&name, 4, &others.concat()));
            let close = client.close().expect("a difference");
            assert_eq!(close.code, 406);
            assert!(
                close.text.contains(&format!("inequivalent arg '{argument}'")),
                "{}",
                close.text
            );
            client.send(&crate::bytes::method(20, 41).on(1));
            client.call(&crate::bytes::channel_open(1), 1, (20, 11));
        }
    }
}

#[test]
fn a_quorum_queue_can_be_bound_like_any_other() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("type-bind", DURABLE, &quorum([])), 1, (50, 11));
    client.call(
        &queue_bind("type-bind", "amq.direct", "type-key", &[]),
        1,
        (50, 21),
    );
    client.send(&publish("amq.direct", "type-key", b"x"));
    client.call(&consume("type-bind", "t", 2, &[]), 1, (60, 21));
    assert_eq!(client.delivery().2, "x");
    client.call(&queue_delete("type-bind", 0), 1, (50, 41));
}
