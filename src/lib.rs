//! Leveret, an AMQP 0-9-1 broker.
//!
//! The layers import downwards only: `server` → `net` → `connection` → `broker` → `store` → `message` → `amqp`.
//! Everything below `net` is synchronous: it knows no socket, task or clock. `docs/ARCHITECTURE.md` is the map.

#![forbid(unsafe_code)]

pub mod amqp;
pub mod bench;
pub mod broker;
pub mod clock;
pub mod config;
pub mod connection;
pub mod definitions;
pub mod message;
pub mod net;
mod password_checker;
mod resources;
pub mod server;
pub mod store;
