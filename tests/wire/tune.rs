//! connection.tune and connection.open.

use crate::bytes::{Reader, channel_open, method};
use crate::client::{Client, Login, open, server, tune_ok};

#[test]
fn tune_proposes_rabbitmqs_limits() {
    let server = server();
    let mut client = Client::greeted(server.address());
    let tune = client.call(
        &crate::client::start_ok("PLAIN", "\0guest\0guest", &[]),
        0,
        (10, 30),
    );
    let mut tune = Reader(&tune);
    assert_eq!((tune.u16(), tune.u32(), tune.u16()), (2047, 131_072, 60));
}

#[test]
fn a_tune_ok_beyond_the_limits_is_530() {
    let server = server();
    let refused = [
        (
            tune_ok(0, 131_072, 0),
            "channel_max = 0 (no limit) is higher than the maximum allowed value (2047)",
        ),
        (
            tune_ok(2048, 131_072, 0),
            "channel_max = 2048 is higher than the maximum allowed value (2047)",
        ),
        (
            tune_ok(1, 0, 0),
            "frame_max = 0 (no limit) is higher than the maximum allowed value (131072)",
        ),
        (
            tune_ok(1, 131_073, 0),
            "frame_max = 131073 is higher than the maximum allowed value (131072)",
        ),
        (
            tune_ok(1, 4095, 0),
            "frame_max = 4095 is lower than the minimum allowed value (4096)",
        ),
    ];
    for (sent, text) in refused {
        let mut client = Client::authenticated(server.address(), &Login::default());
        client.refused(
            &sent,
            0,
            530,
            &format!("NOT_ALLOWED - negotiated {text}"),
            (10, 30),
        );
    }
}

#[test]
fn tune_ok_and_open_may_come_together() {
    let server = server();
    for (channel_max, frame_max, heartbeat) in [(2047, 131_072, 60), (1, 4096, 0), (1, 8192, 65535)] {
        let mut client = Client::authenticated(server.address(), &Login::default());
        client.send(
            &[
                tune_ok(channel_max, frame_max, heartbeat),
                open("/"),
                channel_open(1),
            ]
            .concat(),
        );
        assert_eq!(client.expect(0, (10, 41)), [0]);
        assert_eq!(client.expect(1, (20, 11)), [0; 4]);
    }
}

#[test]
fn a_vhost_that_is_missing_or_forbidden_is_530() {
    let server = server();
    let refused = [
        ("guest", "nowhere", "vhost nowhere not found"),
        ("guest", "", "vhost  not found"),
        ("guest", "%2F", "vhost %2F not found"),
        (
            "write",
            "other",
            "access to vhost 'other' refused for user 'write'",
        ),
    ];
    for (user, vhost, text) in refused {
        let mut client = Client::authenticated(
            server.address(),
            &Login {
                user,
                ..Login::default()
            },
        );
        client.send(&tune_ok(2047, 131_072, 0));
        client.refused(&open(vhost), 0, 530, &format!("NOT_ALLOWED - {text}"), (10, 40));
    }
}

#[test]
fn vhosts_keep_their_names_apart() {
    let server = server();
    let mut one = Client::open(server.address());
    one.call(&crate::bytes::queue_declare("tune-apart", 4, &[]), 1, (50, 11));
    let login = Login {
        vhost: "other",
        ..Login::default()
    };
    let mut other = Client::login(server.address(), &login).with_channel();
    let missing = "NOT_FOUND - no queue 'tune-apart' in vhost 'other'";
    other.refused(
        &crate::bytes::queue_declare("tune-apart", 1, &[]),
        1,
        404,
        missing,
        (50, 10),
    );
}

#[test]
fn one_channel_more_than_agreed_is_530() {
    let login = Login {
        channel_max: 2,
        ..Login::default()
    };
    let server = server();
    let mut client = Client::login(server.address(), &login);
    // The limit is on their number, not on the numbers they have.
    client.call(&channel_open(65535), 65535, (20, 11));
    client.call(&channel_open(7), 7, (20, 11));
    client.call(
        &method(20, 40).u16(200).short("").u16(0).u16(0).on(7),
        7,
        (20, 41),
    );
    client.call(&channel_open(8), 8, (20, 11));
    let text = "NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max (2)";
    client.refused(&channel_open(9), 0, 530, text, (0, 0));
}

#[test]
fn a_channel_that_failed_counts_until_close_ok() {
    let login = Login {
        channel_max: 1,
        ..Login::default()
    };
    let server = server();
    let mut client = Client::login(server.address(), &login).with_channel();
    client.send(&crate::bytes::queue_purge("tune-missing"));
    client.expect(1, (20, 40));
    let text = "NOT_ALLOWED - number of channels opened (1) has reached the negotiated channel_max (1)";
    client.refused(&channel_open(2), 0, 530, text, (0, 0));
}
