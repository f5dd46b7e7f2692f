//! Exchanges: declare, redeclare, delete, bind, unbind.

use crate::bytes::{
    exchange_bind, exchange_declare, exchange_delete, int, publish, queue_bind, queue_declare, queue_unbind,
    text,
};
use crate::client::{Client, server};
use crate::rows::{channel, check};

#[test]
fn the_default_exchange_is_untouchable() {
    let declare = |name: &str, kind: &str, bits| exchange_declare(name, kind, bits, &[]);
    let default = "ACCESS_REFUSED - operation not permitted on the default exchange";
    check(vec![
        channel(
            "declare the default",
            declare("", "direct", 2),
            403,
            default,
            (40, 10),
        ),
        channel(
            "passive declare of the default",
            declare("", "direct", 1),
            403,
            default,
            (40, 10),
        ),
        channel(
            "delete the default",
            exchange_delete("", 0),
            403,
            default,
            (40, 20),
        ),
        channel(
            "bind to the default",
            exchange_bind(30, "amq.direct", "", "k"),
            403,
            default,
            (40, 30),
        ),
        channel(
            "bind the default",
            exchange_bind(30, "", "amq.direct", "k"),
            403,
            default,
            (40, 30),
        ),
        channel(
            "unbind from the default",
            exchange_bind(40, "amq.direct", "", "k"),
            403,
            default,
            (40, 40),
        ),
        channel(
            "bind a queue to the default",
            queue_bind("q", "", "k", &[]),
            403,
            default,
            (50, 20),
        ),
        channel(
            "unbind a queue from the default",
            queue_unbind("q", "", "k", &[]),
            403,
            default,
            (50, 50),
        ),
    ]);
}

#[test]
fn what_is_reserved_is_403() {
    let declare = |name: &str, kind: &str, bits| exchange_declare(name, kind, bits, &[]);
    check(vec![
        channel(
            "a reserved name",
            declare("amq.mine", "direct", 0),
            403,
            "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'",
            (40, 10),
        ),
        channel(
            "delete a system exchange",
            exchange_delete("amq.direct", 0),
            403,
            "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed",
            (40, 20),
        ),
        channel(
            "delete one that is missing",
            exchange_delete("amq.none", 0),
            403,
            "ACCESS_REFUSED - deletion of system exchange 'amq.none' in vhost '/' not allowed",
            (40, 20),
        ),
        channel(
            "an internal exchange",
            publish("amq.rabbitmq.trace", "k", b"x"),
            403,
            "ACCESS_REFUSED - cannot publish to internal exchange 'amq.rabbitmq.trace' in vhost '/'",
            (60, 40),
        ),
    ]);
}

#[test]
fn an_exchange_that_is_missing_is_404() {
    let declare = |name: &str, kind: &str, bits| exchange_declare(name, kind, bits, &[]);
    let missing = "NOT_FOUND - no exchange 'ex-none' in vhost '/'";
    check(vec![
        channel(
            "passive declare of none",
            declare("ex-none", "direct", 1),
            404,
            missing,
            (40, 10),
        ),
        channel(
            "passive declare of none with nowait",
            declare("ex-none", "direct", 17),
            404,
            missing,
            (40, 10),
        ),
        channel(
            "publish to none",
            publish("ex-none", "k", b"x"),
            404,
            missing,
            (60, 40),
        ),
        channel(
            "bind from none",
            exchange_bind(30, "amq.direct", "ex-none", "k"),
            404,
            missing,
            (40, 30),
        ),
        channel(
            "bind to none",
            exchange_bind(30, "ex-none", "amq.direct", "k"),
            404,
            missing,
            (40, 30),
        ),
        channel(
            "bind a queue to none",
            [
                queue_declare("ex-q", 8, &[]),
                queue_bind("ex-q", "ex-none", "k", &[]),
            ]
            .concat(),
            404,
            missing,
            (50, 20),
        ),
        channel(
            "bind none to none",
            queue_bind("ex-no-queue", "ex-none", "k", &[]),
            404,
            missing,
            (50, 20),
        ),
    ]);
}

#[test]
fn a_declaration_that_can_not_be_is_406() {
    let declare = |name: &str, kind: &str, bits| exchange_declare(name, kind, bits, &[]);
    check(vec![
        channel(
            "an unknown type",
            declare("ex-odd", "x-odd", 0),
            406,
            "PRECONDITION_FAILED - unknown exchange type 'x-odd'",
            (40, 10),
        ),
        channel(
            "no type",
            declare("ex-odd", "", 0),
            406,
            "PRECONDITION_FAILED - unknown exchange type ''",
            (40, 10),
        ),
        channel(
            "a number for an alternate",
            exchange_declare("ex-ae", "direct", 0, &int("alternate-exchange", 5)),
            406,
            "PRECONDITION_FAILED - invalid type 'signedint' for arg 'alternate-exchange' in exchange 'ex-ae' in vhost '/'",
            (40, 10),
        ),
        channel(
            "a system exchange otherwise",
            declare("amq.fanout", "fanout", 0),
            406,
            "PRECONDITION_FAILED - inequivalent arg 'durable' for exchange 'amq.fanout' in vhost '/': received 'false' but current is 'true'",
            (40, 10),
        ),
    ]);
}

#[test]
fn a_redeclaration_names_the_first_difference() {
    let server = server();
    let mut client = Client::open(server.address());
    let alternate = text("alternate-exchange", "ae1");
    client.call(&exchange_declare("ex-same", "direct", 4, &[]), 1, (40, 11));
    client.call(
        &exchange_declare("ex-same", "direct", 4, &text("x-unknown", "v")),
        1,
        (40, 11),
    );
    client.call(
        &exchange_declare("ex-same", "nonsense", 1, &alternate),
        1,
        (40, 11),
    );
    let plain = |name: &str, rest: &str| {
        format!("PRECONDITION_FAILED - inequivalent arg '{name}' for exchange 'ex-same' in vhost '/': {rest}")
    };
    let differences = [
        (
            "fanout",
            2,
            Vec::new(),
            plain("type", "received 'fanout' but current is 'direct'"),
        ),
        (
            "direct",
            6,
            Vec::new(),
            plain("durable", "received 'true' but current is 'false'"),
        ),
        (
            "direct",
            0,
            Vec::new(),
            plain("auto_delete", "received 'false' but current is 'true'"),
        ),
        (
            "direct",
            12,
            Vec::new(),
            plain("internal", "received 'true' but current is 'false'"),
        ),
        (
            "direct",
            4,
            alternate,
            plain(
                "alternate-exchange",
                "received the value 'ae1' of type 'longstr' but current is none",
            ),
        ),
    ];
    for (kind, bits, arguments, text) in differences {
        client.refused(
            &exchange_declare("ex-same", kind, bits, &arguments),
            1,
            406,
            &text,
            (40, 10),
        );
    }
    client.call(&exchange_delete("ex-same", 0), 1, (40, 21));
}

#[test]
fn a_redeclaration_with_another_alternate_is_406() {
    let server = server();
    let mut client = Client::open(server.address());
    let alternate = text("alternate-exchange", "ae1");
    client.call(
        &exchange_declare("ex-same-ae", "direct", 4, &alternate),
        1,
        (40, 11),
    );
    let with_ae = |rest: &str| {
        format!(
            "PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange 'ex-same-ae' in vhost '/': {rest}"
        )
    };
    for (arguments, rest) in [
        (
            text("alternate-exchange", "ae2"),
            "received 'ae2' but current is 'ae1'",
        ),
        (
            Vec::new(),
            "received none but current is the value 'ae1' of type 'longstr'",
        ),
    ] {
        let sent = exchange_declare("ex-same-ae", "direct", 4, &arguments);
        client.refused(&sent, 1, 406, &with_ae(rest), (40, 10));
    }
    client.call(&exchange_delete("ex-same-ae", 0), 1, (40, 21));
}

#[test]
fn predeclared_exchanges_are_there_and_durable() {
    let server = server();
    let mut client = Client::open(server.address());
    for (name, kind) in [
        ("amq.direct", "direct"),
        ("amq.fanout", "fanout"),
        ("amq.topic", "topic"),
        ("amq.headers", "headers"),
        ("amq.match", "headers"),
    ] {
        client.call(&exchange_declare(name, kind, 2, &[]), 1, (40, 11));
    }
    client.call(
        &exchange_declare("amq.rabbitmq.trace", "topic", 10, &[]),
        1,
        (40, 11),
    );
}

#[test]
fn deleting_and_unbinding_what_is_missing_succeeds() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&exchange_delete("ex-nothing", 0), 1, (40, 21));
    client.call(
        &exchange_bind(40, "ex-nothing", "ex-nothing-else", "k"),
        1,
        (40, 51),
    );
    client.call(&exchange_bind(40, "amq.direct", "amq.fanout", "k"), 1, (40, 51));
    client.call(&queue_unbind("ex-nothing", "amq.direct", "k", &[]), 1, (50, 51));
    client.call(&queue_unbind("ex-nothing", "ex-nothing", "k", &[]), 1, (50, 51));
}

#[test]
fn if_unused_looks_at_bindings_from_the_exchange_only() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&exchange_declare("ex-used", "direct", 0, &[]), 1, (40, 11));
    client.call(
        &exchange_bind(30, "ex-used", "amq.direct", "ex-used"),
        1,
        (40, 31),
    );
    client.call(&exchange_bind(30, "amq.fanout", "ex-used", "k"), 1, (40, 31));
    let text = "PRECONDITION_FAILED - exchange 'ex-used' in vhost '/' in use";
    client.refused(&exchange_delete("ex-used", 1), 1, 406, text, (40, 20));
    client.call(&exchange_bind(40, "amq.fanout", "ex-used", "k"), 1, (40, 51));
    client.call(&exchange_delete("ex-used", 1), 1, (40, 21));
}
