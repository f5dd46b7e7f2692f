//! Methods to bytes: whole frames, appended. The ones that are sent per message are written by hand, without
//! allocation but for `out` itself.

use amq_protocol::frame::WriteContext;
use amq_protocol::protocol::{self, AMQPClass};

use crate::amqp::frame::{self, FrameKind, HEADER_BYTES, OVERHEAD_BYTES};
use crate::amqp::framed_content::FramedContent;
use crate::amqp::reply_code::ReplyCode;

/// class id and method id.
const ID_BYTES: usize = 4;

const GET_OK: [u8; ID_BYTES] = [0, 60, 0, 71];
const RETURN: [u8; ID_BYTES] = [0, 60, 0, 50];

/// Appends one of the rarer methods as a frame.
pub fn encode(out: &mut Vec<u8>, channel: u16, class: &AMQPClass) {
    // The generator takes its output by value; an allocation of its own is the plain way, and these are rare.
    let context = WriteContext::from(Vec::new());
    let (payload, _) = protocol::gen_class(class)(context)
        .expect("a vector takes all that is written")
        .into_inner();
    frame::method_frame(out, channel, |out| out.extend_from_slice(&payload));
}

/// Appends `basic.deliver` with its content. The body is split at `frame_max` - 8; 0 is no limit.
/// The consumer tag is at most 255 bytes.
#[inline]
pub fn deliver(
    out: &mut Vec<u8>,
    channel: u16,
    consumer_tag: &[u8],
    delivery_tag: u64,
    redelivered: bool,
    content: &FramedContent<'_>,
    frame_max: u32,
) {
    let method_len = ID_BYTES + 1 + consumer_tag.len() + 9 + content.envelope().len();
    reserve(out, method_len, content, frame_max);
    let [t, c1, c0, s3, s2, s1, s0] = frame::header(FrameKind::Method, channel, method_len);
    let tag_len = u8::try_from(consumer_tag.len()).expect("a consumer tag is a short string");
    out.extend_from_slice(&[t, c1, c0, s3, s2, s1, s0, 0, 60, 0, 60, tag_len]);
    out.extend_from_slice(consumer_tag);
    out.extend_from_slice(&tag_and_bits(delivery_tag, u8::from(redelivered)));
    envelope_and_content(out, channel, content, frame_max);
}

/// Appends `basic.get-ok` with its content, split like that of [`deliver`].
pub fn get_ok(
    out: &mut Vec<u8>,
    channel: u16,
    delivery_tag: u64,
    redelivered: bool,
    message_count: u32,
    content: &FramedContent<'_>,
    frame_max: u32,
) {
    let method_len = ID_BYTES + 9 + content.envelope().len() + 4;
    reserve(out, method_len, content, frame_max);
    out.extend_from_slice(&frame::header(FrameKind::Method, channel, method_len));
    out.extend_from_slice(&GET_OK);
    out.extend_from_slice(&tag_and_bits(delivery_tag, u8::from(redelivered)));
    out.extend_from_slice(content.envelope());
    out.extend_from_slice(&message_count.to_be_bytes());
    header_and_body(out, channel, content, frame_max);
}

/// Appends `basic.return` with its content, split like that of [`deliver`]. The text is the code's name.
pub fn basic_return(
    out: &mut Vec<u8>,
    channel: u16,
    code: ReplyCode,
    content: &FramedContent<'_>,
    frame_max: u32,
) {
    let text = code.name().as_bytes();
    let method_len = ID_BYTES + 2 + 1 + text.len() + content.envelope().len();
    reserve(out, method_len, content, frame_max);
    out.extend_from_slice(&frame::header(FrameKind::Method, channel, method_len));
    out.extend_from_slice(&RETURN);
    out.extend_from_slice(&code.number().to_be_bytes());
    out.push(u8::try_from(text.len()).expect("names are short"));
    out.extend_from_slice(text);
    envelope_and_content(out, channel, content, frame_max);
}

/// Appends `basic.ack`.
#[inline]
pub fn ack(out: &mut Vec<u8>, channel: u16, delivery_tag: u64, multiple: bool) {
    confirm(out, channel, 80, delivery_tag, u8::from(multiple));
}

/// Appends `basic.nack`. Its requeue bit is set, as RabbitMQ's is; it means nothing from a server.
#[inline]
pub fn nack(out: &mut Vec<u8>, channel: u16, delivery_tag: u64, multiple: bool) {
    confirm(out, channel, 120, delivery_tag, 2 | u8::from(multiple));
}

fn confirm(out: &mut Vec<u8>, channel: u16, method: u8, delivery_tag: u64, bits: u8) {
    let mut bytes = [0; HEADER_BYTES + ID_BYTES + 9];
    bytes[..HEADER_BYTES].copy_from_slice(&frame::header(FrameKind::Method, channel, ID_BYTES + 9));
    bytes[HEADER_BYTES..HEADER_BYTES + ID_BYTES].copy_from_slice(&[0, 60, 0, method]);
    bytes[HEADER_BYTES + ID_BYTES..].copy_from_slice(&tag_and_bits(delivery_tag, bits));
    out.extend_from_slice(&bytes);
    frame::end(out);
}

#[inline]
fn tag_and_bits(delivery_tag: u64, bits: u8) -> [u8; 9] {
    let [t7, t6, t5, t4, t3, t2, t1, t0] = delivery_tag.to_be_bytes();
    [t7, t6, t5, t4, t3, t2, t1, t0, bits]
}

/// Body bytes per frame.
#[inline]
fn chunk_max(frame_max: u32) -> usize {
    match usize::try_from(frame_max) {
        Ok(max) if max > OVERHEAD_BYTES => max - OVERHEAD_BYTES,
        _ => usize::MAX,
    }
}

/// Makes room for all frames at once.
#[inline]
fn reserve(out: &mut Vec<u8>, method_len: usize, content: &FramedContent<'_>, frame_max: u32) {
    let body_len = content.body_len();
    // A division costs as much as all else here, and most bodies fit a frame.
    let chunks = match chunk_max(frame_max) {
        max if body_len <= max => 1,
        max => body_len / max + 1,
    };
    out.reserve(method_len + content.header().len() + body_len + (2 + chunks) * OVERHEAD_BYTES);
}

/// Ends a method with the names, and appends the header and body frames.
#[inline]
fn envelope_and_content(out: &mut Vec<u8>, channel: u16, content: &FramedContent<'_>, frame_max: u32) {
    if content.body_len() <= chunk_max(frame_max) {
        content.append(out, channel);
    } else {
        out.extend_from_slice(content.envelope());
        header_and_body(out, channel, content, frame_max);
    }
}

/// Ends the method frame and appends the header and body frames.
fn header_and_body(out: &mut Vec<u8>, channel: u16, content: &FramedContent<'_>, frame_max: u32) {
    let header = content.header();
    out.extend_from_slice(&frame::boundary(FrameKind::Header, channel, header.len()));
    out.extend_from_slice(header);
    let mut rest = content.body();
    while !rest.is_empty() {
        let (chunk, tail) = rest.split_at(rest.len().min(chunk_max(frame_max)));
        out.extend_from_slice(&frame::boundary(FrameKind::Body, channel, chunk.len()));
        out.extend_from_slice(chunk);
        rest = tail;
    }
    frame::end(out);
}

#[cfg(test)]
mod tests;
