//! Exchanges' bindings and how each exchange type matches them; one rule per file.
//!
//! Pure: it knows no virtual host, queue or permission, only handles of destinations. It does not follow bindings
//! from exchange to exchange, nor alternate exchanges. A destination may come out more than once: the caller makes
//! the route a set.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use amq_protocol::types::FieldTable;

use crate::amqp::field_table;
use crate::broker::queue_type::QueueType;

use self::arguments::HashedPart;
use self::consistent_hash::ConsistentHash;
pub use self::criteria::Criteria;
use self::direct::Direct;
use self::fanout::Fanout;
pub use self::hash::fingerprint;
use self::headers::Headers;
pub use self::kind::ExchangeKind;
use self::modulus_hash::ModulusHash;
use self::random::Random;
pub use self::refusal::{BindingRefusal, Term};
use self::topic::Topic;

pub mod arguments;
pub(in crate::broker) mod comparable;
mod consistent_hash;
mod criteria;
mod destinations;
mod direct;
mod fanout;
mod hash;
mod headers;
mod kind;
mod modulus_hash;
mod random;
mod refusal;
mod topic;

/// What a binding leads to, as far as matching cares.
pub trait Destination: Clone + Eq + Hash {
    /// A number that stays when it is declared anew under its name, also after a restart; see [`fingerprint`].
    fn fingerprint(&self) -> u64;

    /// What it is; `None` if it is another exchange.
    fn queue_type(&self) -> Option<QueueType>;
}

/// The bindings of one exchange, ready to route. `D` names a destination: a queue or another exchange.
#[derive(Debug)]
pub struct Bindings<D> {
    kind: ExchangeKind,
    matcher: Matcher<D>,
    /// What is bound to each destination; never an empty map.
    by_destination: HashMap<D, HashMap<Identity, u64>>,
    /// Bindings in all.
    len: usize,
    /// Bindings ever made; the number in `by_destination` tells their order.
    made: u64,
}

#[derive(Debug)]
enum Matcher<D> {
    Direct(Direct<D>),
    Fanout(Fanout<D>),
    Topic(Topic<D>),
    Headers(Headers<D>),
    ConsistentHash(ConsistentHash<D>),
    ModulusHash(ModulusHash<D>),
    Random(Random<D>),
}

/// What tells a binding from others of the same exchange to the same destination. The order of arguments does not.
#[derive(Clone, Debug)]
struct Identity {
    routing_key: Arc<[u8]>,
    arguments: FieldTable,
    /// `arguments` as table entries sorted by name.
    entries: Box<[u8]>,
}

impl<D: Destination> Bindings<D> {
    /// No bindings yet. Arguments are taken as [`arguments::check`] left them: what it refuses counts as absent.
    /// `seed` lets exchanges that choose by chance differ.
    pub fn new(kind: ExchangeKind, arguments: &FieldTable, seed: u64) -> Self {
        let matcher = match kind {
            ExchangeKind::Direct => Matcher::Direct(Direct::default()),
            ExchangeKind::Fanout | ExchangeKind::RecentHistory | ExchangeKind::Deduplication => {
                Matcher::Fanout(Fanout::default())
            }
            ExchangeKind::Topic => Matcher::Topic(Topic::default()),
            ExchangeKind::Headers => Matcher::Headers(Headers::default()),
            ExchangeKind::ConsistentHash => {
                let part = arguments::hashed_part(arguments).unwrap_or(HashedPart::RoutingKey);
                Matcher::ConsistentHash(ConsistentHash::new(part))
            }
            ExchangeKind::ModulusHash => Matcher::ModulusHash(ModulusHash::default()),
            ExchangeKind::Random | ExchangeKind::LocalRandom => Matcher::Random(Random::new(seed)),
        };
        Self {
            kind,
            matcher,
            by_destination: HashMap::new(),
            len: 0,
            made: 0,
        }
    }

    /// Adds a binding; false when that very binding was there. Arguments are taken as [`Bindings::validate`] left
    /// them: what it refuses counts as `x-match: all`.
    pub fn bind(&mut self, routing_key: &[u8], arguments: &FieldTable, destination: D) -> bool {
        let identity = Identity::new(routing_key, arguments);
        let bound = self.by_destination.entry(destination.clone()).or_default();
        if bound.contains_key(&identity) {
            return false;
        }
        match &mut self.matcher {
            Matcher::Direct(direct) => direct.add(routing_key, destination),
            Matcher::Fanout(fanout) => fanout.add(destination),
            Matcher::Topic(topic) => topic.add(routing_key, destination),
            Matcher::Headers(headers) => headers.add(&identity.entries, destination),
            Matcher::ConsistentHash(hash) => hash.add(routing_key, destination),
            Matcher::ModulusHash(hash) => hash.add(destination),
            Matcher::Random(random) => random.add(destination),
        }
        bound.insert(identity, self.made);
        self.made += 1;
        self.len += 1;
        true
    }

    /// Removes a binding; false when there was none like it.
    pub fn unbind(&mut self, routing_key: &[u8], arguments: &FieldTable, destination: &D) -> bool {
        let identity = Identity::new(routing_key, arguments);
        let Some(bound) = self.by_destination.get_mut(destination) else {
            return false;
        };
        if bound.remove(&identity).is_none() {
            return false;
        }
        if bound.is_empty() {
            self.by_destination.remove(destination);
        }
        self.forget(&identity, destination);
        true
    }

    /// Removes all that leads to `destination` and returns it in the order in which it was bound. The cost depends
    /// on these bindings only.
    pub fn remove_destination(&mut self, destination: &D) -> Vec<(Arc<[u8]>, FieldTable)> {
        let bound = self.by_destination.remove(destination).unwrap_or_default();
        let mut bound = bound.into_iter().collect::<Vec<_>>();
        bound.sort_unstable_by_key(|(_, made)| *made);
        for (identity, _) in &bound {
            self.forget(identity, destination);
        }
        let parts = |(identity, _): (Identity, u64)| (identity.routing_key, identity.arguments);
        bound.into_iter().map(parts).collect()
    }

    /// Whether the exchange can have such a binding.
    ///
    /// # Errors
    /// A headers exchange refuses an `x-match` that it does not know, a consistent hash a key that is no weight, a
    /// local random exchange any key, and all but classic queues.
    pub fn validate(
        &self,
        routing_key: &[u8],
        arguments: &FieldTable,
        destination: &D,
    ) -> Result<(), BindingRefusal> {
        match self.kind {
            ExchangeKind::Headers => refusal::check_match(arguments),
            ExchangeKind::ConsistentHash => refusal::weight(routing_key).map(drop),
            ExchangeKind::LocalRandom if !routing_key.is_empty() => Err(BindingRefusal::KeyGiven(
                String::from_utf8_lossy(routing_key).into_owned(),
            )),
            ExchangeKind::LocalRandom => match destination.queue_type() {
                None => Err(BindingRefusal::NotAQueue),
                Some(QueueType::Classic) => Ok(()),
                Some(other) => Err(BindingRefusal::QueueType(other.module())),
            },
            _ => Ok(()),
        }
    }

    /// Hands out where a message goes; a destination may come more than once.
    pub fn route(&self, criteria: &Criteria<'_>, found: &mut dyn FnMut(&D)) {
        let each_key = |route: &mut dyn FnMut(&[u8])| criteria.routing_keys.iter().for_each(|key| route(key));
        match &self.matcher {
            Matcher::Direct(direct) => each_key(&mut |key| direct.route(key, found)),
            Matcher::Fanout(fanout) => fanout.route(found),
            Matcher::Topic(topic) => each_key(&mut |key| topic.route(key, found)),
            Matcher::Headers(matcher) => matcher.route(criteria.headers(), found),
            Matcher::ConsistentHash(hash) => hash.route(criteria, found),
            Matcher::ModulusHash(hash) => hash.route(criteria, found),
            Matcher::Random(random) => random.route(found),
        }
    }

    /// Whether another message with the same routing keys may go elsewhere while the bindings stay as they are.
    pub fn varies(&self) -> bool {
        match &self.matcher {
            Matcher::Direct(_) | Matcher::Fanout(_) | Matcher::Topic(_) | Matcher::ModulusHash(_) => false,
            Matcher::ConsistentHash(hash) => hash.looks_at_properties(),
            Matcher::Headers(_) | Matcher::Random(_) => true,
        }
    }

    /// Whether some binding leads there.
    pub fn leads_to(&self, destination: &D) -> bool {
        self.by_destination.contains_key(destination)
    }

    /// Whether nothing is bound.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bindings there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// All bindings as destination, key and arguments, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&D, &Arc<[u8]>, &FieldTable)> {
        self.by_destination.iter().flat_map(|(destination, bound)| {
            bound
                .keys()
                .map(move |identity| (destination, &identity.routing_key, &identity.arguments))
        })
    }

    /// Takes a binding out of the matcher; it is out of `by_destination` already.
    fn forget(&mut self, identity: &Identity, destination: &D) {
        match &mut self.matcher {
            Matcher::Direct(direct) => direct.remove(&identity.routing_key, destination),
            Matcher::Fanout(fanout) => fanout.remove(destination),
            Matcher::Topic(topic) => topic.remove(&identity.routing_key, destination),
            Matcher::Headers(headers) => headers.remove(&identity.entries, destination),
            Matcher::ConsistentHash(hash) => hash.remove(&identity.routing_key, destination),
            Matcher::ModulusHash(hash) => hash.remove(destination),
            Matcher::Random(random) => random.remove(destination),
        }
        self.len -= 1;
    }
}

impl Identity {
    fn new(routing_key: &[u8], arguments: &FieldTable) -> Self {
        let mut entries = Vec::new();
        field_table::write(&mut entries, arguments);
        Self {
            routing_key: routing_key.into(),
            arguments: arguments.clone(),
            entries: entries.into(),
        }
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.routing_key == other.routing_key && self.entries == other.entries
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.routing_key.hash(state);
        self.entries.hash(state);
    }
}

#[cfg(test)]
mod tests;
