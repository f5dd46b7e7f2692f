//! Declaring and deleting exchanges.

use std::sync::Arc;

use amq_protocol::types::{AMQPValue, FieldTable};

use crate::amqp::field_table::type_name;
use crate::store::{ExchangeRow, Operation, Sequence};

use super::super::exchange::{ExchangeKind, arguments};
use super::super::refusal::{Difference, Entity, Refusal};
use super::{Destination, ExchangeDefinition, Topology, Vhost, binding_row, exchange_type, is_exchange_type};

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
    /// In RabbitMQ's order: type, default exchange, equivalence; or reserved name and arguments, when it has to be
    /// created.
    pub fn declare_exchange<E: From<Refusal>>(
        &self,
        asked: ExchangeDeclaration,
        may_create: impl FnOnce(Option<&str>) -> Result<(), E>,
    ) -> Result<Option<Sequence>, E> {
        if !is_exchange_type(&asked.kind) {
            return Err(Refusal::UnknownExchangeType(asked.kind).into());
        }
        if asked.name.is_empty() {
            return Err(Refusal::DefaultExchange.into());
        }
        let mut topology = self.topology.write();
        if let Some(existing) = topology.exchanges.get(&asked.name) {
            check_equivalence(&existing.definition, &asked)?;
            return Ok(existing.declared);
        }
        let entity = Entity::Exchange(Arc::clone(&asked.name));
        self.check_new_exchange(&topology, &entity)?;
        check_alternate(&asked.arguments, entity)?;
        may_create(alternate_of(&asked.arguments).as_deref())?;
        let kind = exchange_type(&asked.kind, &asked.arguments)?;
        arguments::check(kind, &asked.arguments).map_err(|refusal| Refusal::Argument(refusal.to_string()))?;
        Self::check_memory(&asked.arguments, Some(kind))?;
        let row = asked.durable.then(|| ExchangeRow {
            vhost: Arc::clone(&self.name),
            name: Arc::clone(&asked.name),
            kind: Arc::clone(&asked.kind),
            auto_delete: asked.auto_delete,
            internal: asked.internal,
            arguments: asked.arguments.clone(),
        });
        let mut operations: Vec<_> = row.map(Operation::DeclareExchange).into_iter().collect();
        let definition = ExchangeDefinition {
            name: asked.name,
            type_name: asked.kind,
            kind,
            durable: asked.durable,
            auto_delete: asked.auto_delete,
            internal: asked.internal,
            arguments: asked.arguments,
        };
        let delayed = self.delayed_messages(&definition, &mut operations)?;
        let name = Arc::clone(&definition.name);
        topology.insert_exchange(definition, delayed, self.exchange_tally.count());
        self.equip(&mut topology, &name);
        self.touch();
        let sequence = self.append_change(operations);
        if let Some(exchange) = topology.exchanges.get_mut(&name) {
            exchange.declared = sequence;
        }
        Ok(sequence)
    }

    /// Whether the exchange exists (`exchange.declare` with `passive`), and what has to be committed before anybody is
    /// told so.
    ///
    /// # Errors
    /// When it does not, or is the default exchange.
    pub fn check_exchange(&self, name: &str) -> Result<Option<Sequence>, Refusal> {
        if name.is_empty() {
            return Err(Refusal::DefaultExchange);
        }
        self.topology
            .read()
            .exchange(name)
            .map(|exchange| exchange.declared)
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
            return Ok(self.last_change());
        };
        if if_unused && !exchange.bindings.is_empty() {
            return Err(Refusal::InUse(Entity::Exchange(Arc::clone(name))));
        }
        let mut operations = Vec::new();
        self.remove_exchanges(&mut topology, vec![Arc::clone(name)], &mut operations);
        self.touch();
        Ok(self.append_change(operations))
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
                topology.forget_source(destination, &name);
            }
            doomed.extend(self.remove_destination(
                topology,
                &Destination::Exchange(Arc::clone(&name)),
                operations,
            ));
            exchange.memory.forget_all(operations);
            if exchange.definition.durable {
                operations.push(Operation::DeleteExchange {
                    vhost: Arc::clone(&self.name),
                    name,
                });
            }
            if let Some(delayed) = exchange.delayed {
                delayed.delete(operations);
            }
        }
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
fn check_equivalence(existing: &ExchangeDefinition, asked: &ExchangeDeclaration) -> Result<(), Refusal> {
    let alternate = |arguments: &FieldTable| arguments.inner().get(ALTERNATE_EXCHANGE).cloned();
    let differences = [
        (
            "type",
            (existing.type_name != asked.kind).then(|| Difference::values(&asked.kind, &existing.type_name)),
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
