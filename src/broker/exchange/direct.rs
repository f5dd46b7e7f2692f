//! Direct: a binding matches when its key is the message's routing key, byte for byte.

use std::collections::HashMap;
use std::hash::Hash;

use super::destinations::Destinations;

/// Binding key to what it leads to.
#[derive(Clone, Debug)]
pub(super) struct Direct<D> {
    keys: HashMap<Box<[u8]>, Destinations<D>>,
}

impl<D> Default for Direct<D> {
    fn default() -> Self {
        Self { keys: HashMap::new() }
    }
}

impl<D: Clone + Eq + Hash> Direct<D> {
    pub(super) fn add(&mut self, key: &[u8], destination: D) {
        match self.keys.get_mut(key) {
            Some(destinations) => destinations.add(destination),
            None => self.keys.entry(key.into()).or_default().add(destination),
        }
    }

    pub(super) fn remove(&mut self, key: &[u8], destination: &D) {
        let Some(destinations) = self.keys.get_mut(key) else {
            return;
        };
        destinations.remove(destination);
        if destinations.is_empty() {
            self.keys.remove(key);
        }
    }

    pub(super) fn route(&self, key: &[u8], found: &mut dyn FnMut(&D)) {
        if let Some(destinations) = self.keys.get(key) {
            destinations.each(found);
        }
    }
}
