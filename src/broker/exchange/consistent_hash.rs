//! Consistent hash: one destination per message, the same for the same key while it is bound, in proportion to
//! weights.
//!
//! Each destination draws a distance from the key and its own name, the nearer the heavier it is, and the nearest
//! wins (weighted rendezvous hashing). So a destination that comes or goes moves its own keys and no others, weights
//! hold exactly on average, and nothing is kept per unit of weight. A route costs some ten nanoseconds per
//! destination.

use smallvec::SmallVec;

use crate::amqp::content::Properties;
use crate::amqp::field_table;

use super::arguments::{HashedPart, HashedProperty};
use super::refusal::weight;
use super::{Criteria, Destination, comparable, hash};

/// Everything that is bound.
#[derive(Debug)]
pub(super) struct ConsistentHash<D> {
    part: HashedPart,
    candidates: Vec<Candidate<D>>,
}

/// A destination. Without a binding it is not here.
#[derive(Debug)]
struct Candidate<D> {
    destination: D,
    fingerprint: u64,
    /// The weights of its bindings in the order in which they were made. The first one counts.
    weights: SmallVec<[u32; 2]>,
}

impl<D: Destination> ConsistentHash<D> {
    pub(super) fn new(part: HashedPart) -> Self {
        Self {
            part,
            candidates: Vec::new(),
        }
    }

    /// `key` was checked; one that is no weight weighs 1.
    pub(super) fn add(&mut self, key: &[u8], destination: D) {
        let weight = weight(key).unwrap_or(1);
        if let Some(place) = self.place(&destination) {
            self.candidates[place].weights.push(weight);
            return;
        }
        self.candidates.push(Candidate {
            fingerprint: destination.fingerprint(),
            destination,
            weights: SmallVec::from_slice(&[weight]),
        });
    }

    pub(super) fn remove(&mut self, key: &[u8], destination: &D) {
        let weight = weight(key).unwrap_or(1);
        let Some(place) = self.place(destination) else {
            return;
        };
        let weights = &mut self.candidates[place].weights;
        if let Some(index) = weights.iter().position(|other| *other == weight) {
            weights.remove(index);
        }
        if weights.is_empty() {
            self.candidates.swap_remove(place);
        }
    }

    pub(super) fn route(&self, criteria: &Criteria<'_>, found: &mut dyn FnMut(&D)) {
        let key = self.hash(criteria);
        let distances = self.candidates.iter().map(|candidate| candidate.distance(key));
        let nearest = distances
            .zip(&self.candidates)
            .min_by(|(left, _), (right, _)| left.total_cmp(right));
        if let Some((_, candidate)) = nearest {
            found(&candidate.destination);
        }
    }

    /// Whether messages with the same routing key may go to different places.
    pub(super) fn looks_at_properties(&self) -> bool {
        self.part != HashedPart::RoutingKey
    }

    /// The hash of what counts; that of nothing when the message does not have it.
    fn hash(&self, criteria: &Criteria<'_>) -> u64 {
        let bytes = match &self.part {
            HashedPart::RoutingKey => criteria.routing_keys.first().copied(),
            HashedPart::Header(name) => {
                return field_table::lookup(criteria.headers(), name).map_or(0, |value| {
                    let mut bytes = Vec::new();
                    comparable::write(&mut bytes, value);
                    hash::of(&bytes)
                });
            }
            HashedPart::Property(property) => {
                let properties = Properties::parse(criteria.properties).unwrap_or_default();
                match property {
                    HashedProperty::CorrelationId => properties.correlation_id,
                    HashedProperty::MessageId => properties.message_id,
                    HashedProperty::Timestamp => return properties.timestamp.map_or(0, hash::mix),
                }
            }
        };
        bytes.map_or(0, hash::of)
    }

    fn place(&self, destination: &D) -> Option<usize> {
        let fingerprint = destination.fingerprint();
        self.candidates
            .iter()
            .position(|other| other.fingerprint == fingerprint && other.destination == *destination)
    }
}

impl<D> Candidate<D> {
    /// An exponential variate whose rate is the weight: of several, one is the smallest with the probability of its
    /// weight among theirs.
    fn distance(&self, key: u64) -> f64 {
        let high = (hash::mix(key ^ self.fingerprint) >> 32) as u32;
        let uniform = (f64::from(high) + 0.5) / 2f64.powi(32);
        -uniform.ln() / f64::from(self.weights[0])
    }
}

#[cfg(test)]
mod tests;
