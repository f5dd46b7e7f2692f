//! What a broker still has after it was killed, stopped, or left with more than its memory holds.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod backlog;
mod backup;
mod books;
mod client;
mod clock;
mod delayed;
mod disk;
mod faults;
mod file_damage;
mod imports;
mod kill;
mod lines;
mod load;
mod log_damage;
mod look;
mod methods;
mod migration;
mod remembered;
mod restart;
#[path = "../support/mod.rs"]
mod support;
mod topology;
mod transaction;
