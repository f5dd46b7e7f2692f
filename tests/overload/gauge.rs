//! What the broker's process holds, as the system sees it.

use std::fs;

pub const MIB: u64 = 1 << 20;

#[derive(Clone, Copy, Debug)]
pub struct Gauge {
    pid: u32,
}

impl Gauge {
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// Resident memory, bytes.
    pub fn resident(self) -> u64 {
        self.status("VmRSS:")
    }

    /// Of that, what is no file's: the program itself grows as it is used.
    pub fn anonymous(self) -> u64 {
        self.status("RssAnon:")
    }

    /// The most that resident memory ever was.
    pub fn peak(self) -> u64 {
        self.status("VmHWM:")
    }

    /// Open file descriptors.
    pub fn files(self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap().count()
    }

    fn status(self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        let kib: u64 = line.split_whitespace().next().unwrap().parse().unwrap();
        kib * 1024
    }
}
