//! How connections end.

use crate::bytes::{channel_open, frame, method, publish, queue_declare};
use crate::client::{Client, server};
use crate::support::{TestServer, eventually};

fn close() -> Vec<u8> {
    method(10, 50).u16(200).short("bye").u16(0).u16(0).on(0)
}

#[test]
fn a_client_that_closes_gets_close_ok_and_is_not_listened_to_any_more() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&close(), 0, (10, 51));
    client.send_carelessly(&frame(9, 7, b"garbage"));
    client.send_carelessly(&channel_open(2));
    client.finish();
    client.expect_end();
}

#[test]
fn exclusive_queues_are_gone_and_publishes_are_in_before_close_ok() {
    let server = server();
    let mut other = Client::open(server.address());
    other.call(&queue_declare("closing-kept", 0, &[]), 1, (50, 11));
    let mut client = Client::open(server.address());
    client.call(&queue_declare("closing-own", 4, &[]), 1, (50, 11));
    client.send(&publish("", "closing-kept", b"last"));
    client.call(&close(), 0, (10, 51));
    assert_eq!(other.get("closing-kept").unwrap().2, "last");
    other.call(&crate::bytes::queue_delete("closing-kept", 0), 1, (50, 41));
    let missing = "NOT_FOUND - no queue 'closing-own' in vhost '/'";
    other.refused(&queue_declare("closing-own", 1, &[]), 1, 404, missing, (50, 10));
}

#[test]
fn a_client_that_vanishes_leaves_nothing_behind() {
    let server = server();
    let mut other = Client::open(server.address());
    other.call(&queue_declare("closing-unacked", 0, &[]), 1, (50, 11));
    other.send(&publish("", "closing-unacked", b"again"));
    let mut client = Client::open(server.address());
    client.call(&queue_declare("closing-vanished", 4, &[]), 1, (50, 11));
    eventually("the message is there", || client.get("closing-unacked"));
    drop(client);
    let back = eventually("the message comes back", || other.get("closing-unacked"));
    assert_eq!((back.1, back.2.as_str()), (true, "again"));
    other.call(&crate::bytes::queue_delete("closing-unacked", 0), 1, (50, 41));
    eventually("the exclusive queue goes", || {
        let mut client = Client::open(server.address());
        client.send(&queue_declare("closing-vanished", 1, &[]));
        client.close().filter(|close| close.code == 404)
    });
}

#[test]
fn while_closing_only_close_and_close_ok_count() {
    let server = server();
    let mut client = Client::open(server.address());
    client.send(&channel_open(1));
    client.expect(0, (10, 50));
    client.send(&queue_declare("closing-ignored", 0, &[]));
    client.send(&frame(8, 0, b""));
    client.send(&frame(2, 1, &[0; 14]));
    client.call(&close(), 0, (10, 51));
    client.send_carelessly(&method(10, 51).on(0));
    client.expect_end();
}

#[test]
fn a_stop_closes_with_320() {
    let mut server = TestServer::start();
    let mut client = Client::open(server.address());
    let stopping = std::thread::spawn(move || server.stop());
    let text = "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'";
    client.refused(b"", 0, 320, text, (0, 0));
    stopping.join().unwrap();
}
