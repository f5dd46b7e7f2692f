//! Where dead letters go in the model.

use std::collections::VecDeque;

use super::layout::{Overflow, Settings};
use super::message::Burial;
use super::model::Model;
use super::queue::Letter;

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

    fn bury_together(
        &mut self,
        queue: &str,
        settings: &Settings,
        letters: &[Letter],
        ahead: &mut VecDeque<(String, Settings, Vec<Letter>)>,
    ) {
        let Some(target) = &settings.target else { return };
        let (mut routed, mut is_taken) = (Vec::new(), Vec::new());
        for letter in letters {
            self.coverage.note(letter.reason.event());
            let burial = Burial::new(&letter.message, letter.reason, queue, target, self.now);
            let mut queues = self.topology.route(
                &target.exchange,
                &burial.routing_keys,
                &burial.message,
                &self.queues,
            );
            if let Some(due) = self.due(&target.exchange, &burial.message) {
                self.delay(burial.message.clone(), due, burial.routing_keys.clone());
                queues.clear();
                is_taken.push(true);
            } else {
                is_taken.push(false);
            }
            let count = queues.len();
            queues.retain(|queue| burial.may_enter(queue));
            if queues.len() < count {
                self.coverage.note("a dead letter would have gone in circles");
            }
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
