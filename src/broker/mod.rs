//! What the broker knows and decides: virtual hosts, exchanges, queues, users and permissions. Synchronous, and
//! without sockets, clocks or random numbers; it refuses in its own words, which `connection` turns into reply codes.

pub mod exchange;
pub mod permission;
pub mod user;
