//! Great numbers of small things: what is asked for is done, what is too much is refused, and memory is bounded.

use crate::bytes::{
    Fields, HEADERS, channel_open, content_header, entry, frame, get, int, method, publish_method,
    publish_with, queue_declare, text,
};
use crate::client::{Client, Login, server};
use crate::support::TestServer;

const MIB: usize = 1 << 20;

#[test]
fn all_65535_channels_work_and_cost_little() {
    let server = TestServer::with_config("amqp.channel_max = 0");
    let login = Login {
        channel_max: 0,
        ..Login::default()
    };
    let mut client = Client::login(server.address(), &login);
    let before = server.memory();
    for first in (1..=u16::MAX).step_by(4096) {
        let last = first.saturating_add(4095);
        let opens: Vec<u8> = (first..=last).flat_map(channel_open).collect();
        client.send(&opens);
        for channel in first..=last {
            client.expect(channel, (20, 11));
        }
    }
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 65_535 * 2048, "{grown} bytes for all channels");
    client.call(&method(20, 20).u8(1).on(u16::MAX), u16::MAX, (20, 21));
    Client::open(server.address()).sync();
}

#[test]
fn heartbeats_by_the_million_cost_nothing() {
    let server = TestServer::start();
    let mut client = Client::open(server.address());
    client.sync();
    let before = server.memory();
    for _ in 0..200 {
        client.send(&frame(8, 0, b"").repeat(10_000));
        client.sync();
    }
    // What the allocator takes at once for each thread that has to do with it is some MiB.
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 16 * MIB, "{grown} bytes for two million");
}

#[test]
fn a_message_in_the_smallest_frames_arrives_whole() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("floods-parts", 4, &[]), 1, (50, 11));
    let body: Vec<u8> = (0..50_000_u32)
        .map(|at| b'a' + u8::try_from(at % 26).unwrap())
        .collect();
    let mut sent = [
        publish_method("", "floods-parts", 0),
        content_header(50_000, 0, b""),
    ]
    .concat();
    for byte in &body {
        sent.extend(frame(3, 1, b""));
        sent.extend(frame(3, 1, &[*byte]));
    }
    client.send(&sent);
    assert_eq!(client.get("floods-parts").unwrap().2.as_bytes(), body);
}

#[test]
fn declares_without_end_stop_at_the_limit_and_are_not_kept() {
    let server = TestServer::with_config("limits.queues_max = 100");
    let mut client = Client::open(server.address());
    client.sync();
    let before = server.memory();
    // Nobody waits for an answer, and all are durable: each waits for the disk.
    let text =
        "PRECONDITION_FAILED - cannot declare queue 'floods-100': queue limit in cluster (100) is reached";
    let declare = |number: u32| queue_declare(&format!("floods-{number}"), 2 | 16, &[]);
    client.refused(
        &(0..101).flat_map(declare).collect::<Vec<_>>(),
        1,
        406,
        text,
        (50, 10),
    );
    client.send(&(0..100).flat_map(declare).collect::<Vec<_>>().repeat(60));
    client.sync();
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 16 * MIB, "{grown} bytes");
}

#[test]
fn a_table_of_a_whole_frame_is_kept_and_compared() {
    let server = server();
    let mut client = Client::open(server.address());
    let arguments: Vec<u8> = (0..9_000)
        .flat_map(|number| int(&format!("k{number}"), number))
        .collect();
    assert!(arguments.len() > 90_000);
    client.call(&queue_declare("floods-table", 4, &arguments), 1, (50, 11));
    client.call(&queue_declare("floods-table", 4, &arguments), 1, (50, 11));
    // One that repeats a key is the table with the first of them.
    let repeated = text("again", "x").repeat(7_000);
    client.call(&queue_declare("floods-repeated", 4, &repeated), 1, (50, 11));
    client.call(
        &queue_declare("floods-repeated", 4, &text("again", "x")),
        1,
        (50, 11),
    );
}

#[test]
fn thousands_of_copies_of_one_message_reach_a_queue_once() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("floods-copies", 4, &[]), 1, (50, 11));
    let key = [&b"S"[..], &Fields::default().long("floods-copies").bytes()].concat();
    let keys = Fields::default().long(key.repeat(5_000)).bytes();
    let headers = Fields::default().long(entry("CC", b'A', &keys)).bytes();
    client.send(&publish_with("", "floods-copies", 0, HEADERS, &headers, b"once"));
    client.send(&get("floods-copies", true));
    assert_eq!(client.message((60, 71)).body, b"once");
    assert_eq!(client.get("floods-copies"), None);
}
