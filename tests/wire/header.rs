//! The first eight bytes, and connection.start.

use crate::bytes::{Reader, frame};
use crate::client::{Client, server};

#[test]
fn a_client_of_another_protocol_is_told_ours_and_dropped() {
    let server = server();
    let wrong: [&[u8; 8]; 8] = [
        b"AMQP\0\0\x09\x02",
        b"AMQP\0\0\x0A\0",
        b"AMQP\x03\x01\0\0",
        b"AMQP\0\x01\0\0",
        b"AMQP\0\0\x08\0",
        b"AMQP\x01\x01\x08\0",
        b"GET / HT",
        b"\x16\x03\x01\x02\0\x01\0\x01",
    ];
    for header in wrong {
        let mut client = Client::connect(server.address());
        client.send(header);
        assert_eq!(client.rest(), b"AMQP\0\0\x09\x01", "{header:?}");
    }
}

#[test]
fn amqp_0_9_is_taken_for_0_9_1() {
    let server = server();
    let mut client = Client::connect(server.address());
    client.send(b"AMQP\x01\x01\0\x09");
    client.expect(0, (10, 10));
}

#[test]
fn a_header_may_come_byte_by_byte() {
    let server = server();
    let mut client = Client::connect(server.address());
    for byte in b"AMQP\0\0\x09\x01" {
        client.send(&[*byte]);
    }
    client.expect(0, (10, 10));
}

#[test]
fn start_names_version_mechanisms_locales_and_properties_in_order() {
    let server = server();
    let mut client = Client::connect(server.address());
    let start = client.call(b"AMQP\0\0\x09\x01", 0, (10, 10));
    let mut start = Reader(&start);
    assert_eq!((start.u8(), start.u8()), (0, 9));
    let mut properties = Reader(start.long());
    assert_eq!(start.long(), b"PLAIN AMQPLAIN");
    assert_eq!(start.long(), b"en_US");
    assert_eq!(start.0, b"");

    let mut keys = Vec::new();
    let mut capabilities = Vec::new();
    while !properties.0.is_empty() {
        keys.push(properties.text());
        match properties.u8() {
            b'F' => capabilities = properties.long().to_vec(),
            b'S' => assert!(!properties.long().is_empty()),
            tag => panic!("a property of type {tag}"),
        }
    }
    let expected = [
        "broker",
        "broker_version",
        "capabilities",
        "cluster_name",
        "copyright",
        "information",
        "platform",
        "product",
        "version",
    ];
    assert_eq!(keys, expected);

    let mut capabilities = Reader(&capabilities);
    let mut names = Vec::new();
    while !capabilities.0.is_empty() {
        names.push(capabilities.text());
        assert_eq!((capabilities.u8(), capabilities.u8()), (b't', 1));
    }
    for name in [
        "authentication_failure_close",
        "basic.nack",
        "connection.blocked",
        "consumer_cancel_notify",
        "consumer_priorities",
        "direct_reply_to",
        "exchange_exchange_bindings",
        "per_consumer_qos",
        "publisher_confirms",
    ] {
        assert!(
            names.iter().any(|announced| announced == name),
            "{name} is not in {names:?}"
        );
    }
}

#[test]
fn frames_before_start_ok_end_the_connection_silently() {
    let server = server();
    for sent in [
        frame(1, 0, &[0, 20, 0, 10, 0]),
        frame(9, 0, b"abc"),
        frame(1, 0, &[0, 10, 0, 40, 0, 0, 0]),
    ] {
        let mut client = Client::greeted(server.address());
        client.send(&sent);
        client.expect_end();
    }
}
