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
mod targets;
#[allow(dead_code, reason = "the simulation uses all of it")]
#[path = "../simulation/wire.rs"]
mod wire;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use std::{env, fs, thread};

use targets::{TARGETS, Target};

/// What the command line asks for.
#[derive(Default)]
struct Options {
    /// Targets, all if there is none; and files.
    words: Vec<String>,
    mutants: Option<u64>,
    from: u64,
    /// Cargo asks for a list of tests.
    is_list: bool,
}

impl Options {
    /// Options of Rust's own test programs are passed over.
    fn read(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut options = Self::default();
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let text = arguments.next().unwrap_or_default();
                text.parse()
                    .unwrap_or_else(|_| panic!("{argument} needs a number, not '{text}'"))
            };
            match &*argument {
                "--mutants" => options.mutants = Some(number()),
                "--from" => options.from = number(),
                "--list" => options.is_list = true,
                "--test-threads" | "--color" | "--format" | "--skip" => {
                    arguments.next();
                }
                other if other.starts_with('-') => {}
                _ => options.words.push(argument),
            }
        }
        options
    }

    fn files(&self) -> Vec<&str> {
        let words = self.words.iter().map(String::as_str);
        words.filter(|word| Path::new(word).is_file()).collect()
    }

    fn wants(&self, target: &Target) -> bool {
        let mut filters = self
            .words
            .iter()
            .filter(|word| !Path::new(word).is_file())
            .peekable();
        filters.peek().is_none() || filters.any(|filter| target.name.contains(filter.as_str()))
    }
}

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
    let mutants = options.mutants.unwrap_or(target.mutants);
    for number in options.from..options.from + mutants {
        let of = |number: u64| &seeds[usize::try_from(number % seeds.len() as u64).expect("few")];
        let other = of(number.wrapping_mul(0x9E37_79B9) >> 7);
        run(target, &target.layout.mutant(of(number), other, number));
    }
    seeds.len() as u64 + mutants
}

fn main() -> ExitCode {
    let options = Options::read(env::args().skip(1));
    for target in TARGETS.iter().filter(|target| options.wants(target)) {
        if options.is_list {
            println!("{}: test", target.name);
            continue;
        }
        let begun = Instant::now();
        let files = options.files();
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
