//! What every history has, and how it is emptied in the end.

use super::channel::{Channel, Consumer, Request};
use super::client::{Client, number};
use super::ledger::{End, QUEUES, is_durable};
use super::world::World;
use crate::wire::{self, Arg, NO_TABLE, TICKET};

/// Confirms on the first, transactions on the third; whatever may go wrong happens on the second.
pub const CONFIRM: u16 = 1;
pub const PLAIN: u16 = 2;
pub const TX: u16 = 3;

/// Exchange, routing key, queue.
const BINDINGS: [(&str, &str, &str); 11] = [
    ("direct", "one", "d0"),
    ("direct", "two", "d1"),
    ("direct", "two", "d2"),
    ("fanout", "", "d0"),
    ("fanout", "", "d2"),
    ("fanout", "", "t0"),
    ("topic", "a.*", "d0"),
    ("topic", "#.z", "d2"),
    ("topic", "#.z", "t0"),
    ("headers", "", "d0"),
    ("headers", "", "d2"),
];

/// Opens a channel, in the mode that its number stands for.
pub fn open(client: &mut Client, number: u16) {
    client.channels.insert(number, Channel::default());
    client.call(number, (20, 10), &[Arg::Short("")]);
    match number {
        CONFIRM => client.call(number, (85, 10), &[Arg::Bits(0)]),
        TX => client.call(number, (90, 10), &[]),
        _ => {}
    }
}

/// Declares what every history has.
pub fn declare_all(client: &mut Client) {
    open(client, PLAIN);
    for kind in ["direct", "fanout", "topic", "headers"] {
        let args = [TICKET, Arg::Short(kind), Arg::Short(kind), Arg::Bits(2), NO_TABLE];
        client.call(PLAIN, (40, 10), &args);
    }
    let entry = [
        TICKET,
        Arg::Short("entry"),
        Arg::Short("fanout"),
        Arg::Bits(2),
        NO_TABLE,
    ];
    client.call(PLAIN, (40, 10), &entry);
    let (to, from) = (Arg::Short("direct"), Arg::Short("entry"));
    client.call(
        PLAIN,
        (40, 30),
        &[TICKET, to, from, Arg::Short(""), Arg::Bits(0), NO_TABLE],
    );
    for (index, queue) in QUEUES.iter().enumerate() {
        let durable = if is_durable(index) { 2 } else { 0 };
        let args = [TICKET, Arg::Short(queue), Arg::Bits(durable), NO_TABLE];
        client.call(PLAIN, (50, 10), &args);
    }
    for (exchange, key, queue) in BINDINGS {
        let entries = if exchange == "headers" {
            wire::entries("yes")
        } else {
            Vec::new()
        };
        let args = [
            TICKET,
            Arg::Short(queue),
            Arg::Short(exchange),
            Arg::Short(key),
            Arg::Bits(0),
            Arg::Long(&entries),
        ];
        client.call(PLAIN, (50, 20), &args);
    }
}

/// Consumes from every queue that every history has.
pub fn consume_all(client: &mut Client) {
    open(client, PLAIN);
    for queue in QUEUES {
        let args = [
            TICKET,
            Arg::Short(queue),
            Arg::Short(queue),
            Arg::Bits(0),
            NO_TABLE,
        ];
        client.call(PLAIN, (60, 20), &args);
        let consumer = Consumer::new(number(queue), false, 0);
        client.channel(PLAIN).consumers.insert(queue.to_owned(), consumer);
    }
}

/// Acks all that is held; false if that is nothing.
pub fn ack_all(world: &mut World) -> bool {
    let channel = world.clients[0].channel(PLAIN);
    let held = std::mem::take(&mut channel.held);
    let Some((last, _)) = held.last_key_value() else {
        return false;
    };
    let last = *last;
    for held in held.into_values() {
        let queue = held.queue.expect("the consumers are on these queues");
        world.ledger.ended(queue, held.id, End::Maybe);
        channel.requests.push_back(Request::End(queue, held.id));
    }
    world.clients[0].send(PLAIN, (60, 80), &[Arg::U64(last), Arg::Bits(1)]);
    true
}

/// Deletes the queues that not every history has.
pub fn delete_others(client: &mut Client) {
    for queue in ["v0", "v1"] {
        client.call(PLAIN, (50, 40), &[TICKET, Arg::Short(queue), Arg::Bits(0)]);
    }
}
