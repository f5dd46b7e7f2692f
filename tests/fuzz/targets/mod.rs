//! What is fuzzed. Each target takes any bytes, and panics if the broker's code does, or if what it says of them can
//! not be true.

pub mod connection;
mod content;
mod conversation;
mod definitions;
mod frames;
mod login;
mod methods;
mod proxy;
mod tables;

use crate::layout::Layout;

/// One of them.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// How its inputs are built.
    pub layout: Layout,
    /// Inputs that `cargo test` makes from the seeds.
    pub mutants: u64,
}

const fn target(name: &'static str, run: fn(&[u8]), layout: Layout, mutants: u64) -> Target {
    Target {
        name,
        run,
        layout,
        mutants,
    }
}

pub const TARGETS: [Target; 10] = [
    target("connection", connection::run, Layout::Conversation, 1_000),
    target("frames", frames::run, Layout::Frames, 10_000),
    target("methods", methods::run, Layout::Method, 20_000),
    target("tables", tables::run, Layout::Table, 20_000),
    target("content", content::run, Layout::Bytes, 20_000),
    target("messages", content::stored, Layout::Bytes, 10_000),
    target("login", login::run, Layout::Bytes, 10_000),
    target("certificates", login::certificate, Layout::Bytes, 5_000),
    target("proxy", proxy::run, Layout::Bytes, 5_000),
    target("definitions", definitions::run, Layout::Bytes, 500),
];
