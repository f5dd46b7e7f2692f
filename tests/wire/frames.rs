//! Frames that are wrong, and content that does not follow as it must.

use crate::bytes::{Fields, content_header, frame, publish_method, publish_with};
use crate::client::{Client, Login, server};
use crate::rows::{check, connection};

#[test]
fn a_broken_frame_is_501() {
    let mut no_end = frame(1, 1, &[0, 20, 0, 20, 1]);
    *no_end.last_mut().unwrap() = 0xCD;
    let mut no_end_long = frame(3, 1, b"0123456789abcdefXYZ");
    *no_end_long.last_mut().unwrap() = 0;
    check(vec![
        connection(
            "a frame without end octet",
            no_end,
            501,
            "FRAME_ERROR - type 1, all octets = <<0,20,0,20,1>>: {invalid_frame_end_marker,205}",
            (0, 0),
        ),
        connection(
            "a long frame without end octet",
            no_end_long,
            501,
            "FRAME_ERROR - type 3, first 16 octets = <<\"0123456789abcdef\">>: {invalid_frame_end_marker,0}",
            (0, 0),
        ),
        connection(
            "an unknown type",
            frame(9, 0, b"abc"),
            501,
            "FRAME_ERROR - type 9, all octets = <<\"abc\">>: unknown_frame",
            (0, 0),
        ),
        connection(
            "type 0",
            frame(0, 1, b""),
            501,
            "FRAME_ERROR - type 0, all octets = <<>>: unknown_frame",
            (0, 0),
        ),
        connection(
            "a heartbeat with a payload",
            frame(8, 0, b"x"),
            501,
            "FRAME_ERROR - type 8, all octets = <<\"x\">>: unknown_frame",
            (0, 0),
        ),
        connection(
            "a method of three bytes",
            frame(1, 1, &[0, 20, 0]),
            501,
            "FRAME_ERROR - type 1, all octets = <<0,20,0>>: unknown_frame",
            (0, 0),
        ),
        connection(
            "an empty method",
            frame(1, 1, b""),
            501,
            "FRAME_ERROR - type 1, all octets = <<>>: unknown_frame",
            (0, 0),
        ),
        connection(
            "a header of eleven bytes",
            frame(2, 1, &[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            501,
            "FRAME_ERROR - type 2, all octets = <<0,60,0,0,0,0,0,0,0,0,0>>: unknown_frame",
            (0, 0),
        ),
    ]);
}

#[test]
fn an_oversized_frame_is_refused_by_its_header() {
    // Nothing of the payload is sent.
    check(vec![
        connection(
            "a byte too much",
            vec![3, 0, 1, 0, 2, 0, 1],
            501,
            "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,131073,131064}",
            (0, 0),
        ),
        connection(
            "4 GiB",
            vec![1, 0, 1, 255, 255, 255, 255],
            501,
            "FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,4294967295,131064}",
            (0, 0),
        ),
    ]);
}

#[test]
fn the_agreed_frame_size_counts() {
    let login = Login {
        frame_max: 4096,
        ..Login::default()
    };
    let server = server();
    let mut client = Client::login(server.address(), &login).with_channel();
    let text = "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,4097,4088}";
    client.refused(&[3, 0, 1, 0, 0, 0x10, 0x01], 0, 501, text, (0, 0));
}

#[test]
fn a_payload_of_exactly_frame_max_is_tolerated() {
    let login = Login {
        frame_max: 4096,
        ..Login::default()
    };
    let server = server();
    let mut client = Client::login(server.address(), &login).with_channel();
    client.send(&publish_with("", "frames-nowhere", 0, 0, b"", &[0; 4096]));
    client.sync();
}

#[test]
fn a_frame_on_the_wrong_channel_is_505() {
    let header = Fields::default().u16(60).u16(0).u64(0).u16(0).bytes();
    check(vec![
        connection(
            "a heartbeat on a channel",
            frame(8, 1, b""),
            505,
            "UNEXPECTED_FRAME - type 8, all octets = <<>>",
            (0, 0),
        ),
        connection(
            "a header on channel 0",
            frame(2, 0, &header),
            505,
            "UNEXPECTED_FRAME - type 2, all octets = <<0,60,0,0,0,0,0,0,0,0,0,0,0,0>>",
            (0, 0),
        ),
        connection(
            "a body on channel 0",
            frame(3, 0, b"abc"),
            505,
            "UNEXPECTED_FRAME - type 3, all octets = <<\"abc\">>",
            (0, 0),
        ),
    ]);
}

fn header(class: u16, weight: u16) -> Vec<u8> {
    let fields = Fields::default().u16(class).u16(weight).u64(0).u16(0);
    frame(2, 1, &fields.bytes())
}

#[test]
fn content_without_its_beginning_is_505() {
    let publish = publish_method("", "frames-nowhere", 0);
    let after = |frames: Vec<u8>| [publish.clone(), frames].concat();
    let method = crate::bytes::qos(1, false);
    let no_method = "UNEXPECTED_FRAME - expected method frame, got non method frame instead";
    let no_header =
        "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead";
    let other_class = "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead";
    check(vec![
        connection(
            "a header without a publish",
            content_header(0, 0, b""),
            505,
            no_method,
            (0, 0),
        ),
        connection(
            "a body without a publish",
            frame(3, 1, b"x"),
            505,
            no_method,
            (0, 0),
        ),
        connection(
            "a method after a publish",
            after(method.clone()),
            505,
            no_header,
            (60, 40),
        ),
        connection(
            "an ack after a publish",
            after(crate::bytes::ack(1, false)),
            505,
            no_header,
            (60, 40),
        ),
        connection(
            "a publish after a publish",
            after(publish.clone()),
            505,
            no_header,
            (60, 40),
        ),
        connection(
            "a body after a publish",
            after(frame(3, 1, b"x")),
            505,
            no_header,
            (60, 40),
        ),
        connection(
            "a header with a weight",
            after(header(60, 1)),
            505,
            no_header,
            (60, 40),
        ),
        connection(
            "a header of another class",
            after(header(50, 0)),
            505,
            other_class,
            (60, 40),
        ),
    ]);
}

#[test]
fn content_without_its_end_is_505() {
    let publish = publish_method("", "frames-nowhere", 0);
    let wanting = |frames: Vec<u8>| [publish.clone(), content_header(2, 0, b""), frames].concat();
    let no_body = "UNEXPECTED_FRAME - expected content body, got non content body frame instead";
    check(vec![
        connection(
            "a second header",
            wanting(content_header(2, 0, b"")),
            505,
            no_body,
            (60, 40),
        ),
        connection(
            "a method in place of a body",
            wanting(crate::bytes::qos(1, false)),
            505,
            no_body,
            (60, 40),
        ),
    ]);
}

#[test]
fn a_body_beyond_what_was_announced_is_501() {
    let publish = publish_method("", "frames-nowhere", 0);
    let huge = 536_870_913;
    let size = "FRAME_ERROR - content body size 536870913 exceeds maximum allowed size 536870912";
    let more = "FRAME_ERROR - content body frame exceeds remaining content size";
    let header = content_header(2, 0, b"");
    check(vec![
        connection(
            "a body larger than the rest",
            [publish.clone(), header, frame(3, 1, b"abc")].concat(),
            501,
            more,
            (60, 40),
        ),
        connection(
            "512 MiB and a byte",
            [publish, content_header(huge, 0, b"")].concat(),
            501,
            size,
            (60, 40),
        ),
    ]);
}

#[test]
fn properties_that_do_not_parse_are_541() {
    let sent = |flags, values: &[u8]| publish_with("", "frames-nowhere", 0, flags, values, b"x");
    let table = |entries: &[u8]| Fields::default().long(entries).bytes();
    check(vec![
        connection(
            "a value missing",
            sent(1 << 15, b""),
            541,
            "INTERNAL_ERROR",
            (0, 0),
        ),
        connection(
            "a value cut short",
            sent(1 << 15, b"\x05abc"),
            541,
            "INTERNAL_ERROR",
            (0, 0),
        ),
        connection("bytes left over", sent(0, b"abc"), 541, "INTERNAL_ERROR", (0, 0)),
        connection(
            "a word of more flags",
            sent(1, &[0, 0]),
            541,
            "INTERNAL_ERROR",
            (0, 0),
        ),
        connection(
            "a word of more flags that does not come",
            sent(1 << 12 | 1, &[2]),
            541,
            "INTERNAL_ERROR",
            (0, 0),
        ),
        connection(
            "headers cut short",
            sent(1 << 13, &[0, 0, 0, 9, 1]),
            541,
            "INTERNAL_ERROR",
            (0, 0),
        ),
        connection(
            "a header of unknown type",
            sent(1 << 13, &table(b"\x01aZ\0")),
            541,
            "INTERNAL_ERROR",
            (0, 0),
        ),
        connection(
            "a header without a value",
            sent(1 << 13, &table(b"\x01a")),
            541,
            "INTERNAL_ERROR",
            (0, 0),
        ),
    ]);
}
