//! Publisher confirms.

use crate::bytes::{
    DELIVERY_MODE, Reader, int, method, publish, publish_with, queue_bind, queue_declare, queue_delete, text,
};
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

#[test]
fn confirms_of_a_closed_channel_never_reach_the_next_one_of_its_number() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("conf-before", 4, &[]), 1, (50, 11));
    client.call(&queue_declare("conf-kept", 2, &[]), 1, (50, 11));
    client.call(&select(), 1, (85, 11));
    let mut all = publish("", "conf-before", b"x").repeat(3);
    all.extend(method(20, 40).u16(200).short("").u16(0).u16(0).on(1));
    all.extend(method(20, 10).short("").on(1));
    all.extend(select());
    all.extend(publish_with("", "conf-kept", 0, DELIVERY_MODE, &[2], b"y"));
    client.send(&all);
    acked(&mut client, 3);
    client.expect(1, (20, 41));
    client.expect(1, (20, 11));
    client.expect(1, (85, 11));
    acked(&mut client, 1);
    client.sync();
}

#[test]
fn a_refusal_in_the_middle_of_a_burst_is_for_that_publish_alone() {
    let server = server();
    let mut client = Client::open(server.address());
    let full = [int("x-max-length", 2), text("x-overflow", "reject-publish")].concat();
    client.call(&queue_declare("conf-full", 0, &full), 1, (50, 11));
    client.call(&queue_declare("conf-wide", 0, &[]), 1, (50, 11));
    for queue in ["conf-full", "conf-wide"] {
        client.call(&queue_bind(queue, "amq.fanout", "", &[]), 1, (50, 21));
    }
    client.call(&select(), 1, (85, 11));
    let mut burst = publish("amq.fanout", "", b"to both");
    burst.extend(publish("", "conf-wide", b"to one"));
    burst.extend(publish("amq.fanout", "", b"to both").repeat(3));
    burst.extend(publish("", "conf-wide", b"to one"));
    client.send(&burst);
    let (mut acked, mut nacked) = (Vec::new(), Vec::new());
    while acked.len() + nacked.len() < 6 {
        let frame = client.frame().unwrap();
        let mut arguments = Reader(&frame.payload[4..]);
        let (tag, bits) = (arguments.u64(), arguments.u8());
        match frame.id() {
            (60, 80) if bits & 1 == 1 => {
                acked.extend((1..=tag).filter(|tag| !nacked.contains(tag)));
                acked.dedup();
            }
            (60, 80) => acked.push(tag),
            (60, 120) => {
                assert_eq!(bits & 1, 0, "a nack for one");
                nacked.push(tag);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(nacked, [4, 5]);
    acked.sort_unstable();
    assert_eq!(acked, [1, 2, 3, 6]);
}
