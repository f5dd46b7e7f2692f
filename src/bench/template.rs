//! A run of publishes, encoded once: sending it again only rewrites the marks and times in the bodies.

use crate::bench::{
    body::{blank, mark},
    wire::{FRAME_BODY, FRAME_END, FRAME_HEADER, FRAME_METHOD},
};

/// The encoded messages that are sent with one write take about this much.
const TEMPLATE_BYTES: usize = 128 * 1024;
/// More messages than this in a template bring nothing.
const SLOTS_MAX: usize = 2048;

/// What all messages of a producer have in common.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Exchange to publish to; empty for the default one.
    pub(super) exchange: String,
    /// Size of a body; at least 16.
    pub(super) body_bytes: usize,
    /// Delivery mode 2.
    pub(super) is_persistent: bool,
}

/// Encoded publishes on channel 1.
#[derive(Debug)]
pub(super) struct Template {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    producer: u16,
}

#[derive(Debug)]
struct Slot {
    /// Where the body begins.
    body: usize,
    /// Where the message ends.
    end: usize,
}

impl Template {
    /// Encodes for that producer; `keys` are used in turn, so that a broker can't live on one remembered
    /// route.
    pub(super) fn new(shape: &Shape, producer: u16, keys: &[String], frame_max: u32) -> Self {
        let part_bytes = usize::try_from(frame_max).expect("32 bits fit into usize") - 8;
        let body = blank(shape.body_bytes);
        let mut template = Self {
            bytes: Vec::new(),
            slots: Vec::new(),
            producer,
        };
        let slots_max = SLOTS_MAX.max(keys.len());
        for key in keys.iter().cycle().take(slots_max) {
            template.push(shape, key, &body, part_bytes);
            let is_full = template.bytes.len() >= TEMPLATE_BYTES;
            if is_full && template.slots.len() >= keys.len().min(SLOTS_MAX) {
                break;
            }
        }
        template
    }

    /// The most messages that one call of `fill` can give.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The encoded messages `first..first + count`, each with its own time of sending in nanoseconds.
    pub(super) fn fill(&mut self, first: u64, count: usize, mut sent: impl FnMut(u64) -> u64) -> &[u8] {
        for (sequence, slot) in (first..).zip(&self.slots[..count]) {
            let head = &mut self.bytes[slot.body..slot.body + 16];
            head[..8].copy_from_slice(&mark(self.producer, sequence).to_be_bytes());
            head[8..].copy_from_slice(&sent(sequence).to_be_bytes());
        }
        let end = count.checked_sub(1).map_or(0, |last| self.slots[last].end);
        &self.bytes[..end]
    }

    fn push(&mut self, shape: &Shape, key: &str, body: &[u8], part_bytes: usize) {
        let mut publish = vec![0, 60, 0, 40, 0, 0];
        push_short_string(&mut publish, &shape.exchange);
        push_short_string(&mut publish, key);
        publish.push(0);
        self.push_frame(FRAME_METHOD, &publish);
        let mut header = vec![0, 60, 0, 0];
        header.extend_from_slice(
            &u64::try_from(body.len())
                .expect("usize fits into 64 bits")
                .to_be_bytes(),
        );
        header.extend_from_slice(if shape.is_persistent {
            &[0x10, 0, 2]
        } else {
            &[0, 0]
        });
        self.push_frame(FRAME_HEADER, &header);
        let body_at = self.bytes.len() + 7;
        for part in body.chunks(part_bytes) {
            self.push_frame(FRAME_BODY, part);
        }
        self.slots.push(Slot {
            body: body_at,
            end: self.bytes.len(),
        });
    }

    fn push_frame(&mut self, kind: u8, payload: &[u8]) {
        let size = u32::try_from(payload.len()).expect("payloads are cut at frame_max");
        self.bytes.extend_from_slice(&[kind, 0, 1]);
        self.bytes.extend_from_slice(&size.to_be_bytes());
        self.bytes.extend_from_slice(payload);
        self.bytes.push(FRAME_END);
    }
}

fn push_short_string(output: &mut Vec<u8>, text: &str) {
    output.push(u8::try_from(text.len()).expect("names of the benchmark are short"));
    output.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use amq_protocol::{
        frame::{AMQPFrame, parse_frame},
        protocol::{AMQPClass, basic},
    };

    use super::*;

    fn frames(mut bytes: &[u8]) -> Vec<AMQPFrame> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let (rest, frame) = parse_frame(bytes).unwrap();
            frames.push(frame);
            bytes = rest;
        }
        frames
    }

    fn shape(body_bytes: usize) -> Shape {
        Shape {
            exchange: "some".to_owned(),
            body_bytes,
            is_persistent: true,
        }
    }

    #[test]
    fn the_reference_codec_reads_what_the_template_sends() {
        let keys = ["one".to_owned(), "two".to_owned()];
        let mut template = Template::new(&shape(16), 3, &keys, 4096);
        let frames = frames(template.fill(40, 3, |sequence| sequence * 2));
        assert_eq!(frames.len(), 9);
        let AMQPFrame::Method(1, AMQPClass::Basic(basic::AMQPMethod::Publish(publish))) = &frames[3] else {
            panic!("{:?}", frames[3]);
        };
        assert_eq!(
            (publish.exchange.as_str(), publish.routing_key.as_str()),
            ("some", "two")
        );
        let AMQPFrame::Header(1, header) = &frames[4] else {
            panic!("{:?}", frames[4])
        };
        assert_eq!(
            (header.body_size, *header.properties.delivery_mode()),
            (16, Some(2))
        );
        let expected = [mark(3, 41).to_be_bytes(), 82_u64.to_be_bytes()].concat();
        assert_eq!(frames[5], AMQPFrame::Body(1, expected));
    }

    #[test]
    fn a_body_larger_than_a_frame_is_cut() {
        let mut template = Template::new(&shape(10_000), 0, &["k".to_owned()], 4096);
        let bodies: Vec<usize> = frames(template.fill(0, 1, |_| 0))
            .into_iter()
            .filter_map(|frame| {
                if let AMQPFrame::Body(_, part) = frame {
                    Some(part.len())
                } else {
                    None
                }
            })
            .collect();
        assert_eq!(bodies, [4088, 4088, 1824]);
    }

    #[test]
    fn every_key_has_its_turn() {
        let keys: Vec<String> = (0..1000).map(|number| format!("key.{number}")).collect();
        let template = Template::new(&shape(1024), 0, &keys, 131_072);
        assert!(template.slots() >= 1000);
    }
}
