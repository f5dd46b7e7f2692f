//! The frames of a `basic.publish` before its body. Publishers repeat themselves: where only the body and its size differ
//! from the message before, one comparison tells all that reading the frames again would.

use super::frame::{self, FrameKind, HEADER_BYTES};
use super::whole_publish::WholePublish;

/// A longer head is not kept, bytes.
const KEPT_MAX: usize = 512;

/// Bytes of the body's size in a content header.
const SIZE_BYTES: usize = 8;

/// Class and weight, in front of the size.
const SIZE_OFFSET: usize = 4;

/// The head of a publish: its method frame and its content header frame.
#[derive(Debug, Default)]
pub struct PublishHead {
    /// Empty: none.
    bytes: Vec<u8>,
    channel: u16,
    /// Where exchange and routing key stand.
    envelope_at: usize,
    envelope_len: usize,
    /// Where the payload of the content header begins.
    header_at: usize,
}

/// A publish whose frames are all there, and whose head is that of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated<'a> {
    /// Exchange and routing key, two short strings.
    pub envelope: &'a [u8],
    /// Bytes of the content header frame's payload.
    pub header_len: usize,
    /// The whole body.
    pub body: &'a [u8],
    /// All from the end octet of the method's frame to that of the last.
    pub tail: &'a [u8],
    /// Bytes that all of it takes.
    pub len: usize,
}

impl PublishHead {
    /// Takes the head of this publish.
    pub fn learn(&mut self, publish: &WholePublish<'_>) {
        let tail_at = publish.frames.len() - publish.tail.len();
        self.envelope_at = tail_at - 1 - publish.envelope.len();
        self.envelope_len = publish.envelope.len();
        self.header_at = tail_at + 1 + HEADER_BYTES;
        self.channel = publish.channel;
        self.bytes.clear();
        let head_len = self.header_at + publish.header.len() + 1;
        if head_len <= KEPT_MAX {
            self.bytes.extend_from_slice(&publish.frames[..head_len]);
        }
    }

    /// What is at the beginning of `bytes`, if it is a whole publish with this head. `payload_max` as in
    /// [`frame::parse`].
    #[inline]
    pub fn repeat<'a>(&self, bytes: &'a [u8], payload_max: u32) -> Option<Repeated<'a>> {
        let (head, rest) = bytes.split_at_checked(self.bytes.len())?;
        let size_at = self.header_at + SIZE_OFFSET;
        let behind_size = size_at + SIZE_BYTES;
        let (front, back) = (head.get(..size_at)?, head.get(behind_size..)?);
        if front != &self.bytes[..size_at] || back != &self.bytes[behind_size..] {
            return None;
        }
        let size = u64::from_be_bytes(*head[size_at..].first_chunk::<SIZE_BYTES>()?);
        let (body, rest) = if size == 0 {
            (&[][..], rest)
        } else {
            frame::expect(rest, FrameKind::Body, self.channel, payload_max)?
        };
        let len = bytes.len() - rest.len();
        (body.len() as u64 == size).then(|| Repeated {
            envelope: &head[self.envelope_at..self.envelope_at + self.envelope_len],
            header_len: self.bytes.len() - 1 - self.header_at,
            body,
            tail: &bytes[self.header_at - HEADER_BYTES - 1..len],
            len,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD_MAX: u32 = 4096;

    fn frames(key: &[u8], properties: &[u8], body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame::method_frame(&mut bytes, 3, |out| {
            out.extend(b"\x00\x3C\x00\x28\x00\x00\x01x");
            out.push(u8::try_from(key.len()).expect("short"));
            out.extend(key);
            out.push(1);
        });
        let size = (body.len() as u64).to_be_bytes();
        frame::header_frame(&mut bytes, 3, &[&[0, 60, 0, 0], &size[..], properties].concat());
        if !body.is_empty() {
            frame::body_frame(&mut bytes, 3, body);
        }
        bytes
    }

    fn head_of(bytes: &[u8]) -> PublishHead {
        let mut head = PublishHead::default();
        let publish = WholePublish::parse(bytes, PAYLOAD_MAX).expect("it is whole");
        head.learn(&publish);
        head
    }

    #[test]
    fn a_repeated_publish_is_what_reading_it_gives() {
        let head = head_of(&frames(b"key", &[0x10, 0, 2], b"body"));
        for body in [&b""[..], b"x", b"another body"] {
            let bytes = [&frames(b"key", &[0x10, 0, 2], body)[..], b"\x01next"].concat();
            let read = WholePublish::parse(&bytes, PAYLOAD_MAX).expect("it is whole");
            let repeated = head.repeat(&bytes, PAYLOAD_MAX).expect("the same head");
            let expected = Repeated {
                envelope: read.envelope,
                header_len: read.header.len(),
                body: read.body,
                tail: read.tail,
                len: read.frames.len(),
            };
            assert_eq!(repeated, expected);
            for len in 0..read.frames.len() {
                assert_eq!(head.repeat(&bytes[..len], PAYLOAD_MAX), None, "cut at {len}");
            }
        }
    }

    #[test]
    fn another_head_or_a_broken_body_is_no_repetition() {
        let first = frames(b"key", &[0x10, 0, 2], b"body");
        let head = head_of(&first);
        for other in [
            frames(b"kez", &[0x10, 0, 2], b"body"),
            frames(b"keys", &[0x10, 0, 2], b"body"),
            frames(b"key", &[0x10, 0, 1], b"body"),
            frames(b"key", &[0, 0], b"body"),
        ] {
            assert_eq!(head.repeat(&other, PAYLOAD_MAX), None);
        }
        for at in 0..first.len() - 5 {
            let mut other = first.clone();
            other[at] ^= 0x40;
            assert_eq!(head.repeat(&other, PAYLOAD_MAX), None, "byte {at}");
        }
        let mut other = first.clone();
        *other.last_mut().expect("not empty") = 0;
        assert_eq!(head.repeat(&other, PAYLOAD_MAX), None, "the end octet");
        assert_eq!(head.repeat(&first, 3), None, "a frame may have 3 bytes");
    }

    #[test]
    fn without_a_head_nothing_is_repeated() {
        let bytes = frames(b"key", &[0, 0], b"body");
        assert_eq!(PublishHead::default().repeat(&bytes, PAYLOAD_MAX), None);
        let long = frames(b"key", &[&[0x80, 0, 255][..], &[b'a'; 255]].concat(), b"body");
        let mut head = head_of(&long);
        assert!(head.repeat(&long, PAYLOAD_MAX).is_some());
        let longer = frames(
            &[b'k'; 255],
            &[&[0x80, 0, 255][..], &[b'a'; 255]].concat(),
            b"body",
        );
        let publish = WholePublish::parse(&longer, PAYLOAD_MAX).expect("it is whole");
        head.learn(&publish);
        assert_eq!(head.repeat(&longer, PAYLOAD_MAX), None, "too long to be kept");
    }
}
