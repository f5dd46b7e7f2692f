//! Publisher confirms.

use crate::bytes::{DELIVERY_MODE, Reader, method, publish, publish_with, queue_declare, queue_delete};
use crate::client::{Client, server};

fn select() -> Vec<u8> {
    method(85, 10).u8(0).on(1)
}

/// Reads acks until everything up to `last` is confirmed, each number once.
fn acked(client: &mut Client, last: u64) {
    let mut open: Vec<u64> = (1..=last).collect();
    while !open.is_empty() {
        let ack = client.expect(1, (60, 80));
        let mut ack = Reader(&ack);
        let (tag, multiple) = (ack.u64(), ack.u8() == 1);
        assert!(
            open.contains(&tag),
            "{tag} is confirmed twice or was never published"
        );
        open.retain(|number| if multiple { *number > tag } else { *number != tag });
    }
}

#[test]
fn numbers_begin_at_one_with_the_first_publish_after_select() {
    let server = server();
    let mut client = Client::open(server.address());
    client.send(&publish("", "conf-nowhere", b"before"));
    client.call(&select(), 1, (85, 11));
    client.call(&select(), 1, (85, 11));
    client.send(&publish("", "conf-nowhere", b"after"));
    assert_eq!(client.expect(1, (60, 80)), [0, 0, 0, 0, 0, 0, 0, 1, 0]);
    client.sync();
}

#[test]
fn every_publish_is_confirmed_once_whatever_it_is() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("conf-durable", 2, &[]), 1, (50, 11));
    client.call(&queue_declare("conf-transient", 4, &[]), 1, (50, 11));
    client.call(&select(), 1, (85, 11));
    let mut burst = Vec::new();
    for number in 0..300 {
        let queue = ["conf-durable", "conf-transient", "conf-nowhere"][number % 3];
        let mode = u8::try_from(number % 2 + 1).unwrap();
        burst.extend(publish_with("", queue, 0, DELIVERY_MODE, &[mode], b"x"));
    }
    client.send(&burst);
    acked(&mut client, 300);
    assert_eq!(
        client.call(&queue_delete("conf-durable", 0), 1, (50, 41)),
        [0, 0, 0, 100]
    );
}

#[test]
fn a_return_comes_before_its_ack() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&select(), 1, (85, 11));
    client.send(&publish_with("", "conf-nowhere", 1, 0, &[], b"x"));
    client.message((60, 50));
    client.expect(1, (60, 80));
    // In a burst too.
    client.send(&publish("", "conf-nowhere", b"y"));
    client.send(&publish_with("", "conf-nowhere", 1, 0, &[], b"z"));
    let mut returned = false;
    loop {
        let frame = client.frame().unwrap();
        match frame.id() {
            (60, 50) => returned = true,
            (60, 80) => {
                let mut ack = Reader(&frame.payload[4..]);
                if ack.u64() == 3 {
                    break;
                }
            }
            _ => assert_ne!(frame.kind, 1, "{frame:?}"),
        }
    }
    assert!(returned, "confirmed before it was returned");
}

#[test]
fn a_missing_exchange_closes_the_channel_and_confirms_nothing_more() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&select(), 1, (85, 11));
    client.send(&publish("conf-none", "k", b"x"));
    client.send(&publish("", "conf-nowhere", b"y"));
    client.expect(1, (20, 40));
    client.send(&method(20, 41).on(1));
    client.call(&crate::bytes::channel_open(1), 1, (20, 11));
    client.sync();
}

#[test]
fn select_with_nowait_says_nothing() {
    let server = server();
    let mut client = Client::open(server.address());
    client.send(&method(85, 10).u8(1).on(1));
    client.send(&publish("", "conf-nowhere", b"x"));
    client.expect(1, (60, 80));
}
