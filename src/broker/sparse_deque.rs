//! A queue ordered by a growing key from which anything can be taken out.
//!
//! Deliveries are settled nearly in the order in which they were made, so a deque with holes beats a map: the key's
//! place is usually its distance from the front. Holes are squeezed out before they outnumber what is there. What
//! would push many others aside goes to a map after all: consumers that give back a long backlog do so turn by turn.

use std::collections::{BTreeMap, VecDeque};
use std::iter;

/// Holes tolerated before the deque is squeezed, however few entries are left.
const HOLES_MIN: usize = 64;

/// Slots that an empty deque keeps room for: to grow anew each time costs more than all else.
const KEPT_MAX: usize = 128;

/// Slots that a value may push aside.
const PUSHED_MAX: usize = 64;

/// Values by ascending `u64` key.
#[derive(Debug)]
pub struct SparseDeque<T> {
    slots: VecDeque<(u64, Option<T>)>,
    /// Values for which there was no room among the slots.
    strays: BTreeMap<u64, T>,
    /// Values in slots.
    len: usize,
}

impl<T> Default for SparseDeque<T> {
    fn default() -> Self {
        Self {
            slots: VecDeque::new(),
            strays: BTreeMap::new(),
            len: 0,
        }
    }
}

impl<T> SparseDeque<T> {
    /// Adds a value; cheapest when its key is above all others.
    #[expect(
        clippy::inline_always,
        reason = "large values that go by way of the stack are read back slowly"
    )]
    #[inline(always)]
    pub fn insert(&mut self, key: u64, value: T) {
        if self.slots.back().is_none_or(|(last, _)| *last < key) {
            self.len += 1;
            // Made when there is room for it, it need not wait on the stack until there is.
            self.slots.extend(iter::once_with(|| (key, Some(value))));
        } else {
            self.insert_between(key, value);
        }
    }

    #[cold]
    fn insert_between(&mut self, key: u64, value: T) {
        let old = match self.slots.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(index) => {
                self.len += 1;
                self.slots[index].1.replace(value)
            }
            Err(index) if index.min(self.slots.len() - index) <= PUSHED_MAX => {
                self.len += 1;
                self.slots.insert(index, (key, Some(value)));
                None
            }
            Err(_) => self.strays.insert(key, value),
        };
        assert!(old.is_none(), "key {key} is in use: a key stands for one value");
    }

    /// Takes out the value of `key`.
    #[inline]
    pub fn remove(&mut self, key: u64) -> Option<T> {
        self.remove_if(key, |_| true)
    }

    /// The same if the value is the one that is meant.
    #[expect(clippy::inline_always, reason = "as for insert()")]
    #[inline(always)]
    pub fn remove_if(&mut self, key: u64, is_meant: impl FnOnce(&T) -> bool) -> Option<T> {
        match self.slots.front() {
            Some((first, Some(value))) if *first == key => {
                if is_meant(value) {
                    self.pop_slot().map(|(_, value)| value)
                } else {
                    None
                }
            }
            _ if self.get(key).is_some_and(is_meant) => self.remove_behind(key),
            _ => None,
        }
    }

    fn remove_behind(&mut self, key: u64) -> Option<T> {
        let Some(value) = self.find(key).and_then(|index| self.slots[index].1.take()) else {
            return self.strays.remove(&key);
        };
        self.len -= 1;
        self.trim();
        Some(value)
    }

    /// The value of `key`.
    pub fn get(&self, key: u64) -> Option<&T> {
        let found = self.find(key).and_then(|index| self.slots[index].1.as_ref());
        found.or_else(|| self.strays.get(&key))
    }

    /// Takes out the value with the lowest key.
    #[expect(clippy::inline_always, reason = "as for insert()")]
    #[inline(always)]
    pub fn pop_front(&mut self) -> Option<(u64, T)> {
        if !self.strays.is_empty() && self.is_stray_first() {
            return self.strays.pop_first();
        }
        self.pop_slot()
    }

    #[expect(clippy::inline_always, reason = "as for insert()")]
    #[inline(always)]
    fn pop_slot(&mut self) -> Option<(u64, T)> {
        let (key, value) = self.slots.pop_front()?;
        self.len -= 1;
        if self.len == 0 || self.len < self.slots.len() {
            self.trim();
        }
        Some((key, value.expect("trim leaves no hole in front")))
    }

    /// The lowest key.
    pub fn first_key(&self) -> Option<u64> {
        let slot = self.slots.front().map(|(key, _)| *key);
        let stray = self.strays.first_key_value().map(|(key, _)| *key);
        slot.into_iter().chain(stray).min()
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.len + self.strays.len()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All values in ascending order of key.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let slots = self.slots.iter();
        let mut slots = slots
            .filter_map(|(key, value)| Some((*key, value.as_ref()?)))
            .peekable();
        let mut strays = self.strays.iter().map(|(key, value)| (*key, value)).peekable();
        iter::from_fn(move || {
            let next = slots.peek().map(|(key, _)| *key);
            let is_first = |(stray, _): &(u64, &T)| next.is_none_or(|slot| *stray < slot);
            strays.next_if(is_first).or_else(|| slots.next())
        })
    }

    /// Keeps no room for values to come, if there are none.
    pub fn slim(&mut self) {
        if self.is_empty() {
            self.slots = VecDeque::new();
        }
    }

    fn is_stray_first(&self) -> bool {
        let slot = self.slots.front().map(|(key, _)| *key);
        let stray = self.strays.first_key_value().map(|(key, _)| *key);
        slot.is_none_or(|slot| stray.is_some_and(|stray| stray < slot))
    }

    fn find(&self, key: u64) -> Option<usize> {
        let (front, _) = self.slots.front()?;
        let guess = usize::try_from(key.checked_sub(*front)?).ok()?;
        if self.slots.get(guess).is_some_and(|(found, _)| *found == key) {
            return Some(guess);
        }
        self.slots.binary_search_by_key(&key, |(key, _)| *key).ok()
    }

    fn trim(&mut self) {
        while self.slots.front().is_some_and(|(_, value)| value.is_none()) {
            self.slots.pop_front();
        }
        if self.slots.len() - self.len > HOLES_MIN.max(self.len) {
            self.slots.retain(|(_, value)| value.is_some());
        }
        if self.len == 0 && self.slots.capacity() > KEPT_MAX {
            self.slots.shrink_to(KEPT_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn holes_do_not_pile_up_behind_an_old_entry() {
        let mut deque = SparseDeque::default();
        for key in 0..100_000 {
            deque.insert(key, key);
            if key > 0 {
                assert_eq!(deque.remove(key), Some(key));
            }
        }
        assert_eq!(deque.len(), 1);
        assert!(
            deque.slots.len() <= HOLES_MIN + 2,
            "{} slots for one value",
            deque.slots.len()
        );
    }

    #[test]
    fn a_slim_one_that_is_empty_holds_nothing() {
        let mut deque = SparseDeque::default();
        deque.insert(1, ());
        deque.insert(2, ());
        for key in [1, 2] {
            deque.slim();
            assert_eq!(deque.pop_front(), Some((key, ())));
        }
        assert!(deque.slots.capacity() > 0);
        deque.slim();
        assert_eq!(deque.slots.capacity(), 0);
    }

    #[test]
    fn what_comes_in_between_moves_few_others() {
        let mut deque = SparseDeque::default();
        for key in (0..10_000).filter(|key| key % 3 == 0) {
            deque.insert(key, key);
        }
        let before = deque.slots.len();
        for key in (0..10_000).rev().filter(|key| key % 3 == 1) {
            deque.insert(key, key);
        }
        assert!(
            deque.slots.len() <= before + 2 * PUSHED_MAX,
            "{}",
            deque.slots.len()
        );
        assert_eq!(deque.remove(5_000), None);
        assert_eq!(deque.remove(5_002), Some(5_002));
        let expected = (0..10_000).filter(|key| key % 3 < 2 && *key != 5_002);
        assert!(deque.iter().map(|(key, _)| key).eq(expected.clone()));
        for key in expected {
            assert_eq!(deque.first_key(), Some(key));
            assert_eq!(deque.pop_front(), Some((key, key)));
        }
        assert!(deque.is_empty());
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(steps in prop::collection::vec((0u8..6, 0u64..600), 0..1500)) {
            let mut deque = SparseDeque::default();
            let mut map = BTreeMap::new();
            for (step, key) in steps {
                match step {
                    0 if !map.contains_key(&key) => {
                        deque.insert(key, key * 2);
                        map.insert(key, key * 2);
                    }
                    1 => prop_assert_eq!(deque.remove(key), map.remove(&key)),
                    2 => prop_assert_eq!(deque.pop_front(), map.pop_first()),
                    3 => prop_assert_eq!(deque.remove_if(key, |_| false), None),
                    4 => {
                        let is_even = |value: &u64| value.is_multiple_of(4);
                        let expected = map.get(&key).copied().filter(is_even);
                        prop_assert_eq!(deque.remove_if(key, is_even), expected);
                        if expected.is_some() {
                            map.remove(&key);
                        }
                    }
                    _ => prop_assert_eq!(deque.get(key), map.get(&key)),
                }
                prop_assert_eq!(deque.len(), map.len());
                prop_assert_eq!(deque.first_key(), map.keys().next().copied());
                prop_assert!(deque.iter().eq(map.iter().map(|(key, value)| (*key, value))));
            }
        }
    }
}
