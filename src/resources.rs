//! Watches memory and disk, and raises the broker's alarms.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use tracing::warn;

use crate::broker::Broker;
use crate::broker::alarms::Alarm;
use crate::config::{Limits, Watermark};

/// Where a control group's memory limit stands, version 2 and version 1.
const CGROUP_LIMITS: [&str; 2] = [
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
];

/// How often memory and disk are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The same where there is little room.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(20);

/// A disk is not filled faster than this: 500 MB a second.
const BYTES_PER_MILLI: u64 = 500_000;

/// What to watch, and the marks.
#[derive(Debug)]
pub struct Resources {
    memory_max: u64,
    disk_free_min: u64,
    directory: PathBuf,
}

impl Resources {
    /// Marks from the configuration; a ratio is of the machine's memory, or of the control group's if that is less.
    pub fn new(limits: &Limits, directory: &Path) -> Self {
        let memory_max = match limits.memory_high_watermark {
            Watermark::Bytes(bytes) => bytes,
            Watermark::Ratio(ratio) => scale(memory_bytes(), ratio),
        };
        Self {
            memory_max,
            disk_free_min: limits.disk_free_limit,
            directory: directory.to_owned(),
        }
    }

    /// Compares what is with the marks and sets the alarms. Returns how soon to look again: the less room there is, the
    /// sooner.
    pub fn check(&self, broker: &Broker) -> Duration {
        if let Some(resident) = number_in("/proc/self/status", "VmRSS:")
            && broker.set_alarm(Alarm::Memory, resident > self.memory_max)
        {
            warn!(
                resident,
                mark = self.memory_max,
                "memory alarm {}",
                word(resident > self.memory_max)
            );
        }
        let Ok(stat) = statvfs(&self.directory) else {
            return LOOK_INTERVAL;
        };
        let free = stat.blocks_available() * stat.fragment_size();
        let spaces = [&broker.stores.durable, &broker.stores.spill].map(|store| store.space());
        let spare: u64 = spaces.iter().map(|space| space.spare).sum();
        let owed: u64 = spaces.iter().map(|space| space.owed).sum();
        let room = (free + spare).saturating_sub(owed);
        let is_short = room < self.disk_free_min;
        if broker.set_alarm(Alarm::Disk, is_short) {
            warn!(
                free,
                spare,
                owed,
                mark = self.disk_free_min,
                "disk alarm {}",
                word(is_short)
            );
        }
        let millis_left = (room.saturating_sub(self.disk_free_min)) / BYTES_PER_MILLI;
        let is_near = !is_short && self.disk_free_min > 0;
        match Duration::from_millis(millis_left) {
            left if is_near => left.clamp(LOOK_INTERVAL_MIN, LOOK_INTERVAL),
            _ => LOOK_INTERVAL,
        }
    }
}

fn word(stands: bool) -> &'static str {
    if stands {
        "set: publishers are blocked"
    } else {
        "cleared"
    }
}

/// The bytes that a file of /proc gives in KiB behind the key.
fn number_in(path: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace()
        .next()?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

/// The machine's memory, or the control group's limit if that is less.
fn memory_bytes() -> u64 {
    let machine = number_in("/proc/meminfo", "MemTotal:");
    let groups = CGROUP_LIMITS
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
    machine.into_iter().chain(groups).min().unwrap_or(u64::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a mark need not be exact to the byte"
)]
fn scale(bytes: u64, ratio: f64) -> u64 {
    (bytes as f64 * ratio) as u64
}
