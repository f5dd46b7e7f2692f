//! What every connection is given: limits, and how the broker presents itself.

use std::time::Duration;

use amq_protocol::types::FieldTable;

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
    /// SASL mechanisms offered.
    pub mechanisms: Vec<Mechanism>,
    /// The `server_properties` of connection.start.
    pub server_properties: FieldTable,
}
