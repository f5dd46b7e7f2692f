//! Publishes and settlements gathered while one read is worked off, so that each queue is locked once for all.
//!
//! At a flush publishes go before settlements: a worker that publishes its result and then acks its job must not
//! lose both to a crash in between.

use std::cmp::Reverse;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::broker::LiveQueueId;
use crate::broker::live_queue::LiveQueue;
use crate::broker::queue::Settlement;
use crate::broker::queue::consumers::ConsumerSlot;
use crate::message::Message;
use crate::store::{Position, Sequence};

use super::routes::{RouteId, Routes};

/// Publishes gathered before they are flushed: beyond this, waiting gains nothing and holds the queue's lock longer.
const PUBLISHES_MAX: usize = 128;

/// A publish that a confirm is due for.
#[derive(Clone, Copy, Debug)]
pub struct Confirmable {
    /// Channel number.
    pub channel: u16,
    /// Publish sequence number on that channel.
    pub tag: u64,
}

/// A confirm that is due, now or once the store has committed.
#[derive(Clone, Copy, Debug)]
pub struct Confirmed {
    /// Which publish.
    pub publish: Confirmable,
    /// What has to be committed first.
    pub after: Option<Sequence>,
}

#[derive(Debug)]
struct Pending {
    message: Message,
    route: RouteId,
    confirm: Option<Confirmable>,
}

#[derive(Debug)]
struct Settlements {
    queue: Arc<LiveQueue>,
    settlements: Vec<(Position, Settlement)>,
}

/// What one connection has gathered.
#[derive(Debug, Default)]
pub struct Batch {
    /// Routes of the gathered publishes, and of earlier ones.
    pub routes: Routes,
    publishes: Vec<Pending>,
    settlements: Vec<Settlements>,
    resumes: Vec<(Arc<LiveQueue>, ConsumerSlot)>,
    /// Confirms due since the channels last took them.
    confirmed: Vec<Confirmed>,
    groups: Groups,
}

impl Batch {
    /// Adds a publish. Returns whether it is time to flush.
    pub fn publish(&mut self, message: Message, route: RouteId, confirm: Option<Confirmable>) -> bool {
        self.publishes.push(Pending {
            message,
            route,
            confirm,
        });
        self.publishes.len() >= PUBLISHES_MAX
    }

    /// Adds a settlement.
    pub fn settle(&mut self, queue: &Arc<LiveQueue>, position: Position, settlement: Settlement) {
        let found = self
            .settlements
            .iter_mut()
            .rev()
            .find(|other| other.queue.id == queue.id);
        match found {
            Some(found) => found.settlements.push((position, settlement)),
            None => self.settlements.push(Settlements {
                queue: Arc::clone(queue),
                settlements: vec![(position, settlement)],
            }),
        }
    }

    /// After the settlements, tells the queue that the consumer's channel has room again.
    pub fn resume(&mut self, queue: &Arc<LiveQueue>, slot: ConsumerSlot) {
        self.resumes.push((Arc::clone(queue), slot));
    }

    /// Whether nothing is gathered.
    pub fn is_empty(&self) -> bool {
        self.publishes.is_empty()
            && self.resumes.is_empty()
            && self.settlements.iter().all(|group| group.settlements.is_empty())
    }

    /// Hands everything to the queues. Returns the last store sequence of a durable queue that took part.
    pub fn flush(&mut self) -> Option<Sequence> {
        let mut sequence = self.flush_publishes();
        for Settlements { queue, settlements } in &mut self.settlements {
            if settlements.is_empty() {
                continue;
            }
            // From the back, each message that returns becomes the first of its queue, which costs nothing.
            let is_return = |settlement| matches!(settlement, Settlement::Requeue | Settlement::Return);
            if settlements.iter().any(|(_, settlement)| is_return(*settlement)) {
                settlements.sort_unstable_by_key(|(position, _)| Reverse(*position));
            }
            let outcome = queue.settle(settlements.drain(..));
            sequence = sequence.max(outcome.sequence.filter(|_| queue.definition.durable));
        }
        if self.settlements.len() > 64 {
            self.settlements.clear();
        }
        for (queue, slot) in self.resumes.drain(..) {
            queue.resume(slot);
        }
        sequence
    }

    /// Takes the confirms that are due.
    pub fn take_confirmed(&mut self) -> Vec<Confirmed> {
        std::mem::take(&mut self.confirmed)
    }

    /// Gives back what [`Batch::take_confirmed`] took, for its allocation.
    pub fn give_back_confirmed(&mut self, mut confirmed: Vec<Confirmed>) {
        if self.confirmed.is_empty() {
            confirmed.clear();
            self.confirmed = confirmed;
        }
    }

    /// Notes that a publish needs no queue: its confirm is due at once.
    pub fn confirm_now(&mut self, publish: Confirmable) {
        self.confirmed.push(Confirmed { publish, after: None });
    }

    /// Forgets queues that were settled to and may be gone.
    pub fn forget_queues(&mut self) {
        debug_assert!(self.is_empty() || self.settlements.iter().all(|group| group.settlements.is_empty()));
        self.settlements.clear();
        self.groups.clear();
    }

    fn flush_publishes(&mut self) -> Option<Sequence> {
        let first = self.publishes.first()?;
        let route = self.routes.get(first.route);
        let is_uniform =
            route.queues.len() == 1 && self.publishes.iter().all(|publish| publish.route == first.route);
        let mut sequence = None;
        if is_uniform {
            let queue = &route.queues[0];
            let messages = self.publishes.iter().map(|publish| publish.message.clone());
            sequence = queue
                .publish(messages)
                .sequence
                .filter(|_| queue.definition.durable);
        } else {
            for (index, publish) in (0..).zip(&self.publishes) {
                for queue in &self.routes.get(publish.route).queues {
                    self.groups.add(queue, index);
                }
            }
            for (queue, indices) in self.groups.iter_mut() {
                let messages = indices
                    .drain(..)
                    .map(|index: usize| self.publishes[index].message.clone());
                let outcome = queue.publish(messages);
                sequence = sequence.max(outcome.sequence.filter(|_| queue.definition.durable));
            }
            self.groups.clear();
        }
        for publish in self.publishes.drain(..) {
            let Some(confirm) = publish.confirm else { continue };
            let is_durable = publish.message.is_persistent()
                && self
                    .routes
                    .get(publish.route)
                    .queues
                    .iter()
                    .any(|queue| queue.definition.durable);
            self.confirmed.push(Confirmed {
                publish: confirm,
                after: sequence.filter(|_| is_durable),
            });
        }
        self.routes.forget_once();
        sequence
    }
}

/// Publishes by queue.
#[derive(Debug, Default)]
struct Groups {
    by_queue: FxHashMap<LiveQueueId, usize>,
    groups: Vec<(Arc<LiveQueue>, Vec<usize>)>,
}

impl Groups {
    fn add(&mut self, queue: &Arc<LiveQueue>, index: usize) {
        let group = *self.by_queue.entry(queue.id).or_insert_with(|| {
            self.groups.push((Arc::clone(queue), Vec::new()));
            self.groups.len() - 1
        });
        self.groups[group].1.push(index);
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = (&Arc<LiveQueue>, &mut Vec<usize>)> {
        self.groups.iter_mut().map(|(queue, indices)| (&*queue, indices))
    }

    fn clear(&mut self) {
        self.by_queue.clear();
        self.groups.clear();
    }
}
