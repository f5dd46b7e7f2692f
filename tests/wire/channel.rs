//! Channels: opening, closing, flow, and the methods that no broker implements.

use crate::bytes::{ack, channel_open, consume, frame, get, method, publish, queue_declare, queue_purge};
use crate::client::{Client, server};
use crate::rows::{check, connection};

fn close(channel: u16) -> Vec<u8> {
    method(20, 40).u16(200).short("").u16(0).u16(0).on(channel)
}

#[test]
fn channel_state_mistakes_are_504() {
    let never_opened = "CHANNEL_ERROR - expected 'channel.open'";
    let second = "CHANNEL_ERROR - second 'channel.open' seen";
    let failed = [queue_purge("channel-missing"), channel_open(1)].concat();
    let mut on_2 = ack(1, false);
    on_2[2] = 2;
    check(vec![
        connection("open twice", channel_open(1), 504, second, (20, 10)),
        connection("close without open", close(2), 504, never_opened, (20, 40)),
        connection(
            "close-ok without open",
            method(20, 41).on(2),
            504,
            never_opened,
            (20, 41),
        ),
        connection("ack without open", on_2, 504, never_opened, (60, 80)),
        connection(
            "a method after close",
            [close(1), queue_purge("q")].concat(),
            504,
            never_opened,
            (50, 30),
        ),
    ]);
    let server = server();
    let mut client = Client::open(server.address());
    client.send(&failed);
    client.expect(1, (20, 40));
    client.refused(b"", 0, 504, second, (20, 10));
}

#[test]
fn what_is_not_implemented_is_540() {
    let text = |what: &str| format!("NOT_IMPLEMENTED - {what}");
    check(vec![
        connection(
            "flow off",
            method(20, 20).u8(0).on(1),
            540,
            &text("active=false"),
            (20, 20),
        ),
        connection(
            "immediate",
            crate::bytes::publish_method("", "q", 2),
            540,
            &text("immediate=true"),
            (60, 40),
        ),
        connection(
            "prefetch by size",
            method(60, 10).u32(5).u16(1).u8(0).on(1),
            540,
            &text("prefetch_size!=0 (5)"),
            (60, 10),
        ),
        connection(
            "recover to the same",
            method(60, 110).u8(0).on(1),
            540,
            &text("requeue=false"),
            (60, 110),
        ),
        connection(
            "recover-async to the same",
            method(60, 100).u8(0).on(1),
            540,
            &text("requeue=false"),
            (60, 100),
        ),
    ]);
}

#[test]
fn flow_on_is_answered() {
    let server = server();
    let mut client = Client::open(server.address());
    assert_eq!(client.call(&method(20, 20).u8(1).on(1), 1, (20, 21)), [1]);
}

#[test]
fn a_number_can_be_used_again_at_once() {
    let server = server();
    let mut client = Client::open(server.address());
    client.send(&[close(1), channel_open(1), close(1), channel_open(1)].concat());
    for id in [(20, 41), (20, 11), (20, 41), (20, 11)] {
        client.expect(1, id);
    }
}

#[test]
fn closing_gives_back_what_was_not_acked_and_cancels_consumers() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("channel-back", 4, &[]), 1, (50, 11));
    client.send(&publish("", "channel-back", b"one"));
    client.call(&consume("channel-back", "t", 0, &[]), 1, (60, 21));
    assert_eq!(client.delivery(), (1, false, "one".to_owned()));
    client.call(&close(1), 1, (20, 41));
    client.call(&channel_open(1), 1, (20, 11));
    let declared = client.call(&queue_declare("channel-back", 5, &[]), 1, (50, 11));
    assert_eq!(declared[13..], [0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(client.get("channel-back"), Some((1, true, "one".to_owned())));
}

#[test]
fn after_an_error_everything_is_swallowed_until_close_ok() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("channel-swallow", 4, &[]), 1, (50, 11));
    client.send(&publish("", "channel-swallow", b"first"));
    assert_eq!(client.get("channel-swallow").unwrap().2, "first");
    client.send(&get("channel-missing", false));
    client.expect(1, (20, 40));
    client.send(&publish("", "channel-swallow", b"lost"));
    client.send(&queue_declare("channel-never", 4, &[]));
    client.send(&frame(3, 1, b"stray"));
    // Crossing closes: ours is answered, and the broker still waits for our close-ok.
    client.call(&close(1), 1, (20, 41));
    client.send(&method(20, 41).on(1));
    client.call(&channel_open(1), 1, (20, 11));
    // What was unacked was given back at the error.
    assert_eq!(client.get("channel-swallow"), Some((1, true, "first".to_owned())));
    assert_eq!(client.get("channel-swallow"), None);
    let missing = "NOT_FOUND - no queue 'channel-never' in vhost '/'";
    client.refused(&queue_declare("channel-never", 1, &[]), 1, 404, missing, (50, 10));
}

#[test]
fn a_soft_error_leaves_the_other_channels_alone() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&channel_open(2), 2, (20, 11));
    client.refused(
        &queue_purge("channel-missing"),
        1,
        404,
        "NOT_FOUND - no queue 'channel-missing' in vhost '/'",
        (50, 30),
    );
    client.call(&method(20, 20).u8(1).on(2), 2, (20, 21));
}
