//! How much there may be: of connections, channels and queues per user and virtual host, and of all on this node.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustc_hash::FxHashMap;

use crate::store::access::{LimitOwner, LimitRow, LimitedResource};

/// The limits of users and virtual hosts. Where there is none there may be any number.
#[derive(Clone, Debug, Default)]
pub struct Limits(FxHashMap<(LimitOwner, LimitedResource), u32>);

/// Limits of the whole node; 0 is without limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLimits {
    /// The node's name, for refusals.
    pub node: String,
    /// Opened connections, until another limit is set.
    pub connections: usize,
    /// Open channels.
    pub channels: usize,
    /// Queues of all virtual hosts.
    pub queues: usize,
    /// Exchanges of all virtual hosts, the predeclared ones included.
    pub exchanges: usize,
}

/// How many things there are on the node of which there may be only so many.
#[derive(Debug, Default)]
pub struct Tally {
    count: AtomicUsize,
    /// 0 is without limit.
    max: usize,
}

/// What there is as much of as there may be. The texts are RabbitMQ's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TooMany {
    /// The vhost may have so many queues; this would be another.
    VhostQueues(Arc<str>, u32),
    /// The node may have so many queues; this would be another.
    NodeQueues(Arc<str>, usize),
    /// The node may have so many exchanges; this would be another.
    NodeExchanges(Arc<str>, usize),
}

/// Something that is counted as long as this lives.
#[derive(Debug)]
pub struct Counted(Arc<Tally>);

impl Limits {
    /// The limit for a user or a virtual host, if there is one.
    pub fn get(&self, owner: &LimitOwner, resource: LimitedResource) -> Option<u32> {
        self.0.get(&(owner.clone(), resource)).copied()
    }

    /// Sets a limit, in the place of the one that was there.
    pub fn set(&mut self, row: &LimitRow) {
        self.0.insert((row.owner.clone(), row.resource), row.max);
    }

    /// Takes a limit away.
    pub fn clear(&mut self, owner: &LimitOwner, resource: LimitedResource) {
        self.0.remove(&(owner.clone(), resource));
    }

    /// Takes all limits of a user or a virtual host away.
    pub fn forget(&mut self, owner: &LimitOwner) {
        self.0.retain(|(own, _), _| own != owner);
    }

    /// All of them, sorted.
    pub fn rows(&self) -> Vec<LimitRow> {
        let row = |((owner, resource), max): (&(LimitOwner, LimitedResource), &u32)| LimitRow {
            owner: owner.clone(),
            resource: *resource,
            max: *max,
        };
        let mut rows: Vec<_> = self.0.iter().map(row).collect();
        rows.sort_by(|left, right| (&left.owner, left.resource).cmp(&(&right.owner, right.resource)));
        rows
    }
}

impl Tally {
    /// Nothing so far; 0 is without limit.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            count: AtomicUsize::new(0),
            max,
        })
    }

    /// The limit, if it is reached. Two that ask at the same moment may both be let in.
    pub fn reached(&self) -> Option<usize> {
        (self.max > 0 && self.count.load(Ordering::Relaxed) >= self.max).then_some(self.max)
    }

    /// How many there are.
    pub fn so_far(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// There is one more, until what this returns is dropped.
    pub fn count(self: &Arc<Self>) -> Counted {
        self.count.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(self))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl TooMany {
    /// The explanation; `vhost` is where it happened.
    pub fn explanation(&self, vhost: &str) -> String {
        match self {
            Self::VhostQueues(queue, max) => {
                format!("cannot declare queue '{queue}': queue limit in vhost '{vhost}' ({max}) is reached")
            }
            Self::NodeQueues(queue, max) => {
                format!("cannot declare queue '{queue}': queue limit in cluster ({max}) is reached")
            }
            Self::NodeExchanges(exchange, max) => format!(
                "cannot declare exchange '{exchange}' in vhost '{vhost}': exchange limit of {max} is reached"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_for_its_owner_and_resource_only() {
        let anna = LimitOwner::User("anna".into());
        let mut limits = Limits::default();
        limits.set(&LimitRow {
            owner: anna.clone(),
            resource: LimitedResource::Channels,
            max: 3,
        });
        assert_eq!(limits.get(&anna, LimitedResource::Channels), Some(3));
        assert_eq!(limits.get(&anna, LimitedResource::Connections), None);
        let vhost = LimitOwner::Vhost("anna".into());
        assert_eq!(limits.get(&vhost, LimitedResource::Channels), None);
        limits.clear(&anna, LimitedResource::Channels);
        assert!(limits.rows().is_empty());
    }

    #[test]
    fn a_tally_is_reached_at_its_limit_and_never_without_one() {
        let (two, any) = (Tally::new(2), Tally::new(0));
        let first = (two.count(), any.count());
        assert_eq!((two.reached(), any.reached()), (None, None));
        let second = (two.count(), any.count());
        assert_eq!((two.reached(), any.reached()), (Some(2), None));
        drop(first);
        assert_eq!(two.reached(), None);
        drop(second);
    }
}
