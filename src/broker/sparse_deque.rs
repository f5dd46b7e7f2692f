//! A queue ordered by a growing key from which anything can be taken out.
//!
//! Deliveries are settled nearly in the order in which they were made, so a deque with holes beats a map: the key's
//! place is usually its distance from the front. Holes are squeezed out before they outnumber what is there.

use std::collections::VecDeque;

/// Holes tolerated before the deque is squeezed, however few entries are left.
const HOLES_MIN: usize = 64;

/// Values by ascending `u64` key.
#[derive(Debug)]
pub struct SparseDeque<T> {
    slots: VecDeque<(u64, Option<T>)>,
    len: usize,
}

impl<T> Default for SparseDeque<T> {
    fn default() -> Self {
        Self {
            slots: VecDeque::new(),
            len: 0,
        }
    }
}

impl<T> SparseDeque<T> {
    /// Adds a value; cheap when its key is above all others.
    pub fn insert(&mut self, key: u64, value: T) {
        self.len += 1;
        if self.slots.back().is_none_or(|(last, _)| *last < key) {
            self.slots.push_back((key, Some(value)));
            return;
        }
        match self.slots.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(index) => {
                let old = self.slots[index].1.replace(value);
                assert!(old.is_none(), "key {key} is in use: a key stands for one value");
            }
            Err(index) => self.slots.insert(index, (key, Some(value))),
        }
    }

    /// Takes out the value of `key`.
    pub fn remove(&mut self, key: u64) -> Option<T> {
        let index = self.find(key)?;
        let value = self.slots[index].1.take()?;
        self.len -= 1;
        self.trim();
        Some(value)
    }

    /// The value of `key`.
    pub fn get(&self, key: u64) -> Option<&T> {
        self.slots[self.find(key)?].1.as_ref()
    }

    /// Takes out the value with the lowest key.
    pub fn pop_front(&mut self) -> Option<(u64, T)> {
        let (key, value) = self.slots.pop_front()?;
        self.len -= 1;
        self.trim();
        Some((key, value.expect("trim leaves no hole in front")))
    }

    /// The lowest key.
    pub fn first_key(&self) -> Option<u64> {
        self.slots.front().map(|(key, _)| *key)
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All values in ascending order of key.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.slots
            .iter()
            .filter_map(|(key, value)| Some((*key, value.as_ref()?)))
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
        if self.len == 0 && self.slots.capacity() > HOLES_MIN {
            self.slots.shrink_to(HOLES_MIN);
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

    proptest! {
        #[test]
        fn agrees_with_a_map(steps in prop::collection::vec((0u8..4, 0u64..64), 0..400)) {
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
                    _ => prop_assert_eq!(deque.get(key), map.get(&key)),
                }
                prop_assert_eq!(deque.len(), map.len());
                prop_assert_eq!(deque.first_key(), map.keys().next().copied());
                prop_assert!(deque.iter().eq(map.iter().map(|(key, value)| (*key, value))));
            }
        }
    }
}
