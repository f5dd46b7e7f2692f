//! Acks, nacks, rejects and recover.

use crate::bytes::{ack, channel_open, consume, get, method, nack, publish, qos, queue_declare, reject};
use crate::client::{Client, server};
use crate::rows::{channel, check};

/// A client with this exclusive queue, which has the messages 1 to `count`.
fn filled(address: std::net::SocketAddr, queue: &str, count: usize) -> Client {
    let mut client = Client::open(address);
    client.call(&queue_declare(queue, 4, &[]), 1, (50, 11));
    for number in 1..=count {
        client.send(&publish("", queue, number.to_string().as_bytes()));
    }
    client
}

fn bodies(client: &mut Client, queue: &str) -> Vec<(bool, String)> {
    let mut bodies = Vec::new();
    while let Some((_, redelivered, body)) = client.get(queue) {
        bodies.push((redelivered, body));
    }
    bodies
}

fn again(expected: &[&str]) -> Vec<(bool, String)> {
    expected.iter().map(|body| (true, (*body).to_owned())).collect()
}

#[test]
fn an_unknown_delivery_tag_is_406() {
    let text = |tag: u64| format!("PRECONDITION_FAILED - unknown delivery tag {tag}");
    check(vec![
        channel("ack", ack(1, false), 406, &text(1), (60, 80)),
        channel("ack 0", ack(0, false), 406, &text(0), (60, 80)),
        channel("ack up to", ack(5, true), 406, &text(5), (60, 80)),
        channel("reject", reject(7, true), 406, &text(7), (60, 90)),
        channel("reject 0", reject(0, false), 406, &text(0), (60, 90)),
        channel("nack", nack(u64::MAX, 0), 406, &text(u64::MAX), (60, 120)),
        channel("nack 0", nack(0, 0), 406, &text(0), (60, 120)),
        channel("nack up to", nack(5, 1), 406, &text(5), (60, 120)),
    ]);
}

#[test]
fn a_tag_counts_once_on_its_own_channel_and_only_if_it_needs_an_ack() {
    let server = server();
    let text = |tag: u64| format!("PRECONDITION_FAILED - unknown delivery tag {tag}");
    let mut client = filled(server.address(), "set-once", 4);
    client.get("set-once");
    client.send(&ack(1, false));
    client.refused(&ack(1, false), 1, 406, &text(1), (60, 80));
    client.send(&get("set-once", true));
    client.message((60, 71));
    client.refused(&ack(1, false), 1, 406, &text(1), (60, 80));
    client.get("set-once");
    client.call(&channel_open(2), 2, (20, 11));
    let mut on_2 = ack(1, false);
    on_2[2] = 2;
    client.refused(&on_2, 2, 406, &text(1), (60, 80));
    client.send(&ack(1, false));
    client.sync();
}

#[test]
fn multiple_needs_the_tag_itself_to_be_outstanding() {
    let server = server();
    let mut client = filled(server.address(), "set-multiple", 3);
    for _ in 0..3 {
        client.get("set-multiple");
    }
    client.send(&ack(2, false));
    client.refused(
        &ack(2, true),
        1,
        406,
        "PRECONDITION_FAILED - unknown delivery tag 2",
        (60, 80),
    );
    assert_eq!(bodies(&mut client, "set-multiple"), again(&["1", "3"]));
}

#[test]
fn tag_0_with_multiple_means_all_and_never_fails() {
    let server = server();
    let mut client = filled(server.address(), "set-all", 2);
    client.send(&[ack(0, true), nack(0, 1), nack(0, 3)].concat());
    client.get("set-all");
    client.get("set-all");
    client.send(&nack(0, 3));
    assert_eq!(bodies(&mut client, "set-all"), again(&["1", "2"]));
    client.send(&ack(0, true));
    assert_eq!(bodies(&mut client, "set-all"), []);
    client.sync();
}

#[test]
fn what_is_requeued_takes_its_old_place_whatever_the_order() {
    let server = server();
    let mut client = filled(server.address(), "set-place", 4);
    for _ in 0..3 {
        client.get("set-place");
    }
    client.send(&[reject(3, true), nack(1, 2), reject(2, true)].concat());
    let mut expected = again(&["1", "2", "3"]);
    expected.push((false, "4".to_owned()));
    assert_eq!(bodies(&mut client, "set-place"), expected);
}

#[test]
fn without_requeue_messages_are_gone() {
    let server = server();
    let mut client = filled(server.address(), "set-gone", 4);
    for _ in 0..4 {
        client.get("set-gone");
    }
    client.send(&[reject(1, false), nack(3, 1)].concat());
    client.send(&reject(4, true));
    assert_eq!(bodies(&mut client, "set-gone"), again(&["4"]));
}

#[test]
fn recover_answers_first_and_delivers_again_with_new_tags() {
    let server = server();
    let mut client = filled(server.address(), "set-recover", 2);
    client.call(&consume("set-recover", "t", 0, &[]), 1, (60, 21));
    assert_eq!((client.delivery().0, client.delivery().0), (1, 2));
    client.call(&method(60, 110).u8(1).on(1), 1, (60, 111));
    assert_eq!(client.delivery(), (3, true, "1".to_owned()));
    assert_eq!(client.delivery(), (4, true, "2".to_owned()));
    client.send(&method(60, 100).u8(1).on(1));
    assert_eq!(client.delivery(), (5, true, "1".to_owned()));
    assert_eq!(client.delivery(), (6, true, "2".to_owned()));
    client.refused(
        &ack(3, false),
        1,
        406,
        "PRECONDITION_FAILED - unknown delivery tag 3",
        (60, 80),
    );
}

#[test]
fn a_rejected_message_may_go_straight_back_to_its_consumer() {
    let server = server();
    let mut client = filled(server.address(), "set-back", 1);
    client.call(&qos(1, false), 1, (60, 11));
    client.call(&consume("set-back", "t", 0, &[]), 1, (60, 21));
    assert_eq!(client.delivery(), (1, false, "1".to_owned()));
    client.send(&reject(1, true));
    assert_eq!(client.delivery(), (2, true, "1".to_owned()));
}
