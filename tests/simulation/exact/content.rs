//! A message as it comes from the broker.

use amq_protocol::types::{AMQPValue, FieldTable};
use leveret::amqp::content::{ContentHeader, Properties};
use leveret::amqp::field_table;

use super::message::{Death, Message, Summary, Value};
use super::queue::{Entry, Queue};
use crate::wire::Frame;

/// By which method it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// For the consumer of this number.
    Deliver(u64),
    /// With so many messages left.
    Got(u32),
    Returned,
}

#[derive(Clone, Debug)]
pub struct Content {
    pub kind: Kind,
    pub delivery_tag: u64,
    pub redelivered: bool,
    /// The header `x-delivery-count`.
    delivery_count: Option<i64>,
    pub message: Message,
}

impl Kind {
    /// What a method frame begins, if a message comes with it.
    pub fn of(frame: &Frame) -> Option<Content> {
        let payload = &frame.payload;
        let (kind, delivery_tag, redelivered, mut at) = match frame.id() {
            (60, 60) => {
                let (tag, end) = frame.short();
                let number = tag[1..].parse().expect("tags are numbers");
                (
                    Kind::Deliver(number),
                    frame.u64_at(end),
                    payload[end + 8],
                    end + 9,
                )
            }
            (60, 71) => (Kind::Got(0), frame.u64_at(4), payload[12], 13),
            (60, 50) => (Kind::Returned, 0, 0, 6),
            _ => return None,
        };
        let mut short = || {
            let len = usize::from(payload[at]);
            let text = String::from_utf8(payload[at + 1..at + 1 + len].to_vec()).expect("names are text");
            at += 1 + len;
            text
        };
        if kind == Kind::Returned {
            short();
        }
        let (exchange, routing_key) = (short(), short());
        let kind = match kind {
            Kind::Got(_) => Kind::Got(u32::from_be_bytes(*payload[at..].first_chunk().expect("a count"))),
            other => other,
        };
        Some(Content {
            kind,
            delivery_tag,
            redelivered: redelivered & 1 == 1,
            delivery_count: None,
            message: Message {
                exchange,
                routing_key,
                ..Message::default()
            },
        })
    }
}

impl Content {
    /// Takes the header frame's payload.
    pub fn header(&mut self, payload: &[u8]) {
        let header = ContentHeader::parse(payload).expect("the broker writes whole headers");
        self.message.body_len = header.body_size;
        self.properties(header.properties);
    }

    fn properties(&mut self, properties: &[u8]) {
        let properties = Properties::parse(properties).expect("the broker writes sound properties");
        let message = &mut self.message;
        message.persistent = properties.delivery_mode == Some(2);
        message.priority = properties.priority;
        let own = |text: &[u8]| String::from_utf8(text.to_vec()).expect("all are text");
        message.reply_to = properties.reply_to.map(own);
        message.correlation_id = properties.correlation_id.map(own);
        message.label = properties.message_id.map(own);
        message.timestamp = properties.timestamp;
        message.expiration = properties.expiration.map(|text| {
            let text = std::str::from_utf8(text).expect("it is a number");
            text.parse().expect("it is a number")
        });
        let Some(headers) = properties.headers else { return };
        let headers = field_table::to_owned(headers);
        let text = |name: &str| headers.inner().get(name).map(text_of);
        message.k = text("k");
        message.duplicate_key = text("x-deduplication-header");
        message.copies = headers.inner().get("CC").map(texts_of).unwrap_or_default();
        message.cache_ttl = headers.inner().get("x-cache-ttl").map(number_of);
        message.h = headers.inner().get("h").map(|value| match value {
            AMQPValue::LongString(_) => Value::Text(text_of(value)),
            _ => Value::Number(number_of(value)),
        });
        message.delay = headers.inner().get("x-delay").map(number_of);
        self.delivery_count = headers.inner().get("x-delivery-count").map(number_of);
        let summary = |which: &str| {
            Some(Summary {
                exchange: text(&format!("x-{which}-death-exchange"))?,
                queue: text(&format!("x-{which}-death-queue"))?,
                reason: text(&format!("x-{which}-death-reason"))?,
            })
        };
        message.first = summary("first");
        message.last = summary("last");
        if let Some(AMQPValue::FieldArray(deaths)) = headers.inner().get("x-death") {
            message.deaths = deaths.as_slice().iter().map(death_of).collect();
        }
    }

    /// A message that the store has.
    pub fn stored(message: &leveret::message::Message) -> Message {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("names are text");
        let mut content = Self {
            kind: Kind::Returned,
            delivery_tag: 0,
            redelivered: false,
            delivery_count: None,
            message: Message {
                exchange: text(message.exchange()),
                routing_key: text(message.routing_key()),
                ..Message::default()
            },
        };
        content.properties(message.properties());
        let body = message.body();
        content.message.body_len = body.len() as u64;
        content.message.id = u64::from_be_bytes(*body.first_chunk().expect("bodies begin with a number"));
        content.message
    }

    /// Whether it is this message of the queue, as it has to be.
    pub fn is_of(&self, entry: &Entry, queue: &Queue) -> bool {
        let counts = queue.spec.is_quorum || queue.settings.delivery_limit.is_some();
        let count = (counts && entry.returns > 0).then_some(i64::from(entry.returns));
        let is_flagged = if entry.seen {
            self.redelivered
        } else {
            !self.redelivered || entry.survived
        };
        self.message.is_same(&entry.message) && self.delivery_count == count && is_flagged
    }
}

fn text_of(value: &AMQPValue) -> String {
    match value {
        AMQPValue::LongString(text) => String::from_utf8(text.as_bytes().to_vec()).expect("it is text"),
        other => panic!("no text: {other:?}"),
    }
}

fn number_of(value: &AMQPValue) -> i64 {
    match value {
        AMQPValue::LongLongInt(number) => *number,
        AMQPValue::LongInt(number) => i64::from(*number),
        other => panic!("no number: {other:?}"),
    }
}

fn texts_of(value: &AMQPValue) -> Vec<String> {
    match value {
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(text_of).collect(),
        other => panic!("no list: {other:?}"),
    }
}

fn death_of(value: &AMQPValue) -> Death {
    let AMQPValue::FieldTable(death) = value else {
        panic!("x-death lists tables, not {value:?}");
    };
    let get = |name: &str| -> &AMQPValue {
        let death: &FieldTable = death;
        death
            .inner()
            .get(name)
            .unwrap_or_else(|| panic!("a death without {name}: {death:?}"))
    };
    let AMQPValue::Timestamp(time) = get("time") else {
        panic!("a death has no time: {death:?}");
    };
    Death {
        queue: text_of(get("queue")),
        reason: text_of(get("reason")),
        count: number_of(get("count")),
        exchange: text_of(get("exchange")),
        routing_keys: texts_of(get("routing-keys")),
        time: *time,
        expiration: death.inner().get("original-expiration").map(text_of),
    }
}
