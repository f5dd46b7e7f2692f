//! Lines: ways on which messages move by themselves, by rejection, expiry or delay, and the books of one client each.
//!
//! A message of a line is in one place at a time, however often the broker dies while it moves.

mod book;
mod count;
mod worker;

use std::time::Duration;

use amq_protocol::protocol::{AMQPClass, basic, exchange};
use amq_protocol::types::{AMQPValue, FieldTable};
use rand::RngExt;
use rand::rngs::StdRng;

pub use self::book::Line;
use crate::client::Client;

/// How long a rejected message of [`Kind::Letters`] waits before it comes back.
const REST: Duration = Duration::from_millis(30);
const TTL_MAX_MS: u64 = 60;
const DELAY_MAX_MS: u64 = 300;

pub const KINDS: [Kind; 5] = [
    Kind::Letters,
    Kind::TakenLetters,
    Kind::Expiry,
    Kind::Delays,
    Kind::Unique,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rejected from `work`, expired in `rest`, and so back.
    Letters,
    /// Rejected from `once`, at least once, to `taker`, which is short and refuses what is too much.
    TakenLetters,
    /// Expired in `short`, and so to `expired`.
    Expiry,
    /// Delayed by `later`.
    Delays,
    /// Published again and again, and let in once.
    Unique,
}

impl Kind {
    /// Where its messages are taken.
    pub fn queues(self) -> &'static [&'static str] {
        match self {
            Self::Letters => &["work"],
            Self::TakenLetters => &["once", "taker"],
            Self::Expiry => &["expired"],
            Self::Delays => &["queue"],
            Self::Unique => &["unique"],
        }
    }

    pub fn declare(self, client: &mut Client) {
        match self {
            Self::Letters => {
                let mut work = dead_letters_to("rest");
                work.insert("x-max-priority".into(), AMQPValue::LongInt(3));
                client.declare_typed("work", &work).unwrap();
                let mut rest = dead_letters_to("work");
                rest.insert("x-message-ttl".into(), millis(REST));
                client.declare_typed("rest", &rest).unwrap();
            }
            Self::TakenLetters => {
                let mut once = dead_letters_to("taker");
                once.insert("x-queue-type".into(), text("quorum"));
                once.insert("x-delivery-limit".into(), AMQPValue::LongInt(-1));
                once.insert("x-dead-letter-strategy".into(), text("at-least-once"));
                once.insert("x-overflow".into(), text("reject-publish"));
                client.declare_typed("once", &once).unwrap();
                let mut taker = FieldTable::default();
                taker.insert("x-overflow".into(), text("reject-publish"));
                taker.insert("x-max-length".into(), AMQPValue::LongInt(10));
                client.declare_typed("taker", &taker).unwrap();
            }
            Self::Expiry => {
                let mut short = dead_letters_to("expired");
                short.insert("x-message-ttl".into(), millis(Duration::from_millis(TTL_MAX_MS)));
                client.declare_typed("short", &short).unwrap();
                client.declare("expired", true).unwrap();
            }
            Self::Delays => client.declare_later(),
            Self::Unique => {
                declare_unique(client);
                client.declare("unique", true).unwrap();
                client.bind("unique", "unique", "").unwrap();
            }
        }
    }

    /// Publishes a message of the line; returns how long it is under way at least.
    fn publish(self, client: &mut Client, number: u32, random: &mut StdRng) -> Duration {
        let properties = basic::AMQPProperties::default().with_delivery_mode(2);
        let mut body = number.to_be_bytes().to_vec();
        body.resize(random.random_range(4..300), b'.');
        match self {
            Self::Letters => {
                let properties = properties.with_priority(random.random_range(0..4));
                client.publish_properties("", "work", false, properties, &body);
                Duration::ZERO
            }
            Self::TakenLetters => {
                client.publish_properties("", "once", false, properties, &body);
                Duration::ZERO
            }
            Self::Expiry => {
                let ttl = random.random_range(1..2 * TTL_MAX_MS);
                let properties = properties.with_expiration(ttl.to_string().into());
                client.publish_properties("", "short", false, properties, &body);
                Duration::from_millis(ttl.min(TTL_MAX_MS))
            }
            Self::Delays => {
                // Some for more than one life of the broker.
                let factor = if random.random_bool(0.05) { 10 } else { 1 };
                let delay = factor * random.random_range(1..DELAY_MAX_MS);
                client.delay(i32::try_from(delay).unwrap(), &body);
                Duration::from_millis(delay)
            }
            Self::Unique => {
                let mut headers = FieldTable::default();
                headers.insert("x-deduplication-header".into(), AMQPValue::LongUInt(number));
                let properties = properties.with_headers(headers);
                client.publish_properties("unique", "", false, properties, &body);
                Duration::ZERO
            }
        }
    }

    /// How often a message has died when it is first seen.
    fn deaths_at_first(self) -> u32 {
        u32::from(self == Self::Expiry)
    }

    /// How a message that comes from `queue` has died: queue, reason and count.
    fn deaths(self, queue: &str, count: u32) -> Vec<(&'static str, &'static str, u32)> {
        match (self, queue) {
            _ if count == 0 => Vec::new(),
            (Self::Letters, _) => vec![("work", "rejected", count), ("rest", "expired", count)],
            (Self::TakenLetters, "taker") => vec![("once", "rejected", count)],
            (Self::Expiry, _) => vec![("short", "expired", count)],
            _ => panic!("a message that died {count} times comes from {queue}"),
        }
    }

    /// How long what is rejected from there is under way; `None` if it is gone for good.
    fn rejected_from(self, queue: &str) -> Option<Duration> {
        match (self, queue) {
            (Self::Letters, _) => Some(REST),
            (Self::TakenLetters, "once") => Some(Duration::ZERO),
            _ => None,
        }
    }

    /// What is rejected moves at once. Otherwise it waits for somebody who takes it, and is back after a crash.
    fn moves_at_once(self) -> bool {
        self != Self::TakenLetters
    }
}

fn dead_letters_to(queue: &str) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-dead-letter-exchange".into(), text(""));
    arguments.insert("x-dead-letter-routing-key".into(), text(queue));
    arguments
}

fn declare_unique(client: &mut Client) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-message-deduplication".into(), AMQPValue::Boolean(true));
    let declare = exchange::Declare {
        exchange: "unique".into(),
        kind: "fanout".into(),
        durable: true,
        arguments,
        ..exchange::Declare::default()
    };
    client
        .call(AMQPClass::Exchange(exchange::AMQPMethod::Declare(declare)))
        .unwrap();
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn millis(duration: Duration) -> AMQPValue {
    AMQPValue::LongInt(i32::try_from(duration.as_millis()).unwrap())
}
