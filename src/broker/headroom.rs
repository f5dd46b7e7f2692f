//! How much queues may keep in memory at the moment. Whoever watches the memory sets it; each queue looks at it with
//! each batch, so that it costs nothing to tell all of them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What one queue may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Bytes of ready messages that it keeps in memory at most, if its window is not smaller anyway.
    pub window_bytes: usize,
    /// Memory is above its mark: consumers that settle nothing get nothing more.
    pub holds_back: bool,
}

impl Default for Allowance {
    /// There is room enough.
    fn default() -> Self {
        Self {
            window_bytes: usize::MAX,
            holds_back: false,
        }
    }
}

/// What every queue may do.
#[derive(Debug)]
pub struct Headroom {
    window_bytes: AtomicUsize,
    holds_back: AtomicBool,
}

impl Default for Headroom {
    fn default() -> Self {
        let Allowance {
            window_bytes,
            holds_back,
        } = Allowance::default();
        Self {
            window_bytes: AtomicUsize::new(window_bytes),
            holds_back: AtomicBool::new(holds_back),
        }
    }
}

impl Headroom {
    /// What counts now.
    pub fn allowance(&self) -> Allowance {
        Allowance {
            window_bytes: self.window_bytes.load(Ordering::Relaxed),
            holds_back: self.holds_back.load(Ordering::Relaxed),
        }
    }

    /// Windows have so many bytes at most from now on.
    pub fn narrow(&self, window_bytes: usize) {
        self.window_bytes.store(window_bytes, Ordering::Relaxed);
    }

    /// Memory is above its mark, or no more.
    pub fn hold_back(&self, holds_back: bool) {
        self.holds_back.store(holds_back, Ordering::Relaxed);
    }
}
