//! The sections `storage` and `limits`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::units::{self, Watermark};

/// Where and how messages and definitions are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// The data directory; made when missing, and locked while the broker runs.
    pub directory: PathBuf,
    /// How hard a commit is pushed to the disk.
    pub synchronous: Synchronous,
    /// Ready messages of one queue that are kept in memory; those behind them are on disk only.
    pub memory_window_messages: u32,
    /// The same window in bytes of message bodies. Whichever is full first counts.
    #[serde(with = "units::size")]
    pub memory_window_bytes: u64,
    /// Bytes of messages written in one transaction at most.
    #[serde(with = "units::size")]
    pub group_bytes_max: u64,
    /// Time between the starts of two commits at least. Zero commits whenever the disk is free.
    #[serde(with = "units::duration")]
    pub commit_interval: Duration,
    /// Bytes waiting to be written above which publishers are made to wait; an eighth of the memory mark at most.
    #[serde(with = "units::size")]
    pub pending_bytes_max: u64,
    /// Bytes of write-ahead log after which it is copied back into the database; four transactions at least.
    #[serde(with = "units::size")]
    pub checkpoint_bytes: u64,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("./data"),
            synchronous: Synchronous::Full,
            memory_window_messages: 262_144,
            memory_window_bytes: 64 << 20,
            group_bytes_max: 16 << 20,
            commit_interval: Duration::ZERO,
            pending_bytes_max: 64 << 20,
            checkpoint_bytes: 32 << 20,
        }
    }
}

/// How hard a commit is pushed to the disk; `SQLite`'s pragma of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// A confirmed message survives a power cut.
    Full,
    /// A confirmed message survives a crash of the broker; a power cut may lose the last moments.
    Normal,
    /// The operating system writes when it likes. For tests.
    Off,
}

/// When publishers are held back, and how many clients may come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Memory of the process above which publishers are blocked.
    pub memory_high_watermark: Watermark,
    /// Free bytes on the data directory's disk below which publishers are blocked.
    #[serde(with = "units::size")]
    pub disk_free_limit: u64,
    /// Connections that may be open at once; 0 is without limit.
    pub connections_max: u32,
    /// Channels that may be open at once, on all connections; 0 is without limit.
    pub channels_max: u32,
    /// Queues that there may be, in all virtual hosts; 0 is without limit.
    pub queues_max: u32,
    /// Exchanges that there may be, in all virtual hosts, the predeclared ones included; 0 is without limit.
    pub exchanges_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_high_watermark: Watermark::Ratio(0.6),
            disk_free_limit: 50_000_000,
            connections_max: 0,
            channels_max: 0,
            queues_max: 0,
            exchanges_max: 0,
        }
    }
}
