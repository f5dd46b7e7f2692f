//! Frames in pieces, broken ones with RabbitMQ's texts, and amq-protocol as the judge of what is written.

use amq_protocol::frame::{AMQPFrame, parse_frame};
use amq_protocol::protocol::{AMQPClass, basic};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const MAX: u32 = 131_072;

fn raw(kind: u8, channel: u16, payload: &[u8], end: u8) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(channel.to_be_bytes());
    bytes.extend(u32::try_from(payload.len()).expect("short").to_be_bytes());
    bytes.extend(payload);
    bytes.push(end);
    bytes
}

fn explain(bytes: &[u8]) -> String {
    parse(bytes, MAX).expect_err("it is malformed").explanation()
}

#[test]
fn frames_are_read_whole_or_not_at_all() {
    let method = raw(1, 3, &[0, 20, 0, 20, 1], END);
    let header = raw(2, 3, &[0; 14], END);
    let body = raw(3, u16::MAX, &[], END);
    let beat = raw(8, 0, &[], END);
    let cases = [
        (&method, FrameKind::Method, 3),
        (&header, FrameKind::Header, 3),
        (&body, FrameKind::Body, u16::MAX),
        (&beat, FrameKind::Heartbeat, 0),
    ];
    for (bytes, kind, channel) in cases {
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut], MAX), Ok(None), "{kind:?} cut at {cut}");
        }
        let (frame, consumed) = parse(bytes, MAX).expect("well-formed").expect("whole");
        assert_eq!(
            (frame.kind, frame.channel, consumed),
            (kind, channel, bytes.len())
        );
        assert_eq!(frame.payload, &bytes[HEADER_BYTES..bytes.len() - 1]);
        assert_eq!(bytes[0], kind.number());
    }
}

#[test]
fn an_oversized_frame_is_refused_by_its_header_alone() {
    let mut bytes = raw(3, 1, &[], END);
    bytes.truncate(HEADER_BYTES);
    bytes[3..7].copy_from_slice(&MAX.to_be_bytes());
    assert_eq!(parse(&bytes, MAX), Ok(None));
    bytes[3..7].copy_from_slice(&(MAX + 1).to_be_bytes());
    assert_eq!(parse(&bytes[..6], MAX), Ok(None));
    assert_eq!(
        explain(&bytes),
        "type 3, all octets = <<>>: {frame_too_large,131073,131064}"
    );
}

/// The texts were seen on RabbitMQ 3.10.
#[test]
fn malformed_frames_are_explained_as_by_rabbitmq() {
    let cases: [(Vec<u8>, &str); 9] = [
        (
            raw(1, 1, &[0, 20, 0, 20, 1], 0),
            "type 1, all octets = <<0,20,0,20,1>>: {invalid_frame_end_marker,0}",
        ),
        (
            raw(9, 1, b"abc", END),
            r#"type 9, all octets = <<"abc">>: unknown_frame"#,
        ),
        (raw(9, 1, &[], END), "type 9, all octets = <<>>: unknown_frame"),
        (raw(1, 1, &[0], END), "type 1, all octets = <<0>>: unknown_frame"),
        (raw(8, 0, &[1], END), "type 8, all octets = <<1>>: unknown_frame"),
        (
            raw(2, 1, &[0; 11], END),
            "type 2, all octets = <<0,0,0,0,0,0,0,0,0,0,0>>: unknown_frame",
        ),
        (
            raw(9, 1, &[b'a'; 16], END),
            r#"type 9, all octets = <<"aaaaaaaaaaaaaaaa">>: unknown_frame"#,
        ),
        (
            raw(9, 1, &[b'a'; 17], END),
            r#"type 9, first 16 octets = <<"aaaaaaaaaaaaaaaa">>: unknown_frame"#,
        ),
        (
            raw(9, 1, b"a\"b\\\n\t\x08\x1B\x0B\x0C\r", END),
            r#"type 9, all octets = <<"a\"b\\\n\t\b\e\v\f\r">>: unknown_frame"#,
        ),
    ];
    for (bytes, text) in cases {
        assert_eq!(explain(&bytes), text);
    }
}

#[test]
fn bytes_that_are_not_all_printable_are_shown_as_numbers() {
    assert_eq!(octets(b"caf\xE9"), "<<99,97,102,233>>");
    assert_eq!(octets(&[127]), "<<127>>");
    assert_eq!(octet_numbers(b"abc"), "<<97,98,99>>");
}

#[test]
fn written_frames_are_read_by_amq_protocol() {
    let mut out = Vec::new();
    method_frame(&mut out, 7, |out| out.extend([0, 60, 0, 11]));
    header_frame(&mut out, 7, &[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0]);
    body_frame(&mut out, 7, b"abc");
    heartbeat(&mut out);
    let (rest, method) = parse_frame(&out[..]).expect("a method");
    let qos_ok = AMQPClass::Basic(basic::AMQPMethod::QosOk(basic::QosOk {}));
    assert_eq!(method, AMQPFrame::Method(7, qos_ok));
    let (rest, header) = parse_frame(rest).expect("a header");
    assert!(matches!(header, AMQPFrame::Header(7, header) if header.body_size == 3));
    let (rest, body) = parse_frame(rest).expect("a body");
    assert_eq!(body, AMQPFrame::Body(7, b"abc".to_vec()));
    assert_eq!(parse_frame(rest), Ok((&[][..], AMQPFrame::Heartbeat)));
}

proptest! {
    #[test]
    fn any_payload_comes_back(channel: u16, payload in vec(any::<u8>(), 0..300), behind in vec(any::<u8>(), 0..9)) {
        let mut out = Vec::new();
        body_frame(&mut out, channel, &payload);
        let len = out.len();
        out.extend(behind);
        let frame = Frame { kind: FrameKind::Body, channel, payload: &payload };
        prop_assert_eq!(parse(&out, MAX), Ok(Some((frame, len))));
        prop_assert_eq!(parse(&out[..len - 1], MAX), Ok(None));
    }

    #[test]
    fn any_bytes_give_an_answer(mut bytes in vec(any::<u8>(), 0..64), small: bool) {
        // Otherwise nearly all sizes are beyond the limit.
        if small && bytes.len() >= HEADER_BYTES {
            bytes[3..6].fill(0);
            bytes[6] %= 64;
        }
        match parse(&bytes, MAX) {
            Ok(Some((frame, consumed))) => {
                prop_assert_eq!(consumed, frame.payload.len() + OVERHEAD_BYTES);
                prop_assert!(consumed <= bytes.len());
            }
            Ok(None) => {}
            Err(error) => prop_assert!(error.explanation().starts_with("type ")),
        }
    }
}

#[test]
fn a_frame_lacks_what_makes_it_whole() {
    let mut bytes = Vec::new();
    body_frame(&mut bytes, 1, b"body");
    for len in 0..HEADER_BYTES {
        assert_eq!(missing(&bytes[..len]), HEADER_BYTES - len);
    }
    for len in HEADER_BYTES..=bytes.len() {
        assert_eq!(missing(&bytes[..len]), bytes.len() - len);
    }
    bytes.push(1);
    assert_eq!(missing(&bytes), 0, "the next frame does not count");
}
