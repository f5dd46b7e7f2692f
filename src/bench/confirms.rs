//! Which of a producer's messages the broker has confirmed.

use std::collections::VecDeque;

use crate::bench::error::BenchError;

/// The publish sequence numbers between the first unconfirmed one and the newest.
#[derive(Debug, Default)]
pub(super) struct Confirms {
    /// How many confirmed ones precede `pending`.
    settled: u64,
    /// `true` where confirmed; the first is always `false`.
    pending: VecDeque<bool>,
    outstanding: u64,
}

impl Confirms {
    /// `count` more messages were published.
    pub(super) fn publish(&mut self, count: usize) {
        self.pending.extend(std::iter::repeat_n(false, count));
        self.outstanding += u64::try_from(count).expect("usize fits into 64 bits");
    }

    /// Takes a `basic.ack` of the broker.
    ///
    /// # Errors
    /// `Violation` for what was never published or is confirmed already.
    pub(super) fn accept(&mut self, tag: u64, is_multiple: bool) -> Result<(), BenchError> {
        let place = tag
            .checked_sub(self.settled + 1)
            .and_then(|place| usize::try_from(place).ok());
        let Some(place) = place.filter(|place| *place < self.pending.len()) else {
            return Err(BenchError::Violation(format!(
                "{tag} was confirmed twice or never published"
            )));
        };
        let first = if is_multiple { 0 } else { place };
        let mut confirmed = 0;
        for is_confirmed in self.pending.range_mut(first..=place) {
            confirmed += u64::from(!*is_confirmed);
            *is_confirmed = true;
        }
        if confirmed == 0 {
            return Err(BenchError::Violation(format!("{tag} was confirmed twice")));
        }
        self.outstanding -= confirmed;
        while self.pending.front() == Some(&true) {
            self.pending.pop_front();
            self.settled += 1;
        }
        Ok(())
    }

    /// How many are published and not confirmed.
    pub(super) fn outstanding(&self) -> u64 {
        self.outstanding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_and_multiple_confirms_count_each_message_once() {
        let mut confirms = Confirms::default();
        confirms.publish(10);
        confirms.accept(3, false).unwrap();
        confirms.accept(1, false).unwrap();
        assert_eq!(confirms.outstanding(), 8);
        confirms.accept(5, true).unwrap();
        assert_eq!(confirms.outstanding(), 5);
        confirms.publish(1);
        confirms.accept(11, true).unwrap();
        assert_eq!(confirms.outstanding(), 0);
    }

    #[test]
    fn a_second_confirm_and_one_without_a_publish_are_violations() {
        let mut confirms = Confirms::default();
        confirms.publish(4);
        confirms.accept(3, false).unwrap();
        for (tag, is_multiple) in [(3, false), (0, false), (0, true), (5, false), (5, true)] {
            let found = confirms.accept(tag, is_multiple);
            assert!(
                matches!(found, Err(BenchError::Violation(_))),
                "{tag} {is_multiple}"
            );
        }
        confirms.accept(3, true).unwrap();
        assert!(confirms.accept(2, false).is_err());
    }
}
