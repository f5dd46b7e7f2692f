//! Which delayed messages are in memory: the earliest ones, up to a bound. The store holds all of them.
//!
//! Before the horizon the window is complete; what is due later is in the store only and comes by pages. It knows no
//! store, clock or exchange: each verb says what is to be done.

use std::collections::{BTreeMap, BTreeSet};

use crate::broker::queue::level::Window;
use crate::clock::Timestamp;
use crate::message::Message;
use crate::store::{DelayedEntry, DelayedId, DelayedWay, Position};

/// The delayed messages of one exchange.
#[derive(Debug)]
pub struct DelayedWindow {
    limits: Window,
    /// The earliest messages. While a page is on its way, also some from behind the horizon.
    near: BTreeMap<DelayedId, Kept>,
    /// Bytes that `near` stands for.
    near_bytes: usize,
    /// From here on the store has messages that `near` may lack; `None` when it lacks none.
    horizon: Option<DelayedId>,
    /// A page from the horizon on was asked for.
    loading: Option<Loading>,
    /// All messages, wherever they are.
    count: u64,
    next: Position,
}

#[derive(Debug)]
struct Kept {
    message: Message,
    way: DelayedWay,
}

/// What happened since a page was asked for, which it may not know.
#[derive(Debug, Default)]
struct Loading {
    /// From here on messages came that `near` had no room for.
    end: Option<DelayedId>,
    cancelled: BTreeSet<DelayedId>,
}

/// A page to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// First message to read.
    pub from: DelayedId,
    /// At most so many.
    pub messages_max: usize,
    /// Stop after so many bytes.
    pub bytes_max: usize,
}

/// What is known of a message that is to be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// It was there and is not any more.
    Done,
    /// It was not there.
    Missing,
    /// Only the store can tell; [`DelayedWindow::cancel_stored`] goes on if it has it.
    AskStore,
}

impl DelayedWindow {
    /// `count` messages that are all in the store only; the next one gets the number `next`.
    pub fn new(limits: Window, count: u64, next: Position) -> Self {
        Self {
            limits,
            near: BTreeMap::new(),
            near_bytes: 0,
            horizon: (count > 0).then_some(DelayedId::FIRST),
            loading: None,
            count,
            next,
        }
    }

    /// Adds a message, which the caller stores under the number that this returns.
    pub fn add(&mut self, due: Timestamp, message: Message, way: DelayedWay) -> DelayedId {
        let id = DelayedId {
            due,
            position: self.next,
        };
        self.next = Position(id.position.0 + 1);
        self.count += 1;
        if self.is_before_horizon(id) || self.loading.is_some() {
            self.insert(id, Kept { message, way });
            self.evict();
        }
        id
    }

    /// Takes the messages that are due, in their order, at most so many.
    pub fn take_due(&mut self, now: Timestamp, messages_max: usize) -> Vec<DelayedEntry> {
        let mut taken = Vec::new();
        while taken.len() < messages_max
            && let Some((id, _)) = self.near.first_key_value()
            && id.due <= now
            && self.is_before_horizon(*id)
        {
            let (id, Kept { message, way }) = self.near.pop_first().expect("it is there");
            self.near_bytes -= message.memory_bytes();
            self.count -= 1;
            taken.push(DelayedEntry { id, message, way });
        }
        taken
    }

    /// When the first message that is in memory is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        let (id, _) = self.near.first_key_value()?;
        self.is_before_horizon(*id).then_some(id.due)
    }

    /// The page to read now, if there is one; [`DelayedWindow::page_loaded`] takes it.
    pub fn load(&mut self) -> Option<Load> {
        let from = self.horizon?;
        let has_room =
            self.near.len() <= self.limits.messages / 2 && self.near_bytes <= self.limits.bytes / 2;
        if self.loading.is_some() || !has_room {
            return None;
        }
        self.loading = Some(Loading::default());
        Some(Load {
            from,
            messages_max: (self.limits.messages - self.near.len()).max(1),
            bytes_max: (self.limits.bytes - self.near_bytes).max(1),
        })
    }

    /// Takes a page that holds all stored messages from the horizon to `next`, as they were at some time since it was
    /// asked for.
    pub fn page_loaded(&mut self, entries: Vec<DelayedEntry>, next: Option<DelayedId>) {
        let Some(Loading { end, cancelled }) = self.loading.take() else {
            return;
        };
        let end = match (next, end) {
            (Some(next), Some(end)) => Some(next.min(end)),
            (next, end) => next.or(end),
        };
        for DelayedEntry { id, message, way } in entries {
            if end.is_none_or(|end| id < end) && !cancelled.contains(&id) {
                self.insert(id, Kept { message, way });
            }
        }
        self.horizon = end;
        if let Some(end) = end {
            let beyond = self.near.split_off(&end);
            self.near_bytes -= beyond
                .values()
                .map(|kept| kept.message.memory_bytes())
                .sum::<usize>();
        }
        self.evict();
    }

    /// Takes one message out, if that can be decided here.
    pub fn cancel(&mut self, id: DelayedId) -> Cancel {
        if self.remove(id) {
            Cancel::Done
        } else if self.is_before_horizon(id) || id.position >= self.next {
            Cancel::Missing
        } else {
            Cancel::AskStore
        }
    }

    /// Takes out a message that the store had when it was asked; false when it was released meanwhile.
    pub fn cancel_stored(&mut self, id: DelayedId) -> bool {
        if self.remove(id) {
            return true;
        }
        if self.is_before_horizon(id) {
            return false;
        }
        if let Some(loading) = &mut self.loading {
            loading.cancelled.insert(id);
        }
        self.count -= 1;
        true
    }

    /// How many messages there are, in memory or not.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many of them are in memory.
    pub fn count_in_memory(&self) -> usize {
        self.near.len()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::new(self.limits, 0, self.next);
    }

    fn is_before_horizon(&self, id: DelayedId) -> bool {
        self.horizon.is_none_or(|horizon| id < horizon)
    }

    fn insert(&mut self, id: DelayedId, kept: Kept) {
        self.near_bytes += kept.message.memory_bytes();
        if let Some(old) = self.near.insert(id, kept) {
            self.near_bytes -= old.message.memory_bytes();
        }
    }

    fn remove(&mut self, id: DelayedId) -> bool {
        let Some(kept) = self.near.remove(&id) else {
            return false;
        };
        self.near_bytes -= kept.message.memory_bytes();
        self.count -= 1;
        if let Some(loading) = &mut self.loading {
            loading.cancelled.insert(id);
        }
        true
    }

    /// Lets go of the latest messages beyond the limits.
    fn evict(&mut self) {
        while self.near.len() > 1
            && (self.near.len() > self.limits.messages || self.near_bytes > self.limits.bytes)
        {
            let (id, kept) = self.near.pop_last().expect("there are two");
            self.near_bytes -= kept.message.memory_bytes();
            if let Some(loading) = &mut self.loading {
                loading.end = Some(loading.end.map_or(id, |end| end.min(id)));
            }
            if self.is_before_horizon(id) {
                self.horizon = Some(id);
            }
        }
    }
}

#[cfg(test)]
mod tests;
