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

use self::direct::Direct;
use self::fanout::Fanout;
use self::headers::Headers;
pub use self::refusal::{BindingRefusal, Term};
use self::topic::Topic;

mod comparable;
mod destinations;
mod direct;
mod fanout;
mod headers;
mod refusal;
mod topic;

/// How an exchange matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ExchangeKind {
    /// By equal keys.
    Direct,
    /// Everything.
    Fanout,
    /// By patterns of words.
    Topic,
    /// By message headers.
    Headers,
}

/// The bindings of one exchange, ready to route. `D` names a destination: a queue or another exchange.
#[derive(Clone, Debug)]
pub struct Bindings<D> {
    matcher: Matcher<D>,
    /// What is bound to each destination; never an empty map.
    by_destination: HashMap<D, HashMap<Identity, u64>>,
    /// Bindings in all.
    len: usize,
    /// Bindings ever made; the number in `by_destination` tells their order.
    made: u64,
}

#[derive(Clone, Debug)]
enum Matcher<D> {
    Direct(Direct<D>),
    Fanout(Fanout<D>),
    Topic(Topic<D>),
    Headers(Headers<D>),
}

/// What tells a binding from others of the same exchange to the same destination. The order of arguments does not.
#[derive(Clone, Debug)]
struct Identity {
    routing_key: Arc<[u8]>,
    arguments: FieldTable,
    /// `arguments` as table entries sorted by name.
    entries: Box<[u8]>,
}

impl ExchangeKind {
    /// The kind that a declare asks for.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Direct, Self::Fanout, Self::Topic, Self::Headers]
            .into_iter()
            .find(|kind| kind.name() == name)
    }

    /// Its name in a declare.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
            Self::Headers => "headers",
        }
    }
}

impl<D: Clone + Eq + Hash> Bindings<D> {
    /// No bindings yet.
    pub fn new(kind: ExchangeKind) -> Self {
        let matcher = match kind {
            ExchangeKind::Direct => Matcher::Direct(Direct::default()),
            ExchangeKind::Fanout => Matcher::Fanout(Fanout::default()),
            ExchangeKind::Topic => Matcher::Topic(Topic::default()),
            ExchangeKind::Headers => Matcher::Headers(Headers::default()),
        };
        Self {
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

    /// Whether the exchange can match such arguments.
    ///
    /// # Errors
    /// A headers exchange refuses an `x-match` that it does not know.
    pub fn validate(&self, arguments: &FieldTable) -> Result<(), BindingRefusal> {
        match self.matcher {
            Matcher::Headers(_) => refusal::check_match(arguments),
            Matcher::Direct(_) | Matcher::Fanout(_) | Matcher::Topic(_) => Ok(()),
        }
    }

    /// Hands out where a message goes; a destination may come more than once. `headers` are the raw entries of the
    /// message's header table, as far as they parse.
    pub fn route(&self, routing_key: &[u8], headers: Option<&[u8]>, found: &mut dyn FnMut(&D)) {
        match &self.matcher {
            Matcher::Direct(direct) => direct.route(routing_key, found),
            Matcher::Fanout(fanout) => fanout.route(found),
            Matcher::Topic(topic) => topic.route(routing_key, found),
            Matcher::Headers(matcher) => matcher.route(headers.unwrap_or_default(), found),
        }
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
