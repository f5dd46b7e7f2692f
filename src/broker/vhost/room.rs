//! What an operator says of a vhost, and whether there is room for more in it.

use std::sync::Arc;

use super::super::limits::TooMany;
use super::super::queue_type::QueueType;
use super::super::refusal::{Entity, Refusal};
use super::{Topology, Vhost};

/// What an operator says of a vhost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VhostSettings {
    /// The type of queues that are declared without one.
    pub default_queue_type: Option<Arc<str>>,
    /// How many queues there may be.
    pub queues_max: Option<u32>,
}

impl Vhost {
    /// What the operator says of it.
    pub fn settings(&self) -> VhostSettings {
        self.topology.read().settings.clone()
    }

    /// What queues are that are declared without a type.
    pub fn default_queue_type(&self) -> QueueType {
        let topology = self.topology.read();
        let named = topology.settings.default_queue_type.as_deref();
        named.and_then(QueueType::from_name).unwrap_or_default()
    }

    /// Other settings hold from now on, for what is declared from now on.
    pub fn set_settings(&self, settings: VhostSettings) {
        self.topology.write().settings = settings;
    }

    /// Whether a queue of this name may be created.
    pub(super) fn check_new_queue(&self, topology: &Topology, queue: &Arc<str>) -> Result<(), Refusal> {
        if topology.is_deleted {
            return Err(Refusal::VhostDeleted);
        }
        let is_full = |max: &u32| topology.queues.len() >= *max as usize;
        if let Some(max) = topology.settings.queues_max.filter(is_full) {
            return Err(Refusal::TooMany(TooMany::VhostQueues(Arc::clone(queue), max)));
        }
        match self.queue_tally.reached() {
            None => Ok(()),
            Some(max) => Err(Refusal::TooMany(TooMany::NodeQueues(Arc::clone(queue), max))),
        }
    }

    /// Whether an exchange of this name may be created.
    pub(super) fn check_new_exchange(&self, topology: &Topology, entity: &Entity) -> Result<(), Refusal> {
        if entity.name().starts_with("amq.") {
            return Err(Refusal::ReservedName(entity.clone()));
        }
        if topology.is_deleted {
            return Err(Refusal::VhostDeleted);
        }
        match self.exchange_tally.reached() {
            None => Ok(()),
            Some(max) => Err(Refusal::TooMany(TooMany::NodeExchanges(
                entity.name().into(),
                max,
            ))),
        }
    }
}
