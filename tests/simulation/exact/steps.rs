//! What clients do, one thing at a time, and what the model says to it.

use rand::RngExt;

use super::consumers::{Consumer, Place};
use super::content::{Content, Kind};
use super::layout::number;
use super::link::Event;
use super::stage::{CONFIRM, PLAIN, Stage, TX, shown};
use super::transaction::{Mode, Settlement, Told};
use crate::wire::{Arg, TICKET};

impl Stage {
    /// A client does something.
    pub fn act(&mut self) {
        let which = self.rng.random_range(0..self.links.len());
        let channel = [CONFIRM, CONFIRM, PLAIN, TX][self.rng.random_range(0..4)];
        let place = (self.links[which].number, channel);
        match self.rng.random_range(0..100) {
            0..38 => self.publish(which, place),
            38..46 => self.consume(which, place),
            46..52 => self.get(which, place),
            52..80 => self.settle(which, place),
            80..84 => self.qos(which, place),
            84..87 => self.cancel(which, place),
            87..89 if channel != TX => {
                self.tell(&("recover", place));
                self.links[which].send(channel, (60, 110), &[Arg::Bits(1)]);
                self.pump();
                self.model.recover(place);
                self.expect(place, &[(60, 111)]);
            }
            89..91 => self.close_channel(which, place),
            91..93 => self.purge(which, place),
            _ if channel == TX => self.end_transaction(which, place),
            _ => {}
        }
    }

    /// A queue, by its index in the layout.
    pub fn queue(&mut self) -> String {
        let names: Vec<&String> = self.model.queues.keys().collect();
        names[self.rng.random_range(0..names.len())].clone()
    }

    fn consume(&mut self, which: usize, place: Place) {
        let name = self.queue();
        if self.is_shut(which, &name) {
            return self.trespass(which, &name);
        }
        let queue = &self.model.queues[&name];
        let is_exclusive = queue.consumers.iter().any(|consumer| consumer.exclusive);
        let is_refused = queue.spec.is_quorum && self.model.channels[&place].limit > 0;
        if is_exclusive || is_refused || queue.consumers.len() > 3 {
            return;
        }
        let may_be_alone = queue.consumers.is_empty() && !queue.spec.is_single_active;
        let rng = &mut self.rng;
        let no_ack = rng.random_bool(0.25);
        self.serial += 1;
        let consumer = Consumer {
            number: self.serial,
            place,
            priority: rng.random_range(-1..2),
            no_ack,
            exclusive: may_be_alone && rng.random_bool(0.1),
            prefetch: if no_ack {
                0
            } else {
                self.model.channels[&place].prefetch
            },
            timeout: rng.random_bool(0.15).then(|| [0, 8, 30][rng.random_range(0..3)]),
            unacked: 0,
            is_suspended: false,
        };
        let mut table = Vec::new();
        number(&mut table, "x-priority", consumer.priority.into());
        if let Some(timeout) = consumer.timeout {
            number(
                &mut table,
                "x-consumer-timeout",
                i64::try_from(timeout).expect("small"),
            );
        }
        let bits = u8::from(no_ack) << 1 | u8::from(consumer.exclusive) << 2;
        let tag = format!("c{}", consumer.number);
        let args = [
            TICKET,
            Arg::Short(&name),
            Arg::Short(&tag),
            Arg::Bits(bits),
            Arg::Long(&table),
        ];
        self.tell(&("consume", &name, &consumer));
        self.links[which].send(place.1, (60, 20), &args);
        self.pump();
        self.model.queue(&name).add_consumer(consumer);
        self.model.dispatch_and_bury(&name);
        self.model.was_read(&name);
        self.expect(place, &[(60, 21)]);
    }

    fn cancel(&mut self, which: usize, place: Place) {
        let mut all = Vec::new();
        for (name, queue) in &self.model.queues {
            let mine = queue.consumers.iter().filter(|consumer| consumer.place == place);
            all.extend(mine.map(|consumer| (name.clone(), consumer.number)));
        }
        if all.is_empty() {
            return;
        }
        let (name, number) = all.swap_remove(self.rng.random_range(0..all.len()));
        let tag = format!("c{number}");
        self.tell(&("cancel", &name, &tag));
        self.links[which].send(place.1, (60, 30), &[Arg::Short(&tag), Arg::Bits(0)]);
        self.pump();
        let now = self.model.now;
        self.model.queue(&name).remove_consumer(number, now);
        if self.model.delete_if_unused(&name) {
            return self.expect(place, &[(60, 31)]);
        }
        if self.model.queue(&name).spec.is_single_active {
            self.model.dispatch_and_bury(&name);
        }
        self.expect(place, &[(60, 31)]);
    }

    fn get(&mut self, which: usize, place: Place) {
        let name = self.queue();
        if self.is_shut(which, &name) {
            return self.trespass(which, &name);
        }
        let spec = &self.model.queues[&name].spec;
        if spec.is_quorum && spec.is_single_active {
            return;
        }
        let no_ack = self.rng.random_bool(0.3);
        self.get_from(which, place, &name, no_ack);
    }

    /// Returns whether there was a message.
    pub fn get_from(&mut self, which: usize, place: Place, name: &str, no_ack: bool) -> bool {
        let args = [TICKET, Arg::Short(name), Arg::Bits(u8::from(no_ack))];
        self.tell(&("get", place, name, no_ack));
        self.links[which].send(place.1, (60, 70), &args);
        self.pump();
        let mut came = std::mem::take(&mut self.events);
        assert_eq!(came.len(), 1, "this came: {}", shown(&came));
        let (at, event) = came.remove(0);
        assert_eq!(at, place);
        let content = match event {
            Event::Method((60, 72), _) => None,
            Event::Content(content) => Some(*content),
            Event::Method(..) => panic!("this came: {event:?}"),
        };
        self.model.get(place, name, no_ack, content.as_ref());
        self.model.was_read(name);
        if let Some(Content { kind, .. }) = &content {
            let queue = self.model.queue(name);
            let is_doubtful = queue.resting.iter().any(|resting| resting.is_unread);
            let left = u32::try_from(queue.ready.len()).expect("few");
            assert!(
                is_doubtful || *kind == Kind::Got(left),
                "{left} are left, not {kind:?}"
            );
        }
        content.is_some()
    }

    pub fn settle(&mut self, which: usize, place: Place) {
        let all = self.model.tags(place);
        if all.is_empty() {
            return;
        }
        let index = self.rng.random_range(0..all.len());
        let multiple = self.rng.random_bool(0.3);
        let tags = if multiple {
            &all[..=index]
        } else {
            &all[index..=index]
        };
        let tag = Arg::U64(all[index]);
        let (settlement, id, bits) = match self.rng.random_range(0..10) {
            0..4 => (Settlement::Ack, (60, 80), u8::from(multiple)),
            4..6 => (Settlement::Discard, (60, 120), u8::from(multiple)),
            6 if !multiple => (Settlement::Discard, (60, 90), 0),
            7 if !multiple => (Settlement::Fail, (60, 90), 1),
            _ => (Settlement::Nack, (60, 120), u8::from(multiple) | 2),
        };
        self.tell(&("settle", place, tags, settlement));
        self.links[which].send(place.1, id, &[tag, Arg::Bits(bits)]);
        self.pump();
        self.model.settles(place, tags, settlement);
    }

    fn qos(&mut self, which: usize, place: Place) {
        let count = self.rng.random_range(0..4);
        let global = self.rng.random_bool(0.4);
        let args = [Arg::U32(0), Arg::U16(count), Arg::Bits(u8::from(global))];
        self.tell(&("qos", place, count, global));
        self.links[which].send(place.1, (60, 10), &args);
        self.pump();
        let channel = self.model.channel(place);
        channel.limit = if global { count } else { 0 };
        if !global {
            channel.prefetch = count;
        }
        self.model.resume(place);
        self.expect(place, &[(60, 11)]);
    }

    fn close_channel(&mut self, which: usize, place: Place) {
        let args = [Arg::U16(200), Arg::Short(""), Arg::U16(0), Arg::U16(0)];
        self.tell(&("close", place));
        self.links[which].send(place.1, (20, 40), &args);
        self.pump();
        self.model.end_channel(place);
        self.expect(place, &[(20, 41)]);
        self.compare();
        self.open(which, place.1);
    }

    fn purge(&mut self, which: usize, place: Place) {
        let name = self.queue();
        if self.is_shut(which, &name) {
            return self.trespass(which, &name);
        }
        self.tell(&("purge", &name));
        self.links[which].send(place.1, (50, 30), &[TICKET, Arg::Short(&name), Arg::Bits(0)]);
        self.pump();
        let count = self.model.queue(&name).purge();
        let came = std::mem::take(&mut self.events);
        let [(at, Event::Method((50, 31), payload))] = &came[..] else {
            panic!("this came: {}", shown(&came));
        };
        assert_eq!(*at, place);
        let purged = u32::from_be_bytes(*payload[4..].first_chunk().expect("a count"));
        assert_eq!(usize::try_from(purged), Ok(count), "purged from {name}");
    }

    pub fn end_transaction(&mut self, which: usize, place: Place) {
        assert_eq!(self.model.channel(place).mode, Mode::Transaction);
        if self.rng.random_bool(0.15) {
            self.links[which].send(place.1, (90, 30), &[]);
            self.pump();
            self.model.rollback(place);
            self.expect(place, &[(90, 31)]);
            return;
        }
        self.tell(&("commit", place));
        self.links[which].send(place.1, (90, 20), &[]);
        self.pump();
        let returned = self.model.commit(place);
        if self.model.is_ambiguous {
            return;
        }
        let Some(returned) = returned else {
            self.expect(place, &[(20, 40)]);
            self.compare();
            self.links[which].send(place.1, (20, 41), &[]);
            self.open(which, place.1);
            return;
        };
        let last = self.events.pop();
        let is_ok = matches!(&last, Some((at, Event::Method((90, 21), _))) if *at == place);
        assert!(is_ok, "this came: {last:?}");
        let told = Told {
            returned,
            ..Told::default()
        };
        self.check_told(place, &told);
    }

    /// A connection is gone without a word, and another one comes.
    pub fn abort(&mut self, which: usize) {
        let mut link = self.links.remove(which);
        self.tell(&("abort", link.number));
        link.connection.terminate();
        self.pump();
        self.model.end_connection(link.number);
        self.compare();
        self.connect_all();
    }
}
