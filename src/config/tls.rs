//! The section `tls`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the listeners in `listeners.amqps` show, and what they ask for. All files are PEM; an empty path is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The broker's certificate, and after it those between it and its authority.
    pub certificate: PathBuf,
    /// The certificate's private key, not encrypted.
    pub key: PathBuf,
    /// The authorities whose certificates clients may show.
    pub client_ca: PathBuf,
    /// Whether clients have to show one.
    pub verify: Verify,
}

/// Whether clients show a certificate. One that is not of `client_ca` is refused whatever stands here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// They are not asked for one.
    #[default]
    None,
    /// They may: `RabbitMQ`'s `verify_peer`.
    Optional,
    /// They must: `verify_peer` and `fail_if_no_peer_cert`.
    Required,
}
