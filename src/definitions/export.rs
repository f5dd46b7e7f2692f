//! From a broker to a file of definitions that RabbitMQ imports as well. Equal brokers give equal files: every list
//! is sorted.

use std::collections::HashSet;
use std::sync::Arc;

use amq_protocol::types::FieldTable;
use serde::Serialize;
use serde_json::{Value, json};

use crate::broker::Broker;
use crate::broker::live_queue::LiveQueue;
use crate::broker::policy::{Policy, PolicyKind};
use crate::broker::vhost::Vhost;
use crate::store::{BindingRow, DestinationKind};

use super::access;
use super::document::Document;
use super::entries::{self, DestinationType, PolicyRule};
use super::import::{OPERATOR_POLICY, RESERVED};
use super::value::{is_text, table_to_json};

/// What a broker calls itself, for the head of a file.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The product that clients are told.
    pub product: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The name of the cluster.
    pub cluster_name: &'a str,
}

/// A file of definitions, and what JSON could not express.
#[derive(Clone, Debug)]
pub struct Export {
    /// The file.
    pub json: String,
    /// For the operator to read.
    pub notes: Vec<String>,
}

#[derive(Serialize)]
struct File<'a> {
    rabbit_version: &'a str,
    rabbitmq_version: &'a str,
    product_name: &'a str,
    product_version: &'a str,
    rabbitmq_definition_format: &'static str,
    original_cluster_name: &'a str,
    explanation: String,
    #[serde(flatten)]
    document: Document,
}

/// Writes down what a broker holds, but for exclusive queues and what every broker has.
pub fn export(broker: &Broker, origin: Origin<'_>) -> Export {
    let mut collect = Collect::default();
    let mut vhosts = broker.vhosts();
    vhosts.sort_by(|left, right| left.name.cmp(&right.name));
    access::export(broker, &mut collect.document, &mut collect.notes);
    for vhost in &vhosts {
        collect.vhost(vhost);
    }
    let file = File {
        rabbit_version: origin.version,
        rabbitmq_version: origin.version,
        product_name: origin.product,
        product_version: origin.version,
        rabbitmq_definition_format: "cluster",
        original_cluster_name: origin.cluster_name,
        explanation: format!("Definitions of cluster '{}'", origin.cluster_name),
        document: collect.document,
    };
    let mut json = serde_json::to_string_pretty(&file).expect("texts, numbers and lists can be written");
    json.push('\n');
    Export {
        json,
        notes: collect.notes,
    }
}

#[derive(Default)]
struct Collect {
    document: Document,
    notes: Vec<String>,
}

impl Collect {
    fn vhost(&mut self, vhost: &Vhost) {
        let name = || Some(vhost.name.to_string());
        for policy in sorted(vhost.policies(PolicyKind::User)) {
            self.document.policies.push(entries::Policy {
                vhost: name(),
                name: policy.name.to_string(),
                rule: rule(&policy),
            });
        }
        for policy in sorted(vhost.policies(PolicyKind::Operator)) {
            let PolicyRule {
                pattern,
                apply_to,
                definition,
                priority,
            } = rule(&policy);
            self.document.parameters.push(entries::Parameter {
                component: OPERATOR_POLICY.to_owned(),
                vhost: name(),
                name: policy.name.to_string(),
                value: json!({
                    "pattern": pattern, "apply-to": apply_to, "definition": definition, "priority": priority,
                }),
            });
        }
        self.exchanges(vhost);
        let mut queues = vhost.queues();
        queues.retain(|queue| {
            let definition = &queue.definition;
            definition.owner.is_none() && !definition.name.starts_with(RESERVED)
        });
        queues.sort_by(|left, right| left.definition.name.cmp(&right.definition.name));
        self.bindings(vhost, &queues);
        self.queues(vhost, &queues);
    }

    fn exchanges(&mut self, vhost: &Vhost) {
        let mut definitions = vhost.exchanges();
        definitions.retain(|exchange| !exchange.name.is_empty() && !exchange.name.starts_with(RESERVED));
        definitions.sort_by(|left, right| left.name.cmp(&right.name));
        for exchange in definitions {
            let what = format!("exchange '{}' in vhost '{}'", exchange.name, vhost.name);
            self.note_bytes(&what, &exchange.arguments);
            self.document.exchanges.push(entries::Exchange {
                name: exchange.name.to_string(),
                vhost: Some(vhost.name.to_string()),
                kind: exchange.type_name.to_string(),
                durable: exchange.durable,
                auto_delete: exchange.auto_delete,
                internal: exchange.internal,
                arguments: table_to_json(&exchange.arguments),
            });
        }
    }

    fn queues(&mut self, vhost: &Vhost, queues: &[Arc<LiveQueue>]) {
        for queue in queues {
            let queue = &queue.definition;
            let what = format!("queue '{}' in vhost '{}'", queue.name, vhost.name);
            self.note_bytes(&what, &queue.arguments);
            let arguments = table_to_json(&queue.arguments);
            let kind = arguments.get("x-queue-type").and_then(Value::as_str);
            self.document.queues.push(entries::Queue {
                name: queue.name.to_string(),
                vhost: Some(vhost.name.to_string()),
                kind: Some(kind.unwrap_or("classic").to_owned()),
                durable: queue.durable,
                auto_delete: queue.auto_delete,
                arguments,
            });
        }
    }

    /// Those that lead to exchanges, and to these queues.
    fn bindings(&mut self, vhost: &Vhost, queues: &[Arc<LiveQueue>]) {
        let queues: HashSet<_> = queues.iter().map(|queue| &queue.definition.name).collect();
        let mut rows = vhost.bindings();
        rows.retain(|row| {
            row.destination_kind == DestinationKind::Exchange || queues.contains(&row.destination)
        });
        let mut bindings: Vec<_> = rows.iter().map(|row| self.binding(row)).collect();
        let order = |binding: &entries::Binding| {
            let entries::Binding {
                source,
                destination,
                destination_type,
                routing_key,
                arguments,
                ..
            } = binding;
            let arguments = Value::Object(arguments.clone()).to_string();
            (
                source.clone(),
                destination_type.to_string(),
                destination.clone(),
                routing_key.clone(),
                arguments,
            )
        };
        bindings.sort_by_cached_key(order);
        self.document.bindings.append(&mut bindings);
    }

    fn binding(&mut self, row: &BindingRow) -> entries::Binding {
        let destination_type = match row.destination_kind {
            DestinationKind::Queue => DestinationType::Queue,
            DestinationKind::Exchange => DestinationType::Exchange,
        };
        let routing_key = String::from_utf8_lossy(&row.routing_key).into_owned();
        let what = format!(
            "binding from '{}' to {destination_type} '{}' with routing key '{routing_key}' in vhost '{}'",
            row.source, row.destination, row.vhost
        );
        if str::from_utf8(&row.routing_key).is_err() {
            self.notes
                .push(format!("{what}: its routing key is no text, and was changed"));
        }
        self.note_bytes(&what, &row.arguments);
        entries::Binding {
            source: row.source.to_string(),
            vhost: Some(row.vhost.to_string()),
            destination: row.destination.to_string(),
            destination_type,
            routing_key,
            arguments: table_to_json(&row.arguments),
        }
    }

    fn note_bytes(&mut self, what: &str, arguments: &FieldTable) {
        if !is_text(arguments) {
            self.notes
                .push(format!("{what}: an argument is no text, and was changed"));
        }
    }
}

fn sorted(mut policies: Vec<Arc<Policy>>) -> Vec<Arc<Policy>> {
    policies.sort_by(|left, right| left.name.cmp(&right.name));
    policies
}

fn rule(policy: &Policy) -> PolicyRule {
    PolicyRule {
        pattern: policy.pattern.to_string(),
        apply_to: policy.apply_to.name().to_owned(),
        definition: table_to_json(&policy.definition),
        priority: policy.priority,
    }
}
