//! The sections `listeners` and `amqp`.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::config::units;

/// Where the broker listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listeners {
    /// Addresses for AMQP connections. `[::]` takes IPv4 as well.
    #[serde(with = "units::addresses")]
    pub amqp: Vec<SocketAddr>,
    /// Addresses for AMQP connections over TLS. They need the section `tls`.
    #[serde(with = "units::addresses")]
    pub amqps: Vec<SocketAddr>,
    /// Proxies that begin every connection with a header of the PROXY protocol. From others none is read.
    #[serde(with = "units::networks")]
    pub proxy_protocol_from: Vec<IpNet>,
}

impl Default for Listeners {
    fn default() -> Self {
        Self {
            amqp: vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, 5672))],
            amqps: Vec::new(),
            proxy_protocol_from: Vec::new(),
        }
    }
}

/// What is agreed with a client, and how large things may get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Amqp {
    /// Largest frame in bytes, proposed to clients; 0 is without limit, else at least 4 KiB.
    #[serde(with = "units::size")]
    pub frame_max: u32,
    /// Largest frame in bytes accepted before the client has answered the proposal.
    #[serde(with = "units::size")]
    pub initial_frame_max: u32,
    /// Channels that may be open on one connection; 0 is without limit.
    pub channel_max: u16,
    /// Proposed to clients, whose answer counts; zero turns heartbeats off. Whole seconds.
    #[serde(with = "units::duration")]
    pub heartbeat: Duration,
    /// Time a client has from connecting to `connection.open`.
    #[serde(with = "units::duration")]
    pub handshake_timeout: Duration,
    /// Largest message body in bytes; at most 512 MiB.
    #[serde(with = "units::size")]
    pub max_message_size: u32,
}

impl Default for Amqp {
    fn default() -> Self {
        Self {
            frame_max: 128 << 10,
            initial_frame_max: 8 << 10,
            channel_max: 2047,
            heartbeat: Duration::from_mins(1),
            handshake_timeout: Duration::from_secs(10),
            max_message_size: 16 << 20,
        }
    }
}
