//! Keys that exchanges have seen, each for a while and only so many, and which of them are on disk.

use std::collections::{BTreeMap, BTreeSet};

use super::detours::{CACHE_SIZE, FOREVER, ONCE, UNIQUE, WINDOW};
use super::message::Message;
use super::model::Model;

/// A key that an exchange sees in a message, and until when it knows it from then on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    exchange: &'static str,
    key: String,
    until: u64,
}

/// What an exchange knows of a key.
#[derive(Clone, Debug)]
struct Known {
    key: String,
    until: u64,
    /// Which of those that end together came first: nobody knows it after a crash, and it is 0.
    number: u64,
}

/// What an exchange knows.
#[derive(Clone, Debug)]
pub struct Cache {
    known: Vec<Known>,
    /// What is on disk. There it is not noted that a key had to go for others.
    pub rows: BTreeSet<(u64, String)>,
    size: usize,
    /// Keys that had to go, and in which step.
    gone: Vec<(u64, String)>,
}

impl Cache {
    fn new(size: usize) -> Self {
        Self {
            known: Vec::new(),
            rows: BTreeSet::new(),
            size,
            gone: Vec::new(),
        }
    }

    /// Nothing is known, to either exchange.
    pub fn all() -> BTreeMap<&'static str, Self> {
        BTreeMap::from([(ONCE, Self::new(usize::MAX)), (UNIQUE, Self::new(CACHE_SIZE))])
    }

    /// Adds a key. Returns the one that had to go for it, and whether nobody knows which.
    fn add(&mut self, known: Known) -> (Option<String>, bool) {
        self.known.retain(|other| other.key != known.key);
        self.known.push(known);
        if self.known.len() <= self.size {
            return (None, false);
        }
        let age = |known: &Known| (known.until, known.number);
        let next = (0..self.known.len()).min_by_key(|index| age(&self.known[*index]));
        let gone = self.known.remove(next.expect("there are too many"));
        let is_tie = self.known.iter().any(|other| age(other) == age(&gone));
        (Some(gone.key), is_tie)
    }

    /// The broker died: what is on disk is known. Returns whether nobody knows what that is.
    pub fn crash(&mut self) -> bool {
        self.known.clear();
        let mut is_open = false;
        for (until, key) in self.rows.clone() {
            let known = Known {
                key,
                until,
                number: 0,
            };
            is_open |= self.add(known).1;
        }
        is_open
    }
}

impl Model {
    fn cache(&mut self, exchange: &str) -> &mut Cache {
        self.caches.get_mut(exchange).expect("it takes each key once")
    }

    /// How long a key of the message is known, by whom it is for `window` otherwise.
    pub fn window_of(&mut self, message: &Message, window: u64) -> u64 {
        let own = message.cache_ttl.filter(|ttl| *ttl > 0);
        if own.is_some() {
            self.coverage
                .note("a message said how long its key is to be known");
        }
        own.map_or(window, i64::unsigned_abs)
    }

    /// The key by which the message's exchange knows duplicates.
    pub fn first_sight(&mut self, message: &Message) -> Option<Seen> {
        let key = message.duplicate_key.clone()?;
        let (exchange, window) = [(ONCE, WINDOW), (UNIQUE, FOREVER)]
            .into_iter()
            .find(|(exchange, _)| *exchange == message.exchange)?;
        let until = self.now + self.window_of(message, window);
        Some(Seen { exchange, key, until })
    }

    /// Whether its key had to go for another one in the same step. The broker looks for keys when messages arrive, and once
    /// more when they enter their queues: of those that come together a later one may still be taken for a duplicate.
    pub fn has_just_gone(&self, seen: &Seen) -> bool {
        let just_gone = (self.step, seen.key.clone());
        self.caches[seen.exchange].gone.contains(&just_gone)
    }

    pub fn is_known(&self, seen: &Seen) -> bool {
        let mut known = self.caches[seen.exchange].known.iter();
        known.any(|known| known.key == seen.key && known.until > self.now)
    }

    pub fn learn(&mut self, seen: &Seen, is_stored: bool) {
        let (until, number) = (seen.until, self.fresh());
        let cache = self.cache(seen.exchange);
        if is_stored {
            cache.rows.insert((until, seen.key.clone()));
        }
        let (gone, is_tie) = cache.add(Known {
            key: seen.key.clone(),
            until,
            number,
        });
        if let Some(gone) = gone {
            self.coverage.note("a key had to go for others");
            let step = self.step;
            self.cache(seen.exchange).gone.push((step, gone));
        }
        self.doubt(is_tie, "(ended: nobody knows which key is next to go)");
    }

    /// The message was refused, and leaves no key.
    pub fn unlearn(&mut self, Seen { exchange, key, until }: &Seen) {
        let cache = self.cache(exchange);
        cache
            .known
            .retain(|known| (&known.key, known.until) != (key, *until));
        cache.rows.remove(&(*until, key.clone()));
    }
}
