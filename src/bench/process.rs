//! What the broker's process uses, read from `/proc`. Elsewhere than on Linux, or for a broker on another
//! machine, there is nothing to read and the report leaves those columns empty.

use std::{fs, path::Path};

use crate::bench::statistics::float;

/// Linux counts process times in hundredths of a second for every program that asks.
const TICKS_PER_SECOND: f64 = 100.0;
/// State of a listening socket in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// What a process has used since it began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// User and system time of all threads, in seconds.
    pub(super) cpu_seconds: f64,
    /// Bytes that were sent to block devices.
    pub(super) written_bytes: u64,
}

impl Usage {
    /// What that process has used so far.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        Some(Self {
            cpu_seconds: cpu_seconds(&stat)?,
            written_bytes: field(&io, "write_bytes:").unwrap_or(0),
        })
    }

    /// What was used since `earlier`.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds - earlier.cpu_seconds,
            written_bytes: self.written_bytes - earlier.written_bytes,
        }
    }
}

/// Resident memory of that process in bytes.
pub(super) fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(field(&status, "VmRSS:")? * 1024)
}

/// The process that listens on that TCP port of this machine, if this user may see it.
pub(super) fn find_listener(port: u16) -> Option<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let link = format!(
        "socket:[{}]",
        tables.iter().find_map(|table| listener_inode(table, port))?
    );
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(|pid| holds_file(*pid, &link))
}

/// Processor, cores, memory and kernel of this machine, in one line.
pub(super) fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("unknown processor");
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let memory = field(
        &fs::read_to_string("/proc/meminfo").unwrap_or_default(),
        "MemTotal:",
    )
    .unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    format!(
        "{model}, {cores} cores, {} MiB of memory, Linux {}",
        memory / 1024,
        kernel.trim()
    )
}

fn holds_file(pid: u32, link: &str) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    files
        .flatten()
        .any(|file| fs::read_link(file.path()).is_ok_and(|target| target == Path::new(link)))
}

fn listener_inode(table: &str, port: u16) -> Option<u64> {
    let suffix = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_match = fields.get(1)?.ends_with(&suffix) && *fields.get(3)? == LISTENING;
        if is_match {
            fields.get(9)?.parse().ok()
        } else {
            None
        }
    })
}

/// The name, second in the line, stands in parentheses and may hold anything; times are counted from behind
/// it.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |place: usize| fields.get(place)?.parse::<u64>().ok();
    Some(float(ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn user_and_system_time_are_added_whatever_the_name_holds() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 250 150 7 9 20 0 5 0 1 1 1";
        assert!((cpu_seconds(stat).unwrap() - 4.0).abs() < 1e-9);
        assert!(cpu_seconds("42 (a").is_none());
    }

    #[test]
    fn a_listener_is_found_by_its_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(
            find_listener(listener.local_addr().unwrap().port()),
            Some(std::process::id())
        );
    }

    #[test]
    fn a_connected_socket_is_no_listener() {
        let table = "  sl  local_address rem_address   st\n\
             0: 0100007F:1628 0100007F:9C40 01 00000000:00000000 00:00000000 00000000 0 0 11 1\n\
             1: 0100007F:1628 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 22 1\n";
        assert_eq!(listener_inode(table, 0x1628), Some(22));
        assert_eq!(listener_inode(table, 0x1629), None);
    }

    #[test]
    fn this_process_has_memory_and_has_used_time() {
        let pid = std::process::id();
        assert!(resident_bytes(pid).unwrap() > 0);
        let usage = Usage::of(pid).unwrap();
        assert!(usage.since(usage).cpu_seconds.abs() < 1e-9);
    }
}
