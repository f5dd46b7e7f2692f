//! A broker, its stores and its clients, and what each message has come to.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::topology::{self, LATE, LATER, LEADING, PLAIN, QUEUES, SHARES};
use crate::coverage::Coverage;
use crate::exact::content::{Content, Kind};
use crate::exact::link::{Event, Link};
use crate::exact::message::Message;
use crate::node::Node;
use crate::wire::{Arg, NO_TABLE, TICKET};

const CLIENTS: usize = 3;
const CHANNEL: u16 = 1;

/// Consumers' numbers are the client's times this, and the queue's index.
const CONSUMERS_MAX: u64 = 16;

/// The number of a client's consumer of [`PLAIN`].
fn plain_consumer(client: u64) -> u64 {
    let index = QUEUES
        .iter()
        .position(|queue| *queue == PLAIN)
        .expect("it is one of them");
    client * CONSUMERS_MAX + index as u64
}

/// What is known of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Its publisher was not told yet.
    Sent,
    /// It is somewhere.
    Kept,
    /// Its ack is on its way.
    Ending,
    /// Its publish or its ack was on its way when the client went.
    Doubtful,
    /// Acked, refused, or lost before anybody was told.
    Gone,
}

struct Book {
    fate: Fate,
    source: u64,
    /// When it may be seen first.
    not_before: u64,
    /// It may meet a queue that leads on what it refuses.
    may_lead_on: bool,
}

struct Client {
    link: Link,
    last_publish: u64,
    unconfirmed: BTreeMap<u64, u64>,
    /// Deliveries: the message, and the queue that it came from.
    held: BTreeMap<u64, (u64, usize)>,
    consumers: Vec<u64>,
    /// Cancels of consumers of `plain` that were not answered.
    cancels: usize,
    /// The last message of each publisher that a consumer of `plain` has seen.
    seen: BTreeMap<(u64, u64), u64>,
}

pub struct World {
    rng: StdRng,
    node: Node,
    clients: Vec<Client>,
    books: BTreeMap<u64, Book>,
    serial: u64,
    /// The last message that a consumer of `plain` may have left unseen when it went: another one gets it behind others.
    left_unseen: u64,
    pub coverage: Coverage,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let node = Node::new(rng.random_range(1..8), 3000);
        let mut world = Self {
            rng,
            node,
            clients: Vec::new(),
            books: BTreeMap::new(),
            serial: 0,
            left_unseen: 0,
            coverage: Coverage::default(),
        };
        world.connect(0);
        topology::declare_all(&mut world.clients[0].link, CHANNEL);
        world.quiesce();
        world.connect_all();
        world
    }

    fn connect(&mut self, prefetch: u16) {
        self.serial += 1;
        let mut link = Link::new(self.node.connect(), self.serial);
        link.send(CHANNEL, (20, 10), &[Arg::Short("")]);
        link.send(CHANNEL, (85, 10), &[Arg::Bits(0)]);
        link.send(
            CHANNEL,
            (60, 10),
            &[Arg::U32(0), Arg::U16(prefetch), Arg::Bits(0)],
        );
        self.clients.push(Client {
            link,
            last_publish: 0,
            unconfirmed: BTreeMap::new(),
            held: BTreeMap::new(),
            consumers: Vec::new(),
            cancels: 0,
            seen: BTreeMap::new(),
        });
    }

    fn connect_all(&mut self) {
        while self.clients.len() < CLIENTS {
            let prefetch = self.rng.random_range(0..5);
            self.connect(prefetch);
        }
    }

    pub fn step(&mut self) {
        self.node.advance(self.rng.random_range(0..4));
        self.node.fire();
        let which = self.rng.random_range(0..self.clients.len());
        match self.rng.random_range(0..1000) {
            0..150 => self.publish(which),
            150..170 => self.consume(which),
            170..330 => self.settle(which),
            330..600 => {
                let now = self.node.now;
                self.clients[which].link.feed(now, Some(&mut self.rng));
            }
            600..800 => {
                let max = self.rng.random_range(1..300);
                self.read(which, max);
            }
            800..880 => self.node.durable.commit(self.rng.random_range(1..4)),
            880..910 => self.node.spill.commit(self.rng.random_range(1..4)),
            910..980 => {
                self.node.durable.answer_load();
                self.node.spill.answer_load();
            }
            980..986 => {
                self.coverage.note("a client was gone");
                self.abort(which);
                self.connect_all();
            }
            986..994 => self.quiesce(),
            _ => self.crash(),
        }
    }

    fn publish(&mut self, which: usize) {
        let now = self.node.millis();
        let id = self.books.len() as u64 + 1;
        let rng = &mut self.rng;
        let mut message = Message {
            id,
            body_len: rng.random_range(8..60),
            persistent: true,
            priority: rng.random_bool(0.5).then(|| rng.random_range(0..5)),
            ..Message::default()
        };
        let queue = QUEUES[rng.random_range(0..QUEUES.len())];
        match rng.random_range(0..10) {
            0 | 1 => {
                LATE.clone_into(&mut message.exchange);
                LATER[rng.random_range(0..LATER.len())].clone_into(&mut message.routing_key);
                message.delay = Some(rng.random_range(1..100));
            }
            2 | 3 => {
                SHARES.clone_into(&mut message.exchange);
                message.routing_key = format!("k{}", rng.random_range(0..9));
            }
            _ => queue.clone_into(&mut message.routing_key),
        }
        // The last queues would let go of it.
        let leads_on = message.exchange == SHARES || QUEUES[..LEADING].contains(&&*message.routing_key);
        message.expiration = (leads_on && rng.random_bool(0.3)).then(|| rng.random_range(0..60));
        let client = &mut self.clients[which];
        let args = [
            TICKET,
            Arg::Short(&message.exchange),
            Arg::Short(&message.routing_key),
            Arg::Bits(0),
        ];
        let mut body = id.to_be_bytes().to_vec();
        body.resize(usize::try_from(message.body_len).expect("small"), 0);
        client.link.send(CHANNEL, (60, 40), &args);
        client.link.send_content(CHANNEL, &message.properties(), &body);
        client.last_publish += 1;
        client.unconfirmed.insert(client.last_publish, id);
        let delay = message.delay.unwrap_or_default().unsigned_abs();
        let book = Book {
            fate: Fate::Sent,
            source: client.link.number,
            not_before: now + delay,
            may_lead_on: message.exchange == SHARES || message.routing_key == "in",
        };
        self.books.insert(id, book);
    }

    fn consume(&mut self, which: usize) {
        let client = &mut self.clients[which];
        let index = self.rng.random_range(0..QUEUES.len());
        let number = client.link.number * CONSUMERS_MAX + index as u64;
        let tag = format!("c{number}");
        if let Some(place) = client.consumers.iter().position(|other| *other == number) {
            client.consumers.remove(place);
            client.cancels += usize::from(QUEUES[index] == PLAIN);
            let args = [Arg::Short(&tag), Arg::Bits(0)];
            return client.link.send(CHANNEL, (60, 30), &args);
        }
        client.consumers.push(number);
        let (queue, tag) = (Arg::Short(QUEUES[index]), Arg::Short(&tag));
        let args = [TICKET, queue, tag, Arg::Bits(0), NO_TABLE];
        client.link.send(CHANNEL, (60, 20), &args);
    }

    fn settle(&mut self, which: usize) {
        let client = &mut self.clients[which];
        if client.held.is_empty() {
            return;
        }
        let place = self.rng.random_range(0..client.held.len());
        let tag = *client.held.keys().nth(place).expect("it is one of them");
        let (id, queue) = client.held.remove(&tag).expect("it was just seen");
        let (is_ack, requeue) = (self.rng.random_bool(0.3), self.rng.random_bool(0.5));
        let ends = is_ack || (!requeue && queue >= LEADING);
        if is_ack {
            client
                .link
                .send(CHANNEL, (60, 80), &[Arg::U64(tag), Arg::Bits(0)]);
        } else {
            let bits = Arg::Bits(u8::from(requeue));
            client.link.send(CHANNEL, (60, 90), &[Arg::U64(tag), bits]);
        }
        if ends {
            self.book(id).fate = Fate::Ending;
        }
    }

    fn book(&mut self, id: u64) -> &mut Book {
        self.books.get_mut(&id).expect("only what was published comes")
    }

    /// A client reads some of what there is for it.
    fn read(&mut self, which: usize, max: usize) -> bool {
        let link = &mut self.clients[which].link;
        let has_read = link.read_up_to(max, self.node.now);
        if !link.connection.output().is_empty() {
            self.coverage.note("a delivery was late for its reader");
        }
        let plain_tag = format!("c{}", plain_consumer(link.number));
        for (_, event) in std::mem::take(&mut link.events) {
            match event {
                Event::Content(content) => self.delivered(which, &content),
                Event::Method(id @ (60, 80 | 120), payload) => {
                    let last = u64::from_be_bytes(*payload[4..].first_chunk().expect("a tag"));
                    let first = if payload[12] & 1 == 1 { 0 } else { last };
                    self.confirmed(which, first, last, id == (60, 80));
                }
                Event::Method((60, 31), payload) if payload[5..] == *plain_tag.as_bytes() => {
                    self.clients[which].cancels -= 1;
                    self.left_unseen = self.books.len() as u64;
                }
                Event::Method(id, payload) => {
                    let text = String::from_utf8_lossy(&payload[4..]);
                    assert!(id != (20, 40), "the broker closed the channel: {text}");
                }
            }
        }
        has_read
    }

    fn confirmed(&mut self, which: usize, first: u64, last: u64, is_ack: bool) {
        let unconfirmed = &mut self.clients[which].unconfirmed;
        let tags: Vec<u64> = unconfirmed.range(first..=last).map(|(tag, _)| *tag).collect();
        assert!(!tags.is_empty(), "{last} was confirmed twice");
        let ids: Vec<u64> = tags.iter().filter_map(|tag| unconfirmed.remove(tag)).collect();
        for id in ids {
            let fate = self.book(id).fate;
            if !is_ack {
                self.coverage.note("a publish was refused");
                // A queue that is full may lead on what it refuses.
                self.book(id).fate = if fate == Fate::Sent && !self.book(id).may_lead_on {
                    Fate::Gone
                } else if fate == Fate::Sent {
                    Fate::Doubtful
                } else {
                    fate
                };
            } else if fate == Fate::Sent {
                self.book(id).fate = Fate::Kept;
            }
        }
    }

    fn delivered(&mut self, which: usize, content: &Content) {
        let (id, now) = (content.message.id, self.node.millis());
        let Kind::Deliver(number) = content.kind else {
            panic!("nobody asked for {content:?}");
        };
        let queue = usize::try_from(number % CONSUMERS_MAX).expect("few");
        let holder = self.clients.iter().find(|client| {
            let mut held = client.held.values();
            held.any(|(other, _)| *other == id)
        });
        assert!(holder.is_none(), "{content:?} is held by another client");
        let book = self.book(id);
        let is_there = matches!(book.fate, Fate::Sent | Fate::Kept | Fate::Doubtful);
        assert!(is_there, "{content:?} comes back, and was {:?}", book.fate);
        assert!(now >= book.not_before, "{content:?} comes too early");
        let source = book.source;
        if !content.message.deaths.is_empty() {
            self.coverage.note("a delivery had moved");
        }
        let is_known_order = id > self.left_unseen && self.clients.iter().all(|client| client.cancels == 0);
        let client = &mut self.clients[which];
        client.held.insert(content.delivery_tag, (id, queue));
        if QUEUES[queue] == PLAIN && !content.redelivered {
            let last = client.seen.insert((number, source), id);
            let is_in_order = last.is_none_or(|last| last < id);
            assert!(is_in_order || !is_known_order, "{last:?} came before {id}");
        }
    }

    /// A client's socket is gone.
    fn abort(&mut self, which: usize) {
        let mut client = self.clients.remove(which);
        client.link.connection.terminate();
        let number = client.link.number;
        if client.cancels > 0 || client.consumers.contains(&plain_consumer(number)) {
            self.left_unseen = self.books.len() as u64;
        }
        for book in self.books.values_mut() {
            let is_sent = book.fate == Fate::Sent && book.source == number;
            // Whose ack it was is not noted.
            if is_sent || book.fate == Fate::Ending {
                book.fate = Fate::Doubtful;
            }
        }
    }

    /// The process dies: what was committed stays.
    fn crash(&mut self) {
        self.node.crash(self.node.millis());
        if self.node.durable.delayed_messages().len() + self.node.durable.messages().len() > 0 {
            self.coverage.note("the broker died with messages on their way");
        }
        while !self.clients.is_empty() {
            self.abort(0);
        }
        self.check(true);
        self.connect_all();
    }

    /// Each message is where it should be, as often as it should be.
    fn check(&mut self, is_crash: bool) {
        let mut counts: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        let queued = self.node.durable.messages().into_iter();
        let queued = queued.map(|(queue, message)| (queue.to_string(), message));
        let delayed = self.node.durable.delayed_messages().into_iter();
        for (place, message) in queued.chain(delayed.map(|message| (LATE.to_owned(), message))) {
            counts
                .entry(Content::stored(&message).id)
                .or_default()
                .push(place);
        }
        for (id, book) in &mut self.books {
            let places = counts.remove(id).unwrap_or_default();
            let is_there = match places.len() {
                0 => false,
                1 => true,
                _ => panic!("{id} is in {places:?}"),
            };
            match book.fate {
                Fate::Kept => assert!(is_there, "{id} is lost"),
                Fate::Gone => assert!(!is_there, "{id} is in {places:?} again"),
                Fate::Ending => {
                    assert!(!is_there, "{id} was acked, and is in {places:?}");
                    book.fate = Fate::Gone;
                }
                Fate::Sent => panic!("{id} was not confirmed; it is in {places:?}"),
                Fate::Doubtful => {
                    if is_crash {
                        self.coverage.note(if is_there {
                            "a crash kept what was in doubt"
                        } else {
                            "a crash lost what was in doubt"
                        });
                    }
                    book.fate = if is_there { Fate::Kept } else { Fate::Gone };
                }
            }
        }
        assert!(counts.is_empty(), "nobody published {counts:?}");
    }

    /// Lets everything happen that can, and looks whether it has.
    fn quiesce(&mut self) {
        let mut idle_rounds = 0;
        while idle_rounds < 3 {
            let mut moved = self.node.durable.pending_groups() + self.node.spill.pending_groups() > 0;
            self.node.durable.commit_all();
            self.node.spill.commit_all();
            moved |= self.node.durable.answer_load() | self.node.spill.answer_load();
            for which in 0..self.clients.len() {
                moved |= self.clients[which].link.feed(self.node.now, None);
                moved |= self.read(which, usize::MAX);
            }
            idle_rounds = if moved { 0 } else { idle_rounds + 1 };
        }
        let is_read = self.clients.iter().all(|client| client.link.is_read());
        assert!(is_read, "the broker reads no more");
        self.check(false);
    }

    /// Takes everything out and finds nothing left behind.
    pub fn finish(&mut self) {
        while !self.clients.is_empty() {
            self.abort(0);
        }
        self.quiesce();
        self.connect(0);
        let client = &mut self.clients[0];
        for (index, queue) in QUEUES.iter().enumerate() {
            let tag = format!("c{}", client.link.number * CONSUMERS_MAX + index as u64);
            let (queue, tag) = (Arg::Short(queue), Arg::Short(&tag));
            let args = [TICKET, queue, tag, Arg::Bits(0), NO_TABLE];
            client.link.send(CHANNEL, (60, 20), &args);
        }
        // What a full queue has refused is offered again after seconds, and a little at a time.
        for _ in 0..200 {
            self.quiesce();
            let client = &mut self.clients[0];
            for (tag, (id, _)) in std::mem::take(&mut client.held) {
                client
                    .link
                    .send(CHANNEL, (60, 80), &[Arg::U64(tag), Arg::Bits(0)]);
                self.books.get_mut(&id).expect("it was delivered").fate = Fate::Ending;
            }
            self.quiesce();
            if self.books.values().all(|book| book.fate == Fate::Gone) {
                break;
            }
            self.node.advance(1000);
            self.node.fire();
        }
        let left: Vec<_> = self
            .books
            .iter()
            .filter(|(_, book)| book.fate != Fate::Gone)
            .collect();
        let left: Vec<_> = left.into_iter().map(|(id, book)| (id, book.fate)).collect();
        assert!(left.is_empty(), "nobody gets {left:?}");
        assert_eq!(self.node.spill.messages().len(), 0, "left in the spill store");
    }
}
