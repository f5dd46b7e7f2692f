//! From a file of definitions to a broker. What is there already stays if it is the same, and is an error if not,
//! except at a start; users, permissions and policies are set anew.

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::Arc;

use amq_protocol::types::{AMQPValue, FieldTable};
use serde_json::{Map, Value};

use crate::broker::policy::{ApplyTo, Policy, PolicyKind};
use crate::broker::refusal::{Entity, Refusal};
use crate::broker::vhost::{ExchangeDeclaration, QueueDeclaration, Vhost};
use crate::broker::{Broker, ConnectionId};
use crate::store::Hold;

use super::DefinitionsError;
use super::access::{self, VHOST_LIMITS};
use super::document::Document;
use super::entries::{Binding, DestinationType, Exchange, GlobalParameter, Parameter, PolicyRule, Queue};
use super::value::table_from_json;

/// A file of definitions that was read and not yet applied.
#[derive(Clone, Debug)]
pub struct Definitions {
    document: Document,
    notes: Vec<String>,
}

/// Whoever imports, in the place of a connection: it owns no queue.
const NOBODY: ConnectionId = ConnectionId(0);

/// The component of parameters that are operator policies.
pub(super) const OPERATOR_POLICY: &str = "operator_policy";

/// Names that the broker keeps for itself.
pub(super) const RESERVED: &str = "amq.";

impl Definitions {
    /// Reads a file. With `vhost` it is the export of a single virtual host, and is for that one, which need not have
    /// had that name.
    ///
    /// # Errors
    /// When it is no JSON, or an entry is not what it should be.
    pub fn read(text: &[u8], vhost: Option<&str>) -> Result<Self, DefinitionsError> {
        let mut notes = Vec::new();
        let document = Document::read(text, vhost, &mut notes)?;
        Ok(Self { document, notes })
    }

    /// Whether it says who may log in.
    pub fn has_users(&self) -> bool {
        !self.document.users.is_empty()
    }

    /// Whether it says which virtual hosts there are.
    pub fn has_vhosts(&self) -> bool {
        !self.document.vhosts.is_empty()
    }

    /// How many of what it has.
    pub fn summary(&self) -> String {
        self.document.summary()
    }
}

/// What to do with queues and exchanges that are not as the file has them, or that there is no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The file is refused.
    IsRefused,
    /// They stay as they are, and are left out with their bindings: clients may declare such things between two starts,
    /// and must not keep a broker from starting.
    IsTold,
}

/// Applies definitions, and returns what was left out, for the operator to read. All that is stored is one group:
/// it is on disk whole or not at all. In memory an import that fails stays half done, so rehearse it first on a
/// broker whose store does not last.
///
/// # Errors
/// The first entry that is not acceptable.
pub fn import(
    definitions: &Definitions,
    broker: &Broker,
    conflict: Conflict,
) -> Result<Vec<String>, DefinitionsError> {
    let _hold = Hold::new(&*broker.stores.durable);
    let Definitions { document, notes } = definitions;
    let mut import = Import {
        broker,
        conflict,
        notes: notes.clone(),
        left_out: HashSet::new(),
    };
    access::import(document, broker)?;
    for policy in &document.policies {
        import.policy(
            PolicyKind::User,
            &policy.name,
            policy.vhost.as_deref(),
            &policy.rule,
        )?;
    }
    for parameter in &document.parameters {
        import.parameter(parameter)?;
    }
    import.global_parameters(&document.global_parameters);
    for exchange in &document.exchanges {
        import.exchange(exchange)?;
    }
    for queue in &document.queues {
        import.queue(queue)?;
    }
    for binding in &document.bindings {
        import.binding(binding)?;
    }
    Ok(import.notes)
}

struct Import<'a> {
    broker: &'a Broker,
    conflict: Conflict,
    notes: Vec<String>,
    /// Queues and exchanges that are not as the file has them, by virtual host.
    left_out: HashSet<(Arc<str>, Entity)>,
}

impl Import<'_> {
    fn policy(
        &mut self,
        kind: PolicyKind,
        name: &str,
        vhost: Option<&str>,
        rule: &PolicyRule,
    ) -> Result<(), DefinitionsError> {
        let what = match kind {
            PolicyKind::User => format!("policy '{name}'"),
            PolicyKind::Operator => format!("operator policy '{name}'"),
        };
        let place = Place::new(self.broker, what, vhost)?;
        let apply_to = ApplyTo::from_name(&rule.apply_to).map_err(|error| place.refuse(error))?;
        let definition = place.table(&rule.definition)?;
        let policy = Policy::new(kind, name, &rule.pattern, apply_to, rule.priority, definition)
            .map_err(|error| place.refuse(error))?;
        let idle: Vec<_> = policy.without_effect().collect();
        if !idle.is_empty() {
            self.notes
                .push(format!("{place}: no effect here has {}", idle.join(", ")));
        }
        if let Err(configured) = place.vhost.set_policy(kind, policy) {
            self.notes.push(format!("{place} was left out: {configured}"));
        }
        Ok(())
    }

    fn parameter(&mut self, parameter: &Parameter) -> Result<(), DefinitionsError> {
        let vhost = parameter.vhost.as_deref();
        match parameter.component.as_str() {
            OPERATOR_POLICY => {
                let rule: PolicyRule =
                    serde_path_to_error::deserialize(&parameter.value).map_err(|error| {
                        let what = format!("operator policy '{}'", parameter.name);
                        DefinitionsError::entry(what, error)
                    })?;
                self.policy(PolicyKind::Operator, &parameter.name, vhost, &rule)
            }
            component if (component, parameter.name.as_str()) == VHOST_LIMITS => Ok(()),
            component => {
                let name = &parameter.name;
                self.notes.push(format!(
                    "parameter '{name}' of component '{component}' was left out: there is no such component here"
                ));
                Ok(())
            }
        }
    }

    fn global_parameters(&mut self, parameters: &[GlobalParameter]) {
        let names = parameters.iter().map(|parameter| parameter.name.as_str());
        // What RabbitMQ notes down for itself is nobody's loss.
        let names: Vec<_> = names
            .filter(|name| !name.starts_with("internal_") && *name != "cluster_name")
            .collect();
        if !names.is_empty() {
            self.notes.push(format!(
                "global parameters were left out, since nothing here has any: {}",
                names.join(", ")
            ));
        }
    }

    fn exchange(&mut self, exchange: &Exchange) -> Result<(), DefinitionsError> {
        let what = format!("exchange '{}'", exchange.name);
        let place = Place::new(self.broker, what, exchange.vhost.as_deref())?;
        if exchange.name.is_empty() || exchange.name.starts_with(RESERVED) {
            self.notes
                .push(format!("{place} was left out: it is the broker's own"));
            return Ok(());
        }
        let declaration = ExchangeDeclaration {
            name: place.short(&exchange.name)?.into(),
            kind: exchange.kind.as_str().into(),
            durable: exchange.durable,
            auto_delete: exchange.auto_delete,
            internal: exchange.internal,
            arguments: place.table(&exchange.arguments)?,
        };
        let declared = place.vhost.declare_exchange::<Refusal>(declaration, |_| Ok(()));
        let entity = Entity::Exchange(exchange.name.as_str().into());
        self.declared(&place, entity, declared.map(|_| ()))
    }

    fn queue(&mut self, queue: &Queue) -> Result<(), DefinitionsError> {
        let what = format!("queue '{}'", queue.name);
        let place = Place::new(self.broker, what, queue.vhost.as_deref())?;
        if queue.name.is_empty() || queue.name.starts_with(RESERVED) {
            self.notes.push(format!(
                "{place} was left out: the broker names such queues itself"
            ));
            return Ok(());
        }
        let mut arguments = place.table(&queue.arguments)?;
        if let Some(kind @ ("quorum" | "stream")) = queue.kind.as_deref()
            && !arguments.contains_key("x-queue-type")
        {
            arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
        }
        let declaration = QueueDeclaration {
            name: place.short(&queue.name)?.into(),
            durable: queue.durable,
            exclusive: false,
            auto_delete: queue.auto_delete,
            default_type: place.vhost.default_queue_type(),
            arguments,
        };
        let declared = place
            .vhost
            .declare_queue::<Refusal>(declaration, NOBODY, || Ok(()));
        let entity = Entity::Queue(queue.name.as_str().into());
        self.declared(&place, entity, declared.map(|_| ()))
    }

    /// Lets a declaration pass that is refused for what there is already, if the file must not be refused for it.
    fn declared(
        &mut self,
        place: &Place,
        entity: Entity,
        declared: Result<(), Refusal>,
    ) -> Result<(), DefinitionsError> {
        match declared {
            Err(refusal @ (Refusal::Inequivalent { .. } | Refusal::TooMany(_)))
                if self.conflict == Conflict::IsTold =>
            {
                self.note_conflict(place, &refusal);
                self.left_out.insert((Arc::clone(&place.vhost.name), entity));
                Ok(())
            }
            declared => declared.map_err(|refusal| place.refuse_with(&refusal)),
        }
    }

    fn note_conflict(&mut self, place: &Place, refusal: &Refusal) {
        let reason = refusal.explanation(&place.vhost.name);
        self.notes.push(format!("{place} was left out: {reason}"));
    }

    fn binding(&mut self, binding: &Binding) -> Result<(), DefinitionsError> {
        let Binding {
            source,
            destination,
            destination_type,
            ..
        } = binding;
        let what = format!(
            "binding from '{source}' to {destination_type} '{destination}' with routing key '{}'",
            binding.routing_key
        );
        let place = Place::new(self.broker, what, binding.vhost.as_deref())?;
        let is_of_no_one = *destination_type == DestinationType::Queue && destination.starts_with(RESERVED);
        if source.is_empty() || is_of_no_one {
            self.notes
                .push(format!("{place} was left out: it is the broker's own"));
            return Ok(());
        }
        let source: Arc<str> = place.short(source)?.into();
        let routing_key = place.short(&binding.routing_key)?.as_bytes();
        let arguments = place.table(&binding.arguments)?;
        let bound = match destination_type {
            DestinationType::Queue => place
                .vhost
                .queue(destination, NOBODY)
                .and_then(|queue| place.vhost.bind_queue(&queue, &source, routing_key, &arguments)),
            DestinationType::Exchange => {
                let destination = destination.as_str().into();
                place
                    .vhost
                    .bind_exchange(&destination, &source, routing_key, &arguments)
            }
        };
        let end = match destination_type {
            DestinationType::Queue => Entity::Queue(destination.as_str().into()),
            DestinationType::Exchange => Entity::Exchange(destination.as_str().into()),
        };
        let mut ends = [Entity::Exchange(source), end].into_iter();
        match bound {
            Err(refusal) if ends.any(|end| self.left_out.contains(&(Arc::clone(&place.vhost.name), end))) => {
                self.note_conflict(&place, &refusal);
                Ok(())
            }
            bound => bound.map(|_| ()).map_err(|refusal| place.refuse_with(&refusal)),
        }
    }
}

/// What is being imported, and the virtual host that it goes to.
struct Place {
    what: String,
    vhost: Arc<Vhost>,
}

impl Place {
    fn new(broker: &Broker, what: String, vhost: Option<&str>) -> Result<Self, DefinitionsError> {
        let name = vhost.expect("every entry was given one when it was read");
        match broker.vhost(name) {
            Some(vhost) => Ok(Self { what, vhost }),
            None => Err(DefinitionsError::entry(
                what,
                format_args!("there is no vhost '{name}'"),
            )),
        }
    }

    fn table(&self, object: &Map<String, Value>) -> Result<FieldTable, DefinitionsError> {
        table_from_json(object).map_err(|error| self.refuse(error))
    }

    /// A name that fits into a short string.
    fn short<'n>(&self, name: &'n str) -> Result<&'n str, DefinitionsError> {
        if name.len() > usize::from(u8::MAX) {
            return Err(self.refuse("it has more than 255 bytes"));
        }
        Ok(name)
    }

    fn refuse(&self, reason: impl Display) -> DefinitionsError {
        DefinitionsError::entry(self, reason)
    }

    fn refuse_with(&self, refusal: &Refusal) -> DefinitionsError {
        self.refuse(refusal.explanation(&self.vhost.name))
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in vhost '{}'", self.what, self.vhost.name)
    }
}
