//! Dead letters of `x-dead-letter-strategy: at-least-once`: they are in the queue until others have taken them, and are
//! offered again and again.
//!
//! The store knows nothing of that: after a restart they are ready messages, as they were before they failed.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;
use crate::store::{PageEntry, Position};

use super::Queue;
use super::effects::{DeadLetter, DeathReason, Effects};
use super::level::{LevelId, Waiting};

/// How long until a letter that nobody took is offered again, milliseconds.
const OFFER_INTERVAL: u64 = 10_000;

/// Letters offered in one turn.
const OFFERS_MAX: usize = 4096;

/// Letters that are not taken yet.
#[derive(Debug, Default)]
pub(super) struct Dying {
    letters: BTreeMap<Position, (LevelId, Waiting, DeathReason)>,
    body_bytes: u64,
    /// When to offer which.
    offers: BTreeSet<(Timestamp, Position)>,
    /// Letters that have left since a page of their level was asked for, which may still show them.
    left: BTreeSet<(LevelId, Position)>,
}

impl Dying {
    pub(super) fn count(&self) -> u64 {
        self.letters.len() as u64
    }

    pub(super) fn contains(&self, position: Position) -> bool {
        self.letters.contains_key(&position)
    }

    pub(super) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Drops from a page what the queue has taken out of the level already, and the store had not heard of yet.
    pub(super) fn take_out_of(&mut self, level: u8, entries: &mut Vec<PageEntry>) {
        if self.letters.is_empty() && self.left.is_empty() {
            return;
        }
        let left: BTreeSet<Position> = self
            .left
            .extract_if(.., |(of, _)| of.index == level)
            .map(|(_, position)| position)
            .collect();
        entries
            .retain(|entry| !self.letters.contains_key(&entry.position) && !left.contains(&entry.position));
    }

    fn insert(&mut self, position: Position, (level, mut waiting, reason): (LevelId, Waiting, DeathReason)) {
        self.body_bytes += waiting.message.body_len() as u64;
        waiting.message = waiting.message.detached();
        self.letters.insert(position, (level, waiting, reason));
    }

    fn remove(&mut self, position: Position) -> Option<(LevelId, Waiting, DeathReason)> {
        let letter = self.letters.remove(&position)?;
        self.body_bytes -= letter.1.message.body_len() as u64;
        Some(letter)
    }

    pub(super) fn next_offer(&self) -> Option<Timestamp> {
        self.offers.first().map(|(at, _)| *at)
    }
}

impl Queue {
    /// Keeps a message that failed until [`Queue::buried`] says that it has been taken.
    pub(super) fn offer(
        &mut self,
        level: LevelId,
        position: Position,
        waiting: Waiting,
        reason: DeathReason,
        effects: &mut Effects,
    ) {
        effects.dead.push(DeadLetter {
            message: waiting.message.clone(),
            reason,
            kept: Some(position),
        });
        self.dying.insert(position, (level, waiting, reason));
    }

    /// What has become of a letter that the queue keeps.
    pub fn buried(&mut self, position: Position, is_taken: bool, now: Timestamp, effects: &mut Effects) {
        if !is_taken {
            self.dying.offers.insert((now.plus(OFFER_INTERVAL), position));
        } else if let Some((level, waiting, _)) = self.take_dying(position)
            && waiting.stored
        {
            effects.of(level).settled.push(position);
        }
    }

    /// Offers again what is due. A change of settings may mean that it goes without being taken.
    pub(super) fn offer_again(&mut self, now: Timestamp, effects: &mut Effects) {
        for _ in 0..OFFERS_MAX {
            let Some((at, position)) = self.dying.offers.pop_first() else {
                return;
            };
            if at > now {
                self.dying.offers.insert((at, position));
                return;
            }
            if let Some((level, waiting, reason)) = self.take_dying(position) {
                self.kill(level, position, waiting, reason, effects);
            }
        }
    }

    fn take_dying(&mut self, position: Position) -> Option<(LevelId, Waiting, DeathReason)> {
        let letter = self.dying.remove(position)?;
        if self.ready.is_loading(letter.0) {
            self.dying.left.insert((letter.0, position));
        }
        Some(letter)
    }

    pub(super) fn purge_dying(&mut self, effects: &mut Effects) {
        let dying = std::mem::take(&mut self.dying);
        for (position, (level, waiting, _)) in dying.letters {
            if waiting.stored {
                effects.of(level).settled.push(position);
            }
        }
    }
}
