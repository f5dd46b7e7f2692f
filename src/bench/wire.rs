//! The part of AMQP that a load generator needs often: walking frames, reading deliveries and confirms,
//! writing acks. Everything borrows from the read buffer, so that the generator costs far less than the
//! broker it measures.

use std::io::{self, Read};

use crate::bench::error::BenchError;

/// A method frame.
pub(super) const FRAME_METHOD: u8 = 1;
/// A content header frame.
pub(super) const FRAME_HEADER: u8 = 2;
/// A content body frame.
pub(super) const FRAME_BODY: u8 = 3;
/// A heartbeat frame.
pub(super) const FRAME_HEARTBEAT: u8 = 8;
/// Ends each frame.
pub(super) const FRAME_END: u8 = 0xCE;
/// Bytes before the payload: type, channel, size.
pub(super) const FRAME_PREFIX_BYTES: usize = 7;
/// Class and method id of `basic.deliver` in one number.
pub(super) const BASIC_DELIVER: u32 = 0x003C_003C;
/// Class and method id of `basic.ack` in one number.
pub(super) const BASIC_ACK: u32 = 0x003C_0050;
/// The largest frame offered to a broker; with its prefix and end it fits the read buffer.
pub(super) const FRAME_MAX: u32 = 128 * 1024;

const READ_BUFFER_BYTES: usize = 256 * 1024;

/// One frame, as it lies in the read buffer.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    /// Frame type.
    pub(super) kind: u8,
    /// Channel number.
    pub(super) channel: u16,
    /// What stands between the prefix and the frame end.
    pub(super) payload: &'a [u8],
    /// The frame with prefix and end.
    pub(super) bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Class and method id in one number; `None` unless this is a method frame.
    pub(super) fn method(&self) -> Option<u32> {
        if self.kind == FRAME_METHOD {
            u32_at(self.payload, 0)
        } else {
            None
        }
    }

    /// Delivery tag and redelivered flag of a `basic.deliver`.
    pub(super) fn deliver(&self) -> Option<(u64, bool)> {
        let consumer_tag_bytes = usize::from(*self.payload.get(4)?);
        let tag = u64_at(self.payload, 5 + consumer_tag_bytes)?;
        Some((tag, self.payload.get(13 + consumer_tag_bytes)? & 1 == 1))
    }

    /// Delivery tag and multiple flag of a `basic.ack`.
    pub(super) fn ack(&self) -> Option<(u64, bool)> {
        Some((u64_at(self.payload, 4)?, self.payload.get(12)? & 1 == 1))
    }

    /// Body size that a content header announces.
    pub(super) fn body_bytes(&self) -> Option<u64> {
        u64_at(self.payload, 4)
    }

    fn walk(bytes: &'a [u8]) -> Result<Option<Self>, BenchError> {
        let Some(size) = u32_at(bytes, 3) else {
            return Ok(None);
        };
        if size > FRAME_MAX {
            return Err(BenchError::Protocol(format!("a frame of {size} bytes")));
        }
        let payload_end = FRAME_PREFIX_BYTES + usize::try_from(size).expect("at most FRAME_MAX");
        let Some(end) = bytes.get(payload_end) else {
            return Ok(None);
        };
        if *end != FRAME_END {
            return Err(BenchError::Protocol(format!("a frame that ends with {end:#x}")));
        }
        Ok(Some(Self {
            kind: bytes[0],
            channel: u16::from_be_bytes([bytes[1], bytes[2]]),
            payload: &bytes[FRAME_PREFIX_BYTES..payload_end],
            bytes: &bytes[..=payload_end],
        }))
    }
}

/// What was read from a socket and not yet looked at.
#[derive(Debug)]
pub(super) struct Inbox {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; READ_BUFFER_BYTES].into(),
            start: 0,
            end: 0,
        }
    }

    /// The next whole frame, or `None` until more is read.
    ///
    /// # Errors
    /// `Protocol` for what is not a frame, or is larger than any that was negotiated.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame<'_>>, BenchError> {
        let frame = Frame::walk(&self.bytes[self.start..self.end])?;
        if let Some(frame) = &frame {
            self.start += frame.bytes.len();
        }
        Ok(frame)
    }

    /// Reads what is there. Call it only after `next_frame` gave `None`: then there is room.
    ///
    /// # Errors
    /// The socket's own.
    pub(super) fn fill(&mut self, source: &mut impl Read) -> io::Result<usize> {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let count = source.read(&mut self.bytes[self.end..])?;
        self.end += count;
        Ok(count)
    }
}

/// Appends a `basic.ack` on channel 1.
pub(super) fn push_ack(output: &mut Vec<u8>, tag: u64, is_multiple: bool) {
    output.extend_from_slice(&[FRAME_METHOD, 0, 1, 0, 0, 0, 13, 0, 60, 0, 80]);
    output.extend_from_slice(&tag.to_be_bytes());
    output.extend_from_slice(&[u8::from(is_multiple), FRAME_END]);
}

/// The 64-bit number at `offset`.
pub(super) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use amq_protocol::{
        frame::{AMQPFrame, WriteContext, gen_frame},
        protocol::{AMQPClass, basic},
    };

    use super::*;

    fn encoded(method: basic::AMQPMethod) -> Vec<u8> {
        let frame = AMQPFrame::Method(1, AMQPClass::Basic(method));
        gen_frame(&frame)(WriteContext::from(Vec::new()))
            .unwrap()
            .into_inner()
            .0
    }

    fn deliver(tag: u64) -> Vec<u8> {
        encoded(basic::AMQPMethod::Deliver(basic::Deliver {
            consumer_tag: "some-consumer".into(),
            delivery_tag: tag,
            redelivered: tag % 2 == 1,
            exchange: "exchange".into(),
            routing_key: "key".into(),
        }))
    }

    #[test]
    fn a_delivery_is_read_as_the_reference_codec_writes_it() {
        let bytes = deliver(0x0102_0304_0506_0709);
        let frame = Frame::walk(&bytes).unwrap().unwrap();
        assert_eq!((frame.kind, frame.channel), (FRAME_METHOD, 1));
        assert_eq!(frame.method(), Some(BASIC_DELIVER));
        assert_eq!(frame.deliver(), Some((0x0102_0304_0506_0709, true)));
    }

    #[test]
    fn acks_are_written_and_read_as_the_reference_codec_does() {
        for multiple in [false, true] {
            let mut bytes = Vec::new();
            push_ack(&mut bytes, 77, multiple);
            assert_eq!(
                bytes,
                encoded(basic::AMQPMethod::Ack(basic::Ack {
                    delivery_tag: 77,
                    multiple
                }))
            );
            let frame = Frame::walk(&bytes).unwrap().unwrap();
            assert_eq!(frame.method(), Some(BASIC_ACK));
            assert_eq!(frame.ack(), Some((77, multiple)));
        }
    }

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let stream: Vec<u8> = (0..50).flat_map(deliver).collect();
        for step in [1, 7, 8, 64, stream.len()] {
            let mut inbox = Inbox::new();
            let mut tags = Vec::new();
            for mut part in stream.chunks(step) {
                inbox.fill(&mut part).unwrap();
                while let Some(frame) = inbox.next_frame().unwrap() {
                    tags.push(frame.deliver().unwrap().0);
                }
            }
            assert_eq!(tags, (0..50).collect::<Vec<u64>>(), "in steps of {step}");
        }
    }

    #[test]
    fn a_wrong_frame_end_and_an_oversize_frame_are_refused() {
        let mut bytes = deliver(1);
        *bytes.last_mut().unwrap() = 0;
        assert!(Frame::walk(&bytes).is_err());
        assert!(Frame::walk(&[3, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF]).is_err());
    }

    #[test]
    fn short_payloads_are_no_delivery_and_no_ack() {
        let frame = Frame {
            kind: FRAME_METHOD,
            channel: 1,
            payload: &[0, 60, 0, 60, 200, 1],
            bytes: &[],
        };
        assert_eq!(frame.deliver(), None);
        assert_eq!(frame.ack(), None);
    }
}
