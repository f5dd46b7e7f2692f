//! Numbers for queues. The store has room for 2^24 of them, so only queues that it sees are given one of those.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::store::QueueId;

/// Numbers in a store end here.
const STORED_END: u32 = 1 << 24;

/// Numbers that queues leave to the levels of priority queues.
const LEVELS: u32 = 1 << 20;

/// Names a queue while the broker runs; two queues never share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LiveQueueId(pub u64);

/// Where the numbers come from.
#[derive(Debug)]
pub struct QueueIds {
    live: AtomicU64,
    durable: AtomicU32,
    spilled: AtomicU32,
}

impl QueueIds {
    /// `durable` is the first number that was never given to a durable queue.
    pub fn new(durable: u32) -> Self {
        Self {
            live: AtomicU64::new(1),
            durable: AtomicU32::new(durable),
            spilled: AtomicU32::new(1),
        }
    }

    /// A number for a queue in this run.
    pub fn live(&self) -> LiveQueueId {
        LiveQueueId(self.live.fetch_add(1, Ordering::Relaxed))
    }

    /// A number for a durable queue; `None` when all were used up.
    pub fn durable(&self) -> Option<QueueId> {
        self.below(STORED_END - LEVELS)
    }

    /// A number for messages of one priority in a durable queue.
    pub fn level(&self) -> QueueId {
        self.below(STORED_END)
            .expect("queues leave a million numbers to levels, which are used one by one")
    }

    fn below(&self, end: u32) -> Option<QueueId> {
        let next = |id: u32| (id < end).then_some(id + 1);
        self.durable
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .ok()
            .map(QueueId)
    }

    /// A number for a queue that spills. After 16 million such queues in one run they begin anew: the first ones are
    /// long gone.
    pub fn spilled(&self) -> QueueId {
        QueueId(self.spilled.fetch_add(1, Ordering::Relaxed) % STORED_END)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durable_numbers_end_where_the_store_ends() {
        let ids = QueueIds::new(STORED_END - LEVELS - 1);
        assert_eq!(ids.durable(), Some(QueueId(STORED_END - LEVELS - 1)));
        assert_eq!(ids.durable(), None);
        assert_eq!(ids.level(), QueueId(STORED_END - LEVELS));
        assert_eq!(ids.durable(), None);
        assert_ne!(ids.live(), ids.live());
        assert_eq!(QueueIds::new(0).spilled(), QueueId(1));
    }
}
