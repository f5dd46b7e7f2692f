//! Fanout: every binding matches every message; keys and arguments do not matter.

use std::hash::Hash;

use super::destinations::Destinations;

/// Everything that is bound.
#[derive(Clone, Debug)]
pub(super) struct Fanout<D> {
    bound: Destinations<D>,
}

impl<D> Default for Fanout<D> {
    fn default() -> Self {
        Self {
            bound: Destinations::default(),
        }
    }
}

impl<D: Clone + Eq + Hash> Fanout<D> {
    pub(super) fn add(&mut self, destination: D) {
        self.bound.add(destination);
    }

    pub(super) fn remove(&mut self, destination: &D) {
        self.bound.remove(destination);
    }

    pub(super) fn route(&self, found: &mut dyn FnMut(&D)) {
        self.bound.each(found);
    }
}
