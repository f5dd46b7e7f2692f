//! Publishes of a batch that go different ways, by queue.

use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::broker::LiveQueueId;
use crate::broker::live_queue::LiveQueue;

/// Publishes by queue.
#[derive(Debug, Default)]
pub(super) struct Groups {
    by_queue: FxHashMap<LiveQueueId, usize>,
    groups: Vec<Group>,
}

/// A queue with the numbers of its messages, and whether each goes nowhere else.
pub(super) type Group = (Arc<LiveQueue>, Vec<(usize, bool)>);

impl Groups {
    /// Adds publishes of consecutive numbers to those of a queue.
    pub fn add(&mut self, queue: &Arc<LiveQueue>, indices: Range<usize>, are_alone: bool) {
        let group = *self.by_queue.entry(queue.id).or_insert_with(|| {
            self.groups.push((Arc::clone(queue), Vec::new()));
            self.groups.len() - 1
        });
        self.groups[group]
            .1
            .extend(indices.map(|index| (index, are_alone)));
    }

    /// Each queue with its own.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        self.groups.iter_mut()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.by_queue.clear();
        self.groups.clear();
    }
}
