//! A `basic.ack` whose frame is all there. Consumers send one for each message, so it is read at once.

use super::frame::{FrameKind, HEADER_BYTES, OVERHEAD_BYTES};

/// Class, method, delivery tag and bits.
const PAYLOAD_BYTES: usize = 4 + 8 + 1;

/// Such an ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholeAck {
    /// Channel number; not 0.
    pub channel: u16,
    /// 0 with `multiple`: everything so far.
    pub delivery_tag: u64,
    /// All outstanding up to the tag.
    pub multiple: bool,
}

impl WholeAck {
    /// Bytes that it takes.
    pub const LEN: usize = PAYLOAD_BYTES + OVERHEAD_BYTES;

    /// What is at the beginning of `bytes`, if it is that; anything else has to be read as any frame.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        const KIND: u8 = FrameKind::Method.number();
        let bytes = bytes.first_chunk::<{ Self::LEN }>()?;
        let (&[KIND, c1, c0, 0, 0, 0, 13, 0, 60, 0, 80], rest) =
            bytes.split_first_chunk::<{ HEADER_BYTES + 4 }>()?
        else {
            return None;
        };
        let &[t7, t6, t5, t4, t3, t2, t1, t0, bits, 0xCE] = rest else {
            return None;
        };
        let channel = u16::from_be_bytes([c1, c0]);
        (channel != 0).then(|| Self {
            channel,
            delivery_tag: u64::from_be_bytes([t7, t6, t5, t4, t3, t2, t1, t0]),
            multiple: bits & 1 != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::amqp::method;

    use super::*;

    #[test]
    fn an_ack_is_read_at_once_and_nothing_else_is() {
        let mut bytes = Vec::new();
        method::ack(&mut bytes, 3, 1 << 40, true);
        assert_eq!(bytes.len(), WholeAck::LEN);
        let expected = WholeAck {
            channel: 3,
            delivery_tag: 1 << 40,
            multiple: true,
        };
        assert_eq!(WholeAck::parse(&[&bytes[..], b"next"].concat()), Some(expected));
        for len in 0..bytes.len() {
            assert_eq!(WholeAck::parse(&bytes[..len]), None, "cut at {len}");
        }
        // Type, size, class and method, and the end octet.
        for at in [0, 3, 4, 5, 6, 7, 8, 9, 10, 20] {
            let mut other = bytes.clone();
            other[at] ^= 0x40;
            assert_eq!(WholeAck::parse(&other), None, "byte {at}");
        }
        bytes[2] = 0;
        assert_eq!(WholeAck::parse(&bytes), None, "channel 0");
    }
}
