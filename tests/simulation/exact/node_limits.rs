//! Limits of the whole node, which stand from its start: things are made until one is too many.

use leveret::broker::limits::NodeLimits;
use rand::RngExt;

use super::layout::Layout;
use super::limits::FOURTH;
use super::link::Link;
use super::stage::{Age, LINKS, PLAIN, Stage};
use crate::wire::{Arg, NO_TABLE, TICKET};

/// Exchanges that are there from the start: the default one, `amq.direct`, `amq.fanout`, `amq.topic`, `amq.headers`,
/// `amq.match` and `amq.rabbitmq.trace`.
const PREDECLARED: usize = 7;

/// Channels of each client.
const CHANNELS: usize = 3;

/// What a history needs at a time, and a little more: a connection, a channel, two exchanges, and some queues, of
/// which one is volatile, one a mirror, and one exclusive if there are such.
pub fn node_limits(layout: &Layout, age: Age) -> NodeLimits {
    if age < Age::Common {
        return NodeLimits::default();
    }
    NodeLimits {
        node: "node".to_owned(),
        connections: LINKS + 1,
        channels: LINKS * CHANNELS + 1,
        queues: layout.queues.len() + 3 + usize::from(age == Age::Now),
        exchanges: PREDECLARED + layout.exchanges.len() + 2,
    }
}

impl Stage {
    pub fn reach_node_limit(&mut self) {
        let limits = node_limits(&self.layout, self.age);
        match self.rng.random_range(0..4) {
            0 => {
                self.fill_node((50, 10), limits.queues - self.model.queues.len());
                self.model.coverage.note("the node refused a queue");
            }
            1 => {
                self.fill_node((40, 10), 2);
                self.model.coverage.note("the node refused an exchange");
            }
            2 => self.connect_too_many(),
            _ => self.open_too_many(),
        }
    }

    /// Declares queues or exchanges, of which `room` fit, and one more; then they go again.
    fn fill_node(&mut self, id: (u16, u16), room: usize) {
        self.tell(&("fill the node", id, room));
        let names: Vec<String> = (0..=room).map(|index| format!("another {index}")).collect();
        for (index, name) in names.iter().enumerate() {
            let name = Arg::Short(name);
            let queue = [TICKET, name, Arg::Bits(2), NO_TABLE];
            let exchange = [TICKET, name, Arg::Short("fanout"), Arg::Bits(2), NO_TABLE];
            let args = if id.0 == 50 { &queue[..] } else { &exchange[..] };
            if index < room {
                self.call(id, args);
            } else {
                self.links[0].send(PLAIN, id, args);
            }
        }
        // They go by another client, before all is compared.
        let delete = (id.0, if id.0 == 50 { 40 } else { 20 });
        for name in &names[..room] {
            self.links[1].send(PLAIN, delete, &[TICKET, Arg::Short(name), Arg::Bits(0)]);
        }
        let places = [0, 1].map(|which: usize| (self.links[which].number, PLAIN));
        self.pump();
        let (came, deleted): (Vec<_>, Vec<_>) = std::mem::take(&mut self.events)
            .into_iter()
            .partition(|(at, _)| *at == places[0]);
        self.events = deleted;
        self.expect(places[1], &vec![(delete.0, delete.1 + 1); room]);
        self.events = came;
        self.check_refusal(0, places[0], 406);
    }

    fn connect_too_many(&mut self) {
        self.tell(&"fill the node with connections");
        self.serial += 1;
        self.links.push(Link::new(self.node.connect(), self.serial));
        self.pump();
        assert!(self.is_connection_refused(), "the node has a connection too many");
        let mut link = self.links.pop().expect("it was just pushed");
        link.connection.terminate();
        self.pump();
        assert!(!self.is_connection_refused(), "the node has room again");
        self.model.coverage.note("the node refused a connection");
    }

    /// The last channel of all is refused, and its client with it.
    fn open_too_many(&mut self) {
        self.tell(&"fill the node with channels");
        let number = self.links[1].number;
        self.links[1].send(FOURTH, (20, 10), &[Arg::Short("")]);
        self.pump();
        self.expect((number, FOURTH), &[(20, 11)]);
        self.links[0].may_be_refused = true;
        self.links[0].send(FOURTH, (20, 10), &[Arg::Short("")]);
        self.pump();
        self.end_refused(0, 530);
        let close = [Arg::U16(200), Arg::Short(""), Arg::U16(0), Arg::U16(0)];
        let place = (self.links[0].number, FOURTH);
        self.links[0].send(FOURTH, (20, 40), &close);
        self.pump();
        self.expect(place, &[(20, 41)]);
        self.connect_all();
        self.model.coverage.note("the node refused a channel");
    }
}
