//! `x-single-active-consumer`: who gets the messages, and who takes over.

use crate::bytes::{
    Reader, ack, cancel, channel_open, consume, entry, int, method, publish, qos, queue_declare,
    queue_delete, text,
};
use crate::client::{Client, server};

fn single_active() -> Vec<u8> {
    entry("x-single-active-consumer", b't', &[1])
}

fn declare(client: &mut Client, name: &str) {
    client.call(&queue_declare(name, 0, &single_active()), 1, (50, 11));
}

fn send(client: &mut Client, queue: &str, bodies: &[&str]) {
    for body in bodies {
        client.send(&publish("", queue, body.as_bytes()));
    }
}

/// Consumer tag and body of the next delivery.
#[track_caller]
fn delivered(client: &mut Client) -> (String, String) {
    let message = client.message((60, 60));
    (
        Reader(&message.arguments).text(),
        String::from_utf8(message.body).unwrap(),
    )
}

fn of(tag: &str, body: &str) -> (String, String) {
    (tag.to_owned(), body.to_owned())
}

#[test]
fn exclusive_consumers_are_refused() {
    let server = server();
    let mut client = Client::open(server.address());
    declare(&mut client, "sac-ex");
    let refusal = "ACCESS_REFUSED - queue 'sac-ex' in vhost '/' in exclusive use";
    client.refused(&consume("sac-ex", "t", 4, &[]), 1, 403, refusal, (60, 20));
    client.call(&queue_delete("sac-ex", 0), 1, (50, 41));
    // `false` chooses nothing.
    let off = entry("x-single-active-consumer", b't', &[0]);
    client.call(&queue_declare("sac-ex", 0, &off), 1, (50, 11));
    client.call(&consume("sac-ex", "t", 4, &[]), 1, (60, 21));
    client.call(&queue_delete("sac-ex", 0), 1, (50, 41));
}

#[test]
fn the_first_one_gets_all_and_stops_at_its_prefetch() {
    let server = server();
    let mut client = Client::open(server.address());
    declare(&mut client, "sac-first");
    client.call(&qos(2, false), 1, (60, 11));
    client.call(&consume("sac-first", "first", 0, &[]), 1, (60, 21));
    client.call(
        &consume("sac-first", "second", 0, &int("x-priority", 10)),
        1,
        (60, 21),
    );
    send(&mut client, "sac-first", &["1", "2", "3"]);
    assert_eq!(delivered(&mut client), of("first", "1"));
    assert_eq!(delivered(&mut client), of("first", "2"));
    client.sync();
    client.send(&ack(1, false));
    assert_eq!(delivered(&mut client), of("first", "3"));
    // declare-ok counts those that wait as well.
    let ok = client.call(&queue_declare("sac-first", 1, &[]), 1, (50, 11));
    assert_eq!(ok[ok.len() - 4..], [0, 0, 0, 2]);
    client.call(&queue_delete("sac-first", 0), 1, (50, 41));
}

#[test]
fn after_a_cancel_the_highest_priority_then_the_oldest_takes_over() {
    let server = server();
    let mut client = Client::open(server.address());
    declare(&mut client, "sac-cancel");
    for (tag, priority) in [("first", 0), ("low", -1), ("high", 10), ("later", 10)] {
        client.call(
            &consume("sac-cancel", tag, 0, &int("x-priority", priority)),
            1,
            (60, 21),
        );
    }
    let mut active = "first";
    for next in ["high", "later", "low"] {
        send(&mut client, "sac-cancel", &[active]);
        assert_eq!(delivered(&mut client), of(active, active));
        client.call(&cancel(active), 1, (60, 31));
        active = next;
    }
    // What the cancelled ones held stays with the channel until it is settled.
    client.send(&ack(1, false));
    client.sync();
    client.call(&queue_delete("sac-cancel", 0), 1, (50, 41));
    client.expect(1, (60, 30));
}

#[test]
fn what_waits_goes_to_the_successor_at_once() {
    let server = server();
    let mut client = Client::open(server.address());
    declare(&mut client, "sac-ready");
    client.call(&qos(1, false), 1, (60, 11));
    client.call(&consume("sac-ready", "first", 0, &[]), 1, (60, 21));
    client.call(&consume("sac-ready", "second", 0, &[]), 1, (60, 21));
    send(&mut client, "sac-ready", &["1", "2"]);
    assert_eq!(delivered(&mut client), of("first", "1"));
    client.call(&cancel("first"), 1, (60, 31));
    assert_eq!(delivered(&mut client), of("second", "2"));
    client.call(&queue_delete("sac-ready", 0), 1, (50, 41));
}

#[test]
fn a_successor_sees_the_queues_order_when_a_channel_or_connection_ends() {
    let server = server();
    let mut waiting = Client::open(server.address());
    declare(&mut waiting, "sac-order");
    for ending in [method(20, 40).u16(200).short("").u32(0).on(1), Vec::new()] {
        let mut active = Client::open(server.address());
        active.call(&qos(2, false), 1, (60, 11));
        active.call(&consume("sac-order", "active", 0, &[]), 1, (60, 21));
        waiting.call(&consume("sac-order", "waiting", 2, &[]), 1, (60, 21));
        send(&mut waiting, "sac-order", &["1", "2", "3", "4"]);
        assert_eq!(delivered(&mut active), of("active", "1"));
        assert_eq!(delivered(&mut active), of("active", "2"));
        if ending.is_empty() {
            drop(active);
        } else {
            active.call(&ending, 1, (20, 41));
        }
        for (number, redelivered) in [("1", true), ("2", true), ("3", false), ("4", false)] {
            let (_, was_redelivered, body) = waiting.delivery();
            assert_eq!((body.as_str(), was_redelivered), (number, redelivered));
        }
        waiting.call(&cancel("waiting"), 1, (60, 31));
    }
    waiting.call(&queue_delete("sac-order", 0), 1, (50, 41));
}

#[test]
fn an_auto_delete_queue_goes_with_the_last_of_them() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("sac-auto", 8, &single_active()), 1, (50, 11));
    let mut other = Client::open(server.address());
    client.call(&consume("sac-auto", "a", 0, &[]), 1, (60, 21));
    other.call(&consume("sac-auto", "b", 0, &[]), 1, (60, 21));
    client.call(&method(20, 40).u16(200).short("").u32(0).on(1), 1, (20, 41));
    client.call(&channel_open(1), 1, (20, 11));
    send(&mut client, "sac-auto", &["x"]);
    assert_eq!(delivered(&mut other), of("b", "x"));
    other.call(&method(20, 40).u16(200).short("").u32(0).on(1), 1, (20, 41));
    let missing = "NOT_FOUND - no queue 'sac-auto' in vhost '/'";
    client.refused(&queue_declare("sac-auto", 1, &[]), 1, 404, missing, (50, 10));
}

#[test]
fn on_a_quorum_queue_a_higher_priority_takes_over_between_deliveries() {
    let server = server();
    let mut client = Client::open(server.address());
    let arguments = [single_active(), text("x-queue-type", "quorum")].concat();
    client.call(&queue_declare("sac-quorum", 2, &arguments), 1, (50, 11));
    client.call(&consume("sac-quorum", "first", 0, &[]), 1, (60, 21));
    send(&mut client, "sac-quorum", &["1"]);
    assert_eq!(delivered(&mut client), of("first", "1"));
    client.call(
        &consume("sac-quorum", "high", 0, &int("x-priority", 1)),
        1,
        (60, 21),
    );
    send(&mut client, "sac-quorum", &["2"]);
    client.sync();
    client.send(&ack(1, false));
    assert_eq!(delivered(&mut client), of("high", "2"));
    client.call(&queue_delete("sac-quorum", 0), 1, (50, 41));
}
