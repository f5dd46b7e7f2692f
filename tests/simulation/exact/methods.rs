//! Methods that other steps have no use for: questions, conditions, methods without an answer, and those that are
//! refused with their reply code.

use rand::RngExt;

use super::consumers::Place;
use super::link::Event;
use super::method_rows::{ANOTHER, ANSWERED, DURABLE, FANOUT, FATAL, MISSING, NONE, PASSIVE, REFUSED, TAG};
use super::stage::{CONFIRM, PLAIN, Stage, TX, shown};
use crate::wire::{Arg, NO_TABLE, TICKET};

impl Stage {
    /// A client calls a method for itself.
    pub fn call_any(&mut self) {
        let which = self.rng.random_range(0..self.links.len());
        match self.rng.random_range(0..20) {
            0..5 => self.call_answered(which),
            5..8 => self.ask(which),
            8..10 => self.recover_silently(which),
            10..14 => {
                let (channel, id, args, code) = REFUSED[self.rng.random_range(0..REFUSED.len())];
                self.refuse(which, channel, id, args, code);
            }
            14 => self.publish_nowhere(which),
            15..19 => self.break_condition(which),
            _ => {
                let (channel, id, args, code) = FATAL[self.rng.random_range(0..FATAL.len())];
                self.end_by(which, channel, id, args, code);
            }
        }
    }

    fn call_answered(&mut self, which: usize) {
        let rows = ANSWERED[self.rng.random_range(0..ANSWERED.len())];
        for (channel, id, args, answer) in rows {
            self.tell(&("call", which, channel, id));
            let place = (self.links[which].number, *channel);
            self.links[which].send(*channel, *id, args);
            self.pump();
            if *answer == 0 {
                self.model.coverage.note("a method wanted no answer");
                self.expect(place, &[]);
            } else {
                self.expect(place, &[(id.0, *answer)]);
            }
        }
        self.model.coverage.note("a method was answered");
    }

    /// Asks for a queue, and is told what is in it and who consumes.
    fn ask(&mut self, which: usize) {
        let name = self.queue();
        if self.is_shut(which, &name) {
            return self.trespass(which, &name);
        }
        self.tell(&("ask for", which, &name));
        let place = (self.links[which].number, PLAIN);
        self.links[which].send(PLAIN, (50, 10), &[TICKET, Arg::Short(&name), PASSIVE, NO_TABLE]);
        self.pump();
        let came = std::mem::take(&mut self.events);
        let [(at, Event::Method((50, 11), payload))] = &came[..] else {
            panic!("this came: {}", shown(&came));
        };
        assert_eq!(*at, place);
        let count = |at: usize| u32::from_be_bytes(*payload[at..].first_chunk().expect("a count"));
        let (ready, consumers) = (count(5 + name.len()), count(9 + name.len()));
        let now = self.model.now;
        let queue = self.model.queue(&name);
        queue.touch(now);
        let unread = queue.resting.iter().filter(|resting| resting.is_unread).count();
        let (least, ready) = (queue.ready.len(), usize::try_from(ready).expect("few"));
        assert!(
            (least..=least + unread).contains(&ready),
            "{name} was said to hold {ready}, not {least}"
        );
        assert_eq!(
            usize::try_from(consumers),
            Ok(queue.consumers.len()),
            "consumers of {name}"
        );
        self.model.coverage.note("a client asked what a queue holds");
    }

    /// `basic.recover-async`, which has no answer.
    fn recover_silently(&mut self, which: usize) {
        let channel = [CONFIRM, PLAIN][self.rng.random_range(0..2)];
        let place = (self.links[which].number, channel);
        self.tell(&("recover-async", place));
        let holds_any = !self.model.tags(place).is_empty();
        self.links[which].send(channel, (60, 100), &[Arg::Bits(1)]);
        self.pump();
        self.model.recover(place);
        self.expect(place, &[]);
        if holds_any {
            self.model.coverage.note("a channel recovered without an answer");
        }
    }

    /// A message for an exchange that is not there.
    fn publish_nowhere(&mut self, which: usize) {
        let channel = [CONFIRM, PLAIN, TX][self.rng.random_range(0..3)];
        let place = (self.links[which].number, channel);
        self.tell(&("publish to nowhere", place));
        self.links[which].send(channel, (60, 40), &[TICKET, MISSING, TAG, NONE]);
        self.links[which].send_content(channel, &[0, 0], &[0; 8]);
        self.pump();
        self.check_refusal(which, place, 404);
    }

    /// A condition does not hold, or what is asked for is not what is there.
    fn break_condition(&mut self, which: usize) {
        let name = self.queue();
        if self.model.queues[&name].spec.owner.is_some() {
            return self.touch_owned(which, &name);
        }
        let queue = &self.model.queues[&name];
        let (is_quorum, durable) = (queue.spec.is_quorum, queue.spec.durable);
        let auto_delete = u8::from(queue.spec.auto_delete) << 3;
        let is_used = !queue.consumers.is_empty();
        let has_consumer_to_double = queue.consumers.first().map(|consumer| consumer.place);
        let is_full = !queue.ready.is_empty();
        let is_alone = is_quorum && queue.spec.is_single_active;
        let table = queue.spec.table();
        let first = queue
            .consumers
            .first()
            .map(|consumer| format!("c{}", consumer.number));
        let target = Arg::Short(&name);
        match self.rng.random_range(0..6) {
            0 if is_used && !is_quorum => {
                self.refuse(which, PLAIN, (50, 40), &[TICKET, target, Arg::Bits(1)], 406);
            }
            1 if is_full && !is_quorum => {
                self.refuse(which, PLAIN, (50, 40), &[TICKET, target, Arg::Bits(2)], 406);
            }
            0 | 1 if is_quorum => self.end_by(which, PLAIN, (50, 40), &[TICKET, target, Arg::Bits(1)], 540),
            2 if is_alone => self.refuse(which, PLAIN, (60, 70), &[TICKET, target, NONE], 405),
            3 if !is_quorum => {
                let other = Arg::Bits(auto_delete | if durable { 0 } else { 2 });
                self.refuse(
                    which,
                    PLAIN,
                    (50, 10),
                    &[TICKET, target, other, Arg::Long(&table)],
                    406,
                );
            }
            4 if is_used && !is_quorum => {
                let exclusive = Arg::Bits(4);
                self.refuse(
                    which,
                    PLAIN,
                    (60, 20),
                    &[TICKET, target, TAG, exclusive, NO_TABLE],
                    403,
                );
            }
            5 => self.delete_bound(which, &name),
            _ => {
                let Some(((number, channel), tag)) = has_consumer_to_double.zip(first) else {
                    return;
                };
                let Some(which) = self.links.iter().position(|link| link.number == number) else {
                    return;
                };
                self.end_by(
                    which,
                    channel,
                    (60, 20),
                    &[TICKET, target, Arg::Short(&tag), NONE, NO_TABLE],
                    530,
                );
            }
        }
    }

    /// An exchange that has a binding stays if it is to go only without.
    fn delete_bound(&mut self, which: usize, queue: &str) {
        self.call((40, 10), &[TICKET, ANOTHER, FANOUT, DURABLE, NO_TABLE]);
        self.call(
            (50, 20),
            &[TICKET, Arg::Short(queue), ANOTHER, TAG, NONE, NO_TABLE],
        );
        self.refuse(which, PLAIN, (40, 20), &[TICKET, ANOTHER, Arg::Bits(1)], 406);
        if !self.model.is_ambiguous {
            self.call((40, 20), &[TICKET, ANOTHER, NONE]);
        }
    }

    /// A method that is refused with this reply code, which ends its channel; it is opened anew.
    pub fn refuse(&mut self, which: usize, channel: u16, id: (u16, u16), args: &[Arg<'_>], code: u16) {
        self.tell(&("refuse", which, channel, id, code));
        self.links[which].send(channel, id, args);
        let place = (self.links[which].number, channel);
        self.pump();
        self.check_refusal(which, place, code);
    }

    /// What was just sent there was refused so.
    pub fn check_refusal(&mut self, which: usize, place: Place, code: u16) {
        let came = std::mem::take(&mut self.events);
        let [(at, Event::Method((20, 40), payload))] = &came[..] else {
            panic!("{code} was due on {place:?}, this came: {}", shown(&came));
        };
        assert_eq!((*at, &payload[4..6]), (place, &code.to_be_bytes()[..]));
        self.model.coverage.note(match code {
            403 => "a channel ended by 403",
            404 => "a channel ended by 404",
            405 => "a channel ended by 405",
            406 => "a channel ended by 406",
            other => panic!("no channel is to end by {other}"),
        });
        self.model.end_channel(place);
        self.compare();
        if !self.model.is_ambiguous {
            self.links[which].send(place.1, (20, 41), &[]);
            self.open(which, place.1);
        }
    }

    /// A method that costs its client the connection; another client comes.
    fn end_by(&mut self, which: usize, channel: u16, id: (u16, u16), args: &[Arg<'_>], code: u16) {
        self.tell(&("end", which, channel, id, code));
        self.links[which].may_be_refused = true;
        self.links[which].send(channel, id, args);
        self.pump();
        self.end_refused(which, code);
        self.connect_all();
        self.model.coverage.note(match code {
            540 => "a connection ended by 540",
            530 => "a connection ended by 530",
            504 => "a connection ended by 504",
            503 => "a connection ended by 503",
            501 => "a connection ended by 501",
            other => panic!("no connection is to end by {other}"),
        });
    }

    /// The broker has closed a connection with this reply code.
    pub fn end_refused(&mut self, which: usize, code: u16) {
        let mut link = self.links.remove(which);
        assert_eq!(link.refusal, Some(code), "the connection was to end");
        link.connection.terminate();
        self.pump();
        self.model.end_connection(link.number);
        self.compare();
    }
}
