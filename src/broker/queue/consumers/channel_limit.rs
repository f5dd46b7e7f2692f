//! A channel's own limit of unacked deliveries.

use std::sync::atomic::{AtomicU32, Ordering};

/// The limit of `basic.qos(global=true)`, shared by a channel's consumers over all their queues.
#[derive(Debug)]
pub struct ChannelLimit {
    /// 0: none.
    limit: AtomicU32,
    unacked: AtomicU32,
}

impl ChannelLimit {
    /// A limit that leaves no room before [`ChannelLimit::count_from`].
    pub fn new(limit: u16) -> Self {
        Self {
            limit: AtomicU32::new(u32::from(limit)),
            unacked: AtomicU32::new(u32::MAX),
        }
    }

    /// Starts from the deliveries that are unacked already (RabbitMQ counts those of `basic.get` here too). Call it
    /// when all consumers are under the limit, so that none takes a message that is not counted.
    pub fn count_from(&self, unacked: u32) {
        self.unacked.store(unacked, Ordering::Relaxed);
    }

    /// Changes the limit; 0 removes it.
    pub fn set(&self, limit: u16) {
        self.limit.store(u32::from(limit), Ordering::Relaxed);
    }

    /// Gives back what settled deliveries took. True if there was no room before, so that consumers may wait for it.
    pub fn release(&self, deliveries: u32) -> bool {
        // Never below none: a limit that wraps around starves its consumers for ever.
        let mut unacked = self.unacked.load(Ordering::Relaxed);
        while let Err(changed) = self.unacked.compare_exchange_weak(
            unacked,
            unacked.saturating_sub(deliveries),
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            unacked = changed;
        }
        let limit = self.limit.load(Ordering::Relaxed);
        limit != 0 && unacked >= limit
    }

    /// Takes room for a delivery that no consumer asked for (`basic.get`).
    pub fn take_unchecked(&self) {
        self.unacked.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn has_room(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        limit == 0 || self.unacked.load(Ordering::Relaxed) < limit
    }

    /// Takes room for one delivery; two queues may ask at once, and only one gets the last place.
    pub(super) fn take(&self) -> bool {
        self.unacked
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |unacked| {
                let limit = self.limit.load(Ordering::Relaxed);
                (limit == 0 || unacked < limit).then_some(unacked + 1)
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn giving_back_more_than_was_counted_leaves_room() {
        let limit = ChannelLimit::new(1);
        limit.count_from(0);
        limit.release(1);
        assert!(limit.take(), "nothing is unacked");
        assert!(!limit.take(), "one is unacked, and one is the limit");
    }

    #[test]
    fn consumers_wait_only_where_there_was_no_room() {
        let limit = ChannelLimit::new(2);
        limit.count_from(3);
        let releases = [(); 3].map(|()| limit.release(1));
        assert_eq!(releases, [true, true, false]);
        limit.set(0);
        limit.count_from(9);
        assert!(!limit.release(1), "there is always room without a limit");
    }
}
