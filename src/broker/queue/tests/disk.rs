//! The store of the queue's test: operations are written late and one by one, pages are read later still, and
//! everything that the queue asks for is checked against what it asked for before.

use std::collections::{BTreeMap, VecDeque};

use crate::broker::queue::Origin;
use crate::broker::queue::effects::{Effects, Load, Returned, Unread};
use crate::broker::queue::stretches::Stretches;
use crate::clock::Timestamp;
use crate::store::{ExpiringStretch, PageEntry, Position, PublishEntry};

/// One wish of the queue, in the order in which it was made.
#[derive(Debug)]
enum Wish {
    Publish { level: u8, entry: PublishEntry },
    Return(Returned),
    Settle(Position),
    SettleRange { level: u8, unread: Unread },
    MarkDelivered(Position),
    Read(Read),
}

/// What the disk answers.
#[derive(Clone, Copy, Debug)]
enum Read {
    Page(Load),
    Open,
}

/// A stored message.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The number of its level in this run.
    level: u8,
    pub entry: PublishEntry,
    pub delivery_count: u32,
    pub rests_until: Option<Timestamp>,
}

/// An answer of the disk.
#[derive(Debug)]
pub enum Answer {
    Page {
        level: u8,
        found: (Vec<PageEntry>, Position),
        /// It was asked for expired messages.
        is_expired: bool,
        expires_next: Option<Timestamp>,
    },
    Opened,
}

/// How much the disk reads at once.
#[derive(Clone, Copy, Debug)]
pub struct ReadMax {
    /// Messages that it gives.
    pub messages: usize,
    /// Messages that it looks at.
    pub looks: usize,
}

/// What the queue asked for: as it will be when all is written, and as it is.
#[derive(Debug, Default)]
pub struct Disk {
    asked: BTreeMap<Position, Stored>,
    written: BTreeMap<Position, Stored>,
    /// Priorities of the levels that were asked for, by their number.
    levels: BTreeMap<u8, u8>,
    /// Levels that are written, in the order in which they were.
    written_levels: Vec<u8>,
    next: Position,
    /// Messages below this are redelivered after a crash.
    mark: Position,
    /// Messages below this were marked before the last crash.
    mark_before: Position,
    pending: VecDeque<Wish>,
    reads: VecDeque<Read>,
}

impl Disk {
    /// Takes all wishes out of `effects` in the order in which the broker carries them out.
    pub fn take(&mut self, effects: &mut Effects) {
        let mut wishes = Vec::new();
        for (level, effects) in (0..).zip(std::mem::take(&mut effects.levels)) {
            if !effects.published.is_empty() {
                let priority = *self.levels.entry(level).or_insert(effects.priority);
                assert_eq!(priority, effects.priority, "level {level} has one priority");
                assert_eq!(level == 0, priority == 0, "the level of priority 0 is the first");
            }
            let published = effects.published.into_iter();
            wishes.extend(published.map(|entry| Wish::Publish { level, entry }));
            wishes.extend(effects.returned.into_iter().map(Wish::Return));
            wishes.extend(effects.settled.into_iter().map(Wish::Settle));
            wishes.extend(effects.purged.map(|unread| Wish::SettleRange { level, unread }));
        }
        wishes.extend(effects.mark_delivered.take().map(Wish::MarkDelivered));
        wishes.extend(effects.loads.drain(..).map(|load| Wish::Read(Read::Page(load))));
        if std::mem::take(&mut effects.open) {
            wishes.push(Wish::Read(Read::Open));
        }
        for wish in wishes {
            self.check(&wish);
            self.pending.push_back(wish);
        }
    }

    /// Every stored message is settled once, and nothing else is.
    fn check(&mut self, wish: &Wish) {
        match wish {
            Wish::Publish { level, entry } => {
                let at = entry.position;
                let mut of_level = self.asked.iter().filter(|(_, stored)| stored.level == *level);
                let last = of_level.next_back().map(|(at, _)| *at);
                assert!(last.is_none_or(|last| last < at), "{at:?} is not the next place");
                let stored = Stored::new(*level, entry.clone());
                assert!(self.asked.insert(at, stored).is_none(), "{at:?} is taken");
            }
            Wish::Settle(at) => assert!(self.asked.remove(at).is_some(), "{at:?} is not stored"),
            Wish::SettleRange { level, unread } => self.check_purge(*level, unread),
            Wish::Return(returned) => {
                let at = returned.position;
                let stored = self.asked.get_mut(&at);
                let stored = stored.unwrap_or_else(|| panic!("{at:?} is not stored"));
                assert_eq!(returned.delivery_count, stored.delivery_count + 1);
                stored.came_back(*returned);
            }
            Wish::Read(Read::Page(load)) => {
                assert!(
                    self.levels.contains_key(&load.level.index),
                    "{load:?} of no level"
                );
                let of_level =
                    |read: &Read| matches!(read, Read::Page(other) if other.level.index == load.level.index);
                assert!(!self.is_reading(of_level), "{load:?} while another is on its way");
            }
            Wish::MarkDelivered(_) | Wish::Read(Read::Open) => {}
        }
    }

    /// The store believes the counts: a wrong one would spoil its summary.
    fn check_purge(&mut self, level: u8, unread: &Unread) {
        let purged: Vec<Stored> = self
            .asked
            .extract_if(unread.from..unread.to, |_, stored| stored.level == level)
            .map(|(_, stored)| stored)
            .collect();
        let bytes = |stored: &Stored| stored.entry.message.body_len() as u64;
        let persistent = || purged.iter().filter(|stored| stored.entry.is_persistent);
        let expected = Unread {
            from: unread.from,
            to: unread.to,
            messages: purged.len() as u64,
            body_bytes: purged.iter().map(bytes).sum(),
            persistent: persistent().count() as u64,
            persistent_bytes: persistent().map(bytes).sum(),
        };
        assert_eq!(*unread, expected, "what was purged unread");
    }

    /// Writes the oldest wishes.
    pub fn write(&mut self, count: usize) {
        for _ in 0..count.min(self.pending.len()) {
            match self.pending.pop_front().expect("they were counted") {
                Wish::Publish { level, entry } => {
                    if !self.written_levels.contains(&level) {
                        self.written_levels.push(level);
                    }
                    let at = entry.position;
                    self.next = self.next.max(Position(at.0 + 1));
                    self.written.insert(at, Stored::new(level, entry));
                }
                Wish::Settle(at) => drop(self.written.remove(&at)),
                Wish::SettleRange { level, unread } => {
                    let range = unread.from..unread.to;
                    self.written
                        .retain(|at, stored| stored.level != level || !range.contains(at));
                }
                Wish::Return(returned) => {
                    let stored = self.written.get_mut(&returned.position);
                    stored.expect("checked when it was asked for").came_back(returned);
                }
                Wish::MarkDelivered(before) => self.mark = before,
                Wish::Read(read) => self.reads.push_back(read),
            }
        }
    }

    /// Answers the oldest read that was asked for.
    pub fn answer(&mut self, max: ReadMax) -> Option<Answer> {
        match self.reads.pop_front()? {
            Read::Open => Some(Answer::Opened),
            Read::Page(load) => Some(self.read(load, max)),
        }
    }

    fn read(&self, load: Load, max: ReadMax) -> Answer {
        let messages_max = load.messages_max.min(max.messages).max(1);
        let mut entries: Vec<PageEntry> = Vec::new();
        let (mut bytes, mut next, mut expires_next) = (0, load.to, None::<Timestamp>);
        let of_level = |(_, stored): &(&Position, &Stored)| stored.level == load.level.index;
        let in_range = self.written.range(load.from..load.to).filter(of_level);
        for (looks, (at, stored)) in in_range.enumerate() {
            let expires_at = stored.entry.expires_at;
            let is_full = entries.len() == messages_max || (bytes >= load.bytes_max && bytes > 0);
            if is_full || looks == max.looks.max(1) {
                next = *at;
                break;
            }
            if load
                .expired_at
                .is_some_and(|end| expires_at.is_none_or(|at| at > end))
            {
                expires_next = expires_next.into_iter().chain(expires_at).min();
                continue;
            }
            bytes += stored.entry.message.memory_bytes();
            entries.push(PageEntry {
                position: *at,
                message: stored.entry.message.clone(),
                delivery_count: stored.delivery_count,
                redelivered: stored.delivery_count > 0 || *at < self.mark_before,
                expires_at,
                rests_until: stored.rests_until,
                is_persistent: stored.entry.is_persistent,
            });
        }
        Answer::Page {
            level: load.level.index,
            found: (entries, next),
            is_expired: load.expired_at.is_some(),
            expires_next,
        }
    }

    fn is_reading(&self, is_it: impl Fn(&Read) -> bool) -> bool {
        let pending = self.pending.iter().filter_map(|wish| match wish {
            Wish::Read(read) => Some(read),
            _ => None,
        });
        pending.chain(&self.reads).any(is_it)
    }

    /// Whether a page is on its way.
    pub fn is_paging(&self) -> bool {
        self.is_reading(|read| matches!(read, Read::Page(_)))
    }

    /// Whether nothing is on its way to the disk or back.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.reads.is_empty()
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
            .any(|wish| matches!(wish, Wish::Publish { entry, .. } if entry.position == position))
    }

    /// What is stored, as the queue asked for it.
    pub fn asked(&self) -> &BTreeMap<Position, Stored> {
        &self.asked
    }

    /// The priority of the level that holds a message.
    pub fn priority(&self, stored: &Stored) -> u8 {
        self.levels[&stored.level]
    }

    /// The broker is gone: leaves what was written and survives, and tells what a queue starts from. Stretches of
    /// expiring messages hold so many of them.
    pub fn crash(&mut self, in_stretch: usize) -> Origin {
        self.pending.clear();
        self.reads.clear();
        self.written.retain(|_, stored| stored.entry.is_persistent);
        self.mark_before = self.mark_before.max(self.mark.min(self.next));
        self.mark = Position(0);
        let mut kept = vec![0];
        kept.extend(self.written_levels.drain(..).filter(|level| *level != 0));
        let numbers: BTreeMap<u8, u8> = kept.iter().copied().zip(0..).collect();
        let priority = |level: &u8| self.levels.get(level).copied().unwrap_or_default();
        self.levels = kept
            .iter()
            .map(|level| (numbers[level], priority(level)))
            .collect();
        for stored in self.written.values_mut() {
            stored.level = numbers[&stored.level];
        }
        self.written_levels = self.levels.keys().copied().collect();
        self.asked = self.written.clone();
        let levels = self.levels.iter();
        Origin {
            levels: levels
                .map(|(level, priority)| self.recover(*level, *priority, in_stretch))
                .collect(),
            next: self.next,
            seen_before: self.mark_before,
        }
    }

    fn recover(&self, level: u8, priority: u8, in_stretch: usize) -> (u8, Unread, Stretches) {
        let mine: Vec<&Stored> = self
            .written
            .values()
            .filter(|stored| stored.level == level)
            .collect();
        let bytes = mine
            .iter()
            .map(|stored| stored.entry.message.body_len() as u64)
            .sum();
        let messages = mine.len() as u64;
        let unread = Unread {
            from: mine.first().map_or(self.next, |stored| stored.entry.position),
            to: self.next,
            messages,
            body_bytes: bytes,
            persistent: messages,
            persistent_bytes: bytes,
        };
        let expiring: Vec<_> = mine
            .iter()
            .filter(|stored| stored.entry.expires_at.is_some())
            .collect();
        let stretches = expiring.chunks(in_stretch.max(1)).map(|stretch| ExpiringStretch {
            from: stretch[0].entry.position,
            to: Position(stretch[stretch.len() - 1].entry.position.0 + 1),
            expires_next: stretch
                .iter()
                .filter_map(|stored| stored.entry.expires_at)
                .min()
                .expect("all of them expire"),
        });
        (priority, unread, Stretches::new(stretches.collect()))
    }
}

impl Stored {
    fn new(level: u8, entry: PublishEntry) -> Self {
        Self {
            level,
            entry,
            delivery_count: 0,
            rests_until: None,
        }
    }

    fn came_back(&mut self, returned: Returned) {
        self.delivery_count = returned.delivery_count;
        self.rests_until = returned.rests_until;
    }
}
