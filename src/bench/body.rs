//! What a benchmark's messages carry, and the checks that a broker delivered them as published.
//!
//! A body begins with the producer and the sequence number in one mark, then the time of sending; a fixed
//! filler follows. So that a broker that loses, repeats, reorders or damages messages fails instead of being
//! fast.

use crate::bench::{
    error::BenchError,
    wire::{BASIC_DELIVER, FRAME_BODY, FRAME_HEADER, FRAME_HEARTBEAT, Frame, u64_at},
};

/// The smallest body: mark and time.
pub(super) const BODY_BYTES_MIN: usize = 16;

const SEQUENCE_BITS: u32 = 48;

/// Producer and sequence number in one number.
pub(super) fn mark(producer: u16, sequence: u64) -> u64 {
    u64::from(producer) << SEQUENCE_BITS | sequence
}

/// A body of that size without mark and time.
pub(super) fn blank(body_bytes: usize) -> Vec<u8> {
    (0..=250).cycle().take(body_bytes).collect()
}

/// One message as it arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    /// Delivery tag.
    pub(super) tag: u64,
    /// Producer and sequence number.
    pub(super) mark: u64,
    /// When it was sent, in nanoseconds on the producer's scale.
    pub(super) sent: u64,
}

/// Puts deliveries together from their frames.
#[derive(Debug)]
pub(super) struct Assembler {
    expected: Vec<u8>,
    expect: Expect,
}

#[derive(Debug)]
enum Expect {
    Deliver,
    Header { tag: u64 },
    Body { delivery: Delivery, received: usize },
}

impl Assembler {
    /// For bodies of exactly that size.
    pub(super) fn new(body_bytes: usize) -> Self {
        Self {
            expected: blank(body_bytes),
            expect: Expect::Deliver,
        }
    }

    /// Takes the next frame; gives the delivery that it completes. `Ok(None)` also for a heartbeat.
    ///
    /// # Errors
    /// `Violation` for a redelivery, a wrong size or a damaged body; `Protocol` for a frame out of place.
    pub(super) fn accept(&mut self, frame: &Frame<'_>) -> Result<Option<Delivery>, BenchError> {
        match &mut self.expect {
            Expect::Deliver if frame.method() == Some(BASIC_DELIVER) => {
                let (tag, is_redelivered) = frame.deliver().ok_or_else(|| out_of_place(frame))?;
                if is_redelivered {
                    return Err(BenchError::Violation(format!(
                        "delivery {tag} is marked as redelivered"
                    )));
                }
                self.expect = Expect::Header { tag };
                Ok(None)
            }
            Expect::Header { tag } if frame.kind == FRAME_HEADER => {
                let size = frame.body_bytes().ok_or_else(|| out_of_place(frame))?;
                if usize::try_from(size) != Ok(self.expected.len()) {
                    return Err(BenchError::Violation(format!(
                        "a body of {size} bytes was never published"
                    )));
                }
                self.expect = Expect::Body {
                    delivery: Delivery {
                        tag: *tag,
                        mark: 0,
                        sent: 0,
                    },
                    received: 0,
                };
                Ok(None)
            }
            Expect::Body { .. } if frame.kind == FRAME_BODY => self.accept_body(frame.payload),
            _ if frame.kind == FRAME_HEARTBEAT => Ok(None),
            _ => Err(out_of_place(frame)),
        }
    }

    fn accept_body(&mut self, part: &[u8]) -> Result<Option<Delivery>, BenchError> {
        let Expect::Body { delivery, received } = &mut self.expect else {
            return Ok(None);
        };
        let mut skipped = 0;
        if *received == 0 {
            let (mark, sent) = u64_at(part, 0).zip(u64_at(part, 8)).ok_or_else(damaged)?;
            (delivery.mark, delivery.sent) = (mark, sent);
            skipped = BODY_BYTES_MIN;
        }
        let end = *received + part.len();
        if self.expected.get(*received + skipped..end) != Some(&part[skipped..]) {
            return Err(damaged());
        }
        *received = end;
        if end < self.expected.len() {
            return Ok(None);
        }
        let whole = Delivery { ..*delivery };
        self.expect = Expect::Deliver;
        Ok(Some(whole))
    }
}

/// Which sequence number of one producer is due at one consumer.
#[derive(Debug)]
pub(super) struct OrderCheck {
    next: u64,
    first: u64,
}

impl OrderCheck {
    /// Nothing of that producer has come.
    pub(super) fn new(producer: u16) -> Self {
        let first = mark(producer, 0);
        Self { next: first, first }
    }

    /// How many came.
    pub(super) fn received(&self) -> u64 {
        self.next - self.first
    }

    /// Takes the next delivery's mark.
    ///
    /// # Errors
    /// `Violation` unless it is the one that is due.
    pub(super) fn accept(&mut self, mark: u64) -> Result<(), BenchError> {
        if mark == self.next {
            self.next += 1;
            return Ok(());
        }
        let due = self.received();
        if mark >> SEQUENCE_BITS != self.first >> SEQUENCE_BITS {
            return Err(BenchError::Violation(format!(
                "mark {mark:#x} came to a queue that it was not routed to"
            )));
        }
        let sequence = mark - self.first;
        let kind = if sequence < due {
            "repeated or out of order"
        } else {
            "one was lost or out of order"
        };
        Err(BenchError::Violation(format!(
            "message {sequence} came when {due} was due: {kind}"
        )))
    }
}

fn damaged() -> BenchError {
    BenchError::Violation("a body differs from what was published".to_owned())
}

fn out_of_place(frame: &Frame<'_>) -> BenchError {
    BenchError::Protocol(format!(
        "a frame of type {} and method {:?} between deliveries",
        frame.kind,
        frame.method()
    ))
}

#[cfg(test)]
mod tests {
    use crate::bench::wire::FRAME_METHOD;

    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Frame<'_> {
        Frame {
            kind,
            channel: 1,
            payload,
            bytes: &[],
        }
    }

    fn announce(
        assembler: &mut Assembler,
        redelivered: u8,
        body_bytes: u8,
    ) -> Result<Option<Delivery>, BenchError> {
        let deliver = [0, 60, 0, 60, 1, b'c', 0, 0, 0, 0, 0, 0, 0, 9, redelivered, 0, 0];
        assembler.accept(&frame(FRAME_METHOD, &deliver))?;
        assembler.accept(&frame(
            FRAME_HEADER,
            &[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, body_bytes, 0, 0],
        ))
    }

    fn body(body_bytes: usize) -> Vec<u8> {
        let mut body = blank(body_bytes);
        body[..8].copy_from_slice(&mark(3, 5).to_be_bytes());
        body[8..16].copy_from_slice(&11_u64.to_be_bytes());
        body
    }

    #[test]
    fn a_body_in_two_frames_is_one_delivery() {
        let mut assembler = Assembler::new(40);
        assert_eq!(announce(&mut assembler, 0, 40).unwrap(), None);
        let body = body(40);
        assert_eq!(assembler.accept(&frame(FRAME_BODY, &body[..30])).unwrap(), None);
        let delivery = assembler.accept(&frame(FRAME_BODY, &body[30..])).unwrap();
        assert_eq!(
            delivery,
            Some(Delivery {
                tag: 9,
                mark: mark(3, 5),
                sent: 11
            })
        );
    }

    #[test]
    fn a_redelivery_a_wrong_size_and_a_changed_byte_are_violations() {
        assert!(matches!(
            announce(&mut Assembler::new(40), 1, 40),
            Err(BenchError::Violation(_))
        ));
        assert!(matches!(
            announce(&mut Assembler::new(40), 0, 41),
            Err(BenchError::Violation(_))
        ));
        let mut assembler = Assembler::new(40);
        announce(&mut assembler, 0, 40).unwrap();
        let mut body = body(40);
        body[39] ^= 1;
        assert!(matches!(
            assembler.accept(&frame(FRAME_BODY, &body)),
            Err(BenchError::Violation(_))
        ));
    }

    #[test]
    fn a_body_without_its_announcement_is_out_of_place() {
        let found = Assembler::new(40).accept(&frame(FRAME_BODY, &body(40)));
        assert!(matches!(found, Err(BenchError::Protocol(_))));
    }

    #[test]
    fn order_holds_only_without_gap_repetition_and_stranger() {
        let mut check = OrderCheck::new(2);
        check.accept(mark(2, 0)).unwrap();
        check.accept(mark(2, 1)).unwrap();
        assert_eq!(check.received(), 2);
        for wrong in [mark(2, 1), mark(2, 3), mark(1, 2), mark(3, 2)] {
            assert!(
                matches!(check.accept(wrong), Err(BenchError::Violation(_))),
                "{wrong:#x}"
            );
        }
        check.accept(mark(2, 2)).unwrap();
    }
}
