//! The broker as lapin's users see it: one file per feature, each test on a broker of its own.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod alternate_exchange;
mod auto_delete;
mod bodies;
mod cancel;
mod confirms;
mod consume;
mod dead_letters;
mod deduplication;
mod delayed;
mod direct_reply_to;
mod errors;
mod exchange_to_exchange;
mod exchange_types;
mod exchanges;
mod exclusive;
mod expiry;
mod failures;
mod fairness;
mod get;
mod heartbeat;
mod mandatory;
mod policies;
mod priorities;
mod properties;
mod qos;
mod queues;
mod recent_history;
mod settle;
mod single_active_consumer;
#[path = "../support/mod.rs"]
mod support;
mod transactions;
mod world;
