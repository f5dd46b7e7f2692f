//! The wire, byte by byte: what a listening broker answers to what RabbitMQ's clients, and worse peers, may send.
//!
//! Bytes are made by hand (`bytes`), so that the broker's own codec is not asked whether it is right.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod authentication;
mod blocked;
mod bytes;
mod channel;
mod client;
mod closing;
mod confirms;
mod consume;
mod default_queue_type;
mod delayed;
mod exchange_types;
mod exchanges;
mod field_tables;
mod floods;
mod forged_log;
mod frames;
mod header;
mod heartbeats;
mod hostile;
mod limits;
mod names;
mod permissions;
mod publish;
mod queue_arguments;
mod queue_types;
mod queues;
mod replies;
mod routing;
mod rows;
mod settle;
mod single_active_consumer;
mod slow;
mod states;
#[path = "../support/mod.rs"]
mod support;
mod topic_permissions;
mod tune;
mod tx;
mod utf8;
