//! The command line. It says what may be typed and turns flags into values over the configuration; it runs nothing.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use leveret::bench;
use leveret::config::{Override, Sources};
use toml::Value;

/// Leveret, an AMQP 0-9-1 broker. Without a command it serves.
#[derive(Debug, Parser)]
#[command(name = "leveret", version)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check the configuration: every problem on a line of its own, exit code 1 if there is any
    CheckConfig {
        /// Print the values in force, with secrets masked
        #[arg(long)]
        show: bool,
    },
    /// Print the commented configuration file with every key and its default
    DefaultConfig,
    /// Read a password, one line, from the standard input and print its hash, for `password_hash` in the configuration
    HashPassword,
    /// Definitions as RabbitMQ exports them, in the data directory of a broker that does not run
    #[command(subcommand)]
    Definitions(DefinitionsCommand),
    /// Write all that the data directory holds to a new file, also while a broker works there
    Backup {
        /// The file; it must not exist
        file: PathBuf,
    },
    /// Fill an empty data directory from a backup
    Restore {
        /// The backup
        file: PathBuf,
    },
    /// Check all that the data directory of a broker that does not run holds; exit code 1 if anything is wrong
    Verify,
    /// Measure this or any other AMQP 0-9-1 broker, or two of them in turns
    Bench(bench::Arguments),
}

#[derive(Debug, Subcommand)]
pub enum DefinitionsCommand {
    /// Import a file: all of it, or nothing and a reason
    Import {
        /// The file
        file: PathBuf,
        /// Take the file for the export of a single virtual host, and import it into this one
        #[arg(long, value_name = "NAME")]
        vhost: Option<String>,
    },
    /// Write down all that a broker on this directory would have
    Export {
        /// The file [default: the standard output]
        file: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
struct Settings {
    /// Configuration file [default: config/leveret.toml if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on for AMQP, in place of the configured ones; may be repeated
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    listen: Vec<SocketAddr>,
    /// Data directory, in place of storage.directory
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// Any key of the configuration, such as amqp.heartbeat=30s; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = read_setting)]
    set: Vec<(String, String)>,
}

impl Arguments {
    /// Whether every flag counts for something: some commands have no use for a configuration.
    ///
    /// # Errors
    /// What to tell whoever typed one that does not.
    pub fn check_flags(&self) -> Result<(), clap::Error> {
        let Settings {
            config,
            listen,
            data_dir,
            set,
        } = &self.settings;
        let command = match self.command {
            Some(Command::DefaultConfig) => "default-config",
            Some(Command::HashPassword) => "hash-password",
            Some(Command::Bench(_)) => "bench",
            _ => return Ok(()),
        };
        let flags = [
            ("--config", config.is_some()),
            ("--listen", !listen.is_empty()),
            ("--data-dir", data_dir.is_some()),
            ("--set", !set.is_empty()),
        ];
        match flags.into_iter().find(|(_, is_given)| *is_given) {
            None => Ok(()),
            Some((flag, _)) => {
                let message = format!("{flag} counts for nothing in `leveret {command}`\n");
                Err(Self::command().error(ErrorKind::ArgumentConflict, message))
            }
        }
    }

    /// Everything the configuration is made of, the flags included.
    pub fn sources(&self) -> Sources {
        let Settings {
            config,
            listen,
            data_dir,
            set,
        } = &self.settings;
        let mut flags: Vec<_> = set
            .iter()
            .map(|(key, text)| Override::parse("--set", key, text))
            .collect();
        if !listen.is_empty() {
            let addresses: Vec<_> = listen
                .iter()
                .map(|address| Value::from(address.to_string()))
                .collect();
            flags.push(Override::new("--listen", "listeners.amqp", addresses));
        }
        if let Some(directory) = data_dir {
            flags.push(Override::new(
                "--data-dir",
                "storage.directory",
                directory.as_str(),
            ));
        }
        Sources::of_process(config.clone(), flags)
    }
}

fn read_setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}
