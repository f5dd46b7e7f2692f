//! The store of the queue's test: operations are written late and one by one, pages are read later still, and
//! everything that the queue asks for is checked against what it asked for before.

use std::collections::{BTreeMap, VecDeque};

use crate::broker::queue::effects::{Effects, Load, Unread};
use crate::message::Message;
use crate::store::{PageEntry, Position};

/// One wish of the queue, in the order in which it was made.
#[derive(Debug)]
enum Wish {
    Publish(Position, Message),
    Settle(Position),
    SettleRange(Unread),
    Return(Position, u32),
    MarkDelivered(Position),
    Load(Load),
}

/// A stored message.
#[derive(Clone, Debug)]
pub struct Stored {
    pub message: Message,
    delivery_count: u32,
}

/// What the queue asked for: as it will be when all is written, and as it is.
#[derive(Debug, Default)]
pub struct Disk {
    asked: BTreeMap<Position, Stored>,
    written: BTreeMap<Position, Stored>,
    next: Position,
    /// Messages below this are redelivered after a crash.
    mark: Position,
    /// Messages below this were marked before the last crash.
    mark_before: Position,
    pending: VecDeque<Wish>,
    loads: VecDeque<Load>,
}

impl Disk {
    /// Takes all wishes out of `effects` in the order in which the broker carries them out.
    pub fn take(&mut self, effects: &mut Effects) {
        let published = effects.published.drain(..);
        let mut wishes: Vec<_> = published
            .map(|(at, message)| Wish::Publish(at, message))
            .collect();
        wishes.extend(
            effects
                .returned
                .drain(..)
                .map(|(at, count)| Wish::Return(at, count)),
        );
        wishes.extend(effects.settled.drain(..).map(Wish::Settle));
        wishes.extend(effects.purged.take().map(Wish::SettleRange));
        wishes.extend(effects.mark_delivered.take().map(Wish::MarkDelivered));
        wishes.extend(effects.load.take().map(Wish::Load));
        for wish in wishes {
            self.check(&wish);
            self.pending.push_back(wish);
        }
    }

    /// Every stored message is settled once, and nothing else is.
    fn check(&mut self, wish: &Wish) {
        match wish {
            Wish::Publish(at, message) => {
                let last = self.asked.keys().next_back();
                assert!(last.is_none_or(|last| last < at), "{at:?} is not the next place");
                let stored = Stored {
                    message: message.clone(),
                    delivery_count: 0,
                };
                self.asked.insert(*at, stored);
            }
            Wish::Settle(at) => assert!(self.asked.remove(at).is_some(), "{at:?} is not stored"),
            Wish::SettleRange(unread) => self.check_purge(unread),
            Wish::Return(at, _) => assert!(self.asked.contains_key(at), "{at:?} is not stored"),
            Wish::MarkDelivered(_) | Wish::Load(_) => {}
        }
    }

    /// The store believes the counts: a wrong one would spoil its summary.
    fn check_purge(&mut self, unread: &Unread) {
        let purged: Vec<Stored> = self
            .asked
            .extract_if(unread.from..unread.to, |_, _| true)
            .map(|(_, stored)| stored)
            .collect();
        let persistent = || purged.iter().filter(|stored| stored.message.is_persistent());
        let bytes: usize = persistent().map(|stored| stored.message.body().len()).sum();
        assert_eq!(purged.len() as u64, unread.messages, "messages purged");
        assert_eq!(
            persistent().count() as u64,
            unread.persistent,
            "persistent ones purged"
        );
        assert_eq!(bytes as u64, unread.persistent_bytes, "their body bytes");
    }

    /// Writes the oldest wishes.
    pub fn write(&mut self, count: usize) {
        for _ in 0..count.min(self.pending.len()) {
            match self.pending.pop_front().expect("they were counted") {
                Wish::Publish(at, message) => {
                    self.next = Position(at.0 + 1);
                    let stored = Stored {
                        message,
                        delivery_count: 0,
                    };
                    self.written.insert(at, stored);
                }
                Wish::Settle(at) => drop(self.written.remove(&at)),
                Wish::SettleRange(unread) => {
                    self.written
                        .retain(|at, _| !(unread.from..unread.to).contains(at));
                }
                Wish::Return(at, count) => {
                    let stored = self.written.get_mut(&at).expect("checked when it was asked for");
                    stored.delivery_count = count;
                }
                Wish::MarkDelivered(before) => self.mark = before,
                Wish::Load(load) => self.loads.push_back(load),
            }
        }
    }

    /// Reads the oldest page that was asked for, at most `messages_max` messages of it.
    pub fn read(&mut self, messages_max: usize) -> Option<(Vec<PageEntry>, Position)> {
        let load = self.loads.pop_front()?;
        if load.from >= load.to {
            return Some((Vec::new(), load.to));
        }
        let messages_max = load.messages_max.min(messages_max).max(1);
        let mut entries: Vec<PageEntry> = Vec::new();
        let mut bytes = 0;
        for (at, stored) in self.written.range(load.from..load.to) {
            if entries.len() == messages_max || (bytes >= load.bytes_max && bytes > 0) {
                return Some((entries, *at));
            }
            bytes += stored.message.memory_bytes();
            entries.push(PageEntry {
                position: *at,
                message: stored.message.clone(),
                delivery_count: stored.delivery_count,
                redelivered: stored.delivery_count > 0 || *at < self.mark_before,
            });
        }
        Some((entries, load.to))
    }

    /// Whether nothing is on its way to the disk or back.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.loads.is_empty()
    }

    /// Whether a message that is handed out now is flagged as redelivered, whenever a crash comes.
    pub fn is_marked_from_now_on(&self) -> bool {
        let later = self.pending.iter().filter_map(|wish| match wish {
            Wish::MarkDelivered(before) => Some(*before),
            _ => None,
        });
        std::iter::once(self.mark)
            .chain(later)
            .all(|mark| mark == Position(u64::MAX))
    }

    /// Whether the publish of this place was asked for and is not written.
    pub fn is_publish_pending(&self, position: Position) -> bool {
        self.pending
            .iter()
            .any(|wish| matches!(wish, Wish::Publish(at, _) if *at == position))
    }

    /// What is stored, as the queue asked for it.
    pub fn asked(&self) -> &BTreeMap<Position, Stored> {
        &self.asked
    }

    /// The broker is gone: leaves what was written and survives. Returns what a queue starts from: unread messages,
    /// next place, and the place below which messages may have been seen.
    pub fn crash(&mut self) -> (Unread, Position, Position) {
        self.pending.clear();
        self.loads.clear();
        self.written.retain(|_, stored| stored.message.is_persistent());
        self.asked = self.written.clone();
        self.mark_before = self.mark_before.max(self.mark.min(self.next));
        self.mark = Position(0);
        let unread = Unread {
            from: self.written.keys().next().copied().unwrap_or(self.next),
            to: self.next,
            messages: self.written.len() as u64,
            persistent: self.written.len() as u64,
            persistent_bytes: self
                .written
                .values()
                .map(|stored| stored.message.body().len() as u64)
                .sum(),
        };
        (unread, self.next, self.mark_before)
    }
}
