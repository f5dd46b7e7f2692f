//! The `leveret` command: flags, configuration, logging, and then the broker.

#![forbid(unsafe_code)]

mod cli;
mod logging;

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use leveret::bench;
use leveret::config::{Config, ConfigError, SAMPLE};
use leveret::server;
use mimalloc::MiMalloc;

use crate::cli::{Arguments, Command};

// Every message in memory is an allocation of its own; the system's allocator costs about a third more per message.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.command {
        None => serve(&arguments),
        Some(Command::CheckConfig { show }) => check_config(&arguments, *show),
        Some(Command::DefaultConfig) => print(SAMPLE),
        Some(Command::Bench(arguments)) => bench::run(arguments).map_err(Into::into),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

type Done = Result<(), Box<dyn Error>>;

fn serve(arguments: &Arguments) -> Done {
    let config = Config::load(&arguments.sources())?;
    logging::start(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(server::run(config))?;
    Ok(())
}

fn check_config(arguments: &Arguments, show: bool) -> Done {
    let sources = arguments.sources();
    let config = Config::load(&sources)?;
    if show {
        return print(&config.show()?);
    }
    match &sources.file {
        Some(file) => print(&format!("{}: ok\n", file.display())),
        None => print("no file; the built-in defaults: ok\n"),
    }
}

fn print(text: &str) -> Done {
    match io::stdout().write_all(text.as_bytes()) {
        // `leveret default-config | head` is not a failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// One line per problem of the configuration; anything else on one line with its causes.
fn complain(error: &(dyn Error + 'static)) {
    if let Some(ConfigError { problems }) = error.downcast_ref() {
        for problem in problems {
            say(&problem.to_string());
        }
        return;
    }
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    say(&line.escape_debug().to_string());
}

/// Tells the operator, if anybody listens.
fn say(line: &str) {
    drop(writeln!(io::stderr(), "leveret: {line}"));
}
