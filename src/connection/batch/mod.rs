//! Publishes and settlements gathered while one read is worked off, so that each queue is locked once for all.
//!
//! At a flush publishes go before settlements: a worker that publishes its result and then acks its job must not
//! lose both to a crash in between.

mod groups;
mod run;

use std::cmp::Reverse;
use std::sync::Arc;

use crate::broker::live_queue::{LiveQueue, Published};
use crate::broker::queue::Settlement;
use crate::broker::queue::consumers::ConsumerSlot;
use crate::broker::queue::effects::DeliveryHandle;
use crate::broker::vhost::Vhost;
use crate::message::{BlockBuilder, Message, Received, Traits};
use crate::store::Sequence;

use super::pace::Lead;
use super::routes::{RouteId, Routes};
use groups::Groups;
use run::Run;

pub use run::{Confirmable, Confirmed};

/// Publishes gathered before they are flushed: beyond this, waiting gains nothing and holds the queue's lock longer.
const PUBLISHES_MAX: usize = 128;

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
    /// What was published; a message is taken out when it goes to its last queue.
    messages: Vec<Option<Message>>,
    /// The last of the messages, as long as they are to share memory.
    block: BlockBuilder,
    /// All of the messages, in order.
    runs: Vec<Run>,
    /// Which of the messages a queue has refused because it is full.
    rejected: Vec<usize>,
    settlements: Vec<Settlements>,
    resumes: Vec<(Arc<LiveQueue>, ConsumerSlot)>,
    /// Confirms due since the channels last took them.
    confirmed: Vec<Confirmed>,
    /// A queue refused one of the publishes because it is full.
    has_rejected: bool,
    marks: Marks,
    groups: Groups,
    /// What has to be committed before anybody sees the messages: they are part of a transaction.
    pub seen_after: Option<Sequence>,
}

impl Batch {
    /// A batch with nothing gathered.
    pub fn new(vhost: Arc<Vhost>) -> Self {
        Self {
            vhost,
            routes: Routes::default(),
            messages: Vec::new(),
            block: BlockBuilder::default(),
            runs: Vec::new(),
            rejected: Vec::new(),
            settlements: Vec::new(),
            resumes: Vec::new(),
            confirmed: Vec::new(),
            has_rejected: false,
            marks: Marks::default(),
            groups: Groups::default(),
            seen_after: None,
        }
    }

    /// Adds a publish. Returns whether it is time to flush.
    #[inline]
    pub fn publish(&mut self, message: Message, route: RouteId, confirm: Option<Confirmable>) -> bool {
        self.seal();
        self.run_on(route, confirm, message.is_persistent());
        self.messages.push(Some(message));
        self.messages.len() >= PUBLISHES_MAX
    }

    /// The same for a message that may share memory with those before it, if they go the same way.
    #[inline]
    pub fn publish_received(
        &mut self,
        (received, traits): (&Received<'_>, Traits),
        route: RouteId,
        confirm: Option<Confirmable>,
    ) -> bool {
        let begins_run = self.run_on(route, confirm, traits.persistent);
        if begins_run || !self.block.takes(received, traits) {
            self.seal();
        }
        self.block.push(received, traits);
        self.messages.len() + self.block.len() >= PUBLISHES_MAX
    }

    /// Counts a publish as one more of the last run, or as the first of a new one, and returns whether it is that.
    #[inline]
    fn run_on(&mut self, route: RouteId, confirm: Option<Confirmable>, is_persistent: bool) -> bool {
        match self.runs.last_mut() {
            Some(run) if run.takes(route, confirm, is_persistent) => {
                run.len += 1;
                false
            }
            _ => {
                let leaves_traces = self.routes.get(route).leaves_traces();
                self.runs
                    .push(Run::begin(route, confirm, is_persistent, leaves_traces));
                true
            }
        }
    }

    /// What was gathered in a block becomes messages.
    #[inline]
    fn seal(&mut self) {
        self.block.seal(|message| self.messages.push(Some(message)));
    }

    /// Gives memory back that an idle connection does not need.
    pub fn rest(&mut self) {
        self.block.rest();
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
        self.messages.is_empty()
            && self.block.is_empty()
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
            self.marks.reached_store |= outcome.sequence.is_some();
            sequence = sequence.max(outcome.sequence.filter(|_| queue.definition.durable));
        }
        if self.settlements.len() > 64 {
            self.settlements.clear();
        }
        for (queue, slot) in &self.resumes {
            queue.resume(*slot);
        }
        // Of all consumers that have room again, those of a higher priority come first.
        for (queue, _) in self.resumes.drain(..) {
            queue.dispatch();
        }
        sequence
    }

    /// Whether a queue refused one of the publishes since this was asked last.
    pub fn take_rejected(&mut self) -> bool {
        std::mem::take(&mut self.has_rejected)
    }

    /// A queue whose consumers are far behind these publishes, if there was one since this was asked last.
    pub fn take_lead(&mut self) -> Option<Lead> {
        self.marks.lead.take()
    }

    /// Whether some of it went on to a store since this was asked last.
    pub fn take_reached_store(&mut self) -> bool {
        std::mem::take(&mut self.marks.reached_store)
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
            channel: publish.channel,
            first_tag: publish.tag.get(),
            last_tag: publish.tag.get(),
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
        self.seal();
        if !self.runs.iter().any(|run| run.leaves_traces) {
            return self.publish_all(None);
        }
        let vhost = Arc::clone(&self.vhost);
        let _hold = vhost.hold();
        let mut sequence = None;
        let mut at = 0;
        for run in &mut self.runs {
            if run.leaves_traces {
                let message = self.messages[at].as_ref().expect("no queue has it yet");
                let (route, traces) = vhost.pass(message, &self.routes.get(run.route).copies);
                sequence = sequence.max(traces.sequence);
                run.route = self.routes.once(route);
                run.traces = Some(Box::new(traces));
            }
            at += run.len;
        }
        self.publish_all(sequence)
    }

    /// Hands all publishes to their queues, and notes their confirms. `sequence` is what their traces wait for.
    fn publish_all(&mut self, mut sequence: Option<Sequence>) -> Option<Sequence> {
        let first = self.runs.first()?;
        sequence = sequence.max(self.delay_all());
        self.marks.reached_store |= sequence.is_some();
        sequence = sequence.max(if self.runs.iter().all(|run| run.route == first.route) {
            self.publish_one_way(first.route)
        } else {
            self.publish_by_queue()
        });
        self.messages.clear();
        self.note_confirms(sequence);
        self.routes.forget_once();
        sequence
    }

    /// Hands to exchanges that delay what goes there.
    fn delay_all(&self) -> Option<Sequence> {
        let mut sequence = None;
        let mut messages = self.messages.iter();
        for run in &self.runs {
            let route = self.routes.get(run.route);
            let of_run = messages.by_ref().take(run.len);
            if route.delays.is_empty() {
                of_run.for_each(drop);
                continue;
            }
            for message in of_run {
                sequence = sequence
                    .max(route.delay(message.as_ref().expect("no queue has it yet"), self.seen_after));
            }
        }
        sequence
    }

    /// All publishes go to the same queues.
    fn publish_one_way(&mut self, route: RouteId) -> Option<Sequence> {
        let (last, others) = self.routes.get(route).queues.split_last()?;
        let mut sequence = None;
        for queue in others {
            let messages = self.messages.iter().flatten().cloned();
            let published = queue.publish_after(messages, self.seen_after);
            sequence = sequence.max(self.marks.note(queue, &published));
            self.rejected.extend(published.rejected);
        }
        let published = last.publish_after(self.messages.drain(..).flatten(), self.seen_after);
        sequence = sequence.max(self.marks.note(last, &published));
        self.rejected.extend(published.rejected);
        sequence
    }

    /// Each queue gets what goes to it.
    fn publish_by_queue(&mut self) -> Option<Sequence> {
        let mut index = 0;
        for run in &self.runs {
            let end = index + run.len;
            let queues = &self.routes.get(run.route).queues;
            for queue in queues {
                self.groups.add(queue, index..end, queues.len() == 1);
            }
            index = end;
        }
        let mut sequence = None;
        for (queue, indices) in self.groups.iter_mut() {
            let messages = indices.iter().map(|(index, is_alone)| {
                let message = &mut self.messages[*index];
                let message = if *is_alone {
                    message.take()
                } else {
                    message.clone()
                };
                message.expect("it stays until its last queue has it")
            });
            let published = queue.publish_after(messages, self.seen_after);
            sequence = sequence.max(self.marks.note(queue, &published));
            let rejected = published.rejected.iter().map(|at| indices[*at].0);
            self.rejected.extend(rejected);
        }
        self.groups.clear();
        sequence
    }

    /// Notes what became of the publishes. All that has to be on disk before their confirms is, once `sequence` is
    /// committed.
    fn note_confirms(&mut self, sequence: Option<Sequence>) {
        self.rejected.sort_unstable();
        self.rejected.dedup();
        let mut rejected = self.rejected.drain(..).peekable();
        let mut index = 0;
        for mut run in self.runs.drain(..) {
            let (begin, end) = (index, index + run.len);
            let after = sequence.filter(|_| run.confirm.is_some() && run.is_kept(self.routes.get(run.route)));
            while index < end {
                let mut is_rejected = rejected.next_if_eq(&index).is_some();
                let next = match rejected.peek() {
                    _ if is_rejected => index + 1,
                    Some(next) => end.min(*next),
                    None => end,
                };
                if let Some(traces) = &mut run.traces {
                    is_rejected |= self.vhost.settle_traces(traces, is_rejected);
                }
                self.has_rejected |= is_rejected;
                if let Some(Confirmable { channel, tag }) = run.confirm {
                    let tag = |index: usize| tag.get() + (index - begin) as u64;
                    self.confirmed.push(Confirmed {
                        channel,
                        first_tag: tag(index),
                        last_tag: tag(next - 1),
                        after: after.filter(|_| !is_rejected),
                        is_rejected,
                    });
                }
                index = next;
            }
        }
    }
}

/// What queues said of what they were handed, until somebody asks.
#[derive(Debug, Default)]
struct Marks {
    /// A queue whose consumers are far behind these publishes.
    lead: Option<Lead>,
    /// Some of it went on to a store.
    reached_store: bool,
}

impl Marks {
    /// Notes a queue's answer; returns what has to be committed for it.
    #[inline]
    fn note(&mut self, queue: &LiveQueue, published: &Published) -> Option<Sequence> {
        self.lead = Lead::of(queue, published).or(self.lead);
        self.reached_store |= published.sequence.is_some();
        published.sequence.filter(|_| queue.definition.durable)
    }
}
