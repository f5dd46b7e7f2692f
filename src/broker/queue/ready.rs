//! Messages that wait for a consumer: one [`Level`] per priority, the highest first, and the index of when those in
//! memory expire.

use std::collections::BTreeSet;

use crate::clock::Timestamp;
use crate::store::{PageEntry, Position, PublishEntry};

use super::effects::{DeliveryHandle, Load, Unread};
use super::level::{Level, LevelId, Loaded, Waiting, Window};
use super::stretches::Stretches;

/// The ready messages of one queue.
#[derive(Debug)]
pub struct Ready {
    /// By [`LevelId::index`].
    levels: Vec<Level>,
    /// Indices into `levels`, the highest priority first.
    order: Vec<u8>,
    /// Messages with a higher priority count as having this one.
    max_priority: u8,
    /// What the queue may keep in memory, if there is room enough.
    widest: Window,
    /// What one level may keep at the moment.
    window: Window,
    /// When messages in memory expire.
    expiring: BTreeSet<(Timestamp, Position, LevelId)>,
    count: u64,
    body_bytes: u64,
}

/// What is to be removed after a page was loaded, or was found in it.
#[derive(Debug)]
pub enum PageLoaded {
    /// The window has more messages. These rest, and are ready no longer.
    Window(Vec<PageEntry>),
    /// These are expired, and are ready no longer.
    Expired(Vec<PageEntry>),
}

impl Ready {
    /// Messages that are all in the store: the level of priority 0 first, then others.
    pub fn new(window: Window, max_priority: u8, levels: Vec<(u8, Unread, Stretches)>) -> Self {
        let mut ready = Self {
            levels: Vec::new(),
            order: Vec::new(),
            max_priority,
            widest: window,
            window: window.narrowed(usize::MAX, max_priority),
            expiring: BTreeSet::new(),
            count: 0,
            body_bytes: 0,
        };
        for (priority, unread, stretches) in levels {
            ready.count += unread.messages;
            ready.body_bytes += unread.body_bytes;
            ready.add_level(priority, unread, stretches);
        }
        if ready.levels.is_empty() {
            ready.add_level(0, Unread::default(), Stretches::default());
        }
        ready
    }

    /// The window is no wider than this from now on.
    pub fn narrow(&mut self, bytes: usize) {
        self.window = self.widest.narrowed(bytes, self.max_priority);
        for level in &mut self.levels {
            level.set_window(self.window);
        }
    }

    /// Keeps no room for messages to come, where there are none.
    pub fn slim(&mut self) {
        self.levels.iter_mut().for_each(Level::slim);
    }

    /// The level for messages of this priority.
    #[inline]
    pub fn level(&mut self, priority: u8) -> LevelId {
        if self.max_priority == 0 {
            return LevelId::BASE;
        }
        let priority = priority.min(self.max_priority);
        match self.find(priority) {
            Some(level) => level.id(),
            None => self.add_level(priority, Unread::default(), Stretches::default()),
        }
    }

    fn find(&self, priority: u8) -> Option<&Level> {
        let level = |index: &u8| &self.levels[usize::from(*index)];
        let found = self
            .order
            .binary_search_by(|index| priority.cmp(&level(index).id().priority));
        found.ok().map(|at| level(&self.order[at]))
    }

    /// Whether a message that entered with this priority is ready; see [`Level::holds`].
    pub fn holds(&self, priority: u8, position: Position) -> bool {
        let level = self.find(priority.min(self.max_priority));
        level.is_some_and(|level| level.holds(position))
    }

    fn add_level(&mut self, priority: u8, unread: Unread, stretches: Stretches) -> LevelId {
        let index = u8::try_from(self.levels.len()).expect("there are at most 256 priorities");
        let id = LevelId { index, priority };
        let at = self
            .order
            .partition_point(|other| self.levels[usize::from(*other)].id().priority > priority);
        self.order.insert(at, index);
        self.levels.push(Level::new(id, self.window, unread, stretches));
        id
    }

    #[inline]
    fn level_mut(&mut self, id: LevelId) -> &mut Level {
        &mut self.levels[usize::from(id.index)]
    }

    /// Whether the next message of this level has to go to the store only.
    #[inline]
    pub fn is_window_full(&self, level: LevelId) -> bool {
        self.levels[usize::from(level.index)].is_window_full()
    }

    /// Adds a message in memory: behind all others, while the window is not full, or back in its place.
    #[expect(clippy::inline_always, reason = "as for Queue::give()")]
    #[inline(always)]
    pub fn insert(&mut self, level: LevelId, position: Position, waiting: Waiting) {
        self.count += 1;
        self.body_bytes += waiting.message.body_len() as u64;
        self.admit(level, position, waiting);
    }

    /// Notes a message behind all others that only the store holds.
    pub fn push_unread(&mut self, level: LevelId, entry: &PublishEntry) {
        self.count += 1;
        self.body_bytes += entry.message.body_len() as u64;
        self.level_mut(level).push_unread(entry);
    }

    /// Takes the first message of the highest priority; `None` when there is none, or when it is not in memory.
    pub fn pop(&mut self) -> Option<(LevelId, Position, Waiting)> {
        let first = self
            .order
            .iter()
            .copied()
            .find(|index| self.levels[usize::from(*index)].count() > 0)?;
        self.pop_of(first)
    }

    /// The same for the lowest priority.
    pub fn pop_lowest(&mut self) -> Option<(LevelId, Position, Waiting)> {
        let last = self
            .order
            .iter()
            .copied()
            .rev()
            .find(|index| self.levels[usize::from(*index)].count() > 0)?;
        self.pop_of(last)
    }

    /// Takes the first message of the level with this [`LevelId::index`]; `None` when none is in memory.
    #[expect(clippy::inline_always, reason = "as for Queue::give()")]
    #[inline(always)]
    pub fn pop_of(&mut self, index: u8) -> Option<(LevelId, Position, Waiting)> {
        let level = &mut self.levels[usize::from(index)];
        let (position, waiting) = level.pop()?;
        let id = level.id();
        self.forget(id, position, &waiting);
        Some((id, position, waiting))
    }

    /// The [`LevelId::index`] of the level whose message [`Ready::pop`] would take.
    #[inline]
    pub fn next_in_memory(&self) -> Option<u8> {
        let level = |index: u8| &self.levels[usize::from(index)];
        let mut order = self.order.iter().copied();
        order
            .find(|index| level(*index).count() > 0)
            .filter(|index| !level(*index).is_window_empty())
    }

    /// The place of the message that [`Ready::pop`] would take.
    pub fn first_in_memory(&self) -> Option<Position> {
        self.levels[usize::from(self.next_in_memory()?)].first()
    }

    /// Ready messages, wherever they are.
    #[inline]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Sum of their body bytes.
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Asks for pages of all levels that have room for one.
    pub fn load(&mut self, loads: &mut Vec<Load>) {
        loads.extend(self.levels.iter_mut().filter_map(Level::load));
    }

    /// Whether a page of this level is on its way.
    pub fn is_loading(&self, level: LevelId) -> bool {
        self.levels[usize::from(level.index)].is_loading()
    }

    /// When a message may expire.
    pub fn expires_next(&self) -> Option<Timestamp> {
        let in_memory = self.expiring.first().map(|(at, ..)| *at);
        let unread = self.levels.iter().filter_map(Level::unread_expires_next).min();
        in_memory.into_iter().chain(unread).min()
    }

    /// Takes out a message in memory that has expired.
    pub fn pop_expired(&mut self, now: Timestamp) -> Option<(LevelId, Position, Waiting)> {
        self.pop_expired_before(now.plus(1))
    }

    /// Takes out a message in memory that has expired earlier than at `end`.
    pub fn pop_expired_before(&mut self, end: Timestamp) -> Option<(LevelId, Position, Waiting)> {
        let (at, position, level) = *self.expiring.first()?;
        if at >= end {
            return None;
        }
        let waiting = self
            .level_mut(level)
            .remove(position)
            .expect("the index of expiry knows what is in memory");
        self.forget(level, position, &waiting);
        Some((level, position, waiting))
    }

    /// Whether a message in memory has expired earlier than at `end`.
    pub fn has_expired_before(&self, end: Timestamp) -> bool {
        self.expiring.first().is_some_and(|(at, ..)| *at < end)
    }

    /// Asks for expired messages that only the store has; see [`Level::load_expired`].
    pub fn load_expired(&mut self, now: Timestamp, waits: bool, loads: &mut Vec<Load>) {
        let levels = self.levels.iter_mut();
        loads.extend(levels.filter_map(|level| level.load_expired(now, waits)));
    }

    /// Takes the page that one of the loads asked for.
    pub fn page_loaded(
        &mut self,
        level: u8,
        entries: Vec<PageEntry>,
        next: Position,
        expires_next: Option<Timestamp>,
        now: Timestamp,
    ) -> (LevelId, PageLoaded) {
        let Some(found) = self.levels.get_mut(usize::from(level)) else {
            return (LevelId::BASE, PageLoaded::Window(Vec::new()));
        };
        let id = found.id();
        let before = (found.count(), found.unread_body_bytes());
        let loaded = found.page_loaded(entries, next, expires_next);
        self.count -= before.0 - found.count();
        self.body_bytes -= before.1 - found.unread_body_bytes();
        let entries = match loaded {
            Loaded::Void => return (id, PageLoaded::Window(Vec::new())),
            Loaded::Expired(entries) => return (id, PageLoaded::Expired(entries)),
            Loaded::Window(entries) => entries,
        };
        let mut resting = Vec::new();
        for entry in entries {
            if entry.rests_until.is_some_and(|until| until > now) {
                resting.push(entry);
                continue;
            }
            let (position, waiting) = Waiting::read(entry);
            self.insert(id, position, waiting);
        }
        (id, PageLoaded::Window(resting))
    }

    /// Forgets all messages. Calls `gone` with those in memory, then `unread` with the stretches that are not.
    pub fn purge(
        &mut self,
        mut gone: impl FnMut(LevelId, Position, Waiting),
        mut unread: impl FnMut(LevelId, Unread),
    ) {
        self.expiring.clear();
        (self.count, self.body_bytes) = (0, 0);
        for level in &mut self.levels {
            let (mut entries, stretch) = level.purge();
            while let Some((position, waiting)) = entries.pop_front() {
                gone(level.id(), Position(position), waiting);
            }
            if stretch.messages > 0 {
                unread(level.id(), stretch);
            }
        }
    }

    #[expect(clippy::inline_always, reason = "as for Queue::give()")]
    #[inline(always)]
    fn admit(&mut self, level: LevelId, position: Position, waiting: Waiting) {
        if let Some(at) = waiting.expires_at {
            self.expiring.insert((at, position, level));
        }
        self.level_mut(level).insert(position, waiting);
    }

    #[inline]
    fn forget(&mut self, level: LevelId, position: Position, waiting: &Waiting) {
        self.count -= 1;
        self.body_bytes -= waiting.message.body_len() as u64;
        if let Some(at) = waiting.expires_at {
            self.expiring.remove(&(at, position, level));
        }
    }
}

impl Waiting {
    /// Names its next delivery.
    #[inline]
    pub fn handle(&self, position: Position) -> DeliveryHandle {
        DeliveryHandle {
            position,
            delivery_count: self.delivery_count,
        }
    }

    /// A message that the store has.
    pub fn read(entry: PageEntry) -> (Position, Self) {
        let waiting = Self {
            message: entry.message,
            expires_at: entry.expires_at,
            delivery_count: entry.delivery_count,
            redelivered: entry.redelivered,
            stored: true,
        };
        (entry.position, waiting)
    }
}

#[cfg(test)]
mod tests;
