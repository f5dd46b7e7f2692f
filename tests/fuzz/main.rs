//! Bytes from outside, by the thousand: every input that is kept in `fuzz/seeds`, and others made from those by chance.
//!
//! `-- connection --mutants 1000000` takes one target and so many; `--from 5000` passes over those before; an input
//! that failed is written to a file, and `-- connection FILE` takes that alone. `fuzz/` goes by coverage instead.

mod grammar;
mod layout;
mod memory;
#[allow(dead_code, reason = "the simulation uses all of it")]
#[path = "../simulation/node.rs"]
mod node;
#[path = "../support/options.rs"]
mod options;
mod targets;
#[allow(dead_code, reason = "the simulation uses all of it")]
#[path = "../simulation/wire.rs"]
mod wire;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use std::{fs, thread};

use options::Options;
use targets::{TARGETS, Target};

/// Keeps the input at which a target fails.
struct Kept<'a> {
    target: &'a Target,
    input: &'a [u8],
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let name = self.target.name;
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.failed"));
            match fs::write(&path, self.input) {
                Ok(()) => eprintln!("again: cargo test --test fuzz -- {name} {}", path.display()),
                Err(error) => eprintln!("{name} failed at {:?}, not kept: {error}", self.input),
            }
        }
    }
}

fn run(target: &Target, input: &[u8]) {
    let _kept = Kept { target, input };
    (target.run)(input);
}

/// The inputs that are kept for a target, by name.
fn seeds(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target.name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("it can be listed").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    let read = |path: &PathBuf| fs::read(path).expect("it can be read");
    files.iter().map(read).collect()
}

/// All seeds, then mutants; how many inputs that were.
fn run_all(target: &Target, options: &Options) -> u64 {
    let seeds = seeds(target);
    for seed in &seeds {
        run(target, seed);
    }
    let mutants = options.value("--mutants").unwrap_or(target.mutants);
    let from: u64 = options.value("--from").unwrap_or(0);
    for number in from..from + mutants {
        let of = |number: u64| &seeds[usize::try_from(number % seeds.len() as u64).expect("few")];
        let other = of(number.wrapping_mul(0x9E37_79B9) >> 7);
        run(target, &target.layout.mutant(of(number), other, number));
    }
    seeds.len() as u64 + mutants
}

fn main() -> ExitCode {
    let mut options = Options::read(&["--mutants", "--from"]);
    let files = options.take(|word| Path::new(word).is_file());
    for target in options.wanted(&TARGETS, |target| target.name) {
        if options.is_list {
            println!("{}: test", target.name);
            continue;
        }
        let begun = Instant::now();
        for file in &files {
            run(target, &fs::read(file).expect("it can be read"));
        }
        let count = match files.len() {
            0 => run_all(target, &options),
            files => files as u64,
        };
        let seconds = begun.elapsed().as_secs_f32();
        println!("{}: {count} inputs in {seconds:.1} s", target.name);
    }
    ExitCode::SUCCESS
}
