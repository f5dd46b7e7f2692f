//! What stands in a file of definitions, one type per list, as RabbitMQ writes it. Older and newer shapes are read
//! as well: lists for texts, texts for lists, and no `vhost` in the export of a single one.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// An entry of a list.
pub(super) trait Entry: for<'de> Deserialize<'de> {
    /// The list's name.
    const LIST: &'static str;

    /// The entry's virtual host, if entries of this list have one.
    fn vhost(&mut self) -> Option<&mut Option<String>>;
}

macro_rules! entries {
    ($($entry:ident $list:literal $($vhost:ident)?;)*) => {$(
        impl Entry for $entry {
            const LIST: &'static str = $list;

            fn vhost(&mut self) -> Option<&mut Option<String>> {
                entries!(@vhost self $($vhost)?)
            }
        }
    )*};
    (@vhost $self:ident) => { None };
    (@vhost $self:ident $vhost:ident) => { Some(&mut $self.$vhost) };
}

entries! {
    User "users";
    Vhost "vhosts";
    GlobalParameter "global_parameters";
    Permission "permissions" vhost;
    TopicPermission "topic_permissions" vhost;
    Parameter "parameters" vhost;
    Policy "policies" vhost;
    Exchange "exchanges" vhost;
    Queue "queues" vhost;
    Binding "bindings" vhost;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct User {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    #[serde(default)]
    pub password_hash: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashing_algorithm: Option<String>,
    #[serde(default, deserialize_with = "words")]
    pub tags: Vec<String>,
    #[serde(default, deserialize_with = "object")]
    pub limits: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Vhost {
    pub name: String,
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, deserialize_with = "words", skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_queue_type: Option<String>,
    #[serde(default, deserialize_with = "limits", skip_serializing_if = "Map::is_empty")]
    pub limits: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Permission {
    pub user: String,
    #[serde(default)]
    pub vhost: Option<String>,
    pub configure: String,
    pub write: String,
    pub read: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TopicPermission {
    pub user: String,
    #[serde(default)]
    pub vhost: Option<String>,
    pub exchange: String,
    pub write: String,
    pub read: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Parameter {
    pub component: String,
    #[serde(default)]
    pub vhost: Option<String>,
    pub name: String,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct GlobalParameter {
    pub name: String,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Policy {
    #[serde(default)]
    pub vhost: Option<String>,
    pub name: String,
    #[serde(flatten)]
    pub rule: PolicyRule,
}

/// A policy but for its name; an operator policy stands so in a parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct PolicyRule {
    pub pattern: String,
    #[serde(default = "all", rename = "apply-to")]
    pub apply_to: String,
    #[serde(deserialize_with = "object")]
    pub definition: Map<String, Value>,
    #[serde(default)]
    pub priority: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Exchange {
    pub name: String,
    #[serde(default)]
    pub vhost: Option<String>,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default = "yes")]
    pub durable: bool,
    #[serde(default)]
    pub auto_delete: bool,
    #[serde(default)]
    pub internal: bool,
    #[serde(default, deserialize_with = "object")]
    pub arguments: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Queue {
    pub name: String,
    #[serde(default)]
    pub vhost: Option<String>,
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default = "yes")]
    pub durable: bool,
    #[serde(default)]
    pub auto_delete: bool,
    #[serde(default, deserialize_with = "object")]
    pub arguments: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Binding {
    pub source: String,
    #[serde(default)]
    pub vhost: Option<String>,
    pub destination: String,
    pub destination_type: DestinationType,
    #[serde(default)]
    pub routing_key: String,
    #[serde(default, deserialize_with = "object")]
    pub arguments: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum DestinationType {
    Queue,
    Exchange,
}

impl fmt::Display for DestinationType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queue => "queue",
            Self::Exchange => "exchange",
        })
    }
}

fn yes() -> bool {
    true
}

fn all() -> String {
    String::from("all")
}

/// An object; an empty list is one too, since Erlang can not tell them apart.
fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Object(object) => Ok(object),
        Value::Array(members) if members.is_empty() => Ok(Map::new()),
        other => Err(D::Error::custom(format_args!(
            "an object was expected, not {other}"
        ))),
    }
}

/// Limits stand in an object, or in a list of names with values.
fn limits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    #[derive(Deserialize)]
    struct Limit {
        name: String,
        value: Value,
    }
    match Value::deserialize(deserializer)? {
        Value::Object(object) => Ok(object),
        list => {
            let limits: Vec<Limit> = Deserialize::deserialize(list).map_err(D::Error::custom)?;
            Ok(limits
                .into_iter()
                .map(|limit| (limit.name, limit.value))
                .collect())
        }
    }
}

/// Words in a list, or in one text with commas between them.
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        List(Vec<String>),
        Text(String),
    }
    let words = Words::deserialize(deserializer)
        .map_err(|_| D::Error::custom("words were expected, in a list or with commas between them"))?;
    Ok(match words {
        Words::List(words) => words,
        Words::Text(text) => {
            let words = text.split(',').map(str::trim);
            words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
        }
    })
}
