//! What a queue does differently while memory is short: a smaller window, and nothing more for those who settle
//! nothing.

use crate::broker::headroom::Allowance;

use super::Queue;
use super::consumers::ConsumerSlot;

/// Messages that came back and rest, and dead letters that nobody has taken, beyond which nothing more is delivered
/// that might join them.
const IDLE_MAX: u64 = 4096;

/// Bytes of what is unacked, rests or is not taken, beyond which nothing more is delivered.
const HELD_BYTES_MAX: usize = 16 << 20;

impl Queue {
    /// From now on so much may be in memory. What is there already stays until it is consumed.
    pub fn allow(&mut self, allowance: Allowance) {
        if self.allowance != allowance {
            self.allowance = allowance;
            self.ready.narrow(allowance.window_bytes);
            self.consumers.bound(allowance);
        }
    }

    /// What is unacked, rests or is not taken, and stays in memory until somebody settles it, bytes.
    #[inline]
    pub fn held_bytes(&self) -> usize {
        self.held_bytes + usize::try_from(self.dying.body_bytes()).unwrap_or(usize::MAX)
    }

    /// Keeps no room for messages to come, where there are none.
    pub fn slim(&mut self) {
        self.ready.slim();
        self.unacked.slim();
    }

    /// The consumer whose turn it is. While much is unacked, rests or is not taken, only those that can not make it more:
    /// who acks nothing, and, if all of it is unacked, who has nothing of that.
    #[inline]
    pub(super) fn next_consumer(&mut self) -> Option<ConsumerSlot> {
        if !self.is_laden() {
            return self.consumers.take_turn();
        }
        let is_all_unacked = self.resting.is_empty() && self.dying.count() == 0;
        self.consumers.take_turn_of_idle(is_all_unacked)
    }

    fn is_laden(&self) -> bool {
        self.allowance.holds_back && self.holds_much()
    }

    fn holds_much(&self) -> bool {
        self.resting.len() as u64 + self.dying.count() >= IDLE_MAX || self.held_bytes() >= HELD_BYTES_MAX
    }
}
