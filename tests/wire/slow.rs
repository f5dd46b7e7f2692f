//! Peers that say a little now and then, or stop in the middle: they are ended where that has a time, cost what they sent
//! where it has none, and hold up nobody.

use crate::bytes::{channel_open, method, publish, queue_declare};
use crate::client::{Client, Login, server, start_ok, tune_ok};
use crate::support::TestServer;

/// What one of many connections may cost, bytes, besides what it sent.
const CONNECTION_BYTES: usize = 64 << 10;

#[test]
fn a_handshake_that_drips_is_ended_wherever_it_is() {
    let server = TestServer::with_config("amqp.handshake_timeout = '400ms'");
    let header = b"AMQP\0\0\x09\x01";
    let start_ok = start_ok("PLAIN", "\0guest\0guest", &["connection.blocked"]);
    let tune_ok = tune_ok(2047, 131_072, 0);
    let frame_start = [1, 0, 0, 0, 0, 0x1F, 0x40, 0];
    let places = [
        b"".to_vec(),
        b"AMQP".to_vec(),
        header.to_vec(),
        [&header[..], &frame_start].concat(),
        [&header[..], &start_ok, &frame_start].concat(),
        [&header[..], &start_ok, &tune_ok, &frame_start].concat(),
    ];
    std::thread::scope(|scope| {
        for said in &places {
            let address = server.address();
            scope.spawn(move || {
                let mut client = Client::connect(address);
                client.send(said);
                client.drip(0);
            });
        }
        Client::open(server.address()).sync();
    });
    Client::open(server.address()).sync();
}

#[test]
fn a_peer_that_stops_within_a_frame_misses_heartbeats_like_any_other() {
    let server = server();
    let login = Login {
        heartbeat: 1,
        ..Login::default()
    };
    let mut client = Client::login(server.address(), &login);
    client.send(&channel_open(1)[..9]);
    client.expect_end();
}

#[test]
fn many_peers_within_a_frame_cost_what_they_sent() {
    let server = TestServer::start();
    let before = server.memory();
    // Each announces as much as a frame may have, and a body of half a gigabyte.
    let message = [
        method(60, 40).u16(0).short("").short("slow").u8(0).on(1),
        crate::bytes::content_header(512 << 20, 0, b""),
        vec![3, 0, 1, 0, 1, 0xFF, 0xF8, b'b', b'b'],
    ];
    let mut clients: Vec<_> = (0..200).map(|_| Client::open(server.address())).collect();
    for client in &mut clients {
        client.send(&message.concat());
    }
    let mut other = Client::open(server.address());
    other.call(&queue_declare("slow", 4, &[]), 1, (50, 11));
    other.send(&publish("", "slow", b"through"));
    assert_eq!(other.get("slow").unwrap().2, "through");
    let grown = server.memory().saturating_sub(before);
    assert!(
        grown < clients.len() * CONNECTION_BYTES,
        "{grown} bytes for {}",
        clients.len()
    );
    drop(clients);
    assert_eq!(other.get("slow"), None, "half a message is none");
}
