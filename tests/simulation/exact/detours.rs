//! Exchanges that do not just route: one that delays messages, and one that takes each key once for a while.

use super::message::Message;
use super::model::Model;

/// Delays, then routes like a direct exchange.
pub const LATE: &str = "late";
/// A fanout exchange that takes each key once.
pub const ONCE: &str = "once";

/// How long it knows a key, ms.
pub const WINDOW: u64 = 50;

/// A message that waits for its time.
#[derive(Clone, Debug)]
pub struct Delayed {
    pub message: Message,
    due: u64,
    /// In the order in which they came.
    number: u64,
    /// By which to route it then.
    keys: Vec<String>,
}

/// A key that was seen.
#[derive(Clone, Debug)]
pub struct Known {
    until: u64,
    pub is_stored: bool,
}

/// What has become of a message on its way to the queues.
#[derive(Clone, Debug)]
pub enum Detour {
    None,
    /// It waits.
    Delayed,
    /// It was the first with its key.
    First(String),
    /// It was not.
    Duplicate(String),
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
            keys,
        });
    }

    /// A message on its way from its publisher: where it goes now, and what else it meets. One that is mandatory is not
    /// delayed if it would reach nobody.
    pub fn pass(&mut self, message: &Message, is_mandatory: bool) -> (Vec<String>, Detour) {
        let keys = message.routing_keys();
        let queues = self
            .topology
            .route(&message.exchange, &keys, message, &self.queues);
        if let Some(due) = self.due(&message.exchange, message) {
            if is_mandatory && queues.is_empty() {
                return (queues, Detour::None);
            }
            self.delay(message.clone(), due, keys);
            return (Vec::new(), Detour::Delayed);
        }
        let Some(key) = message.duplicate_key.clone().filter(|_| message.exchange == ONCE) else {
            return (queues, Detour::None);
        };
        if self.known.get(&key).is_some_and(|known| known.until > self.now) {
            self.coverage.note("a message was a duplicate");
            return (Vec::new(), Detour::Duplicate(key));
        }
        if queues.is_empty() {
            return (queues, Detour::None);
        }
        let known = Known {
            until: self.now + WINDOW,
            is_stored: message.persistent,
        };
        self.known.insert(key.clone(), known);
        (queues, Detour::First(key))
    }

    /// The queues have answered: what was refused may come again, and what is a duplicate of it was refused with it.
    pub fn settle_detour(&mut self, detour: &Detour, is_refused: bool) -> bool {
        match detour {
            Detour::First(key) if is_refused => {
                self.coverage.note("a key was forgotten with its message");
                self.known.remove(key);
                true
            }
            Detour::Duplicate(key) => {
                let is_known = self.known.get(key).is_some_and(|known| known.until > self.now);
                !is_known
            }
            _ => is_refused,
        }
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
        for Delayed { message, keys, .. } in due {
            self.coverage.note("a delayed message was released");
            let queues = self.topology.route(LATE, &keys, &message, &self.queues);
            routed.push((message, queues));
        }
        // What a full queue refuses stays delayed for it; that is not followed here.
        self.is_ambiguous |= self.publish(&routed).contains(&true);
    }
}
