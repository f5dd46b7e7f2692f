//! Heartbeats, at the shortest interval there is.

use std::time::{Duration, Instant};

use crate::client::{Client, Login, server};

#[test]
fn an_idle_connection_gets_heartbeats_and_a_silent_one_is_dropped() {
    let login = Login {
        heartbeat: 1,
        ..Login::default()
    };
    let begin = Instant::now();
    let server = server();
    let mut client = Client::login(server.address(), &login);
    let mut beats = 0;
    while let Some(frame) = client.any_frame() {
        assert_eq!((frame.kind, frame.channel, frame.payload.len()), (8, 0, 0));
        beats += 1;
    }
    assert!(beats >= 1, "only {beats} heartbeats came");
    assert!(
        begin.elapsed() >= Duration::from_secs(2),
        "dropped after {:?}",
        begin.elapsed()
    );
}

#[test]
fn a_peer_that_answers_heartbeats_stays() {
    let login = Login {
        heartbeat: 1,
        ..Login::default()
    };
    let server = server();
    let mut client = Client::login(server.address(), &login).with_channel();
    let begin = Instant::now();
    let mut beats = 0;
    while begin.elapsed() < Duration::from_secs(4) {
        let beat = client.any_frame().expect("the broker keeps the connection");
        assert_eq!(beat.kind, 8);
        beats += 1;
        client.send(&crate::bytes::frame(8, 0, b""));
    }
    // Every half interval, that is 8; a heartbeat must not put off the next one, which would make 4.
    assert!(beats > 4, "only {beats} heartbeats came");
    client.sync();
}
