//! What a vhost forgets, and what exchanges pass on that remember.

use std::time::Instant;

use amq_protocol::types::AMQPValue;

use super::*;
use crate::amqp::content;
use crate::amqp::field_table;
use crate::broker::ConnectionId;
use crate::clock::Timestamp;
use crate::message::Message;
use crate::store::memory::MemoryStore;

fn vhost() -> Arc<Vhost> {
    let clock = Clock::new(Instant::now(), Timestamp::from_millis(1_000_000));
    let stores = Stores {
        durable: Arc::new(MemoryStore::default()),
        spill: Arc::new(MemoryStore::default()),
    };
    let shared = Shared {
        stores,
        clock: Arc::new(clock),
        timers: Arc::default(),
        policies: Arc::new([]),
        ids: Arc::new(QueueIds::new(0)),
        headroom: Arc::default(),
        window: Window {
            messages: 100,
            bytes: 1 << 20,
        },
        queues: Tally::new(0),
        exchanges: Tally::new(0),
    };
    Vhost::new("/", shared)
}

fn declare_exchange(vhost: &Vhost, name: &str, kind: &str, arguments: FieldTable) {
    let asked = ExchangeDeclaration {
        name: name.into(),
        kind: kind.into(),
        durable: false,
        auto_delete: false,
        internal: false,
        arguments,
    };
    vhost.declare_exchange::<Refusal>(asked, |_| Ok(())).unwrap();
}

fn declare_queue(vhost: &Vhost, name: &str) -> Arc<LiveQueue> {
    let asked = QueueDeclaration {
        name: name.into(),
        durable: false,
        exclusive: false,
        auto_delete: false,
        default_type: QueueType::default(),
        arguments: FieldTable::default(),
    };
    let declared = vhost.declare_queue::<Refusal>(asked, ConnectionId(0), || Ok(()));
    declared.unwrap().queue
}

fn table(key: &str, value: AMQPValue) -> FieldTable {
    let mut table = FieldTable::default();
    table.insert(key.into(), value);
    table
}

#[test]
fn a_queue_remembers_no_exchange_that_does_not_lead_to_it() {
    let vhost = vhost();
    let queue = declare_queue(&vhost, "q");
    let none = FieldTable::default();
    for round in 0..3 {
        let name: Arc<str> = format!("e{round}").into();
        declare_exchange(&vhost, &name, "direct", FieldTable::default());
        declare_exchange(&vhost, "target", "fanout", FieldTable::default());
        for key in [&b"a"[..], b"b"] {
            vhost.bind_queue(&queue, &name, key, &none).unwrap();
            vhost.bind_exchange(&"target".into(), &name, key, &none).unwrap();
        }
        vhost.unbind_queue(&queue, &name, b"a", &none).unwrap();
        vhost
            .unbind_exchange(&"target".into(), &name, b"a", &none)
            .unwrap();
        assert_eq!(vhost.topology.read().sources.len(), 2, "by their other keys");
        match round {
            // Either the exchange goes with its bindings, or these go first, or what they lead to goes.
            0 => {}
            1 => {
                vhost.unbind_queue(&queue, &name, b"b", &none).unwrap();
                vhost
                    .unbind_exchange(&"target".into(), &name, b"b", &none)
                    .unwrap();
            }
            _ => drop(vhost.delete_exchange(&"target".into(), false).unwrap()),
        }
        vhost.delete_exchange(&name, false).unwrap();
        assert!(vhost.topology.read().sources.is_empty(), "round {round}");
    }
}

#[test]
fn a_history_is_given_to_an_exchange_that_delays() {
    let vhost = vhost();
    declare_exchange(&vhost, "history", "x-recent-history", FieldTable::default());
    let delayed_type = AMQPValue::LongString("fanout".into());
    declare_exchange(
        &vhost,
        "delays",
        "x-delayed-message",
        table("x-delayed-type", delayed_type),
    );
    let mut headers = Vec::new();
    field_table::write(&mut headers, &table("x-delay", AMQPValue::LongInt(5000)));
    let properties = content::with_headers(&[0, 0], Some(&headers));
    let message = Message::new(b"history", b"k", &properties, b"body");
    vhost.pass(&message, &[]);
    let bound = vhost.bind_exchange(&"delays".into(), &"history".into(), b"", &FieldTable::default());
    bound.unwrap();
    assert_eq!(vhost.delayed("delays").unwrap().count(), 1);
}
