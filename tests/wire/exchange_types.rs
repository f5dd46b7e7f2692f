//! What RabbitMQ's further exchange types refuse.

use crate::bytes::{
    entry, exchange_bind, exchange_declare, exchange_delete, int, queue_bind, queue_declare, text,
};
use crate::client::{Client, server};
use crate::rows::{channel, check};

#[test]
fn arguments_that_a_type_can_not_work_with_are_406() {
    let hash = |arguments: &[u8]| exchange_declare("xt-none", "x-consistent-hash", 0, arguments);
    let history = |arguments: &[u8]| exchange_declare("xt-none", "x-recent-history", 0, arguments);
    let length = |term: &str| {
        format!(
            "PRECONDITION_FAILED - Invalid argument {term}, 'x-recent-history-length' must be a positive integer"
        )
    };
    let both = [text("hash-header", "h"), text("hash-property", "message_id")].concat();
    check(vec![
        channel(
            "a property that is not hashed",
            hash(&text("hash-property", "app_id")),
            406,
            "PRECONDITION_FAILED - Unsupported property: app_id",
            (40, 10),
        ),
        channel(
            "two things to hash",
            hash(&both),
            406,
            "PRECONDITION_FAILED - hash-header and hash-property are mutually exclusive",
            (40, 10),
        ),
        channel(
            "a header that is no name",
            hash(&int("hash-header", 3)),
            406,
            "PRECONDITION_FAILED - Invalid argument 3, 'hash-header' must be a string",
            (40, 10),
        ),
        channel(
            "no history",
            history(&int("x-recent-history-length", 0)),
            406,
            &length("0"),
            (40, 10),
        ),
        channel(
            "less than no history",
            history(&int("x-recent-history-length", -30)),
            406,
            &length("-30"),
            (40, 10),
        ),
        channel(
            "a history of a text's length",
            history(&text("x-recent-history-length", "five")),
            406,
            &length("<<\"five\">>"),
            (40, 10),
        ),
    ]);
}

#[test]
fn odd_wishes_for_deduplication_are_406() {
    let declare = |kind: &str, arguments: &[u8]| exchange_declare("xt-none", kind, 0, arguments);
    let size =
        "PRECONDITION_FAILED - Missing or invalid argument, 'x-cache-size' must be an integer greater than 0";
    let on = entry("x-message-deduplication", b't', &[1]);
    let with = |argument: Vec<u8>| declare("topic", &[on.clone(), argument].concat());
    let row = |name, sent, text: &str| channel(name, sent, 406, text, (40, 10));
    check(vec![
        row(
            "not a boolean",
            declare("direct", &text("x-message-deduplication", "yes")),
            "PRECONDITION_FAILED - Invalid argument, 'x-message-deduplication' must be a boolean",
        ),
        row(
            "no keys, by the plugin's type",
            declare("x-message-deduplication", &int("x-cache-size", 0)),
            size,
        ),
        row("keys without number", with(text("x-cache-size", "many")), size),
        row(
            "too many keys",
            with(int("x-cache-size", 10_000_001)),
            "PRECONDITION_FAILED - Invalid argument, 'x-cache-size' must be at most 10000000",
        ),
        row(
            "no time",
            with(int("x-cache-ttl", 0)),
            "PRECONDITION_FAILED - Invalid argument, 'x-cache-ttl' must be an integer greater than 0",
        ),
        row(
            "another place",
            with(text("x-cache-persistence", "tape")),
            "PRECONDITION_FAILED - Invalid argument, 'x-cache-persistence' must be either 'disk' or 'memory'",
        ),
        row(
            "no header's name",
            with(int("x-deduplication-header", 1)),
            "PRECONDITION_FAILED - Invalid argument, 'x-deduplication-header' must be a string",
        ),
        row(
            "another source",
            with(text("x-deduplication-by", "body")),
            "PRECONDITION_FAILED - Invalid argument, 'x-deduplication-by' must be either 'header' or 'message-id'",
        ),
    ]);
}

#[test]
fn bindings_that_a_type_can_not_have_are_406() {
    let hash = exchange_declare("xt-hash", "x-consistent-hash", 0, &[]);
    let local = exchange_declare("xt-local", "x-local-random", 0, &[]);
    let queue = queue_declare("xt-q", 8, &[]);
    let bind = |exchange: &str, key: &str| queue_bind("xt-q", exchange, key, &[]);
    check(vec![
        channel(
            "a weight that is no number",
            [hash.clone(), queue.clone(), bind("xt-hash", "abc")].concat(),
            406,
            "PRECONDITION_FAILED - The binding key must be an integer: <<\"abc\">>",
            (50, 20),
        ),
        channel(
            "no weight",
            [hash.clone(), queue.clone(), bind("xt-hash", "0")].concat(),
            406,
            "PRECONDITION_FAILED - The binding key must be greater than 0",
            (50, 20),
        ),
        channel(
            "an exchange without weight",
            [hash, exchange_bind(30, "amq.fanout", "xt-hash", "-1")].concat(),
            406,
            "PRECONDITION_FAILED - The binding key must be greater than 0",
            (40, 30),
        ),
        channel(
            "a key where none counts",
            [local.clone(), queue, bind("xt-local", "k")].concat(),
            406,
            "PRECONDITION_FAILED - Non empty binding 'k' key not permitted",
            (50, 20),
        ),
        channel(
            "a quorum queue where only classic ones are chosen from",
            [
                local.clone(),
                queue_declare("xt-quorum", 2, &text("x-queue-type", "quorum")),
                queue_bind("xt-quorum", "xt-local", "", &[]),
            ]
            .concat(),
            406,
            "PRECONDITION_FAILED - Queue type rabbit_quorum_queue not valid for this exchange type",
            (50, 20),
        ),
        channel(
            "an exchange where only queues are chosen from",
            [local, exchange_bind(30, "amq.fanout", "xt-local", "")].concat(),
            406,
            "PRECONDITION_FAILED - Destination not found",
            (40, 30),
        ),
    ]);
}

#[test]
fn every_type_is_declared_once_and_again() {
    let server = server();
    let mut client = Client::open(server.address());
    for kind in [
        "x-consistent-hash",
        "x-modulus-hash",
        "x-random",
        "x-local-random",
        "x-recent-history",
        "x-message-deduplication",
    ] {
        let name = format!("xt-{kind}");
        let declare = exchange_declare(&name, kind, 2, &[]);
        client.call(&declare, 1, (40, 11));
        client.call(&declare, 1, (40, 11));
        let as_fanout = exchange_declare(&name, "fanout", 2, &[]);
        let text = format!(
            "PRECONDITION_FAILED - inequivalent arg 'type' for exchange '{name}' in vhost '/': \
             received 'fanout' but current is '{kind}'"
        );
        client.refused(&as_fanout, 1, 406, &text, (40, 10));
        client.call(&exchange_delete(&name, 0), 1, (40, 21));
    }
}
