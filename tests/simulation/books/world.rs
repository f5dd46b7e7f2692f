//! A broker, its stores and its clients in one thread, and the hand that moves them.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::actions;
use super::channel::Channel;
use super::client::{Client, number};
use super::ledger::{Ledger, QUEUES};
use super::topology;
use crate::node::Node;

const CLIENTS: usize = 3;

pub struct World {
    pub rng: StdRng,
    pub ledger: Ledger,
    pub clients: Vec<Client>,
    node: Node,
    serial: u64,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let node = Node::new(rng.random_range(1..8), 4000);
        let mut world = Self {
            rng,
            ledger: Ledger::default(),
            clients: Vec::new(),
            node,
            serial: 0,
        };
        world.set_up();
        world
    }

    fn connect(&mut self) -> Client {
        self.serial += 1;
        let connection = self.node.connect();
        Client::new(connection, self.serial)
    }

    /// Declares what every history has, and lets the clients come.
    fn set_up(&mut self) {
        let mut client = self.connect();
        topology::declare_all(&mut client);
        self.clients.push(client);
        self.quiesce();
        self.abort(0);
        while self.clients.len() < CLIENTS {
            let client = self.connect();
            self.clients.push(client);
        }
    }

    pub fn step(&mut self) {
        self.node.advance(self.rng.random_range(0..50));
        self.node.fire();
        let which = self.rng.random_range(0..self.clients.len());
        match self.rng.random_range(0..1000) {
            0..350 => actions::act(self, which),
            350..600 => {
                let max = self.rng.random_range(1..200);
                self.clients[which].feed(max, self.node.now);
            }
            600..800 => {
                let max = self.rng.random_range(1..300);
                self.clients[which].read(max, self.node.now, &mut self.ledger);
            }
            800..880 => self.node.durable.commit(self.rng.random_range(1..5)),
            880..910 => self.node.spill.commit(self.rng.random_range(1..5)),
            910..985 => {
                self.node.durable.answer_load();
                self.node.spill.answer_load();
            }
            985..990 => {
                self.abort(which);
                let client = self.connect();
                self.clients.push(client);
            }
            990..997 => self.quiesce(),
            _ => self.crash(),
        }
        if self.clients[which..]
            .first()
            .is_some_and(|client| client.is_closed)
        {
            self.abort(which);
            let client = self.connect();
            self.clients.push(client);
        }
    }

    /// A client's socket is gone.
    fn abort(&mut self, which: usize) {
        let mut client = self.clients.remove(which);
        client.connection.terminate();
        self.ledger.closing -= client.closing;
        for channel in client.channels.values_mut() {
            channel.forget(&mut self.ledger);
        }
        self.ledger.order_floor = self.ledger.published.len() as u64;
        let exclusive = format!("x{}", client.serial);
        let vhost = self.node.vhost();
        let stays = vhost
            .queues()
            .iter()
            .any(|queue| *queue.definition.name == *exclusive);
        assert!(!stays, "{exclusive} outlives its connection");
    }

    /// The process dies: what was committed stays.
    fn crash(&mut self) {
        self.node.crash(self.node.millis());
        while !self.clients.is_empty() {
            self.abort(0);
        }
        let kept: BTreeSet<(usize, u64)> = self
            .node
            .durable
            .messages()
            .iter()
            .filter_map(|(queue, message)| {
                let id = u64::from_be_bytes(*message.body().first_chunk().expect("a number"));
                Some((number(queue)?, id))
            })
            .collect();
        self.ledger.crashed(&kept);
        self.set_up();
    }

    /// Lets everything happen that can, and looks whether it has.
    pub fn quiesce(&mut self) {
        let mut idle_rounds = 0;
        while idle_rounds < 3 {
            let mut moved = self.node.durable.pending_groups() + self.node.spill.pending_groups() > 0;
            self.node.durable.commit_all();
            self.node.spill.commit_all();
            moved |= self.node.durable.answer_load() | self.node.spill.answer_load();
            for client in &mut self.clients {
                moved |= client.feed(usize::MAX, self.node.now);
                moved |= client.read(usize::MAX, self.node.now, &mut self.ledger);
            }
            idle_rounds = if moved { 0 } else { idle_rounds + 1 };
        }
        for client in self.clients.iter_mut().filter(|client| !client.is_closed) {
            assert!(client.to_broker.is_empty(), "the broker reads no more");
            for channel in client.channels.values_mut() {
                channel.settle_down(&mut self.ledger);
            }
        }
        self.ledger.settle_down();
        self.check_queues();
    }

    fn check_queues(&self) {
        let vhost = self.node.vhost();
        for queue in vhost.queues() {
            let Some(index) = number(&queue.definition.name) else {
                continue;
            };
            let (ready, consumers) = queue.counts();
            self.ledger
                .check_count(index, ready + queue.unacked_count() as u64);
            let channels = || self.clients.iter().flat_map(|client| client.channels.values());
            let mine = |channel: &&Channel| {
                let consumers = channel.consumers.values();
                consumers.filter(|consumer| consumer.queue == Some(index)).count()
            };
            let expected: usize = channels().map(|channel| mine(&channel)).sum();
            assert_eq!(consumers, expected, "consumers of {}", QUEUES[index]);
            let is_stuck = ready > 0 && channels().any(|channel| channel.wants_more(index));
            assert!(
                !is_stuck,
                "{ready} messages of {} wait for nothing",
                QUEUES[index]
            );
        }
    }

    /// Takes everything out and finds nothing left behind.
    pub fn finish(&mut self) {
        self.quiesce();
        while !self.clients.is_empty() {
            self.abort(0);
        }
        let client = self.connect();
        self.clients.push(client);
        topology::consume_all(&mut self.clients[0]);
        loop {
            self.quiesce();
            if !topology::ack_all(self) {
                break;
            }
        }
        topology::delete_others(&mut self.clients[0]);
        self.quiesce();
        self.ledger.check_drained();
        let vhost = self.node.vhost();
        let mut names: Vec<String> = vhost
            .queues()
            .iter()
            .map(|queue| queue.definition.name.to_string())
            .collect();
        names.sort();
        assert_eq!(names, QUEUES, "queues that are left");
        assert_eq!(self.node.durable.messages().len(), 0, "left in the durable store");
        assert_eq!(self.node.spill.messages().len(), 0, "left in the spill store");
    }
}
