//! A virtual host: its exchanges, queues and bindings, and who may be routed where.
//!
//! Topology changes take the write lock; routing takes the read lock, and connections keep the result until
//! [`Vhost::version`] moves. Durable changes are appended to the store under the same lock, so that the store sees
//! them in the order in which they happened.

mod exchanges;
mod queues;
mod replies;
mod routing;

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use amq_protocol::types::FieldTable;
use parking_lot::RwLock;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::store::{BindingRow, DestinationKind, ExchangeRow, Operation, RecoveredQueue, Sequence, Store};

use super::exchange::{Bindings, ExchangeKind};
use super::live_queue::LiveQueue;
use super::queue::ready::Window;
use super::queue_arguments;
use super::queue_ids::QueueIds;
use super::queue_type::QueueType;
use super::refusal::{Entity, Refusal};

pub use exchanges::ExchangeDeclaration;
pub use queues::{DeleteConditions, QueueDeclaration, QueueDeclared};
pub use replies::{REPLY_QUEUE_PREFIX, REPLY_TO};
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

/// What an exchange was declared with.
#[derive(Clone, Debug)]
pub struct ExchangeDefinition {
    /// Name, unique in its vhost; empty for the default exchange.
    pub name: Arc<str>,
    /// How it routes.
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

#[derive(Debug)]
struct Exchange {
    definition: ExchangeDefinition,
    bindings: Bindings<Destination>,
    /// Where messages go that its bindings lead nowhere.
    alternate: Option<Arc<str>>,
}

#[derive(Debug, Default)]
struct Topology {
    exchanges: FxHashMap<Arc<str>, Exchange>,
    queues: FxHashMap<Arc<str>, Arc<LiveQueue>>,
    /// Queues of channels that wait for direct replies.
    reply_queues: FxHashMap<Arc<str>, Arc<LiveQueue>>,
    /// Exchanges that bind a destination, or once did: where to look when it is deleted.
    sources: FxHashMap<Destination, FxHashSet<Arc<str>>>,
}

/// A virtual host.
#[derive(Debug)]
pub struct Vhost {
    /// Its name.
    pub name: Arc<str>,
    topology: RwLock<Topology>,
    version: AtomicU64,
    stores: Stores,
    ids: Arc<QueueIds>,
    window: Window,
}

impl Vhost {
    /// A vhost with the predeclared exchanges.
    pub fn new(name: &str, stores: Stores, ids: Arc<QueueIds>, window: Window) -> Self {
        let mut topology = Topology::default();
        for (name, kind, internal) in PREDECLARED {
            let definition = ExchangeDefinition {
                name: name.into(),
                kind,
                durable: true,
                auto_delete: false,
                internal,
                arguments: FieldTable::default(),
            };
            topology
                .exchanges
                .insert(Arc::clone(&definition.name), Exchange::new(definition));
        }
        Self {
            name: name.into(),
            topology: RwLock::new(topology),
            version: AtomicU64::new(1),
            stores,
            ids,
            window,
        }
    }

    /// Moves whenever a cached route could be wrong.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Drops all cached routes, after a change of permissions for instance.
    pub fn touch(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// Takes over an exchange found in the store.
    ///
    /// # Errors
    /// When its type is not known to this version.
    pub fn recover_exchange(&self, row: &ExchangeRow) -> Result<(), Refusal> {
        let kind = ExchangeKind::from_name(&row.kind)
            .ok_or_else(|| Refusal::UnknownExchangeType(Arc::clone(&row.kind)))?;
        let definition = ExchangeDefinition {
            name: Arc::clone(&row.name),
            kind,
            durable: true,
            auto_delete: row.auto_delete,
            internal: row.internal,
            arguments: row.arguments.clone(),
        };
        let mut topology = self.topology.write();
        topology
            .exchanges
            .insert(Arc::clone(&row.name), Exchange::new(definition));
        Ok(())
    }

    /// Takes over a queue found in the store.
    ///
    /// # Errors
    /// When its type is not known to this version.
    pub fn recover_queue(&self, found: &RecoveredQueue) -> Result<(), Refusal> {
        let row = &found.row;
        let queue_type = queue_arguments::queue_type(&row.name, &row.arguments, QueueType::default())?;
        let queue = LiveQueue::recovered(&self.ids, found, queue_type, &self.stores.durable, self.window);
        self.topology.write().queues.insert(Arc::clone(&row.name), queue);
        Ok(())
    }

    /// Takes over a binding found in the store, after its two ends.
    ///
    /// # Errors
    /// When one of its ends is missing or does not accept it.
    pub fn recover_binding(&self, row: &BindingRow) -> Result<(), Refusal> {
        let mut topology = self.topology.write();
        let destination = match row.destination_kind {
            DestinationKind::Queue => Destination::Queue(Arc::clone(topology.queue(&row.destination)?)),
            DestinationKind::Exchange => {
                topology.exchange(&row.destination)?;
                Destination::Exchange(Arc::clone(&row.destination))
            }
        };
        topology
            .bind(&row.source, &row.routing_key, &row.arguments, destination)
            .map(|_| ())
    }

    /// Names of all queues, in no order.
    pub fn queues(&self) -> Vec<Arc<LiveQueue>> {
        self.topology.read().queues.values().cloned().collect()
    }

    fn append(&self, operations: Vec<Operation>) -> Option<Sequence> {
        let mut operations = operations;
        (!operations.is_empty()).then(|| self.stores.durable.append(&mut operations))
    }
}

impl Exchange {
    fn new(definition: ExchangeDefinition) -> Self {
        let bindings = Bindings::new(definition.kind);
        let alternate = exchanges::alternate_of(&definition.arguments);
        Self {
            definition,
            bindings,
            alternate,
        }
    }
}

impl Topology {
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
            .validate(arguments)
            .map_err(|refusal| Refusal::Binding(refusal.to_string()))?;
        self.sources
            .entry(destination.clone())
            .or_default()
            .insert(Arc::clone(source));
        Ok(exchange.bindings.bind(routing_key, arguments, destination))
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
