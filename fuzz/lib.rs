//! The targets of `tests/fuzz` for libFuzzer, which looks for inputs that reach code which no other has reached.

// What only `cargo test` uses is not used here.

#[path = "../tests/fuzz/grammar.rs"]
mod grammar;
#[path = "../tests/fuzz/layout.rs"]
mod layout;
#[path = "../tests/fuzz/memory.rs"]
mod memory;
#[allow(dead_code)]
#[path = "../tests/simulation/node.rs"]
mod node;
#[allow(dead_code)]
#[path = "../tests/fuzz/targets/mod.rs"]
mod targets;
#[allow(dead_code)]
#[path = "../tests/simulation/wire.rs"]
mod wire;

pub use libfuzzer_sys;

use targets::{TARGETS, Target};

fn named(name: &str) -> &'static Target {
    let found = TARGETS.iter().find(|target| target.name == name);
    found.expect("every file here is named after a target")
}

/// Gives the input to a target.
pub fn run(name: &str, input: &[u8]) {
    (named(name).run)(input);
}

/// Changes the first `len` bytes as the target's layout has it; half of the time libFuzzer does it, which knows what
/// bytes were compared with. Returns the new length.
pub fn mutate(name: &str, data: &mut [u8], len: usize, len_max: usize, seed: u32) -> usize {
    if seed % 2 == 0 {
        return libfuzzer_sys::fuzzer_mutate(data, len, len_max);
    }
    let mut mutant = named(name).layout.mutant(&data[..len], &data[..len], seed.into());
    mutant.truncate(len_max);
    data[..mutant.len()].copy_from_slice(&mutant);
    mutant.len()
}

/// The program of a target.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        $crate::libfuzzer_sys::fuzz_target!(|input: &[u8]| $crate::run($name, input));
        $crate::libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], len: usize, len_max: usize, seed: u32| {
            $crate::mutate($name, data, len, len_max, seed)
        });
    };
}
