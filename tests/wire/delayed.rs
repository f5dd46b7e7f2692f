//! Exchanges of type `x-delayed-message`: what they refuse, and what becomes of mandatory messages.

use crate::bytes::{
    HEADERS, consume, entry, exchange_declare, exchange_delete, int, method, publish_with, queue_bind,
    queue_declare, queue_delete, text,
};
use crate::client::{Client, server};
use crate::rows::{Row, channel, check};

const KIND: &str = "x-delayed-message";

/// Headers as a property's value.
fn headers(entries: &[u8]) -> Vec<u8> {
    let mut value = u32::try_from(entries.len()).unwrap().to_be_bytes().to_vec();
    value.extend(entries);
    value
}

fn delayed_by(kind: &str) -> Vec<u8> {
    text("x-delayed-type", kind)
}

#[test]
fn the_type_to_route_by_has_to_exist() {
    let row = |name, arguments: Vec<u8>, text: &str| -> Row {
        let sent = exchange_declare("delay-refused", KIND, 0, &arguments);
        channel(
            name,
            sent,
            406,
            &format!("PRECONDITION_FAILED - {text}"),
            (40, 10),
        )
    };
    let missing = "Invalid argument, 'x-delayed-type' must be an existing exchange type";
    let nested = "Invalid argument, 'x-delayed-message' can't be used for 'x-delayed-type'";
    check(vec![
        row("without", Vec::new(), missing),
        row("a number", int("x-delayed-type", 1), missing),
        row("void", entry("x-delayed-type", b'V', &[]), missing),
        row("unknown", delayed_by("x-none"), "unknown exchange type 'x-none'"),
        row("empty", delayed_by(""), "unknown exchange type ''"),
        row("itself", delayed_by(KIND), nested),
    ]);
    let server = server();
    let mut client = Client::open(server.address());
    let missing = "NOT_FOUND - no exchange 'delay-refused' in vhost '/'";
    let passive = exchange_declare("delay-refused", KIND, 1, &[]);
    client.refused(&passive, 1, 404, missing, (40, 10));
}

#[test]
fn a_redeclaration_is_compared_as_that_of_other_exchanges() {
    let server = server();
    let mut client = Client::open(server.address());
    let declare = |kind: &str, bits, arguments: &[u8]| exchange_declare("delay-same", kind, bits, arguments);
    client.call(&declare(KIND, 2, &delayed_by("topic")), 1, (40, 11));
    client.call(&declare(KIND, 2, &delayed_by("topic")), 1, (40, 11));
    client.call(&declare(KIND, 2, &delayed_by("direct")), 1, (40, 11));
    client.call(&declare(KIND, 2, &[]), 1, (40, 11));
    let different = |argument: &str, received: &str, current: &str| {
        format!(
            "PRECONDITION_FAILED - inequivalent arg '{argument}' for exchange 'delay-same' in vhost '/': received \
             '{received}' but current is '{current}'"
        )
    };
    let rows = [
        (declare("topic", 2, &[]), different("type", "topic", KIND)),
        (
            declare(KIND, 0, &delayed_by("topic")),
            different("durable", "false", "true"),
        ),
    ];
    for (sent, text) in rows {
        client.refused(&sent, 1, 406, &text, (40, 10));
    }
    client.call(&exchange_declare("delay-plain", "direct", 0, &[]), 1, (40, 11));
    let sent = exchange_declare("delay-plain", KIND, 0, &delayed_by("direct"));
    let text = different("type", KIND, "direct").replace("delay-same", "delay-plain");
    client.refused(&sent, 1, 406, &text, (40, 10));
    for name in ["delay-same", "delay-plain"] {
        client.call(&exchange_delete(name, 0), 1, (40, 21));
    }
}

#[test]
fn bindings_are_judged_by_the_type_to_route_by() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(
        &exchange_declare("delay-headers", KIND, 0, &delayed_by("headers")),
        1,
        (40, 11),
    );
    client.call(&queue_declare("delay-headers", 0, &[]), 1, (50, 11));
    let sent = queue_bind("delay-headers", "delay-headers", "", &text("x-match", "foo"));
    let refusal = "PRECONDITION_FAILED - Invalid x-match field value <<\"foo\">>; expected all, any, all-with-x, or \
                   any-with-x";
    client.refused(&sent, 1, 406, refusal, (50, 20));
    client.call(&exchange_delete("delay-headers", 0), 1, (40, 21));
    client.call(&queue_delete("delay-headers", 0), 1, (50, 41));
}

#[test]
fn a_mandatory_message_is_returned_only_if_no_queue_is_bound_and_then_not_kept() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&method(85, 10).u8(0).on(1), 1, (85, 11));
    client.call(
        &exchange_declare("delay-must", KIND, 0, &delayed_by("direct")),
        1,
        (40, 11),
    );
    client.call(&queue_declare("delay-must", 0, &[]), 1, (50, 11));
    let publish = |key: &str, delay: i32, body: &[u8]| {
        let headers = headers(&int("x-delay", delay));
        publish_with("delay-must", key, 1, HEADERS, &headers, body)
    };
    client.send(&publish("k", 1, b"unbound"));
    let returned = client.message((60, 50));
    assert_eq!(returned.body, b"unbound");
    client.expect(1, (60, 80));
    client.call(&queue_bind("delay-must", "delay-must", "k", &[]), 1, (50, 21));
    client.send(&publish("other", 1, b"unbound too"));
    client.message((60, 50));
    client.expect(1, (60, 80));
    client.send(&publish("k", 2, b"bound"));
    client.expect(1, (60, 80));
    client.call(&consume("delay-must", "", 2, &[]), 1, (60, 21));
    let (_, _, body) = client.delivery();
    assert_eq!(body, "bound", "what was returned is not delivered as well");
    client.call(&exchange_delete("delay-must", 0), 1, (40, 21));
    client.call(&queue_delete("delay-must", 0), 1, (50, 41));
}
