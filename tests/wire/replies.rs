//! Direct reply-to: `amq.rabbitmq.reply-to`.

use crate::bytes::{
    Fields, Reader, cancel, channel_open, consume, entry, get, method, publish, publish_with, queue_bind,
    queue_declare, queue_delete, queue_purge, queue_unbind,
};
use crate::client::{Client, Login, server};
use crate::rows::{channel, check, connection};
use crate::support::eventually;

const REPLY_TO: &str = "amq.rabbitmq.reply-to";
const NO_ACK: u8 = 2;
const MANDATORY: u8 = 1;
/// Property flags.
const CORRELATION_ID: u16 = 1 << 10;
const REPLY_TO_FLAG: u16 = 1 << 9;

/// A request to `queue` that asks for direct replies.
fn request(queue: &str, id: &str) -> Vec<u8> {
    let values = Fields::default().short(id).short(REPLY_TO).bytes();
    publish_with("", queue, 0, CORRELATION_ID | REPLY_TO_FLAG, &values, b"request")
}

/// The next delivery is a request; returns its correlation id and where the reply goes.
#[track_caller]
fn requested(client: &mut Client) -> (String, String) {
    let message = client.message((60, 60));
    let mut reader = Reader(&message.properties);
    assert_eq!(reader.u16(), CORRELATION_ID | REPLY_TO_FLAG);
    (reader.text(), reader.text())
}

/// A client that consumes replies on channel 1, and the address that its requests carry.
fn requester(address: std::net::SocketAddr, queue: &str) -> (Client, String) {
    let mut client = Client::open(address);
    client.call(&consume(REPLY_TO, "replies", NO_ACK, &[]), 1, (60, 21));
    let own = reply_address(&mut client, queue);
    (client, own)
}

/// Asks through `queue` and reads from it where the reply would go.
#[track_caller]
fn reply_address(client: &mut Client, queue: &str) -> String {
    client.call(&queue_declare(queue, 8, &[]), 1, (50, 11));
    client.call(&consume(queue, "requests", NO_ACK, &[]), 1, (60, 21));
    client.send(&request(queue, "1"));
    let (_, address) = requested(client);
    client.call(&cancel("requests"), 1, (60, 31));
    address
}

fn close_channel() -> Vec<u8> {
    method(20, 40).u16(200).short("").u32(0).on(1)
}

fn missing(queue: &str) -> String {
    format!("NOT_FOUND - no queue '{queue}' in vhost '/'")
}

#[test]
fn mistakes_are_refused() {
    let replies = consume(REPLY_TO, "a", NO_ACK, &[]);
    check(vec![
        channel(
            "with acks",
            consume(REPLY_TO, "a", 0, &[]),
            406,
            "PRECONDITION_FAILED - reply consumer cannot acknowledge",
            (60, 20),
        ),
        channel(
            "twice on a channel",
            [&replies[..], &consume(REPLY_TO, "b", NO_ACK, &[])].concat(),
            406,
            "PRECONDITION_FAILED - reply consumer already set",
            (60, 20),
        ),
        channel(
            "a second one with acks",
            [&replies[..], &consume(REPLY_TO, "b", 0, &[])].concat(),
            406,
            "PRECONDITION_FAILED - reply consumer cannot acknowledge",
            (60, 20),
        ),
        connection(
            "its tag twice",
            [replies.clone(), replies.clone()].concat(),
            530,
            "NOT_ALLOWED - attempt to reuse consumer tag 'a'",
            (60, 20),
        ),
        channel(
            "a request without a consumer",
            request("reply-nowhere", "1"),
            406,
            "PRECONDITION_FAILED - fast reply consumer does not exist",
            (60, 40),
        ),
    ]);
}

#[test]
fn reply_queues_are_known_to_their_requesters_alone() {
    let nobody = "amq.rabbitmq.reply-to.AAAAAAAAAAAAAAAAAAAAAA";
    let volatile = "ACCESS_REFUSED - cannot bind or unbind to a volatile (direct reply-to) queue";
    check(vec![
        channel("get", get(REPLY_TO, true), 404, &missing(REPLY_TO), (60, 70)),
        channel("purge", queue_purge(REPLY_TO), 404, &missing(REPLY_TO), (50, 30)),
        channel(
            "bind",
            queue_bind(REPLY_TO, "amq.direct", "k", &[]),
            404,
            &missing(REPLY_TO),
            (50, 20),
        ),
        channel(
            "bind a reply queue",
            queue_bind(nobody, "amq.direct", "k", &[]),
            403,
            volatile,
            (50, 20),
        ),
        channel(
            "unbind a reply queue",
            queue_unbind(nobody, "amq.direct", "k", &[]),
            403,
            volatile,
            (50, 50),
        ),
        channel(
            "consume a reply queue",
            consume(nobody, "", NO_ACK, &[]),
            404,
            &missing(nobody),
            (60, 20),
        ),
        channel(
            "declare nobody's",
            queue_declare(nobody, 1, &[]),
            404,
            &missing(nobody),
            (50, 10),
        ),
        channel(
            "declare nobody's anew",
            queue_declare(nobody, 0, &[]),
            404,
            &missing(nobody),
            (50, 10),
        ),
        channel(
            "a name that only begins so",
            queue_declare("amq.rabbitmq.reply-toad", 0, &[]),
            404,
            &missing("amq.rabbitmq.reply-toad"),
            (50, 10),
        ),
    ]);
}

#[test]
fn a_reply_comes_from_any_connection() {
    let server = server();
    let mut responder = Client::open(server.address());
    responder.call(&queue_declare("reply-any", 4, &[]), 1, (50, 11));
    responder.call(&consume("reply-any", "t", NO_ACK, &[]), 1, (60, 21));
    let mut requester = Client::open(server.address());
    requester.call(&consume(REPLY_TO, "replies", NO_ACK, &[]), 1, (60, 21));
    for id in ["1", "2"] {
        requester.send(&request("reply-any", id));
        let (correlation_id, address) = requested(&mut responder);
        assert_eq!(correlation_id, id);
        let token = address
            .strip_prefix("amq.rabbitmq.reply-to.")
            .expect("the prefix");
        assert!(!token.is_empty(), "{address}");
        responder.send(&publish("", &address, id.as_bytes()));
        let message = requester.message((60, 60));
        let mut reader = Reader(&message.arguments);
        assert_eq!(reader.text(), "replies");
        assert_eq!(reader.u64().to_string(), id);
        assert_eq!(
            (reader.u8(), reader.text(), reader.text()),
            (0, String::new(), address)
        );
        assert_eq!(message.body, id.as_bytes());
    }
    requester.sync();
}

#[test]
fn nobody_needs_a_permission_to_wait_for_replies() {
    let server = server();
    let mut client = Client::open_as(server.address(), "none");
    client.call(&queue_declare(REPLY_TO, 1, &[]), 1, (50, 11));
    client.call(&consume(REPLY_TO, "t", NO_ACK | 4, &[]), 1, (60, 21));
    client.call(&cancel("t"), 1, (60, 31));
    // A tag is chosen as for any other consumer, and nowait keeps quiet.
    let ok = client.call(&consume(REPLY_TO, "", NO_ACK, &[]), 1, (60, 21));
    client.call(&cancel(&Reader(&ok).text()), 1, (60, 31));
    client.send(&consume(REPLY_TO, "t", NO_ACK | 8, &[]));
    client.sync();
}

#[test]
fn each_channel_has_an_address_of_its_own_and_a_new_one_each_time() {
    let server = server();
    let (mut client, first) = requester(server.address(), "reply-own");
    let (_other, second) = requester(server.address(), "reply-own");
    assert_ne!(first, second);
    client.call(&cancel("replies"), 1, (60, 31));
    client.refused(&queue_declare(&first, 1, &[]), 1, 404, &missing(&first), (50, 10));
    client.call(&consume(REPLY_TO, "replies", NO_ACK, &[]), 1, (60, 21));
    let third = reply_address(&mut client, "reply-own");
    assert_ne!(first, third);
    client.send(&[publish("", &first, b"old"), publish("", &third, b"new")].concat());
    assert_eq!(client.delivery().2, "new");
}

#[test]
fn a_declaration_tells_whether_the_requester_waits() {
    let server = server();
    let (requester, address) = requester(server.address(), "reply-declare");
    let mut client = Client::open(server.address());
    for name in [REPLY_TO, &address] {
        for bits in [0, 1, 2 | 4 | 8] {
            let ok = client.call(&queue_declare(name, bits, &[]), 1, (50, 11));
            let mut reader = Reader(&ok);
            assert_eq!(
                (reader.text(), reader.u32(), reader.u32()),
                (name.to_owned(), 0, 1)
            );
        }
    }
    // An empty name is the one declared last.
    client.refused(&get("", true), 1, 404, &missing(&address), (60, 70));
    drop(requester);
    eventually("the requester is gone", || {
        client.send(&queue_declare(&address, 1, &[]));
        if client.frame().unwrap().id() == (50, 11) {
            return None;
        }
        client.send(&method(20, 41).on(1));
        client.call(&channel_open(1), 1, (20, 11));
        Some(())
    });
}

#[test]
fn deleting_and_purging_do_no_harm() {
    let server = server();
    let (mut client, address) = requester(server.address(), "reply-delete");
    for name in [REPLY_TO, &address] {
        assert_eq!(client.call(&queue_delete(name, 0), 1, (50, 41)), [0; 4]);
    }
    let mut other = Client::open(server.address());
    for sent in [
        queue_purge(&address),
        get(&address, true),
        consume(&address, "", NO_ACK, &[]),
    ] {
        other.send(&sent);
        assert_eq!(other.close().map(|close| close.code), Some(404));
        other.send(&method(20, 41).on(1));
        other.call(&channel_open(1), 1, (20, 11));
    }
    client.send(&publish("", &address, b"alive"));
    assert_eq!(client.delivery().2, "alive");
}

#[test]
fn a_mandatory_reply_counts_as_routed_though_the_requester_is_gone() {
    let server = server();
    let (mut client, address) = requester(server.address(), "reply-gone");
    let mut responder = Client::open(server.address());
    responder.call(&method(85, 10).u8(0).on(1), 1, (85, 11));
    let reply = |key: &str| publish_with("", key, MANDATORY, 0, &[], b"reply");
    responder.call(&reply(&address), 1, (60, 80));
    assert_eq!(client.delivery().2, "reply");
    client.call(&close_channel(), 1, (20, 41));
    // One that used the address before, and one that did not.
    responder.call(&reply(&address), 1, (60, 80));
    let mut newcomer = Client::open(server.address());
    newcomer.send(&reply(&address));
    newcomer.sync();
    // Names that no reply queue ever has are just unroutable.
    for malformed in [
        "amq.rabbitmq.reply-to.",
        "amq.rabbitmq.reply-to.short",
        "amq.rabbitmq.reply-to.AAAAAAAAAAAAAAAAAAAAA!",
        "amq.rabbitmq.reply-to",
    ] {
        newcomer.send(&reply(malformed));
        let arguments = newcomer.message((60, 50)).arguments;
        assert_eq!(Reader(&arguments).u16(), 312, "{malformed}");
    }
}

#[test]
fn replies_go_through_the_default_exchange_of_the_same_vhost_only() {
    let server = server();
    let (mut client, address) = requester(server.address(), "reply-exchange");
    for exchange in ["amq.direct", "amq.topic", "amq.fanout"] {
        client.send(&publish_with(exchange, &address, MANDATORY, 0, &[], b"astray"));
        assert_eq!(client.message((60, 50)).body, b"astray");
    }
    let login = Login {
        vhost: "other",
        ..Login::default()
    };
    let mut elsewhere = Client::login(server.address(), &login).with_channel();
    elsewhere.send(&publish("", &address, b"from elsewhere"));
    elsewhere.sync();
    client.send(&publish("", &address, b"right"));
    assert_eq!(client.delivery().2, "right");
}

#[test]
fn replies_can_be_copies() {
    let server = server();
    let (mut one, first) = requester(server.address(), "reply-copies");
    let (mut two, second) = requester(server.address(), "reply-copies");
    let copies = Fields::default().u8(b'S').long(&second).bytes();
    let headers = entry("CC", b'A', &Fields::default().long(copies).bytes());
    let values = Fields::default().long(headers).bytes();
    one.send(&publish_with("", &first, 0, 1 << 13, &values, b"both"));
    assert_eq!(one.delivery().2, "both");
    assert_eq!(two.delivery().2, "both");
}

#[test]
fn a_request_keeps_its_other_properties_and_loses_bcc() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("reply-props", 4, &[]), 1, (50, 11));
    client.call(&consume(REPLY_TO, "replies", NO_ACK, &[]), 1, (60, 21));
    client.call(&consume("reply-props", "t", NO_ACK, &[]), 1, (60, 21));
    let blind = Fields::default().u8(b'S').long("reply-nowhere").bytes();
    let headers = [
        entry("BCC", b'A', &Fields::default().long(blind).bytes()),
        entry("a", b'I', &7_i32.to_be_bytes()),
    ]
    .concat();
    let values = |headers: &[u8], reply_to: &str| {
        Fields::default()
            .short("text/plain")
            .long(headers)
            .u8(2)
            .short("id")
            .short(reply_to)
            .short("60000")
            .short("app")
            .bytes()
    };
    let flags = 1 << 15 | 1 << 13 | 1 << 12 | CORRELATION_ID | REPLY_TO_FLAG | 1 << 8 | 1 << 3;
    client.send(&publish_with(
        "",
        "reply-props",
        0,
        flags,
        &values(&headers, REPLY_TO),
        b"body",
    ));
    let message = client.message((60, 60));
    let address = {
        let text = String::from_utf8_lossy(&message.properties).into_owned();
        let start = text.find(REPLY_TO).expect("the address");
        text[start..start + REPLY_TO.len() + 1 + 22].to_owned()
    };
    let without_bcc = entry("a", b'I', &7_i32.to_be_bytes());
    let expected = Fields::default()
        .u16(flags)
        .raw(values(&without_bcc, &address))
        .bytes();
    assert_eq!(message.properties, expected);
    // Another reply address is nobody's business.
    client.send(&publish_with(
        "",
        "reply-props",
        0,
        REPLY_TO_FLAG,
        b"\x05other",
        b"",
    ));
    assert_eq!(
        client.message((60, 60)).properties,
        [&[2, 0][..], b"\x05other"].concat()
    );
}

#[test]
fn a_requester_that_does_not_read_loses_nothing() {
    const COUNT: usize = 20_000;
    // Together more than sockets and outbox hold.
    const BYTES: usize = 1_000;
    let server = server();
    let (mut client, address) = requester(server.address(), "reply-slow");
    let mut responder = Client::open(server.address());
    for number in 0..COUNT {
        responder.send(&publish("", &address, format!("{number:0BYTES$}").as_bytes()));
    }
    responder.sync();
    for number in 0..COUNT {
        assert_eq!(client.delivery().2.parse(), Ok(number));
    }
}

#[test]
fn requests_and_replies_wait_for_the_commit_of_a_transaction() {
    let server = server();
    let (mut client, address) = requester(server.address(), "reply-tx");
    let mut responder = Client::open(server.address());
    responder.call(&method(90, 10).on(1), 1, (90, 11));
    responder.send(&publish("", &address, b"reply"));
    responder.sync();
    client.sync();
    responder.call(&method(90, 20).on(1), 1, (90, 21));
    assert_eq!(client.delivery().2, "reply");
}
