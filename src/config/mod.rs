//! The configuration: what the operator wrote, laid over the defaults, decoded once, then checked.
//!
//! One struct per section with its defaults beside it. Nothing else in the program reads the environment, and
//! nothing below `server` sees these types: it hands plain values down. Sizes are bytes here, whatever unit was
//! written.

mod access;
mod amqp;
mod check;
mod error;
mod identity;
mod key_path;
mod load;
mod log;
mod policies;
mod storage;
mod tls;
mod units;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use access::{Auth, Mechanism, Permission, Secret, TopicPermission, User, Vhost};
pub use amqp::{Amqp, Listeners};
pub use error::{ConfigError, Problem};
pub use identity::Identity;
pub use load::{Override, Sources};
pub use log::{Log, LogFormat};
pub use policies::Policy;
pub use storage::{Limits, Storage, Synchronous};
pub use tls::{Tls, Verify};
pub use units::Watermark;

/// The commented sample file: every key with its default value.
pub const SAMPLE: &str = include_str!("../../config/leveret.toml");

/// Everything that can be configured. `Config::default()` is what an empty file gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the broker listens.
    pub listeners: Listeners,
    /// Certificates, for the listeners that speak TLS.
    pub tls: Tls,
    /// What is agreed with a client, and how large things may get.
    pub amqp: Amqp,
    /// Where and how messages and definitions are kept.
    pub storage: Storage,
    /// When publishers are held back, and how many may come.
    pub limits: Limits,
    /// How clients log in.
    pub auth: Auth,
    /// The virtual hosts. When absent: `/`.
    pub vhosts: Vec<Vhost>,
    /// Who may log in, and what they may do. When absent: guest, an administrator with all rights on `/`.
    pub users: Vec<User>,
    /// What is logged, and how it looks.
    pub log: Log,
    /// How the broker presents itself to clients.
    pub identity: Identity,
    /// A file of definitions to import at every start, before clients may come; none when empty.
    pub definitions: PathBuf,
    /// Policies that are in force beside those that are stored, and win over them.
    pub policies: Vec<Policy>,
    /// The same for operator policies.
    pub operator_policies: Vec<Policy>,
    /// Which of the lists the operator wrote.
    #[serde(skip)]
    pub written: Written,
}

/// Which lists were written; the others are built in, and give way to what is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// `vhosts`.
    pub vhosts: bool,
    /// `users`.
    pub users: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listeners: Listeners::default(),
            tls: Tls::default(),
            amqp: Amqp::default(),
            storage: Storage::default(),
            limits: Limits::default(),
            auth: Auth::default(),
            vhosts: vec![Vhost::root()],
            users: vec![User::guest()],
            log: Log::default(),
            identity: Identity::default(),
            definitions: PathBuf::new(),
            policies: Vec::new(),
            operator_policies: Vec::new(),
            written: Written::default(),
        }
    }
}

impl Config {
    /// Reads the file, the environment and the flags, each over the one before, and checks the result.
    ///
    /// # Errors
    /// Every problem that was found, not only the first.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        load::load(sources)
    }

    /// The effective values as TOML. Secrets are masked, so this is for reading, not for loading again.
    ///
    /// # Errors
    /// A value that TOML can not express, such as a directory that is not UTF-8.
    pub fn show(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}
