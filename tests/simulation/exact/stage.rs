//! The broker and its clients on one side, the model on the other, and the comparison of the two.

use std::collections::BTreeMap;
use std::fmt;

use leveret::connection::Connection;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::consumers::Place;
use super::content::{Content, Kind};
use super::crash::Window;
use super::exchanges::ExchangeSpec;
use super::layout::{Binding, Destination, Layout, QueueSpec, text};
use super::link::{Event, Link};
use super::message::Message;
use super::model::Model;
use super::node_limits::node_limits;
use super::queue::{Entry, Queue};
use super::routing::Topology;
use super::transaction::{Channel, Mode};
use crate::node::Node;
use crate::wire::{Arg, TICKET};

/// Channels of each client.
pub const CONFIRM: u16 = 1;
pub const PLAIN: u16 = 2;
pub const TX: u16 = 3;

pub const LINKS: usize = 2;

/// A broker that has something to do so often, with nothing new, spins.
pub const ROUNDS_MAX: usize = 2000;

/// How a history is drawn: seeds that failed once go on to mean what they meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Age {
    /// As the first ones were.
    Narrow,
    /// Before some were calm.
    Restless,
    /// Before exchanges looked at properties.
    Plain,
    /// Before queues had owners, and users rights.
    Common,
    Now,
}

pub struct Stage {
    pub rng: StdRng,
    pub node: Node,
    pub links: Vec<Link>,
    pub model: Model,
    pub layout: Layout,
    /// Each step is printed.
    is_told: bool,
    /// It is drawn as the first histories were.
    pub is_narrow: bool,
    /// It is drawn as before some histories were calm, and crashes sought out the middle of a step.
    pub is_restless: bool,
    pub age: Age,
    /// Addresses for replies that there were.
    pub addresses: Vec<String>,
    /// Messages that were published.
    pub published: u64,
    /// Clients and consumers that there were.
    pub serial: u64,
    /// What came in this step besides deliveries.
    pub events: Vec<(Place, Event)>,
    /// The disk writes late, and the broker will die.
    pub window: Option<Window>,
}

impl Stage {
    pub fn new(seed: u64, is_told: bool, age: Age) -> Self {
        let is_narrow = age == Age::Narrow;
        let is_restless = is_narrow || age == Age::Restless;
        let mut rng = StdRng::seed_from_u64(seed);
        let is_small = rng.random_bool(0.4);
        let window = if is_small { rng.random_range(1..6) } else { 10_000 };
        let mut layout = Layout::random(&mut rng, age);
        if !is_restless && rng.random_bool(0.5) {
            layout.calm_down();
        }
        if age == Age::Now {
            layout.haunt(&mut rng);
        }
        let node = Node::limited(window, 1 << 20, node_limits(&layout, age));
        let topology = Topology {
            exchanges: layout.exchanges.clone(),
            bindings: layout.bindings.clone(),
            chosen: None,
        };
        let model = Model::new(node.millis(), is_small, topology);
        let mut stage = Self {
            rng,
            node,
            links: Vec::new(),
            model,
            layout,
            is_told,
            is_narrow,
            is_restless,
            age,
            addresses: Vec::new(),
            published: 0,
            serial: 0,
            events: Vec::new(),
            window: None,
        };
        stage.connect_all();
        for exchange in stage.layout.exchanges.clone() {
            stage.declare_exchange(&exchange);
        }
        stage.declare_queues();
        for binding in stage.layout.bindings.clone() {
            stage.bind(&binding);
        }
        stage
    }

    pub fn tell(&self, what: &dyn fmt::Debug) {
        if self.is_told {
            println!("{} at {}: {what:?}", self.model.step, self.node.millis());
        }
    }

    pub fn connect_all(&mut self) {
        while self.links.len() < LINKS {
            self.serial += 1;
            let connection: Connection = self.node.connect();
            self.links.push(Link::new(connection, self.serial));
            for channel in [CONFIRM, PLAIN, TX] {
                self.open(self.links.len() - 1, channel);
            }
        }
    }

    pub fn open(&mut self, which: usize, channel: u16) {
        let link = &mut self.links[which];
        let place = (link.number, channel);
        link.send(channel, (20, 10), &[Arg::Short("")]);
        let (mode, answers) = match channel {
            CONFIRM => {
                link.send(channel, (85, 10), &[Arg::Bits(0)]);
                (Mode::Confirm, vec![(20, 11), (85, 11)])
            }
            TX => {
                link.send(channel, (90, 10), &[]);
                (Mode::Transaction, vec![(20, 11), (90, 11)])
            }
            _ => (Mode::Plain, vec![(20, 11)]),
        };
        self.model.channels.insert(place, Channel::new(mode));
        self.pump();
        self.expect(place, &answers);
    }

    /// Declares the queues of the layout that are not there.
    pub fn declare_queues(&mut self) {
        for spec in self.layout.queues.clone() {
            if !self.model.queues.contains_key(&spec.name) {
                self.declare(&spec);
            }
        }
    }

    pub fn declare(&mut self, spec: &QueueSpec) {
        self.tell(spec);
        self.declare_as_it_is(spec);
        let (number, now, is_small) = (self.model.fresh(), self.model.now, self.model.is_small);
        let mut queue = Queue::new(number, spec.clone(), now);
        queue.is_unread = is_small;
        self.model.queues.insert(spec.name.clone(), queue);
        let settings = self.model.settings_of(&spec.name);
        self.model.queue(&spec.name).settings = settings;
    }

    /// Sends the declare, once more or for the first time. One that is exclusive says that it is durable, which does
    /// not count.
    pub fn declare_as_it_is(&mut self, spec: &QueueSpec) {
        let table = spec.table();
        let is_exclusive = spec.owner.is_some();
        let is_durable = spec.durable || is_exclusive;
        let bits = u8::from(is_durable) << 1 | u8::from(is_exclusive) << 2 | u8::from(spec.auto_delete) << 3;
        let args = [TICKET, Arg::Short(&spec.name), Arg::Bits(bits), Arg::Long(&table)];
        let owner = self.links.iter().position(|link| Some(link.number) == spec.owner);
        self.call_by(owner.unwrap_or(0), (50, 10), &args);
    }

    fn declare_exchange(&mut self, spec: &ExchangeSpec) {
        let (kind, table) = spec.declaration();
        let kind = Arg::Short(kind);
        let args = [
            TICKET,
            Arg::Short(spec.name),
            kind,
            Arg::Bits(2),
            Arg::Long(&table),
        ];
        self.call((40, 10), &args);
    }

    /// The model has the binding already.
    pub fn bind(&mut self, binding: &Binding) {
        self.tell(binding);
        let (which, id, name) = match &binding.destination {
            Destination::Queue(name) => (self.toucher(name), (50, 20), name),
            Destination::Exchange(name) => (0, (40, 30), name),
        };
        let mut table = Vec::new();
        if let Some(k) = &binding.k {
            text(&mut table, "k", k);
        }
        let (source, key) = (Arg::Short(&binding.source), Arg::Short(&binding.key));
        let args = [
            TICKET,
            Arg::Short(name),
            source,
            key,
            Arg::Bits(0),
            Arg::Long(&table),
        ];
        self.call_by(which, id, &args);
        self.model.replay(binding);
    }

    pub fn unbind(&mut self, binding: &Binding) {
        let (source, key) = (Arg::Short(&binding.source), Arg::Short(&binding.key));
        let mut table = Vec::new();
        if let Some(k) = &binding.k {
            text(&mut table, "k", k);
        }
        match &binding.destination {
            Destination::Queue(name) => {
                self.call_by(
                    self.toucher(name),
                    (50, 50),
                    &[TICKET, Arg::Short(name), source, key, Arg::Long(&table)],
                );
            }
            Destination::Exchange(name) => {
                let name = Arg::Short(name);
                self.call(
                    (40, 40),
                    &[TICKET, name, source, key, Arg::Bits(0), Arg::Long(&table)],
                );
            }
        }
    }

    /// A method on a plain channel, which is answered.
    pub fn call(&mut self, id: (u16, u16), args: &[Arg<'_>]) {
        self.call_by(0, id, args);
    }

    /// The same by a certain client.
    pub fn call_by(&mut self, which: usize, id: (u16, u16), args: &[Arg<'_>]) {
        let place = (self.links[which].number, PLAIN);
        self.links[which].send(PLAIN, id, args);
        self.pump();
        let answer = if id == (40, 40) {
            (40, 51)
        } else {
            (id.0, id.1 + 1)
        };
        self.expect(place, &[answer]);
    }

    /// Lets everything happen that can, and takes note of what came.
    pub fn pump(&mut self) {
        self.pump_with(false);
    }

    /// The same, with what is sent cut anywhere or not.
    pub fn pump_with(&mut self, is_cut: bool) {
        let is_writing = self.window.is_none();
        let (mut idle_rounds, mut rounds) = (0, 0);
        while idle_rounds < 2 {
            rounds += 1;
            assert!(rounds < ROUNDS_MAX, "it does not come to rest");
            let mut moved = false;
            if is_writing {
                moved |= self.node.durable.pending_groups() + self.node.spill.pending_groups() > 0;
                self.node.durable.commit_all();
                self.node.spill.commit_all();
                moved |= self.node.durable.answer_load() | self.node.spill.answer_load();
            }
            for link in &mut self.links {
                moved |= link.feed(self.node.now, is_cut.then_some(&mut self.rng));
                moved |= link.read(self.node.now);
            }
            if !moved && self.links.iter().any(|link| link.connection.withholds()) {
                // The model hands out at once.
                self.model.coverage.note("a delivery waited for the disk");
                self.node.durable.commit_all();
                moved = true;
            }
            idle_rounds = if moved { 0 } else { idle_rounds + 1 };
        }
        let is_read = self.links.iter().all(Link::is_read);
        assert!(is_read || !is_writing, "the broker reads no more");
        self.collect();
    }

    fn collect(&mut self) {
        for link in &mut self.links {
            for (channel, event) in link.events.drain(..) {
                let place = (link.number, channel);
                let Event::Content(content) = event else {
                    self.events.push((place, event));
                    continue;
                };
                let Kind::Deliver(consumer) = content.kind else {
                    self.events.push((place, Event::Content(content)));
                    continue;
                };
                if self.is_told {
                    println!("  {content:?}");
                }
                self.model
                    .observed
                    .entry(consumer)
                    .or_default()
                    .push_back(*content);
            }
        }
    }

    /// These methods came, and nothing else.
    pub fn expect(&mut self, place: Place, ids: &[(u16, u16)]) {
        let came: Vec<_> = std::mem::take(&mut self.events);
        if self.model.is_ambiguous || self.window.is_some() {
            return;
        }
        let is_it = |((at, event), id): (&(Place, Event), &(u16, u16))| {
            *at == place && matches!(event, Event::Method(came, _) if came == id)
        };
        let is_right = came.len() == ids.len() && came.iter().zip(ids).all(is_it);
        assert!(
            is_right,
            "{ids:?} was due on {place:?}, this came: {}",
            shown(&came)
        );
    }

    /// Compares all that can be seen, if the model knows.
    pub fn compare(&mut self) {
        if self.model.is_ambiguous {
            return;
        }
        if let Some(window) = &mut self.window {
            self.model.settle_down();
            window.note(&self.model);
            return;
        }
        assert!(
            self.events.is_empty(),
            "this came unasked: {}",
            shown(&self.events)
        );
        self.model.settle_down();
        let vhost = self.node.vhost();
        let mut live: BTreeMap<String, _> = BTreeMap::new();
        for queue in vhost.queues() {
            live.insert(queue.definition.name.to_string(), queue);
        }
        let names = |names: Vec<&String>| names.into_iter().cloned().collect::<Vec<_>>();
        assert_eq!(
            names(live.keys().collect()),
            names(self.model.queues.keys().collect()),
            "queues"
        );
        for (name, queue) in &self.model.queues {
            let live = &live[name];
            let (ready, consumers) = live.counts();
            let unread = queue.resting.iter().filter(|resting| resting.is_unread).count();
            let least = queue.ready.len();
            let resting = queue.resting.len();
            assert!(
                (least..=least + unread).contains(&usize::try_from(ready).expect("few")),
                "{name} has {ready} ready messages, not {:?}",
                queue.ready
            );
            assert!(
                (resting - unread..=resting).contains(&live.resting_count()),
                "{name} has {} resting messages, not {:?}",
                live.resting_count(),
                queue.resting
            );
            assert_eq!(consumers, queue.consumers.len(), "consumers of {name}");
            let held = self.model.held.values();
            let held = held.filter(|held| held.queue_number == queue.number && held.entry.is_some());
            assert_eq!(live.unacked_count(), held.count(), "unacked messages of {name}");
        }
        self.compare_disk();
    }

    fn compare_disk(&self) {
        let mut stored: BTreeMap<String, Vec<Message>> = BTreeMap::new();
        for (queue, message) in self.node.durable.messages() {
            let message = Content::stored(&message);
            stored.entry(queue.to_string()).or_default().push(message);
        }
        for (name, queue) in &self.model.queues {
            let mut left = self.model.entries(queue);
            // Of two that are the same, the first on disk came first.
            left.sort_by_key(|entry| entry.arrival.number);
            let mut previous: Option<&Entry> = None;
            for message in stored.remove(name).unwrap_or_default() {
                let is_it = |entry: &&Entry| entry.message.is_same(&message);
                let found = left.iter().position(is_it);
                let found = found.unwrap_or_else(|| panic!("{name} has stored {message:?}, beside {left:?}"));
                let entry = left.remove(found);
                let is_wrong = previous.is_some_and(|previous| entry.is_earlier(previous));
                assert!(!is_wrong, "{name} has stored {previous:?} before {entry:?}");
                previous = Some(entry);
            }
            // What does not survive is stored only where memory does not suffice.
            left.retain(|entry| queue.keeps(&entry.message));
            assert!(left.is_empty(), "{name} has not stored {left:?}");
        }
        let mut left: Vec<&Message> = self
            .model
            .delayed
            .iter()
            .map(|delayed| &delayed.message)
            .collect();
        for message in self.node.durable.delayed_messages() {
            let message = Content::stored(&message);
            let found = left.iter().position(|other| other.is_same(&message));
            let found = found.unwrap_or_else(|| panic!("delayed on disk is {message:?}, beside {left:?}"));
            left.swap_remove(found);
        }
        assert!(left.is_empty(), "not delayed on disk: {left:?}");
        assert!(stored.is_empty(), "these have no queue: {stored:?}");
    }
}

/// Events in short.
pub fn shown(events: &[(Place, Event)]) -> String {
    let shown = events.iter().map(|(place, event)| match event {
        Event::Method(id, payload) => format!("{place:?} {id:?} {}", String::from_utf8_lossy(&payload[4..])),
        Event::Content(content) => format!("{place:?} {content:?}"),
    });
    shown.collect::<Vec<_>>().join("; ")
}
