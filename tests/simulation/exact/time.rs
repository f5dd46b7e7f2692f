//! What time does in the model, and what a crash leaves.

use super::model::Model;
use super::queue::{Queue, Resting, Return};

impl Model {
    /// Each queue does what time demands.
    pub fn tick(&mut self) {
        self.fork(self.count_due() > 1);
        let is_released = self.is_any_delayed_due();
        let senders = self
            .queues
            .iter()
            .filter(|(_, queue)| queue.settings.target.is_some());
        let senders = senders.filter(|(_, queue)| self.has_due(queue));
        let senders: Vec<String> = senders.map(|(name, _)| name.clone()).collect();
        let due = self.queues.iter().filter(|(_, queue)| self.has_due(queue));
        let due: Vec<String> = due.map(|(name, _)| name.clone()).collect();
        self.release_due();
        let names: Vec<String> = self.queues.keys().cloned().collect();
        for name in names {
            let now = self.now;
            let may_get_more = is_released || senders.iter().any(|sender| *sender != name);
            if self.queue(&name).is_expired(now) {
                self.coverage.note("an unused queue expired");
                // A letter that it took before went with it; after it nobody takes that letter.
                self.doubt(
                    may_get_more,
                    "(ended: an unused queue expired beside what may go there)",
                );
                self.delete_queue(&name);
                continue;
            }
            self.tick_queue(&name, due.contains(&name), may_get_more);
        }
    }

    /// How many queues have something to do now, and whatever is delayed.
    fn count_due(&self) -> usize {
        let queues = self.queues.values().filter(|queue| self.has_due(queue));
        queues.count() + usize::from(self.is_any_delayed_due())
    }

    /// Whether a queue has something to do now.
    pub fn has_due(&self, queue: &Queue) -> bool {
        let now = self.now;
        let is_due = |at: Option<u64>| at.is_some_and(|at| at <= now);
        let mut held = self.held.values();
        let mut ready = queue.ready.iter();
        let mut dying = queue.dying.iter();
        let mut resting = queue.resting.iter();
        queue.is_expired(now)
            || ready.any(|entry| is_due(entry.expires_at))
            || dying.any(|dying| is_due(dying.offer_at))
            || resting.any(|resting| is_due(Some(resting.until)) || is_due(resting.entry.expires_at))
            || held.any(|held| held.queue_number == queue.number && is_due(held.times_out_at))
    }

    /// Others may send to the queue, before or after what time does there. If something was due, what came first has
    /// done it already.
    fn tick_queue(&mut self, name: &str, was_due: bool, may_get_more: bool) {
        let now = self.now;
        let mut letters = Vec::new();
        let before = self.queue(name).ready.len();
        self.begin_way(name);
        let mut is_emptied = false;
        let late = self.time_out(name, &mut letters);
        let woken = self.queue(name).wake(now, &mut letters);
        for _ in 0..woken {
            self.coverage.note("a message has rested");
        }
        self.queue(name).offer_again(now, &mut letters);
        self.dispatch(name, &mut letters);
        if !late.is_empty() {
            self.doubt(may_get_more, "(ended: a late consumer was given more, or not)");
            for number in late {
                if self.queue(name).remove_consumer(number, now) {
                    self.coverage.note("a late single active consumer was taken away");
                }
            }
            self.dispatch(name, &mut letters);
            is_emptied = self.queue(name).consumers.is_empty();
        }
        if !was_due && letters.is_empty() && self.queue(name).ready.len() == before {
            self.queue(name).pressure.ways -= 1;
        }
        let is_contested = self.is_contested(name);
        self.doubt(is_contested, "(ended: what time did competes for room)");
        self.bury(name, letters);
        if is_emptied {
            self.delete_if_unused(name);
        }
    }

    /// Takes back deliveries that are late; returns single active consumers that go for it.
    fn time_out(&mut self, name: &str, letters: &mut Vec<super::queue::Letter>) -> Vec<u64> {
        let now = self.now;
        let queue_number = self.queue(name).number;
        let mut late = Vec::new();
        for held in self.held.values_mut() {
            let is_late = held.times_out_at.is_some_and(|at| at <= now);
            if held.queue_number == queue_number
                && is_late
                && let Some(entry) = held.entry.take()
            {
                late.push((entry, held.consumer));
            }
        }
        late.sort_by_key(|(entry, _)| entry.arrival.number);
        let mut suspended = Vec::new();
        for (entry, consumer) in late {
            self.coverage.note("a delivery was late");
            let queue = self.queue(name);
            let is_single_active = queue.spec.is_single_active;
            if let Some(consumer) = consumer.and_then(|number| queue.consumer(number))
                && is_single_active
                && !std::mem::replace(&mut consumer.is_suspended, true)
            {
                suspended.push(consumer.number);
            }
            queue.take_back(entry, Return::Failed, now, letters);
        }
        suspended
    }

    /// A queue may go with its last consumer; returns whether it has.
    pub fn delete_if_unused(&mut self, name: &str) -> bool {
        let queue = self.queue(name);
        let is_unused = queue.spec.auto_delete && queue.consumers.is_empty();
        if is_unused {
            self.coverage.note("a queue went with its last consumer");
            self.delete_queue(name);
        }
        is_unused
    }

    /// A queue is gone with all that it holds.
    pub fn delete_queue(&mut self, name: &str) {
        let Some(queue) = self.queues.remove(name) else {
            return;
        };
        for held in self.held.values_mut() {
            if held.queue_number == queue.number {
                held.entry = None;
            }
        }
        self.topology.forget_queue(name);
    }

    /// A consumer or a `basic.get` has come: all that fits is in memory.
    pub fn was_read(&mut self, name: &str) {
        if self.is_small {
            return;
        }
        let queue = self.queue(name);
        queue.is_unread = false;
        for resting in &mut queue.resting {
            resting.is_unread = false;
        }
    }

    /// The broker died, and started again at a time that the wall clock showed by then.
    pub fn crash(&mut self, now: u64) {
        let mut is_open = false;
        self.now = now;
        self.channels.clear();
        self.requesters.clear();
        self.offered_at = 0;
        for cache in self.caches.values_mut() {
            is_open |= cache.crash();
        }
        self.doubt(is_open, "(ended: nobody knows which key is next to go)");
        for (_, held) in std::mem::take(&mut self.held) {
            if let Some(entry) = held.entry
                && let Some(queue) = self.queues.get_mut(&held.queue)
            {
                queue.ready.push(entry);
            }
        }
        let gone: Vec<String> = self
            .queues
            .iter()
            .filter(|(_, queue)| !queue.spec.durable)
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            self.delete_queue(&name);
        }
        for queue in self.queues.values_mut() {
            queue.crash(now);
        }
    }
}

impl Queue {
    fn crash(&mut self, now: u64) {
        self.recall_keys();
        self.consumers.clear();
        self.active = None;
        self.unused_since = Some(now);
        self.ready.extend(self.dying.drain(..).map(|dying| dying.entry));
        self.ready
            .extend(self.resting.drain(..).map(|resting| resting.entry));
        // The clock may have been set back: then some rest again, but not for longer than they may. On disk it
        // stays as it was.
        let longest = self.settings.retry.map_or(0, |retry| retry.max);
        for entry in std::mem::take(&mut self.ready) {
            let until = entry.rests_until.map(|until| until.min(now + longest));
            match until.filter(|until| *until > now) {
                None => self.ready.push(entry),
                Some(until) => self.resting.push(Resting {
                    entry,
                    until,
                    is_unread: true,
                }),
            }
        }
        let is_quorum = self.spec.is_quorum;
        self.ready.retain(|entry| entry.message.persistent || is_quorum);
        self.resting
            .retain(|resting| resting.entry.message.persistent || is_quorum);
        let resting = self.resting.iter_mut().map(|resting| &mut resting.entry);
        for entry in self.ready.iter_mut().chain(resting) {
            entry.survived = true;
        }
        self.is_unread |= !self.ready.is_empty() || !self.resting.is_empty();
    }
}
