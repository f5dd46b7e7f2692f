//! What a user may do: its rights are cut down for a while, and a method is refused for want of one, or not.

use leveret::store::access::{AccessChange, PermissionRow, TopicPermissionRow};
use rand::RngExt;

use super::layout::text;
use super::method_rows::{ANOTHER, DURABLE, FANOUT, NONE, TAG};
use super::stage::{CONFIRM, PLAIN, Stage, TX};
use crate::wire::{Arg, NO_TABLE, TICKET};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    Configure,
    Write,
    Read,
}

/// What is needed for a method, and of what.
type Need<'a> = (Right, &'a str, (u16, u16), &'a [Arg<'a>]);

const Q0: Arg<'_> = Arg::Short("q0");
const FAN: Arg<'_> = Arg::Short("fan");
const TOPIC: Arg<'_> = Arg::Short("topic");

/// A right for everything, and for nothing.
const ALL: &str = ".*";
const NO: &str = "^$";

/// Methods without arguments of their own, and one right of those that each needs.
const NEEDS: [Need<'_>; 14] = [
    (
        Right::Configure,
        "another",
        (50, 10),
        &[TICKET, ANOTHER, DURABLE, NO_TABLE],
    ),
    (Right::Configure, "q0", (50, 40), &[TICKET, Q0, NONE]),
    (
        Right::Configure,
        "another",
        (40, 10),
        &[TICKET, ANOTHER, FANOUT, DURABLE, NO_TABLE],
    ),
    (Right::Configure, "fan", (40, 20), &[TICKET, FAN, NONE]),
    (Right::Read, "q0", (50, 30), &[TICKET, Q0, NONE]),
    (Right::Read, "q0", (60, 20), &[TICKET, Q0, TAG, NONE, NO_TABLE]),
    (Right::Read, "q0", (60, 70), &[TICKET, Q0, NONE]),
    (
        Right::Write,
        "q0",
        (50, 20),
        &[TICKET, Q0, FAN, TAG, NONE, NO_TABLE],
    ),
    (
        Right::Read,
        "fan",
        (50, 20),
        &[TICKET, Q0, FAN, TAG, NONE, NO_TABLE],
    ),
    (Right::Write, "q0", (50, 50), &[TICKET, Q0, FAN, TAG, NO_TABLE]),
    (Right::Read, "fan", (50, 50), &[TICKET, Q0, FAN, TAG, NO_TABLE]),
    (
        Right::Write,
        "fan",
        (40, 30),
        &[TICKET, FAN, TOPIC, TAG, NONE, NO_TABLE],
    ),
    (
        Right::Read,
        "topic",
        (40, 30),
        &[TICKET, FAN, TOPIC, TAG, NONE, NO_TABLE],
    ),
    (
        Right::Read,
        "topic",
        (40, 40),
        &[TICKET, FAN, TOPIC, TAG, NONE, NO_TABLE],
    ),
];

impl Stage {
    /// A user's rights are cut down, and somebody notices.
    pub fn lack_a_right(&mut self) {
        let which = self.rng.random_range(0..self.links.len());
        let channel = [CONFIRM, PLAIN, TX][self.rng.random_range(0..3)];
        match self.rng.random_range(0..10) {
            0..4 => {
                let (right, name, id, args) = NEEDS[self.rng.random_range(0..NEEDS.len())];
                self.lack(right, name);
                self.refuse(which, channel, id, args, 403);
            }
            4 => self.lack_for_argument(which, (50, 10), "x-dead-letter-exchange"),
            5 => self.lack_for_argument(which, (40, 10), "alternate-exchange"),
            6..8 => self.publish_without_right(which, channel),
            8 => return self.lack_a_topic(which, channel),
            _ => self.have_enough(),
        }
        self.allow(ALL, ALL, ALL);
    }

    fn allow(&mut self, configure: &str, write: &str, read: &str) {
        self.change(AccessChange::SetPermission(PermissionRow {
            user: "guest".into(),
            vhost: "/".into(),
            configure: configure.into(),
            write: write.into(),
            read: read.into(),
        }));
    }

    /// All rights but one of one thing.
    fn lack(&mut self, right: Right, name: &str) {
        let queues = self.model.queues.keys().map(String::as_str);
        let exchanges = self.layout.exchanges.iter().map(|spec| spec.name);
        let others = queues.chain(exchanges).chain(["another", "amq.default"]);
        let others: Vec<&str> = others.filter(|other| *other != name).collect();
        let others = format!("^({})$", others.join("|"));
        self.tell(&("lack", right, name));
        let of = |other| if right == other { &*others } else { ALL };
        self.allow(of(Right::Configure), of(Right::Write), of(Right::Read));
        self.model.coverage.note(match right {
            Right::Configure => "a right to configure was missing",
            Right::Write => "a right to write was missing",
            Right::Read => "a right to read was missing",
        });
    }

    /// Who names another exchange in a declare has to write there, and to read what it declares.
    fn lack_for_argument(&mut self, which: usize, id: (u16, u16), argument: &str) {
        let mut table = Vec::new();
        text(&mut table, argument, "fan");
        let table = Arg::Long(&table);
        let queue = [TICKET, ANOTHER, DURABLE, table];
        let exchange = [TICKET, ANOTHER, FANOUT, DURABLE, table];
        let (right, name) = [(Right::Write, "fan"), (Right::Read, "another")][self.rng.random_range(0..2)];
        self.lack(right, name);
        let args = if id.0 == 50 { &queue[..] } else { &exchange[..] };
        self.refuse(which, PLAIN, id, args, 403);
        self.model
            .coverage
            .note("a right for what an argument names was missing");
    }

    /// The exchange may be one that this client has published to.
    fn publish_without_right(&mut self, which: usize, channel: u16) {
        let index = self.rng.random_range(0..=self.layout.exchanges.len());
        let exchange = self.layout.exchanges.get(index).map_or("", |spec| spec.name);
        let name = if exchange.is_empty() {
            "amq.default"
        } else {
            exchange
        };
        self.lack(Right::Write, name);
        self.publish_refused(which, channel, exchange, "q0");
    }

    fn publish_refused(&mut self, which: usize, channel: u16, exchange: &str, key: &str) {
        self.tell(&("publish", which, channel, exchange, key));
        let (exchange, key) = (Arg::Short(exchange), Arg::Short(key));
        self.links[which].send(channel, (60, 40), &[TICKET, exchange, key, NONE]);
        self.links[which].send_content(channel, &[0, 0], &[0; 8]);
        self.pump();
        let place = (self.links[which].number, channel);
        self.check_refusal(which, place, 403);
        self.model.coverage.note("a publish was refused");
    }

    /// Routing keys of a topic exchange are those that begin with `a`.
    fn lack_a_topic(&mut self, which: usize, channel: u16) {
        let (user, vhost, exchange) = ("guest".into(), "/".into(), "topic".into());
        self.change(AccessChange::SetTopicPermission(TopicPermissionRow {
            user,
            vhost,
            exchange,
            write: "^a".into(),
            read: "^a".into(),
        }));
        let key = Arg::Short("b.a");
        match self.rng.random_range(0..4) {
            0 => {
                let args = [TICKET, Q0, TOPIC, key, NONE, NO_TABLE];
                self.refuse(which, channel, (50, 20), &args, 403);
            }
            1 => {
                let args = [TICKET, Q0, TOPIC, key, NO_TABLE];
                self.refuse(which, channel, (50, 50), &args, 403);
            }
            2 => {
                let args = [TICKET, FAN, TOPIC, key, NONE, NO_TABLE];
                self.refuse(which, channel, (40, 30), &args, 403);
            }
            _ => self.publish_refused(which, channel, "topic", "b.a"),
        }
        self.model.coverage.note("a routing key was not allowed");
        self.change(AccessChange::ClearTopicPermission {
            user: "guest".into(),
            vhost: "/".into(),
            exchange: Some("topic".into()),
        });
    }

    /// What is asked for is just what is allowed.
    fn have_enough(&mut self) {
        self.tell(&"just enough rights");
        self.allow("^another$", "^amq\\.default$", NO);
        self.call((50, 10), &[TICKET, ANOTHER, NONE, NO_TABLE]);
        self.call((50, 40), &[TICKET, ANOTHER, NONE]);
        let place = (self.links[0].number, PLAIN);
        let args = [TICKET, Arg::Short(""), Arg::Short("missing"), NONE];
        self.links[0].send(PLAIN, (60, 40), &args);
        self.links[0].send_content(PLAIN, &[0, 0], &[0; 8]);
        self.pump();
        self.expect(place, &[]);
        self.model.coverage.note("rights were just enough");
    }
}
