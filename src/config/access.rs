//! The sections `auth`, `vhosts` and `users`.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// How clients log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// SASL mechanisms offered, in order of preference.
    pub mechanisms: Vec<Mechanism>,
    /// Users that may log in from this machine only.
    pub loopback_users: Vec<String>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            mechanisms: vec![Mechanism::Plain, Mechanism::Amqplain],
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
}

impl Mechanism {
    /// The name that goes over the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Amqplain => "AMQPLAIN",
        }
    }
}

/// A virtual host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vhost {
    /// Its name, as clients give it in `connection.open`.
    pub name: String,
}

impl Vhost {
    pub(super) fn root() -> Self {
        Self {
            name: String::from("/"),
        }
    }
}

/// Someone who may log in. Exactly one of `password` and `password_hash` is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The name, as clients give it.
    pub name: String,
    /// The password itself, for development.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// `RabbitMQ`'s salted SHA-256 (or SHA-512): base64 of four bytes of salt and the hash of salt and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<Secret>,
    /// Such as `administrator`; to AMQP only `impersonator` matters.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Rights, one entry per virtual host. Without an entry the user may not open that virtual host.
    #[serde(default)]
    pub permissions: Vec<Permission>,
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
