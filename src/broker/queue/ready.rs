//! Messages that wait for a consumer: a window in memory, and behind it a stretch that only the store holds.
//!
//! All of the window comes before all of the unread stretch. Once there is an unread stretch, every new message
//! joins it, so that memory is bounded by configuration and not by the backlog.

use std::collections::VecDeque;

use crate::message::Message;
use crate::store::Position;

use super::effects::{Load, Unread};

/// How much of a queue's ready messages may stay in memory.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Messages.
    pub messages: usize,
    /// Bytes of names, headers and bodies.
    pub bytes: usize,
}

/// A message in the window.
#[derive(Clone, Debug)]
pub struct ReadyEntry {
    /// Its place in the queue.
    pub position: Position,
    /// The message.
    pub message: Message,
    /// How often it was handed out and came back.
    pub delivery_count: u32,
    /// It may have been handed out, in this run of the broker or the one before.
    pub redelivered: bool,
    /// The store has it or is about to.
    pub stored: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Loading {
    No,
    /// A page was asked for.
    Asked {
        /// End of what it covers, excluded.
        to: Position,
    },
    /// A page was asked for, but what it reads was purged meanwhile.
    Void,
}

/// The ready messages of one queue, in order of position.
#[derive(Debug)]
pub struct Ready {
    entries: VecDeque<ReadyEntry>,
    /// Bytes that `entries` stand for.
    bytes: usize,
    unread: Unread,
    loading: Loading,
    window: Window,
}

impl Ready {
    /// A queue whose messages, if it has any, are all in the store.
    pub fn new(window: Window, unread: Unread) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            unread,
            loading: Loading::No,
            window,
        }
    }

    /// Whether the next message has to go to the store only.
    pub fn is_window_full(&self) -> bool {
        self.unread.messages > 0
            || self.entries.len() >= self.window.messages
            || self.bytes >= self.window.bytes
    }

    /// Adds a message behind all others, in memory. Only while the window is not full.
    pub fn push(&mut self, entry: ReadyEntry) {
        debug_assert!(
            self.unread.messages == 0,
            "memory comes before the unread stretch"
        );
        self.bytes += entry.message.memory_bytes();
        self.entries.push_back(entry);
    }

    /// Notes a message behind all others that only the store holds.
    pub fn push_unread(&mut self, position: Position, message: &Message) {
        if self.unread.messages == 0 {
            self.unread.from = position;
        }
        self.unread.to = Position(position.0 + 1);
        self.unread.messages += 1;
        if message.is_persistent() {
            self.unread.persistent += 1;
            self.unread.persistent_bytes += message.body().len() as u64;
        }
    }

    /// Puts a message back to its place.
    pub fn put_back(&mut self, entry: ReadyEntry) {
        self.bytes += entry.message.memory_bytes();
        if self
            .entries
            .front()
            .is_none_or(|front| entry.position < front.position)
        {
            self.entries.push_front(entry);
            return;
        }
        let index = self
            .entries
            .partition_point(|other| other.position < entry.position);
        self.entries.insert(index, entry);
    }

    /// Takes the first message in memory.
    pub fn pop(&mut self) -> Option<ReadyEntry> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.message.memory_bytes();
        if self.entries.is_empty() && self.entries.capacity() > 1024 {
            self.entries.shrink_to(256);
        }
        Some(entry)
    }

    /// Whether no message is in memory.
    pub fn is_window_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Ready messages, wherever they are.
    pub fn count(&self) -> u64 {
        self.entries.len() as u64 + self.unread.messages
    }

    /// Asks for the next page if the window has room for it and no page is on its way.
    pub fn load(&mut self) -> Option<Load> {
        let has_room = self.entries.len() <= self.window.messages / 2 && self.bytes <= self.window.bytes / 2;
        if self.unread.messages == 0 || self.loading != Loading::No || !has_room {
            return None;
        }
        self.loading = Loading::Asked { to: self.unread.to };
        Some(Load {
            from: self.unread.from,
            to: self.unread.to,
            messages_max: (self.window.messages / 2).max(1),
            bytes_max: (self.window.bytes / 2).max(1),
        })
    }

    /// Whether a page is on its way.
    pub fn is_loading(&self) -> bool {
        self.loading != Loading::No
    }

    /// Takes the page that [`Ready::load`] asked for; `next` is the first place that it did not look at.
    pub fn page_loaded(&mut self, entries: impl Iterator<Item = ReadyEntry>, next: Position) {
        let Loading::Asked { to } = std::mem::replace(&mut self.loading, Loading::No) else {
            return;
        };
        let in_window = self.entries.len();
        for entry in entries {
            self.bytes += entry.message.memory_bytes();
            self.unread.messages = self.unread.messages.saturating_sub(1);
            if entry.message.is_persistent() {
                let body = entry.message.body().len() as u64;
                self.unread.persistent = self.unread.persistent.saturating_sub(1);
                self.unread.persistent_bytes = self.unread.persistent_bytes.saturating_sub(body);
            }
            self.entries.push_back(entry);
        }
        debug_assert!(
            in_window == 0
                || self.entries.len() == in_window
                || self.entries[in_window - 1].position < self.entries[in_window].position,
            "a page continues where the window ends"
        );
        self.unread.from = next;
        if next >= to && self.unread.to == to {
            // All was read: what the summary counted beyond it (stale transient messages) does not exist.
            self.unread = Unread::empty(to);
        }
    }

    /// Forgets all ready messages and returns them: those in memory, and the unread stretch.
    pub fn purge(&mut self) -> (VecDeque<ReadyEntry>, Unread) {
        if self.loading != Loading::No {
            self.loading = Loading::Void;
        }
        self.bytes = 0;
        let unread = self.unread;
        self.unread = Unread::empty(unread.to);
        (std::mem::take(&mut self.entries), unread)
    }
}
