//! connection.blocked: publishers wait while memory is low, and nobody else does.

use crate::bytes::{Reader, consume, content_header, method, publish, publish_method, queue_declare};
use crate::client::{Client, Login};
use crate::support::{TestServer, eventually};

/// A broker whose alarm stands.
fn short_of_memory() -> TestServer {
    let server = TestServer::with_config("[limits]\nmemory_high_watermark = \"1 MiB\"\n");
    publish_until_blocked(&mut Client::open(server.address()));
    server
}

/// Publishes until connection.blocked comes; the alarm may take its time.
fn publish_until_blocked(client: &mut Client) {
    eventually("the alarm stands", || {
        client.send(&publish("", "blocked-nowhere", b"x"));
        client.send(&method(20, 20).u8(1).on(1));
        let frame = client.frame().expect("the broker keeps the connection");
        if frame.id() == (20, 21) {
            return None;
        }
        assert_eq!(frame.id(), (10, 60));
        assert_eq!(Reader(&frame.payload[4..]).text(), "low on memory");
        Some(())
    });
}

#[test]
fn a_publisher_is_blocked_and_others_are_not() {
    let server = short_of_memory();
    let mut other = Client::open(server.address());
    let mut publisher = Client::open(server.address());
    publish_until_blocked(&mut publisher);
    other.call(&queue_declare("blocked-other", 4, &[]), 1, (50, 11));
    other.sync();
}

#[test]
fn a_header_alone_blocks_and_the_word_comes_once() {
    let server = short_of_memory();
    let login = Login {
        heartbeat: 1,
        ..Login::default()
    };
    let mut client = Client::login(server.address(), &login).with_channel();
    client.send(&publish_method("", "blocked-nowhere", 0));
    client.send(&content_header(3, 0, b""));
    client.expect(0, (10, 60));
    // The broker goes on sending heartbeats, says nothing else, and does not hold silence against the peer.
    for _ in 0..5 {
        let frame = client.any_frame().expect("the broker keeps the connection");
        assert_eq!(frame.kind, 8);
    }
}

#[test]
fn a_client_that_does_not_know_the_word_is_not_told() {
    let server = short_of_memory();
    let login = Login {
        capabilities: &[],
        heartbeat: 1,
        ..Login::default()
    };
    let mut client = Client::login(server.address(), &login).with_channel();
    client.send(&publish("", "blocked-nowhere", b"x"));
    client.send(&method(20, 20).u8(1).on(1));
    for _ in 0..2 {
        assert_eq!(
            client.any_frame().expect("the broker keeps the connection").kind,
            8
        );
    }
}

#[test]
fn a_blocked_connection_still_gets_deliveries() {
    let server = short_of_memory();
    let mut blocked = Client::open(server.address());
    blocked.call(&queue_declare("blocked-q", 4, &[]), 1, (50, 11));
    blocked.call(&consume("blocked-q", "t", 2, &[]), 1, (60, 21));
    // A message without a body is whole with the header that blocks.
    blocked.send(&publish("", "blocked-q", b""));
    let (mut was_told, mut was_delivered) = (false, false);
    while !was_told || !was_delivered {
        let frame = blocked.frame().expect("the broker keeps the connection");
        was_told |= frame.id() == (10, 60);
        was_delivered |= frame.kind == 2;
    }
    let mut other = Client::open(server.address());
    other.send(&publish("", "blocked-q", b""));
    assert_eq!(blocked.delivery(), (2, false, String::new()));
}
