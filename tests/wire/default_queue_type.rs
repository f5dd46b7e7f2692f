//! What queues are in a virtual host with a default type.

use crate::bytes::{channel_open, method, queue_declare, queue_delete, text};
use crate::client::Client;
use crate::support::TestServer;

const CONFIG: &str = r#"
[[vhosts]]
name = "/"
default_queue_type = "quorum"
[[users]]
name = "guest"
password = "guest"
permissions = [{ vhost = "/", configure = ".*", write = ".*", read = ".*" }]
"#;

const DURABLE: u8 = 2;
const EXCLUSIVE: u8 = 4;
const AUTO_DELETE: u8 = 8;

/// Sends a declare that is refused, and finds the reason.
fn refusal(client: &mut Client, name: &str, bits: u8, arguments: &[u8]) -> String {
    client.send(&queue_declare(name, bits, arguments));
    let frame = client.frame().expect("the connection lives");
    assert_eq!(frame.id(), (20, 40), "{name} was not refused");
    client.send(&method(20, 41).on(1));
    client.call(&channel_open(1), 1, (20, 11));
    String::from_utf8_lossy(&frame.payload).into_owned()
}

#[test]
fn a_queue_is_of_the_default_type_if_it_can_be() {
    let server = TestServer::with_config(CONFIG);
    let mut client = Client::open(server.address());
    let rows = [
        (DURABLE, "quorum", "classic"),
        (0, "classic", "quorum"),
        (DURABLE | EXCLUSIVE, "classic", "quorum"),
        (DURABLE | AUTO_DELETE, "classic", "quorum"),
    ];
    for (bits, is, other) in rows {
        let name = format!("default-{bits}");
        client.call(&queue_declare(&name, bits, &[]), 1, (50, 11));
        client.call(&queue_declare(&name, bits, &[]), 1, (50, 11));
        client.call(
            &queue_declare(&name, bits, &text("x-queue-type", is)),
            1,
            (50, 11),
        );
        let differs = format!(
            "inequivalent arg 'x-queue-type' for queue '{name}' in vhost '/': received '{other}' but current is '{is}'"
        );
        let reason = refusal(&mut client, &name, bits, &text("x-queue-type", other));
        assert!(reason.contains(&differs), "{reason}");
        client.call(&queue_delete(&name, 0), 1, (50, 41));
    }
}

#[test]
fn a_queue_that_says_its_type_is_of_that() {
    let server = TestServer::with_config(CONFIG);
    let mut client = Client::open(server.address());
    let classic = text("x-queue-type", "classic");
    for _ in 0..2 {
        client.call(&queue_declare("said", DURABLE, &classic), 1, (50, 11));
    }
    let reason = refusal(&mut client, "said", DURABLE, &[]);
    assert!(
        reason.contains("received 'quorum' but current is 'classic'"),
        "{reason}"
    );
}

#[test]
fn a_name_is_chosen_for_queues_that_the_default_does_not_make_quorum_queues() {
    let server = TestServer::with_config(CONFIG);
    let mut client = Client::open(server.address());
    client.call(&queue_declare("", EXCLUSIVE, &[]), 1, (50, 11));
    let reason = refusal(&mut client, "", DURABLE, &[]);
    let expected = "Cannot declare a server-named queue for type rabbit_quorum_queue";
    assert!(reason.contains(expected), "{reason}");
}
