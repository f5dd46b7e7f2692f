//! Exchanges that do not just route: one that delays messages, and one that takes each key once for a while.

use super::exchanges::SHARES;
use super::layout::Overflow;
use super::message::Message;
use super::model::Model;
use super::seen::Seen;

/// Delays, then routes like a direct exchange.
pub const LATE: &str = "late";
/// A fanout exchange that takes each key once.
pub const ONCE: &str = "once";

/// How long it knows a key, ms, unless the message says otherwise.
pub const WINDOW: u64 = 50;

/// The same for as long as there are not too many keys, ten years at most.
pub const UNIQUE: &str = "unique";

/// How many keys that one knows.
pub const CACHE_SIZE: usize = 3;
pub const FOREVER: u64 = 315_360_000_000;

/// Exchanges that give each key to one queue.
const HASHES: [&str; 2] = [SHARES, "modulus"];

/// How long until a delayed message is offered again that found its queue full, ms.
const OFFER_INTERVAL: u64 = 1000;

/// A message that waits for its time.
#[derive(Clone, Debug)]
pub struct Delayed {
    pub message: Message,
    due: u64,
    /// In the order in which they came.
    number: u64,
    way: Way,
}

/// Where a delayed message goes in the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// Routed by these keys.
    Keys(Vec<String>),
    /// To the queue that was full.
    Queue(String),
}

/// What has become of a message on its way to the queues.
#[derive(Clone, Debug)]
pub enum Detour {
    None,
    /// It waits.
    Delayed,
    /// It was the first with its key.
    First(Seen),
    /// It was not.
    Duplicate(Seen),
}

impl Model {
    /// When the message is due, if the exchange delays it.
    pub fn due(&self, exchange: &str, message: &Message) -> Option<u64> {
        let delay = message.delay.filter(|delay| *delay > 0 && exchange == LATE)?;
        Some(self.now + delay.unsigned_abs())
    }

    /// A message waits; its header is negated, so that it is not delayed again.
    pub fn delay(&mut self, mut message: Message, due: u64, keys: Vec<String>) {
        self.coverage.note("a message was delayed");
        message.delay = message.delay.map(|delay| -delay);
        let number = self.fresh();
        self.delayed.push(Delayed {
            message,
            due,
            number,
            way: Way::Keys(keys),
        });
    }

    /// A message on its way from its publisher: where it goes now, and what else it meets. One that is mandatory is not
    /// delayed if it would reach nobody.
    pub fn pass(&mut self, message: &Message, is_mandatory: bool) -> (Vec<String>, Detour) {
        let keys = message.routing_keys();
        let queues = self
            .topology
            .route(&message.exchange, &keys, message, &self.queues);
        self.note_hash(message, !queues.is_empty());
        if HASHES.contains(&&*message.exchange) && !queues.is_empty() {
            self.coverage.note("a hash chose a queue");
        }
        if let Some(due) = self.due(&message.exchange, message) {
            if is_mandatory && queues.is_empty() {
                return (queues, Detour::None);
            }
            self.delay(message.clone(), due, keys);
            return (Vec::new(), Detour::Delayed);
        }
        self.leave_traces(message, queues)
    }

    /// A message passes an exchange that may remember it, on its way to these queues.
    pub fn leave_traces(&mut self, message: &Message, queues: Vec<String>) -> (Vec<String>, Detour) {
        self.record(message);
        let Some(seen) = self.first_sight(message) else {
            return (queues, Detour::None);
        };
        let has_just_gone = self.has_just_gone(&seen);
        self.doubt(has_just_gone, "(ended: a key went when the next message had it)");
        if self.is_known(&seen) {
            self.coverage.note("a message was a duplicate");
            if message.exchange == UNIQUE {
                self.coverage
                    .note("an exchange that takes each key once met one again");
            }
            return (Vec::new(), Detour::Duplicate(seen));
        }
        self.learn(&seen, message.persistent);
        if queues.is_empty() {
            self.unlearn(&seen);
            return (queues, Detour::None);
        }
        (queues, Detour::First(seen))
    }

    /// The queues have answered: what was refused may come again, and what is a duplicate of it was refused with it.
    pub fn settle_detour(&mut self, detour: &Detour, is_refused: bool) -> bool {
        match detour {
            Detour::First(seen) if is_refused => {
                self.coverage.note("a key was forgotten with its message");
                self.unlearn(seen);
                true
            }
            Detour::Duplicate(seen) => !self.is_known(seen),
            _ => is_refused,
        }
    }

    /// Whether another state delays what both have as long, and for the same.
    pub fn delays_the_same_as(&self, other: &Self) -> bool {
        let waits = |model: &Self| {
            let delayed = model.delayed.iter();
            let mut waits: Vec<_> = delayed
                .map(|delayed| (delayed.message.id, delayed.due, delayed.way.clone()))
                .collect();
            waits.sort();
            waits
        };
        waits(self) == waits(other)
    }

    pub fn is_any_delayed_due(&self) -> bool {
        self.delayed.iter().any(|delayed| delayed.due <= self.now)
    }

    /// Routes what is due.
    pub fn release_due(&mut self) {
        let now = self.now;
        let mut due: Vec<Delayed> = self
            .delayed
            .extract_if(.., |delayed| delayed.due <= now)
            .collect();
        due.sort_by_key(|delayed| (delayed.due, delayed.number));
        let mut routed = Vec::new();
        for Delayed { message, way, .. } in due {
            self.coverage.note("a delayed message was released");
            let queues = match way {
                Way::Keys(keys) => self.topology.route(LATE, &keys, &message, &self.queues),
                Way::Queue(name) => vec![name],
            };
            routed.push((message, queues));
        }
        for (queue, indices) in self.groups(&routed) {
            let messages = indices.iter().map(|index| routed[*index].0.clone()).collect();
            let (is_forked, has_due) = (self.forked == self.step, self.has_due(&self.queues[&queue]));
            let (refused, letters) = self.publish_into(&queue, messages);
            let may_refuse = self.queues[&queue].settings.overflow() != Overflow::DropHead;
            // The queue may have made room before, or after.
            self.doubt(
                is_forked && (!refused.is_empty() || (may_refuse && has_due)),
                "(ended: what was delayed competes for room)",
            );
            let settings = &self.queues[&queue].settings;
            let is_taken = settings.overflow() == Overflow::RejectPublishDlx && settings.target.is_some();
            self.bury(&queue, letters);
            for index in refused.into_iter().filter(|_| !is_taken) {
                self.offer_again(routed[indices[index]].0.clone(), &queue);
            }
        }
    }

    /// A queue was full: the message stays delayed, for it alone.
    fn offer_again(&mut self, message: Message, queue: &str) {
        self.coverage.note("a delayed message found its queue full");
        if self.offered_at <= self.now {
            self.offered_at = self.now + OFFER_INTERVAL;
        }
        let (due, number) = (self.offered_at, self.fresh());
        self.delayed.push(Delayed {
            message,
            due,
            number,
            way: Way::Queue(queue.to_owned()),
        });
    }
}
