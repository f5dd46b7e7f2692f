//! `x-max-length`, `x-max-length-bytes` and `x-overflow`: what does not enter, and what has to leave. They count
//! ready messages.

use crate::message::Message;
use crate::store::Position;

use super::Queue;
use super::effects::{DeadLetter, DeathReason, Effects};
use super::level::{LevelId, Waiting};
use super::settings::Overflow;

impl Queue {
    /// Whether the queue is full and takes no more. RabbitMQ asks this before it looks for a consumer.
    #[inline]
    pub(super) fn refuses(&self, message: &Message) -> bool {
        if self.settings.overflow == Overflow::DropHead {
            return false;
        }
        let bytes = message.body_len() as u64;
        let is_over = |max: Option<u64>, with_it: u64| max.is_some_and(|max| with_it > max);
        let count = self.ready.count() + self.dying.count();
        is_over(self.settings.max_length, count + 1)
            || self
                .settings
                .max_length_bytes
                .is_some_and(|max| self.ready.body_bytes() + self.dying.body_bytes() + bytes > max)
    }

    /// The message, which waits for a consumer. Where the queue may refuse most of those that came with it (when it is full
    /// it takes one for each that leaves), it shares no memory with them.
    #[inline]
    pub(super) fn as_one_that_stays(&self, message: Message) -> Message {
        match self.settings.overflow {
            Overflow::DropHead => message,
            Overflow::RejectPublish | Overflow::RejectPublishDlx => message.detached(),
        }
    }

    /// What becomes of a message that was refused.
    pub(super) fn refuse(&self, message: Message, effects: &mut Effects) {
        if self.settings.overflow == Overflow::RejectPublishDlx && self.settings.dead_letter.is_some() {
            effects.dead.push(DeadLetter {
                message,
                reason: DeathReason::MaxLength,
                kept: None,
            });
        }
    }

    /// Whether more is ready than may be. A queue that refuses what is too much keeps what it took: with messages that
    /// came back it may exceed its limits.
    pub(super) fn is_over_limit(&self) -> bool {
        let is_over = |max: Option<u64>, count: u64| max.is_some_and(|max| count > max);
        self.settings.overflow == Overflow::DropHead
            && (is_over(self.settings.max_length, self.ready.count())
                || is_over(self.settings.max_length_bytes, self.ready.body_bytes()))
    }

    /// Drops the first messages of the lowest priority until the rest fits, at most `turns` of them. Returns false if
    /// there is more to drop in memory.
    pub(super) fn trim(&mut self, turns: usize, effects: &mut Effects) -> bool {
        for _ in 0..turns {
            if !self.is_over_limit() {
                return true;
            }
            // Otherwise its page comes: dispatch asks for it.
            let Some((level, position, waiting)) = self.ready.pop_lowest() else {
                return true;
            };
            self.kill(level, position, waiting, DeathReason::MaxLength, effects);
        }
        !self.is_over_limit()
    }

    /// Whether dead letters stay until somebody takes them.
    pub(super) fn keeps_letters(&self) -> bool {
        let target = self.settings.dead_letter.as_ref();
        target.is_some_and(|target| target.at_least_once)
    }

    /// A message has failed and leaves the queue.
    pub(super) fn kill(
        &mut self,
        level: LevelId,
        position: Position,
        waiting: Waiting,
        reason: DeathReason,
        effects: &mut Effects,
    ) {
        if self.keeps_letters() {
            return self.offer(level, position, waiting, reason, effects);
        }
        if waiting.stored {
            effects.of(level).settled.push(position);
        }
        if self.settings.dead_letter.is_some() {
            effects.dead.push(DeadLetter {
                message: waiting.message,
                reason,
                kept: None,
            });
        }
    }
}
