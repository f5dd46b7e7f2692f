//! What a history has: queues with all sorts of arguments, exchanges and bindings, drawn from its seed.

use rand::RngExt;
use rand::rngs::StdRng;

use super::detours::{LATE, ONCE, UNIQUE, WINDOW};
use super::exchanges::{
    BEFORE_PROPERTIES, BY_PROPERTIES, CHANCE, EXCHANGES, ExchangeKind, ExchangeSpec, HASHES, LOCAL,
    NARROW_EXCHANGES, PLAIN_EXCHANGES, SHARES,
};
use super::remembering::HISTORY;
use super::stage::Age;

/// What becomes of messages beyond a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    #[default]
    DropHead,
    RejectPublish,
    RejectPublishDlx,
}

/// Which returns let a message rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryKind {
    All,
    Failed,
    Returned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    pub kind: RetryKind,
    pub min: u64,
    pub max: u64,
}

/// Where dead letters go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub exchange: String,
    pub routing_key: Option<String>,
    pub at_least_once: bool,
}

/// What counts for a queue: its arguments, and what policies and its type add. Times are milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub ttl: Option<u64>,
    pub expires: Option<u64>,
    pub max_length: Option<u64>,
    pub max_bytes: Option<u64>,
    pub overflow: Option<Overflow>,
    pub target: Option<Target>,
    pub delivery_limit: Option<u32>,
    pub consumer_timeout: Option<u64>,
    pub retry: Option<Retry>,
}

/// What a queue is declared with.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "so many switches does a declaration have"
)]
pub struct QueueSpec {
    pub name: String,
    pub durable: bool,
    pub auto_delete: bool,
    pub is_quorum: bool,
    pub is_single_active: bool,
    pub max_priority: u8,
    /// It takes each key once.
    pub deduplicates: bool,
    /// The connection that it is exclusive to.
    pub owner: Option<u64>,
    pub arguments: Settings,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Queue(String),
    Exchange(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub source: String,
    pub destination: Destination,
    pub key: String,
    /// The value of `k` that a headers exchange asks for.
    pub k: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Layout {
    pub queues: Vec<QueueSpec>,
    pub exchanges: Vec<ExchangeSpec>,
    pub bindings: Vec<Binding>,
    /// What reaches a queue that limits or deduplicates reaches it by one way at a time, so that no order decides.
    pub is_calm: bool,
}

impl Settings {
    pub fn overflow(&self) -> Overflow {
        self.overflow.unwrap_or_default()
    }

    /// Dead letters for the first queue go to the second.
    pub fn avoid_first(&mut self) {
        if let Some(Target {
            routing_key: Some(key),
            ..
        }) = &mut self.target
            && key == FIRST
        {
            SECOND.clone_into(key);
        }
    }

    /// What the type adds.
    pub fn of_quorum(mut self) -> Self {
        self.consumer_timeout.get_or_insert(1_800_000);
        if self.target.is_some() {
            self.delivery_limit.get_or_insert(20);
        }
        self
    }
}

impl QueueSpec {
    /// The arguments of `queue.declare`, without the table's length.
    pub fn table(&self) -> Vec<u8> {
        let mut table = Vec::new();
        let mut number = |name: &str, value: Option<u64>| {
            if let Some(value) = value {
                key(&mut table, name, b'l');
                table.extend(value.to_be_bytes());
            }
        };
        let Settings {
            ttl,
            expires,
            max_length,
            max_bytes,
            overflow,
            target,
            delivery_limit,
            consumer_timeout,
            retry,
        } = &self.arguments;
        number("x-message-ttl", *ttl);
        number("x-expires", *expires);
        number("x-max-length", *max_length);
        number("x-max-length-bytes", *max_bytes);
        number("x-delivery-limit", delivery_limit.map(u64::from));
        number("x-consumer-timeout", *consumer_timeout);
        number("x-delayed-retry-min", retry.map(|retry| retry.min));
        number("x-delayed-retry-max", retry.map(|retry| retry.max));
        let max_priority = (self.max_priority > 0).then_some(self.max_priority);
        number("x-max-priority", max_priority.map(u64::from));
        if let Some(target) = target {
            text(&mut table, "x-dead-letter-exchange", &target.exchange);
            if let Some(routing_key) = &target.routing_key {
                text(&mut table, "x-dead-letter-routing-key", routing_key);
            }
            if target.at_least_once {
                text(&mut table, "x-dead-letter-strategy", "at-least-once");
            }
        }
        if let Some(overflow) = overflow {
            text(&mut table, "x-overflow", overflow.name());
        }
        if let Some(retry) = retry {
            text(&mut table, "x-delayed-retry-type", retry.kind.name());
        }
        if self.is_quorum {
            text(&mut table, "x-queue-type", "quorum");
        }
        if self.is_single_active {
            key(&mut table, "x-single-active-consumer", b't');
            table.push(1);
        }
        if self.deduplicates {
            once(&mut table);
        }
        table
    }
}

impl Overflow {
    pub fn name(self) -> &'static str {
        match self {
            Self::DropHead => "drop-head",
            Self::RejectPublish => "reject-publish",
            Self::RejectPublishDlx => "reject-publish-dlx",
        }
    }
}

impl RetryKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Failed => "failed",
            Self::Returned => "returned",
        }
    }
}

/// Adds a name and the type of its value to a table.
fn key(table: &mut Vec<u8>, name: &str, kind: u8) {
    table.push(u8::try_from(name.len()).expect("short"));
    table.extend(name.as_bytes());
    table.push(kind);
}

/// Asks for each key once.
pub fn once(table: &mut Vec<u8>) {
    key(table, "x-message-deduplication", b't');
    table.push(1);
    number(table, "x-cache-ttl", i64::try_from(WINDOW).expect("small"));
}

/// Adds a text to a table.
pub fn text(table: &mut Vec<u8>, name: &str, value: &str) {
    key(table, name, b'S');
    table.extend(u32::try_from(value.len()).expect("small").to_be_bytes());
    table.extend(value.as_bytes());
}

/// Adds a number to a table.
pub fn number(table: &mut Vec<u8>, name: &str, value: i64) {
    key(table, name, b'l');
    table.extend(value.to_be_bytes());
}

/// The same in four bytes.
pub fn narrow_number(table: &mut Vec<u8>, name: &str, value: i64) {
    key(table, name, b'I');
    table.extend(i32::try_from(value).expect("small").to_be_bytes());
}

/// Adds a list of texts to a table.
pub fn texts(table: &mut Vec<u8>, name: &str, values: &[String]) {
    let mut list = Vec::new();
    for value in values {
        list.push(b'S');
        list.extend(u32::try_from(value.len()).expect("small").to_be_bytes());
        list.extend(value.as_bytes());
    }
    key(table, name, b'A');
    table.extend(u32::try_from(list.len()).expect("small").to_be_bytes());
    table.extend(list);
}

/// The first two queues, which every history has.
pub const FIRST: &str = "q0";
const SECOND: &str = "q1";

/// Routing keys that publishers use, and binding keys.
pub const KEYS: [&str; 5] = ["a", "b", "a.b", "a.b.a", "b.a"];
const PATTERNS: [&str; 7] = ["a", "b", "a.*", "#.a", "*.b", "#", "a.#.a"];
const WEIGHTS: [&str; 3] = ["1", "2", "3"];

impl Layout {
    /// Histories of other ages have less to draw from.
    pub fn random(rng: &mut StdRng, age: Age) -> Self {
        let is_narrow = age == Age::Narrow;
        let count = rng.random_range(2..6);
        let queues = (0..count)
            .map(|index| queue(rng, format!("q{index}"), count, is_narrow))
            .collect();
        let mut layout = Self {
            queues,
            exchanges: match age {
                Age::Narrow => EXCHANGES[..NARROW_EXCHANGES].to_vec(),
                Age::Restless | Age::Plain => EXCHANGES[..BEFORE_PROPERTIES].to_vec(),
                Age::Common | Age::Now => EXCHANGES.to_vec(),
            },
            bindings: Vec::new(),
            is_calm: false,
        };
        let is_shut = |queue: &&QueueSpec| queue.arguments.overflow == Some(Overflow::RejectPublish);
        if let Some(queue) = layout.queues.iter().find(is_shut).filter(|_| !is_narrow) {
            // What is delayed finds it full.
            layout.bindings.push(Binding {
                source: LATE.to_owned(),
                destination: Destination::Queue(queue.name.clone()),
                key: KEYS[0].to_owned(),
                k: None,
            });
        }
        for _ in 0..rng.random_range(3..14) {
            let binding = layout.binding(rng);
            if binding.source == SHARES {
                // The first weight counts.
                let key = WEIGHTS[rng.random_range(0..WEIGHTS.len())].to_owned();
                let other = Binding {
                    key,
                    ..binding.clone()
                };
                if other != binding && !layout.bindings.contains(&other) {
                    layout.bindings.push(other);
                }
            }
            if !layout.bindings.contains(&binding) {
                layout.bindings.push(binding);
            }
        }
        if age >= Age::Common {
            layout.bind_rare(rng);
        }
        layout
    }

    /// Two more bindings of an exchange that few would be bound to otherwise.
    fn bind_rare(&mut self, rng: &mut StdRng) {
        let source = [ONCE, UNIQUE, CHANCE, LOCAL][rng.random_range(0..4)];
        let index = self.exchanges.iter().position(|spec| spec.name == source);
        for _ in 0..2 {
            let binding = self.binding_of(index.expect("it is there"), rng);
            if !self.bindings.contains(&binding) {
                self.bindings.push(binding);
            }
        }
    }

    /// Some dead letters go to exchanges that remember them, and one that looks at a part of each message has a choice.
    pub fn haunt(&mut self, rng: &mut StdRng) {
        let spec = rng.random_range(BY_PROPERTIES);
        for _ in 0..3 {
            let binding = self.binding_of(spec, rng);
            if !self.bindings.contains(&binding) {
                self.bindings.push(binding);
            }
        }
        for queue in &mut self.queues {
            let is_chosen = rng.random_bool(0.2);
            // Those of a calm history may lead to its first queue.
            if let Some(target) = queue
                .arguments
                .target
                .as_mut()
                .filter(|_| is_chosen && !self.is_calm)
            {
                [ONCE, UNIQUE, HISTORY][rng.random_range(0..3)].clone_into(&mut target.exchange);
            }
        }
    }

    /// Makes it calm: only the first queue has limits and deduplicates, and no dead letter gets there.
    pub fn calm_down(&mut self) {
        self.is_calm = true;
        for (index, queue) in self.queues.iter_mut().enumerate() {
            queue.arguments.avoid_first();
            if index > 0 {
                (queue.arguments.max_length, queue.arguments.max_bytes) = (None, None);
                queue.deduplicates = false;
            }
        }
        self.bindings.retain(Binding::is_calm);
    }

    /// An exchange that does nothing but route.
    pub fn plain_exchange(&self, rng: &mut StdRng) -> &'static str {
        let hashes = if self.exchanges.len() == NARROW_EXCHANGES {
            0
        } else {
            HASHES.len()
        };
        let index = rng.random_range(0..PLAIN_EXCHANGES + hashes);
        let hash = index.checked_sub(PLAIN_EXCHANGES).map(|hash| HASHES[hash]);
        self.exchanges[hash.unwrap_or(index)].name
    }

    pub fn binding(&self, rng: &mut StdRng) -> Binding {
        let index = rng.random_range(0..self.exchanges.len());
        self.binding_of(index, rng)
    }

    /// A binding of the exchange of that index, if it can have one.
    fn binding_of(&self, index: usize, rng: &mut StdRng) -> Binding {
        let mut source = &self.exchanges[index];
        // On disk it is seen which it was. The local one takes classic queues only.
        let may_be_seen = |queue: &&QueueSpec| queue.durable && (source.name == CHANCE || !queue.is_quorum);
        let seen: Vec<&QueueSpec> = self.queues.iter().filter(may_be_seen).collect();
        if source.is_by_chance() && seen.is_empty() {
            source = &self.exchanges[0];
        }
        let destination = if source.is_by_chance() {
            let queue = seen[rng.random_range(0..seen.len())];
            Destination::Queue(queue.name.clone())
        } else if rng.random_bool(0.2) {
            Destination::Exchange(self.plain_exchange(rng).to_owned())
        } else {
            let queue = &self.queues[rng.random_range(0..self.queues.len())];
            Destination::Queue(queue.name.clone())
        };
        let key = match source.kind {
            ExchangeKind::Topic => PATTERNS[rng.random_range(0..PATTERNS.len())],
            ExchangeKind::ConsistentHash(_) => WEIGHTS[rng.random_range(0..WEIGHTS.len())],
            ExchangeKind::LocalRandom => "",
            _ => KEYS[rng.random_range(0..2)],
        };
        let wants_k = source.kind == ExchangeKind::Headers;
        let mut binding = Binding {
            source: source.name.to_owned(),
            destination,
            key: key.to_owned(),
            k: wants_k.then(|| ["x", "y"][rng.random_range(0..2)].to_owned()),
        };
        if self.is_calm && !binding.is_calm() {
            binding.destination = Destination::Queue(SECOND.to_owned());
        }
        binding
    }
}

impl Binding {
    /// Whether dead letters and delayed messages do not get to the first queue by it.
    fn is_calm(&self) -> bool {
        let is_of_publishers = [ONCE, UNIQUE, CHANCE, LOCAL, HISTORY].contains(&&*self.source);
        is_of_publishers || self.destination != Destination::Queue(FIRST.to_owned())
    }
}

/// A queue among `count`.
pub fn queue(rng: &mut StdRng, name: String, count: usize, is_narrow: bool) -> QueueSpec {
    let is_quorum = rng.random_bool(0.25);
    QueueSpec {
        name,
        durable: is_quorum || rng.random_bool(0.8),
        auto_delete: false,
        is_quorum,
        is_single_active: rng.random_bool(0.2),
        max_priority: if rng.random_bool(0.35) {
            rng.random_range(1..4)
        } else {
            0
        },
        arguments: settings(rng, count, is_quorum),
        deduplicates: !is_narrow && rng.random_bool(0.3),
        owner: None,
    }
}

fn settings(rng: &mut StdRng, count: usize, is_quorum: bool) -> Settings {
    let overflows = [
        Overflow::DropHead,
        Overflow::RejectPublish,
        Overflow::RejectPublishDlx,
    ];
    let retries = [RetryKind::All, RetryKind::Failed, RetryKind::Returned];
    let mut settings = Settings {
        ttl: maybe(rng, 0.35, |rng| [0, 7, 20, 60][rng.random_range(0..4)]),
        expires: None,
        max_length: maybe(rng, 0.4, |rng| rng.random_range(0..5)),
        max_bytes: maybe(rng, 0.15, |rng| rng.random_range(0..120)),
        overflow: maybe(rng, 0.6, |rng| overflows[rng.random_range(0..3)]),
        target: maybe(rng, 0.7, |rng| target(rng, count, is_quorum)),
        delivery_limit: maybe(rng, 0.3, |rng| rng.random_range(0..3)),
        consumer_timeout: maybe(rng, 0.2, |rng| rng.random_range(10..80)),
        retry: None,
    };
    if settings.max_length.is_none() && settings.max_bytes.is_none() {
        // With a limit it would count whether messages that rest were read back after a crash.
        settings.retry = maybe(rng, 0.35, |rng| Retry {
            kind: retries[rng.random_range(0..3)],
            min: rng.random_range(1..30),
            max: rng.random_range(30..60),
        });
    }
    settings
}

fn target(rng: &mut StdRng, count: usize, is_quorum: bool) -> Target {
    let exchanges = ["direct", "fan", "topic", "alternating", "nowhere", LATE];
    let (exchange, routing_key) = if rng.random_bool(0.75) {
        ("", Some(format!("q{}", rng.random_range(0..count))))
    } else {
        let exchange = exchanges[rng.random_range(0..exchanges.len())];
        (
            exchange,
            maybe(rng, 0.3, |rng| KEYS[rng.random_range(0..KEYS.len())].to_owned()),
        )
    };
    Target {
        exchange: exchange.to_owned(),
        routing_key,
        at_least_once: is_quorum && rng.random_bool(0.7),
    }
}

fn maybe<T>(rng: &mut StdRng, chance: f64, value: impl FnOnce(&mut StdRng) -> T) -> Option<T> {
    rng.random_bool(chance).then(|| value(rng))
}
