//! `leveret bench`: measures any AMQP 0-9-1 broker, or two of them in turns, from the client's side.
//!
//! It is a client and shares nothing with the broker's code, so that a mistake there can't hide here.
//! Blocking sockets on threads and messages encoded beforehand keep it far cheaper than what it measures. It
//! checks all that it receives.

mod body;
mod client;
mod confirms;
mod consumer;
mod error;
mod idle;
mod outcome;
mod plan;
mod process;
mod producer;
mod report;
mod scenario;
mod statistics;
mod stream;
mod template;
mod topology;
mod trial;
mod wire;

use std::{fs, path::PathBuf, time::Duration};

use amq_protocol::uri::{AMQPScheme, AMQPUri};
use clap::Args;

use crate::bench::{
    outcome::Outcome,
    process::{find_listener, machine},
    report::Report,
    scenario::STANDARD,
    trial::{Target, Trial},
};

pub use crate::bench::{error::BenchError, scenario::Scenario};

/// What `leveret bench` is asked to do.
#[derive(Args, Clone, Debug)]
#[command(after_help = format!("Scenarios, with a number for N (16, 1k, 1m):\n{}", Scenario::describe_kinds()))]
pub struct Arguments {
    /// The broker to measure.
    #[arg(long, default_value = "amqp://guest:guest@127.0.0.1:5672")]
    uri: String,
    /// A second broker, measured in turns with the first.
    #[arg(long)]
    peer: Option<String>,
    /// Process of the broker, for CPU time and memory; found by its port when it runs on this machine.
    #[arg(long)]
    broker_pid: Option<u32>,
    /// Process of the second broker.
    #[arg(long)]
    peer_pid: Option<u32>,
    /// Runs of each scenario against each broker.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// For how long a producer publishes in one run.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Writes all figures into this file, too.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Leaves the messages of `backlog-N` in their queue, to measure a start with them.
    #[arg(long)]
    keep_backlog: bool,
    /// What to measure; everything usual when nothing is named.
    scenarios: Vec<Scenario>,
}

/// Measures, and prints the report on standard output and the progress on standard error.
///
/// # Errors
/// The first run that failed. A broker that loses, repeats or damages messages is such a failure.
pub fn run(arguments: &Arguments) -> Result<(), BenchError> {
    let mut targets = vec![target(&arguments.uri, arguments.broker_pid)?];
    if let Some(peer) = &arguments.peer {
        targets.push(target(peer, arguments.peer_pid)?);
    }
    let mut report = Report::new(machine(), f64::from(arguments.seconds));
    for scenario in scenarios(arguments) {
        let mut outcomes: Vec<Vec<Outcome>> = vec![Vec::new(); targets.len()];
        for number in 1..=arguments.runs {
            for (target, outcomes) in targets.iter().zip(&mut outcomes) {
                let outcome = run_once(arguments, &scenario, target)?;
                let (broker, rate) = (&outcome.broker, outcome.per_second);
                eprintln!(
                    "{scenario}, run {number} of {}, {broker}: {rate:.0}/s",
                    arguments.runs
                );
                outcomes.push(outcome);
            }
        }
        for runs in outcomes {
            report.add(&scenario.to_string(), runs);
        }
        if arguments.keep_backlog && scenario.is_backlog() {
            let messages = scenario.parameter();
            eprintln!(
                "Restart the broker now; then `leveret bench --runs 1 backlog-drain-{messages}` checks the messages."
            );
        }
    }
    println!("{}", report.markdown());
    match &arguments.json {
        Some(path) => fs::write(path, report.json()).map_err(|source| BenchError::Report {
            path: path.display().to_string(),
            source,
        }),
        None => Ok(()),
    }
}

fn run_once(arguments: &Arguments, scenario: &Scenario, target: &Target) -> Result<Outcome, BenchError> {
    let time_max = Duration::from_secs(u64::from(arguments.seconds));
    let plan = scenario.plan();
    let mut broker = target.uri.authority.host.clone();
    let outcome = if plan.is_idle() {
        idle::run(target, &plan, &scenario.entity())
    } else {
        Trial::prepare(target, scenario, time_max, arguments.keep_backlog).and_then(|trial| {
            broker = trial.broker();
            trial.run()
        })
    };
    outcome.map_err(|source| BenchError::Run {
        scenario: scenario.to_string(),
        broker,
        source: Box::new(source),
    })
}

fn scenarios(arguments: &Arguments) -> Vec<Scenario> {
    if arguments.scenarios.is_empty() {
        let standard = STANDARD
            .iter()
            .map(|name| name.parse().expect("a test parses every standard name"));
        standard.collect()
    } else {
        arguments.scenarios.clone()
    }
}

fn target(uri: &str, pid: Option<u32>) -> Result<Target, BenchError> {
    let refuse = |reason: String| BenchError::Address {
        uri: uri.to_owned(),
        reason,
    };
    let parsed: AMQPUri = uri.parse().map_err(refuse)?;
    if parsed.scheme != AMQPScheme::AMQP {
        return Err(refuse("only plain TCP can be measured".to_owned()));
    }
    let is_local = ["localhost", "127.0.0.1", "[::1]", "::1"].contains(&parsed.authority.host.as_str());
    let found = || {
        if is_local {
            find_listener(parsed.authority.port)
        } else {
            None
        }
    };
    let pid = pid.or_else(found);
    Ok(Target { uri: parsed, pid })
}
