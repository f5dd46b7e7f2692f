//! Messages that came back and rest before they are delivered again (`x-delayed-retry-type`).

use crate::clock::Timestamp;
use crate::store::{PageEntry, Position};

use super::Queue;
use super::effects::Effects;
use super::expiry::TURN_MAX;
use super::level::{LevelId, Waiting};
use super::settings::RetryKind;

impl Queue {
    /// Until when a message rests that has just come back.
    pub(super) fn rests_until(
        &self,
        waiting: &Waiting,
        kind: RetryKind,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let retry = self.settings.delayed_retry?;
        let rest = retry.rest(waiting.delivery_count);
        let rests = rest > 0 && (retry.kind == RetryKind::All || retry.kind == kind);
        rests.then(|| now.plus(rest))
    }

    /// Lets a message rest; it is looked at earlier if it expires earlier.
    pub(super) fn rest(
        &mut self,
        level: LevelId,
        position: Position,
        mut waiting: Waiting,
        until: Timestamp,
    ) {
        let at = waiting
            .expires_at
            .map_or(until, |expires_at| expires_at.min(until));
        self.held_bytes += waiting.message.memory_bytes();
        waiting.message = waiting.message.detached();
        self.resting.insert((at, position), (level, waiting));
    }

    /// Nobody rests for longer than the queue lets it, counted from its start: the wall clock may have been set back
    /// while the broker did not run.
    pub(super) fn limit_rests(&self, entries: &mut [PageEntry]) {
        let longest = self.settings.delayed_retry.map_or(0, |retry| retry.max);
        let end = self.started.plus(longest);
        for entry in entries {
            entry.rests_until = entry.rests_until.map(|until| until.min(end));
        }
    }

    /// Lets a message rest on that was resting when the broker stopped.
    pub(super) fn rest_on(&mut self, level: LevelId, entry: PageEntry) {
        let until = entry.rests_until;
        let (position, waiting) = Waiting::read(entry);
        match until {
            Some(until) => self.rest(level, position, waiting, until),
            None => self.ready.insert(level, position, waiting),
        }
    }

    /// Makes ready what has rested enough, a turn's worth. What expires before that, or just then, never is ready
    /// again.
    pub(super) fn wake(&mut self, now: Timestamp, effects: &mut Effects) {
        for _ in 0..TURN_MAX {
            let Some(entry) = self.resting.first_entry().filter(|entry| entry.key().0 <= now) else {
                return;
            };
            let ((at, position), (level, waiting)) = entry.remove_entry();
            self.held_bytes -= waiting.message.memory_bytes();
            if waiting.expires_at == Some(at) {
                self.expire(level, position, waiting, effects);
            } else {
                self.ready.insert(level, position, waiting);
            }
        }
    }
}
