//! Publishes and settlements gathered while one read is worked off, so that each queue is locked once for all.
//!
//! At a flush publishes go before settlements: a worker that publishes its result and then acks its job must not
//! lose both to a crash in between.

use std::cmp::Reverse;
use std::num::NonZeroU64;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::broker::LiveQueueId;
use crate::broker::live_queue::LiveQueue;
use crate::broker::queue::Settlement;
use crate::broker::queue::consumers::ConsumerSlot;
use crate::broker::queue::effects::DeliveryHandle;
use crate::broker::vhost::{Route, Traces, Vhost};
use crate::message::Message;
use crate::store::Sequence;

use super::routes::{RouteId, Routes};

/// Publishes gathered before they are flushed: beyond this, waiting gains nothing and holds the queue's lock longer.
const PUBLISHES_MAX: usize = 128;

/// A publish that a confirm is due for.
#[derive(Clone, Copy, Debug)]
pub struct Confirmable {
    /// Channel number.
    pub channel: u16,
    /// Publish sequence number on that channel.
    pub tag: NonZeroU64,
}

/// A confirm that is due, now or once the store has committed.
#[derive(Clone, Copy, Debug)]
pub struct Confirmed {
    /// Which publish.
    pub publish: Confirmable,
    /// What has to be committed first.
    pub after: Option<Sequence>,
    /// A queue was full: the confirm is a nack.
    pub is_rejected: bool,
}

#[derive(Debug)]
struct Pending {
    /// Taken when it goes to its last queue.
    message: Option<Message>,
    is_persistent: bool,
    route: RouteId,
    confirm: Option<Confirmable>,
    /// A queue was full.
    is_rejected: bool,
    /// What it has left behind in exchanges that remember.
    traces: Option<Box<Traces>>,
}

impl Pending {
    /// The message for a queue; none stays for others when this is the last.
    fn message(&mut self, is_last: bool) -> Message {
        let message = if is_last {
            self.message.take()
        } else {
            self.message.clone()
        };
        message.expect("it stays until its last queue has it")
    }

    fn delay(&self, route: &Route) -> Option<Sequence> {
        let message = self.message.as_ref().expect("no queue has it yet");
        route.delay(message)
    }
}

#[derive(Debug)]
struct Settlements {
    queue: Arc<LiveQueue>,
    settlements: Vec<(DeliveryHandle, Settlement)>,
}

/// What one connection has gathered.
#[derive(Debug)]
pub struct Batch {
    vhost: Arc<Vhost>,
    /// Routes of the gathered publishes, and of earlier ones.
    pub routes: Routes,
    publishes: Vec<Pending>,
    settlements: Vec<Settlements>,
    resumes: Vec<(Arc<LiveQueue>, ConsumerSlot)>,
    /// Confirms due since the channels last took them.
    confirmed: Vec<Confirmed>,
    /// A queue refused one of the publishes because it is full.
    has_rejected: bool,
    /// One of the publishes passes an exchange that remembers.
    leaves_traces: bool,
    groups: Groups,
}

impl Batch {
    /// A batch with nothing gathered.
    pub fn new(vhost: Arc<Vhost>) -> Self {
        Self {
            vhost,
            routes: Routes::default(),
            publishes: Vec::new(),
            settlements: Vec::new(),
            resumes: Vec::new(),
            confirmed: Vec::new(),
            has_rejected: false,
            leaves_traces: false,
            groups: Groups::default(),
        }
    }

    /// Adds a publish. Returns whether it is time to flush.
    #[inline]
    pub fn publish(&mut self, message: Message, route: RouteId, confirm: Option<Confirmable>) -> bool {
        self.leaves_traces |= self.routes.get(route).leaves_traces();
        self.publishes.push(Pending {
            is_persistent: message.is_persistent(),
            message: Some(message),
            route,
            confirm,
            is_rejected: false,
            traces: None,
        });
        self.publishes.len() >= PUBLISHES_MAX
    }

    /// Adds a settlement.
    pub fn settle(&mut self, queue: &Arc<LiveQueue>, handle: DeliveryHandle, settlement: Settlement) {
        let found = self
            .settlements
            .iter_mut()
            .rev()
            .find(|other| other.queue.id == queue.id);
        match found {
            Some(found) => found.settlements.push((handle, settlement)),
            None => self.settlements.push(Settlements {
                queue: Arc::clone(queue),
                settlements: vec![(handle, settlement)],
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
            if settlements.iter().any(|(_, settlement)| settlement.is_return()) {
                settlements.sort_unstable_by_key(|(handle, _)| Reverse(handle.position));
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

    /// Whether a queue refused one of the publishes since this was asked last.
    pub fn take_rejected(&mut self) -> bool {
        std::mem::take(&mut self.has_rejected)
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
        self.confirmed.push(Confirmed {
            publish,
            after: None,
            is_rejected: false,
        });
    }

    /// Forgets queues that were settled to and may be gone.
    pub fn forget_queues(&mut self) {
        debug_assert!(self.is_empty() || self.settlements.iter().all(|group| group.settlements.is_empty()));
        self.settlements.clear();
        self.groups.clear();
    }

    fn flush_publishes(&mut self) -> Option<Sequence> {
        if !self.leaves_traces {
            return self.publish_all(None);
        }
        let vhost = Arc::clone(&self.vhost);
        let _hold = vhost.hold();
        let mut sequence = None;
        for publish in &mut self.publishes {
            let route = self.routes.get(publish.route);
            if route.leaves_traces() {
                let message = publish.message.as_ref().expect("no queue has it yet");
                let (route, traces) = vhost.pass(message, &route.copies);
                sequence = sequence.max(traces.sequence);
                publish.route = self.routes.once(route);
                publish.traces = Some(Box::new(traces));
            }
        }
        self.leaves_traces = false;
        self.publish_all(sequence)
    }

    /// Hands all publishes to their queues, and notes their confirms. `sequence` is what their traces wait for.
    fn publish_all(&mut self, mut sequence: Option<Sequence>) -> Option<Sequence> {
        let first = self.publishes.first()?;
        let route = self.routes.get(first.route);
        if self.publishes.iter().all(|publish| publish.route == first.route) {
            for publish in self.publishes.iter().filter(|_| !route.delays.is_empty()) {
                sequence = sequence.max(publish.delay(route));
            }
            let mut others = route.queues.len();
            for queue in &route.queues {
                others -= 1;
                let messages = self
                    .publishes
                    .iter_mut()
                    .map(|publish| publish.message(others == 0));
                let published = queue.publish(messages);
                sequence = sequence.max(published.sequence.filter(|_| queue.definition.durable));
                for index in published.rejected {
                    self.publishes[index].is_rejected = true;
                }
            }
        } else {
            for (index, publish) in (0..).zip(&self.publishes) {
                let route = self.routes.get(publish.route);
                for queue in &route.queues {
                    self.groups.add(queue, index);
                }
                sequence = sequence.max(publish.delay(route));
            }
            for (queue, indices) in self.groups.iter_mut() {
                let (gathered, routes) = (&mut self.publishes, &self.routes);
                let messages = indices.iter().map(|index: &usize| {
                    let publish = &mut gathered[*index];
                    publish.message(routes.get(publish.route).queues.len() == 1)
                });
                let published = queue.publish(messages);
                sequence = sequence.max(published.sequence.filter(|_| queue.definition.durable));
                for index in published.rejected {
                    self.publishes[indices[index]].is_rejected = true;
                }
            }
            self.groups.clear();
        }
        for mut publish in self.publishes.drain(..) {
            if let Some(traces) = &mut publish.traces {
                publish.is_rejected |= self.vhost.settle_traces(traces, publish.is_rejected);
            }
            self.has_rejected |= publish.is_rejected;
            let Some(confirm) = publish.confirm else { continue };
            let route = self.routes.get(publish.route);
            let traces = publish.traces.as_ref();
            let is_kept = || {
                route.is_kept_later()
                    || traces.is_some_and(|traces| traces.sequence.is_some())
                    || route
                        .queues
                        .iter()
                        .any(|queue| queue.keeps(publish.is_persistent))
            };
            self.confirmed.push(Confirmed {
                publish: confirm,
                after: sequence.filter(|_| !publish.is_rejected && is_kept()),
                is_rejected: publish.is_rejected,
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
