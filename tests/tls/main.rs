//! What is between a socket and AMQP: TLS with and without clients' certificates, the mechanisms that need no password,
//! certificates that are changed while the broker runs, and proxies that say whom they speak for.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod authority;
#[path = "../wire/bytes.rs"]
#[allow(dead_code, reason = "made for many tests; these use a part of it")]
mod bytes;
mod client;
mod encryption;
mod external;
mod files;
mod proxy;
mod reload;
#[path = "../support/mod.rs"]
mod support;
