//! Publishes of a batch that differ in their messages only, and their confirms. Most of a batch is one run, so that a
//! publish costs its message's place and a count.

use std::num::NonZeroU64;

use crate::broker::vhost::{Route, Traces};
use crate::store::Sequence;

use super::RouteId;

/// A publish that a confirm is due for.
#[derive(Clone, Copy, Debug)]
pub struct Confirmable {
    /// Channel number.
    pub channel: u16,
    /// Publish sequence number on that channel.
    pub tag: NonZeroU64,
}

/// Confirms that are due, now or once the store has committed: of publishes with consecutive numbers.
#[derive(Clone, Copy, Debug)]
pub struct Confirmed {
    /// Channel number.
    pub channel: u16,
    /// Number of the first publish.
    pub first_tag: u64,
    /// Number of the last one.
    pub last_tag: u64,
    /// What has to be committed first.
    pub after: Option<Sequence>,
    /// A queue was full: the confirm is a nack.
    pub is_rejected: bool,
}

/// Publishes that follow each other and differ in their messages only.
#[derive(Debug)]
pub(super) struct Run {
    pub len: usize,
    pub route: RouteId,
    /// Of the first; the others have the numbers that follow.
    pub confirm: Option<Confirmable>,
    pub is_persistent: bool,
    /// What it has left behind in exchanges that remember. There each publish is a run of its own.
    pub traces: Option<Box<Traces>>,
    pub leaves_traces: bool,
}

impl Run {
    /// The first of them.
    pub fn begin(
        route: RouteId,
        confirm: Option<Confirmable>,
        is_persistent: bool,
        leaves_traces: bool,
    ) -> Self {
        Self {
            len: 1,
            route,
            confirm,
            is_persistent,
            traces: None,
            leaves_traces,
        }
    }

    /// Whether a publish is one more of these.
    #[inline]
    pub fn takes(&self, route: RouteId, confirm: Option<Confirmable>, is_persistent: bool) -> bool {
        let is_next = match (self.confirm, confirm) {
            (None, None) => true,
            (Some(first), Some(next)) => {
                first.channel == next.channel && first.tag.get() + self.len as u64 == next.tag.get()
            }
            _ => false,
        };
        is_next && self.route == route && self.is_persistent == is_persistent && !self.leaves_traces
    }

    /// Whether any queue or exchange keeps such publishes over a restart.
    pub fn is_kept(&self, route: &Route) -> bool {
        route.is_kept_later()
            || self
                .traces
                .as_ref()
                .is_some_and(|traces| traces.sequence.is_some())
            || route.queues.iter().any(|queue| queue.keeps(self.is_persistent))
    }
}
