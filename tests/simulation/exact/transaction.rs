//! What a channel does in the model: publishes, settlements, transactions, and its end.

use std::collections::BTreeSet;

use super::consumers::{Consumer, Place};
use super::content::Content;
use super::detours::Detour;
use super::gathered::Gathered;
use super::message::{Message, Reason};
use super::model::{Held, Model};
use super::queue::{Entry, Return};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Plain,
    Confirm,
    Transaction,
}

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    Ack,
    Discard,
    /// `basic.nack` with requeue, or recover.
    Nack,
    /// `basic.reject` with requeue, or the end of its channel.
    Fail,
}

#[derive(Clone, Debug)]
pub struct Channel {
    pub mode: Mode,
    /// Of the whole channel; 0 is none.
    pub limit: u16,
    /// For consumers to come.
    pub prefetch: u16,
    pub last_publish: u64,
    /// Messages of the transaction and what becomes of them.
    publishes: Vec<(Message, Gathered)>,
    /// Messages of the transaction that are returned.
    returns: Vec<u64>,
    settlements: Vec<(u64, Settlement)>,
}

/// Deliveries of one queue, by its number and name, and what becomes of them.
type Group = (u64, String, Vec<(Held, Settlement)>);

/// What a publisher is told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Numbers of messages that come back.
    pub returned: Vec<u64>,
    /// Publishes, and whether they are acked.
    pub confirmed: Vec<(u64, bool)>,
    /// Publishes that are acked when they are on disk.
    pub promised: Vec<u64>,
}

impl Channel {
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            limit: 0,
            prefetch: 0,
            last_publish: 0,
            publishes: Vec::new(),
            returns: Vec::new(),
            settlements: Vec::new(),
        }
    }
}

impl Model {
    pub fn channel(&mut self, place: Place) -> &mut Channel {
        self.channels.get_mut(&place).expect("the channel is open")
    }

    /// A channel publishes messages, each mandatory or not, so that the broker reads all at once.
    pub fn publishes(&mut self, place: Place, messages: Vec<(Message, bool)>) -> Told {
        let mut told = Told::default();
        if self.channel(place).mode == Mode::Transaction {
            self.gather(place, messages);
            return told;
        }
        let (mut routed, mut detours) = (Vec::new(), Vec::new());
        for (message, is_mandatory) in messages {
            let (queues, detour) = self.pass(&message, is_mandatory);
            if queues.is_empty() && matches!(detour, Detour::None) {
                self.coverage.note("a message reached no queue");
                if is_mandatory {
                    told.returned.push(message.id);
                }
            }
            routed.push((message, queues));
            detours.push(detour);
        }
        let is_confirmed = self.channel(place).mode == Mode::Confirm;
        for (index, is_refused) in self.publish(&routed).into_iter().enumerate() {
            let is_refused = self.settle_detour(&detours[index], is_refused);
            if is_confirmed {
                let is_delayed = matches!(detours[index], Detour::Delayed);
                let is_promised =
                    is_delayed || (!is_refused && self.is_kept(&routed[index].0, &routed[index].1));
                let channel = self.channel(place);
                channel.last_publish += 1;
                told.confirmed.push((channel.last_publish, !is_refused));
                told.promised.extend(is_promised.then_some(channel.last_publish));
                if is_refused {
                    self.coverage.note("a publish was nacked");
                }
            }
        }
        told
    }

    fn gather(&mut self, place: Place, messages: Vec<(Message, bool)>) {
        for (message, is_mandatory) in messages {
            let (gathered, is_returned) = self.foresee(&message, is_mandatory);
            let channel = self.channel(place);
            channel.returns.extend(is_returned.then_some(message.id));
            channel.publishes.push((message, gathered));
        }
    }

    /// Whether a message, and what becomes of it at once, is on disk when it is confirmed. What a queue that is not
    /// durable does with it is not waited for.
    fn is_kept(&self, message: &Message, queues: &[String]) -> bool {
        let mut queues = queues.iter().filter_map(|name| self.queues.get(name));
        let are_durable = queues.clone().all(|queue| queue.spec.durable);
        are_durable && queues.any(|queue| queue.keeps(message))
    }

    /// Whether a transaction publishes anything that has to be on disk before it is committed.
    pub fn promises(&self, place: Place) -> bool {
        self.channels[&place]
            .publishes
            .iter()
            .any(|(message, gathered)| match gathered {
                Gathered::Routed(queues) => self.is_kept(message, queues),
                Gathered::Late(..) => true,
                // What it comes to is seen at the commit.
                Gathered::Remembered => false,
            })
    }

    /// Settles deliveries of a channel, or notes that its transaction does.
    pub fn settles(&mut self, place: Place, tags: &[u64], settlement: Settlement) {
        if self.channel(place).mode == Mode::Transaction {
            for tag in tags {
                self.held.get_mut(&(place, *tag)).expect("it is held").is_gathered = true;
                self.channel(place).settlements.push((*tag, settlement));
            }
            return;
        }
        let all: Vec<_> = tags.iter().map(|tag| (*tag, settlement)).collect();
        self.settle(place, &all);
        self.resume(place);
    }

    fn settle(&mut self, place: Place, all: &[(u64, Settlement)]) {
        let mut groups: Vec<Group> = Vec::new();
        for (tag, settlement) in all {
            let held = self.held.remove(&(place, *tag)).expect("it is held");
            let item = (held.clone(), *settlement);
            match groups
                .iter_mut()
                .find(|(number, ..)| *number == held.queue_number)
            {
                Some((.., items)) => items.push(item),
                None => groups.push((held.queue_number, held.queue, vec![item])),
            }
        }
        self.fork(groups.len() > 1);
        for (number, name, mut items) in groups {
            if self.queues.get(&name).is_none_or(|queue| queue.number != number) {
                continue;
            }
            let is_return = |settlement| matches!(settlement, Settlement::Nack | Settlement::Fail);
            if items.iter().any(|(_, settlement)| is_return(*settlement)) {
                let number = |held: &Held| held.entry.as_ref().map(|entry| entry.arrival.number);
                items.sort_by_key(|(held, _)| std::cmp::Reverse(number(held)));
            }
            self.settle_group(&name, items);
        }
    }

    fn settle_group(&mut self, name: &str, items: Vec<(Held, Settlement)>) {
        let (mut letters, now) = (Vec::new(), self.now);
        self.begin_way(name);
        for (held, settlement) in items {
            let queue = self.queue(name);
            queue.settled(held.consumer);
            let Some(mut entry) = held.entry else {
                self.coverage.note("a late delivery was settled");
                continue;
            };
            match settlement {
                Settlement::Ack => {}
                Settlement::Discard => {
                    entry.returns += 1;
                    entry.rests_until = None;
                    queue.kill(entry, Reason::Rejected, &mut letters);
                }
                Settlement::Nack => queue.take_back(entry, Return::Asked, now, &mut letters),
                Settlement::Fail => queue.take_back(entry, Return::Failed, now, &mut letters),
            }
            self.coverage.note(match settlement {
                Settlement::Ack => "a message was acked",
                Settlement::Discard => "a message was rejected",
                Settlement::Nack | Settlement::Fail => "a message came back",
            });
        }
        self.dispatch(name, &mut letters);
        let is_contested = self.is_contested(name);
        self.doubt(is_contested, "(ended: returns compete for room)");
        self.bury(name, letters);
    }

    /// The channel's limit may have room again.
    pub fn resume(&mut self, place: Place) {
        let is_of = |consumer: &Consumer| consumer.place == place && !consumer.no_ack;
        let names: Vec<String> = self
            .queues
            .iter()
            .filter(|(_, queue)| queue.consumers.iter().any(is_of))
            .map(|(name, _)| name.clone())
            .collect();
        self.fork(names.len() > 1);
        for name in names {
            self.dispatch_and_bury(&name);
        }
    }

    pub fn dispatch_and_bury(&mut self, name: &str) {
        let mut letters = Vec::new();
        self.dispatch(name, &mut letters);
        self.bury(name, letters);
    }

    /// Returns the messages that come back, or `None` if a queue refused one of the others: that ends the channel.
    pub fn commit(&mut self, place: Place) -> Option<Vec<u64>> {
        let channel = self.channel(place);
        let publishes = std::mem::take(&mut channel.publishes);
        let returns = std::mem::take(&mut channel.returns);
        let settlements = std::mem::take(&mut channel.settlements);
        if !publishes.is_empty() && !settlements.is_empty() {
            self.coverage.note("a transaction had publishes and settlements");
        }
        self.fork(true);
        self.committing = Some(place);
        let (routed, detours) = self.pass_gathered(publishes);
        let mut is_refused = false;
        for (detour, refused) in detours.iter().zip(self.publish(&routed)) {
            is_refused |= self.settle_detour(detour, refused);
        }
        self.settle(place, &settlements);
        self.resume(place);
        self.committing = None;
        if is_refused {
            self.coverage.note("a transaction was refused in part");
            // What a consumer without acks was given on its way out is lost, and nobody saw it. What others were given
            // came back for the next consumer, behind what that one was given meanwhile.
            let is_doubtful = self.queues.values().any(|queue| {
                let is_mine = |consumer: &&Consumer| consumer.place == place;
                let (mine, others): (Vec<_>, Vec<_>) = queue.consumers.iter().partition(is_mine);
                let has_both = !mine.is_empty() && !others.is_empty();
                mine.iter().any(|consumer| consumer.no_ack) || (has_both && queue.has_changed(self.step))
            });
            self.doubt(is_doubtful, "(ended: a refused commit ate deliveries)");
            self.end_channel(place);
            return None;
        }
        Some(returns)
    }

    pub fn rollback(&mut self, place: Place) {
        let channel = self.channel(place);
        let publishes = std::mem::take(&mut channel.publishes);
        channel.returns.clear();
        for (tag, _) in std::mem::take(&mut channel.settlements) {
            self.held.get_mut(&(place, tag)).expect("it is held").is_gathered = false;
        }
        if publishes
            .iter()
            .any(|(_, gathered)| !matches!(gathered, Gathered::Routed(_)))
        {
            self.coverage
                .note("a transaction was undone that an exchange would have remembered");
        }
    }

    /// Gives back what a channel holds and no transaction has settled.
    pub fn recover(&mut self, place: Place) {
        let all: Vec<_> = self
            .tags(place)
            .into_iter()
            .map(|tag| (tag, Settlement::Nack))
            .collect();
        self.settle(place, &all);
        self.resume(place);
    }

    /// Deliveries that a channel may settle.
    pub fn tags(&self, place: Place) -> Vec<u64> {
        let held = self.held.range((place, 0)..=(place, u64::MAX));
        held.filter(|(_, held)| !held.is_gathered)
            .map(|((_, tag), _)| *tag)
            .collect()
    }

    /// `basic.get`; `content` is what the broker gave.
    pub fn get(&mut self, place: Place, name: &str, no_ack: bool, content: Option<&Content>) {
        let now = self.now;
        let mut letters = Vec::new();
        let queue = self.queue(name);
        queue.touch(now);
        queue.expire_before(now + 1, &mut letters);
        let queue = &self.queues[name];
        let Some(content) = content else {
            assert!(
                queue.ready.is_empty(),
                "{name} was said to be empty: {:?}",
                queue.ready
            );
            return self.bury(name, letters);
        };
        let is_next = |entry: &Entry| {
            let mut others = queue.ready.iter();
            content.is_of(entry, queue) && !others.any(|other| self.is_before(other, entry))
        };
        let index = queue.ready.iter().position(is_next);
        let index = index.unwrap_or_else(|| panic!("{name} gave {content:?} of {:?}", queue.ready));
        let queue = self.queue(name);
        let mut entry = queue.ready.remove(index);
        entry.seen = true;
        if !no_ack {
            let timeout = queue.settings.consumer_timeout.filter(|timeout| *timeout > 0);
            let held = Held {
                queue: name.to_owned(),
                queue_number: queue.number,
                entry: Some(entry),
                consumer: None,
                times_out_at: timeout.map(|timeout| now + timeout),
                is_gathered: false,
            };
            self.held.insert((place, content.delivery_tag), held);
        }
        self.bury(name, letters);
    }

    /// A channel is gone, with its consumers.
    pub fn end_channel(&mut self, place: Place) {
        self.end_channels(&[place]);
    }

    /// Channels are gone together: first all consumers, then what they hold comes back.
    pub fn end_channels(&mut self, places: &[Place]) {
        self.fork(true);
        let (now, mut suspended, mut emptied) = (self.now, Vec::new(), BTreeSet::new());
        let names: Vec<String> = self.queues.keys().cloned().collect();
        for name in &names {
            let queue = self.queue(name);
            let is_single_active = queue.spec.is_single_active;
            for consumer in &mut queue.consumers {
                if places.contains(&consumer.place) {
                    consumer.is_suspended = true;
                    suspended.push((name.clone(), consumer.number));
                }
            }
            if !is_single_active {
                let gone: Vec<u64> = suspended
                    .extract_if(.., |(of, _)| of == name)
                    .map(|(_, number)| number)
                    .collect();
                for number in gone {
                    self.queue(name).remove_consumer(number, now);
                    emptied.insert(name.clone());
                }
            }
        }
        for place in places {
            self.rollback(*place);
            let all: Vec<_> = self
                .tags(*place)
                .into_iter()
                .map(|tag| (tag, Settlement::Fail))
                .collect();
            if !all.is_empty() {
                self.coverage.note("a channel ended and gave messages back");
            }
            self.settle(*place, &all);
        }
        for name in emptied {
            self.delete_if_unused(&name);
        }
        for (name, number) in suspended {
            self.queue(&name).remove_consumer(number, now);
            if !self.delete_if_unused(&name) {
                self.dispatch_and_bury(&name);
            }
        }
        self.requesters.retain(|_, (place, _)| !places.contains(place));
        for place in places {
            self.channels.remove(place);
        }
    }
}
