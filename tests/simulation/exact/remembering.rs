//! What queues and exchanges remember: keys that a queue takes once, and the last messages of an exchange.

use std::collections::BTreeSet;

use super::content::Content;
use super::detours::WINDOW;
use super::exchanges::LOCAL;
use super::layout::{Binding, Destination};
use super::message::Message;
use super::model::Model;
use super::queue::{Arrival, Entry, Queue};
use super::stage::Stage;

/// Gives its last messages to whoever is bound later.
pub const HISTORY: &str = "history";

/// So many of them.
pub const HISTORY_LENGTH: usize = 3;

/// A key that a queue knows: for a while, and as long as it has the message.
#[derive(Clone, Debug)]
pub struct KnownKey {
    until: u64,
    /// When it is looked at again whether it may be forgotten.
    kept_until: u64,
    /// The message's, if it came since the last crash.
    arrival: Option<Arrival>,
}

impl Queue {
    /// The broker died: windows count, and who may still be there does not.
    pub fn recall_keys(&mut self) {
        let stored = self.stored_keys.iter();
        self.known = stored
            .map(|(key, until)| {
                let known = KnownKey {
                    until: *until,
                    kept_until: *until,
                    arrival: None,
                };
                (key.clone(), known)
            })
            .collect();
    }
}

impl Model {
    /// Whether a queue has the message that arrived so, and it has not expired.
    fn holds(&self, queue: &Queue, arrival: Arrival) -> bool {
        let is_fresh = |entry: &Entry| entry.expires_at.is_none_or(|at| at > self.now);
        let is_it = |entry: &Entry| entry.arrival == arrival;
        let ready = queue.ready.iter().find(|entry| is_it(entry));
        ready.is_some_and(is_fresh)
            || queue.resting.iter().any(|resting| is_it(&resting.entry))
            || queue.dying.iter().any(|dying| is_it(&dying.entry))
            || self
                .held
                .values()
                .any(|held| held.queue_number == queue.number && held.entry.as_ref().is_some_and(is_it))
    }

    /// Whether the queue has taken a message with this key. A dead letter of its own that comes back is none.
    pub fn is_duplicate(&mut self, name: &str, message: &Message) -> bool {
        let queue = &self.queues[name];
        let comes_back = message.deaths.iter().any(|death| death.queue == name);
        let Some(key) = message
            .duplicate_key
            .as_ref()
            .filter(|_| queue.spec.deduplicates && !comes_back)
        else {
            return false;
        };
        let Some(known) = queue.known.get(key) else {
            return false;
        };
        let is_within = known.until > self.now;
        let is_known = is_within || known.arrival.is_some_and(|arrival| self.holds(queue, arrival));
        let may_be_gone = !is_within && known.arrival.is_some();
        let is_of_other_way = queue.pressure.ways > 1
            && (!is_within
                || known
                    .arrival
                    .is_some_and(|arrival| queue.is_of_other_way(arrival)));
        if is_known {
            self.coverage.note("a queue knew a key");
            if !is_within {
                self.coverage.note("a key was known for its message alone");
            }
        }
        self.doubt(
            (may_be_gone && self.forked == self.step) || is_of_other_way,
            "(ended: messages with one key compete)",
        );
        is_known
    }

    /// A message enters the queue.
    pub fn remember(&mut self, name: &str, message: &Message, arrival: Arrival, is_kept: bool) {
        let now = self.now;
        let is_asked = self.queue(name).spec.deduplicates;
        let Some(key) = message.duplicate_key.clone().filter(|_| is_asked) else {
            return;
        };
        let until = now + self.window_of(message, WINDOW);
        let queue = self.queue(name);
        let known = KnownKey {
            until,
            kept_until: until,
            arrival: Some(arrival),
        };
        queue.known.insert(key.clone(), known);
        if is_kept {
            let stored = queue.stored_keys.entry(key).or_default();
            *stored = until.max(*stored);
        }
        // Keys whose window is over are forgotten, if their message seems to be gone.
        let queue = &self.queues[name];
        let mut known = queue.known.clone();
        known.retain(|_, known| {
            if known.kept_until > now {
                return true;
            }
            known.kept_until = now + WINDOW;
            let arrival = known.arrival;
            arrival.is_some_and(|arrival| !queue.resting.is_empty() || self.holds(queue, arrival))
        });
        self.queue(name).known = known;
    }

    /// An exchange keeps the message that passes.
    pub fn record(&mut self, message: &Message) {
        if message.exchange == HISTORY {
            self.history.push_back(message.clone());
            while self.history.len() > HISTORY_LENGTH {
                self.history.pop_front();
            }
        }
    }

    /// Something new is bound, and gets what was kept.
    pub fn replay(&mut self, binding: &Binding) {
        if binding.source != HISTORY || self.history.is_empty() {
            return;
        }
        self.coverage.note("a history was given to who came later");
        let history: Vec<Message> = self.history.iter().cloned().collect();
        match &binding.destination {
            Destination::Queue(name) => {
                let name = name.clone();
                let (_, letters) = self.publish_into(&name, history);
                self.bury(&name, letters);
            }
            Destination::Exchange(exchange) => {
                for message in history {
                    // One after the other.
                    self.step += 1;
                    let keys = [message.routing_key.clone()];
                    let queues = self.topology.route(exchange, &keys, &message, &self.queues);
                    self.publish(&[(message, queues)]);
                }
            }
        }
    }
}

impl Stage {
    /// Sees which queue chance has chosen for a message: where it is, or where it died first.
    pub fn see_choice(&mut self, message: &Message) {
        let bound = self.model.topology.bindings.iter();
        let bound: BTreeSet<String> = bound
            .filter(|binding| binding.source == message.exchange)
            .filter_map(|binding| match &binding.destination {
                Destination::Queue(name) => Some(name.clone()),
                Destination::Exchange(_) => None,
            })
            .collect();
        if bound.len() < 2 {
            self.model.topology.chosen = bound.into_iter().next();
            return;
        }
        let (id, exchange) = (message.id, &message.exchange);
        let mut seen: Vec<(String, Message)> = Vec::new();
        for (queue, message) in self.node.durable.messages() {
            seen.push((queue.to_string(), Content::stored(&message)));
        }
        for (name, queue) in &self.model.queues {
            for consumer in &queue.consumers {
                let contents = self.model.observed.get(&consumer.number).into_iter().flatten();
                seen.extend(contents.map(|content| (name.clone(), content.message.clone())));
            }
        }
        let found = seen.into_iter().find(|(_, message)| message.id == id);
        self.model
            .doubt(found.is_none(), "(ended: nobody saw what chance chose)");
        let Some((queue, message)) = found else { return };
        let first = message.deaths.last().map(|death| death.queue.clone());
        self.model.topology.chosen = Some(first.unwrap_or(queue));
        self.model.coverage.note(if exchange == LOCAL {
            "chance chose a local queue"
        } else {
            "chance chose a queue"
        });
    }
}
