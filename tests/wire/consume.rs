//! Consumers: tags, exclusivity, prefetch, cancel.

use crate::bytes::{
    Reader, ack, cancel, consume, int, method, nack, publish, qos, queue_declare, queue_delete, text,
};
use crate::client::{Client, Login, server};
use crate::rows::{channel, check, connection};

fn queue(client: &mut Client, name: &str, messages: usize) {
    client.call(&queue_declare(name, 0, &[]), 1, (50, 11));
    for number in 1..=messages {
        client.send(&publish("", name, number.to_string().as_bytes()));
    }
    client.sync();
}

fn tag(ok: &[u8]) -> String {
    Reader(ok).text()
}

#[test]
fn consume_mistakes_are_refused() {
    let own = |name: &str| queue_declare(name, 8, &[]);
    let twice = [
        own("con-tag"),
        consume("con-tag", "t", 0, &[]),
        consume("con-tag", "t", 0, &[]),
    ]
    .concat();
    let priority = [
        own("con-prio"),
        consume("con-prio", "t", 0, &text("x-priority", "1")),
    ]
    .concat();
    check(vec![
        connection(
            "a tag twice",
            twice,
            530,
            "NOT_ALLOWED - attempt to reuse consumer tag 't'",
            (60, 20),
        ),
        channel(
            "a priority in words",
            priority,
            406,
            "PRECONDITION_FAILED - invalid arg 'x-priority' for queue 'con-prio' in vhost '/': \"expected integer, got longstr\"",
            (60, 20),
        ),
    ]);
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_delete("con-prio", 0), 1, (50, 41));
}

#[test]
fn an_exclusive_consumer_wants_the_queue_for_itself() {
    let server = server();
    let mut one = Client::open(server.address());
    queue(&mut one, "con-ex", 0);
    let text = "ACCESS_REFUSED - queue 'con-ex' in vhost '/' in exclusive use";
    one.call(&consume("con-ex", "a", 0, &[]), 1, (60, 21));
    let mut other = Client::open(server.address());
    other.refused(&consume("con-ex", "b", 4, &[]), 1, 403, text, (60, 20));
    one.call(&cancel("a"), 1, (60, 31));
    one.call(&consume("con-ex", "a", 4, &[]), 1, (60, 21));
    other.refused(&consume("con-ex", "b", 0, &[]), 1, 403, text, (60, 20));
    assert_eq!(other.get("con-ex"), None);
    one.call(&cancel("a"), 1, (60, 31));
    other.call(&consume("con-ex", "b", 4, &[]), 1, (60, 21));
    other.call(&queue_delete("con-ex", 0), 1, (50, 41));
}

#[test]
fn an_empty_tag_gets_a_generated_one() {
    let server = server();
    let mut client = Client::open(server.address());
    queue(&mut client, "con-gen", 0);
    let one = tag(&client.call(&consume("con-gen", "", 0, &[]), 1, (60, 21)));
    let two = tag(&client.call(&consume("con-gen", "", 0, &[]), 1, (60, 21)));
    assert_ne!(one, two);
    assert_eq!(one.strip_prefix("amq.ctag-").expect("the prefix").len(), 22);
    client.call(&queue_delete("con-gen", 0), 1, (50, 41));
}

#[test]
fn a_nowait_consumer_learns_its_tag_from_the_delivery() {
    let server = server();
    let mut client = Client::open(server.address());
    queue(&mut client, "con-nowait", 1);
    client.send(&consume("con-nowait", "", 2 | 8, &[]));
    let message = client.message((60, 60));
    assert!(tag(&message.arguments).starts_with("amq.ctag-"));
    client.call(&queue_delete("con-nowait", 4), 1, (60, 30));
}

#[test]
fn cancelling_an_unknown_tag_is_fine_and_a_tag_can_be_used_again() {
    let server = server();
    let mut client = Client::open(server.address());
    queue(&mut client, "con-again", 0);
    assert_eq!(tag(&client.call(&cancel("nobody"), 1, (60, 31))), "nobody");
    for _ in 0..2 {
        client.call(&consume("con-again", "t", 0, &[]), 1, (60, 21));
        client.call(&cancel("t"), 1, (60, 31));
    }
    client.call(&queue_delete("con-again", 0), 1, (50, 41));
}

#[test]
fn cancel_leaves_what_is_unacked_with_the_channel() {
    let server = server();
    let mut client = Client::open(server.address());
    queue(&mut client, "con-cancel", 2);
    client.call(&consume("con-cancel", "t", 0, &[]), 1, (60, 21));
    assert_eq!(client.delivery(), (1, false, "1".to_owned()));
    assert_eq!(client.delivery(), (2, false, "2".to_owned()));
    client.call(&cancel("t"), 1, (60, 31));
    assert_eq!(client.get("con-cancel"), None);
    client.send(&[ack(1, false), nack(2, 2)].concat());
    assert_eq!(client.get("con-cancel"), Some((3, true, "2".to_owned())));
    client.call(&queue_delete("con-cancel", 0), 1, (50, 41));
}

#[test]
fn deleting_the_queue_cancels_consumers_that_understand_it() {
    let server = server();
    let mut capable = Client::open(server.address());
    queue(&mut capable, "con-deleted", 0);
    let login = Login {
        capabilities: &[],
        ..Login::default()
    };
    let mut plain = Client::login(server.address(), &login).with_channel();
    capable.call(&consume("con-deleted", "yes", 0, &[]), 1, (60, 21));
    plain.call(&consume("con-deleted", "no", 0, &[]), 1, (60, 21));
    let mut deleter = Client::open(server.address());
    deleter.call(&queue_delete("con-deleted", 0), 1, (50, 41));
    assert_eq!(capable.expect(1, (60, 30)), b"\x03yes\x01");
    // An answer to it is not needed, and does no harm.
    capable.send(&method(60, 31).short("yes").on(1));
    capable.sync();
    plain.sync();
}

#[test]
fn after_the_brokers_cancel_the_tag_is_free_and_old_deliveries_can_be_settled() {
    let server = server();
    let mut client = Client::open(server.address());
    for round in 0..2 {
        queue(&mut client, "con-gone", 3);
        client.call(&consume("con-gone", "t", 0, &[]), 1, (60, 21));
        for number in 1..=3 {
            assert_eq!(client.delivery().0, 3 * round + number);
        }
        let mut deleter = Client::open(server.address());
        deleter.call(&queue_delete("con-gone", 0), 1, (50, 41));
        assert_eq!(client.expect(1, (60, 30)), b"\x01t\x01");
        let first = 3 * round + 1;
        client.send(&[ack(first, false), nack(first + 1, 2), nack(first + 2, 0)].concat());
        client.sync();
    }
}

#[test]
fn an_exclusive_consumer_leaves_with_its_channel() {
    let server = server();
    let mut one = Client::open(server.address());
    queue(&mut one, "con-ex-gone", 0);
    one.call(&consume("con-ex-gone", "a", 4, &[]), 1, (60, 21));
    one.call(&method(20, 40).u16(200).short("").u32(0).on(1), 1, (20, 41));
    let mut other = Client::open(server.address());
    other.call(&consume("con-ex-gone", "b", 4, &[]), 1, (60, 21));
    other.call(&queue_delete("con-ex-gone", 0), 1, (50, 41));
}

#[test]
fn arguments_of_consumers_are_checked_and_unknown_ones_ignored() {
    let server = server();
    let declare = queue_declare("con-args", 0, &[]);
    let refused = |argument: &'static str, arguments: Vec<u8>, reason: &str| {
        let text = format!(
            "PRECONDITION_FAILED - invalid arg '{argument}' for queue 'con-args' in vhost '/'{reason}"
        );
        channel(
            argument,
            [&declare[..], &consume("con-args", "t", 0, &arguments)].concat(),
            406,
            &text,
            (60, 20),
        )
    };
    let foreign = " of queue type rabbit_classic_queue";
    let no_integer = ": \"expected integer, got longstr\"";
    check(vec![
        refused("x-priority", text("x-priority", "1"), no_integer),
        refused("x-consumer-timeout", text("x-consumer-timeout", "1"), no_integer),
        refused(
            "x-consumer-timeout",
            int("x-consumer-timeout", -1),
            ": {value_negative,-1}",
        ),
        refused("x-stream-offset", text("x-stream-offset", "first"), foreign),
        refused("x-stream-filter", text("x-stream-filter", "a"), foreign),
        refused(
            "x-stream-match-unfiltered",
            crate::bytes::entry("x-stream-match-unfiltered", b't', &[1]),
            foreign,
        ),
    ]);
    let mut client = Client::open(server.address());
    let fine = [
        int("x-priority", -5),
        int("x-consumer-timeout", 0),
        crate::bytes::entry("x-cancel-on-ha-failover", b't', &[1]),
        text("x-foo", "bar"),
    ];
    client.call(&consume("con-args", "t", 0, &fine.concat()), 1, (60, 21));
    client.call(&queue_delete("con-args", 0), 1, (50, 41));
    client.expect(1, (60, 30));
    client.call(
        &queue_declare("con-args", 2, &text("x-queue-type", "quorum")),
        1,
        (50, 11),
    );
    let text = "PRECONDITION_FAILED - invalid arg 'x-stream-offset' for queue 'con-args' in vhost '/' of queue type \
                rabbit_quorum_queue";
    let offset = int("x-stream-offset", 0);
    client.refused(&consume("con-args", "t", 0, &offset), 1, 406, text, (60, 20));
    client.call(&queue_delete("con-args", 0), 1, (50, 41));
}

#[test]
fn prefetch_is_for_each_consumer_to_come() {
    let server = server();
    let mut client = Client::open(server.address());
    queue(&mut client, "con-qos", 5);
    client.call(&qos(1, false), 1, (60, 11));
    client.call(&consume("con-qos", "a", 0, &[]), 1, (60, 21));
    assert_eq!(client.delivery().2, "1");
    client.call(&qos(2, false), 1, (60, 11));
    client.call(&consume("con-qos", "b", 0, &[]), 1, (60, 21));
    assert_eq!(client.delivery().2, "2");
    assert_eq!(client.delivery().2, "3");
    // A get does not count for it.
    assert_eq!(client.get("con-qos").unwrap().2, "4");
    client.send(&ack(1, false));
    assert_eq!(client.delivery().2, "5");
    client.sync();
    client.call(&queue_delete("con-qos", 4), 1, (60, 30));
}

#[test]
fn a_global_limit_is_shared_and_a_later_plain_one_removes_it() {
    let server = server();
    let mut client = Client::open(server.address());
    queue(&mut client, "con-global", 6);
    client.call(&qos(2, true), 1, (60, 11));
    for tag in ["a", "b"] {
        client.call(&consume("con-global", tag, 0, &[]), 1, (60, 21));
        if tag == "a" {
            assert_eq!(
                (client.delivery().2, client.delivery().2),
                ("1".to_owned(), "2".to_owned())
            );
        }
    }
    client.sync();
    client.send(&ack(1, false));
    assert_eq!(client.delivery().2, "3");
    client.sync();
    client.send(&qos(0, false));
    client.expect(1, (60, 11));
    for body in ["4", "5", "6"] {
        assert_eq!(client.delivery().2, body);
    }
    client.call(&queue_delete("con-global", 4), 1, (60, 30));
}

#[test]
fn a_consumer_of_higher_priority_is_served_first() {
    let server = server();
    let mut client = Client::open(server.address());
    queue(&mut client, "con-prior", 0);
    client.call(&qos(1, false), 1, (60, 11));
    client.call(&consume("con-prior", "low", 0, &[]), 1, (60, 21));
    client.call(
        &consume("con-prior", "high", 0, &int("x-priority", 7)),
        1,
        (60, 21),
    );
    for expected in ["high", "low"] {
        client.send(&publish("", "con-prior", b"x"));
        assert_eq!(tag(&client.message((60, 60)).arguments), expected);
    }
    client.call(&queue_delete("con-prior", 4), 1, (60, 30));
}
