//! Transactions.

use crate::bytes::{ack, get, method, publish, publish_with, queue_declare, reject};
use crate::client::{Client, server};
use crate::rows::{channel, check};

fn tx(which: u16) -> Vec<u8> {
    method(90, which).on(1)
}

fn confirm() -> Vec<u8> {
    method(85, 10).u8(0).on(1)
}

#[test]
fn mixing_modes_and_committing_nothing_is_406() {
    let none = "PRECONDITION_FAILED - channel is not transactional";
    check(vec![
        channel("commit", tx(20), 406, none, (90, 20)),
        channel("rollback", tx(30), 406, none, (90, 30)),
        channel(
            "tx after confirm",
            [confirm(), tx(10)].concat(),
            406,
            "PRECONDITION_FAILED - cannot switch from confirm to tx mode",
            (90, 10),
        ),
        channel(
            "confirm after tx",
            [tx(10), confirm()].concat(),
            406,
            "PRECONDITION_FAILED - cannot switch from tx to confirm mode",
            (85, 10),
        ),
        channel(
            "a missing exchange",
            [tx(10), publish("tx-none", "k", b"x")].concat(),
            404,
            "NOT_FOUND - no exchange 'tx-none' in vhost '/'",
            (60, 40),
        ),
        channel(
            "an unknown tag",
            [tx(10), ack(9, false)].concat(),
            406,
            "PRECONDITION_FAILED - unknown delivery tag 9",
            (60, 80),
        ),
    ]);
}

#[test]
fn publishes_count_at_commit_and_not_after_rollback() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("tx-pub", 4, &[]), 1, (50, 11));
    client.call(&tx(10), 1, (90, 11));
    client.call(&tx(10), 1, (90, 11));
    client.send(&publish("", "tx-pub", b"one"));
    client.call(&get("tx-pub", true), 1, (60, 72));
    client.call(&tx(30), 1, (90, 31));
    client.send(&publish("", "tx-pub", b"two"));
    client.call(&tx(20), 1, (90, 21));
    assert_eq!(client.get("tx-pub").unwrap().2, "two");
    assert_eq!(client.get("tx-pub"), None);
}

#[test]
fn acks_count_at_commit_and_are_outstanding_again_after_rollback() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("tx-ack", 4, &[]), 1, (50, 11));
    client.send(&[publish("", "tx-ack", b"one"), publish("", "tx-ack", b"two")].concat());
    client.call(&tx(10), 1, (90, 11));
    assert_eq!(
        (client.get("tx-ack").unwrap().0, client.get("tx-ack").unwrap().0),
        (1, 2)
    );
    client.send(&ack(1, false));
    client.call(&tx(30), 1, (90, 31));
    client.send(&[ack(1, false), reject(2, true)].concat());
    assert_eq!(client.get("tx-ack"), None);
    client.call(&tx(20), 1, (90, 21));
    assert_eq!(client.get("tx-ack"), Some((3, true, "two".to_owned())));
    // A tag twice in one transaction is unknown the second time.
    client.send(&ack(3, false));
    client.refused(
        &ack(3, false),
        1,
        406,
        "PRECONDITION_FAILED - unknown delivery tag 3",
        (60, 80),
    );
    // The transaction was rolled back with the channel.
    assert_eq!(client.get("tx-ack"), Some((1, true, "two".to_owned())));
}

#[test]
fn returns_come_at_commit_before_commit_ok() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&tx(10), 1, (90, 11));
    client.send(&publish_with("", "tx-nowhere", 1, 0, &[], b"x"));
    client.sync();
    client.send(&tx(20));
    assert_eq!(client.message((60, 50)).body, b"x");
    client.expect(1, (90, 21));
}

#[test]
fn closing_the_channel_rolls_back() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("tx-close", 4, &[]), 1, (50, 11));
    client.call(&tx(10), 1, (90, 11));
    client.send(&publish("", "tx-close", b"x"));
    client.call(
        &method(20, 40).u16(200).short("").u16(0).u16(0).on(1),
        1,
        (20, 41),
    );
    client.call(&crate::bytes::channel_open(1), 1, (20, 11));
    assert_eq!(client.get("tx-close"), None);
}
