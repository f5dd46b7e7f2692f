//! What a message becomes when it fails: its headers tell its deaths, and where it may still go.
//!
//! As RabbitMQ 4 does it: the history that counts is the one that the broker wrote; `x-death` of a client is passed
//! on until the first death, which replaces it.

use amq_protocol::types::{AMQPValue, FieldArray, FieldTable, LongString};

use crate::amqp::content::{self, Properties};
use crate::amqp::field_table::{self, Value, Values};
use crate::clock::Timestamp;
use crate::message::Message;

use super::queue::effects::DeathReason;
use super::queue::settings::DeadLetterTarget;

/// Headers that the broker writes; what a client put there goes.
const HEADERS: [&[u8]; 7] = [
    b"x-death",
    b"x-first-death-exchange",
    b"x-first-death-queue",
    b"x-first-death-reason",
    b"x-last-death-exchange",
    b"x-last-death-queue",
    b"x-last-death-reason",
];

/// A failed message, ready to be published where dead letters go.
#[derive(Debug)]
pub struct Burial {
    /// The message with its history.
    pub message: Message,
    /// Where to route it by: the first is that of the message.
    pub routing_keys: Vec<Vec<u8>>,
    /// Queues that it may not enter again: that would be a cycle which no consumer had a hand in.
    closed_queues: Vec<String>,
}

impl Burial {
    /// What becomes of `message`, which failed in `queue`.
    pub fn new(
        message: &Message,
        reason: DeathReason,
        queue: &str,
        target: &DeadLetterTarget,
        now: Timestamp,
    ) -> Self {
        let copies = copies(message);
        let mut deaths = Deaths::of(message);
        deaths.add(message, reason, queue, &copies, now);
        let routing_keys = match &target.routing_key {
            Some(key) => vec![short(key.as_bytes()).to_vec()],
            None => std::iter::once(message.routing_key().to_vec())
                .chain(copies)
                .collect(),
        };
        let mut entries = content::headers_without(message.properties(), &HEADERS);
        field_table::write(&mut entries, &deaths.headers(message, reason, queue));
        let properties = content::without_expiration(message.properties());
        let properties = content::with_headers(&properties, Some(&entries));
        let exchange = short(target.exchange.as_bytes());
        Self {
            message: Message::dead_letter(exchange, &routing_keys[0], &properties, message.body()),
            routing_keys,
            closed_queues: deaths.closed_queues(reason),
        }
    }

    /// Whether the message may enter a queue of this name.
    pub fn may_enter(&self, queue: &str) -> bool {
        !self.closed_queues.iter().any(|closed| closed == queue)
    }
}

/// The history of a message, the latest death first.
struct Deaths {
    list: Vec<FieldTable>,
    /// Exchange, queue and reason of the first death, if there was one before this.
    first: Option<[AMQPValue; 3]>,
}

impl Deaths {
    fn of(message: &Message) -> Self {
        let headers = content::headers_range(message.properties()).filter(|_| message.is_dead_letter());
        let Some(range) = headers else {
            return Self {
                list: Vec::new(),
                first: None,
            };
        };
        let entries = field_table::to_owned(&message.properties()[range]);
        let list = match entries.inner().get("x-death") {
            Some(AMQPValue::FieldArray(deaths)) => deaths.as_slice().to_vec(),
            _ => Vec::new(),
        };
        let list = list.into_iter().filter_map(|death| match death {
            AMQPValue::FieldTable(death) => Some(death),
            _ => None,
        });
        let first = |part: &str| entries.inner().get(part).cloned();
        let first = [
            first("x-first-death-exchange"),
            first("x-first-death-queue"),
            first("x-first-death-reason"),
        ];
        let first = match first {
            [Some(exchange), Some(queue), Some(reason)] => Some([exchange, queue, reason]),
            _ => None,
        };
        Self {
            list: list.collect(),
            first,
        }
    }

    /// Counts a death: one entry per queue and reason, the latest in front.
    fn add(
        &mut self,
        message: &Message,
        reason: DeathReason,
        queue: &str,
        copies: &[Vec<u8>],
        now: Timestamp,
    ) {
        let is_it = |death: &FieldTable| {
            death.inner().get("queue") == Some(&text(queue))
                && death.inner().get("reason") == Some(&text(reason.name()))
        };
        if let Some(index) = self.list.iter().position(is_it) {
            let mut death = self.list.remove(index);
            let count = match death.inner().get("count") {
                Some(AMQPValue::LongLongInt(count)) => *count,
                _ => 0,
            };
            death.insert("count".into(), AMQPValue::LongLongInt(count.saturating_add(1)));
            self.list.insert(0, death);
            return;
        }
        let mut keys = FieldArray::default();
        keys.push(bytes(message.routing_key()));
        for key in copies {
            keys.push(bytes(key));
        }
        let mut death = FieldTable::default();
        death.insert("count".into(), AMQPValue::LongLongInt(1));
        death.insert("reason".into(), text(reason.name()));
        death.insert("queue".into(), text(queue));
        death.insert("time".into(), AMQPValue::Timestamp(now.millis() / 1000));
        death.insert("exchange".into(), bytes(message.exchange()));
        death.insert("routing-keys".into(), AMQPValue::FieldArray(keys));
        let properties = Properties::parse(message.properties());
        if let Some(expiration) = properties.ok().and_then(|properties| properties.expiration) {
            death.insert("original-expiration".into(), bytes(expiration));
        }
        self.list.insert(0, death);
    }

    fn headers(&self, message: &Message, reason: DeathReason, queue: &str) -> FieldTable {
        let mut deaths = FieldArray::default();
        for death in &self.list {
            deaths.push(AMQPValue::FieldTable(death.clone()));
        }
        let last = [bytes(message.exchange()), text(queue), text(reason.name())];
        let [exchange, queue, reason] = self.first.clone().unwrap_or_else(|| last.clone());
        let [last_exchange, last_queue, last_reason] = last;
        let mut headers = FieldTable::default();
        headers.insert("x-death".into(), AMQPValue::FieldArray(deaths));
        headers.insert("x-first-death-exchange".into(), exchange);
        headers.insert("x-first-death-queue".into(), queue);
        headers.insert("x-first-death-reason".into(), reason);
        headers.insert("x-last-death-exchange".into(), last_exchange);
        headers.insert("x-last-death-queue".into(), last_queue);
        headers.insert("x-last-death-reason".into(), last_reason);
        headers
    }

    /// The queues it died in since a consumer last rejected it.
    fn closed_queues(&self, reason: DeathReason) -> Vec<String> {
        if reason == DeathReason::Rejected {
            return Vec::new();
        }
        let is_rejection =
            |death: &&FieldTable| death.inner().get("reason") == Some(&text(DeathReason::Rejected.name()));
        self.list
            .iter()
            .take_while(|death| !is_rejection(death))
            .filter_map(|death| match death.inner().get("queue")? {
                AMQPValue::LongString(queue) => Some(String::from_utf8_lossy(queue.as_bytes()).into_owned()),
                _ => None,
            })
            .collect()
    }
}

impl DeathReason {
    /// Its name in `x-death`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::MaxLength => "maxlen",
            Self::DeliveryLimit => "delivery_limit",
        }
    }
}

/// Whether a message has died in this queue before.
pub fn has_died_in(message: &Message, queue: &str) -> bool {
    has_death(message, b"queue", queue)
}

/// Whether a message was published to this exchange before it died.
pub fn was_published_to(message: &Message, exchange: &str) -> bool {
    has_death(message, b"exchange", exchange)
}

/// Whether one of a message's deaths names `name` as its queue or exchange.
fn has_death(message: &Message, part: &[u8], name: &str) -> bool {
    if !message.is_dead_letter() {
        return false;
    }
    let headers = content::headers_range(message.properties());
    let headers = headers.map_or(&[][..], |range| &message.properties()[range]);
    let Some(Value::Array(deaths)) = field_table::lookup(headers, b"x-death") else {
        return false;
    };
    Values::new(deaths).any(|death| match death {
        Value::Table(death) => field_table::lookup(death, part) == Some(Value::LongString(name.as_bytes())),
        _ => false,
    })
}

/// Routing keys that CC added. The header stays where a queue gave a dead letter another key, and counts no more.
fn copies(message: &Message) -> Vec<Vec<u8>> {
    let Some(range) = content::headers_range(message.properties()) else {
        return Vec::new();
    };
    let headers = &message.properties()[range];
    if message.is_dead_letter() && last_key(headers) != Some(message.routing_key()) {
        return Vec::new();
    }
    match field_table::lookup(headers, b"CC") {
        Some(Value::Array(values)) => Values::new(values)
            .filter_map(|value| match value {
                Value::LongString(key) if key.len() <= 255 => Some(key.to_vec()),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The routing key of a message when it died last.
fn last_key(headers: &[u8]) -> Option<&[u8]> {
    match first_of(headers, b"x-death")? {
        Value::Table(death) => match first_of(death, b"routing-keys")? {
            Value::LongString(key) => Some(key),
            _ => None,
        },
        _ => None,
    }
}

/// The first value of an array in a table.
fn first_of<'a>(entries: &'a [u8], key: &[u8]) -> Option<Value<'a>> {
    match field_table::lookup(entries, key)? {
        Value::Array(values) => Values::new(values).next(),
        _ => None,
    }
}

/// What fits a delivery. Arguments are checked for that; policies of an imported file may not be.
fn short(name: &[u8]) -> &[u8] {
    &name[..name.len().min(255)]
}

fn text(text: &str) -> AMQPValue {
    bytes(text.as_bytes())
}

fn bytes(bytes: &[u8]) -> AMQPValue {
    AMQPValue::LongString(LongString::from(bytes))
}

#[cfg(test)]
mod tests;
