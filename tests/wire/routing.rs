//! Bindings and what follows them: routes, alternates, and exchanges that go with their last binding.

use crate::bytes::{
    exchange_bind, exchange_declare, exchange_delete, int, publish, publish_with, queue_bind, queue_declare,
    queue_unbind, text,
};
use crate::client::{Client, server};
use crate::rows::{channel, check};

#[test]
fn bad_bindings_to_a_headers_exchange_are_406() {
    let own = queue_declare("ex-headers", 8, &[]);
    let bind = |arguments: Vec<u8>| {
        [
            own.clone(),
            queue_bind("ex-headers", "amq.headers", "", &arguments),
        ]
        .concat()
    };
    check(vec![
        channel(
            "an unknown x-match",
            bind(text("x-match", "foo")),
            406,
            "PRECONDITION_FAILED - Invalid x-match field value <<\"foo\">>; expected all, any, all-with-x, or any-with-x",
            (50, 20),
        ),
        channel(
            "a number for x-match",
            bind(int("x-match", 1)),
            406,
            "PRECONDITION_FAILED - Invalid x-match field type signedint (value 1); expected longstr",
            (50, 20),
        ),
    ]);
}

#[test]
fn nowait_says_nothing_and_is_done() {
    let server = server();
    let mut client = Client::open(server.address());
    client.send(&exchange_declare("ex-nowait", "fanout", 4 | 16, &[]));
    client.send(&queue_declare("ex-nowait", 4 | 16, &[]));
    client.send(
        &crate::bytes::method(50, 20)
            .u16(0)
            .short("ex-nowait")
            .short("ex-nowait")
            .short("")
            .u8(1)
            .long("")
            .on(1),
    );
    client.send(&publish("ex-nowait", "any", b"x"));
    assert_eq!(client.get("ex-nowait").unwrap().2, "x");
    client.send(&exchange_delete("ex-nowait", 2));
    client.sync();
}

#[test]
fn a_message_takes_the_alternate_only_when_nothing_matches() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&exchange_declare("ex-alt", "fanout", 0, &[]), 1, (40, 11));
    client.call(
        &exchange_declare("ex-main", "direct", 0, &text("alternate-exchange", "ex-alt")),
        1,
        (40, 11),
    );
    for queue in ["ex-alt-q", "ex-main-q"] {
        client.call(&queue_declare(queue, 4, &[]), 1, (50, 11));
    }
    client.call(&queue_bind("ex-alt-q", "ex-alt", "", &[]), 1, (50, 21));
    client.call(&queue_bind("ex-main-q", "ex-main", "k", &[]), 1, (50, 21));
    client.send(&publish("ex-main", "k", b"matched"));
    client.send(&publish_with("ex-main", "other", 1, 0, &[], b"diverted"));
    assert_eq!(client.get("ex-alt-q").unwrap().2, "diverted");
    assert_eq!(client.get("ex-alt-q"), None);
    assert_eq!(client.get("ex-main-q").unwrap().2, "matched");
    client.call(&exchange_delete("ex-main", 0), 1, (40, 21));
    client.call(&exchange_delete("ex-alt", 0), 1, (40, 21));
}

#[test]
fn alternates_are_followed_once_each_and_may_be_missing_or_internal() {
    let server = server();
    let mut client = Client::open(server.address());
    // one → two (internal) → three → one, and a queue at three; four leads nowhere.
    for (name, bits, alternate) in [
        ("ex-one", 4, "ex-two"),
        ("ex-two", 4 | 8, "ex-three"),
        ("ex-three", 4, "ex-one"),
        ("ex-four", 4, "ex-nowhere"),
    ] {
        let arguments = text("alternate-exchange", alternate);
        client.call(&exchange_declare(name, "direct", bits, &arguments), 1, (40, 11));
    }
    client.call(&queue_declare("ex-three-q", 4, &[]), 1, (50, 11));
    client.call(&queue_bind("ex-three-q", "ex-three", "k", &[]), 1, (50, 21));
    client.send(&publish_with("ex-one", "k", 1, 0, &[], b"routed"));
    assert_eq!(client.get("ex-three-q").unwrap().2, "routed");
    assert_eq!(client.get("ex-three-q"), None, "it comes once");
    for exchange in ["ex-one", "ex-four"] {
        client.send(&publish_with(exchange, "unknown", 1, 0, &[], b"back"));
        assert_eq!(client.message((60, 50)).body, b"back");
    }
}

#[test]
fn a_match_that_leads_nowhere_is_a_match() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&exchange_declare("ex-end", "fanout", 0, &[]), 1, (40, 11));
    client.call(&exchange_declare("ex-rest", "fanout", 0, &[]), 1, (40, 11));
    let arguments = text("alternate-exchange", "ex-rest");
    client.call(
        &exchange_declare("ex-start", "direct", 0, &arguments),
        1,
        (40, 11),
    );
    client.call(&exchange_bind(30, "ex-end", "ex-start", "k"), 1, (40, 31));
    client.call(&queue_declare("ex-rest-q", 4, &[]), 1, (50, 11));
    client.call(&queue_bind("ex-rest-q", "ex-rest", "", &[]), 1, (50, 21));
    client.send(&publish_with("ex-start", "k", 1, 0, &[], b"dead end"));
    assert_eq!(client.message((60, 50)).body, b"dead end");
    client.send(&publish_with("ex-start", "other", 1, 0, &[], b"rest"));
    assert_eq!(client.get("ex-rest-q").unwrap().2, "rest");
    assert_eq!(client.get("ex-rest-q"), None);
    for exchange in ["ex-start", "ex-end", "ex-rest"] {
        client.call(&exchange_delete(exchange, 0), 1, (40, 21));
    }
}

#[test]
fn an_auto_delete_exchange_goes_with_its_last_binding() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&exchange_declare("ex-auto", "direct", 4, &[]), 1, (40, 11));
    client.call(&queue_declare("ex-auto-q", 4, &[]), 1, (50, 11));
    for key in ["a", "b"] {
        client.call(&queue_bind("ex-auto-q", "ex-auto", key, &[]), 1, (50, 21));
    }
    client.call(&queue_unbind("ex-auto-q", "ex-auto", "a", &[]), 1, (50, 51));
    client.call(&exchange_declare("ex-auto", "direct", 1, &[]), 1, (40, 11));
    client.call(&crate::bytes::queue_delete("ex-auto-q", 0), 1, (50, 41));
    let text = "NOT_FOUND - no exchange 'ex-auto' in vhost '/'";
    client.refused(
        &exchange_declare("ex-auto", "direct", 1, &[]),
        1,
        404,
        text,
        (40, 10),
    );
}
