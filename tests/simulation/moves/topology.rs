//! Queues of which none loses a message unasked: each leads on to another, and the last keeps what it gets.

use crate::exact::layout::{number, text};
use crate::exact::link::Link;
use crate::wire::{Arg, NO_TABLE, TICKET};

/// Where messages live; the last two end them when they are rejected.
pub const QUEUES: [&str; 7] = ["in", "rest", "retry", "narrow", "strict", PLAIN, "end"];

/// Without limits: it keeps the order.
pub const PLAIN: &str = "plain";

/// Of these so many lead on.
pub const LEADING: usize = 5;

/// Delays what it is told to.
pub const LATE: &str = "late";

/// Gives each key to one queue.
pub const SHARES: &str = "shares";

/// Routing keys of [`LATE`], which are queues.
pub const LATER: [&str; 4] = ["in", "narrow", "retry", "end"];

fn arguments(queue: &str) -> Vec<u8> {
    let mut table = Vec::new();
    let mut leads_to = |next: &str| {
        text(&mut table, "x-dead-letter-exchange", "");
        text(&mut table, "x-dead-letter-routing-key", next);
    };
    match queue {
        "in" => {
            leads_to("rest");
            number(&mut table, "x-max-length", 3);
            text(&mut table, "x-overflow", "reject-publish-dlx");
            number(&mut table, "x-message-ttl", 90);
            number(&mut table, "x-max-priority", 3);
        }
        "rest" => {
            leads_to("end");
            number(&mut table, "x-max-length", 4);
            number(&mut table, "x-message-ttl", 60);
        }
        "retry" => {
            leads_to("end");
            number(&mut table, "x-delivery-limit", 2);
            text(&mut table, "x-delayed-retry-type", "all");
            number(&mut table, "x-delayed-retry-min", 20);
            number(&mut table, "x-delayed-retry-max", 50);
        }
        "narrow" => {
            leads_to("end");
            number(&mut table, "x-max-length", 2);
            text(&mut table, "x-overflow", "reject-publish");
            number(&mut table, "x-message-ttl", 120);
        }
        "strict" => {
            leads_to("narrow");
            text(&mut table, "x-queue-type", "quorum");
            text(&mut table, "x-dead-letter-strategy", "at-least-once");
            text(&mut table, "x-overflow", "reject-publish");
            number(&mut table, "x-message-ttl", 80);
        }
        _ => {}
    }
    table
}

/// Declares all of it, on a channel that is open.
pub fn declare_all(link: &mut Link, channel: u16) {
    for queue in QUEUES {
        let table = arguments(queue);
        let args = [TICKET, Arg::Short(queue), Arg::Bits(2), Arg::Long(&table)];
        link.send(channel, (50, 10), &args);
    }
    let mut table = Vec::new();
    text(&mut table, "x-delayed-type", "direct");
    let late = [
        TICKET,
        Arg::Short(LATE),
        Arg::Short("x-delayed-message"),
        Arg::Bits(2),
        Arg::Long(&table),
    ];
    link.send(channel, (40, 10), &late);
    let shares = [
        TICKET,
        Arg::Short(SHARES),
        Arg::Short("x-consistent-hash"),
        Arg::Bits(2),
        NO_TABLE,
    ];
    link.send(channel, (40, 10), &shares);
    let later = LATER.map(|queue| (LATE, queue, queue));
    let by_share = ["in", "rest", "retry"].map(|queue| (SHARES, "1", queue));
    for (exchange, key, queue) in later.into_iter().chain(by_share) {
        let (queue, exchange, key) = (Arg::Short(queue), Arg::Short(exchange), Arg::Short(key));
        let args = [TICKET, queue, exchange, key, Arg::Bits(0), NO_TABLE];
        link.send(channel, (50, 20), &args);
    }
}
