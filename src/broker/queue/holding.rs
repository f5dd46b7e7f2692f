//! Whether a message is still in the queue: for deduplication, which knows its place.

use crate::broker::deduplication::{Holder, Place};
use crate::clock::Timestamp;
use crate::message::Message;

use super::Queue;

impl Queue {
    /// The place that a message would enter at now.
    pub fn next_place(&self, message: &Message, now: Timestamp) -> Place {
        Place {
            priority: message.priority(),
            position: self.next,
            expires_at: self.expires_at(message, now),
        }
    }

    /// It waits, is delivered, or is kept as a dead letter.
    fn holds_elsewhere(&self, place: Place, now: Timestamp) -> bool {
        let is_fresh = place.expires_at.is_none_or(|at| at > now);
        (is_fresh && self.ready.holds(place.priority, place.position))
            || self.unacked.get(place.position.0).is_some()
            || self.dying.contains(place.position)
    }
}

impl Holder for Queue {
    fn holds(&self, place: Place, now: Timestamp) -> bool {
        let mut resting = self.resting.keys();
        self.holds_elsewhere(place, now) || resting.any(|(_, position)| *position == place.position)
    }

    fn may_hold(&self, place: Place, now: Timestamp) -> bool {
        !self.resting.is_empty() || self.holds_elsewhere(place, now)
    }
}
