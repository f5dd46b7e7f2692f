//! When messages that a full queue has refused are offered to it again.

use crate::clock::Timestamp;

/// How long until a message is offered again, at least, milliseconds.
const INTERVAL: u64 = 1_000;

/// Messages that are offered again together, and how long after them the next are: many that wait for room must not
/// keep the store at work. Milliseconds.
const TOGETHER_MAX: usize = 256;
const STEP: u64 = 250;

/// The times at which the messages of an exchange are offered again.
#[derive(Debug)]
pub(super) struct Offers {
    last: Timestamp,
    /// How many are offered then.
    count: usize,
}

impl Default for Offers {
    fn default() -> Self {
        Self {
            last: Timestamp::MIN,
            count: 0,
        }
    }
}

impl Offers {
    /// When a message is offered again that was refused now, and whether none was for a while.
    pub(super) fn next(&mut self, now: Timestamp) -> (Timestamp, bool) {
        let is_first = self.last.plus(2 * INTERVAL) <= now;
        if self.last <= now {
            self.last = now.plus(INTERVAL);
            self.count = 0;
        } else if self.count == TOGETHER_MAX {
            self.last = self.last.plus(STEP);
            self.count = 0;
        }
        self.count += 1;
        (self.last, is_first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_are_spread_however_many_messages_wait() {
        let at = Timestamp::from_millis;
        let mut offers = Offers::default();
        assert_eq!(offers.next(at(10_000)), (at(11_000), true));
        assert_eq!(offers.next(at(10_001)), (at(11_000), false));
        for _ in 2..TOGETHER_MAX {
            assert_eq!(offers.next(at(10_001)).0, at(11_000));
        }
        assert_eq!(offers.next(at(10_002)).0, at(11_250));
        // Those that are refused once more join the end.
        assert_eq!(offers.next(at(11_000)), (at(11_250), false));
        assert_eq!(offers.next(at(12_000)), (at(13_000), false));
        assert_eq!(offers.next(at(15_000)), (at(16_000), true));
    }
}
