//! Where dead letters go in the model.

use std::collections::VecDeque;

use super::layout::{Overflow, Settings};
use super::message::{Burial, Message};
use super::model::Model;
use super::queue::Letter;
use super::remembering::HISTORY;
use super::seen::Seen;

/// Whether nobody knows which of some letters had come first to their queue.
fn have_no_order(letters: &[Letter]) -> bool {
    let arrivals: Vec<_> = letters.iter().filter_map(|letter| letter.arrival).collect();
    arrivals
        .iter()
        .any(|one| arrivals.iter().any(|other| one.is_beside(*other)))
}

impl Model {
    /// Dead letters go where they should, and on from there if they die again.
    pub fn bury(&mut self, queue: &str, letters: Vec<Letter>) {
        let settings = self.queue(queue).settings.clone();
        let mut ahead = VecDeque::from([(queue.to_owned(), settings, letters)]);
        while let Some((queue, settings, letters)) = ahead.pop_front() {
            let is_unread = self.queues.get(&queue).is_some_and(|queue| queue.is_unread);
            if is_unread || have_no_order(&letters) {
                self.fork(letters.len() > 1);
                // They were read from the disk, or came to their queue, in an order that is not foreseen here.
                for letter in letters {
                    self.bury_together(&queue, &settings, &[letter], &mut ahead);
                }
            } else {
                self.bury_together(&queue, &settings, &letters, &mut ahead);
            }
        }
    }

    /// A dead letter passes an exchange that may remember it. Returns whether that has seen its key, and the key that it
    /// left. One that comes back to where it was published is no duplicate of itself.
    fn haunt(&mut self, message: &Message) -> (bool, Option<Seen>) {
        if message.exchange == HISTORY {
            self.coverage.note("a dead letter became history");
            let is_beside = std::mem::replace(&mut self.recorded, self.step) == self.step;
            let is_doubtful = is_beside && self.forked == self.step;
            self.doubt(is_doubtful, "(ended: dead letters became history in any order)");
        }
        self.record(message);
        let mut deaths = message.deaths.iter();
        if deaths.any(|death| death.exchange == message.exchange) {
            return (false, None);
        }
        let Some(seen) = self.first_sight(message) else {
            return (false, None);
        };
        // Of those that die in any order, by different ways, nobody knows who is first.
        let is_beside = std::mem::replace(&mut self.haunted, self.step) == self.step;
        let is_doubtful = is_beside && self.forked == self.step;
        self.doubt(is_doubtful, "(ended: dead letters left keys in any order)");
        let has_just_gone = self.has_just_gone(&seen);
        self.doubt(has_just_gone, "(ended: a key went when the next message had it)");
        if self.is_known(&seen) {
            self.coverage.note("a dead letter was a duplicate");
            return (true, None);
        }
        self.coverage.note("a dead letter left a key");
        self.learn(&seen, message.persistent);
        (false, Some(seen))
    }

    /// The queues that a letter goes to, whether an exchange has taken it, and the key that it left in one.
    fn route_letter(&mut self, burial: &Burial) -> (Vec<String>, bool, Option<Seen>) {
        let (message, keys) = (&burial.message, &burial.routing_keys);
        let mut queues = self
            .topology
            .route(&message.exchange, keys, message, &self.queues);
        if let Some(due) = self.due(&message.exchange, message) {
            self.delay(message.clone(), due, keys.clone());
            return (Vec::new(), true, None);
        }
        let (is_known, mut key) = self.haunt(message);
        if is_known {
            return (Vec::new(), true, None);
        }
        let count = queues.len();
        queues.retain(|queue| burial.may_enter(queue));
        if queues.len() < count {
            self.coverage.note("a dead letter would have gone in circles");
        }
        if let Some(seen) = key.take_if(|_| queues.is_empty()) {
            // The next one may have its key.
            self.unlearn(&seen);
        }
        (queues, false, key)
    }

    fn bury_together(
        &mut self,
        queue: &str,
        settings: &Settings,
        letters: &[Letter],
        ahead: &mut VecDeque<(String, Settings, Vec<Letter>)>,
    ) {
        let Some(target) = &settings.target else { return };
        let (mut routed, mut is_taken, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        for letter in letters {
            self.coverage.note(letter.reason.event());
            let burial = Burial::new(&letter.message, letter.reason, queue, target, self.now);
            let (queues, is_known, key) = self.route_letter(&burial);
            is_taken.push(is_known);
            keys.push(key);
            routed.push((burial.message, queues));
        }
        let groups = self.groups(&routed);
        self.fork(groups.len() > 1);
        for (taker, indices) in groups {
            let messages = indices.iter().map(|index| routed[*index].0.clone()).collect();
            let (mut refused, dead) = self.publish_into(&taker, messages);
            let settings = self.queue(&taker).settings.clone();
            if settings.overflow() == Overflow::RejectPublishDlx && settings.target.is_some() {
                // They were dead-lettered again.
                refused.clear();
            }
            for (position, index) in indices.iter().enumerate() {
                is_taken[*index] |= !refused.contains(&position);
            }
            if !dead.is_empty() {
                self.coverage.note("a dead letter died again at once");
                ahead.push_back((taker, settings, dead));
            }
        }
        for (key, is_taken) in keys.iter().zip(&is_taken) {
            if let Some(seen) = key.as_ref().filter(|_| !is_taken) {
                self.coverage.note("a dead letter that nobody took left no key");
                self.unlearn(seen);
            }
        }
        let now = self.now;
        for (letter, is_taken) in letters.iter().zip(is_taken) {
            let Some(which) = letter.kept else { continue };
            self.coverage.note(if is_taken {
                "a letter of at-least-once was taken"
            } else {
                "a letter of at-least-once was not taken"
            });
            if let Some(queue) = self.queues.get_mut(queue) {
                queue.buried(which, is_taken, now);
            }
        }
    }
}
