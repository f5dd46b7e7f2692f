//! Methods where they do not belong, and methods that are none.

use crate::bytes::{channel_open, entry, frame, method, queue_declare};
use crate::client::{Client, Login, open, server, start_ok, tune_ok};
use crate::rows::{check, connection};

#[test]
fn methods_out_of_order_before_tune_ok_end_the_connection_silently() {
    let server = server();
    let mut early = Client::authenticated(server.address(), &Login::default());
    early.send(&open("/"));
    let mut twice = Client::authenticated(server.address(), &Login::default());
    twice.send(&start_ok("PLAIN", "\0guest\0guest", &[]));
    early.expect_end();
    twice.expect_end();
}

#[test]
fn a_channel_before_the_vhost_is_505() {
    let server = server();
    let mut client = Client::authenticated(server.address(), &Login::default());
    client.send(&tune_ok(2047, 131_072, 0));
    let text = "UNEXPECTED_FRAME - type 1, all octets = <<0,20,0,10,0>>";
    client.refused(&channel_open(1), 0, 505, text, (0, 0));
}

#[test]
fn a_stray_method_on_channel_0_is_504() {
    let text = "CHANNEL_ERROR - unexpected method in connection state running";
    check(vec![
        connection("start-ok again", start_ok("PLAIN", "", &[]), 504, text, (10, 11)),
        connection("tune-ok again", tune_ok(1, 4096, 0), 504, text, (10, 31)),
        connection("open again", open("/"), 504, text, (10, 40)),
        connection("a channel opened on 0", channel_open(0), 504, text, (20, 10)),
        connection(
            "a queue declared on 0",
            on_zero(queue_declare("q", 0, &[])),
            504,
            text,
            (50, 10),
        ),
        connection(
            "an ack on 0",
            on_zero(crate::bytes::ack(1, false)),
            504,
            text,
            (60, 80),
        ),
        connection(
            "a nack on 0",
            on_zero(crate::bytes::nack(1, 0)),
            504,
            text,
            (60, 120),
        ),
        connection(
            "a reject on 0",
            on_zero(crate::bytes::reject(1, false)),
            504,
            text,
            (60, 90),
        ),
        connection(
            "a publish on 0",
            on_zero(crate::bytes::publish_method("", "", 0)),
            504,
            text,
            (60, 40),
        ),
        connection(
            "open-ok from a client",
            method(10, 41).short("").on(0),
            504,
            text,
            (10, 41),
        ),
        connection(
            "blocked from a client",
            method(10, 60).short("").on(0),
            504,
            text,
            (10, 60),
        ),
    ]);
}

fn on_zero(mut frame: Vec<u8>) -> Vec<u8> {
    frame[2] = 0;
    frame
}

#[test]
fn a_method_that_a_channel_does_not_know_is_503() {
    let text = "COMMAND_INVALID - unimplemented method";
    let close = method(10, 50).u16(200).short("").u16(0).u16(0);
    check(vec![
        connection("connection.close on a channel", close.on(1), 503, text, (10, 50)),
        connection(
            "connection.open on a channel",
            method(10, 40).short("/").short("").u8(0).on(1),
            503,
            text,
            (10, 40),
        ),
        connection(
            "queue.declare-ok",
            method(50, 11).short("q").u32(0).u32(0).on(1),
            503,
            text,
            (50, 11),
        ),
        connection("exchange.declare-ok", method(40, 11).on(1), 503, text, (40, 11)),
        connection(
            "basic.consume-ok",
            method(60, 21).short("t").on(1),
            503,
            text,
            (60, 21),
        ),
        connection(
            "basic.get-empty",
            method(60, 72).short("").on(1),
            503,
            text,
            (60, 72),
        ),
        connection("basic.qos-ok", method(60, 11).on(1), 503, text, (60, 11)),
        connection("confirm.select-ok", method(85, 11).on(1), 503, text, (85, 11)),
        connection("tx.commit-ok", method(90, 21).on(1), 503, text, (90, 21)),
        connection("channel.flow-ok", method(20, 21).u8(1).on(1), 503, text, (20, 21)),
        connection(
            "access.request-ok",
            method(30, 11).u16(1).on(1),
            503,
            text,
            (30, 11),
        ),
        connection("an unknown method", method(50, 99).on(1), 503, text, (50, 99)),
        connection("an unknown class", method(7, 1).on(1), 503, text, (7, 1)),
        connection(
            "an unknown method on channel 0",
            method(10, 99).on(0),
            503,
            text,
            (10, 99),
        ),
    ]);
}

#[test]
fn arguments_that_do_not_fill_the_method_exactly_are_501() {
    let text = |bytes: &str| format!("FRAME_ERROR - cannot decode <<{bytes}>>");
    check(vec![
        connection(
            "bytes behind an ack",
            method(60, 80).u64(1).u8(0).raw([9, 9]).on(1),
            501,
            &text("0,0,0,0,0,0,0,1,0,9,9"),
            (60, 80),
        ),
        connection(
            "bytes behind a qos",
            method(60, 10).u32(0).u16(1).u8(0).raw([7]).on(1),
            501,
            &text("0,0,0,0,0,1,0,7"),
            (60, 10),
        ),
        connection(
            "an ack cut short",
            method(60, 80).u32(1).on(1),
            501,
            &text("0,0,0,1"),
            (60, 80),
        ),
        connection(
            "a purge without its bits",
            method(50, 30).u16(0).short("q").on(1),
            501,
            &text("0,0,1,113"),
            (50, 30),
        ),
    ]);
}

#[test]
fn a_short_string_that_is_not_utf_8_is_501() {
    let text = "FRAME_ERROR - Malformed UTF-8 in shortstr";
    let declare = method(50, 10).u16(0).short([0xFF, b'q']).u8(0).long("").on(1);
    let consume = method(60, 20)
        .u16(0)
        .short("q")
        .short([0xC3])
        .u8(0)
        .long("")
        .on(1);
    check(vec![
        connection("a queue name", declare, 501, text, (0, 0)),
        connection("a consumer tag", consume, 501, text, (0, 0)),
    ]);
}

#[test]
fn a_bad_field_table_in_a_method_is_502() {
    let text = "SYNTAX_ERROR - malformed field table";
    let declare = |arguments: &[u8]| queue_declare("states-bad-table", 0, arguments);
    let deep = (0..40).fold(Vec::new(), |inner, _| {
        entry("a", b'F', &crate::bytes::Fields::default().long(inner).bytes())
    });
    check(vec![
        connection(
            "an unknown tag",
            declare(&entry("a", b'Z', &[0])),
            502,
            text,
            (50, 10),
        ),
        connection(
            "a string past the end",
            declare(&entry("a", b'S', &[0, 0, 0, 9, 1])),
            502,
            text,
            (50, 10),
        ),
        connection("a key past the end", declare(&[200, b'a']), 502, text, (50, 10)),
        connection("a key without a value", declare(&[1, b'a']), 502, text, (50, 10)),
        connection("too deep a table", declare(&deep), 502, text, (50, 10)),
    ]);
}

#[test]
fn update_secret_is_answered_and_changes_nothing() {
    let server = server();
    let mut client = Client::open(server.address());
    let update = method(10, 70).long("new").short("a reason").on(0);
    assert_eq!(client.call(&update, 0, (10, 71)), b"");
    client.sync();
}

#[test]
fn access_request_is_still_answered() {
    let server = server();
    let mut client = Client::open(server.address());
    assert_eq!(
        client.call(&method(30, 10).short("/data").u8(31).on(1), 1, (30, 11)),
        [0, 1]
    );
}

#[test]
fn heartbeats_and_other_channels_may_come_between_the_frames_of_a_message() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("states-between", 4, &[]), 1, (50, 11));
    client.send(&crate::bytes::publish_method("", "states-between", 0));
    client.send(&frame(8, 0, b""));
    client.send(&crate::bytes::content_header(2, 0, b""));
    client.call(&channel_open(2), 2, (20, 11));
    client.send(&frame(3, 1, b"o"));
    client.send(&frame(8, 0, b""));
    client.send(&frame(3, 1, b""));
    client.send(&frame(3, 1, b"k"));
    assert_eq!(client.get("states-between").unwrap().2, "ok");
}
