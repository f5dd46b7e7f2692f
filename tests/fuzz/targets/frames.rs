//! Frames without a connection: a limit for payloads, then bytes. They are the same frames however the bytes are cut.

use leveret::amqp::frame::{Frame, FrameError, FrameKind, HEADER_BYTES, body_frame, header_frame, heartbeat};
use leveret::amqp::frame::{method_frame, missing, parse};
use leveret::amqp::whole_publish::WholePublish;

use crate::memory::within;

/// Limits that a connection may have agreed on.
const LIMITS: [u32; 4] = [4096, 131_072, 16, 16 << 20];

pub fn run(input: &[u8]) {
    let Some((first, bytes)) = input.split_first() else {
        return;
    };
    let limit = LIMITS[usize::from(*first) % LIMITS.len()];
    within(4096 + 8 * bytes.len(), || {
        at_once(bytes, limit);
        piece_by_piece(bytes, limit);
    });
}

/// Reads frame after frame, and writes each again.
fn at_once(bytes: &[u8], limit: u32) {
    let mut rest = bytes;
    while let Ok(Some((frame, len))) = parse(rest, limit) {
        assert!(frame.payload.len() <= limit as usize);
        assert_eq!(written(&frame), rest[..len]);
        if let Some(whole) = WholePublish::parse(rest, limit) {
            publish(&whole, rest, limit);
        }
        rest = &rest[len..];
    }
    if let Err(error) = parse(rest, limit) {
        assert!(error.explanation().len() < 400);
        let is_early = matches!(error, FrameError::TooLarge { .. });
        assert_eq!(
            is_early,
            parse(&rest[..HEADER_BYTES], limit).is_err(),
            "by its header alone"
        );
        assert!(WholePublish::parse(rest, limit).is_none());
    }
}

fn written(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match frame.kind {
        FrameKind::Method => method_frame(&mut out, frame.channel, |out| out.extend(frame.payload)),
        FrameKind::Header => header_frame(&mut out, frame.channel, frame.payload),
        FrameKind::Body => body_frame(&mut out, frame.channel, frame.payload),
        FrameKind::Heartbeat => {
            heartbeat(&mut out);
            out[1..3].copy_from_slice(&frame.channel.to_be_bytes());
        }
    }
    out
}

/// The short way to read a publish is the long one in one go.
fn publish(whole: &WholePublish<'_>, bytes: &[u8], limit: u32) {
    let mut frames = Vec::new();
    let mut rest = &bytes[..whole.frames.len()];
    while !rest.is_empty() {
        let (frame, len) = parse(rest, limit).expect("faultless").expect("whole");
        assert_eq!(frame.channel, whole.channel);
        frames.push((frame.kind, frame.payload));
        rest = &rest[len..];
    }
    let kinds: Vec<_> = frames.iter().map(|(kind, _)| *kind).collect();
    let expected = [FrameKind::Method, FrameKind::Header, FrameKind::Body];
    assert!(kinds == expected || kinds == expected[..2] && whole.body.is_empty());
    assert_eq!(frames[1].1, whole.header);
    assert_eq!(frames.get(2).map_or(&[][..], |(_, body)| *body), whole.body);
}

/// What a connection does with bytes that come one by one: it asks how many are missing, and never for too many.
fn piece_by_piece(bytes: &[u8], limit: u32) {
    let (mut rest, mut input) = (bytes, &bytes[..0]);
    let mut start = 0;
    loop {
        match parse(input, limit) {
            Ok(Some((_, len))) => {
                assert_eq!(len, input.len(), "nothing was taken that belongs to the next");
                start += len;
                input = &bytes[start..start];
            }
            Ok(None) => {
                let missing = missing(input);
                assert!((1..=limit as usize + 8).contains(&missing));
                if missing > rest.len() {
                    return;
                }
                rest = &rest[missing..];
                input = &bytes[start..bytes.len() - rest.len()];
            }
            Err(_) => {
                let all = parse(&bytes[start..], limit);
                assert_eq!(
                    all.err(),
                    parse(input, limit).err(),
                    "the verdict does not wait for more"
                );
                return;
            }
        }
    }
}
