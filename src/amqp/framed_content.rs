//! A message's names and content as they go out: what follows the delivery tag of `basic.deliver`, in one piece. A
//! message that lies so costs one copy to receive and one to deliver.

use super::frame::{self, FrameKind, OVERHEAD_BYTES};

/// The end octet of one frame and the header of the next.
pub const BOUNDARY_BYTES: usize = OVERHEAD_BYTES;

/// The end octet of the last frame.
const END_BYTES: usize = 1;

/// Exchange and routing key (two short strings), the end of the method's frame, the content header frame, and one body
/// frame; borrowed. Its frames may be of any channel. An empty body has a frame here too, which does not go out.
#[derive(Clone, Copy, Debug)]
pub struct FramedContent<'a> {
    bytes: &'a [u8],
    header_at: usize,
    body_at: usize,
}

impl<'a> FramedContent<'a> {
    /// What [`open_header`], [`open_body`] and [`close`] made. The payloads of the two frames begin at `header_at` and
    /// `body_at`.
    #[inline]
    pub fn new(bytes: &'a [u8], header_at: usize, body_at: usize) -> Self {
        Self {
            bytes,
            header_at,
            body_at,
        }
    }

    /// Exchange and routing key, two short strings.
    #[inline]
    pub fn envelope(&self) -> &'a [u8] {
        &self.bytes[..self.header_at - BOUNDARY_BYTES]
    }

    /// Payload of the content header frame.
    #[inline]
    pub fn header(&self) -> &'a [u8] {
        &self.bytes[self.header_at..self.body_at - BOUNDARY_BYTES]
    }

    /// The whole body.
    #[inline]
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[self.body_at..self.bytes.len() - END_BYTES]
    }

    /// Bytes of the body.
    #[inline]
    pub fn body_len(&self) -> usize {
        self.bytes.len() - END_BYTES - self.body_at
    }

    /// Appends all of it as frames of this channel, behind the beginning of a method that ends with the names. The
    /// body is one frame.
    #[inline]
    pub(super) fn append(&self, out: &mut Vec<u8>, channel: u16) {
        let begin = out.len();
        let channel = channel.to_be_bytes();
        // Type, then channel.
        let channel_at = |payload_at: usize| begin + payload_at - BOUNDARY_BYTES + 2;
        let header_channel = channel_at(self.header_at);
        if self.body_len() == 0 {
            out.extend_from_slice(&self.bytes[..=self.body_at - BOUNDARY_BYTES]);
        } else {
            out.extend_from_slice(self.bytes);
            let body_channel = channel_at(self.body_at);
            out[body_channel..body_channel + 2].copy_from_slice(&channel);
        }
        out[header_channel..header_channel + 2].copy_from_slice(&channel);
    }
}

/// Appends what stands between the names and the payload of the content header, which has `len` bytes.
#[inline]
pub fn open_header(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&frame::boundary(FrameKind::Header, 0, len));
}

/// Appends what stands between the content header and the body, which has `len` bytes.
#[inline]
pub fn open_body(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&frame::boundary(FrameKind::Body, 0, len));
}

/// Appends the end of the body.
#[inline]
pub fn close(out: &mut Vec<u8>) {
    frame::end(out);
}
