//! Taking over what a start finds in the store; policies are taken over before, in `policies`.

use std::sync::Arc;

use crate::store::{BindingRow, DestinationKind, ExchangeRow, RecoveredDelays, RecoveredQueue};

use super::super::delayed::DelayedMessages;
use super::super::live_queue::{LiveQueue, QueueDefinition};
use super::super::queue_arguments;
use super::super::queue_type::QueueType;
use super::super::refusal::{Entity, Refusal};
use super::{Destination, ExchangeDefinition, Vhost, exchange_type, policies};

impl Vhost {
    /// Takes over an exchange found in the store.
    ///
    /// # Errors
    /// When its type is not known to this version.
    pub fn recover_exchange(&self, row: &ExchangeRow) -> Result<(), Refusal> {
        let kind = exchange_type(&row.kind, &row.arguments)?;
        let definition = ExchangeDefinition {
            name: Arc::clone(&row.name),
            type_name: Arc::clone(&row.kind),
            kind,
            durable: true,
            auto_delete: row.auto_delete,
            internal: row.internal,
            arguments: row.arguments.clone(),
        };
        let mut topology = self.topology.write();
        topology.insert_exchange(definition, None, self.exchange_tally.count());
        self.equip(&mut topology, &row.name);
        Ok(())
    }

    /// Takes over a queue found in the store.
    ///
    /// # Errors
    /// When its type is not known to this version.
    pub fn recover_queue(&self, found: &RecoveredQueue) -> Result<(), Refusal> {
        let row = &found.row;
        let definition = QueueDefinition {
            name: Arc::clone(&row.name),
            durable: true,
            auto_delete: row.auto_delete,
            owner: None,
            queue_type: queue_arguments::queue_type(&row.name, &row.arguments, QueueType::default())?,
            arguments: row.arguments.clone(),
        };
        let mut topology = self.topology.write();
        let settings = policies::settings(&topology.policies, &definition);
        let store = &self.stores.durable;
        let queue = LiveQueue::recovered(&self.surroundings, found, definition, settings, store);
        self.note_memory(queue.deduplicates());
        topology.queues.insert(Arc::clone(&row.name), Arc::clone(&queue));
        topology.counted_queues.push(self.queue_tally.count());
        drop(topology);
        queue.start();
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

    /// Takes over what an exchange delays, after the exchange.
    ///
    /// # Errors
    /// When there is no such exchange.
    pub fn recover_delays(&self, found: &RecoveredDelays) -> Result<(), Refusal> {
        let mut topology = self.topology.write();
        let name = &found.row.exchange;
        let exchange = topology
            .exchanges
            .get_mut(name)
            .ok_or_else(|| Refusal::NotFound(Entity::Exchange(Arc::clone(name))))?;
        let store = &self.stores.durable;
        exchange.delayed = Some(DelayedMessages::recovered(&self.surroundings, found, store));
        Ok(())
    }
}
