//! What clients do.

use rand::RngExt;
use rand::rngs::StdRng;

use super::channel::{Consumer, Held, Request};
use super::client::{Client, number};
use super::ledger::{End, Ledger};
use super::topology::{CONFIRM, PLAIN, TX, open};
use super::world::World;
use crate::wire::{self, Arg, NO_TABLE, TICKET};

/// Exchange, routing key, the header `k`, and the queues that the message reaches.
const PUBLISHES: [(&str, &str, Option<&str>, &[usize]); 13] = [
    ("", "d0", None, &[0]),
    ("", "d1", None, &[1]),
    ("", "d2", None, &[2]),
    ("", "t0", None, &[3]),
    ("direct", "one", None, &[0]),
    ("direct", "two", None, &[1, 2]),
    ("direct", "none", None, &[]),
    ("fanout", "", None, &[0, 2, 3]),
    ("topic", "a.b", None, &[0]),
    ("topic", "a.z", None, &[0, 2, 3]),
    ("topic", "z", None, &[2, 3]),
    ("headers", "", Some("yes"), &[0, 2]),
    ("entry", "two", None, &[1, 2]),
];

/// One client does one thing.
pub fn act(world: &mut World, which: usize) {
    let World {
        rng, ledger, clients, ..
    } = world;
    let client = &mut clients[which];
    if client.is_closed || client.closing > 0 {
        return;
    }
    let number = rng.random_range(1..4);
    if !client.channels.contains_key(&number) {
        open(client, number);
        return;
    }
    match rng.random_range(0..100) {
        0..35 => publish(rng, ledger, client, number),
        35..43 => consume(rng, client, number),
        43..50 => get(rng, client, number),
        50..75 => settle(rng, ledger, client, number),
        75..79 => qos(rng, client, number),
        79..82 => cancel(rng, client, number),
        82..84 if number != TX => {
            client.send(number, (60, 110), &[Arg::Bits(1)]);
            client.request(number, Request::Recover);
            let channel = client.channel(number);
            channel.held.clear();
            channel.recovering += 1;
        }
        84..86 => {
            client.send(
                number,
                (20, 40),
                &[Arg::U16(200), Arg::Short(""), Arg::U16(0), Arg::U16(0)],
            );
            client.request(number, Request::Close);
            client.closing += 1;
            ledger.closing += 1;
        }
        86..90 if number == TX => commit(ledger, client),
        90..91 if number == TX => rollback(ledger, client),
        86..100 if number == PLAIN => trifle(rng, client),
        _ => {}
    }
}

fn publish(rng: &mut StdRng, ledger: &mut Ledger, client: &mut Client, number: u16) {
    if number == PLAIN && rng.random_bool(0.2) {
        // To a queue that may be there.
        let id = ledger.publish(false, &[], 0, false);
        let args = [TICKET, Arg::Short(""), Arg::Short("v0"), Arg::Bits(0)];
        client.send(number, (60, 40), &args);
        client
            .to_broker
            .extend(wire::content(number, false, None, &id.to_be_bytes()));
        return;
    }
    let (exchange, key, k, queues) = PUBLISHES[rng.random_range(0..PUBLISHES.len())];
    let persistent = rng.random_bool(0.7);
    let source = client.serial * 8 + u64::from(number);
    let id = ledger.publish(persistent, queues, source, number == TX);
    let mandatory = u8::from(rng.random_bool(0.3));
    client.send(
        number,
        (60, 40),
        &[
            TICKET,
            Arg::Short(exchange),
            Arg::Short(key),
            Arg::Bits(mandatory),
        ],
    );
    let mut body = id.to_be_bytes().to_vec();
    body.resize(8 + rng.random_range(0..40), 0);
    client
        .to_broker
        .extend(wire::content(number, persistent, k, &body));
    let channel = client.channel(number);
    match number {
        TX => channel.transaction.publishes.push(id),
        CONFIRM => {
            channel.last_publish += 1;
            channel.unconfirmed.insert(channel.last_publish, id);
        }
        _ => channel.requests.push_back(Request::Publish(id)),
    }
}

/// A queue, and whether its messages may be lost.
fn pick(rng: &mut StdRng, number: u16) -> (&'static str, bool) {
    let queues: &[(&str, bool)] = if number == PLAIN {
        &[
            ("d0", false),
            ("d1", true),
            ("t0", true),
            ("v0", true),
            ("v1", true),
        ]
    } else {
        &[("d0", false), ("d1", true), ("d2", false), ("t0", true)]
    };
    queues[rng.random_range(0..queues.len())]
}

fn consume(rng: &mut StdRng, client: &mut Client, channel: u16) {
    let (queue, is_loose) = pick(rng, channel);
    if client.channel(channel).consumers.len() >= 4 {
        return;
    }
    let no_ack = is_loose && rng.random_bool(0.3);
    let tag = format!("c{}", rng.random_range(0..1_000_000_000));
    let bits = u8::from(no_ack) << 1;
    let mut priority = b"\x0ax-priorityb".to_vec();
    priority.push(rng.random_range(0..3));
    let args = [
        TICKET,
        Arg::Short(queue),
        Arg::Short(&tag),
        Arg::Bits(bits),
        Arg::Long(&priority),
    ];
    client.call(channel, (60, 20), &args);
    let channel = client.channel(channel);
    let prefetch = if no_ack { 0 } else { channel.prefetch };
    channel
        .consumers
        .insert(tag, Consumer::new(number(queue), no_ack, prefetch));
}

fn get(rng: &mut StdRng, client: &mut Client, channel: u16) {
    let (queue, is_loose) = pick(rng, channel);
    let no_ack = is_loose && rng.random_bool(0.3);
    client.send(
        channel,
        (60, 70),
        &[TICKET, Arg::Short(queue), Arg::Bits(u8::from(no_ack))],
    );
    let queue = number(queue);
    client.request(channel, Request::Get { queue, no_ack });
}

fn settle(rng: &mut StdRng, ledger: &mut Ledger, client: &mut Client, number: u16) {
    let channel = client.channel(number);
    if channel.held.is_empty() {
        return;
    }
    let index = rng.random_range(0..channel.held.len());
    let tag = *channel.held.keys().nth(index).expect("it is within the bounds");
    let multiple = rng.random_bool(0.3);
    let first = if multiple { 0 } else { tag };
    let settled: Vec<(u64, Held)> = channel
        .held
        .range(first..=tag)
        .map(|(tag, held)| (*tag, held.clone()))
        .collect();
    let requeue = rng.random_bool(0.3);
    for (tag, held) in settled {
        channel.held.remove(&tag);
        if number == TX {
            channel.transaction.acks.push((tag, held, !requeue));
        } else if let Some(queue) = held.queue.filter(|_| !requeue) {
            ledger.ended(queue, held.id, End::Maybe);
            channel.requests.push_back(Request::End(queue, held.id));
        }
    }
    let bits = u8::from(multiple) | u8::from(requeue) << 1;
    match (requeue, multiple) {
        (false, _) if rng.random_bool(0.3) => {
            client.send(number, (60, 120), &[Arg::U64(tag), Arg::Bits(bits)]);
        }
        (false, _) => client.send(number, (60, 80), &[Arg::U64(tag), Arg::Bits(bits)]),
        (true, false) if rng.random_bool(0.5) => {
            client.send(number, (60, 90), &[Arg::U64(tag), Arg::Bits(1)]);
        }
        (true, _) => client.send(number, (60, 120), &[Arg::U64(tag), Arg::Bits(bits)]),
    }
}

fn qos(rng: &mut StdRng, client: &mut Client, number: u16) {
    let count = rng.random_range(0..5);
    let global = rng.random_bool(0.4);
    client.send(
        number,
        (60, 10),
        &[Arg::U32(0), Arg::U16(count), Arg::Bits(u8::from(global))],
    );
    let limit = if global { count } else { 0 };
    client.request(number, Request::Qos { limit });
    let channel = client.channel(number);
    channel.limit = None;
    if !global {
        channel.prefetch = count;
    }
}

fn cancel(rng: &mut StdRng, client: &mut Client, number: u16) {
    let channel = client.channel(number);
    let consumers: Vec<String> = channel
        .consumers
        .iter()
        .filter(|(_, consumer)| !consumer.is_cancelled)
        .map(|(tag, _)| tag.clone())
        .collect();
    if consumers.is_empty() {
        return;
    }
    let tag = &consumers[rng.random_range(0..consumers.len())];
    let consumer = channel.consumers.get_mut(tag).expect("it was listed");
    consumer.is_cancelled = true;
    client.call(number, (60, 30), &[Arg::Short(tag), Arg::Bits(0)]);
}

fn commit(ledger: &mut Ledger, client: &mut Client) {
    client.send(TX, (90, 20), &[]);
    let transaction = std::mem::take(&mut client.channel(TX).transaction);
    let acks = transaction
        .acks
        .into_iter()
        .filter_map(|(_, held, ends)| held.queue.filter(|_| ends).map(|queue| (queue, held.id)))
        .collect();
    let group = ledger.commit_sent(transaction.publishes, acks);
    client.request(TX, Request::Commit { group });
}

fn rollback(ledger: &mut Ledger, client: &mut Client) {
    client.call(TX, (90, 30), &[]);
    let channel = client.channel(TX);
    let transaction = std::mem::take(&mut channel.transaction);
    for id in transaction.publishes {
        ledger.dropped(id);
    }
    for (tag, held, _) in transaction.acks {
        channel.held.insert(tag, held);
    }
}

/// Things that come and go, and whose outcome nobody foresees.
fn trifle(rng: &mut StdRng, client: &mut Client) {
    let name = format!("v{}", rng.random_range(0..2));
    let queue = Arg::Short(&name);
    let exchange = Arg::Short("v");
    let bits = Arg::Bits(if rng.random_bool(0.7) {
        0
    } else {
        [2, 8, 10][rng.random_range(0..3)]
    });
    match rng.random_range(0..10) {
        0 | 1 => client.call(PLAIN, (50, 10), &[TICKET, queue, bits, NO_TABLE]),
        2 => client.call(
            PLAIN,
            (50, 40),
            &[TICKET, queue, Arg::Bits(rng.random_range(0..4))],
        ),
        3 => {
            let bits = Arg::Bits(if rng.random_bool(0.5) { 4 } else { 6 });
            client.call(
                PLAIN,
                (40, 10),
                &[TICKET, exchange, Arg::Short("topic"), bits, NO_TABLE],
            );
        }
        4 => client.call(PLAIN, (40, 20), &[TICKET, exchange, Arg::Bits(0)]),
        5 => client.call(
            PLAIN,
            (50, 20),
            &[TICKET, queue, exchange, Arg::Short("#"), Arg::Bits(0), NO_TABLE],
        ),
        6 => client.call(
            PLAIN,
            (50, 50),
            &[TICKET, queue, exchange, Arg::Short("#"), NO_TABLE],
        ),
        7 => {
            let loose = Arg::Short(["d1", "t0", "v0"][rng.random_range(0..3)]);
            client.call(PLAIN, (50, 30), &[TICKET, loose, Arg::Bits(0)]);
        }
        8 => {
            let name = format!("x{}", client.serial);
            client.call(
                PLAIN,
                (50, 10),
                &[TICKET, Arg::Short(&name), Arg::Bits(4), NO_TABLE],
            );
        }
        _ => {
            let name = format!("x{}", rng.random_range(0..10));
            client.call(
                PLAIN,
                (50, 10),
                &[TICKET, Arg::Short(&name), Arg::Bits(1), NO_TABLE],
            );
        }
    }
}
