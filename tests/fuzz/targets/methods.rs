//! The payload of a method frame.

use leveret::amqp::frame::HEADER_BYTES;
use leveret::amqp::method::{Method, MethodError, decode, encode};

use crate::memory::within;

pub fn run(input: &[u8]) {
    // A table in it may become some forty times itself.
    within(16_384 + 400 * input.len(), || examine(input));
}

fn examine(payload: &[u8]) {
    let decoded = decode(payload);
    match &decoded {
        Ok(Method::Other(id, class)) => {
            let bytes = encoded(class);
            let Ok(Method::Other(again, same)) = decode(&bytes) else {
                panic!("{id} is not read again: {class:?}")
            };
            assert_eq!((id, &bytes), (&again, &encoded(&same)));
        }
        Ok(Method::Publish(publish)) => {
            let names = publish.exchange.len() + publish.routing_key.len();
            assert_eq!(names, payload.len() - 9);
        }
        Ok(Method::Ack { .. } | Method::Nack { .. } | Method::Reject { .. }) => assert_eq!(payload.len(), 13),
        Err(error) => refused(error, payload),
    }
    if decoded.is_ok() {
        let longer = [payload, &[0]].concat();
        for other in [&payload[..payload.len() - 1], &longer] {
            let is_cut = matches!(decode(other), Err(MethodError::Undecodable { .. }));
            assert!(is_cut, "arguments fill their method exactly");
        }
    }
}

/// The payload alone.
fn encoded(class: &amq_protocol::protocol::AMQPClass) -> Vec<u8> {
    let mut frame = Vec::new();
    encode(&mut frame, 1, class);
    frame[HEADER_BYTES..frame.len() - 1].to_vec()
}

fn refused(error: &MethodError, payload: &[u8]) {
    assert!([501, 502, 503].contains(&error.code().number()));
    assert!(error.explanation().len() < 1024);
    let named = error.id();
    if (named.class, named.method) != (0, 0) {
        let number = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
        assert_eq!((named.class, named.method), (number(0), number(2)));
    }
}
