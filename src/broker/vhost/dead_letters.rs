//! Publishing dead letters: from the queue where they failed to wherever its settings say, and on from there if they
//! fail again at once.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::message::Message;
use crate::store::{Hold, Operation, Sequence};

use super::super::dead_letter::Burial;
use super::super::delayed::DelayedMessages;
use super::super::live_queue::{DeadLetters, LiveQueue, QueueOwner};
use super::super::queue::effects::DeadLetter;
use super::super::queue::settings::Overflow;
use super::super::queue_ids::LiveQueueId;
use super::{DeleteConditions, Traces, Vhost};

/// A queue, and the letters that it takes.
type Grave = (Arc<LiveQueue>, Vec<(usize, Message)>);

/// Dead letters by the queues that take them, each in order, with their numbers among the letters.
#[derive(Default)]
pub(super) struct Graves {
    by_queue: FxHashMap<LiveQueueId, usize>,
    pub list: Vec<Grave>,
}

impl QueueOwner for Vhost {
    /// Letters that fail again at once wait in a list: a chain of full queues ends where the cycle rule ends it.
    fn bury(&self, queue: &Arc<LiveQueue>, dead: DeadLetters) -> Option<Sequence> {
        // A queue on the way may be durable, and bury in turn, where the first one is not.
        let _hold = Hold::new(&*self.stores.durable);
        let mut ahead = VecDeque::from([(Arc::clone(queue), dead)]);
        let mut sequence = None;
        while let Some((queue, mut dead)) = ahead.pop_front() {
            dead.left = dead.left.max(self.will_leave(&queue, &dead));
            let mut is_taken = vec![false; dead.letters.len()];
            let (graves, mut traces, delayed) = self.dig(&queue, &dead, &mut is_taken);
            sequence = sequence.max(delayed);
            for (taker, messages) in graves.list {
                let bodies = messages.iter().map(|(_, message)| message.clone());
                let (published, dead_again) = taker.publish_dead(bodies, dead.left);
                let stored = published.sequence.filter(|_| taker.definition.durable);
                sequence = sequence.max(stored);
                let mut is_refused = vec![false; messages.len()];
                if !dead_again.as_ref().is_some_and(takes_refused) {
                    for number in published.rejected {
                        is_refused[number] = true;
                    }
                }
                for ((letter, _), is_refused) in messages.iter().zip(is_refused) {
                    // One taker is enough: offered again, it would come twice to this one.
                    is_taken[*letter] |= !is_refused;
                }
                ahead.extend(dead_again.map(|dead| (taker, dead)));
            }
            let now = self.surroundings.clock.now();
            for (traces, is_taken) in traces.iter_mut().zip(&mut is_taken) {
                *is_taken |= traces.is_of_taken(now);
                traces.settle(!*is_taken, now);
            }
            let kept = dead.letters.iter().zip(is_taken);
            let mut kept = kept
                .filter_map(|(letter, is_taken)| Some((letter.kept?, is_taken)))
                .peekable();
            if kept.peek().is_some() {
                queue.buried(kept);
            }
        }
        sequence
    }

    fn expire(&self, queue: &Arc<LiveQueue>) {
        let conditions = DeleteConditions {
            if_expired: true,
            ..DeleteConditions::default()
        };
        // A refusal means that somebody has used it since: then it stays.
        drop(self.remove_queue(queue, conditions));
    }

    fn delete_unused(&self, queue: &Arc<LiveQueue>) {
        let conditions = DeleteConditions {
            if_unused: true,
            ..DeleteConditions::default()
        };
        // A refusal means that somebody consumes again: then it stays.
        drop(self.remove_queue(queue, conditions));
    }

    fn release(&self, delayed: &Arc<DelayedMessages>) {
        self.release_due(delayed);
    }
}

impl Vhost {
    /// The number with which letters leave a queue that keeps them until others have them: the caller holds the store,
    /// so that any number of this group will do.
    fn will_leave(&self, queue: &LiveQueue, dead: &DeadLetters) -> Option<Sequence> {
        let is_stored =
            |letter: &DeadLetter| letter.kept.is_some() && queue.keeps(letter.message.is_persistent());
        if !dead.letters.iter().any(is_stored) {
            return None;
        }
        self.append(vec![Operation::NoteTime(self.surroundings.clock.now())])
    }

    /// Routes letters, and returns the traces that each leaves. One whose exchange is missing, or that nobody takes,
    /// goes nowhere. Those that an exchange delays are taken by it; returns also what has to be committed for them.
    fn dig(
        &self,
        from: &LiveQueue,
        dead: &DeadLetters,
        is_taken: &mut [bool],
    ) -> (Graves, Vec<Traces>, Option<Sequence>) {
        let mut graves = Graves::default();
        let mut all_traces = Vec::new();
        let mut sequence = None;
        let Some(target) = &dead.settings.dead_letter else {
            return (graves, all_traces, sequence);
        };
        let now = self.surroundings.clock.now();
        for (index, letter) in dead.letters.iter().enumerate() {
            let burial = Burial::new(&letter.message, letter.reason, &from.definition.name, target, now);
            let keys: Vec<&[u8]> = burial.routing_keys.iter().map(Vec::as_slice).collect();
            let (mut route, mut traces) = self.pass_from(&target.exchange, &burial.message, &keys);
            route
                .queues
                .retain(|queue| burial.may_enter(&queue.definition.name));
            if route.queues.is_empty() && route.delays.is_empty() {
                traces.undo();
            }
            is_taken[index] = !route.delays.is_empty();
            sequence = sequence
                .max(route.delay(&burial.message, dead.left))
                .max(traces.sequence);
            all_traces.push(traces);
            for queue in route.queues {
                graves.add(queue, index, burial.message.clone());
            }
        }
        (graves, all_traces, sequence)
    }
}

/// Whether what a queue refused is among its dead letters: it goes on from there, and has been taken.
pub(super) fn takes_refused(dead: &DeadLetters) -> bool {
    dead.settings.overflow == Overflow::RejectPublishDlx
}

impl Graves {
    pub fn add(&mut self, queue: Arc<LiveQueue>, letter: usize, message: Message) {
        let index = *self.by_queue.entry(queue.id).or_insert(self.list.len());
        if index == self.list.len() {
            self.list.push((queue, Vec::new()));
        }
        self.list[index].1.push((letter, message));
    }
}

#[cfg(test)]
mod tests;
