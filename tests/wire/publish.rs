//! Publishing: checks, returns, properties, CC and BCC, large bodies.

use crate::bytes::{
    DELIVERY_MODE, EXPIRATION, Fields, HEADERS, Reader, USER_ID, content_header, exchange_declare, frame,
    get, int, publish, publish_method, publish_with, queue_bind, queue_declare, queue_delete, text,
};
use crate::client::{Client, Login, server};
use crate::rows::{Row, channel, check};
use crate::support::TestServer;

fn short(value: &str) -> Vec<u8> {
    Fields::default().short(value).bytes()
}

fn table(entries: &[u8]) -> Vec<u8> {
    Fields::default().long(entries).bytes()
}

/// An array of long strings.
fn strings(values: &[&str]) -> Vec<u8> {
    let values: Vec<u8> = values
        .iter()
        .flat_map(|value| Fields::default().u8(b'S').long(value).bytes())
        .collect();
    Fields::default().long(values).bytes()
}

fn expiration(value: &'static str, reason: &str) -> Row {
    let text = format!("PRECONDITION_FAILED - invalid expiration '{value}': {reason}");
    let sent = publish_with("", "pub-nowhere", 0, EXPIRATION, &short(value), b"x");
    channel(value, sent, 406, &text, (60, 40))
}

#[test]
fn bad_properties_are_406() {
    let header = |entries: &[u8]| publish_with("", "pub-nowhere", 0, HEADERS, &table(entries), b"x");
    let user = publish_with("", "pub-nowhere", 0, USER_ID, &short("someone"), b"x");
    check(vec![
        expiration("", "no_integer"),
        expiration("abc", "no_integer"),
        expiration(" 1", "no_integer"),
        expiration("1.5", "{leftover_string,\".5\"}"),
        expiration("-1", "{value_negative,-1}"),
        expiration("315360000001", "{value_too_large,315360000001}"),
        channel(
            "CC in words",
            header(&text("CC", "a")),
            406,
            "PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,\"CC\",longstr}",
            (60, 40),
        ),
        channel(
            "a number for BCC",
            header(&int("BCC", 1)),
            406,
            "PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,\"BCC\",signedint}",
            (60, 40),
        ),
        channel(
            "another's user id",
            user,
            406,
            "PRECONDITION_FAILED - user_id property set to 'someone' but authenticated user was 'guest'",
            (60, 40),
        ),
    ]);
}

#[test]
fn ones_own_user_id_is_fine_and_an_impersonator_may_use_any() {
    let server = server();
    for (user, claimed) in [("guest", "guest"), ("impersonator", "someone")] {
        let mut client = Client::open_as(server.address(), user);
        client.send(&publish_with(
            "",
            "pub-nowhere",
            0,
            USER_ID,
            &short(claimed),
            b"x",
        ));
        client.sync();
    }
}

#[test]
fn good_expirations_and_any_delivery_mode_are_taken() {
    let server = server();
    let mut client = Client::open(server.address());
    for value in ["0", "+10", "315360000000"] {
        client.send(&publish_with(
            "",
            "pub-nowhere",
            0,
            EXPIRATION,
            &short(value),
            b"x",
        ));
    }
    for mode in [0, 1, 2, 3, 255] {
        client.send(&publish_with("", "pub-nowhere", 0, DELIVERY_MODE, &[mode], b"x"));
    }
    client.sync();
}

#[test]
fn a_message_too_large_is_406_once_it_is_there() {
    let server = TestServer::with_config("[amqp]\nmax_message_size = \"1 KiB\"\n");
    let mut client = Client::open(server.address());
    client.send(&publish("", "pub-nowhere", &[0; 1024]));
    client.sync();
    let text = "PRECONDITION_FAILED - message size 1025 is larger than configured max size 1024";
    client.refused(&publish("", "pub-nowhere", &[0; 1025]), 1, 406, text, (60, 40));
    client.send(&publish_method("", "pub-nowhere", 0));
    client.send(&content_header(3000, 0, b""));
    client.sync_after_body(&[0; 1000]);
    client.send(&frame(3, 1, &[0; 1000]));
    let text = "PRECONDITION_FAILED - message size 3000 is larger than configured max size 1024";
    client.refused(&frame(3, 1, &[0; 1000]), 1, 406, text, (60, 40));
}

impl Client {
    /// Sends a part of a body and sees that nothing comes of it yet: the answer on channel 2 comes first.
    fn sync_after_body(&mut self, body: &[u8]) {
        self.send(&frame(3, 1, body));
        self.call(&crate::bytes::channel_open(2), 2, (20, 11));
    }
}

#[test]
fn a_mandatory_message_that_no_queue_takes_comes_back_whole() {
    let server = server();
    let mut client = Client::open(server.address());
    let bcc = crate::bytes::entry("BCC", b'A', &strings(&["pub-nobody"]));
    let headers = [text("a", "1"), bcc, int("z", 2)].concat();
    let sent = publish_with(
        "amq.direct",
        "pub-nowhere",
        1,
        HEADERS | DELIVERY_MODE,
        &[table(&headers), vec![2]].concat(),
        b"body",
    );
    client.send(&sent);
    let back = client.message((60, 50));
    let mut arguments = Reader(&back.arguments);
    assert_eq!((arguments.u16(), arguments.text()), (312, "NO_ROUTE".to_owned()));
    assert_eq!(
        (arguments.text(), arguments.text()),
        ("amq.direct".to_owned(), "pub-nowhere".to_owned())
    );
    let kept = [text("a", "1"), int("z", 2)].concat();
    let flags = Fields::default()
        .u16(HEADERS | DELIVERY_MODE)
        .long(kept)
        .u8(2)
        .bytes();
    assert_eq!((back.properties, back.body), (flags, b"body".to_vec()));
    // Without the flag nothing happens; an empty body comes back as a header alone.
    client.send(&publish("amq.direct", "pub-nowhere", b"x"));
    client.sync();
    client.send(&publish_with("", "pub-nowhere", 1, 0, &[], b""));
    assert_eq!(client.message((60, 50)).body, b"");
    client.sync();
}

#[test]
fn cc_and_bcc_add_routing_keys_and_bcc_stays_secret() {
    let server = server();
    let mut client = Client::open(server.address());
    for queue in ["pub-to", "pub-cc", "pub-bcc"] {
        client.call(&queue_declare(queue, 4, &[]), 1, (50, 11));
    }
    let cc = crate::bytes::entry("CC", b'A', &strings(&["pub-cc", "pub-to"]));
    let bcc = crate::bytes::entry("BCC", b'A', &strings(&["pub-bcc"]));
    client.send(&publish_with(
        "",
        "pub-to",
        0,
        HEADERS,
        &table(&[cc.clone(), bcc].concat()),
        b"x",
    ));
    for queue in ["pub-to", "pub-cc", "pub-bcc"] {
        client.send(&get(queue, true));
        let message = client.message((60, 71));
        assert!(
            message.arguments.ends_with(b"\x06pub-to\0\0\0\0"),
            "{:?}",
            message.arguments
        );
        assert_eq!(
            message.properties,
            Fields::default().u16(HEADERS).long(&cc).bytes()
        );
    }
}

#[test]
fn copies_are_for_every_exchange_and_only_for_strings_under_the_exact_names() {
    let server = server();
    let mut client = Client::open(server.address());
    for (exchange, kind) in [("pub-copy-t", "topic"), ("pub-copy-d", "direct")] {
        let queue = format!("{exchange}-q");
        client.call(&exchange_declare(exchange, kind, 4, &[]), 1, (40, 11));
        client.call(&queue_declare(&queue, 4, &[]), 1, (50, 11));
        client.call(&queue_bind(&queue, exchange, "copy", &[]), 1, (50, 21));
        let mixed = [
            Fields::default().u8(b'I').u32(7).bytes(),
            Fields::default().u8(b'S').long("copy").bytes(),
            Fields::default().u8(b't').u8(1).bytes(),
        ]
        .concat();
        let array = Fields::default().long(mixed).bytes();
        for (name, body) in [("CC", &b"1"[..]), ("BCC", b"2"), ("cc", b"no"), ("Bcc", b"no")] {
            let headers = table(&crate::bytes::entry(name, b'A', &array));
            client.send(&publish_with(exchange, "other", 0, HEADERS, &headers, body));
        }
        let empty = table(&crate::bytes::entry("CC", b'A', &strings(&[])));
        client.send(&publish_with(exchange, "other", 0, HEADERS, &empty, b"no"));
        assert_eq!(client.get(&queue).map(|got| got.2), Some("1".to_owned()));
        assert_eq!(client.get(&queue).map(|got| got.2), Some("2".to_owned()));
        assert_eq!(client.get(&queue), None);
    }
}

#[test]
fn all_properties_come_back_byte_for_byte() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("pub-all", 4, &[]), 1, (50, 11));
    let values = Fields::default()
        .short("text/plain")
        .short("utf-8")
        .long(text("k", "v"))
        .u8(2)
        .u8(255)
        .short([0xFF, 0xFE])
        .short("reply")
        .short("60000")
        .short("id")
        .u64(u64::MAX)
        .short("type")
        .short("guest")
        .short("app")
        .short("cluster")
        .bytes();
    client.send(&publish_with("", "pub-all", 0, 0xFFFC, &values, b"x"));
    client.send(&get("pub-all", true));
    let expected = [0xFFFC_u16.to_be_bytes().to_vec(), values].concat();
    assert_eq!(client.message((60, 71)).properties, expected);
}

#[test]
fn a_routing_key_of_any_bytes_passes_through() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&exchange_declare("pub-any", "fanout", 4, &[]), 1, (40, 11));
    client.call(&queue_declare("pub-any", 4, &[]), 1, (50, 11));
    client.call(&queue_bind("pub-any", "pub-any", "", &[]), 1, (50, 21));
    let key = [0xFF, 0x00, b'\n', 0xC3];
    client.send(&publish_method("pub-any", key, 0));
    client.send(&content_header(1, 0, b""));
    client.send(&frame(3, 1, b"x"));
    client.send(&get("pub-any", true));
    let arguments = client.message((60, 71)).arguments;
    let expected = Fields::default()
        .u64(1)
        .u8(0)
        .short("pub-any")
        .short(key)
        .u32(0)
        .bytes();
    assert_eq!(arguments, expected);
}

#[test]
fn bodies_are_split_by_the_agreed_frame_size_both_ways() {
    let server = server();
    let login = Login {
        frame_max: 4096,
        ..Login::default()
    };
    let mut client = Client::login(server.address(), &login).with_channel();
    client.call(&queue_declare("pub-split", 4, &[]), 1, (50, 11));
    let body: Vec<u8> = (0..10_000_u32).map(|number| number.to_be_bytes()[3]).collect();
    client.send(&publish_method("", "pub-split", 0));
    client.send(&content_header(10_000, 0, b""));
    for chunk in body.chunks(1000) {
        client.send(&frame(3, 1, chunk));
    }
    client.send(&get("pub-split", true));
    client.expect(1, (60, 71));
    assert_eq!(client.frame().unwrap().kind, 2);
    let sizes: Vec<Vec<u8>> = (0..3).map(|_| client.frame().unwrap().payload).collect();
    assert_eq!(sizes.iter().map(Vec::len).collect::<Vec<_>>(), [4088, 4088, 1824]);
    assert_eq!(sizes.concat(), body);
    client.sync();
}

#[test]
fn get_ok_tells_what_is_left() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("pub-left", 4, &[]), 1, (50, 11));
    for _ in 0..3 {
        client.send(&publish("", "pub-left", b"x"));
    }
    for left in [2, 1, 0] {
        client.send(&get("pub-left", true));
        assert!(client.message((60, 71)).arguments.ends_with(&[0, 0, 0, left]));
    }
    assert_eq!(client.call(&get("pub-left", true), 1, (60, 72)), [0]);
}

#[test]
fn what_was_found_out_about_a_publish_is_not_believed_once_its_queue_is_gone() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("publ-again", 0, &[]), 1, (50, 11));
    let again = publish_with("", "publ-again", 1, 0, &[], b"body");
    let mut all = again.repeat(3);
    all.extend(queue_delete("publ-again", 0));
    all.extend(again.repeat(2));
    all.extend(queue_declare("publ-again", 0, &[]));
    all.extend(&again);
    client.send(&all);
    assert_eq!(client.expect(1, (50, 41)), [0, 0, 0, 3]);
    client.message((60, 50));
    client.message((60, 50));
    client.expect(1, (50, 11));
    client.sync();
    assert_eq!(
        client.call(&queue_delete("publ-again", 0), 1, (50, 41)),
        [0, 0, 0, 1]
    );
}
