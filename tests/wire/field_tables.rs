//! Field tables in message headers: every type passes through.

use crate::bytes::{
    Fields, HEADERS, entry, exchange_declare, get, publish_with, queue_bind, queue_declare, text,
};
use crate::client::{Client, server};

fn long(bytes: &[u8]) -> Vec<u8> {
    Fields::default().long(bytes).bytes()
}

/// Publishes with these headers and returns what comes back.
fn round_trip(queue: &str, headers: &[u8]) -> Vec<u8> {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare(queue, 4, &[]), 1, (50, 11));
    client.send(&publish_with("", queue, 0, HEADERS, &long(headers), b"x"));
    client.send(&get(queue, true));
    let properties = client.message((60, 71)).properties;
    assert_eq!(properties[..2], HEADERS.to_be_bytes());
    properties[6..].to_vec()
}

#[test]
fn every_type_comes_back_byte_for_byte() {
    let types: [(u8, &[u8]); 18] = [
        (b't', &[1]),
        (b't', &[7]),
        (b'b', &[0x80]),
        (b'B', &[0xFF]),
        (b's', &[0x80, 0]),
        (b'u', &[0xFF, 0xFF]),
        (b'I', &[0x80, 0, 0, 0]),
        (b'i', &[0xFF; 4]),
        (b'l', &[0x80, 0, 0, 0, 0, 0, 0, 0]),
        (b'f', &[0x7F, 0xC0, 0, 1]),
        (b'd', &[0x7F, 0xF8, 0, 0, 0, 0, 0, 1]),
        (b'D', &[2, 0, 0, 1, 0]),
        (b'S', b"\0\0\0\x03\xFF\0\xC3"),
        (b'x', b"\0\0\0\x02\0\xFF"),
        (b'T', &[0xFF; 8]),
        (b'V', b""),
        (b'A', b"\0\0\0\x08t\x01VS\0\0\0\0"),
        (b'F', b"\0\0\0\x04\x01aVV"),
    ];
    for (index, (tag, value)) in types[..17].iter().enumerate() {
        let headers = entry("key", *tag, value);
        // A queue of its own: the broker may not have seen yet that the last owner is gone.
        let queue = format!("tab-each-{index}");
        assert_eq!(round_trip(&queue, &headers), headers, "{}", char::from(*tag));
    }
    let nested = entry(
        "in",
        b'F',
        &long(&[entry("k", b'V', b""), text("s", "v")].concat()),
    );
    let all: Vec<u8> = types[..17]
        .iter()
        .rev()
        .flat_map(|(tag, value)| entry("same", *tag, value))
        .collect();
    let headers = [all, nested, entry("", b'V', b"")].concat();
    assert_eq!(round_trip("tab-all", &headers), headers);
}

#[test]
fn a_long_of_the_other_spelling_is_respelled_at_every_depth() {
    let value = [0x80, 1, 2, 3, 4, 5, 6, 7];
    let with = |tag: u8| {
        let array = [vec![tag], value.to_vec(), vec![b'V']].concat();
        let inner = [entry("a", tag, &value), entry("list", b'A', &long(&array))].concat();
        [entry("top", tag, &value), entry("in", b'F', &long(&inner))].concat()
    };
    assert_eq!(round_trip("tab-long", &with(b'L')), with(b'l'));
}

#[test]
fn a_short_of_the_other_spelling_is_respelled() {
    assert_eq!(
        round_trip("tab-short", &entry("k", b'U', &[0x80, 1])),
        entry("k", b's', &[0x80, 1])
    );
}

#[test]
fn keys_may_be_any_bytes() {
    let headers = Fields::default().short([0xFF, 0, b'\n']).u8(b'V').bytes();
    assert_eq!(round_trip("tab-keys", &headers), headers);
}

#[test]
fn empty_headers_stay_empty_headers() {
    assert_eq!(round_trip("tab-empty", &[]), b"");
}

#[test]
fn a_headers_exchange_compares_types_as_rabbitmq_does() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&exchange_declare("tab-headers", "headers", 4, &[]), 1, (40, 11));
    client.call(&queue_declare("tab-headers", 4, &[]), 1, (50, 11));
    client.call(
        &queue_bind("tab-headers", "tab-headers", "", &entry("k", b'I', &[0, 0, 0, 1])),
        1,
        (50, 21),
    );
    let matches = |client: &mut Client, headers: &[u8]| {
        client.send(&publish_with("tab-headers", "", 0, HEADERS, &long(headers), b"x"));
        client.get("tab-headers").is_some()
    };
    for (tag, value) in [
        (b'l', &[0, 0, 0, 0, 0, 0, 0, 1][..]),
        (b's', &[0, 1]),
        (b'I', &[0, 0, 0, 1]),
        (b'B', &[1]),
    ] {
        assert!(
            matches(&mut client, &entry("k", tag, value)),
            "{}",
            char::from(tag)
        );
    }
    for (tag, value) in [
        (b't', &[1][..]),
        (b'S', b"\0\0\0\x011"),
        (b'I', &[0, 0, 0, 2]),
        (b'V', b""),
    ] {
        assert!(
            !matches(&mut client, &entry("k", tag, value)),
            "{}",
            char::from(tag)
        );
    }
}
