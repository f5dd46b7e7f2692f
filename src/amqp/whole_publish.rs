//! A `basic.publish` whose frames are all there in one piece: method, content header, and one body frame unless the
//! body is empty. Nearly every publish comes so, and read at once it costs a third of what its frames cost one by one.

use super::frame::{self, FrameKind};
use super::method::{self, Publish};

/// Such a publish, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholePublish<'a> {
    /// Channel number; not 0.
    pub channel: u16,
    /// The method's arguments.
    pub publish: Publish<'a>,
    /// Exchange and routing key, two short strings.
    pub envelope: &'a [u8],
    /// Payload of the content header frame, at least 12 bytes.
    pub header: &'a [u8],
    /// The whole body.
    pub body: &'a [u8],
    /// All from the end octet of the method's frame to that of the last.
    pub tail: &'a [u8],
    /// All of it.
    pub frames: &'a [u8],
}

impl<'a> WholePublish<'a> {
    /// What is at the beginning of `bytes`, if it is that; anything else has to be read frame by frame, whatever may
    /// be wrong with it. `payload_max` as in [`frame::parse`].
    #[inline]
    pub fn parse(bytes: &'a [u8], payload_max: u32) -> Option<Self> {
        let &[1, c1, c0, _, _, _, _, 0, 60, 0, 40] = bytes.first_chunk::<11>()? else {
            return None;
        };
        let channel = u16::from_be_bytes([c1, c0]);
        if channel == 0 {
            return None;
        }
        let (payload, rest) = frame::expect(bytes, FrameKind::Method, channel, payload_max)?;
        let publish = method::publish(payload.get(4..)?)?;
        // Class, method and ticket in front, bits behind.
        let envelope = payload.get(6..payload.len() - 1)?;
        let tail_at = bytes.len() - rest.len() - 1;
        let (header, rest) = frame::expect(rest, FrameKind::Header, channel, payload_max)?;
        let size = u64::from_be_bytes(*header.get(4..12)?.first_chunk()?);
        let (body, rest) = if size == 0 {
            (&[][..], rest)
        } else {
            frame::expect(rest, FrameKind::Body, channel, payload_max)?
        };
        let len = bytes.len() - rest.len();
        (body.len() as u64 == size).then_some(Self {
            channel,
            publish,
            envelope,
            header,
            body,
            tail: &bytes[tail_at..len],
            frames: &bytes[..len],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD_MAX: u32 = 4096;

    fn frames(body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame::method_frame(&mut bytes, 3, |out| {
            out.extend(b"\x00\x3C\x00\x28\x00\x00\x01x\x03key\x01");
        });
        let size = (body.len() as u64).to_be_bytes();
        frame::header_frame(&mut bytes, 3, &[&[0, 60, 0, 0], &size[..], &[0, 0]].concat());
        if !body.is_empty() {
            frame::body_frame(&mut bytes, 3, body);
        }
        bytes
    }

    #[test]
    fn all_frames_are_read_at_once() {
        for body in [&b""[..], b"body"] {
            let bytes = [&frames(body)[..], b"\x01next"].concat();
            let whole = WholePublish::parse(&bytes, PAYLOAD_MAX).expect("it is whole");
            assert_eq!((whole.channel, whole.body), (3, body));
            assert_eq!(
                (whole.publish.exchange, whole.publish.routing_key),
                (&b"x"[..], &b"key"[..])
            );
            assert!(whole.publish.mandatory && !whole.publish.immediate);
            assert_eq!(whole.envelope, b"\x01x\x03key");
            assert_eq!(whole.header.len(), 14);
            assert_eq!(
                whole.tail,
                &bytes[20..whole.frames.len()],
                "from the first end octet"
            );
            assert_eq!(whole.tail[0], 0xCE);
            assert_eq!(whole.frames, &bytes[..bytes.len() - 5]);
        }
    }

    #[test]
    fn what_is_cut_or_differs_in_any_byte_of_its_shape_is_left_to_others() {
        let bytes = frames(b"body");
        for len in 0..bytes.len() {
            assert_eq!(
                WholePublish::parse(&bytes[..len], PAYLOAD_MAX),
                None,
                "cut at {len}"
            );
        }
        let header_at = bytes
            .windows(2)
            .position(|pair| pair == [0xCE, 2])
            .expect("a header frame")
            + 1;
        let body_at = bytes.len() - 4 - 8;
        // Types, channels, sizes and end octets of the three frames, the method's number, and the body's size.
        let ends = [header_at - 1, body_at - 1, bytes.len() - 1];
        let starts = [0, header_at, body_at]
            .into_iter()
            .flat_map(|start| start..start + 7);
        let shape = starts
            .chain(ends)
            .chain(7..11)
            .chain(header_at + 11..header_at + 19);
        for at in shape {
            let mut other = bytes.clone();
            other[at] ^= 0x40;
            assert_eq!(WholePublish::parse(&other, PAYLOAD_MAX), None, "byte {at}");
        }
        assert_eq!(WholePublish::parse(&bytes, 3), None, "a frame may have 3 bytes");
    }

    #[test]
    fn channel_0_takes_no_publish() {
        let mut bytes = frames(b"");
        for start in [1, bytes.len() - 22 + 1] {
            bytes[start + 1] = 0;
        }
        assert_eq!(WholePublish::parse(&bytes, PAYLOAD_MAX), None);
    }
}
