//! Random: one of the bindings, by chance; keys and arguments do not matter.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

use super::hash::mix;

/// Everything that is bound, once for each binding, so that each binding is as likely as the others.
#[derive(Debug)]
pub(super) struct Random<D> {
    bindings: Vec<D>,
    /// Where each destination stands in `bindings`; never empty lists.
    places: HashMap<D, SmallVec<[usize; 1]>>,
    /// Lets exchanges that are asked in step differ.
    seed: u64,
    /// How often it was asked. Hashed, it is as good as chance, and the core needs no source of it.
    asked: AtomicU64,
}

impl<D: Clone + Eq + Hash> Random<D> {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            bindings: Vec::new(),
            places: HashMap::new(),
            seed,
            asked: AtomicU64::new(0),
        }
    }

    pub(super) fn add(&mut self, destination: D) {
        let places = self.places.entry(destination.clone()).or_default();
        places.push(self.bindings.len());
        self.bindings.push(destination);
    }

    pub(super) fn remove(&mut self, destination: &D) {
        let Some(places) = self.places.get_mut(destination) else {
            return;
        };
        let place = places.pop().expect("lists are never empty");
        if places.is_empty() {
            self.places.remove(destination);
        }
        self.bindings.swap_remove(place);
        if let Some(moved) = self.bindings.get(place) {
            let places = self.places.get_mut(moved).expect("what is bound has places");
            let old = places.iter_mut().find(|old| **old == self.bindings.len());
            *old.expect("the last one stood there") = place;
        }
    }

    pub(super) fn route(&self, found: &mut dyn FnMut(&D)) {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let number = mix(self.seed ^ mix(asked));
        let place = (u128::from(number) * self.bindings.len() as u128) >> u64::BITS;
        if let Some(destination) = self
            .bindings
            .get(usize::try_from(place).expect("it is below a length"))
        {
            found(destination);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drawn(random: &Random<u8>, times: usize) -> HashMap<u8, usize> {
        let mut counts = HashMap::new();
        for _ in 0..times {
            random.route(&mut |destination| *counts.entry(*destination).or_default() += 1);
        }
        counts
    }

    #[test]
    fn each_binding_is_as_likely_as_the_others() {
        let mut random = Random::new(7);
        for destination in [0, 1, 2, 3, 3] {
            random.add(destination);
        }
        let counts = drawn(&random, 50_000);
        for (destination, bindings) in [(0, 1), (1, 1), (2, 1), (3, 2)] {
            // Five standard deviations are below 500.
            assert!(
                counts[&destination].abs_diff(10_000 * bindings) < 500,
                "{counts:?}"
            );
        }
    }

    #[test]
    fn two_exchanges_that_are_asked_in_step_differ() {
        let (mut one, mut other) = (Random::new(1), Random::new(2));
        for destination in 0..8_u8 {
            one.add(destination);
            other.add(destination);
        }
        let mut same = 0;
        for _ in 0..8_000 {
            let mut chosen = Vec::new();
            one.route(&mut |destination| chosen.push(*destination));
            other.route(&mut |destination| chosen.push(*destination));
            same += usize::from(chosen[0] == chosen[1]);
        }
        assert!(
            (700..1_300).contains(&same),
            "an eighth of 8000 agree by chance, not {same}"
        );
    }

    proptest! {
        #[test]
        fn what_is_bound_is_what_a_plain_list_holds(
            steps in prop::collection::vec((0..6u8, any::<bool>()), 0..60),
        ) {
            let mut random = Random::new(0);
            let mut model = Vec::new();
            for (destination, adds) in steps {
                if adds {
                    random.add(destination);
                    model.push(destination);
                } else {
                    random.remove(&destination);
                    if let Some(place) = model.iter().position(|other| *other == destination) {
                        model.remove(place);
                    }
                }
                let mut bindings = random.bindings.clone();
                bindings.sort_unstable();
                model.sort_unstable();
                prop_assert_eq!(&bindings, &model);
                for (destination, places) in &random.places {
                    for place in places {
                        prop_assert_eq!(random.bindings[*place], *destination);
                    }
                }
                prop_assert_eq!(random.places.values().map(SmallVec::len).sum::<usize>(), model.len());
            }
        }
    }
}
