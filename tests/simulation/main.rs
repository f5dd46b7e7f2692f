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
#[path = "../support/options.rs"]
#[allow(dead_code, reason = "others take files")]
mod options;
mod wire;

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Instant;

use coverage::Coverage;
use options::Options;

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
    /// What has to happen so often.
    often: &'static [(&'static str, u64)],
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "books",
        run: |seed, _, _| books::run(seed),
        seeds: 200,
        // A bound queue is deleted, and the broker dies half-way.
        regressions: &[4151],
        events: &[],
        often: &[],
    },
    Kind {
        name: "moves",
        run: moves::run,
        seeds: 80,
        // Mistakes of the check: what a client left that it had not seen went to another one, behind others.
        regressions: &[5_005_630],
        events: moves::EVENTS,
        often: &[],
    },
    Kind {
        name: "exact",
        run: exact::run,
        seeds: exact::SEEDS,
        regressions: exact::REGRESSIONS,
        events: coverage::EVENTS,
        often: coverage::OFTEN,
    },
];

/// How many histories to run, besides the regressions.
fn count(kind: &Kind, options: &Options) -> u64 {
    let one = options.value::<u64>("--seed").map(|_| 1);
    one.or(options.value("--seeds")).unwrap_or(kind.seeds)
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
    let one: Option<u64> = options.value("--seed");
    let seeds = if one.is_some() { &[] } else { kind.regressions };
    let from = one.or(options.value("--from")).unwrap_or(0);
    let next = AtomicU64::new(0);
    let has_failed = AtomicBool::new(false);
    let total = seeds.len() as u64 + count(kind, options);
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
            (kind.run)(seed, one.is_some(), &mut mine);
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
    let options = Options::read(&["--seeds", "--seed", "--from"]);
    let mut is_well = true;
    for kind in options.wanted(&KINDS, |kind| kind.name) {
        if options.is_list {
            println!("{}: test", kind.name);
            continue;
        }
        let begun = Instant::now();
        let coverage = Mutex::default();
        let passed = run(kind, &options, &coverage);
        let coverage = coverage.into_inner().expect("nobody panics with it");
        println!("{coverage}");
        let count = count(kind, &options);
        let seconds = begun.elapsed().as_secs_f32();
        let outcome = if passed { "ok" } else { "FAILED" };
        println!("{}: {count} histories in {seconds:.1} s: {outcome}", kind.name);
        is_well &= passed;
        if passed && count >= kind.seeds {
            for event in kind.events.iter().filter(|event| coverage.count(event) == 0) {
                println!("{}: it never happened that {event}", kind.name);
                is_well = false;
            }
            for (event, least) in kind
                .often
                .iter()
                .filter(|(event, least)| coverage.count(event) < *least)
            {
                let count = coverage.count(event);
                println!(
                    "{}: it happened {count} times, not {least}, that {event}",
                    kind.name
                );
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
