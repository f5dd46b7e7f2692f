//! Queues: declare, redeclare, exclusive, auto-delete, delete, purge, and bindings.

use crate::bytes::{
    Reader, cancel, channel_open, consume, method, publish, queue_bind, queue_declare, queue_delete,
    queue_purge, queue_unbind, text,
};
use crate::client::{Client, server};
use crate::rows::{channel, check};

fn locked(name: &str) -> String {
    let text = format!(
        "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{name}' in vhost '/'. It could be \
         originally declared on another connection or the exclusive property value does not match that of the \
         original declaration."
    );
    assert!(text.len() <= 255);
    text
}

/// declare-ok: name, ready messages, consumers.
fn declared(client: &mut Client, sent: &[u8]) -> (String, u32, u32) {
    let ok = client.call(sent, 1, (50, 11));
    let mut ok = Reader(&ok);
    (ok.text(), ok.u32(), ok.u32())
}

#[test]
fn a_queue_that_is_missing_is_404() {
    let missing = "NOT_FOUND - no queue 'q-none' in vhost '/'";
    let unnamed = "NOT_FOUND - no previously declared queue";
    check(vec![
        channel(
            "passive declare",
            queue_declare("q-none", 1, &[]),
            404,
            missing,
            (50, 10),
        ),
        channel(
            "passive declare with nowait",
            queue_declare("q-none", 17, &[]),
            404,
            missing,
            (50, 10),
        ),
        channel(
            "passive declare without a name",
            queue_declare("", 1, &[]),
            404,
            "NOT_FOUND - no queue '' in vhost '/'",
            (50, 10),
        ),
        channel(
            "bind",
            queue_bind("q-none", "amq.direct", "k", &[]),
            404,
            missing,
            (50, 20),
        ),
        channel("purge", queue_purge("q-none"), 404, missing, (50, 30)),
        channel("get", crate::bytes::get("q-none", false), 404, missing, (60, 70)),
        channel("consume", consume("q-none", "t", 0, &[]), 404, missing, (60, 20)),
        channel(
            "bind the last one",
            queue_bind("", "amq.direct", "k", &[]),
            404,
            unnamed,
            (50, 20),
        ),
        channel("purge the last one", queue_purge(""), 404, unnamed, (50, 30)),
        channel("delete the last one", queue_delete("", 0), 404, unnamed, (50, 40)),
        channel(
            "unbind the last one",
            queue_unbind("", "amq.direct", "k", &[]),
            404,
            unnamed,
            (50, 50),
        ),
        channel(
            "consume from the last one",
            consume("", "t", 0, &[]),
            404,
            unnamed,
            (60, 20),
        ),
        channel(
            "get from the last one",
            crate::bytes::get("", false),
            404,
            unnamed,
            (60, 70),
        ),
    ]);
}

#[test]
fn a_reserved_queue_name_is_403() {
    let text = "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'";
    check(vec![channel(
        "amq.mine",
        queue_declare("amq.mine", 0, &[]),
        403,
        text,
        (50, 10),
    )]);
    let server = server();
    let mut client = Client::open(server.address());
    let (name, ..) = declared(&mut client, &queue_declare("", 4, &[]));
    let text = format!("ACCESS_REFUSED - queue name '{name}' contains reserved prefix 'amq.*'");
    client.refused(&queue_declare(&name, 4, &[]), 1, 403, &text, (50, 10));
    assert_eq!(declared(&mut client, &queue_declare(&name, 5, &[])), (name, 0, 0));
}

#[test]
fn an_empty_name_gets_a_generated_one_and_stands_for_it_afterwards() {
    let server = server();
    let mut client = Client::open(server.address());
    let (name, ..) = declared(&mut client, &queue_declare("", 4, &[]));
    let random = name.strip_prefix("amq.gen-").expect("the prefix");
    assert_eq!(random.len(), 22, "{name}");
    assert!(
        random
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
        "{name}"
    );
    // Bound to its own name, as queue and key were empty.
    client.call(&queue_bind("", "amq.direct", "", &[]), 1, (50, 21));
    client.send(&publish("amq.direct", &name, b"x"));
    assert_eq!(client.get("").unwrap().2, "x");
    client.call(&queue_purge(""), 1, (50, 31));
    client.call(&consume("", "t", 0, &[]), 1, (60, 21));
    client.call(&queue_delete("", 0), 1, (50, 41));
}

#[test]
fn an_exclusive_queue_is_405_for_others_and_for_another_flag() {
    let server = server();
    let mut owner = Client::open(server.address());
    owner.call(&queue_declare("q-locked", 4, &[]), 1, (50, 11));
    owner.call(
        &queue_bind("q-locked", "amq.direct", "q-locked", &[]),
        1,
        (50, 21),
    );
    let mut other = Client::open(server.address());
    let text = locked("q-locked");
    for (sent, id) in [
        (queue_declare("q-locked", 4, &[]), (50, 10)),
        (queue_declare("q-locked", 0, &[]), (50, 10)),
        (queue_declare("q-locked", 1, &[]), (50, 10)),
        (queue_bind("q-locked", "amq.direct", "k", &[]), (50, 20)),
        (queue_purge("q-locked"), (50, 30)),
        (queue_delete("q-locked", 0), (50, 40)),
        (queue_unbind("q-locked", "amq.direct", "q-locked", &[]), (50, 50)),
        (consume("q-locked", "t", 0, &[]), (60, 20)),
        (crate::bytes::get("q-locked", false), (60, 70)),
    ] {
        other.refused(&sent, 1, 405, &text, id);
    }
    other.send(&publish("", "q-locked", b"for the owner"));
    other.sync();
    assert_eq!(owner.get("q-locked").unwrap().2, "for the owner");
    owner.refused(&queue_declare("q-locked", 0, &[]), 1, 405, &text, (50, 10));
    owner.call(&channel_open(2), 2, (20, 11));
    let mut on_2 = queue_purge("q-locked");
    on_2[2] = 2;
    owner.call(&on_2, 2, (50, 31));
}

#[test]
fn a_queue_made_without_the_flag_is_405_with_it() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("q-shared", 8, &[]), 1, (50, 11));
    client.refused(
        &queue_declare("q-shared", 12, &[]),
        1,
        405,
        &locked("q-shared"),
        (50, 10),
    );
    client.call(&queue_delete("q-shared", 0), 1, (50, 41));
}

#[test]
fn durable_does_not_matter_for_an_exclusive_queue() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("q-durable-own", 6, &[]), 1, (50, 11));
    client.call(&queue_declare("q-durable-own", 4, &[]), 1, (50, 11));
}

#[test]
fn declare_ok_counts_ready_messages_and_consumers() {
    let server = server();
    let mut client = Client::open(server.address());
    let declare = queue_declare("q-count", 4, &[]);
    assert_eq!(declared(&mut client, &declare), ("q-count".to_owned(), 0, 0));
    client.send(&[publish("", "q-count", b"a"), publish("", "q-count", b"b")].concat());
    assert_eq!(declared(&mut client, &declare).1, 2);
    assert_eq!(client.get("q-count").unwrap().2, "a");
    assert_eq!(declared(&mut client, &declare), ("q-count".to_owned(), 1, 0));
    client.call(&method(60, 10).u32(0).u16(1).u8(0).on(1), 1, (60, 11));
    client.call(&consume("q-count", "t", 0, &[]), 1, (60, 21));
    assert_eq!(client.delivery(), (2, false, "b".to_owned()));
    assert_eq!(declared(&mut client, &declare), ("q-count".to_owned(), 0, 1));
    // Unacked messages count neither for purge nor for if-empty.
    assert_eq!(client.call(&queue_purge("q-count"), 1, (50, 31)), [0; 4]);
    client.call(&cancel("t"), 1, (60, 31));
    assert_eq!(client.call(&queue_delete("q-count", 2), 1, (50, 41)), [0; 4]);
}

#[test]
fn delete_is_refused_by_its_conditions_only() {
    let server = server();
    let mut client = Client::open(server.address());
    assert_eq!(client.call(&queue_delete("q-none", 3), 1, (50, 41)), [0; 4]);
    client.call(&queue_declare("q-del", 0, &[]), 1, (50, 11));
    client.send(&publish("", "q-del", b"x"));
    let text = "PRECONDITION_FAILED - queue 'q-del' in vhost '/' not empty";
    client.refused(&queue_delete("q-del", 2), 1, 406, text, (50, 40));
    client.call(&method(60, 10).u32(0).u16(1).u8(0).on(1), 1, (60, 11));
    client.call(&consume("q-del", "t", 0, &[]), 1, (60, 21));
    client.delivery();
    let text = "PRECONDITION_FAILED - queue 'q-del' in vhost '/' in use";
    client.refused(&queue_delete("q-del", 1), 1, 406, text, (50, 40));
    assert_eq!(client.call(&queue_delete("q-del", 0), 1, (50, 41)), [0, 0, 0, 1]);
}

#[test]
fn an_auto_delete_queue_goes_with_its_last_consumer_only() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("q-auto", 8, &[]), 1, (50, 11));
    client.send(&publish("", "q-auto", b"x"));
    assert_eq!(client.get("q-auto").unwrap().2, "x");
    for tag in ["a", "b"] {
        client.call(&consume("q-auto", tag, 2, &[]), 1, (60, 21));
    }
    client.call(&cancel("a"), 1, (60, 31));
    client.call(&queue_declare("q-auto", 9, &[]), 1, (50, 11));
    client.call(&cancel("b"), 1, (60, 31));
    let text = "NOT_FOUND - no queue 'q-auto' in vhost '/'";
    client.refused(&queue_declare("q-auto", 1, &[]), 1, 404, text, (50, 10));
}

#[test]
fn line_breaks_are_taken_out_of_names_in_declare_and_bind() {
    let server = server();
    let mut client = Client::open(server.address());
    assert_eq!(
        declared(&mut client, &queue_declare("q-\r\nlines\n", 4, &[])).0,
        "q-lines"
    );
    assert_eq!(
        declared(&mut client, &queue_declare("q-\nlines", 5, &[])).0,
        "q-lines"
    );
    client.call(
        &queue_bind("q\n-lines", "amq.\ndirect", "q-lines", &[]),
        1,
        (50, 21),
    );
    client.send(&publish("amq.direct", "q-lines", b"x"));
    assert_eq!(client.get("q-lines").unwrap().2, "x");
    client.call(
        &queue_unbind("q\n-lines", "amq.\rdirect", "q-lines", &[]),
        1,
        (50, 51),
    );
    client.refused(
        &queue_purge("q-\nlines"),
        1,
        404,
        "NOT_FOUND - no queue 'q-\nlines' in vhost '/'",
        (50, 30),
    );
    client.call(&queue_delete("q-\r\nlines", 0), 1, (50, 41));
}

#[test]
fn bindings_with_other_arguments_are_others_and_a_message_comes_once() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("q-bound", 4, &[]), 1, (50, 11));
    let (one, two) = (text("a", "1"), text("a", "2"));
    for arguments in [&one, &one, &two] {
        client.call(
            &queue_bind("q-bound", "amq.direct", "q-bound-k", arguments),
            1,
            (50, 21),
        );
    }
    client.send(&publish("amq.direct", "q-bound-k", b"x"));
    assert_eq!(client.get("q-bound").unwrap().2, "x");
    assert_eq!(client.get("q-bound"), None);
    client.call(
        &queue_unbind("q-bound", "amq.direct", "q-bound-k", &one),
        1,
        (50, 51),
    );
    client.send(&publish("amq.direct", "q-bound-k", b"y"));
    assert_eq!(client.get("q-bound").unwrap().2, "y");
    client.call(
        &queue_unbind("q-bound", "amq.direct", "q-bound-k", &two),
        1,
        (50, 51),
    );
    client.send(&publish("amq.direct", "q-bound-k", b"z"));
    assert_eq!(client.get("q-bound"), None);
}
