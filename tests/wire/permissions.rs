//! Permissions, method by method: users who may only configure, write, or read.

use crate::bytes::{
    consume, exchange_bind, exchange_declare, exchange_delete, get, method, publish, queue_bind,
    queue_declare, queue_delete, queue_purge, queue_unbind, text,
};
use crate::client::{Client, server};
use crate::rows::{channel, check};

/// The method, what it needs on what, and who may do that.
struct Need {
    sent: Vec<u8>,
    id: (u16, u16),
    access: &'static str,
    entity: &'static str,
}

fn need(sent: Vec<u8>, id: (u16, u16), access: &'static str, entity: &'static str) -> Need {
    Need {
        sent,
        id,
        access,
        entity,
    }
}

/// Everything that one permission decides. Nothing named here exists: the check comes before the search.
fn needs() -> Vec<Need> {
    let (q, x) = ("queue 'perm-q' in vhost '/'", "exchange 'perm-x' in vhost '/'");
    vec![
        need(
            exchange_declare("perm-x", "direct", 0, &[]),
            (40, 10),
            "configure",
            x,
        ),
        need(exchange_delete("perm-x", 0), (40, 20), "configure", x),
        need(exchange_bind(30, "perm-x", "perm-y", "k"), (40, 30), "write", x),
        need(exchange_bind(40, "perm-x", "perm-y", "k"), (40, 40), "write", x),
        need(queue_declare("perm-q", 0, &[]), (50, 10), "configure", q),
        need(queue_delete("perm-q", 0), (50, 40), "configure", q),
        need(queue_bind("perm-q", "perm-x", "k", &[]), (50, 20), "write", q),
        need(queue_unbind("perm-q", "perm-x", "k", &[]), (50, 50), "write", q),
        need(queue_purge("perm-q"), (50, 30), "read", q),
        need(get("perm-q", false), (60, 70), "read", q),
        need(consume("perm-q", "t", 0, &[]), (60, 20), "read", q),
        need(publish("perm-x", "k", b"x"), (60, 40), "write", x),
        need(
            publish("", "perm-q", b"x"),
            (60, 40),
            "write",
            "exchange 'amq.default' in vhost '/'",
        ),
    ]
}

#[test]
fn each_method_is_refused_to_whom_it_is_not_allowed() {
    let server = server();
    for user in ["none", "configure", "write", "read"] {
        let mut client = Client::open_as(server.address(), user);
        for Need {
            sent,
            id,
            access,
            entity,
        } in needs()
        {
            if access != user {
                let text = format!("ACCESS_REFUSED - {access} access to {entity} refused for user '{user}'");
                client.refused(&sent, 1, 403, &text, id);
            }
        }
    }
}

#[test]
fn binding_needs_to_read_the_source() {
    let server = server();
    let mut client = Client::open_as(server.address(), "write");
    let text = "ACCESS_REFUSED - read access to exchange 'perm-y' in vhost '/' refused for user 'write'";
    for (sent, id) in [
        (exchange_bind(30, "perm-x", "perm-y", "k"), (40, 30)),
        (exchange_bind(40, "perm-x", "perm-y", "k"), (40, 40)),
        (queue_bind("perm-q", "perm-y", "k", &[]), (50, 20)),
        (queue_unbind("perm-q", "perm-y", "k", &[]), (50, 50)),
    ] {
        client.refused(&sent, 1, 403, text, id);
    }
}

#[test]
fn a_new_exchange_with_an_alternate_needs_to_read_itself_and_write_the_other() {
    let server = server();
    let mut client = Client::open_as(server.address(), "configure");
    let declare = exchange_declare("perm-ae", "direct", 0, &text("alternate-exchange", "perm-other"));
    let refused =
        "ACCESS_REFUSED - read access to exchange 'perm-ae' in vhost '/' refused for user 'configure'";
    client.refused(&declare, 1, 403, refused, (40, 10));
}

#[test]
fn a_new_queue_with_a_dead_letter_exchange_needs_to_read_itself_and_write_the_other() {
    let server = server();
    let mut client = Client::open_as(server.address(), "configure");
    let declare = queue_declare("perm-dlx", 0, &text("x-dead-letter-exchange", "perm-other"));
    let refused =
        "ACCESS_REFUSED - read access to queue 'perm-dlx' in vhost '/' refused for user 'configure'";
    client.refused(&declare, 1, 403, refused, (50, 10));
}

#[test]
fn who_may_configure_may_declare_and_delete() {
    let server = server();
    let mut client = Client::open_as(server.address(), "configure");
    client.call(&exchange_declare("perm-own", "direct", 0, &[]), 1, (40, 11));
    client.call(&exchange_delete("perm-own", 0), 1, (40, 21));
    client.call(&queue_declare("perm-own", 0, &[]), 1, (50, 11));
    client.call(&queue_delete("perm-own", 0), 1, (50, 41));
}

#[test]
fn who_may_write_may_publish_and_who_may_read_may_read() {
    let server = server();
    let mut owner = Client::open(server.address());
    owner.call(&queue_declare("perm-shared", 0, &[]), 1, (50, 11));
    let mut writer = Client::open_as(server.address(), "write");
    writer.send(&publish("", "perm-shared", b"x"));
    writer.sync();
    let mut reader = Client::open_as(server.address(), "read");
    assert_eq!(reader.get("perm-shared").unwrap().2, "x");
    reader.call(&queue_purge("perm-shared"), 1, (50, 31));
    reader.call(&consume("perm-shared", "t", 0, &[]), 1, (60, 21));
    owner.call(&queue_delete("perm-shared", 0), 1, (50, 41));
}

#[test]
fn a_passive_declare_needs_any_permission() {
    let server = server();
    let mut owner = Client::open(server.address());
    owner.call(&queue_declare("perm-passive", 0, &[]), 1, (50, 11));
    for user in ["configure", "write", "read"] {
        let mut client = Client::open_as(server.address(), user);
        client.call(&queue_declare("perm-passive", 1, &[]), 1, (50, 11));
        client.call(&exchange_declare("amq.direct", "direct", 1, &[]), 1, (40, 11));
    }
    for (sent, id) in [
        (queue_declare("perm-passive", 1, &[]), (50, 10)),
        (exchange_declare("amq.direct", "direct", 1, &[]), (40, 10)),
    ] {
        let mut client = Client::open_as(server.address(), "none");
        client.send(&sent);
        let close = client.close().unwrap();
        assert_eq!(
            (close.channel, close.code, close.id),
            (1, 403, id),
            "{}",
            close.text
        );
    }
    owner.call(&queue_delete("perm-passive", 0), 1, (50, 41));
}

#[test]
fn what_touches_no_entity_needs_no_permission() {
    let server = server();
    let mut client = Client::open_as(server.address(), "none");
    client.call(&crate::bytes::qos(1, true), 1, (60, 11));
    client.call(&crate::bytes::cancel("t"), 1, (60, 31));
    client.call(&method(60, 110).u8(1).on(1), 1, (60, 111));
    client.call(&method(90, 10).on(1), 1, (90, 11));
    client.call(&method(90, 20).on(1), 1, (90, 21));
}

#[test]
fn a_generated_name_has_to_be_allowed_too() {
    let server = server();
    let mut client = Client::open_as(server.address(), "write");
    client.send(&queue_declare("", 4, &[]));
    let close = client.close().unwrap();
    assert_eq!((close.channel, close.code), (1, 403));
    assert!(
        close.text.contains("configure access to queue 'amq.gen-"),
        "{}",
        close.text
    );
}

#[test]
fn the_order_of_checks_is_rabbitmqs() {
    let unknown = "PRECONDITION_FAILED - unknown exchange type 'odd'";
    check(vec![channel(
        "type before name",
        exchange_declare("", "odd", 0, &[]),
        406,
        unknown,
        (40, 10),
    )]);
}
