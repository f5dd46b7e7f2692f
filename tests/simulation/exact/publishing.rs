//! What clients publish, and what they are told of it.

use rand::RngExt;

use super::consumers::Place;
use super::content::Kind;
use super::detours::{LATE, ONCE, UNIQUE};
use super::exchanges::{BY_PROPERTIES, CHANCE, EXCHANGES, ExchangeSpec, LOCAL};
use super::layout::KEYS;
use super::link::Event;
use super::message::Message;
use super::queue::Queue;
use super::stage::{Age, CONFIRM, Stage, TX, shown};
use super::transaction::Told;
use super::volatile::VOLATILE;
use crate::wire::{Arg, TICKET};

impl Stage {
    pub fn message(&mut self, exchange: &str, routing_key: &str, priority: Option<u8>) -> Message {
        let rng = &mut self.rng;
        self.published += 1;
        Message {
            id: self.published,
            body_len: rng.random_range(8..40),
            exchange: exchange.to_owned(),
            routing_key: routing_key.to_owned(),
            persistent: rng.random_bool(0.7),
            priority,
            expiration: rng
                .random_bool(0.2)
                .then(|| [0, 5, 20, 100][rng.random_range(0..4)]),
            ..Message::default()
        }
    }

    fn delay(&mut self, exchange: &str) -> Option<i64> {
        let delays = [-5, 0, 5, 5, 20, 60, 200];
        let is_delayed = exchange == LATE && self.rng.random_bool(0.9);
        is_delayed.then(|| delays[self.rng.random_range(0..delays.len())])
    }

    fn duplicate_key(&mut self, exchange: &str) -> Option<String> {
        let has_key = if [ONCE, UNIQUE].contains(&exchange) {
            self.rng.random_bool(0.9)
        } else {
            !self.is_narrow && self.rng.random_bool(0.3)
        };
        let count = if exchange == UNIQUE { 5 } else { 3 };
        has_key.then(|| format!("k{}", self.rng.random_range(0..count)))
    }

    /// An exchange and a routing key.
    fn way(&mut self, place: Place) -> (String, String) {
        let is_volatile = place.1 != TX && self.rng.random_bool(0.1);
        let owned = self.model.owned().filter(|_| self.rng.random_bool(0.1));
        if let Some(name) = owned {
            (String::new(), name)
        } else if is_volatile {
            (String::new(), VOLATILE.to_owned())
        } else if self.rng.random_bool(0.6) {
            let index = self.rng.random_range(0..self.layout.queues.len());
            (String::new(), self.layout.queues[index].name.clone())
        } else {
            let count = self.layout.exchanges.len();
            let mut exchange = if place.1 == TX {
                self.transactional_exchange()
            } else {
                self.layout.exchanges[self.rng.random_range(0..count)].name
            };
            if !self.is_narrow && place.1 != TX && self.rng.random_bool(0.15) {
                exchange = LATE;
            }
            if self.age >= Age::Common && place.1 != TX && self.rng.random_bool(0.25) {
                exchange = [ONCE, UNIQUE, CHANCE, LOCAL][self.rng.random_range(0..4)];
            }
            if self.age == Age::Now && self.rng.random_bool(0.15) {
                let bindings = &self.model.topology.bindings;
                let has_choice = |spec: &&ExchangeSpec| {
                    let of = bindings.iter().filter(|binding| binding.source == spec.name);
                    of.count() > 1
                };
                let spec = EXCHANGES[BY_PROPERTIES].iter().find(has_choice);
                exchange = spec.map_or(exchange, |spec| spec.name);
            }
            if [CHANCE, LOCAL].contains(&exchange) && self.window.is_some() {
                exchange = "fan";
            }
            let key = KEYS[self.rng.random_range(0..KEYS.len())];
            (exchange.to_owned(), key.to_owned())
        }
    }

    pub fn publish(&mut self, which: usize, place: Place) {
        let count = if self.rng.random_bool(0.3) {
            self.rng.random_range(2..5)
        } else {
            1
        };
        let (exchange, key) = self.way(place);
        let priority = self.rng.random_bool(0.5).then(|| self.rng.random_range(0..5));
        let k = self
            .rng
            .random_bool(0.4)
            .then(|| ["x", "y"][self.rng.random_range(0..2)].to_owned());
        let mut keys = |chance| {
            let is_wanted = self.rng.random_bool(chance);
            let key = is_wanted.then(|| format!("q{}", self.rng.random_range(0..4)));
            key.into_iter().collect::<Vec<_>>()
        };
        let (copies, blind_copies) = (keys(0.1), keys(0.05));
        let is_mandatory = self.rng.random_bool(0.4);
        let is_by_chance = exchange == CHANCE || exchange == LOCAL;
        let count = if is_by_chance { 1 } else { count };
        let (asks, address) = self.address(place).unzip();
        let mut messages = Vec::new();
        for _ in 0..count {
            let mut message = Message {
                k: k.clone(),
                reply_to: asks.clone(),
                copies: copies.clone(),
                blind_copies: blind_copies.clone(),
                delay: self.delay(&exchange),
                duplicate_key: self.duplicate_key(&exchange),
                ..self.message(&exchange, &key, priority)
            };
            message.persistent |= is_by_chance;
            self.adorn(&mut message);
            self.send_message(which, place, &message, is_mandatory);
            message.reply_to.clone_from(&address);
            messages.push((message, is_mandatory));
        }
        self.tell(&("publish", place, &messages));
        let is_cut = count == 1 && self.rng.random_bool(0.3);
        self.pump_with(is_cut);
        if is_by_chance {
            self.see_choice(&messages[0].0);
        }
        let told = self.model.publishes(place, messages);
        self.model.topology.chosen = None;
        self.check_told(place, &told);
    }

    fn send_message(&mut self, which: usize, place: Place, message: &Message, is_mandatory: bool) {
        let args = [
            TICKET,
            Arg::Short(&message.exchange),
            Arg::Short(&message.routing_key),
            Arg::Bits(u8::from(is_mandatory)),
        ];
        let mut body = message.id.to_be_bytes().to_vec();
        body.resize(usize::try_from(message.body_len).expect("small"), 0);
        let link = &mut self.links[which];
        link.send(place.1, (60, 40), &args);
        link.send_content(place.1, &message.properties(), &body);
    }

    /// Publishes a message that enters several queues on disk, in a transaction each; false if there is only one.
    pub fn publish_widely(&mut self) -> bool {
        let queues = self.model.queues.values();
        let takes_all =
            |queue: &&Queue| queue.settings.max_length.is_none() && queue.settings.max_bytes.is_none();
        let queues = queues.filter(takes_all).filter(|queue| queue.spec.durable);
        let mut names = queues.map(|queue| queue.spec.name.clone());
        let Some(first) = names.next() else { return false };
        let copies: Vec<String> = names.collect();
        if copies.is_empty() {
            return false;
        }
        let place = (self.links[0].number, CONFIRM);
        let message = Message {
            copies,
            persistent: true,
            ..self.message("", &first, None)
        };
        self.send_message(0, place, &message, false);
        self.tell(&("publish", place, &message));
        self.pump();
        let told = self.model.publishes(place, vec![(message, false)]);
        self.check_told(place, &told);
        true
    }

    /// The publisher was told this, and nothing else.
    pub fn check_told(&mut self, place: Place, told: &Told) {
        if let Some(window) = &mut self.window {
            return window.promise(place, &told.promised);
        }
        let came = std::mem::take(&mut self.events);
        if self.model.is_ambiguous {
            return;
        }
        let (mut returned, mut confirmed) = (Vec::new(), Vec::new());
        let mut outstanding: Vec<u64> = told.confirmed.iter().map(|(tag, _)| *tag).collect();
        for (at, event) in &came {
            assert_eq!(*at, place, "this came: {}", shown(&came));
            match event {
                Event::Content(content) => {
                    assert_eq!(content.kind, Kind::Returned, "{content:?}");
                    returned.push(content.message.id);
                }
                Event::Method(id @ (60, 80 | 120), payload) => {
                    let tag = u64::from_be_bytes(*payload[4..].first_chunk().expect("a tag"));
                    let is_multiple = payload[12] & 1 == 1;
                    let is_it = |other: &mut u64| *other == tag || (is_multiple && *other < tag);
                    let tags = outstanding.extract_if(.., is_it);
                    confirmed.extend(tags.map(|tag| (tag, *id == (60, 80))));
                }
                Event::Method(..) => panic!("this came: {}", shown(&came)),
            }
        }
        confirmed.sort_unstable();
        assert_eq!(returned, told.returned, "returned");
        assert_eq!(confirmed, told.confirmed, "confirmed");
    }
}
