//! The exchanges and queues of the run, and what the short methods of the client do not say.

use std::io;

use amq_protocol::protocol::{AMQPClass, basic, exchange, queue};
use amq_protocol::types::{AMQPValue, FieldTable};

use crate::client::Client;

/// Durable queues that must be empty at the end, and their arguments.
const QUEUES: [(&str, Arguments); 20] = [
    ("settle", &[("x-dead-letter-exchange", Text("soak.dead"))]),
    ("dead", &[]),
    (
        "work",
        &[
            ("x-dead-letter-exchange", Text("")),
            ("x-dead-letter-routing-key", Text("retry.wait")),
        ],
    ),
    // How long messages wait in it is a policy's.
    (
        "retry.wait",
        &[
            ("x-dead-letter-exchange", Text("")),
            ("x-dead-letter-routing-key", Text("work")),
        ],
    ),
    ("delayed", &[]),
    ("tx.in", &[]),
    ("tx.left", &[]),
    ("tx.right", &[]),
    ("topic.all", &[]),
    ("topic.red", &[]),
    ("headers.all", &[]),
    ("headers.any", &[]),
    ("fan.left", &[]),
    ("fan.right", &[]),
    ("priority", &[("x-max-priority", Number(5))]),
    (
        "quorum",
        &[
            ("x-queue-type", Text("quorum")),
            ("x-delivery-limit", Number(3)),
            ("x-dead-letter-exchange", Text("soak.dead")),
        ],
    ),
    ("single", &[("x-single-active-consumer", Yes)]),
    ("unique", &[]),
    ("backlog", &[]),
    ("large", &[]),
];

/// A queue whose length a policy limits.
pub const CAPPED: &str = "capped";
pub const PROBE: &str = "probe.durable";

const EXCHANGES: [(&str, &str, Arguments); 7] = [
    ("soak.direct", "direct", &[]),
    ("soak.dead", "fanout", &[]),
    ("soak.topic", "topic", &[]),
    ("soak.headers", "headers", &[]),
    ("soak.fan", "fanout", &[]),
    (
        "soak.delayed",
        "x-delayed-message",
        &[("x-delayed-type", Text("direct"))],
    ),
    (
        "soak.unique",
        "fanout",
        &[("x-message-deduplication", Yes), ("x-cache-ttl", Number(60_000))],
    ),
];

const BINDINGS: [(&str, &str, &str); 9] = [
    ("settle", "soak.direct", "settle"),
    ("dead", "soak.dead", ""),
    ("delayed", "soak.delayed", "delayed"),
    ("topic.all", "soak.topic", "#"),
    ("topic.red", "soak.topic", "order.red.*"),
    ("fan.left", "soak.fan", ""),
    ("fan.right", "soak.fan", ""),
    ("unique", "soak.unique", ""),
    ("headers.any", "soak.headers", ""),
];

type Arguments = &'static [(&'static str, Argument)];

#[derive(Clone, Copy)]
enum Argument {
    Text(&'static str),
    Number(i32),
    Yes,
}
use Argument::{Number, Text, Yes};

pub fn declare(client: &mut Client) -> io::Result<()> {
    for (exchange, kind, pairs) in EXCHANGES {
        let declare = exchange::Declare {
            exchange: exchange.into(),
            kind: kind.into(),
            durable: true,
            arguments: table(pairs),
            ..exchange::Declare::default()
        };
        client.call(AMQPClass::Exchange(exchange::AMQPMethod::Declare(declare)))?;
    }
    for (queue, pairs) in QUEUES {
        client.declare_typed(queue, &table(pairs))?;
    }
    client.declare(CAPPED, true)?;
    client.declare(PROBE, true)?;
    for (queue, exchange, key) in BINDINGS {
        client.bind(queue, exchange, key)?;
    }
    let by_headers = queue::Bind {
        queue: "headers.all".into(),
        exchange: "soak.headers".into(),
        arguments: table(&[
            ("x-match", Text("all")),
            ("kind", Text("order")),
            ("is-even", Yes),
        ]),
        ..queue::Bind::default()
    };
    client.call(AMQPClass::Queue(queue::AMQPMethod::Bind(by_headers)))?;
    let to_exchange = exchange::Bind {
        destination: "soak.fan".into(),
        source: "soak.topic".into(),
        routing_key: "order.*.urgent".into(),
        ..exchange::Bind::default()
    };
    client.call(AMQPClass::Exchange(exchange::AMQPMethod::Bind(to_exchange)))?;
    Ok(())
}

/// Queues that have ready messages and should have none.
pub fn filled(client: &mut Client) -> io::Result<Vec<(&'static str, u32)>> {
    let mut filled = Vec::new();
    for name in QUEUES.iter().map(|(name, _)| *name).chain([PROBE]) {
        let ready = client.ready(name)?;
        if ready > 0 {
            filled.push((name, ready));
        }
    }
    Ok(filled)
}

/// A queue that ends with the broker, or with its connection; its name.
pub fn declare_temporary(client: &mut Client, name: &str, is_exclusive: bool) -> io::Result<String> {
    let declare = queue::Declare {
        queue: name.into(),
        exclusive: is_exclusive,
        ..queue::Declare::default()
    };
    match client.call(AMQPClass::Queue(queue::AMQPMethod::Declare(declare)))? {
        AMQPClass::Queue(queue::AMQPMethod::DeclareOk(ok)) => Ok(ok.queue.to_string()),
        other => Err(io::Error::other(format!("declare-ok was due, not {other:?}"))),
    }
}

pub fn consume_without_acks(client: &mut Client, queue: &str) -> io::Result<()> {
    let consume = basic::Consume {
        queue: queue.into(),
        no_ack: true,
        ..basic::Consume::default()
    };
    client.call(AMQPClass::Basic(basic::AMQPMethod::Consume(consume)))?;
    Ok(())
}

fn table(pairs: &[(&str, Argument)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in pairs {
        let value = match value {
            Text(text) => AMQPValue::LongString((*text).into()),
            Number(number) => AMQPValue::LongInt(*number),
            Yes => AMQPValue::Boolean(true),
        };
        table.insert((*key).into(), value);
    }
    table
}
