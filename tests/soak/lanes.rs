//! The kinds of traffic. What becomes of a message follows from its number alone, so that the books know where it must
//! be seen, and a consumer that gets it again does with it what it did before.

use std::time::Duration;

use amq_protocol::protocol::basic::AMQPProperties;
use amq_protocol::types::{AMQPValue, FieldTable};

use crate::books::Id;

/// Where a message is seen: in a queue, or there at a later attempt.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Place {
    Settle,
    Dead,
    Work,
    WorkAgain,
    WorkLast,
    Delayed,
    DelayedAgain,
    TxIn,
    TxLeft,
    TxRight,
    TopicAll,
    TopicRed,
    HeadersAll,
    HeadersAny,
    FanLeft,
    FanRight,
    Priority,
    Quorum,
    Single,
    Unique,
    Backlog,
    Large,
}

impl Place {
    /// The place of a message from this queue that was sent back so often before.
    pub fn of(queue: &str, attempt: i64) -> Option<Self> {
        Some(match (queue, attempt) {
            ("work", 1) => Self::WorkAgain,
            ("work", 2) => Self::WorkLast,
            ("delayed", 1) => Self::DelayedAgain,
            ("dead", _) => Self::Dead,
            (_, 1..) => return None,
            ("settle", _) => Self::Settle,
            ("work", _) => Self::Work,
            ("delayed", _) => Self::Delayed,
            ("tx.in", _) => Self::TxIn,
            ("tx.left", _) => Self::TxLeft,
            ("tx.right", _) => Self::TxRight,
            ("topic.all", _) => Self::TopicAll,
            ("topic.red", _) => Self::TopicRed,
            ("headers.all", _) => Self::HeadersAll,
            ("headers.any", _) => Self::HeadersAny,
            ("fan.left", _) => Self::FanLeft,
            ("fan.right", _) => Self::FanRight,
            ("priority", _) => Self::Priority,
            ("quorum", _) => Self::Quorum,
            ("single", _) => Self::Single,
            ("unique", _) => Self::Unique,
            ("backlog", _) => Self::Backlog,
            ("large", _) => Self::Large,
            _ => return None,
        })
    }

    /// Whether messages get there by what the broker or a consumer did with them, after they were published.
    pub fn is_derived(self) -> bool {
        use Place::{Dead, Delayed, DelayedAgain, TxLeft, TxRight, WorkAgain, WorkLast};
        matches!(
            self,
            Dead | WorkAgain | WorkLast | Delayed | DelayedAgain | TxLeft | TxRight
        )
    }

    /// Whether messages that nobody has seen come in the order of their publish.
    pub fn is_ordered(self) -> bool {
        let is_by_one_consumer = self != Self::Settle;
        let is_by_transaction = [Self::TxLeft, Self::TxRight].contains(&self);
        is_by_one_consumer && (is_by_transaction || !self.is_derived())
    }
}

/// Several of them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Places(u32);

impl Places {
    fn new(places: &[Place]) -> Self {
        let mut all = Self::default();
        for place in places {
            all.add(*place);
        }
        all
    }

    pub fn has(self, place: Place) -> bool {
        self.0 & (1 << place as u32) != 0
    }

    pub fn add(&mut self, place: Place) {
        self.0 |= 1 << place as u32;
    }

    pub fn remove(&mut self, place: Place) {
        self.0 &= !(1 << place as u32);
    }
}

/// What one publisher sends.
pub struct Lane {
    pub name: &'static str,
    /// Messages per second at load 1.
    pub rate: f64,
    /// Length of each body.
    pub bytes: usize,
    /// They end with the broker.
    pub is_transient: bool,
    /// How often each is published.
    pub times: u8,
    /// Exchange and routing key of a message.
    pub route: fn(u64) -> (&'static str, &'static str),
    /// What it has besides its delivery mode.
    pub properties: fn(u64) -> AMQPProperties,
    pub places: fn(u64) -> Places,
}

const PLAIN: Lane = Lane {
    name: "",
    rate: 0.0,
    bytes: 256,
    is_transient: false,
    times: 1,
    route: |_| ("", ""),
    properties: |_| AMQPProperties::default(),
    places: |_| Places(0),
};

pub const LANES: [Lane; 13] = [
    Lane {
        name: "settle",
        rate: 400.0,
        route: |_| ("soak.direct", "settle"),
        places: |number| {
            let dead: &[Place] = if is_refused(number) { &[Place::Dead] } else { &[] };
            Places::new(&[&[Place::Settle], dead].concat())
        },
        ..PLAIN
    },
    Lane {
        name: "work",
        rate: 150.0,
        route: |_| ("", "work"),
        places: |number| match attempts(number) {
            0 => Places::new(&[Place::Work]),
            _ => Places::new(&[Place::Work, Place::WorkAgain, Place::WorkLast]),
        },
        ..PLAIN
    },
    Lane {
        name: "delayed",
        rate: 100.0,
        route: |_| ("soak.delayed", "delayed"),
        properties: |number| delayed_by(delay_of(number)),
        places: |number| {
            let again: &[Place] = if is_delayed_again(number) {
                &[Place::DelayedAgain]
            } else {
                &[]
            };
            Places::new(&[&[Place::Delayed], again].concat())
        },
        ..PLAIN
    },
    Lane {
        name: "transactions",
        rate: 40.0,
        route: |_| ("", "tx.in"),
        places: |_| Places::new(&[Place::TxIn, Place::TxLeft, Place::TxRight]),
        ..PLAIN
    },
    Lane {
        name: "topic",
        rate: 400.0,
        route: |number| match number % 8 {
            0 => ("soak.topic", "order.red.urgent"),
            4 => ("soak.topic", "order.red.new"),
            _ => ("soak.topic", "order.blue.new"),
        },
        places: |number| match number % 8 {
            0 => Places::new(&[Place::TopicAll, Place::TopicRed, Place::FanLeft, Place::FanRight]),
            4 => Places::new(&[Place::TopicAll, Place::TopicRed]),
            _ => Places::new(&[Place::TopicAll]),
        },
        ..PLAIN
    },
    Lane {
        name: "headers",
        rate: 200.0,
        is_transient: true,
        route: |_| ("soak.headers", ""),
        properties: |number| {
            let mut headers = FieldTable::default();
            headers.insert("kind".into(), AMQPValue::LongString("order".into()));
            headers.insert("is-even".into(), AMQPValue::Boolean(number.is_multiple_of(2)));
            AMQPProperties::default().with_headers(headers)
        },
        places: |number| match number % 2 {
            0 => Places::new(&[Place::HeadersAny, Place::HeadersAll]),
            _ => Places::new(&[Place::HeadersAny]),
        },
        ..PLAIN
    },
    Lane {
        name: "fanout",
        rate: 200.0,
        route: |_| ("soak.fan", ""),
        places: |_| Places::new(&[Place::FanLeft, Place::FanRight]),
        ..PLAIN
    },
    Lane {
        name: "priority",
        rate: 200.0,
        route: |_| ("", "priority"),
        properties: |number| AMQPProperties::default().with_priority(priority(number)),
        places: |_| Places::new(&[Place::Priority]),
        ..PLAIN
    },
    Lane {
        name: "quorum",
        rate: 150.0,
        route: |_| ("", "quorum"),
        places: |number| {
            let dead: &[Place] = if is_poison(number) { &[Place::Dead] } else { &[] };
            Places::new(&[&[Place::Quorum], dead].concat())
        },
        ..PLAIN
    },
    Lane {
        name: "single",
        rate: 200.0,
        route: |_| ("", "single"),
        places: |_| Places::new(&[Place::Single]),
        ..PLAIN
    },
    Lane {
        name: "unique",
        rate: 100.0,
        times: 2,
        route: |_| ("soak.unique", ""),
        properties: |number| {
            let mut headers = FieldTable::default();
            let key = AMQPValue::LongString(number.to_string().into());
            headers.insert("x-deduplication-header".into(), key);
            AMQPProperties::default().with_headers(headers)
        },
        places: |_| Places::new(&[Place::Unique]),
        ..PLAIN
    },
    Lane {
        name: "backlog",
        rate: 300.0,
        bytes: 1024,
        route: |_| ("", "backlog"),
        places: |_| Places::new(&[Place::Backlog]),
        ..PLAIN
    },
    Lane {
        name: "large",
        rate: 0.2,
        bytes: 4 << 20,
        route: |_| ("", "large"),
        places: |_| Places::new(&[Place::Large]),
        ..PLAIN
    },
];

/// What a consumer does with a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Ack,
    /// Acked with those before it, a little later.
    AckLater,
    Requeue,
    Reject,
    /// Published to be delayed, and acked, in one transaction.
    DelayAgain,
    /// Published to two queues, and acked, in one transaction.
    Forward,
}

/// What is done with a message that came to this place.
pub fn fate(place: Place, id: Id, redelivered: bool) -> Fate {
    match place {
        Place::Settle if is_refused(id.number) => Fate::Reject,
        Place::Settle if id.number % 40 == 3 && !redelivered => Fate::Requeue,
        Place::Work if attempts(id.number) > 0 => Fate::Reject,
        Place::WorkAgain => Fate::Reject,
        Place::Quorum if is_poison(id.number) => Fate::Requeue,
        Place::Delayed if is_delayed_again(id.number) => Fate::DelayAgain,
        Place::TxIn => Fate::Forward,
        _ if id.number % 3 == 1 => Fate::Ack,
        _ => Fate::AckLater,
    }
}

/// How long a message of the lane `delayed` stays away, at first.
pub fn delay_of(number: u64) -> Duration {
    Duration::from_millis(500 + number * 7919 % 7_500)
}

/// How long it stays away the second time.
pub const SECOND_DELAY: Duration = Duration::from_secs(1);

pub fn delayed_by(delay: Duration) -> AMQPProperties {
    let mut headers = FieldTable::default();
    let delay = i64::try_from(delay.as_millis()).expect("delays are short");
    headers.insert("x-delay".into(), AMQPValue::LongLongInt(delay));
    AMQPProperties::default().with_headers(headers)
}

/// Whether a transaction is rolled back before it is made again.
pub fn is_rolled_back(number: u64) -> bool {
    number % 10 == 5
}

pub fn priority(number: u64) -> u8 {
    u8::try_from(number * 7 % 6).expect("below six")
}

fn is_refused(number: u64) -> bool {
    number % 50 == 7
}

/// Rejections before it is acked.
fn attempts(number: u64) -> u8 {
    if number % 20 == 3 { 2 } else { 0 }
}

fn is_poison(number: u64) -> bool {
    number % 40 == 1
}

fn is_delayed_again(number: u64) -> bool {
    number % 10 == 4
}
