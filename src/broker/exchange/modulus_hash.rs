//! Modulus hash: the routing keys' hash, modulo the number of bindings, says which of the sorted bindings gets the
//! message. Each change of the bindings moves nearly all keys.

use super::{Criteria, Destination, hash};

/// Everything that is bound, once for each binding, sorted by a number that outlives a restart.
#[derive(Debug)]
pub(super) struct ModulusHash<D> {
    sorted: Vec<(u64, D)>,
}

impl<D> Default for ModulusHash<D> {
    fn default() -> Self {
        Self { sorted: Vec::new() }
    }
}

impl<D: Destination> ModulusHash<D> {
    pub(super) fn add(&mut self, destination: D) {
        let fingerprint = destination.fingerprint();
        let place = self.sorted.partition_point(|(other, _)| *other <= fingerprint);
        self.sorted.insert(place, (fingerprint, destination));
    }

    pub(super) fn remove(&mut self, destination: &D) {
        let fingerprint = destination.fingerprint();
        let begin = self.sorted.partition_point(|(other, _)| *other < fingerprint);
        let equals = self.sorted[begin..].iter();
        let mut equals = equals.take_while(|(other, _)| *other == fingerprint);
        if let Some(place) = equals.position(|(_, other)| other == destination) {
            self.sorted.remove(begin + place);
        }
    }

    pub(super) fn route(&self, criteria: &Criteria<'_>, found: &mut dyn FnMut(&D)) {
        let keys = criteria.routing_keys.iter();
        let number = keys.fold(0, |number, key| hash::mix(number) ^ hash::of(key));
        if let Some(place) = number.checked_rem(self.sorted.len() as u64) {
            let place = usize::try_from(place).expect("it is below a length");
            found(&self.sorted[place].1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn place(exchange: &ModulusHash<u32>, keys: &[&[u8]]) -> Vec<u32> {
        let mut found = Vec::new();
        let criteria = Criteria {
            routing_keys: keys,
            properties: &[0, 0],
        };
        exchange.route(&criteria, &mut |destination| found.push(*destination));
        found
    }

    #[test]
    fn a_key_goes_to_the_same_of_the_same_bindings_in_whatever_order_they_were_made() {
        let (mut forth, mut back) = (ModulusHash::default(), ModulusHash::default());
        for destination in 0..10 {
            forth.add(destination);
            back.add(9 - destination);
        }
        back.add(3);
        back.remove(&3);
        for key in 0..200_u8 {
            let found = place(&forth, &[&[key]]);
            assert_eq!(found.len(), 1);
            assert_eq!(found, place(&back, &[&[key]]));
        }
    }

    #[test]
    fn all_bindings_get_their_share_and_all_routing_keys_count() {
        let mut exchange = ModulusHash::default();
        (0..4).for_each(|destination| exchange.add(destination));
        let mut counts = HashMap::<u32, usize>::new();
        let mut moved = 0;
        for key in 0..8_000_u32 {
            let key = key.to_be_bytes();
            let one = place(&exchange, &[&key]);
            *counts.entry(one[0]).or_default() += 1;
            moved += usize::from(place(&exchange, &[&key, b"cc"]) != one);
        }
        assert!(
            counts.values().all(|count| count.abs_diff(2_000) < 200),
            "{counts:?}"
        );
        assert!(
            moved.abs_diff(6_000) < 300,
            "three quarters differ by chance, not {moved}"
        );
    }

    #[test]
    fn nothing_bound_is_nowhere() {
        let mut exchange = ModulusHash::default();
        assert!(place(&exchange, &[b"key"]).is_empty());
        exchange.add(1);
        exchange.remove(&2);
        exchange.remove(&1);
        assert!(place(&exchange, &[b"key"]).is_empty());
    }
}
