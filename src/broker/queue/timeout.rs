//! Deliveries that stay unacked for too long. The message goes back; the consumer keeps the delivery on its account
//! until it settles it after all, so that a stuck consumer does not swallow one message after the other.

use crate::clock::Timestamp;
use crate::store::Position;

use super::Queue;
use super::consumers::ConsumerSlot;
use super::effects::{DeliveryHandle, Effects};
use super::expiry::TURN_MAX;
use super::settings::RetryKind;

impl Queue {
    /// When a delivery made now is late.
    pub(super) fn times_out_at(
        &mut self,
        consumer: Option<ConsumerSlot>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let own = consumer.and_then(|slot| self.consumers.timeout(slot));
        let timeout = own
            .or(self.settings.consumer_timeout)
            .filter(|timeout| *timeout > 0)?;
        let at = now.plus(timeout);
        self.times_out_next = Some(self.times_out_next.map_or(at, |next| next.min(at)));
        Some(at)
    }

    /// Takes back what is late, a turn's worth. A single active consumer that is late is taken away, so that the next one is served.
    pub(super) fn time_out(&mut self, now: Timestamp, effects: &mut Effects) {
        if self.times_out_next.is_none_or(|next| next > now) {
            return;
        }
        let is_late = |at: Timestamp| at <= now;
        let late: Vec<u64> = self
            .unacked
            .iter()
            .filter(|(_, unacked)| unacked.times_out_at.is_some_and(is_late))
            .map(|(position, _)| position)
            .take(TURN_MAX)
            .collect();
        for position in late {
            let unacked = self.unacked.remove(position).expect("it was just found");
            self.held_bytes -= unacked.message.memory_bytes();
            let handle = DeliveryHandle {
                position: Position(position),
                delivery_count: unacked.delivery_count,
            };
            self.late.insert(handle, unacked.consumer);
            if let Some(consumer) = unacked.consumer
                && self.is_single_active()
                && self.consumers.suspend(consumer)
            {
                effects.cancelled.push(consumer);
            }
            self.take_back(handle, unacked, RetryKind::Failed, now, effects);
        }
        let unacked = self.unacked.iter();
        self.times_out_next = unacked.filter_map(|(_, unacked)| unacked.times_out_at).min();
    }

    /// Whoever holds a late delivery has settled it: that changes nothing but its account.
    pub(super) fn settle_late(&mut self, handle: DeliveryHandle) {
        if let Some(Some(consumer)) = self.late.remove(&handle) {
            self.consumers.settled(consumer);
        }
    }
}
