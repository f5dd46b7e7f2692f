//! Watches memory and disk, and raises the broker's alarms. Long before that of memory queues keep less of it.

mod control_group;

use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::statvfs::statvfs;
use tracing::{info, warn};

use crate::broker::Broker;
use crate::broker::alarms::Alarm;
use crate::config::{Limits, Watermark};

/// How often memory and disk are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The same where there is little room.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(20);

/// The disk is not filled faster than this: 500 MB a second.
const DISK_BYTES_PER_MILLI: u64 = 500_000;

/// Nor memory than this, 3 GB a second: who acks nothing was seen to draw 2 GB a second from a backlog that the system
/// had in its memory.
const MEMORY_BYTES_PER_MILLI: u64 = 3_000_000;

/// An alarm of memory ends, and windows widen again, at this share of their mark below it: else each message would
/// set and clear it.
const HYSTERESIS: u64 = 16;

/// From this share of the mark on, queues together keep no more than [`WINDOWS_SHARE`] of it in addition.
const NARROW_SHARE: u64 = 2;
const WINDOWS_SHARE: u64 = 8;

/// Large messages of which a part has come have this share of the mark together.
const ARRIVALS_SHARE: u64 = 8;

/// What waits for the disk has this share of the mark at most.
const PENDING_SHARE: u64 = 8;

/// Consumers that settle nothing are held back where an alarm would end, below the mark: they alone do not raise one. Of
/// what is left until there they are given three quarters before the next look: the allocator's size classes take up to
/// a quarter more than what is asked for.
const HELD_SHARE: (u64, u64) = (3, 4);

/// More than the system says of a process, bytes.
const STATUS_BYTES: usize = 8 << 10;

/// Large enough to be a page of the allocator's own, which is not touched and so costs nothing, bytes.
const PAGE_BYTES: usize = 8 << 20;

/// A window is never narrower, bytes.
const WINDOW_MIN: u64 = 4096;

/// What a look at the resources leads to.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// How soon to look again.
    pub pause: Duration,
    /// Consumers are no longer held back, and [`Broker::dispatch_all`] is due. It is not done here: while it lasts,
    /// nobody would look at the memory that it takes.
    pub is_dispatch_due: bool,
}

/// What to watch, and the marks.
#[derive(Debug)]
pub struct Resources {
    /// What the system says of this process. It stays open: a look must not need a file when clients have them all.
    status: Option<File>,
    memory_max: u64,
    disk_free_min: u64,
    directory: PathBuf,
}

impl Resources {
    /// Marks from the configuration; a ratio is of the machine's memory, or of the control group's if that is less.
    pub fn new(limits: &Limits, directory: &Path) -> Self {
        Self {
            status: File::open("/proc/self/status").ok(),
            memory_max: mark(limits),
            disk_free_min: limits.disk_free_limit,
            directory: directory.to_owned(),
        }
    }

    /// Compares what is with the marks and sets the alarms. The less room there is, the sooner it has to look again.
    pub fn check(&self, broker: &Broker) -> Look {
        return_memory();
        broker.arrivals.bound(self.memory_max / ARRIVALS_SHARE);
        let look = self
            .resident()
            .map(|resident| self.check_memory(broker, resident));
        let disk = self.check_disk(broker);
        Look {
            pause: look.map_or(LOOK_INTERVAL, |look| look.pause).min(disk),
            is_dispatch_due: look.is_some_and(|look| look.is_dispatch_due),
        }
    }

    /// The resident memory of the process, bytes.
    fn resident(&self) -> Option<u64> {
        let mut text = [0; STATUS_BYTES];
        let len = self.status.as_ref()?.read_at(&mut text, 0).ok()?;
        number_in(str::from_utf8(&text[..len]).ok()?, "VmRSS:")
    }

    /// [`Resources::check`] of the memory only, of which so many bytes are resident.
    pub(crate) fn check_memory(&self, broker: &Broker, resident: u64) -> Look {
        let max = self.memory_max;
        let stands = is_over(resident, max, broker.alarms.stands(Alarm::Memory));
        if broker.set_alarm(Alarm::Memory, stands) {
            warn!(resident, mark = max, "memory alarm {}", word(stands));
        }
        let left = (max - max / HYSTERESIS).saturating_sub(resident);
        let is_dispatch_due = broker.renew_headroom(left / HELD_SHARE.1 * HELD_SHARE.0);
        let narrow_at = max / NARROW_SHARE;
        let is_narrow = is_over(resident, narrow_at, broker.has_narrow_windows());
        broker.narrow_windows(if is_narrow {
            window_share(max, broker.queue_count() as u64)
        } else {
            usize::MAX
        });
        let next_mark = if is_narrow { max } else { narrow_at };
        Look {
            pause: pause(next_mark.saturating_sub(resident), MEMORY_BYTES_PER_MILLI),
            is_dispatch_due,
        }
    }

    fn check_disk(&self, broker: &Broker) -> Duration {
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
        if is_short || self.disk_free_min == 0 {
            LOOK_INTERVAL
        } else {
            pause(room - self.disk_free_min, DISK_BYTES_PER_MILLI)
        }
    }
}

/// Bytes that may wait for the disk before publishers wait: as many as are configured, but a backlog must not reach the
/// mark of a small machine by what waits alone.
pub fn pending_bytes_max(limits: &Limits, configured: u64) -> u64 {
    configured.min(mark(limits) / PENDING_SHARE)
}

/// The mark on memory, bytes; a ratio is of what [`memory_bytes`] says.
fn mark(limits: &Limits) -> u64 {
    match limits.memory_high_watermark {
        Watermark::Bytes(bytes) => bytes,
        Watermark::Ratio(ratio) => scale(memory_bytes(), ratio),
    }
}

/// The allocator gives freed memory back to the system after a second, but looks for it only when a page is freed: a
/// broker that has become idle would keep it all, and its alarm would stand. So one is freed.
fn return_memory() {
    drop(black_box(Vec::<u8>::with_capacity(PAGE_BYTES)));
}

/// Lets the process open as many files as the system allows it: each connection is one, and what a login shell or an
/// init system gives at first is often a thousand.
pub fn allow_files() {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    if soft < hard {
        match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => info!(from = soft, to = hard, "the limit of open files was raised"),
            Err(error) => warn!(%error, limit = soft, "the limit of open files can not be raised"),
        }
    }
}

/// Whether so much is too much, when it was before or was not.
fn is_over(bytes: u64, mark: u64, was_over: bool) -> bool {
    let mark = if was_over { mark - mark / HYSTERESIS } else { mark };
    bytes > mark
}

/// What each of so many queues may keep below this mark, bytes. A power of two: not every queue that comes or goes makes
/// all others change their windows.
fn window_share(mark: u64, queues: u64) -> usize {
    let share = (mark / WINDOWS_SHARE / queues.max(1)).max(WINDOW_MIN);
    usize::try_from(1_u64 << share.ilog2()).unwrap_or(usize::MAX)
}

/// How soon to look again with so many bytes of room, of which so many may be gone in a millisecond.
fn pause(room: u64, bytes_per_milli: u64) -> Duration {
    Duration::from_millis(room / bytes_per_milli).clamp(LOOK_INTERVAL_MIN, LOOK_INTERVAL)
}

fn word(stands: bool) -> &'static str {
    if stands {
        "set: publishers are blocked"
    } else {
        "cleared"
    }
}

/// The bytes that a text of /proc gives in KiB behind the key.
fn number_in(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace()
        .next()?
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

/// The machine's memory, or that of one of the control groups that the process is in, if that is less.
fn memory_bytes() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| number_in(&text, "MemTotal:"));
    let membership = fs::read_to_string(control_group::MEMBERSHIP).unwrap_or_default();
    let group = control_group::memory_limit(&membership, Path::new(control_group::MOUNT));
    machine.into_iter().chain(group).min().unwrap_or(u64::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_ends_well_below_the_mark_at_which_it_began() {
        let steps = [
            (1600, false),
            (1601, true),
            (1600, true),
            (1501, true),
            (1500, false),
            (1600, false),
        ];
        let mut stands = false;
        for (bytes, expected) in steps {
            stands = is_over(bytes, 1600, stands);
            assert_eq!(stands, expected, "{bytes}");
        }
        assert!(is_over(1, 0, true), "a mark of nothing is always passed");
    }

    #[test]
    fn each_look_at_the_memory_reads_it_anew() {
        let resources = Resources::new(&Limits::default(), Path::new("/"));
        let before = resources.resident().expect("the system tells");
        let more = black_box(vec![1_u8; 256 << 20]);
        let after = resources.resident().expect("the system tells");
        assert!(after >= before + (64 << 20), "{before}, then {after}");
        drop(more);
    }

    #[test]
    fn what_waits_for_the_disk_is_a_share_of_a_small_mark() {
        for (mark, bytes) in [(160 << 20, 20 << 20), (512 << 20, 64 << 20), (16 << 30, 64 << 20)] {
            let limits = Limits {
                memory_high_watermark: Watermark::Bytes(mark),
                ..Limits::default()
            };
            assert_eq!(pending_bytes_max(&limits, 64 << 20), bytes, "{mark}");
        }
    }

    #[test]
    fn queues_share_what_windows_may_have_and_one_more_changes_little() {
        const MARK: u64 = 1 << 30;
        let rows = [
            (0, 128 << 20),
            (1, 128 << 20),
            (1000, 128 << 10),
            (1001, 128 << 10),
            (1024, 128 << 10),
            (1025, 64 << 10),
            (10_000, 8 << 10),
            (1_000_000, 4 << 10),
        ];
        for (queues, bytes) in rows {
            assert_eq!(window_share(MARK, queues), bytes, "{queues} queues");
        }
    }

    #[test]
    fn the_less_room_there_is_the_sooner_it_is_looked_at() {
        let rows = [(0, 20), (50_000_000, 100), (500_000_000, 1000), (u64::MAX, 1000)];
        for (room, millis) in rows {
            assert_eq!(pause(room, DISK_BYTES_PER_MILLI), Duration::from_millis(millis));
        }
    }
}
