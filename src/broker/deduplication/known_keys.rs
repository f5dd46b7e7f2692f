//! Keys that were seen, each until a time; a bounded number of them.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use crate::clock::Timestamp;
use crate::store::MessageKey;

/// A set that forgets: what has expired, and what expires next when it is full. Some eighty bytes per key.
#[derive(Debug)]
pub struct KnownKeys {
    by_key: FxHashMap<MessageKey, Known>,
    by_expiry: BTreeSet<(Timestamp, MessageKey)>,
    /// Keys at most.
    max: usize,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Until when it is known.
    pub expires_at: Timestamp,
    /// The store has it too.
    pub is_stored: bool,
}

impl KnownKeys {
    /// No keys; of more than `max`, the ones that expire first are forgotten.
    pub fn new(max: usize) -> Self {
        Self {
            by_key: FxHashMap::default(),
            by_expiry: BTreeSet::new(),
            max,
        }
    }

    /// What is known of a key at that time.
    pub fn get(&self, key: &MessageKey, now: Timestamp) -> Option<&Known> {
        self.by_key.get(key).filter(|known| known.expires_at > now)
    }

    /// Adds a key, in the place of what was known of it. Returns how many keys of the store were forgotten for it.
    pub fn insert(&mut self, key: MessageKey, known: Known) -> usize {
        self.remove(&key);
        self.by_key.insert(key, known);
        self.by_expiry.insert((known.expires_at, key));
        let mut forgotten = 0;
        while self.by_key.len() > self.max {
            forgotten += self.pop();
        }
        forgotten
    }

    /// Forgets a key; returns what was known.
    pub fn remove(&mut self, key: &MessageKey) -> Option<Known> {
        let known = self.by_key.remove(key)?;
        self.by_expiry.remove(&(known.expires_at, *key));
        Some(known)
    }

    /// Forgets what has expired; returns how many of these keys the store has.
    pub fn expire(&mut self, now: Timestamp) -> usize {
        let mut forgotten = 0;
        while self.first().is_some_and(|first| first <= now) {
            forgotten += self.pop();
        }
        forgotten
    }

    /// When the next key expires.
    pub fn first(&self) -> Option<Timestamp> {
        self.by_expiry.first().map(|(at, _)| *at)
    }

    /// How many keys are held, expired ones included.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Forgets the key that expires first; 1 if the store has it.
    fn pop(&mut self) -> usize {
        let known = self
            .by_expiry
            .pop_first()
            .and_then(|(_, key)| self.by_key.remove(&key));
        known.is_some_and(|known| known.is_stored).into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_full_set_forgets_what_expires_first() {
        let mut keys = KnownKeys::new(2);
        let known = |expires_at, is_stored| Known {
            expires_at: at(expires_at),
            is_stored,
        };
        let key = |number| MessageKey([number; 16]);
        assert_eq!(keys.insert(key(1), known(30, true)), 0);
        assert_eq!(keys.insert(key(2), known(20, true)), 0);
        assert_eq!(keys.insert(key(3), known(40, false)), 1);
        assert_eq!(keys.get(&key(2), at(1)), None);
        assert_eq!(keys.get(&key(1), at(29)), Some(&known(30, true)));
        assert_eq!(keys.get(&key(1), at(30)), None);
        assert_eq!(keys.len(), 2);
    }

    proptest! {
        #[test]
        fn it_knows_what_a_plain_map_knows(
            steps in prop::collection::vec((0..8u8, 0..4u8, 1..60u64, any::<bool>()), 0..80),
        ) {
            let mut keys = KnownKeys::new(5);
            let mut model = HashMap::<u8, Known>::new();
            let mut now = 1;
            for (number, action, after, is_stored) in steps {
                let key = MessageKey([number; 16]);
                match action {
                    0 => {
                        now += after;
                        let stored = model.values().filter(|known| known.expires_at <= at(now) && known.is_stored);
                        prop_assert_eq!(keys.expire(at(now)), stored.count());
                        model.retain(|_, known| known.expires_at > at(now));
                    }
                    1 => prop_assert_eq!(keys.remove(&key), model.remove(&number)),
                    _ => {
                        let known = Known { expires_at: at(now + after), is_stored };
                        model.insert(number, known);
                        let mut stored = 0;
                        if model.len() > 5 {
                            let first = model.iter().min_by_key(|(number, known)| (known.expires_at, **number));
                            let first = *first.unwrap().0;
                            stored = model.remove(&first).unwrap().is_stored.into();
                        }
                        prop_assert_eq!(keys.insert(key, known), stored);
                    }
                }
                prop_assert_eq!(keys.len(), model.len());
                prop_assert_eq!(keys.first(), model.values().map(|known| known.expires_at).min());
                for number in 0..8 {
                    let known = model.get(&number).filter(|known| known.expires_at > at(now));
                    prop_assert_eq!(keys.get(&MessageKey([number; 16]), at(now)), known);
                }
            }
        }
    }
}
