//! Bytes that are no UTF-8, wherever a string is read.

use crate::bytes::{Fields, HEADERS, entry, get, method, publish_method, publish_with, queue_declare, text};
use crate::client::{Client, Login, server, start_ok, tune_ok};
use crate::rows::{check, connection};

/// Bytes of a character that never come so: alone, cut short, too long a form, half of a pair, beyond the last one.
const WRONG: [&[u8]; 5] = [
    b"\xFF",
    b"a\xC3",
    b"\xC0\xAF",
    b"\xED\xA0\x80",
    b"\xF4\x90\x80\x80",
];

/// Methods of a channel with short strings that must be text: `h` two bytes, `o` one, `s` short string, `T` table.
const METHODS: [(u16, u16, &str); 15] = [
    (20, 10, "s"),
    (20, 40, "hshh"),
    (30, 10, "so"),
    (40, 10, "hssoT"),
    (40, 20, "hso"),
    (40, 30, "hsssoT"),
    (40, 40, "hsssoT"),
    (50, 10, "hsoT"),
    (50, 20, "hsssoT"),
    (50, 30, "hso"),
    (50, 40, "hso"),
    (50, 50, "hsssT"),
    (60, 20, "hssoT"),
    (60, 30, "so"),
    (60, 70, "hso"),
];

/// The method with these bytes as its nth short string.
fn with_nth(letters: &str, (class, id): (u16, u16), nth: usize, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut fields = method(class, id);
    let mut strings = 0;
    for letter in letters.chars() {
        fields = match letter {
            'o' => fields.u8(0),
            'h' => fields.u16(0),
            'T' => fields.long(""),
            _ => {
                strings += 1;
                fields.short(if strings == nth + 1 { bytes } else { b"x" })
            }
        };
    }
    (nth < strings).then(|| fields.on(1))
}

#[test]
fn every_short_string_of_every_method_must_be_text() {
    let text = "FRAME_ERROR - Malformed UTF-8 in shortstr";
    let mut rows = Vec::new();
    for (class, id, letters) in METHODS {
        let sent = (0..).map_while(|nth| with_nth(letters, (class, id), nth, WRONG[nth % WRONG.len()]));
        rows.extend(sent.map(|sent| connection("a short string", sent, 501, text, (0, 0))));
    }
    assert_eq!(rows.len(), 25);
    check(rows);
}

#[test]
fn a_key_of_a_methods_table_must_be_text_and_its_values_need_not_be() {
    let server = server();
    for wrong in WRONG {
        let mut client = Client::open(server.address());
        let arguments = Fields::default().short(wrong).u8(b'V').bytes();
        client.send(&queue_declare("utf8-key", 4, &arguments));
        let close = client.close().unwrap();
        assert_eq!((close.channel, close.code, close.id), (0, 501, (50, 10)));
        let mut client = Client::open(server.address());
        let value = Fields::default().long(wrong).bytes();
        let arguments = [entry("S", b'S', &value), entry("x", b'x', &value)].concat();
        client.call(&queue_declare("", 4, &arguments), 1, (50, 11));
    }
}

#[test]
fn a_message_may_be_any_bytes_but_for_the_names_that_must_be_there() {
    let server = server();
    let mut client = Client::open(server.address());
    client.call(&queue_declare("utf8", 4, &[]), 1, (50, 11));
    for wrong in WRONG {
        // All strings among the properties, with a user id left out: that has to be the user's.
        let short = Fields::default().short(wrong).bytes();
        let headers = Fields::default()
            .long(Fields::default().short(wrong).u8(b'V').bytes())
            .bytes();
        let values = [
            short.repeat(2),
            headers,
            short.repeat(2),
            short.repeat(2),
            short.repeat(2),
        ]
        .concat();
        let flags = 0xC000 | HEADERS | 0x0600 | 0x00A0 | 0x000C;
        client.send(&publish_with("", "utf8", 0, flags, &values, wrong));
        client.send(&get("utf8", true));
        let message = client.message((60, 71));
        assert_eq!(
            (&message.properties[2..], &message.body[..]),
            (&values[..], wrong)
        );
        client.send(&publish_with("amq.topic", "", 0, 0, &[], b""));
        client.send(&publish_method("amq.topic", wrong, 1));
        client.send(&crate::bytes::content_header(0, 0, b""));
        client.message((60, 50));
    }
    let mut other = Client::open(server.address());
    other.send(&publish_method(b"\xFF", b"k", 0));
    other.send(&crate::bytes::content_header(0, 0, b""));
    let close = other.close().unwrap();
    assert_eq!((close.channel, close.code), (1, 404));
    assert_eq!(close.text, "NOT_FOUND - no exchange '\u{fffd}' in vhost '/'");
}

#[test]
fn in_the_handshake_nobody_gets_in_with_it() {
    let server = server();
    for wrong in WRONG {
        let responses = [
            ("PLAIN", [b"\0", wrong, b"\0guest"].concat()),
            ("PLAIN", [b"\0guest\0", wrong].concat()),
            (
                "AMQPLAIN",
                [
                    entry("LOGIN", b'S', &Fields::default().long(wrong).bytes()),
                    text("PASSWORD", "x"),
                ]
                .concat(),
            ),
        ];
        for (mechanism, response) in responses {
            let mut client = Client::greeted(server.address());
            client.send(&start_ok(mechanism, response, &["authentication_failure_close"]));
            assert!([403, 502].contains(&client.close().unwrap().code));
        }
        let start_ok = |properties: &[u8], mechanism: &[u8], locale: &[u8]| {
            let fields = method(10, 11).long(properties).short(mechanism);
            fields.long("\0guest\0guest").short(locale).on(0)
        };
        let key = Fields::default().short(wrong).u8(b'V').bytes();
        for sent in [
            start_ok(&[], wrong, b"en_US"),
            start_ok(&[], b"PLAIN", wrong),
            start_ok(&key, b"PLAIN", b"en_US"),
        ] {
            let mut client = Client::greeted(server.address());
            client.send(&sent);
            client.finish();
            client.expect_end();
        }
        let mut client = Client::authenticated(server.address(), &Login::default());
        client.send(&tune_ok(2047, 131_072, 0));
        client.send(&method(10, 40).short(wrong).short("").u8(0).on(0));
        client.expect_end();
    }
    Client::open(server.address()).sync();
}
