//! Declaring, deleting and binding exchanges.

use std::sync::Arc;

use amq_protocol::types::{AMQPValue, FieldTable};

use crate::amqp::field_table::type_name;
use crate::store::{ExchangeRow, Operation, Sequence};

use super::super::exchange::ExchangeKind;
use super::super::live_queue::LiveQueue;
use super::super::refusal::{Difference, Entity, Refusal};
use super::{Destination, Exchange, ExchangeDefinition, Topology, Vhost, binding_row};

/// The argument that names an exchange's alternate.
pub(super) const ALTERNATE_EXCHANGE: &str = "alternate-exchange";

/// What `exchange.declare` asks for.
#[derive(Clone, Debug)]
pub struct ExchangeDeclaration {
    /// Name; not empty.
    pub name: Arc<str>,
    /// Type, by name.
    pub kind: Arc<str>,
    /// Survives a restart.
    pub durable: bool,
    /// Is deleted with its last binding.
    pub auto_delete: bool,
    /// Publishers may not use it.
    pub internal: bool,
    /// Arguments.
    pub arguments: FieldTable,
}

impl Vhost {
    /// Creates an exchange, or agrees that it exists as asked for. `may_create` is asked only when it has to be
    /// created (permissions on an alternate exchange).
    ///
    /// # Errors
    /// In RabbitMQ's order: type, default exchange, reserved name, arguments, equivalence.
    pub fn declare_exchange<E: From<Refusal>>(
        &self,
        asked: ExchangeDeclaration,
        may_create: impl FnOnce(Option<&str>) -> Result<(), E>,
    ) -> Result<Option<Sequence>, E> {
        let kind = ExchangeKind::from_name(&asked.kind)
            .ok_or_else(|| Refusal::UnknownExchangeType(Arc::clone(&asked.kind)))?;
        if asked.name.is_empty() {
            return Err(Refusal::DefaultExchange.into());
        }
        let mut topology = self.topology.write();
        if let Some(existing) = topology.exchanges.get(&asked.name) {
            return Ok(check_equivalence(&existing.definition, &asked, kind).map(|()| None)?);
        }
        let entity = Entity::Exchange(Arc::clone(&asked.name));
        if asked.name.starts_with("amq.") {
            return Err(Refusal::ReservedName(entity).into());
        }
        check_alternate(&asked.arguments, entity)?;
        may_create(alternate_of(&asked.arguments).as_deref())?;
        let row = asked.durable.then(|| ExchangeRow {
            vhost: Arc::clone(&self.name),
            name: Arc::clone(&asked.name),
            kind: kind.name().into(),
            auto_delete: asked.auto_delete,
            internal: asked.internal,
            arguments: asked.arguments.clone(),
        });
        let definition = ExchangeDefinition {
            name: asked.name,
            kind,
            durable: asked.durable,
            auto_delete: asked.auto_delete,
            internal: asked.internal,
            arguments: asked.arguments,
        };
        topology
            .exchanges
            .insert(Arc::clone(&definition.name), Exchange::new(definition));
        self.touch();
        Ok(self.append(row.map(Operation::DeclareExchange).into_iter().collect()))
    }

    /// Whether the exchange exists (`exchange.declare` with `passive`).
    ///
    /// # Errors
    /// When it does not, or is the default exchange.
    pub fn check_exchange(&self, name: &str) -> Result<(), Refusal> {
        if name.is_empty() {
            return Err(Refusal::DefaultExchange);
        }
        self.topology.read().exchange(name).map(|_| ())
    }

    /// The type of an exchange, if it exists.
    pub fn exchange_kind(&self, name: &str) -> Option<ExchangeKind> {
        self.topology
            .read()
            .exchanges
            .get(name)
            .map(|exchange| exchange.definition.kind)
    }

    /// Deletes an exchange with its bindings in both directions. Deleting what is not there succeeds.
    ///
    /// # Errors
    /// When it is the default or a system exchange, or `if_unused` and something is bound to it.
    pub fn delete_exchange(&self, name: &Arc<str>, if_unused: bool) -> Result<Option<Sequence>, Refusal> {
        if name.is_empty() {
            return Err(Refusal::DefaultExchange);
        }
        if name.starts_with("amq.") {
            return Err(Refusal::SystemExchange(Arc::clone(name)));
        }
        let mut topology = self.topology.write();
        let Some(exchange) = topology.exchanges.get(name) else {
            return Ok(None);
        };
        if if_unused && !exchange.bindings.is_empty() {
            return Err(Refusal::InUse(Entity::Exchange(Arc::clone(name))));
        }
        let mut operations = Vec::new();
        self.remove_exchanges(&mut topology, vec![Arc::clone(name)], &mut operations);
        self.touch();
        Ok(self.append(operations))
    }

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
        let source_is_durable = topology.exchange(source)?.definition.durable;
        if !topology.bind(source, routing_key, arguments, destination.clone())? {
            return Ok(None);
        }
        self.touch();
        let operation = (destination_is_durable && source_is_durable).then(|| {
            Operation::Bind(binding_row(
                &self.name,
                source,
                routing_key,
                arguments.clone(),
                destination,
            ))
        });
        Ok(self.append(operation.into_iter().collect()))
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
            return Ok(None);
        };
        if !exchange.bindings.unbind(routing_key, arguments, destination) {
            return Ok(None);
        }
        let row = binding_row(&self.name, source, routing_key, arguments.clone(), destination);
        let mut operations = vec![Operation::Unbind(row)];
        if exchange.definition.auto_delete && exchange.bindings.is_empty() {
            self.remove_exchanges(&mut topology, vec![Arc::clone(source)], &mut operations);
        }
        self.touch();
        Ok(self.append(operations))
    }

    /// Removes exchanges, their bindings, and the auto-delete exchanges that lose their last binding by that.
    pub(super) fn remove_exchanges(
        &self,
        topology: &mut Topology,
        mut doomed: Vec<Arc<str>>,
        operations: &mut Vec<Operation>,
    ) {
        while let Some(name) = doomed.pop() {
            let Some(exchange) = topology.exchanges.remove(&name) else {
                continue;
            };
            for (destination, routing_key, arguments) in exchange.bindings.iter() {
                let row = binding_row(&self.name, &name, routing_key, arguments.clone(), destination);
                operations.push(Operation::Unbind(row));
            }
            doomed.extend(self.remove_destination(
                topology,
                &Destination::Exchange(Arc::clone(&name)),
                operations,
            ));
            if exchange.definition.durable {
                operations.push(Operation::DeleteExchange {
                    vhost: Arc::clone(&self.name),
                    name,
                });
            }
        }
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

/// The alternate exchange that the arguments name.
pub(super) fn alternate_of(arguments: &FieldTable) -> Option<Arc<str>> {
    match arguments.inner().get(ALTERNATE_EXCHANGE)? {
        AMQPValue::LongString(name) => Some(String::from_utf8_lossy(name.as_bytes()).into()),
        _ => None,
    }
}

fn check_alternate(arguments: &FieldTable, entity: Entity) -> Result<(), Refusal> {
    match arguments.inner().get(ALTERNATE_EXCHANGE) {
        None | Some(AMQPValue::LongString(_)) => Ok(()),
        Some(other) => Err(Refusal::ArgumentType {
            entity,
            argument: ALTERNATE_EXCHANGE,
            found: type_name(other),
        }),
    }
}

/// Compares in RabbitMQ's order; arguments other than the alternate exchange are not compared.
fn check_equivalence(
    existing: &ExchangeDefinition,
    asked: &ExchangeDeclaration,
    kind: ExchangeKind,
) -> Result<(), Refusal> {
    let alternate = |arguments: &FieldTable| arguments.inner().get(ALTERNATE_EXCHANGE).cloned();
    let differences = [
        (
            "type",
            (existing.kind != kind).then(|| Difference::values(kind.name(), existing.kind.name())),
        ),
        ("durable", flag(asked.durable, existing.durable)),
        ("auto_delete", flag(asked.auto_delete, existing.auto_delete)),
        ("internal", flag(asked.internal, existing.internal)),
        (
            ALTERNATE_EXCHANGE,
            Difference::between(
                alternate(&asked.arguments).as_ref(),
                alternate(&existing.arguments).as_ref(),
            ),
        ),
    ];
    for (argument, difference) in differences {
        if let Some(difference) = difference {
            let entity = Entity::Exchange(Arc::clone(&asked.name));
            return Err(Refusal::Inequivalent {
                entity,
                argument,
                difference,
            });
        }
    }
    Ok(())
}

/// How two flags differ, if they do.
pub(super) fn flag(received: bool, current: bool) -> Option<Difference> {
    (received != current).then(|| Difference::values(received, current))
}
