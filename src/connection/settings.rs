//! What every connection is given: limits, and how the broker presents itself.

use std::time::Duration;

use amq_protocol::types::FieldTable;

use crate::broker::certificate::NameFrom;

use super::Peer;
use super::sasl::Mechanism;

/// The smallest `frame_max` that a client may ask for. Newer RabbitMQ asks for 8192, but older amqplib sends 4096.
pub const FRAME_MAX_LEAST: u32 = 4096;

/// Settings of all connections.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Proposed in tune, bytes; 0 is unlimited.
    pub frame_max: u32,
    /// The largest payload before tune-ok, bytes.
    pub initial_frame_max: u32,
    /// Proposed in tune: channels open at once; 0 is unlimited.
    pub channel_max: u16,
    /// Proposed in tune, seconds; 0 is off.
    pub heartbeat: u16,
    /// How long a client may take until `connection.open`.
    pub handshake_timeout: Duration,
    /// Largest body of a message, bytes.
    pub message_size_max: u64,
    /// Publishers are not read while more bytes than this wait for the disk.
    pub pending_bytes_max: usize,
    /// SASL mechanisms, offered where they can be used.
    pub mechanisms: Vec<Mechanism>,
    /// Where in a client's certificate EXTERNAL finds the user's name.
    pub external_name_from: NameFrom,
    /// Who it is that logs in with ANONYMOUS; without it that is not offered.
    pub anonymous_user: Option<String>,
    /// The `server_properties` of connection.start.
    pub server_properties: FieldTable,
}

impl Settings {
    /// The mechanisms that this peer may log in with, in order of preference.
    pub(super) fn offered_to(&self, peer: &Peer) -> impl Iterator<Item = Mechanism> {
        self.mechanisms
            .iter()
            .copied()
            .filter(|mechanism| match mechanism {
                Mechanism::Plain | Mechanism::AmqPlain => true,
                Mechanism::External => peer.certificate.is_some(),
                Mechanism::Anonymous => self.anonymous_user.is_some(),
            })
    }
}
