//! When messages expire that only the store has: by stretches of a few thousand, so that the index of a long queue
//! takes little memory. A time is never later than the truth, and may be earlier: looking corrects it.

use std::collections::VecDeque;

use crate::clock::Timestamp;
use crate::store::{ExpiringStretch, Position};

/// Places that one stretch covers.
const STRETCH_PLACES: u64 = 4096;

/// The stretches of one level, in ascending order. Where there is none, nothing expires.
#[derive(Debug, Default)]
pub struct Stretches {
    list: VecDeque<ExpiringStretch>,
    /// The earliest of all.
    next: Option<Timestamp>,
}

impl Stretches {
    /// What a start found in the store.
    pub fn new(list: Vec<ExpiringStretch>) -> Self {
        let mut stretches = Self {
            list: list.into(),
            next: None,
        };
        stretches.find_next();
        stretches
    }

    /// Notes a message behind all others.
    pub fn note(&mut self, position: Position, expires_at: Option<Timestamp>) {
        let Some(at) = expires_at else {
            return;
        };
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
        let to = Position(position.0 + 1);
        match self.list.back_mut() {
            Some(last) if position.0 < last.from.0 + STRETCH_PLACES => {
                last.to = to;
                last.expires_next = last.expires_next.min(at);
            }
            _ => self.list.push_back(ExpiringStretch {
                from: position,
                to,
                expires_next: at,
            }),
        }
    }

    /// The earliest time at which a message may expire.
    pub fn expires_next(&self) -> Option<Timestamp> {
        self.next
    }

    /// The first stretch in which something may have expired.
    pub fn first_due(&self, now: Timestamp) -> Option<(Position, Position)> {
        if self.next? > now {
            return None;
        }
        let due = self.list.iter().find(|stretch| stretch.expires_next <= now)?;
        Some((due.from, due.to))
    }

    /// The messages before `position` are in memory now.
    pub fn forget_before(&mut self, position: Position) {
        if self.list.front().is_none_or(|first| first.from >= position) {
            return;
        }
        while self.list.pop_front_if(|first| first.to <= position).is_some() {}
        if let Some(first) = self.list.front_mut() {
            first.from = first.from.max(position);
        }
        self.find_next();
    }

    /// All expired messages of `from..looked_to` were taken out; the first of the others there expires at
    /// `expires_next`. The rest of the stretch, to `to`, was not looked at.
    pub fn looked_through(
        &mut self,
        from: Position,
        looked_to: Position,
        to: Position,
        expires_next: Option<Timestamp>,
    ) {
        let index = self.list.partition_point(|stretch| stretch.from < from);
        let Some(old) = self
            .list
            .get(index)
            .copied()
            .filter(|stretch| stretch.from == from)
        else {
            return;
        };
        self.list.remove(index);
        // New messages may have joined it meanwhile.
        let end = old.to.max(to);
        if looked_to < end {
            let rest = ExpiringStretch {
                from: looked_to,
                to: end,
                expires_next: old.expires_next,
            };
            self.list.insert(index, rest);
        }
        if let Some(expires_next) = expires_next {
            let looked = ExpiringStretch {
                from,
                to: looked_to,
                expires_next,
            };
            self.list.insert(index, looked);
        }
        self.find_next();
    }

    fn find_next(&mut self) {
        self.next = self.list.iter().map(|stretch| stretch.expires_next).min();
    }
}

#[cfg(test)]
mod tests;
