//! Seeded histories of the whole core in one thread, with virtual time: clients that do what they like, bytes cut
//! anywhere, disks that write late, and crashes at any moment.
//!
//! There are three kinds. `books` has clients and disks that are late as they like, and checks what clients were
//! promised. `moves` has the same with extensions, and checks that each message is in one place. `exact` lets each step come to rest, and checks all of the broker against a model.
//!
//! A failure names the command that repeats it. `-- --seeds 1000000` is for the night, `-- exact --seed 7` for one
//! history, and `--from 5000` skips those before.

mod books;
mod coverage;
mod exact;
mod moves;
mod node;
mod wire;

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Instant;
use std::{env, thread};

use coverage::Coverage;

/// A kind of history.
struct Kind {
    name: &'static str,
    /// Runs the history of a seed; tells it step by step if asked to.
    run: fn(u64, bool, &mut Coverage),
    /// Histories that are run by default.
    seeds: u64,
    /// Seeds that failed, or would without what was mended since.
    regressions: &'static [u64],
    /// What has to happen in a run of the default length.
    events: &'static [&'static str],
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "books",
        run: |seed, _, _| books::run(seed),
        seeds: 200,
        // A bound queue is deleted, and the broker dies half-way.
        regressions: &[4151],
        events: &[],
    },
    Kind {
        name: "moves",
        run: moves::run,
        seeds: 80,
        regressions: &[],
        events: moves::EVENTS,
    },
    Kind {
        name: "exact",
        run: exact::run,
        seeds: exact::SEEDS,
        regressions: exact::REGRESSIONS,
        events: coverage::EVENTS,
    },
];

/// What the command line asks for.
#[derive(Default)]
struct Options {
    /// Kinds of histories; all if there is none.
    filters: Vec<String>,
    seeds: Option<u64>,
    seed: Option<u64>,
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
                "--seeds" => options.seeds = Some(number()),
                "--seed" => options.seed = Some(number()),
                "--from" => options.from = number(),
                "--list" => options.is_list = true,
                "--test-threads" | "--color" | "--format" | "--skip" => {
                    arguments.next();
                }
                other if other.starts_with('-') => {}
                _ => options.filters.push(argument),
            }
        }
        options
    }

    /// How many histories to run, besides the regressions.
    fn count(&self, kind: &Kind) -> u64 {
        let one = self.seed.map(|_| 1);
        one.or(self.seeds).unwrap_or(kind.seeds)
    }

    fn wants(&self, kind: &Kind) -> bool {
        let mut filters = self.filters.iter();
        self.filters.is_empty() || filters.any(|filter| kind.name.contains(filter.as_str()))
    }
}

/// Says which history failed, and lets the others stop.
struct Named<'a> {
    kind: &'a Kind,
    seed: u64,
    has_failed: &'a AtomicBool,
}

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.has_failed.store(true, Ordering::Relaxed);
            let (kind, seed) = (self.kind.name, self.seed);
            eprintln!("again: cargo test --test simulation -- {kind} --seed {seed}");
        }
    }
}

/// Runs histories on all cores; false if one has failed.
fn run(kind: &Kind, options: &Options, coverage: &Mutex<Coverage>) -> bool {
    let seeds = if options.seed.is_some() {
        &[]
    } else {
        kind.regressions
    };
    let from = options.seed.unwrap_or(options.from);
    let next = AtomicU64::new(0);
    let has_failed = AtomicBool::new(false);
    let total = seeds.len() as u64 + options.count(kind);
    let work = || {
        let mut mine = Coverage::default();
        while !has_failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= total {
                break;
            }
            let listed = usize::try_from(index).ok().and_then(|index| seeds.get(index));
            let seed = listed
                .copied()
                .unwrap_or_else(|| from + index - seeds.len() as u64);
            let _named = Named {
                kind,
                seed,
                has_failed: &has_failed,
            };
            (kind.run)(seed, options.seed.is_some(), &mut mine);
        }
        coverage.lock().expect("nobody panics with it").add(&mine);
    };
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(ScopedJoinHandle::join)
            .filter(Result::is_err)
            .count()
    }) == 0
}

fn main() -> ExitCode {
    let options = Options::read(env::args().skip(1));
    let mut is_well = true;
    for kind in KINDS.iter().filter(|kind| options.wants(kind)) {
        if options.is_list {
            println!("{}: test", kind.name);
            continue;
        }
        let begun = Instant::now();
        let coverage = Mutex::default();
        let passed = run(kind, &options, &coverage);
        let coverage = coverage.into_inner().expect("nobody panics with it");
        println!("{coverage}");
        let count = options.count(kind);
        let seconds = begun.elapsed().as_secs_f32();
        let outcome = if passed { "ok" } else { "FAILED" };
        println!("{}: {count} histories in {seconds:.1} s: {outcome}", kind.name);
        is_well &= passed;
        if passed && count >= kind.seeds {
            for event in kind.events.iter().filter(|event| coverage.count(event) == 0) {
                println!("{}: it never happened that {event}", kind.name);
                is_well = false;
            }
        }
    }
    if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
