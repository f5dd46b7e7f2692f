//! Frame envelopes: type, channel, size, payload, end octet (spec 4.2.3), and the texts of what is wrong with one.
//!
//! Nothing is buffered here: the caller keeps the bytes until a frame is whole. The header is judged as soon as
//! it is there, so that no peer makes the caller wait for more than the limit.

use std::fmt::Write as _;

/// Type, channel and size in front of a payload.
pub const HEADER_BYTES: usize = 7;

/// What a frame adds to its payload: the header and the end octet.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + 1;

const END: u8 = 0xCE;

/// class id and method id.
const METHOD_BYTES_MIN: usize = 4;

/// class id, weight and body size; the flags are missed later, with another reply code.
const CONTENT_HEADER_BYTES_MIN: usize = 12;

/// Octets of a payload that an error text shows.
const SNIPPET_BYTES: usize = 16;

/// The frame types of AMQP 0-9-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// 1
    Method,
    /// 2: content header.
    Header,
    /// 3: content body.
    Body,
    /// 8
    Heartbeat,
}

/// A whole frame, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its type.
    pub kind: FrameKind,
    /// 0 is the connection itself.
    pub channel: u16,
    /// What is between header and end octet.
    pub payload: &'a [u8],
}

/// What is wrong with a frame; all are reply code 501, ids 0/0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The header announces more payload than allowed.
    #[error("{}", self.explanation())]
    TooLarge {
        /// The type octet.
        kind: u8,
        /// Announced payload bytes.
        size: u32,
        /// Payload bytes that would have been taken.
        max: u32,
    },
    /// Another octet than 206 behind the payload.
    #[error("{}", self.explanation())]
    BadEnd {
        /// The type octet.
        kind: u8,
        /// The beginning of the payload, at most 17 octets: one more than is shown.
        payload: Vec<u8>,
        /// The octet in place of 206.
        end: u8,
    },
    /// An unknown type, a heartbeat with payload, or too short a method or header.
    #[error("{}", self.explanation())]
    Unknown {
        /// The type octet.
        kind: u8,
        /// The beginning of the payload, at most 17 octets: one more than is shown.
        payload: Vec<u8>,
    },
}

impl FrameKind {
    /// The type octet.
    pub const fn number(self) -> u8 {
        match self {
            Self::Method => 1,
            Self::Header => 2,
            Self::Body => 3,
            Self::Heartbeat => 8,
        }
    }

    /// The kind of a frame with this type octet and payload length; too short a frame has none.
    const fn of(number: u8, payload_len: usize) -> Option<Self> {
        match number {
            1 if payload_len >= METHOD_BYTES_MIN => Some(Self::Method),
            2 if payload_len >= CONTENT_HEADER_BYTES_MIN => Some(Self::Header),
            3 => Some(Self::Body),
            8 if payload_len == 0 => Some(Self::Heartbeat),
            _ => None,
        }
    }
}

/// The frame at the beginning of `bytes` and the bytes that it takes; `None` while more bytes are needed.
/// `payload_max` is the connection's `frame_max`: like RabbitMQ, a payload may be 8 bytes longer than the spec's.
///
/// # Errors
/// When the frame can not be what was agreed. An oversized one is refused by its header alone.
#[inline]
pub fn parse(bytes: &[u8], payload_max: u32) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let [number, c1, c0, s3, s2, s1, s0] = *header;
    let size = u32::from_be_bytes([s3, s2, s1, s0]);
    if size > payload_max {
        return Err(FrameError::TooLarge {
            kind: number,
            size,
            max: payload_max,
        });
    }
    let Some((payload, [end, ..])) = usize::try_from(size)
        .ok()
        .and_then(|size| rest.split_at_checked(size))
    else {
        return Ok(None);
    };
    match FrameKind::of(number, payload.len()) {
        Some(kind) if *end == END => {
            let channel = u16::from_be_bytes([c1, c0]);
            Ok(Some((
                Frame {
                    kind,
                    channel,
                    payload,
                },
                payload.len() + OVERHEAD_BYTES,
            )))
        }
        _ => Err(refuse(number, payload, *end)),
    }
}

/// How many bytes the frame at the beginning of `bytes` lacks until it is whole, or until its header tells that.
pub fn missing(bytes: &[u8]) -> usize {
    let Some(&[_, _, _, s3, s2, s1, s0]) = bytes.first_chunk::<HEADER_BYTES>() else {
        return HEADER_BYTES - bytes.len();
    };
    let size = u32::from_be_bytes([s3, s2, s1, s0]) as usize;
    (size + OVERHEAD_BYTES).saturating_sub(bytes.len())
}

/// A whole, faultless frame of this kind on this channel at the beginning of `bytes`; else `None`, and [`parse`] tells
/// why. The frame's payload and the bytes behind it.
#[inline]
pub(super) fn expect(
    bytes: &[u8],
    kind: FrameKind,
    channel: u16,
    payload_max: u32,
) -> Option<(&[u8], &[u8])> {
    let (&[number, c1, c0, s3, s2, s1, s0], rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let size = u32::from_be_bytes([s3, s2, s1, s0]);
    if number != kind.number() || u16::from_be_bytes([c1, c0]) != channel || size > payload_max {
        return None;
    }
    let (payload, rest) = rest.split_at_checked(size as usize)?;
    let (&end, rest) = rest.split_first()?;
    (end == END).then_some((payload, rest))
}

#[cold]
fn refuse(kind: u8, payload: &[u8], end: u8) -> FrameError {
    let payload = payload[..payload.len().min(SNIPPET_BYTES + 1)].to_vec();
    if end == END {
        FrameError::Unknown { kind, payload }
    } else {
        FrameError::BadEnd { kind, payload, end }
    }
}

impl FrameError {
    /// RabbitMQ's explanation of it, for the reply text.
    pub fn explanation(&self) -> String {
        match self {
            Self::TooLarge { kind, size, max } => {
                // RabbitMQ names the limit without its eight bytes of tolerance.
                let max = max.saturating_sub(8);
                format!("{}: {{frame_too_large,{size},{max}}}", snippet(*kind, &[]))
            }
            Self::BadEnd { kind, payload, end } => {
                format!("{}: {{invalid_frame_end_marker,{end}}}", snippet(*kind, payload))
            }
            Self::Unknown { kind, payload } => format!("{}: unknown_frame", snippet(*kind, payload)),
        }
    }
}

/// A frame's type and the beginning of its payload as RabbitMQ's texts show them: `type 8, all octets = <<>>`.
pub fn snippet(kind: u8, payload: &[u8]) -> String {
    match payload.get(..SNIPPET_BYTES) {
        Some(head) if payload.len() > SNIPPET_BYTES => {
            format!("type {kind}, first 16 octets = {}", octets(head))
        }
        _ => format!("type {kind}, all octets = {}", octets(payload)),
    }
}

/// Bytes as Erlang prints a binary: `<<0,20>>`, or `<<"abc">>` when all of them are printable.
pub fn octets(bytes: &[u8]) -> String {
    let is_printable = |byte: &u8| matches!(byte, b' '..=b'~' | 0x08..=0x0D | 0x1B);
    if bytes.is_empty() || !bytes.iter().all(is_printable) {
        return octet_numbers(bytes);
    }
    let mut text = String::from("<<\"");
    for &byte in bytes {
        match byte {
            0x08 => text.push_str("\\b"),
            b'\t' => text.push_str("\\t"),
            b'\n' => text.push_str("\\n"),
            0x0B => text.push_str("\\v"),
            0x0C => text.push_str("\\f"),
            b'\r' => text.push_str("\\r"),
            0x1B => text.push_str("\\e"),
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            _ => text.push(char::from(byte)),
        }
    }
    text.push_str("\">>");
    text
}

/// Bytes as Erlang prints a binary where it never prints text: `<<97,98,99>>`.
pub fn octet_numbers(bytes: &[u8]) -> String {
    let mut text = String::from("<<");
    for (index, byte) in bytes.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(text, "{comma}{byte}").expect("a string takes all that is written");
    }
    text.push_str(">>");
    text
}

/// Appends a method frame whose payload is what `write` appends.
pub fn method_frame(out: &mut Vec<u8>, channel: u16, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&header(FrameKind::Method, channel, 0));
    let begin = out.len();
    write(out);
    let size = u32::try_from(out.len() - begin).expect("a method is shorter than 4 GiB");
    out[begin - 4..begin].copy_from_slice(&size.to_be_bytes());
    out.push(END);
}

/// Appends a content header frame.
pub fn header_frame(out: &mut Vec<u8>, channel: u16, payload: &[u8]) {
    whole(out, FrameKind::Header, channel, payload);
}

/// Appends one content body frame.
pub fn body_frame(out: &mut Vec<u8>, channel: u16, payload: &[u8]) {
    whole(out, FrameKind::Body, channel, payload);
}

/// Appends a heartbeat.
pub fn heartbeat(out: &mut Vec<u8>) {
    whole(out, FrameKind::Heartbeat, 0, &[]);
}

/// The header of a frame with `len` bytes of payload, and the end octet of the frame before it.
#[inline]
pub(super) fn boundary(kind: FrameKind, channel: u16, len: usize) -> [u8; OVERHEAD_BYTES] {
    let [number, c1, c0, s3, s2, s1, s0] = header(kind, channel, len);
    [END, number, c1, c0, s3, s2, s1, s0]
}

/// The header of a frame with `len` bytes of payload.
#[inline]
pub(super) fn header(kind: FrameKind, channel: u16, len: usize) -> [u8; HEADER_BYTES] {
    let [c1, c0] = channel.to_be_bytes();
    let size = u32::try_from(len).expect("payloads are shorter than 4 GiB");
    let [s3, s2, s1, s0] = size.to_be_bytes();
    [kind.number(), c1, c0, s3, s2, s1, s0]
}

/// Ends the last frame.
#[inline]
pub(super) fn end(out: &mut Vec<u8>) {
    out.push(END);
}

fn whole(out: &mut Vec<u8>, kind: FrameKind, channel: u16, payload: &[u8]) {
    out.reserve(OVERHEAD_BYTES + payload.len());
    out.extend_from_slice(&header(kind, channel, payload.len()));
    out.extend_from_slice(payload);
    out.push(END);
}

#[cfg(test)]
mod tests;
