//! The `leveret` command: flags, configuration, logging, and then the broker.

#![forbid(unsafe_code)]

mod cli;
mod logging;

use std::error::Error;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use leveret::bench;
use leveret::broker::password::PasswordHash;
use leveret::config::{Config, ConfigError, SAMPLE};
use leveret::server::{self, Findings, ServerError};
use mimalloc::MiMalloc;

use crate::cli::{Arguments, Command, DefinitionsCommand};

// Messages are made by one thread and freed by another one, which costs the system's allocator about a third more.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// More is not read of a line that should be a password.
const PASSWORD_BYTES_MAX: u64 = 64 << 10;

/// Turns of connections after which a thread looks for what sockets and timers have to say. Those who always have
/// something to do go on without it, and would leave the others behind.
const TURNS_BETWEEN_EVENTS: u32 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(idle) = arguments.check_flags() {
        idle.exit();
    }
    let done = match &arguments.command {
        None => serve(&arguments),
        Some(Command::CheckConfig { show }) => check_config(&arguments, *show),
        Some(Command::DefaultConfig) => print(SAMPLE),
        Some(Command::Definitions(command)) => definitions(&arguments, command),
        Some(Command::HashPassword) => hash_password(),
        Some(Command::Backup { file }) => backup(&arguments, file),
        Some(Command::Restore { file }) => restore(&arguments, file),
        Some(Command::Verify) => verify(&arguments),
        Some(Command::Bench(arguments)) => bench::run(arguments).map_err(Into::into),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error.as_ref());
            let error = error.downcast_ref::<ServerError>();
            if let (None, Some(advice)) = (&arguments.command, error.and_then(ServerError::advice)) {
                say(advice);
            }
            ExitCode::FAILURE
        }
    }
}

type Done = Result<(), Box<dyn Error>>;

fn serve(arguments: &Arguments) -> Done {
    let sources = arguments.sources();
    let config = Config::load(&sources)?;
    let set_log = logging::start(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .event_interval(TURNS_BETWEEN_EVENTS)
        .build()?;
    runtime.block_on(server::run(config, sources, set_log))?;
    Ok(())
}

fn check_config(arguments: &Arguments, show: bool) -> Done {
    let sources = arguments.sources();
    let config = Config::load(&sources)?;
    server::check_files(&config)?;
    if show {
        return print(&config.show()?);
    }
    match &sources.file {
        Some(file) => print(&format!("{}: ok\n", file.display())),
        None => print("no file; the built-in defaults: ok\n"),
    }
}

fn definitions(arguments: &Arguments, command: &DefinitionsCommand) -> Done {
    let config = Config::load(&arguments.sources())?;
    match command {
        DefinitionsCommand::Import { file, vhost } => {
            let imported = server::import_definitions(&config, file, vhost.as_deref())?;
            imported.notes.iter().for_each(|note| say(note));
            print(&format!("imported {}: {}\n", file.display(), imported.summary))
        }
        DefinitionsCommand::Export { file } => {
            let export = server::export_definitions(&config)?;
            export.notes.iter().for_each(|note| say(note));
            match file {
                Some(file) => fs::write(file, export.json)
                    .map_err(|error| format!("cannot write {}: {error}", file.display()).into()),
                None => print(&export.json),
            }
        }
    }
}

fn backup(arguments: &Arguments, file: &Path) -> Done {
    let findings = server::backup(&Config::load(&arguments.sources())?, file)?;
    tell(&findings, "there is no backup of it")?;
    print(&format!("wrote {}: {}\n", file.display(), summary(&findings)))
}

fn restore(arguments: &Arguments, file: &Path) -> Done {
    let config = Config::load(&arguments.sources())?;
    let findings = server::restore(&config, file)?;
    tell(&findings, "nothing is restored")?;
    let directory = config.storage.directory.display();
    print(&format!("restored {directory}: {}\n", summary(&findings)))
}

fn verify(arguments: &Arguments) -> Done {
    let config = Config::load(&arguments.sources())?;
    let findings = server::verify(&config)?;
    tell(
        &findings,
        "restore a backup, or keep the directory for whoever can mend it",
    )?;
    if !findings.is_current {
        say(&format!(
            "schema {} is of an older version: only SQLite's own check was made; a start brings it up to date",
            findings.schema
        ));
    }
    let directory = config.storage.directory.display();
    print(&format!("{directory}: ok: {}\n", summary(&findings)))
}

/// A line per problem, if there is any.
fn tell(findings: &Findings, consequence: &str) -> Done {
    if findings.is_sound() {
        return Ok(());
    }
    for problem in &findings.problems {
        say(&problem.replace(char::is_control, " "));
    }
    let count = findings.problems.len() + findings.further_problems;
    Err(format!("the data is damaged, problems: {count}; {consequence}").into())
}

fn summary(findings: &Findings) -> String {
    let Findings {
        exchanges,
        queues,
        bindings,
        messages,
        body_bytes,
        delayed,
        ..
    } = findings;
    if !findings.is_current {
        return format!("schema {}", findings.schema);
    }
    format!(
        "{exchanges} exchanges, {queues} queues, {bindings} bindings, {messages} messages of {body_bytes} bytes, \
         {delayed} delayed"
    )
}

fn hash_password() -> Done {
    let mut line = String::new();
    BufReader::new(io::stdin().take(PASSWORD_BYTES_MAX)).read_line(&mut line)?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(
            "the standard input begins with an empty line: nobody can log in with a blank password".into(),
        );
    }
    if line.len() as u64 == PASSWORD_BYTES_MAX {
        return Err("the first line is too long for a password".into());
    }
    let hash = PasswordHash::argon2id(password.as_bytes(), rand::random());
    print(&format!("{}\n", hash.encode()))
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
    say(&line.replace(char::is_control, " "));
}

/// Tells the operator, if anybody listens.
fn say(line: &str) {
    drop(writeln!(io::stderr(), "leveret: {line}"));
}
