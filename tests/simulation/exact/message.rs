//! A message as the model knows it, and what a death makes of it.

use super::layout::{Target, narrow_number, number, text, texts};

/// Why a message left its queue for the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Rejected,
    Expired,
    MaxLength,
    DeliveryLimit,
}

impl Reason {
    /// Its name in `x-death`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::MaxLength => "maxlen",
            Self::DeliveryLimit => "delivery_limit",
        }
    }

    /// What coverage calls it.
    pub fn event(self) -> &'static str {
        match self {
            Self::Rejected => "dead-lettered: rejected",
            Self::Expired => "dead-lettered: expired",
            Self::MaxLength => "dead-lettered: maxlen",
            Self::DeliveryLimit => "dead-lettered: delivery_limit",
        }
    }
}

/// An entry of `x-death`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    pub queue: String,
    pub reason: String,
    pub count: i64,
    pub exchange: String,
    pub routing_keys: Vec<String>,
    /// Seconds since the epoch.
    pub time: u64,
    pub expiration: Option<String>,
}

/// What `x-first-death-…` and `x-last-death-…` say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub exchange: String,
    pub queue: String,
    pub reason: String,
}

/// A header's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Number(i64),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The number that its body begins with.
    pub id: u64,
    pub body_len: u64,
    pub exchange: String,
    pub routing_key: String,
    pub copies: Vec<String>,
    /// Routing keys that nobody sees.
    pub blind_copies: Vec<String>,
    pub persistent: bool,
    pub priority: Option<u8>,
    /// Where replies go.
    pub reply_to: Option<String>,
    pub expiration: Option<u64>,
    /// The header `k`.
    pub k: Option<String>,
    /// The header `x-delay`.
    pub delay: Option<i64>,
    /// The header `x-deduplication-header`.
    pub duplicate_key: Option<String>,
    /// The header `x-cache-ttl`.
    pub cache_ttl: Option<i64>,
    /// The header `h`.
    pub h: Option<Value>,
    pub correlation_id: Option<String>,
    /// The property `message-id`.
    pub label: Option<String>,
    pub timestamp: Option<u64>,
    /// The latest first.
    pub deaths: Vec<Death>,
    pub first: Option<Summary>,
    pub last: Option<Summary>,
}

impl Message {
    /// All routing keys, while it is on its way from its publisher.
    pub fn routing_keys(&self) -> Vec<String> {
        let mut keys = vec![self.routing_key.clone()];
        keys.extend(self.copies.iter().chain(&self.blind_copies).cloned());
        keys
    }

    /// Whether a client would see the same.
    pub fn is_same(&self, other: &Self) -> bool {
        // Who differs mostly differs in this.
        self.id == other.id
            && Self {
                blind_copies: Vec::new(),
                ..self.clone()
            } == Self {
                blind_copies: Vec::new(),
                ..other.clone()
            }
    }

    /// The message's properties, as its publisher sends them.
    pub fn properties(&self) -> Vec<u8> {
        let mut headers = Vec::new();
        if let Some(k) = &self.k {
            text(&mut headers, "k", k);
        }
        if let Some(key) = &self.duplicate_key {
            text(&mut headers, "x-deduplication-header", key);
        }
        if let Some(delay) = self.delay {
            number(&mut headers, "x-delay", delay);
        }
        if let Some(ttl) = self.cache_ttl {
            number(&mut headers, "x-cache-ttl", ttl);
        }
        match &self.h {
            Some(Value::Text(value)) => text(&mut headers, "h", value),
            // A number is the same in any width.
            Some(Value::Number(value)) if self.id.is_multiple_of(2) => {
                narrow_number(&mut headers, "h", *value);
            }
            Some(Value::Number(value)) => number(&mut headers, "h", *value),
            None => {}
        }
        for (name, keys) in [("CC", &self.copies), ("BCC", &self.blind_copies)] {
            if !keys.is_empty() {
                texts(&mut headers, name, keys);
            }
        }
        let mut flags = 0;
        let mut values = Vec::new();
        if !headers.is_empty() {
            flags |= 1 << 13;
            values.extend(u32::try_from(headers.len()).expect("small").to_be_bytes());
            values.extend(headers);
        }
        if self.persistent {
            flags |= 1 << 12;
            values.push(2);
        }
        if let Some(priority) = self.priority {
            flags |= 1 << 11;
            values.push(priority);
        }
        let expiration = self.expiration.map(|expiration| expiration.to_string());
        let texts = [
            (10, &self.correlation_id),
            (9, &self.reply_to),
            (8, &expiration),
            (7, &self.label),
        ];
        for (flag, text) in texts {
            if let Some(text) = text {
                flags |= 1 << flag;
                values.push(u8::try_from(text.len()).expect("short"));
                values.extend(text.as_bytes());
            }
        }
        if let Some(timestamp) = self.timestamp {
            flags |= 1 << 6;
            values.extend(timestamp.to_be_bytes());
        }
        [&u16::to_be_bytes(flags)[..], &values[..]].concat()
    }
}

/// A dead message on its way.
#[derive(Clone, Debug)]
pub struct Burial {
    pub message: Message,
    pub routing_keys: Vec<String>,
    /// Queues that it may not enter: no consumer had a hand in the cycle.
    closed: Vec<String>,
}

impl Burial {
    pub fn new(message: &Message, reason: Reason, queue: &str, target: &Target, now: u64) -> Self {
        let mut message = message.clone();
        let mut keys = vec![message.routing_key.clone()];
        // CC counts no more once a queue has named another key.
        let last_key = message.deaths.first().map(|death| &death.routing_keys[0]);
        if last_key.is_none_or(|key| *key == message.routing_key) {
            keys.extend(message.copies.iter().cloned());
        }
        let is_it = |death: &Death| death.queue == queue && death.reason == reason.name();
        let death = match message.deaths.iter().position(is_it) {
            Some(index) => {
                let death = message.deaths.remove(index);
                Death {
                    count: death.count + 1,
                    ..death
                }
            }
            None => Death {
                queue: queue.to_owned(),
                reason: reason.name().to_owned(),
                count: 1,
                exchange: message.exchange.clone(),
                routing_keys: keys.clone(),
                time: now / 1000,
                expiration: message.expiration.map(|expiration| expiration.to_string()),
            },
        };
        message.deaths.insert(0, death);
        let summary = Summary {
            exchange: message.exchange.clone(),
            queue: queue.to_owned(),
            reason: reason.name().to_owned(),
        };
        message.first.get_or_insert(summary.clone());
        message.last = Some(summary);
        let routing_keys = match &target.routing_key {
            Some(key) => vec![key.clone()],
            None => keys,
        };
        message.exchange.clone_from(&target.exchange);
        message.routing_key.clone_from(&routing_keys[0]);
        message.expiration = None;
        message.blind_copies.clear();
        let since_rejected = |death: &&Death| death.reason != Reason::Rejected.name();
        let deaths = message.deaths.iter().take_while(since_rejected);
        let closed = deaths.map(|death| death.queue.clone()).collect();
        Self {
            message,
            routing_keys,
            closed,
        }
    }

    pub fn may_enter(&self, queue: &str) -> bool {
        !self.closed.iter().any(|closed| closed == queue)
    }
}
