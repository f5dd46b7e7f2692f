//! The sections `auth`, `vhosts` and `users`.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::broker::certificate::NameFrom;
use crate::config::units;

/// How clients log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// SASL mechanisms offered, in order of preference.
    pub mechanisms: Vec<Mechanism>,
    /// Where EXTERNAL finds the user's name in a client's certificate.
    #[serde(with = "units::text")]
    pub external_name_from: NameFrom,
    /// The user that ANONYMOUS logs in as; empty is nobody.
    pub anonymous_user: String,
    /// Users that may log in from this machine only.
    pub loopback_users: Vec<String>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            mechanisms: vec![Mechanism::Plain, Mechanism::Amqplain],
            external_name_from: NameFrom::DistinguishedName,
            anonymous_user: String::new(),
            loopback_users: vec![String::from("guest")],
        }
    }
}

/// A SASL mechanism, written as it goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mechanism {
    /// User and password separated by NUL.
    Plain,
    /// User and password in a field table.
    Amqplain,
    /// The user is named by the certificate that the client showed.
    External,
    /// Everybody is the same user.
    Anonymous,
}

impl Mechanism {
    /// The name that goes over the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Amqplain => "AMQPLAIN",
            Self::External => "EXTERNAL",
            Self::Anonymous => "ANONYMOUS",
        }
    }
}

/// A virtual host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vhost {
    /// Its name, as clients give it in `connection.open`.
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The type of queues that are declared without one: `classic` or `quorum`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_queue_type: Option<String>,
    /// Connections that may be open in it; none is without limit.
    #[serde(default, with = "units::limit", skip_serializing_if = "Option::is_none")]
    pub connections_max: Option<u32>,
    /// Queues that may be in it; none is without limit.
    #[serde(default, with = "units::limit", skip_serializing_if = "Option::is_none")]
    pub queues_max: Option<u32>,
}

impl Vhost {
    pub(super) fn root() -> Self {
        Self {
            name: String::from("/"),
            description: String::new(),
            tags: Vec::new(),
            default_queue_type: None,
            connections_max: None,
            queues_max: None,
        }
    }
}

/// Someone who may log in. One of `password` and `password_hash` is given; neither to a user who logs in without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The name, as clients give it.
    pub name: String,
    /// The password itself, for development.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// What `leveret hash-password` or `rabbitmqctl hash_password` prints: Argon2id, or base64 of four bytes of salt
    /// and the SHA-256 or SHA-512 of salt and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<Secret>,
    /// Such as `administrator`; to AMQP only `impersonator` matters.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Rights, one entry per virtual host. Without an entry the user may not open that virtual host.
    #[serde(default)]
    pub permissions: Vec<Permission>,
    /// Rights on the routing keys of topic exchanges. Without an entry for an exchange all its keys are allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topic_permissions: Vec<TopicPermission>,
    /// Connections that the user may have open; none is without limit.
    #[serde(default, with = "units::limit", skip_serializing_if = "Option::is_none")]
    pub connections_max: Option<u32>,
    /// Channels that the user may have open on all connections; none is without limit.
    #[serde(default, with = "units::limit", skip_serializing_if = "Option::is_none")]
    pub channels_max: Option<u32>,
}

impl User {
    pub(super) fn guest() -> Self {
        Self {
            name: String::from("guest"),
            password: Some(Secret(String::from("guest"))),
            password_hash: None,
            tags: vec![String::from("administrator")],
            permissions: vec![Permission {
                vhost: String::from("/"),
                configure: String::from(".*"),
                write: String::from(".*"),
                read: String::from(".*"),
            }],
            topic_permissions: Vec::new(),
            connections_max: None,
            channels_max: None,
        }
    }
}

/// What a user may do in one virtual host: three regular expressions on the names of exchanges and queues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permission {
    /// The virtual host.
    pub vhost: String,
    /// Names the user may declare and delete.
    pub configure: String,
    /// Names the user may publish to and bind.
    pub write: String,
    /// Names the user may consume from and bind to.
    pub read: String,
}

/// What routing keys a user may use with one topic exchange: regular expressions in which `{username}` and `{vhost}`
/// stand for the names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicPermission {
    /// The virtual host.
    pub vhost: String,
    /// The exchange.
    pub exchange: String,
    /// Keys the user may publish with.
    pub write: String,
    /// Keys the user may bind and unbind with.
    pub read: String,
}

/// A text that is never shown: not by `Debug`, not by `check-config --show`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text, for the one place that compares it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

/// What stands in a secret's place.
const MASK: &str = "********";
