//! What a route costs: `cargo bench --bench routing` prints nanoseconds per operation, in less than two seconds.
//!
//! One thread, warm caches, one destination found unless the line says otherwise. Read the figures as ratios.

use std::hint::black_box;
use std::time::{Duration, Instant};

use amq_protocol::types::{AMQPValue, FieldTable};
use leveret::amqp::{content, field_table};
use leveret::broker::exchange::{Bindings, Criteria, Destination, ExchangeKind, fingerprint};
use leveret::broker::permission::{Access, Permission};
use leveret::broker::queue_type::QueueType;

/// How long each line is measured.
const MEASURE: Duration = Duration::from_millis(60);

/// A queue.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Queue(u32);

impl Destination for Queue {
    fn fingerprint(&self) -> u64 {
        fingerprint(true, &self.0.to_string())
    }

    fn queue_type(&self) -> Option<QueueType> {
        Some(QueueType::Classic)
    }
}

fn main() {
    for count in [1_000, 100_000] {
        let direct = bindings(ExchangeKind::Direct, count, |n| {
            (format!("orders.{n}"), FieldTable::default())
        });
        route(
            &format!("direct, {count} bindings"),
            &direct,
            "orders.500",
            None,
            1,
        );
    }
    for count in [1_000, 100_000] {
        let topic = bindings(ExchangeKind::Topic, count, |n| {
            (pattern(n), FieldTable::default())
        });
        route(
            &format!("topic, {count} bindings, * and # among them"),
            &topic,
            "shop.500.order.placed",
            None,
            1,
        );
        route(
            &format!("topic, {count} bindings, no match"),
            &topic,
            "elsewhere.500.order",
            None,
            0,
        );
    }
    for count in [1_000, 100_000] {
        let headers = bindings(ExchangeKind::Headers, count, |n| {
            (String::new(), arguments(n, "all"))
        });
        let message = entries(500);
        route(
            &format!("headers all, {count} bindings"),
            &headers,
            "",
            Some(&message),
            1,
        );
    }
    let any = bindings(ExchangeKind::Headers, 1_000, |n| {
        (String::new(), arguments(n, "any"))
    });
    route(
        "headers any, 1000 bindings, all of them found",
        &any,
        "",
        Some(&entries(500)),
        1_001,
    );
    let fanout = bindings(ExchangeKind::Fanout, 1_000, |_| {
        (String::new(), FieldTable::default())
    });
    route(
        "fanout, 1000 bindings, all of them found",
        &fanout,
        "",
        None,
        1_000,
    );
    for kind in [
        ExchangeKind::ConsistentHash,
        ExchangeKind::ModulusHash,
        ExchangeKind::Random,
    ] {
        for count in [10, 1_000] {
            let bound = bindings(kind, count, |_| ("1".to_owned(), FieldTable::default()));
            let what = format!("{}, {count} bindings", kind.name());
            route(&what, &bound, "customer-4711", None, 1);
        }
    }
    hostile();
    going_away();
    permission();
}

/// Bindings to the destinations 0 to `count`, by number.
fn bindings(
    kind: ExchangeKind,
    count: u32,
    binding: impl Fn(u32) -> (String, FieldTable),
) -> Bindings<Queue> {
    let mut bindings = Bindings::new(kind, &FieldTable::default(), 0);
    for n in 0..count {
        let (key, arguments) = binding(n);
        bindings.bind(key.as_bytes(), &arguments, Queue(n));
    }
    bindings
}

fn pattern(n: u32) -> String {
    match n % 4 {
        0 => format!("shop.{n}.#"),
        1 => format!("shop.{n}.*.placed"),
        2 => format!("shop.{n}.order.*"),
        _ => format!("shop.{n}.order.placed"),
    }
}

fn arguments(n: u32, way: &str) -> FieldTable {
    let mut table = FieldTable::default();
    table.insert("x-match".into(), AMQPValue::LongString(way.into()));
    table.insert("kind".into(), AMQPValue::LongString("order".into()));
    table.insert("shop".into(), AMQPValue::LongUInt(n));
    table
}

/// Five headers, two of which count.
fn entries(shop: u32) -> Vec<u8> {
    let mut table = arguments(shop, "any");
    table.insert(
        "trace".into(),
        AMQPValue::LongString("0af7651916cd43dd8448eb211c80319c".into()),
    );
    table.insert("retries".into(), AMQPValue::LongInt(0));
    let mut entries = Vec::new();
    field_table::write(&mut entries, &table);
    entries
}

fn route(what: &str, bindings: &Bindings<Queue>, key: &str, headers: Option<&[u8]>, expected: u32) {
    let mut found = 0;
    let criteria = Criteria {
        routing_keys: &[key.as_bytes()],
        properties: &content::with_headers(&[0, 0], headers),
    };
    bindings.route(&criteria, &mut |_| found += 1);
    assert_eq!(found, expected, "{what}");
    measure(what, || {
        bindings.route(black_box(&criteria), &mut |destination| {
            black_box(destination);
        });
    });
}

/// Patterns that would make a backtracking matcher hang.
fn hostile() {
    let patterns = |n: u32| (["#.a"; 62].join(".") + &format!(".{n}"), FieldTable::default());
    let topic = bindings(ExchangeKind::Topic, 1_000, patterns);
    route(
        "topic, 1000 times #.a.#.a…, key a.a.a…, no match",
        &topic,
        &["a"; 128].join("."),
        None,
        0,
    );
}

/// A queue is bound to an exchange with many bindings, and deleted.
fn going_away() {
    for kind in [ExchangeKind::Direct, ExchangeKind::Fanout, ExchangeKind::Topic] {
        let mut bindings = bindings(kind, 100_000, |n| (pattern(n), FieldTable::default()));
        measure(&format!("{}, bind and remove one of 100000", kind.name()), || {
            bindings.bind(b"shop.7.order.placed", &FieldTable::default(), Queue(1_000_000));
            black_box(bindings.remove_destination(&Queue(1_000_000)));
        });
    }
}

fn permission() {
    for pattern in [".*", "^lim-.*", "^(amq\\.gen.*|amq\\.default)$"] {
        let permission = Permission::new(pattern, pattern, pattern).expect("a pattern that compiles");
        measure(&format!("permission {pattern}"), || {
            black_box(permission.allows(Access::Write, black_box("amq.gen-JzTY20BRgKO-HjmUJj0wLg")));
        });
    }
}

fn measure(what: &str, mut operation: impl FnMut()) {
    let begin = Instant::now();
    let mut operations = 0_u32;
    let mut batch = 1;
    while begin.elapsed() < MEASURE {
        for _ in 0..batch {
            operation();
        }
        operations += batch;
        batch = (batch * 2).min(4_096);
    }
    let each = begin.elapsed().as_secs_f64() * 1e9 / f64::from(operations);
    println!("{each:>12.1} ns  {what}");
}
