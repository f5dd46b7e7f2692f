//! Binding queues and exchanges, and letting go of what is bound.

use std::sync::Arc;

use amq_protocol::types::FieldTable;

use crate::store::{Operation, Sequence};

use super::super::live_queue::LiveQueue;
use super::super::refusal::{Entity, Refusal};
use super::passage::replay;
use super::{Destination, Topology, Vhost, binding_row};

impl Vhost {
    /// Binds a queue to an exchange.
    ///
    /// # Errors
    /// When the exchange is missing or does not accept the binding, or is the default exchange.
    pub fn bind_queue(
        &self,
        queue: &Arc<LiveQueue>,
        source: &Arc<str>,
        routing_key: &[u8],
        arguments: &FieldTable,
    ) -> Result<Option<Sequence>, Refusal> {
        let durable = queue.definition.durable;
        self.bind(
            &Destination::Queue(Arc::clone(queue)),
            durable,
            source,
            routing_key,
            arguments,
        )
    }

    /// Binds an exchange to another one: what `source` routes goes on to `destination`.
    ///
    /// # Errors
    /// When one of them is missing or the default exchange, or the binding is not accepted.
    pub fn bind_exchange(
        &self,
        destination: &Arc<str>,
        source: &Arc<str>,
        routing_key: &[u8],
        arguments: &FieldTable,
    ) -> Result<Option<Sequence>, Refusal> {
        if destination.is_empty() || source.is_empty() {
            return Err(Refusal::DefaultExchange);
        }
        let durable = {
            let topology = self.topology.read();
            topology.exchange(source)?;
            topology.exchange(destination)?.definition.durable
        };
        self.bind(
            &Destination::Exchange(Arc::clone(destination)),
            durable,
            source,
            routing_key,
            arguments,
        )
    }

    fn bind(
        &self,
        destination: &Destination,
        destination_is_durable: bool,
        source: &Arc<str>,
        routing_key: &[u8],
        arguments: &FieldTable,
    ) -> Result<Option<Sequence>, Refusal> {
        if source.is_empty() {
            return Err(Refusal::DefaultExchange);
        }
        // A binding without the history that belongs to it would stay so: to bind again is to bind nothing new.
        let _hold = self.hold();
        let mut topology = self.topology.write();
        match destination {
            Destination::Queue(queue) => {
                // The name may have gone to another queue since the caller looked it up.
                let name = &queue.definition.name;
                if !Arc::ptr_eq(topology.queue(name)?, queue) {
                    return Err(Refusal::NotFound(Entity::Queue(Arc::clone(name))));
                }
            }
            Destination::Exchange(name) => {
                topology.exchange(name)?;
            }
        }
        let exchange = topology.exchange(source)?;
        let source_is_durable = exchange.definition.durable;
        let history = exchange.memory.history();
        let is_durable = destination_is_durable && source_is_durable;
        if !topology.bind(source, routing_key, arguments, destination.clone())? {
            return Ok(self.last_change().filter(|_| is_durable));
        }
        self.touch();
        let operation = is_durable.then(|| {
            Operation::Bind(binding_row(
                &self.name,
                source,
                routing_key,
                arguments.clone(),
                destination,
            ))
        });
        let bound = self.append_change(operation.into_iter().collect());
        drop(topology);
        let replayed = match destination {
            Destination::Queue(queue) => replay(history, queue),
            Destination::Exchange(name) => self.replay_through(history, name),
        };
        Ok(bound.max(replayed))
    }

    /// Removes a queue's binding; succeeds when it was not there.
    ///
    /// # Errors
    /// When `source` is the default exchange.
    pub fn unbind_queue(
        &self,
        queue: &Arc<LiveQueue>,
        source: &Arc<str>,
        routing_key: &[u8],
        arguments: &FieldTable,
    ) -> Result<Option<Sequence>, Refusal> {
        self.unbind(
            &Destination::Queue(Arc::clone(queue)),
            source,
            routing_key,
            arguments,
        )
    }

    /// Removes an exchange's binding; succeeds when it was not there.
    ///
    /// # Errors
    /// When one of them is the default exchange.
    pub fn unbind_exchange(
        &self,
        destination: &Arc<str>,
        source: &Arc<str>,
        routing_key: &[u8],
        arguments: &FieldTable,
    ) -> Result<Option<Sequence>, Refusal> {
        if destination.is_empty() {
            return Err(Refusal::DefaultExchange);
        }
        self.unbind(
            &Destination::Exchange(Arc::clone(destination)),
            source,
            routing_key,
            arguments,
        )
    }

    fn unbind(
        &self,
        destination: &Destination,
        source: &Arc<str>,
        routing_key: &[u8],
        arguments: &FieldTable,
    ) -> Result<Option<Sequence>, Refusal> {
        if source.is_empty() {
            return Err(Refusal::DefaultExchange);
        }
        let mut topology = self.topology.write();
        let Some(exchange) = topology.exchanges.get_mut(source) else {
            return Ok(self.last_change());
        };
        if !exchange.bindings.unbind(routing_key, arguments, destination) {
            return Ok(self.last_change());
        }
        let row = binding_row(&self.name, source, routing_key, arguments.clone(), destination);
        let mut operations = vec![Operation::Unbind(row)];
        let is_unused = exchange.definition.auto_delete && exchange.bindings.is_empty();
        if !exchange.bindings.leads_to(destination) {
            topology.forget_source(destination, source);
        }
        if is_unused {
            self.remove_exchanges(&mut topology, vec![Arc::clone(source)], &mut operations);
        }
        self.touch();
        Ok(self.append_change(operations))
    }

    /// Removes all bindings that lead to `destination`; returns the auto-delete exchanges that have none left.
    pub(super) fn remove_destination(
        &self,
        topology: &mut Topology,
        destination: &Destination,
        operations: &mut Vec<Operation>,
    ) -> Vec<Arc<str>> {
        let mut unused = Vec::new();
        for source in topology.sources.remove(destination).unwrap_or_default() {
            let Some(exchange) = topology.exchanges.get_mut(&source) else {
                continue;
            };
            let removed = exchange.bindings.remove_destination(destination);
            if removed.is_empty() {
                continue;
            }
            for (routing_key, arguments) in removed {
                let row = binding_row(&self.name, &source, &routing_key, arguments, destination);
                operations.push(Operation::Unbind(row));
            }
            if exchange.definition.auto_delete && exchange.bindings.is_empty() {
                unused.push(source);
            }
        }
        unused
    }
}
