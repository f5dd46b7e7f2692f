//! Queues that belong to a connection: nobody else may touch them, and they go with it.

use std::iter;

use rand::RngExt;

use super::layout::{Binding, Destination, KEYS, queue};
use super::method_rows::{NONE, PASSIVE, TAG};
use super::model::Model;
use super::stage::{CONFIRM, PLAIN, Stage, TX};
use crate::wire::{Arg, NO_TABLE, TICKET};

/// Where a client binds its own queue.
const SOURCES: [&str; 3] = ["direct", "fan", "alternating"];

const EXCLUSIVE: Arg<'_> = Arg::Bits(4);
const FAN: Arg<'_> = Arg::Short("fan");

impl Model {
    /// A queue that is exclusive, if there is one.
    pub fn owned(&self) -> Option<String> {
        let mut queues = self.queues.values();
        let owned = queues.find(|queue| queue.spec.owner.is_some())?;
        Some(owned.spec.name.clone())
    }

    /// A connection is gone: first its channels, then its queues with all that they hold.
    pub fn end_connection(&mut self, number: u64) {
        self.end_channels(&[CONFIRM, PLAIN, TX].map(|channel| (number, channel)));
        let queues = self.queues.values();
        let owned = queues.filter(|queue| queue.spec.owner == Some(number));
        let names: Vec<String> = owned.map(|queue| queue.spec.name.clone()).collect();
        for name in names {
            self.coverage.note("an exclusive queue went with its connection");
            self.delete_queue(&name);
        }
    }
}

impl Stage {
    /// A client declares a queue of its own, or somebody does something with the one that there is.
    pub fn own(&mut self) {
        let which = self.rng.random_range(0..self.links.len());
        match self.model.owned() {
            None => self.declare_own(which),
            Some(name) => self.touch_owned(which, &name),
        }
    }

    /// Whether a queue is exclusive to another client.
    pub fn is_shut(&self, which: usize, name: &str) -> bool {
        let owner = self.model.queues[name].spec.owner;
        owner.is_some_and(|owner| owner != self.links[which].number)
    }

    /// Who may touch a queue.
    pub fn toucher(&self, name: &str) -> usize {
        let all = 0..self.links.len();
        all.into_iter()
            .find(|which| !self.model.queues.contains_key(name) || !self.is_shut(*which, name))
            .expect("an owner is there as long as what it owns")
    }

    fn declare_own(&mut self, which: usize) {
        // A name of its own: a transaction may still have messages for one that is gone.
        self.serial += 1;
        let name = format!("own {}", self.serial);
        let count = self.layout.queues.len();
        let rng = &mut self.rng;
        let mut spec = iter::repeat_with(|| queue(rng, name.clone(), count, false))
            .find(|spec| !spec.is_quorum)
            .expect("most are classic");
        spec.durable = false;
        spec.auto_delete = self.rng.random_bool(0.2);
        spec.owner = Some(self.links[which].number);
        spec.arguments.expires = self.rng.random_bool(0.2).then(|| self.rng.random_range(10..60));
        if self.layout.is_calm {
            spec.arguments.avoid_first();
            (spec.arguments.max_length, spec.arguments.max_bytes) = (None, None);
            spec.deduplicates = false;
        }
        self.declare(&spec);
        let binding = Binding {
            source: SOURCES[self.rng.random_range(0..SOURCES.len())].to_owned(),
            destination: Destination::Queue(name),
            key: KEYS[self.rng.random_range(0..2)].to_owned(),
            k: None,
        };
        self.model.topology.bindings.push(binding.clone());
        self.bind(&binding);
    }

    /// Its owner declares it again, or otherwise, or deletes it; others may not.
    pub fn touch_owned(&mut self, which: usize, name: &str) {
        if self.is_shut(which, name) {
            return self.trespass(which, name);
        }
        match self.rng.random_range(0..10) {
            0..4 => {
                let spec = self.model.queues[name].spec.clone();
                self.declare_as_it_is(&spec);
                let now = self.model.now;
                self.model.queue(name).touch(now);
                self.model.coverage.note("an owner declared its queue again");
            }
            4..6 => {
                let table = self.model.queues[name].spec.table();
                let shared = [TICKET, Arg::Short(name), NONE, Arg::Long(&table)];
                self.refuse(which, PLAIN, (50, 10), &shared, 405);
            }
            6..9 => self.claim(which),
            _ => {
                self.tell(&("delete", name));
                let args = [TICKET, Arg::Short(name), NONE];
                self.call_by(which, (50, 40), &args);
                self.model.delete_queue(name);
            }
        }
    }

    /// A queue that is everybody's is declared as one's own.
    fn claim(&mut self, which: usize) {
        let mut specs = self.layout.queues.iter();
        let Some(spec) = specs.find(|spec| !spec.is_quorum).cloned() else {
            return;
        };
        let table = spec.table();
        let bits = Arg::Bits(4 | u8::from(spec.durable) << 1);
        let args = [TICKET, Arg::Short(&spec.name), bits, Arg::Long(&table)];
        self.refuse(which, PLAIN, (50, 10), &args, 405);
    }

    /// Somebody touches what is exclusive to another client.
    pub fn trespass(&mut self, which: usize, name: &str) {
        let name = Arg::Short(name);
        let rows: [((u16, u16), &[Arg<'_>]); 9] = [
            ((50, 10), &[TICKET, name, PASSIVE, NO_TABLE]),
            ((50, 10), &[TICKET, name, EXCLUSIVE, NO_TABLE]),
            ((50, 10), &[TICKET, name, NONE, NO_TABLE]),
            ((50, 20), &[TICKET, name, FAN, TAG, NONE, NO_TABLE]),
            ((50, 50), &[TICKET, name, FAN, TAG, NO_TABLE]),
            ((50, 30), &[TICKET, name, NONE]),
            ((50, 40), &[TICKET, name, NONE]),
            ((60, 20), &[TICKET, name, TAG, NONE, NO_TABLE]),
            ((60, 70), &[TICKET, name, NONE]),
        ];
        let (id, args) = rows[self.rng.random_range(0..rows.len())];
        let channel = [CONFIRM, PLAIN, TX][self.rng.random_range(0..3)];
        self.refuse(which, channel, id, args, 405);
        self.model
            .coverage
            .note("an exclusive queue was refused to another client");
    }
}
