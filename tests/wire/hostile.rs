//! Peers that mean no good, or are just broken: they cost the others nothing.

use crate::bytes::{channel_open, consume, frame, method, publish, queue_declare};
use crate::client::{Client, Login, server};
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
