//! Content headers and the properties in them, and messages as the store keeps them.

use leveret::amqp::content::{
    ContentHeader, Properties, headers_range, headers_without, with_headers, with_reply_to,
    without_expiration,
};
use leveret::amqp::field_table::validate;
use leveret::message::Message;

use super::tables;
use crate::memory::within;

/// The payload of a content header frame.
pub fn run(input: &[u8]) {
    within(8192 + 400 * input.len(), || match ContentHeader::parse(input) {
        None => assert!(input.len() < 12),
        Some(header) => {
            assert_eq!(header.properties, &input[12..]);
            properties(header.properties);
        }
    });
}

fn properties(bytes: &[u8]) {
    let Ok(properties) = Properties::parse(bytes) else {
        // Nobody asks for these, and they do no harm.
        headers_without(bytes, &[b"x-death"]);
        with_headers(bytes, Some(&[]));
        without_expiration(bytes);
        return;
    };
    let flags = u16::from_be_bytes([bytes[0], bytes[1]]);
    assert!(flags & 1 == 0 || bytes.len() > 2, "a continuation is refused");
    assert_eq!(
        headers_range(bytes).map(|range| &bytes[range]),
        properties.headers
    );
    if let Some(headers) = properties.headers {
        tables::examine(headers);
        if validate(headers).is_ok() {
            assert_eq!(headers_without(bytes, &[]), headers);
        }
    }
    let entries = b"\x01kt\x01";
    let changes = [
        (
            with_headers(bytes, Some(entries)),
            Properties {
                headers: Some(entries),
                ..properties
            },
        ),
        (
            with_headers(bytes, None),
            Properties {
                headers: None,
                ..properties
            },
        ),
        (
            with_reply_to(bytes, b"amq.rabbitmq"),
            Properties {
                reply_to: Some(b"amq.rabbitmq"),
                ..properties
            },
        ),
        (
            without_expiration(bytes),
            Properties {
                expiration: None,
                ..properties
            },
        ),
    ];
    for (changed, expected) in &changes {
        assert_eq!(
            Properties::parse(changed).as_ref(),
            Ok(expected),
            "the rest stays"
        );
    }
    let message = Message::new(b"exchange", b"key", bytes, b"body");
    let stored = Message::decode(&message.encoded(), false).expect("own bytes");
    assert_eq!(stored.properties(), bytes);
    assert_eq!(
        (stored.is_persistent(), stored.priority(), stored.expiration()),
        (message.is_persistent(), message.priority(), message.expiration())
    );
}

/// A message as the store keeps it: whoever can write the file may have damaged it.
pub fn stored(input: &[u8]) {
    within(8192 + 16 * input.len(), || {
        let Ok(message) = Message::decode(input, false) else {
            return;
        };
        assert_eq!(message.encoded(), input);
        let parts = [message.envelope(), message.header(), message.body()].concat();
        assert_eq!(parts, input);
        let names = message.exchange().len() + message.routing_key().len() + 2;
        assert_eq!(names, message.envelope().len());
        if let Some(end) = input.len().checked_sub(1) {
            assert!(Message::decode(&input[..end], false).is_err() || message.body().is_empty());
        }
    });
}
