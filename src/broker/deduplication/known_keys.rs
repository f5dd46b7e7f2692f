//! Keys that were seen, each kept until a time; a bounded number of them.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use crate::clock::Timestamp;
use crate::store::MessageKey;

use super::Place;

/// A set that forgets: those whose time is over, and when it is full the next. Some hundred bytes per key.
#[derive(Debug)]
pub struct KnownKeys {
    by_key: FxHashMap<MessageKey, (u64, Known)>,
    /// Of those that end in the same millisecond the older one is the first: each has a number.
    by_end: BTreeSet<(Timestamp, u64, MessageKey)>,
    added: u64,
    /// Keys at most.
    max: usize,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The end of its window.
    pub expires_at: Timestamp,
    /// Until when it is kept: longer than its window while its message may be in a queue.
    pub kept_until: Timestamp,
    /// The store has it too.
    pub is_stored: bool,
    /// Where its message entered a queue.
    pub place: Option<Place>,
}

impl KnownKeys {
    /// No keys; of more than `max`, those whose time is over first are forgotten.
    pub fn new(max: usize) -> Self {
        Self {
            by_key: FxHashMap::default(),
            by_end: BTreeSet::new(),
            added: 0,
            max,
        }
    }

    /// What is known of a key, whose window may be over.
    pub fn get(&self, key: &MessageKey) -> Option<&Known> {
        self.by_key.get(key).map(|(_, known)| known)
    }

    /// Which of all that were added a key is.
    pub fn number(&self, key: &MessageKey) -> Option<u64> {
        self.by_key.get(key).map(|(number, _)| *number)
    }

    /// The number of the key that was added last.
    pub fn last_number(&self) -> u64 {
        self.added
    }

    /// Adds a key, in the place of what was known of it. Returns how many keys of the store were forgotten for it.
    pub fn insert(&mut self, key: MessageKey, known: Known) -> usize {
        self.remove(&key);
        self.added += 1;
        self.by_key.insert(key, (self.added, known));
        self.by_end.insert((known.kept_until, self.added, key));
        let mut forgotten = 0;
        while self.by_key.len() > self.max {
            let known = self.pop().expect("there are more than none");
            forgotten += usize::from(known.1.is_stored);
        }
        forgotten
    }

    /// Forgets a key; returns what was known.
    pub fn remove(&mut self, key: &MessageKey) -> Option<Known> {
        let (number, known) = self.by_key.remove(key)?;
        self.by_end.remove(&(known.kept_until, number, *key));
        Some(known)
    }

    /// Takes out a key whose time is over.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<(MessageKey, Known)> {
        self.first().filter(|first| *first <= now)?;
        self.pop()
    }

    /// When the time of the next key is over.
    pub fn first(&self) -> Option<Timestamp> {
        self.by_end.first().map(|(at, ..)| *at)
    }

    /// How many keys are kept.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Forgets the key whose time is over first.
    fn pop(&mut self) -> Option<(MessageKey, Known)> {
        let (_, _, key) = self.by_end.pop_first()?;
        let (_, known) = self.by_key.remove(&key).expect("each key is in both");
        Some((key, known))
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
    fn a_full_set_forgets_whose_time_is_over_first() {
        let mut keys = KnownKeys::new(2);
        let known = |kept_until, is_stored| Known {
            expires_at: at(1),
            kept_until: at(kept_until),
            is_stored,
            place: None,
        };
        let key = |number| MessageKey([number; 16]);
        assert_eq!(keys.insert(key(1), known(30, true)), 0);
        assert_eq!(keys.insert(key(2), known(20, true)), 0);
        assert_eq!(keys.insert(key(3), known(40, false)), 1);
        assert_eq!(keys.get(&key(2)), None);
        assert_eq!(keys.get(&key(1)), Some(&known(30, true)));
        assert_eq!(keys.pop_due(at(29)), None);
        assert_eq!(keys.pop_due(at(30)), Some((key(1), known(30, true))));
        keys.insert(key(1), known(30, true));
        assert_eq!(keys.len(), 2);
    }

    #[test]
    fn of_keys_that_end_together_the_oldest_goes_first() {
        for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
            let mut keys = KnownKeys::new(2);
            for number in order {
                let known = Known {
                    expires_at: at(1),
                    kept_until: at(30),
                    is_stored: false,
                    place: None,
                };
                keys.insert(MessageKey([number; 16]), known);
            }
            let known = order.map(|number| keys.get(&MessageKey([number; 16])).is_some());
            assert_eq!(known, [false, true, true], "{order:?}");
        }
    }

    proptest! {
        #[test]
        fn it_knows_what_a_plain_map_knows(
            steps in prop::collection::vec((0..8u8, 0..4u8, 1..60u64, any::<bool>()), 0..80),
        ) {
            let mut keys = KnownKeys::new(5);
            let mut model = HashMap::<u8, Known>::new();
            let mut ages = HashMap::<u8, usize>::new();
            let mut now = 1;
            for (age, (number, action, after, is_stored)) in steps.into_iter().enumerate() {
                let key = MessageKey([number; 16]);
                match action {
                    0 => {
                        now += after;
                        while let Some((key, known)) = keys.pop_due(at(now)) {
                            prop_assert_eq!(model.remove(&key.0[0]), Some(known));
                        }
                        prop_assert!(model.values().all(|known| known.kept_until > at(now)));
                    }
                    1 => prop_assert_eq!(keys.remove(&key), model.remove(&number)),
                    _ => {
                        let known = Known {
                            expires_at: at(1),
                            kept_until: at(now + after), is_stored, place: None };
                        model.insert(number, known);
                        ages.insert(number, age);
                        let mut stored = 0;
                        if model.len() > 5 {
                            let first = model.iter().min_by_key(|(number, known)| (known.kept_until, ages[number]));
                            let first = *first.unwrap().0;
                            stored = model.remove(&first).unwrap().is_stored.into();
                        }
                        prop_assert_eq!(keys.insert(key, known), stored);
                    }
                }
                prop_assert_eq!(keys.len(), model.len());
                prop_assert_eq!(keys.first(), model.values().map(|known| known.kept_until).min());
                for number in 0..8 {
                    prop_assert_eq!(keys.get(&MessageKey([number; 16])), model.get(&number));
                }
            }
        }
    }
}
