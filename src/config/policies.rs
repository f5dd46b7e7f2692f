//! The lists `policies` and `operator_policies`.

use amq_protocol::types::{AMQPValue, FieldTable, ShortString};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::broker::policy::{self, ApplyTo, PolicyError, PolicyKind};

/// A policy, in the words of `RabbitMQ`'s definitions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Its name, unique among those of its kind in the virtual host.
    pub name: String,
    /// The virtual host; `/` when it is not said.
    #[serde(default = "root")]
    pub vhost: String,
    /// A regular expression on the names of queues and exchanges.
    pub pattern: String,
    /// `all`, `queues`, `classic_queues`, `quorum_queues`, `streams` or `exchanges`.
    #[serde(default = "all")]
    pub apply_to: String,
    /// Of several that match, the highest one applies.
    #[serde(default)]
    pub priority: i64,
    /// Such as `message-ttl`, with values.
    pub definition: Table,
}

impl Policy {
    /// The policy that it describes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn checked(&self, kind: PolicyKind) -> Result<policy::Policy, PolicyError> {
        let policy = policy::Policy::new(
            kind,
            &self.name,
            &self.pattern,
            ApplyTo::from_name(&self.apply_to)?,
            self.priority,
            field_table(&self.definition),
        )?;
        Ok(policy.configured())
    }
}

fn root() -> String {
    String::from("/")
}

fn all() -> String {
    ApplyTo::All.name().to_owned()
}

/// Keys that are too long to be any come out cut; no key is that long.
fn field_table(table: &Table) -> FieldTable {
    let mut fields = FieldTable::default();
    for (key, value) in table {
        let end = key.floor_char_boundary(usize::from(u8::MAX));
        fields.insert(ShortString::from(&key[..end]), field(value));
    }
    fields
}

fn field(value: &Value) -> AMQPValue {
    match value {
        Value::String(text) => AMQPValue::LongString(text.as_str().into()),
        Value::Integer(value) => AMQPValue::LongLongInt(*value),
        Value::Float(value) => AMQPValue::Double(*value),
        Value::Boolean(value) => AMQPValue::Boolean(*value),
        Value::Datetime(time) => AMQPValue::LongString(time.to_string().into()),
        Value::Array(values) => AMQPValue::FieldArray(values.iter().map(field).collect::<Vec<_>>().into()),
        Value::Table(table) => AMQPValue::FieldTable(field_table(table)),
    }
}
