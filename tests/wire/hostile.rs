//! Peers that mean no good, or are just broken: they cost the others nothing.

use crate::bytes::{
    Fields, HEADERS, cancel, channel_open, consume, content_header, entry, exchange_declare, frame, method,
    publish, publish_with, queue_bind, queue_declare, queue_unbind,
};
use crate::client::{Client, Login, open, server, start_ok, tune_ok};
use crate::support::TestServer;

/// A stretch of bytes that look random and are the same every time.
fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_be_bytes()[1]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// exchange.bind with these arguments.
fn exchange_bind_with(arguments: &[u8]) -> Vec<u8> {
    let names = method(40, 30).u16(0).short("amq.fanout").short("amq.topic");
    names.short("").u8(0).long(arguments).on(1)
}

fn long(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    Fields::default().long(bytes).bytes()
}

#[test]
fn garbage_at_any_moment_leaves_the_broker_working() {
    let server = server();
    for seed in 0..40 {
        let garbage = noise(seed, 3000);
        let mut first = Client::connect(server.address());
        first.send_carelessly(&garbage);
        let mut second = Client::greeted(server.address());
        second.send_carelessly(&garbage);
        let mut third = Client::open(server.address());
        third.send_carelessly(&garbage);
        let mut fourth = Client::open(server.address());
        // Frames that are whole, with nonsense in them.
        for (number, payload) in garbage.chunks(60).enumerate() {
            fourth.send_carelessly(&frame([1, 2, 3, 8][number % 4], 1, payload));
        }
    }
    Client::open(server.address()).sync();
}

#[test]
fn every_method_with_random_arguments_is_answered_or_refused() {
    let server = server();
    for (class, methods) in [
        (10, 80),
        (20, 50),
        (30, 20),
        (40, 60),
        (50, 60),
        (60, 130),
        (85, 20),
        (90, 40),
    ] {
        for number in (10..methods).step_by(10) {
            let mut client = Client::open(server.address());
            let arguments = noise(u32::from(class) * 1000 + u32::from(number), 40);
            client.send_carelessly(&method(class, number).raw(arguments).on(1));
            client.send_carelessly(&channel_open(1));
            // Opening the channel twice ends the connection at the latest.
            let close = std::iter::repeat_with(|| client.close())
                .find(|close| close.as_ref().is_none_or(|close| close.channel == 0));
            assert!(close.flatten().is_some(), "{class}.{number} was met with silence");
        }
    }
    Client::open(server.address()).sync();
}

#[test]
fn half_a_frame_waits_for_the_other_half_and_one_byte_at_a_time_is_enough() {
    let server = server();
    let mut client = Client::open(server.address());
    let sent = [
        queue_declare("host-bytes", 4, &[]),
        publish("", "host-bytes", b"slow"),
    ]
    .concat();
    for byte in &sent {
        client.send(&[*byte]);
    }
    client.expect(1, (50, 11));
    assert_eq!(client.get("host-bytes").unwrap().2, "slow");
}

#[test]
fn a_peer_that_leaves_in_the_middle_of_a_message_leaves_no_message() {
    let server = server();
    let mut other = Client::open(server.address());
    other.call(&queue_declare("host-half", 4, &[]), 1, (50, 11));
    let whole = publish("", "host-half", b"whole");
    for cut in [3, 12, whole.len() - 20, whole.len() - 1] {
        let mut client = Client::open(server.address());
        client.send(&whole[..cut]);
        client.finish();
        client.expect_end();
    }
    assert_eq!(other.get("host-half"), None);
}

#[test]
fn all_channels_of_a_connection_work_and_one_more_is_530() {
    let server = server();
    let mut client = Client::login(server.address(), &Login::default());
    let opens: Vec<u8> = (1..=2047).flat_map(channel_open).collect();
    client.send(&opens);
    for channel in 1..=2047 {
        client.expect(channel, (20, 11));
    }
    client.call(&method(20, 20).u8(1).on(2047), 2047, (20, 21));
    let text = "NOT_ALLOWED - number of channels opened (2047) has reached the negotiated channel_max (2047)";
    client.refused(&channel_open(2048), 0, 530, text, (0, 0));
}

#[test]
fn a_peer_that_never_reads_holds_up_nobody() {
    let server = TestServer::start();
    let mut deaf = Client::open(server.address());
    deaf.call(&queue_declare("host-deaf", 4, &[]), 1, (50, 11));
    deaf.call(&consume("host-deaf", "t", 2, &[]), 1, (60, 21));
    let mut publisher = Client::open(server.address());
    publisher.call(&queue_declare("host-hears", 4, &[]), 1, (50, 11));
    let body = vec![7; 100_000];
    for _ in 0..300 {
        publisher.send(&publish("", "host-deaf", &body));
    }
    publisher.send(&publish("", "host-hears", b"through"));
    assert_eq!(publisher.get("host-hears").unwrap().2, "through");
    // What it did not read is still its own.
    assert_eq!(deaf.message((60, 60)).body.len(), body.len());
}

#[test]
fn replies_that_nobody_reads_do_not_pile_up_without_bound() {
    let server = server();
    let mut client = Client::open(server.address());
    // Far more requests than any buffer takes replies for; the broker stops reading instead.
    client.set_write_timeout(std::time::Duration::from_millis(500));
    let requests = method(20, 20).u8(1).on(1).repeat(100_000);
    let mut accepted = 0;
    while accepted < 200 && client.try_send(&requests) {
        accepted += 1;
    }
    assert!(
        accepted < 200,
        "{} MB of requests were taken",
        requests.len() * accepted / 1_000_000
    );
    Client::open(server.address()).sync();
}

#[test]
fn everything_empty_is_no_trouble() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("", 4, &[]), 1, (50, 11));
    client.send(&publish("", "", b""));
    client.send(&publish("amq.fanout", "", b""));
    client.send(&publish("amq.topic", "", b""));
    client.call(&consume("", "", 0, &[]), 1, (60, 21));
    client.call(&method(10, 70).long("").short("").on(0), 0, (10, 71));
    client.sync();
}

#[test]
fn empty_frames_are_refused_where_something_must_be_in_them() {
    let server = server();
    let rows = [
        (frame(1, 1, b""), 501),
        (frame(2, 1, b""), 501),
        (frame(3, 1, b""), 505),
        (frame(0, 0, b""), 501),
        (frame(1, 0, b""), 501),
        (method(60, 40).on(1), 501),
        (exchange_declare("", "", 0, &[]), 406),
        (queue_bind("", "", "", &[]), 404),
        (cancel(""), 0),
        (publish_with("", "", 0, HEADERS, &[0, 0, 0, 0], b""), 0),
        (content_header(0, 0, b""), 505),
    ];
    for (sent, code) in rows {
        let mut client = Client::open(server.address());
        client.send_carelessly(&sent);
        if code == 0 {
            client.send(&channel_open(2));
            while client.frame().unwrap().id() != (20, 11) {}
        } else {
            assert_eq!(client.close().unwrap().code, code, "{}", sent.escape_ascii());
        }
    }
    let login = |user: &str, vhost: &str| {
        let mut client = Client::greeted(server.address());
        let response = format!("\0{user}\0guest");
        client.send(&start_ok("PLAIN", response, &["authentication_failure_close"]));
        client.send(&[tune_ok(2047, 131_072, 0), open(vhost)].concat());
        client.close().unwrap().code
    };
    assert_eq!((login("", "/"), login("guest", "")), (403, 530));
}

#[test]
fn tables_a_thousand_deep_are_refused_wherever_they_are_read() {
    let server = server();
    let nested = |tag: u8| {
        let value = |inner: Vec<u8>| {
            if tag == b'F' {
                entry("k", tag, &long(inner))
            } else {
                [vec![tag], long(inner)].concat()
            }
        };
        let inner = (0..1000).fold(Vec::new(), |inner, _| value(inner));
        if tag == b'F' {
            inner
        } else {
            entry("k", tag, &long(inner))
        }
    };
    for deep in [nested(b'F'), nested(b'A')] {
        let mistakes = [
            (exchange_declare("deep", "fanout", 4, &deep), 502),
            (exchange_bind_with(&deep), 502),
            (queue_declare("deep", 4, &deep), 502),
            (queue_bind("deep", "amq.fanout", "", &deep), 502),
            (queue_unbind("deep", "amq.fanout", "", &deep), 502),
            (consume("deep", "", 0, &deep), 502),
            (
                publish_with("", "deep", 0, HEADERS, &long(deep.clone()), b""),
                541,
            ),
        ];
        for (sent, code) in mistakes {
            let mut client = Client::open(server.address());
            client.send(&sent);
            assert_eq!(client.close().unwrap().code, code);
        }
        // Within the 8 KiB that a stranger's frame may have.
        let deep = &deep[deep.len().saturating_sub(7000)..];
        let mut client = Client::greeted(server.address());
        client.send(&start_ok("AMQPLAIN", deep, &["authentication_failure_close"]));
        assert_eq!(client.close().unwrap().code, 502);
        let mut client = Client::greeted(server.address());
        let start_ok = method(10, 11).long(deep).short("PLAIN").long("\0guest\0guest");
        client.send(&start_ok.short("en_US").on(0));
        client.finish();
        client.expect_end();
    }
    Client::open(server.address()).sync();
}

#[test]
fn a_stranger_is_not_given_the_room_of_a_frame_that_others_have() {
    let server = server();
    for size in [8193_u32, 131_072, u32::MAX] {
        let mut client = Client::greeted(server.address());
        let header = Fields::default().u8(1).u16(0).u32(size).bytes();
        // The rest need not come.
        client.send(&header);
        client.finish();
        client.expect_end();
    }
}
