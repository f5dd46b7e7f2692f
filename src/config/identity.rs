//! The section `identity`.

use serde::{Deserialize, Serialize};

/// How the broker presents itself in `connection.start`. Some clients look at `product` and `version` to decide
/// what they may use (kombu among them), hence the defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {
    /// The product clients believe to talk to.
    pub product: String,
    /// That product's version: numbers and dots.
    pub version: String,
    /// The cluster's name.
    pub cluster_name: String,
    /// What the broker runs on.
    pub platform: String,
    /// A line about the licence.
    pub information: String,
    /// A line about the owners.
    pub copyright: String,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            product: String::from("RabbitMQ"),
            version: String::from("4.1.0"),
            cluster_name: String::from("rabbit@localhost"),
            platform: String::from("Rust"),
            information: String::from("Licensed under the Apache License 2.0"),
            copyright: String::from("Copyright (c) the Leveret authors"),
        }
    }
}
