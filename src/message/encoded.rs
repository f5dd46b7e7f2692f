//! A message as the store keeps it: names, content header and body in one piece, without frames.

use crate::amqp::content::Properties;
use crate::amqp::framed_content::{self, BOUNDARY_BYTES};

use super::{DEAD_LETTER, HEADER_FIXED_BYTES, NOTE_BYTES, Traits};

/// Why stored bytes are not a message.
#[derive(Debug, thiserror::Error)]
#[error("{0} bytes are not a stored message: {1}")]
pub struct MessageDecodeError(usize, &'static str);

/// A stored message, looked at and found whole.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a> {
    bytes: &'a [u8],
    header_at: usize,
    body_at: usize,
    /// What its properties say.
    pub traits: Traits,
}

impl<'a> Encoded<'a> {
    /// Looks at what [`super::Message::encoded`] gave.
    ///
    /// # Errors
    /// When the bytes are cut or damaged.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MessageDecodeError> {
        let bad = |reason| MessageDecodeError(bytes.len(), reason);
        let exchange_len = usize::from(*bytes.first().ok_or(bad("empty"))?);
        let key_len = usize::from(*bytes.get(1 + exchange_len).ok_or(bad("no routing key"))?);
        let header_at = 2 + exchange_len + key_len;
        let fixed = bytes
            .get(header_at..header_at + HEADER_FIXED_BYTES)
            .filter(|fixed| fixed.starts_with(&[0, 60, 0, 0]))
            .ok_or(bad("no header"))?;
        let body_size = u64::from_be_bytes(fixed[4..12].try_into().expect("eight bytes were sliced"));
        let body_at = usize::try_from(body_size)
            .ok()
            .and_then(|size| bytes.len().checked_sub(size))
            .filter(|at| *at >= header_at + HEADER_FIXED_BYTES)
            .ok_or(bad("body cut short"))?;
        let properties = &bytes[header_at + HEADER_FIXED_BYTES..body_at];
        let properties = Properties::parse(properties).map_err(|_| bad("properties do not parse"))?;
        let encoded = Self {
            bytes,
            header_at,
            body_at,
            traits: Traits::of(&properties),
        };
        if u32::try_from(encoded.len()).is_err() {
            return Err(bad("4 GiB and more"));
        }
        Ok(encoded)
    }

    /// Bytes that it takes as a message.
    pub(super) fn len(&self) -> usize {
        NOTE_BYTES + self.bytes.len() + 2 * BOUNDARY_BYTES + 1
    }

    /// Appends the message.
    pub(super) fn append(&self, out: &mut Vec<u8>, is_dead_letter: bool) {
        let (header_at, body_at) = (self.header_at + BOUNDARY_BYTES, self.body_at + 2 * BOUNDARY_BYTES);
        let header = &self.bytes[self.header_at..self.body_at];
        let body = &self.bytes[self.body_at..];
        out.reserve(self.len());
        let flags = if is_dead_letter { DEAD_LETTER } else { 0 };
        out.extend_from_slice(&self.traits.note(flags, header_at, body_at));
        out.extend_from_slice(&self.bytes[..self.header_at]);
        framed_content::open_header(out, header.len());
        out.extend_from_slice(header);
        framed_content::open_body(out, body.len());
        out.extend_from_slice(body);
        framed_content::close(out);
    }
}
