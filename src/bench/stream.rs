//! What a producer and its consumers know of each other during a run.

use std::sync::atomic::{AtomicU64, Ordering};

/// The messages of one producer.
#[derive(Debug)]
pub(super) struct Stream {
    /// `u64::MAX` until the producer has ended.
    total: AtomicU64,
    consumed: Vec<AtomicU64>,
}

impl Stream {
    /// With that many consumers, each of which is to get every message.
    pub(super) fn new(consumers: u16) -> Self {
        let consumed = (0..consumers).map(|_| AtomicU64::new(0)).collect();
        Self {
            total: AtomicU64::new(u64::MAX),
            consumed,
        }
    }

    /// The producer has ended after `total` messages.
    pub(super) fn end(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    /// How many there are; `None` while the producer is at it.
    pub(super) fn total(&self) -> Option<u64> {
        Some(self.total.load(Ordering::Relaxed)).filter(|total| *total != u64::MAX)
    }

    /// That consumer has got `count` so far.
    pub(super) fn consume(&self, consumer: u16, count: u64) {
        self.consumed[usize::from(consumer)].store(count, Ordering::Relaxed);
    }

    /// What the slowest consumer has got.
    pub(super) fn consumed_min(&self) -> u64 {
        self.consumed
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .min()
            .unwrap_or(u64::MAX)
    }
}
