//! Definitions as an operator meets them: `leveret definitions import` and `export`, and the file that is imported
//! at start.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod at_start;
mod cli;
mod directory;
mod migration;
#[path = "../support/mod.rs"]
mod support;
