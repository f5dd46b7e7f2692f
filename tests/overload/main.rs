//! More than the broker can take: it stays within its memory, serves those who have no part in it, and drops nothing.
//!
//! The sizes are for a minute of a debug build; `LEVERET_OVERLOAD=full` makes them those of a bad day.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod backlog;
mod bystander;
mod churn;
#[allow(dead_code, reason = "made for the tests of durability")]
#[path = "../durability/client.rs"]
mod client;
mod crowd;
mod gauge;
mod large;
mod many_queues;
#[allow(dead_code, reason = "made for the tests of durability")]
#[path = "../durability/methods.rs"]
mod methods;
mod publisher;
mod raw;
mod stalled;
mod storm;
#[path = "../support/mod.rs"]
mod support;
mod unacked;
