//! The ready messages of one priority: a window in memory, and behind it a stretch that only the store holds.
//!
//! All of the window comes before all of the unread stretch. Once there is an unread stretch, every new message
//! joins it, so that memory is bounded by configuration and not by the backlog.

use crate::broker::sparse_deque::SparseDeque;
use crate::clock::Timestamp;
use crate::message::Message;
use crate::store::{PageEntry, Position, PublishEntry};

use super::effects::{Load, Unread};
use super::expiry::TURN_MAX;
use super::stretches::Stretches;

/// What a message takes in memory at least, bytes.
const MESSAGE_BYTES: usize = 256;

/// How much of a queue's ready messages may stay in memory.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Messages.
    pub messages: usize,
    /// Bytes of names, headers and bodies, and their framing.
    pub bytes: usize,
}

impl Window {
    /// The window of each of a queue's levels, if all of them have so many bytes together at most.
    pub fn narrowed(self, bytes: usize, max_priority: u8) -> Self {
        let levels = usize::from(max_priority) + 1;
        Self {
            messages: (self.messages.min(bytes / MESSAGE_BYTES) / levels).max(1),
            bytes: (self.bytes.min(bytes) / levels).max(1),
        }
    }
}

/// Which of a queue's levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LevelId {
    /// In the order in which they came into being; the level of priority 0 is the first.
    pub index: u8,
    /// The priority of its messages.
    pub priority: u8,
}

impl LevelId {
    /// The level of priority 0, which every queue has.
    pub const BASE: Self = Self {
        index: 0,
        priority: 0,
    };
}

/// A message in the window.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The message.
    pub message: Message,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// How often it was handed out and came back.
    pub delivery_count: u32,
    /// It may have been handed out, in this run of the broker or the one before.
    pub redelivered: bool,
    /// The store has it or is about to.
    pub stored: bool,
}

impl Waiting {
    /// A message that was just published.
    #[inline]
    pub fn new(message: Message, expires_at: Option<Timestamp>, stored: bool) -> Self {
        Self {
            message,
            expires_at,
            delivery_count: 0,
            redelivered: false,
            stored,
        }
    }
}

/// What a page turned out to be.
#[derive(Debug)]
pub enum Loaded {
    /// Messages for the window.
    Window(Vec<PageEntry>),
    /// Expired messages, which are in the queue no longer.
    Expired(Vec<PageEntry>),
    /// What it holds was purged meanwhile.
    Void,
}

#[derive(Debug, PartialEq, Eq)]
enum Loading {
    No,
    /// The next page was asked for.
    Window {
        /// End of what it covers, excluded.
        to: Position,
    },
    /// The expired messages of a stretch were asked for.
    Expired {
        from: Position,
        to: Position,
    },
    /// A page was asked for, but what it reads was purged meanwhile.
    Void,
}

/// The ready messages of one priority, in order of position.
#[derive(Debug)]
pub struct Level {
    id: LevelId,
    entries: SparseDeque<Waiting>,
    /// Bytes that `entries` stand for.
    bytes: usize,
    unread: Unread,
    stretches: Stretches,
    loading: Loading,
    /// The last page that came was one of expired messages.
    was_expired: bool,
    window: Window,
}

impl Level {
    /// A level whose messages, if it has any, are all in the store.
    pub fn new(id: LevelId, window: Window, unread: Unread, stretches: Stretches) -> Self {
        Self {
            id,
            entries: SparseDeque::default(),
            bytes: 0,
            unread,
            stretches,
            loading: Loading::No,
            was_expired: false,
            window,
        }
    }

    /// Another window counts. What is in memory stays there.
    pub fn set_window(&mut self, window: Window) {
        self.window = window;
    }

    /// Keeps no room for messages to come, if there are none.
    pub fn slim(&mut self) {
        self.entries.slim();
    }

    /// Which one it is.
    #[inline]
    pub fn id(&self) -> LevelId {
        self.id
    }

    /// Ready messages, wherever they are.
    #[inline]
    pub fn count(&self) -> u64 {
        self.entries.len() as u64 + self.unread.messages
    }

    /// Whether no message is in memory.
    #[inline]
    pub fn is_window_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the next message has to go to the store only.
    #[inline]
    pub fn is_window_full(&self) -> bool {
        self.unread.messages > 0
            || self.entries.len() >= self.window.messages
            || self.bytes >= self.window.bytes
    }

    /// Whether the store alone has some of its messages.
    pub fn has_unread(&self) -> bool {
        self.unread.messages > 0
    }

    /// Whether a page is on its way.
    pub fn is_loading(&self) -> bool {
        self.loading != Loading::No
    }

    /// Whether the message that entered at this place in this run is here, if it has not expired.
    pub fn holds(&self, position: Position) -> bool {
        // Only what expires leaves the unread stretch from its middle.
        let is_unread = self.unread.messages > 0 && (self.unread.from..self.unread.to).contains(&position);
        is_unread || self.entries.get(position.0).is_some()
    }

    /// Adds a message in memory: behind all others, while the window is not full, or back in its place.
    #[expect(clippy::inline_always, reason = "as for Queue::give()")]
    #[inline(always)]
    pub fn insert(&mut self, position: Position, waiting: Waiting) {
        self.bytes += waiting.message.memory_bytes();
        self.entries.insert(position.0, waiting);
    }

    /// Notes a message behind all others that only the store holds.
    pub fn push_unread(&mut self, entry: &PublishEntry) {
        if self.unread.messages == 0 {
            self.unread.from = entry.position;
        }
        self.unread.to = Position(entry.position.0 + 1);
        self.unread
            .add(entry.message.body_len() as u64, entry.is_persistent);
        self.stretches.note(entry.position, entry.expires_at);
    }

    /// The place of the first message in memory.
    pub fn first(&self) -> Option<Position> {
        self.entries.first_key().map(Position)
    }

    /// Takes the first message in memory.
    #[expect(clippy::inline_always, reason = "as for Queue::give()")]
    #[inline(always)]
    pub fn pop(&mut self) -> Option<(Position, Waiting)> {
        let (position, waiting) = self.entries.pop_front()?;
        self.bytes -= waiting.message.memory_bytes();
        Some((Position(position), waiting))
    }

    /// Takes a message out of the window, wherever it stands.
    pub fn remove(&mut self, position: Position) -> Option<Waiting> {
        let waiting = self.entries.remove(position.0)?;
        self.bytes -= waiting.message.memory_bytes();
        Some(waiting)
    }

    /// Asks for the next page if the window has room for it and no page is on its way.
    pub fn load(&mut self) -> Option<Load> {
        if self.loading != Loading::No || !self.has_room() {
            return None;
        }
        self.loading = Loading::Window { to: self.unread.to };
        Some(Load {
            level: self.id,
            from: self.unread.from,
            to: self.unread.to,
            messages_max: (self.window.messages / 2).max(1),
            bytes_max: (self.window.bytes / 2).max(1),
            expired_at: None,
        })
    }

    /// Asks for expired messages that only the store has, if there are any and no page is on its way. After one such
    /// page the window comes first if somebody `waits` for it: else it would never where something expires all the
    /// time.
    pub fn load_expired(&mut self, now: Timestamp, waits: bool) -> Option<Load> {
        if self.loading != Loading::No || (waits && self.was_expired && self.has_room()) {
            return None;
        }
        let (from, to) = self.stretches.first_due(now)?;
        self.loading = Loading::Expired { from, to };
        Some(Load {
            level: self.id,
            from,
            to,
            messages_max: (self.window.messages / 2).clamp(1, TURN_MAX),
            bytes_max: (self.window.bytes / 2).max(1),
            expired_at: Some(now),
        })
    }

    /// Whether the window has room for a page, and there is one.
    fn has_room(&self) -> bool {
        self.unread.messages > 0
            && self.entries.len() <= self.window.messages / 2
            && self.bytes <= self.window.bytes / 2
    }

    /// When one of the messages that only the store has may expire; `None` also while a page is on its way.
    pub fn unread_expires_next(&self) -> Option<Timestamp> {
        self.stretches
            .expires_next()
            .filter(|_| self.loading == Loading::No)
    }

    /// Takes the page that was asked for; `next` is the first place that it did not look at. Messages for the window
    /// are no longer counted here: the caller inserts them.
    pub fn page_loaded(
        &mut self,
        entries: Vec<PageEntry>,
        next: Position,
        expires_next: Option<Timestamp>,
    ) -> Loaded {
        let loading = std::mem::replace(&mut self.loading, Loading::No);
        self.was_expired = matches!(loading, Loading::Expired { .. });
        match loading {
            Loading::Window { to } => {
                for entry in &entries {
                    self.unread
                        .subtract(entry.message.body_len() as u64, entry.is_persistent);
                }
                self.unread.from = next;
                if next >= to && self.unread.to == to {
                    // All was read: what the summary counted beyond it (stale transient messages) does not exist.
                    self.unread = Unread::empty(to);
                }
                self.stretches.forget_before(next);
                Loaded::Window(entries)
            }
            Loading::Expired { from, to } => {
                for entry in &entries {
                    self.unread
                        .subtract(entry.message.body_len() as u64, entry.is_persistent);
                }
                self.stretches
                    .looked_through(from, next.min(to), to, expires_next);
                Loaded::Expired(entries)
            }
            Loading::No | Loading::Void => Loaded::Void,
        }
    }

    /// Forgets all messages; returns those in memory and the unread stretch.
    pub fn purge(&mut self) -> (SparseDeque<Waiting>, Unread) {
        if self.loading != Loading::No {
            self.loading = Loading::Void;
        }
        self.bytes = 0;
        self.stretches = Stretches::default();
        let unread = self.unread;
        self.unread = Unread::empty(unread.to);
        (std::mem::take(&mut self.entries), unread)
    }

    /// Body bytes of the messages that only the store has.
    pub fn unread_body_bytes(&self) -> u64 {
        self.unread.body_bytes
    }
}
