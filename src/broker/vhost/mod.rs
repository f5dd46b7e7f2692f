//! A virtual host: its exchanges, queues and bindings, and who may be routed where.
//!
//! Topology changes take the write lock; routing takes the read lock, and connections keep the result until
//! [`Vhost::version`] moves. Durable changes are appended to the store under the same lock, so that the store sees
//! them in the order in which they happened.

mod bindings;
mod dead_letters;
mod delayed;
mod deletion;
mod exchanges;
mod listing;
mod passage;
mod policies;
mod queues;
mod recovery;
mod replies;
mod room;
mod routing;

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use amq_protocol::types::FieldTable;
use parking_lot::{Mutex, RwLock};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::clock::Clock;
use crate::store::{BindingRow, DestinationKind, Operation, Sequence, Store};

use super::delayed::DelayedMessages;
use super::exchange::{self, Bindings, ExchangeKind, fingerprint};
use super::headroom::Headroom;
use super::limits::{Counted, Tally};
use super::live_queue::{LiveQueue, QueueOwner, Surroundings};
use super::policy::{Policies, Policy, PolicyKind};
use super::queue::level::Window;
use super::queue_ids::QueueIds;
use super::queue_type::QueueType;
use super::refusal::{Entity, Refusal};
use super::timers::Timers;

use delayed::exchange_type;
use passage::Memory;

pub use delayed::is_exchange_type;
pub use exchanges::ExchangeDeclaration;
pub use passage::Traces;
pub use policies::ConfiguredPolicy;
pub use queues::{DeleteConditions, QueueDeclaration, QueueDeclared};
pub use replies::{REPLY_QUEUE_PREFIX, REPLY_TO};
pub use room::VhostSettings;
pub use routing::Route;

/// The exchanges that every vhost has from the start; all are durable.
const PREDECLARED: [(&str, ExchangeKind, bool); 7] = [
    ("", ExchangeKind::Direct, false),
    ("amq.direct", ExchangeKind::Direct, false),
    ("amq.fanout", ExchangeKind::Fanout, false),
    ("amq.topic", ExchangeKind::Topic, false),
    ("amq.headers", ExchangeKind::Headers, false),
    ("amq.match", ExchangeKind::Headers, false),
    ("amq.rabbitmq.trace", ExchangeKind::Topic, true),
];

/// The stores a vhost writes to.
#[derive(Clone, Debug)]
pub struct Stores {
    /// What survives a restart.
    pub durable: Arc<dyn Store>,
    /// What only has to leave memory; it starts empty.
    pub spill: Arc<dyn Store>,
}

/// What all vhosts share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Where they write to.
    pub stores: Stores,
    /// What time it is.
    pub clock: Arc<Clock>,
    /// Who calls when it is time.
    pub timers: Arc<Timers>,
    /// Policies of the configuration file, with the names of the vhosts that they are for.
    pub policies: Arc<[(String, PolicyKind, Policy)]>,
    /// Where numbers for queues come from.
    pub ids: Arc<QueueIds>,
    /// How much of each queue stays in memory.
    pub window: Window,
    /// How much less while memory is short.
    pub headroom: Arc<Headroom>,
    /// Their queues.
    pub queues: Arc<Tally>,
    /// Their exchanges.
    pub exchanges: Arc<Tally>,
}

/// What an exchange was declared with.
#[derive(Clone, Debug)]
pub struct ExchangeDefinition {
    /// Name, unique in its vhost; empty for the default exchange.
    pub name: Arc<str>,
    /// Its type as declared.
    pub type_name: Arc<str>,
    /// How it routes, which is its type unless that delays.
    pub kind: ExchangeKind,
    /// It survives a restart.
    pub durable: bool,
    /// It is deleted with its last binding.
    pub auto_delete: bool,
    /// Publishers may not use it.
    pub internal: bool,
    /// Arguments as declared.
    pub arguments: FieldTable,
}

/// What a binding leads to. A queue counts as the same while it lives, whatever its name.
#[derive(Clone, Debug)]
pub(super) enum Destination {
    Queue(Arc<LiveQueue>),
    Exchange(Arc<str>),
}

impl PartialEq for Destination {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Queue(left), Self::Queue(right)) => left.id == right.id,
            (Self::Exchange(left), Self::Exchange(right)) => left == right,
            _ => false,
        }
    }
}

impl Eq for Destination {}

impl Hash for Destination {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Queue(queue) => queue.id.hash(state),
            Self::Exchange(name) => name.hash(state),
        }
    }
}

impl exchange::Destination for Destination {
    fn fingerprint(&self) -> u64 {
        match self {
            Self::Queue(queue) => fingerprint(true, &queue.definition.name),
            Self::Exchange(name) => fingerprint(false, name),
        }
    }

    fn queue_type(&self) -> Option<QueueType> {
        match self {
            Self::Queue(queue) => Some(queue.definition.queue_type),
            Self::Exchange(_) => None,
        }
    }
}

#[derive(Debug)]
struct Exchange {
    definition: ExchangeDefinition,
    /// What has to be committed before anybody is told that it is there.
    declared: Option<Sequence>,
    bindings: Bindings<Destination>,
    /// Where messages go that its bindings lead nowhere.
    alternate: Option<Arc<str>>,
    _counted: Counted,
    /// What it delays, if it can.
    delayed: Option<Arc<DelayedMessages>>,
    memory: Memory,
}

#[derive(Debug, Default)]
struct Topology {
    exchanges: FxHashMap<Arc<str>, Exchange>,
    queues: FxHashMap<Arc<str>, Arc<LiveQueue>>,
    /// Queues of channels that wait for direct replies.
    reply_queues: FxHashMap<Arc<str>, Arc<LiveQueue>>,
    /// Exchanges that bind a destination: where to look when it is deleted.
    sources: FxHashMap<Destination, FxHashSet<Arc<str>>>,
    policies: Policies,
    settings: VhostSettings,
    /// One for each queue.
    counted_queues: Vec<Counted>,
    /// The vhost is gone: nothing can be declared, and nothing is there.
    is_deleted: bool,
}

/// A virtual host.
#[derive(Debug)]
pub struct Vhost {
    /// Its name.
    pub name: Arc<str>,
    topology: RwLock<Topology>,
    /// Taken before `topology`: a queue's settings follow the last change of policies.
    policy_turn: Mutex<()>,
    version: AtomicU64,
    /// The number of the last durable change; see [`Vhost::last_change`].
    changed: AtomicU64,
    stores: Stores,
    /// There is, or was, an exchange or queue that remembers messages.
    remembers: AtomicBool,
    /// What its queues get to know of the broker.
    surroundings: Surroundings,
    queue_tally: Arc<Tally>,
    exchange_tally: Arc<Tally>,
}

impl Vhost {
    /// A vhost with the predeclared exchanges.
    pub fn new(name: &str, shared: Shared) -> Arc<Self> {
        let mut topology = Topology::default();
        let policies = shared.policies.iter().filter(|(vhost, ..)| vhost == name);
        for (_, kind, policy) in policies {
            topology.policies.set(*kind, policy.clone());
        }
        for (name, kind, internal) in PREDECLARED {
            let definition = ExchangeDefinition {
                name: name.into(),
                type_name: kind.name().into(),
                kind,
                durable: true,
                auto_delete: false,
                internal,
                arguments: FieldTable::default(),
            };
            topology.insert_exchange(definition, None, shared.exchanges.count());
        }
        Arc::new_cyclic(|this| Self {
            name: name.into(),
            topology: RwLock::new(topology),
            policy_turn: Mutex::default(),
            version: AtomicU64::new(1),
            changed: AtomicU64::new(0),
            stores: shared.stores.clone(),
            remembers: AtomicBool::new(false),
            surroundings: Surroundings {
                clock: shared.clock,
                timers: shared.timers,
                ids: shared.ids,
                window: shared.window,
                headroom: Arc::clone(&shared.headroom),
                durable: Arc::clone(&shared.stores.durable),
                owner: Weak::<Self>::clone(this) as Weak<dyn QueueOwner>,
            },
            queue_tally: shared.queues,
            exchange_tally: shared.exchanges,
        })
    }

    /// Moves whenever a cached route could be wrong.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Drops all cached routes, after a change of permissions for instance.
    pub fn touch(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// Names of all queues, in no order.
    pub fn queues(&self) -> Vec<Arc<LiveQueue>> {
        self.topology.read().queues.values().cloned().collect()
    }

    /// What has to be committed before anybody is told that a durable binding was there already, or that something was
    /// gone: somebody else may have asked for that just now.
    pub fn last_change(&self) -> Option<Sequence> {
        let last = self.changed.load(Ordering::Acquire);
        (last > 0).then_some(Sequence(last))
    }

    fn append(&self, operations: Vec<Operation>) -> Option<Sequence> {
        let mut operations = operations;
        (!operations.is_empty()).then(|| self.stores.durable.append(&mut operations))
    }

    /// The same for a change of the topology, whose lock the caller has.
    fn append_change(&self, operations: Vec<Operation>) -> Option<Sequence> {
        self.note_change(self.append(operations))
    }

    fn note_change(&self, sequence: Option<Sequence>) -> Option<Sequence> {
        if let Some(Sequence(number)) = sequence {
            self.changed.fetch_max(number, Ordering::AcqRel);
        }
        sequence
    }
}

impl Topology {
    fn insert_exchange(
        &mut self,
        definition: ExchangeDefinition,
        delayed: Option<Arc<DelayedMessages>>,
        counted: Counted,
    ) {
        let exchange = Exchange {
            bindings: Bindings::new(
                definition.kind,
                &definition.arguments,
                fingerprint(false, &definition.name),
            ),
            alternate: policies::alternate(&self.policies, &definition),
            memory: Memory::default(),
            definition,
            declared: None,
            _counted: counted,
            delayed,
        };
        let name = Arc::clone(&exchange.definition.name);
        self.exchanges.insert(name, exchange);
    }

    fn queue(&self, name: &str) -> Result<&Arc<LiveQueue>, Refusal> {
        self.queues
            .get(name)
            .ok_or_else(|| Refusal::NotFound(Entity::Queue(name.into())))
    }

    fn exchange(&self, name: &str) -> Result<&Exchange, Refusal> {
        self.exchanges
            .get(name)
            .ok_or_else(|| Refusal::NotFound(Entity::Exchange(name.into())))
    }

    /// Adds a binding; false when it was there.
    fn bind(
        &mut self,
        source: &Arc<str>,
        routing_key: &[u8],
        arguments: &FieldTable,
        destination: Destination,
    ) -> Result<bool, Refusal> {
        let exchange = self
            .exchanges
            .get_mut(source)
            .ok_or_else(|| Refusal::NotFound(Entity::Exchange(Arc::clone(source))))?;
        exchange
            .bindings
            .validate(routing_key, arguments, &destination)
            .map_err(|refusal| Refusal::Binding(refusal.to_string()))?;
        self.sources
            .entry(destination.clone())
            .or_default()
            .insert(Arc::clone(source));
        Ok(exchange.bindings.bind(routing_key, arguments, destination))
    }

    /// A source binds a destination no longer.
    fn forget_source(&mut self, destination: &Destination, source: &str) {
        if let Some(sources) = self.sources.get_mut(destination) {
            sources.remove(source);
            if sources.is_empty() {
                self.sources.remove(destination);
            }
        }
    }
}

/// The binding as the store keeps it.
fn binding_row(
    vhost: &Arc<str>,
    source: &Arc<str>,
    routing_key: &[u8],
    arguments: FieldTable,
    destination: &Destination,
) -> BindingRow {
    let (destination_kind, destination) = match destination {
        Destination::Queue(queue) => (DestinationKind::Queue, Arc::clone(&queue.definition.name)),
        Destination::Exchange(name) => (DestinationKind::Exchange, Arc::clone(name)),
    };
    BindingRow {
        vhost: Arc::clone(vhost),
        source: Arc::clone(source),
        destination_kind,
        destination,
        routing_key: routing_key.into(),
        arguments,
    }
}

#[cfg(test)]
mod tests;
