//! What is written, read back by amq-protocol.

use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, parse_frame};
use amq_protocol::protocol::{BasicProperties, basic, channel, connection, queue};
use amq_protocol::types::{AMQPValue, FieldTable};

use crate::amqp::framed_content;
use crate::amqp::method::{Method, decode};

use super::*;

fn frame_of(class: &AMQPClass) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out, 1, class);
    out
}

#[test]
fn rarer_methods_are_written_as_whole_frames() {
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(5));
    let classes = [
        AMQPClass::Connection(connection::AMQPMethod::Start(connection::Start {
            version_major: 0,
            version_minor: 9,
            server_properties: arguments.clone(),
            mechanisms: "PLAIN AMQPLAIN".into(),
            locales: "en_US".into(),
        })),
        AMQPClass::Channel(channel::AMQPMethod::Close(channel::Close {
            reply_code: 404,
            reply_text: "NOT_FOUND - no queue 'x' in vhost '/'".into(),
            class_id: 50,
            method_id: 10,
        })),
        AMQPClass::Channel(channel::AMQPMethod::OpenOk(channel::OpenOk {})),
        AMQPClass::Queue(queue::AMQPMethod::DeclareOk(queue::DeclareOk {
            queue: "q".into(),
            message_count: 1,
            consumer_count: 2,
        })),
        AMQPClass::Basic(basic::AMQPMethod::Consume(basic::Consume {
            queue: "q".into(),
            consumer_tag: "tag".into(),
            no_local: false,
            no_ack: true,
            exclusive: false,
            nowait: true,
            arguments,
        })),
    ];
    for class in classes {
        let bytes = frame_of(&class);
        assert_eq!(
            parse_frame(&bytes[..]),
            Ok((&[][..], AMQPFrame::Method(1, class.clone())))
        );
        let (frame, consumed) = frame::parse(&bytes, 4096).expect("well-formed").expect("whole");
        assert_eq!(consumed, bytes.len());
        assert!(matches!(decode(frame.payload), Ok(Method::Other(_, decoded)) if decoded == class));
    }
}

#[test]
fn confirms_are_read_by_amq_protocol() {
    for multiple in [false, true] {
        let mut out = Vec::new();
        ack(&mut out, 9, u64::MAX - 1, multiple);
        nack(&mut out, 9, 3, multiple);
        let (rest, frame) = parse_frame(&out[..]).expect("an ack");
        let expected = basic::Ack {
            delivery_tag: u64::MAX - 1,
            multiple,
        };
        assert_eq!(
            frame,
            AMQPFrame::Method(9, AMQPClass::Basic(basic::AMQPMethod::Ack(expected)))
        );
        let (rest, frame) = parse_frame(rest).expect("a nack");
        let expected = basic::Nack {
            delivery_tag: 3,
            multiple,
            requeue: true,
        };
        assert_eq!(
            frame,
            AMQPFrame::Method(9, AMQPClass::Basic(basic::AMQPMethod::Nack(expected)))
        );
        assert!(rest.is_empty());
    }
}

/// Reads content as it was written: method, header, and the body's frames.
fn read_content(mut bytes: &[u8]) -> (AMQPClass, AMQPContentHeader, Vec<Vec<u8>>) {
    let mut next = || {
        let (rest, frame) = parse_frame(bytes).expect("a frame");
        bytes = rest;
        (frame, rest.is_empty())
    };
    let (AMQPFrame::Method(5, class), false) = next() else {
        panic!("no method");
    };
    let (AMQPFrame::Header(5, header), mut last) = next() else {
        panic!("no header");
    };
    let mut chunks = Vec::new();
    while !last {
        let (AMQPFrame::Body(5, chunk), end) = next() else {
            panic!("no body");
        };
        chunks.push(chunk);
        last = end;
    }
    (class, header, chunks)
}

/// Names, header and body as a message keeps them; where the payloads of the two frames begin.
fn framed(envelope: &[u8], body: &[u8]) -> (Vec<u8>, usize, usize) {
    let header = header_of(body);
    let mut bytes = envelope.to_vec();
    framed_content::open_header(&mut bytes, header.len());
    let header_at = bytes.len();
    bytes.extend(header);
    framed_content::open_body(&mut bytes, body.len());
    let body_at = bytes.len();
    bytes.extend(body);
    framed_content::close(&mut bytes);
    (bytes, header_at, body_at)
}

/// A content header without properties.
fn header_of(body: &[u8]) -> Vec<u8> {
    let size = (body.len() as u64).to_be_bytes();
    [&[0, 60, 0, 0][..], &size, &[0, 0]].concat()
}

#[test]
fn bodies_are_split_at_the_frame_limit() {
    let body: Vec<u8> = (0..=255).cycle().take(9000).collect();
    let cases = [
        (0, 0, vec![]),
        (0, 4096, vec![]),
        (1, 4096, vec![1]),
        (4088, 4096, vec![4088]),
        (4089, 4096, vec![4088, 1]),
        (9000, 4096, vec![4088, 4088, 824]),
        (9000, 0, vec![9000]),
    ];
    for (len, frame_max, expected) in cases {
        let body = &body[..len];
        let (bytes, header_at, body_at) = framed(b"\0\x01q", body);
        let content = FramedContent::new(&bytes, header_at, body_at);
        let mut out = Vec::new();
        deliver(&mut out, 5, b"tag", 1, false, &content, frame_max);
        let (_, header, chunks) = read_content(&out);
        assert_eq!(header.body_size, len as u64);
        assert_eq!(chunks.iter().map(Vec::len).collect::<Vec<_>>(), expected);
        assert_eq!(chunks.concat(), body);
        assert!(out.capacity() < out.len() + 64, "one reservation, not doubling");
    }
}

#[test]
fn content_goes_out_behind_three_methods() {
    let (bytes, header_at, body_at) = framed(b"\x02ex\x03key", b"body");
    let content = FramedContent::new(&bytes, header_at, body_at);
    let mut out = Vec::new();
    deliver(&mut out, 5, b"", 1 << 40, true, &content, 4096);
    let (class, header, chunks) = read_content(&out);
    assert_eq!(header.properties, BasicProperties::default());
    assert_eq!(chunks, [b"body"]);
    let expected = basic::Deliver {
        consumer_tag: "".into(),
        delivery_tag: 1 << 40,
        redelivered: true,
        exchange: "ex".into(),
        routing_key: "key".into(),
    };
    assert_eq!(class, AMQPClass::Basic(basic::AMQPMethod::Deliver(expected)));

    let mut out = Vec::new();
    get_ok(&mut out, 5, 7, false, 99, &content, 4096);
    let expected = basic::GetOk {
        delivery_tag: 7,
        redelivered: false,
        exchange: "ex".into(),
        routing_key: "key".into(),
        message_count: 99,
    };
    assert_eq!(
        read_content(&out).0,
        AMQPClass::Basic(basic::AMQPMethod::GetOk(expected))
    );

    let mut out = Vec::new();
    basic_return(&mut out, 5, ReplyCode::NoRoute, &content, 4096);
    let expected = basic::Return {
        reply_code: 312,
        reply_text: "NO_ROUTE".into(),
        exchange: "ex".into(),
        routing_key: "key".into(),
    };
    let (class, _, chunks) = read_content(&out);
    assert_eq!(class, AMQPClass::Basic(basic::AMQPMethod::Return(expected)));
    assert_eq!(chunks, [b"body"]);
}
