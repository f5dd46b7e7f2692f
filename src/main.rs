//! The `leveret` command.

#![forbid(unsafe_code)]

fn main() {}
