//! Where equal bindings lead: a small set that remembers how many bindings put each member there.
//!
//! Walking it is walking a slice; adding and removing stay cheap with a hundred thousand members.

use std::collections::HashMap;
use std::hash::Hash;

/// Up to this many members are looked up by walking them; more get an index.
const WALKED_MAX: usize = 16;

/// Destinations with the number of bindings that lead to each.
#[derive(Clone, Debug)]
pub(super) struct Destinations<D> {
    /// Each member once, with a count of at least 1.
    members: Vec<(D, u32)>,
    /// Member to its place; empty until `members` outgrew `WALKED_MAX`.
    places: HashMap<D, usize>,
}

impl<D> Default for Destinations<D> {
    fn default() -> Self {
        Self {
            members: Vec::new(),
            places: HashMap::new(),
        }
    }
}

impl<D: Clone + Eq + Hash> Destinations<D> {
    /// One more binding leads to `destination`.
    pub(super) fn add(&mut self, destination: D) {
        if let Some(place) = self.place(&destination) {
            self.members[place].1 += 1;
            return;
        }
        if !self.places.is_empty() {
            self.places.insert(destination.clone(), self.members.len());
        }
        self.members.push((destination, 1));
        if self.places.is_empty() && self.members.len() > WALKED_MAX {
            let places = self.members.iter().enumerate();
            self.places = places
                .map(|(place, (member, _))| (member.clone(), place))
                .collect();
        }
    }

    /// One binding less leads to `destination`; nothing happens when none did.
    pub(super) fn remove(&mut self, destination: &D) {
        let Some(place) = self.place(destination) else {
            return;
        };
        self.members[place].1 -= 1;
        if self.members[place].1 > 0 {
            return;
        }
        self.members.swap_remove(place);
        if self.places.remove(destination).is_some()
            && let Some((moved, _)) = self.members.get(place)
        {
            self.places.insert(moved.clone(), place);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Hands each member out once.
    pub(super) fn each(&self, found: &mut dyn FnMut(&D)) {
        for (member, _) in &self.members {
            found(member);
        }
    }

    fn place(&self, destination: &D) -> Option<usize> {
        if self.places.is_empty() {
            self.members.iter().position(|(member, _)| member == destination)
        } else {
            self.places.get(destination).copied()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_counting_map_holds(
            steps in prop::collection::vec((0..40u8, prop::bool::weighted(0.6)), 0..300),
        ) {
            let mut set = Destinations::default();
            let mut model = BTreeMap::<u8, u32>::new();
            for (member, adds) in steps {
                if adds {
                    set.add(member);
                    *model.entry(member).or_default() += 1;
                } else {
                    set.remove(&member);
                    if let Some(count) = model.get_mut(&member) {
                        *count -= 1;
                        model.retain(|_, count| *count > 0);
                    }
                }
                let mut members = set.members.clone();
                members.sort_unstable();
                prop_assert_eq!(members, model.clone().into_iter().collect::<Vec<_>>());
                prop_assert_eq!(set.is_empty(), model.is_empty());
            }
        }
    }
}
