//! What happens to a queue because of time alone: messages expire on the dot wherever they stand (RabbitMQ looks at
//! the first one only), rests end, deliveries are late, and a queue that nobody uses goes.

use crate::clock::Timestamp;
use crate::message::Message;
use crate::store::Position;

use super::Queue;
use super::effects::{DeathReason, Effects};
use super::level::{LevelId, Waiting};

/// Messages that one turn lets go of, so that neither the queue's lock nor the store's group is held for long.
pub(super) const TURN_MAX: usize = 4096;

impl Queue {
    /// When a message that enters now expires: the smaller of the queue's and its own time to live.
    #[inline]
    pub(super) fn expires_at(&self, message: &Message, now: Timestamp) -> Option<Timestamp> {
        let own = message.expiration();
        let ttl = self.settings.message_ttl.into_iter().chain(own).min()?;
        Some(now.plus(ttl))
    }

    /// When [`Queue::tick`] has something to do.
    pub fn due_next(&self) -> Option<Timestamp> {
        // While the hand-out opens nothing is tidied: the answer comes soon, and brings that with it.
        let is_opening = self.opening_since().is_some();
        let expiry = self.ready.expires_next().filter(|_| !is_opening);
        let untidy = ((self.is_untidy || self.get_turns) && !is_opening).then(|| Timestamp::from_millis(0));
        let rest = self.resting.first_key_value().map(|((at, _), _)| *at);
        let unused = self.unused_since.zip(self.settings.expires);
        let unused = unused.map(|(since, expires)| since.plus(expires));
        [
            expiry,
            untidy,
            rest,
            self.times_out_next,
            unused,
            self.dying.next_offer(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what time demands.
    pub fn tick(&mut self, now: Timestamp, effects: &mut Effects) {
        if self.is_expired(now) {
            effects.queue_expired = true;
            return;
        }
        self.time_out(now, effects);
        self.wake(now, effects);
        self.offer_again(now, effects);
        effects.get_again |= std::mem::take(&mut self.get_turns);
        self.dispatch(now, effects);
    }

    /// Whether nobody has used the queue for as long as `x-expires` allows.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        let unused = self.unused_since.zip(self.settings.expires);
        unused.is_some_and(|(since, expires)| since.plus(expires) <= now)
    }

    /// Somebody used the queue: it does not go yet.
    pub fn touch(&mut self, now: Timestamp) {
        if let Some(since) = &mut self.unused_since {
            *since = now;
        }
    }

    /// Lets go of what has expired and of what is too much, a turn's worth. If somebody `waits` for the next page, the
    /// caller asks for it.
    pub(super) fn tidy(&mut self, now: Timestamp, waits: bool, effects: &mut Effects) {
        let mut turns = TURN_MAX;
        while turns > 0
            && let Some((level, position, waiting)) = self.ready.pop_expired(now)
        {
            self.expire(level, position, waiting, effects);
            turns -= 1;
        }
        self.ready.load_expired(now, waits, &mut effects.loads);
        self.is_untidy = !self.trim(turns, effects);
    }

    /// Lets go of what has expired earlier than at `end`; false if that is more than one turn does.
    pub(super) fn expire_before(&mut self, end: Timestamp, effects: &mut Effects) -> bool {
        for _ in 0..TURN_MAX {
            let Some((level, position, waiting)) = self.ready.pop_expired_before(end) else {
                return true;
            };
            self.expire(level, position, waiting, effects);
        }
        !self.ready.has_expired_before(end)
    }

    pub(super) fn expire(
        &mut self,
        level: LevelId,
        position: Position,
        waiting: Waiting,
        effects: &mut Effects,
    ) {
        self.kill(level, position, waiting, DeathReason::Expired, effects);
    }
}
