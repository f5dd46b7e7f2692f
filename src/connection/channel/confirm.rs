//! Publisher confirms: numbers per channel, and acks as soon as what they promise is true.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;

use amq_protocol::protocol::{AMQPClass, confirm};

use crate::amqp::method::{self, MethodId};
use crate::store::Sequence;

use super::super::batch::{Confirmable, Confirmed};
use super::super::error::{Failure, precondition, unimplemented_method};
use super::{Channel, Mode};

/// The confirms of one channel.
#[derive(Debug, Default)]
pub(super) struct Confirms {
    last_tag: u64,
    /// Publishes that wait for the store, together those that wait for the same; tags and sequences both ascend.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    first_tag: u64,
    last_tag: u64,
    after: Sequence,
}

impl Confirms {
    /// The number of the next publish.
    #[inline]
    fn next_tag(&mut self) -> NonZeroU64 {
        self.last_tag += 1;
        NonZeroU64::new(self.last_tag).expect("tags begin at 1")
    }

    /// Takes confirms in the order of their publishes and sends those that wait for nothing.
    pub(super) fn confirmed(&mut self, confirmed: &[Confirmed], channel: u16, output: &mut Vec<u8>) {
        let mut ready = Vec::new();
        for confirmed in confirmed {
            let tags = confirmed.first_tag..=confirmed.last_tag;
            match confirmed.after {
                // Before the acks: one of these may be for all lower tags.
                _ if confirmed.is_rejected => tags.for_each(|tag| method::nack(output, channel, tag, false)),
                Some(after) => self.wait(tags, after),
                None => ready.push(tags),
            }
        }
        let first_waiting = self.waiting.front().map_or(u64::MAX, |waiting| waiting.first_tag);
        let before = ready.partition_point(|tags| *tags.start() < first_waiting);
        if let Some(last) = ready[..before].last() {
            let is_single = before == 1 && last.start() == last.end();
            method::ack(output, channel, *last.end(), !is_single);
        }
        for tag in ready.drain(before..).flatten() {
            method::ack(output, channel, tag, false);
        }
    }

    /// Sends the confirms whose messages are on disk.
    pub(super) fn committed(&mut self, committed: Sequence, channel: u16, output: &mut Vec<u8>) {
        let done = self.waiting.partition_point(|waiting| waiting.after <= committed);
        let mut done = self.waiting.drain(..done);
        if let Some(first) = done.next() {
            let last = done.next_back().map_or(first.last_tag, |last| last.last_tag);
            method::ack(output, channel, last, last > first.first_tag);
        }
    }

    fn wait(&mut self, tags: RangeInclusive<u64>, after: Sequence) {
        let (first_tag, last_tag) = tags.into_inner();
        match self.waiting.back_mut() {
            Some(last) if last.after == after => last.last_tag = last_tag,
            _ => self.waiting.push_back(Waiting {
                first_tag,
                last_tag,
                after,
            }),
        }
    }

    pub(super) fn awaits(&self) -> Option<Sequence> {
        self.waiting.front().map(|waiting| waiting.after)
    }
}

impl Channel {
    pub(super) fn confirm_method(
        &mut self,
        output: &mut Vec<u8>,
        id: MethodId,
        method: &confirm::AMQPMethod,
    ) -> Result<(), Failure> {
        let confirm::AMQPMethod::Select(confirm::Select { nowait }) = method else {
            return Err(unimplemented_method(id));
        };
        match self.mode {
            Mode::Transaction(_) => return Err(precondition("cannot switch from tx to confirm mode", id)),
            Mode::Confirm(_) => {}
            Mode::Plain => self.mode = Mode::Confirm(Confirms::default()),
        }
        if !nowait {
            let ok = confirm::AMQPMethod::SelectOk(confirm::SelectOk {});
            method::encode(output, self.number, &AMQPClass::Confirm(ok));
        }
        Ok(())
    }

    /// Numbers a publish, if the channel is in confirm mode.
    #[inline]
    pub(super) fn next_confirm(&mut self) -> Option<Confirmable> {
        match &mut self.mode {
            Mode::Confirm(confirms) => Some(Confirmable {
                channel: self.number,
                tag: confirms.next_tag(),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confirmed(tag: u64, after: Option<u64>) -> Confirmed {
        Confirmed {
            channel: 1,
            first_tag: tag,
            last_tag: tag,
            after: after.map(Sequence),
            is_rejected: false,
        }
    }

    #[test]
    fn a_nack_goes_before_the_ack_that_spans_it() {
        let mut confirms = Confirms::default();
        let mut output = Vec::new();
        let mut mixed = [confirmed(1, None), confirmed(2, None), confirmed(3, None)];
        mixed[1].is_rejected = true;
        confirms.confirmed(&mixed, 1, &mut output);
        let mut expected = Vec::new();
        method::nack(&mut expected, 1, 2, false);
        method::ack(&mut expected, 1, 3, true);
        assert_eq!(output, expected);
    }

    fn acks(expected: &[(u64, bool)]) -> Vec<u8> {
        let mut output = Vec::new();
        for (tag, multiple) in expected {
            method::ack(&mut output, 1, *tag, *multiple);
        }
        output
    }

    #[test]
    fn what_waits_for_nothing_is_acked_at_once_and_together() {
        let mut confirms = Confirms::default();
        let mut output = Vec::new();
        confirms.confirmed(&[confirmed(1, None), confirmed(2, None)], 1, &mut output);
        assert_eq!(output, acks(&[(2, true)]));
    }

    #[test]
    fn a_run_is_acked_as_one_and_singly_behind_a_waiting_one() {
        let run = |first, last_tag, after| Confirmed {
            last_tag,
            ..confirmed(first, after)
        };
        let mut confirms = Confirms::default();
        let mut output = Vec::new();
        let mixed = [
            run(1, 3, None),
            run(4, 5, Some(7)),
            run(6, 7, None),
            run(8, 8, Some(7)),
        ];
        confirms.confirmed(&mixed, 1, &mut output);
        assert_eq!(output, acks(&[(3, true), (6, false), (7, false)]));
        output.clear();
        confirms.committed(Sequence(7), 1, &mut output);
        assert_eq!(output, acks(&[(8, true)]));
        output.clear();
        let refused = Confirmed {
            is_rejected: true,
            ..run(9, 10, None)
        };
        confirms.confirmed(&[refused, run(11, 11, None)], 1, &mut output);
        let mut expected = Vec::new();
        method::nack(&mut expected, 1, 9, false);
        method::nack(&mut expected, 1, 10, false);
        method::ack(&mut expected, 1, 11, false);
        assert_eq!(output, expected);
    }

    #[test]
    fn transient_ones_overtake_persistent_ones_singly() {
        let mut confirms = Confirms::default();
        let mut output = Vec::new();
        let mixed = [
            confirmed(1, None),
            confirmed(2, Some(7)),
            confirmed(3, None),
            confirmed(4, Some(8)),
        ];
        confirms.confirmed(&mixed, 1, &mut output);
        assert_eq!(output, acks(&[(1, false), (3, false)]));
        output.clear();
        confirms.committed(Sequence(6), 1, &mut output);
        assert!(output.is_empty());
        confirms.committed(Sequence(8), 1, &mut output);
        assert_eq!(output, acks(&[(4, true)]));
    }

    #[test]
    fn a_single_commit_is_a_single_ack() {
        let mut confirms = Confirms::default();
        let mut output = Vec::new();
        confirms.confirmed(&[confirmed(1, Some(3)), confirmed(2, Some(4))], 1, &mut output);
        confirms.committed(Sequence(3), 1, &mut output);
        assert_eq!(output, acks(&[(1, false)]));
        assert_eq!(confirms.awaits(), Some(Sequence(4)));
    }
}
