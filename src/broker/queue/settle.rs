//! ack, nack, reject and their like: what becomes of messages that were handed out.

use crate::clock::Timestamp;
use crate::store::Position;

use super::effects::{DeathReason, DeliveryHandle, Effects, Returned};
use super::level::{LevelId, Waiting};
use super::settings::RetryKind;
use super::{Queue, Unacked};

/// What becomes of an unacked message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It is done with.
    Ack,
    /// It goes back to its place: `basic.nack` or `basic.recover` asked for that.
    Requeue,
    /// It goes back: `basic.reject` asked for that.
    Reject,
    /// It goes back: its channel has ended.
    Lost,
    /// It goes back and nobody saw it: it never left the broker.
    Return,
    /// It is refused for good.
    Discard,
}

impl Settlement {
    /// Whether the message goes back to the queue.
    pub fn is_return(self) -> bool {
        !matches!(self, Self::Ack | Self::Discard)
    }
}

impl Queue {
    /// Settles one unacked message. Returns false when that delivery is not in the queue any more (purged with its
    /// queue, or late), which is no error. Call [`Queue::dispatch`] after a batch of these.
    pub fn settle(
        &mut self,
        handle: DeliveryHandle,
        settlement: Settlement,
        now: Timestamp,
        effects: &mut Effects,
    ) -> bool {
        let is_this_one = |unacked: &Unacked| unacked.delivery_count == handle.delivery_count;
        let Some(unacked) = self.unacked.remove_if(handle.position.0, is_this_one) else {
            self.settle_late(handle);
            return false;
        };
        self.held_bytes -= unacked.message.memory_bytes();
        if let Some(consumer) = unacked.consumer {
            self.consumers.settled(consumer);
        }
        match settlement {
            Settlement::Ack => {
                if unacked.stored {
                    effects.of(unacked.level).settled.push(handle.position);
                }
            }
            Settlement::Discard => {
                let (level, mut waiting) = (unacked.level, unacked.waiting());
                waiting.count_return();
                self.fail(level, handle.position, waiting, DeathReason::Rejected, effects);
            }
            Settlement::Return => {
                let level = unacked.level;
                self.ready.insert(level, handle.position, unacked.waiting());
            }
            Settlement::Requeue => self.take_back(handle, unacked, RetryKind::Returned, now, effects),
            Settlement::Reject | Settlement::Lost => {
                self.take_back(handle, unacked, RetryKind::Failed, now, effects);
            }
        }
        self.close_if_consumed(effects);
        true
    }

    /// A message that was handed out is in the queue again, unless that was once too often.
    pub(super) fn take_back(
        &mut self,
        handle: DeliveryHandle,
        unacked: Unacked,
        kind: RetryKind,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        let (level, position) = (unacked.level, handle.position);
        let mut waiting = unacked.waiting();
        waiting.count_return();
        let is_too_often = |limit| waiting.delivery_count > limit;
        if self.settings.delivery_limit.is_some_and(is_too_often) {
            return self.fail(level, position, waiting, DeathReason::DeliveryLimit, effects);
        }
        let rests_until = self.rests_until(&waiting, kind, now);
        if waiting.stored {
            effects.of(level).returned.push(Returned {
                position,
                delivery_count: waiting.delivery_count,
                rests_until,
            });
        }
        match rests_until {
            Some(until) => self.rest(level, position, waiting, until),
            None => self.ready.insert(level, position, waiting),
        }
    }

    /// A message that was handed out fails. If its queue keeps it until somebody takes it, the store has to know that
    /// it was seen: after a crash it is ready again.
    fn fail(
        &mut self,
        level: LevelId,
        position: Position,
        waiting: Waiting,
        reason: DeathReason,
        effects: &mut Effects,
    ) {
        if waiting.stored && self.keeps_letters() {
            effects.of(level).returned.push(Returned {
                position,
                delivery_count: waiting.delivery_count,
                rests_until: None,
            });
        }
        self.kill(level, position, waiting, reason, effects);
    }
}

impl Waiting {
    /// It was handed out and comes back.
    fn count_return(&mut self) {
        self.delivery_count = self.delivery_count.saturating_add(1);
        self.redelivered = true;
    }
}

impl Unacked {
    /// It comes back, as few do.
    pub(super) fn waiting(self) -> Waiting {
        Waiting {
            message: self.message.detached(),
            expires_at: self.expires_at,
            delivery_count: self.delivery_count,
            redelivered: self.redelivered,
            stored: self.stored,
        }
    }
}
