//! Queue arguments: what is refused, and what differs on a redeclaration.

use crate::bytes::{Fields, entry, int, queue_declare, queue_delete, text};
use crate::client::{Client, server};
use crate::rows::{Row, channel, check};

fn long(key: &str, value: i64) -> Vec<u8> {
    entry(key, b'l', &value.to_be_bytes())
}

fn double(key: &str, value: f64) -> Vec<u8> {
    entry(key, b'd', &value.to_be_bytes())
}

/// A declaration that is refused for one argument.
fn invalid(arguments: impl AsRef<[u8]>, name: &'static str, reason: &str) -> Row {
    let text = format!("PRECONDITION_FAILED - invalid arg '{name}' for queue 'arg-q' in vhost '/'{reason}");
    channel(
        name,
        queue_declare("arg-q", 8, arguments.as_ref()),
        406,
        &text,
        (50, 10),
    )
}

#[test]
fn invalid_arguments_are_406_with_rabbitmqs_reasons() {
    let year_10 = 315_360_000_000;
    check(vec![
        invalid(
            text("x-message-ttl", "10"),
            "x-message-ttl",
            ": \"expected integer, got longstr\"",
        ),
        invalid(
            double("x-message-ttl", 10.0),
            "x-message-ttl",
            ": \"expected integer, got double\"",
        ),
        invalid(
            entry("x-message-ttl", b't', &[1]),
            "x-message-ttl",
            ": \"expected integer, got bool\"",
        ),
        invalid(int("x-message-ttl", -1), "x-message-ttl", ": {value_negative,-1}"),
        invalid(
            long("x-message-ttl", year_10 + 1),
            "x-message-ttl",
            ": {value_too_large,315360000001}",
        ),
        invalid(int("x-expires", 0), "x-expires", ": {value_zero,0}"),
        invalid(int("x-expires", -5), "x-expires", ": {value_negative,-5}"),
        invalid(
            long("x-expires", year_10 + 1),
            "x-expires",
            ": {value_too_large,315360000001}",
        ),
        invalid(int("x-max-length", -1), "x-max-length", ": {value_negative,-1}"),
        invalid(
            text("x-max-length", "1"),
            "x-max-length",
            ": \"expected integer, got longstr\"",
        ),
        invalid(
            int("x-max-length-bytes", -1),
            "x-max-length-bytes",
            ": {value_negative,-1}",
        ),
        invalid(text("x-overflow", "foo"), "x-overflow", ": invalid_overflow"),
        invalid(
            int("x-overflow", 1),
            "x-overflow",
            ": {unacceptable_type,signedint}",
        ),
    ]);
}

#[test]
fn arguments_beside_numbers_are_406_too() {
    check(vec![
        invalid(
            int("x-max-priority", 256),
            "x-max-priority",
            ": {max_value_exceeded,256}",
        ),
        invalid(
            int("x-max-priority", -1),
            "x-max-priority",
            ": {value_negative,-1}",
        ),
        invalid(
            text("x-queue-type", "foo"),
            "x-queue-type",
            ": \"unsupported queue type 'foo'\"",
        ),
        invalid(
            int("x-queue-type", 1),
            "x-queue-type",
            ": {unacceptable_type,signedint}",
        ),
        invalid(
            int("x-single-active-consumer", 1),
            "x-single-active-consumer",
            ": {unacceptable_type,signedint}",
        ),
        invalid(
            int("x-queue-version", 3),
            "x-queue-version",
            ": \"unsupported queue version '3'\"",
        ),
        invalid(
            text("x-queue-version", "2"),
            "x-queue-version",
            ": \"expected integer, got longstr\"",
        ),
        invalid(
            text("x-queue-leader-locator", "nearest"),
            "x-queue-leader-locator",
            ": invalid_queue_locator_arg",
        ),
        invalid(
            int("x-queue-leader-locator", 1),
            "x-queue-leader-locator",
            ": {unacceptable_type,signedint}",
        ),
    ]);
}

#[test]
fn arguments_that_say_where_dead_letters_go_are_406_too() {
    let exchange = text("x-dead-letter-exchange", "");
    let too_long = "x".repeat(256);
    check(vec![
        invalid(
            text("x-dead-letter-routing-key", "k"),
            "x-dead-letter-routing-key",
            ": routing_key_but_no_dlx_defined",
        ),
        invalid(
            [exchange.clone(), int("x-dead-letter-routing-key", 1)].concat(),
            "x-dead-letter-routing-key",
            ": {unacceptable_type,signedint}",
        ),
        invalid(
            [exchange, text("x-dead-letter-routing-key", &too_long)].concat(),
            "x-dead-letter-routing-key",
            ": \"expected at most 255 bytes\"",
        ),
        invalid(
            text("x-dead-letter-exchange", &too_long),
            "x-dead-letter-exchange",
            ": \"expected at most 255 bytes\"",
        ),
        channel(
            "x-dead-letter-exchange",
            queue_declare("arg-q", 8, &int("x-dead-letter-exchange", 1)),
            406,
            "PRECONDITION_FAILED - invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'arg-q' in vhost '/'",
            (50, 10),
        ),
    ]);
}

#[test]
fn arguments_of_other_types_of_queues_are_406_too() {
    let numbers = [
        "x-initial-cluster-size",
        "x-stream-max-segment-size-bytes",
        "x-stream-filter-size-bytes",
        "x-max-in-memory-length",
        "x-max-in-memory-bytes",
        "x-quorum-initial-group-size",
    ];
    let strings = [("x-max-age", "1h"), ("x-dead-letter-strategy", "at-most-once")];
    let rows = numbers.map(|name| foreign(name, int(name, 16)));
    let more = strings.map(|(name, value)| foreign(name, text(name, value)));
    check(rows.into_iter().chain(more).collect());
}

/// An argument that classic queues do not have.
fn foreign(name: &'static str, argument: Vec<u8>) -> Row {
    invalid(argument, name, " of queue type rabbit_classic_queue")
}

#[test]
fn each_value_that_chooses_nothing_here_is_accepted() {
    let server = server();
    let mut client = Client::open(server.address());
    let locators = [
        "client-local",
        "balanced",
        "random",
        "least-leaders",
        "min-masters",
    ];
    let locators = locators.map(|locator| text("x-queue-leader-locator", locator));
    let versions = [1, 2].map(|version| int("x-queue-version", version));
    let modes = ["default", "lazy", "other"].map(|mode| text("x-queue-mode", mode));
    let overflows = ["drop-head", "reject-publish", "reject-publish-dlx"];
    let overflows = overflows.map(|overflow| text("x-overflow", overflow));
    let all = [&locators[..], &versions, &modes, &overflows].concat();
    for (number, argument) in all.iter().enumerate() {
        let name = format!("arg-fine-{number}");
        client.call(&queue_declare(&name, 4, argument), 1, (50, 11));
    }
}

#[test]
fn unknown_and_outdated_arguments_are_ignored() {
    let server = server();
    let mut client = Client::open(server.address());
    let arguments = [
        text("x-ha-policy", "nodes"),
        entry("x-ha-nodes", b'A', &Fields::default().long("").bytes()),
        int("x-ha-policy-params", 1),
        int("x-foo", 1),
        text("x-queue-mode", "lazy"),
        text("x-queue-master-locator", "min-masters"),
    ];
    client.call(&queue_declare("arg-ignored", 4, &arguments.concat()), 1, (50, 11));
    client.call(
        &queue_declare("arg-ignored", 4, &text("x-queue-mode", "lazy")),
        1,
        (50, 11),
    );
}

#[test]
fn integers_of_any_width_are_equal() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(
        &queue_declare("arg-width", 4, &int("x-max-priority", 5)),
        1,
        (50, 11),
    );
    for (tag, value) in [
        (b'l', &[0, 0, 0, 0, 0, 0, 0, 5][..]),
        (b's', &[0, 5]),
        (b'b', &[5]),
        (b'B', &[5]),
        (b'u', &[0, 5]),
        (b'i', &[0, 0, 0, 5]),
        (b'L', &[0, 0, 0, 0, 0, 0, 0, 5]),
    ] {
        client.call(
            &queue_declare("arg-width", 4, &entry("x-max-priority", tag, value)),
            1,
            (50, 11),
        );
    }
}

#[test]
fn classic_is_the_type_that_a_queue_has_anyway() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("arg-classic", 4, &[]), 1, (50, 11));
    client.call(
        &queue_declare("arg-classic", 4, &text("x-queue-type", "classic")),
        1,
        (50, 11),
    );
}

/// Flags and arguments, and in what they differ from a plain queue with `x-max-length` 5.
fn differences() -> Vec<(u8, Vec<u8>, &'static str, &'static str)> {
    let both = [int("x-max-length", 5), int("x-expires", 100_000)].concat();
    vec![
        (
            2,
            int("x-max-length", 5),
            "durable",
            "received 'true' but current is 'false'",
        ),
        (
            10,
            int("x-max-length", 5),
            "durable",
            "received 'true' but current is 'false'",
        ),
        (
            8,
            int("x-max-length", 5),
            "auto_delete",
            "received 'true' but current is 'false'",
        ),
        (
            0,
            int("x-max-length", 6),
            "x-max-length",
            "received '6' but current is '5'",
        ),
        (
            0,
            text("x-max-length", "5"),
            "x-max-length",
            "received '5' but current is '5'",
        ),
        (
            0,
            double("x-max-length", 5.0),
            "x-max-length",
            "received '5.0' but current is '5'",
        ),
        (
            0,
            Vec::new(),
            "x-max-length",
            "received none but current is the value '5' of type 'signedint'",
        ),
        (
            0,
            both,
            "x-expires",
            "received the value '100000' of type 'signedint' but current is none",
        ),
    ]
}

#[test]
fn a_redeclaration_names_the_first_difference() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(
        &queue_declare("arg-same", 0, &int("x-max-length", 5)),
        1,
        (50, 11),
    );
    client.call(
        &queue_declare(
            "arg-same",
            0,
            &[int("x-max-length", 5), int("x-other", 5)].concat(),
        ),
        1,
        (50, 11),
    );
    let table = entry("x-max-length", b'F', &Fields::default().long("").bytes());
    for (bits, arguments, name, difference) in differences() {
        let text = format!(
            "PRECONDITION_FAILED - inequivalent arg '{name}' for queue 'arg-same' in vhost '/': {difference}"
        );
        client.refused(
            &queue_declare("arg-same", bits, &arguments),
            1,
            406,
            &text,
            (50, 10),
        );
    }
    // A table is compared too; how it prints is nobody's business.
    client.send(&queue_declare("arg-same", 0, &table));
    assert_eq!(client.close().map(|close| close.code), Some(406));
    let mut again = Client::open(server.address());
    again.call(&queue_delete("arg-same", 0), 1, (50, 41));
}

#[test]
fn odd_wishes_for_deduplication_are_406() {
    let on = entry("x-message-deduplication", b't', &[1]);
    let row = |name, arguments: Vec<u8>, text: &str| {
        channel(
            name,
            queue_declare("qa-dedup", 8, &arguments),
            406,
            text,
            (50, 10),
        )
    };
    check(vec![
        row(
            "not a boolean",
            int("x-message-deduplication", 1),
            "PRECONDITION_FAILED - Invalid argument, 'x-message-deduplication' must be a boolean",
        ),
        row(
            "no time",
            [on.clone(), int("x-cache-ttl", 0)].concat(),
            "PRECONDITION_FAILED - Invalid argument, 'x-cache-ttl' must be an integer greater than 0",
        ),
        row(
            "no keys",
            [on, int("x-cache-size", -1)].concat(),
            "PRECONDITION_FAILED - Missing or invalid argument, 'x-cache-size' must be an integer greater than 0",
        ),
    ]);
}

/// What a redeclaration lacks, and how it is told what is there.
type Compared = (Vec<u8>, &'static str, &'static str);

fn classic_arguments() -> Vec<Compared> {
    let locator = text("x-queue-leader-locator", "balanced");
    let single = entry("x-single-active-consumer", b't', &[1]);
    vec![
        (
            int("x-expires", 100_000),
            "x-expires",
            "'100000' of type 'signedint'",
        ),
        (
            int("x-message-ttl", 7),
            "x-message-ttl",
            "'7' of type 'signedint'",
        ),
        (
            text("x-dead-letter-exchange", "dlx"),
            "x-dead-letter-exchange",
            "'dlx' of type 'longstr'",
        ),
        (
            text("x-dead-letter-routing-key", "key"),
            "x-dead-letter-routing-key",
            "'key' of type 'longstr'",
        ),
        (int("x-max-length", 9), "x-max-length", "'9' of type 'signedint'"),
        (
            int("x-max-length-bytes", 99),
            "x-max-length-bytes",
            "'99' of type 'signedint'",
        ),
        (
            int("x-max-priority", 3),
            "x-max-priority",
            "'3' of type 'signedint'",
        ),
        (
            text("x-overflow", "drop-head"),
            "x-overflow",
            "'drop-head' of type 'longstr'",
        ),
        (
            text("x-queue-mode", "lazy"),
            "x-queue-mode",
            "'lazy' of type 'longstr'",
        ),
        (
            int("x-queue-version", 2),
            "x-queue-version",
            "'2' of type 'signedint'",
        ),
        (single, "x-single-active-consumer", "'true' of type 'bool'"),
        (locator, "x-queue-leader-locator", "'balanced' of type 'longstr'"),
    ]
}

fn quorum_arguments() -> Vec<Compared> {
    vec![
        (
            text("x-dead-letter-strategy", "at-least-once"),
            "x-dead-letter-strategy",
            "'at-least-once' of type 'longstr'",
        ),
        (
            int("x-max-in-memory-length", 1),
            "x-max-in-memory-length",
            "'1' of type 'signedint'",
        ),
        (
            int("x-max-in-memory-bytes", 2),
            "x-max-in-memory-bytes",
            "'2' of type 'signedint'",
        ),
        (
            int("x-quorum-initial-group-size", 3),
            "x-quorum-initial-group-size",
            "'3' of type 'signedint'",
        ),
        (text("x-queue-type", "quorum"), "x-queue-type", ""),
    ]
}

#[test]
fn a_redeclaration_lacks_no_argument() {
    let server = server();
    let mut client = Client::open(server.address());
    for (queue, arguments) in [
        ("arg-all-c", classic_arguments()),
        ("arg-all-q", quorum_arguments()),
    ] {
        let without = |left_out: Option<usize>| {
            let others = arguments.iter().enumerate();
            let others = others.filter(|(index, _)| Some(*index) != left_out);
            let others: Vec<u8> = others.flat_map(|(_, (bytes, ..))| bytes.clone()).collect();
            queue_declare(queue, 2, &others)
        };
        client.call(&without(None), 1, (50, 11));
        for (index, (_, name, current)) in arguments.iter().enumerate() {
            let difference = match *name {
                "x-queue-type" => "received 'classic' but current is 'quorum'".to_owned(),
                _ => format!("received none but current is the value {current}"),
            };
            let text = format!(
                "PRECONDITION_FAILED - inequivalent arg '{name}' for queue '{queue}' in vhost '/': {difference}"
            );
            client.refused(&without(Some(index)), 1, 406, &text, (50, 10));
        }
        client.call(&queue_delete(queue, 0), 1, (50, 41));
    }
}
