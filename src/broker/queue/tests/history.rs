//! A queue, its model and its disk, and the hand that moves them.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::broker::headroom::Allowance;
use crate::broker::queue::consumers::{ChannelLimit, ConsumerOptions, ConsumerSlot};
use crate::broker::queue::effects::{DeadLetter, DeathReason, Delivery, DeliveryHandle, Effects};
use crate::broker::queue::settings::{Overflow, QueueSettings};
use crate::broker::queue::{Got, Origin, Queue, QueueOptions, Settlement};
use crate::clock::Timestamp;
use crate::message::Message;
use crate::store::Position;

use super::disk::{Answer, Disk, ReadMax};
use super::model::{Death, Expected, Model, OFFER_INTERVAL, OUTBOX_BYTES_MAX, OUTBOX_BYTES_MIN};

/// A queue that wants to be called again at once, so many times, spins.
const TICKS_MAX: usize = 20;

/// A message to publish.
#[derive(Clone, Debug)]
pub struct Content {
    pub persistent: bool,
    /// Body bytes beyond the first eight.
    pub padding: usize,
    pub priority: Option<u8>,
    pub expiration: Option<u64>,
}

/// Indices are taken modulo what there is.
#[derive(Clone, Debug)]
pub enum Step {
    /// All in one batch.
    Publish(Vec<Content>),
    Get {
        no_ack: bool,
    },
    Settle {
        which: usize,
        count: usize,
        settlement: Settlement,
    },
    AddConsumer {
        priority: i64,
        no_ack: bool,
        prefetch: u16,
        is_limited: bool,
        timeout_ms: Option<u64>,
    },
    RemoveConsumer {
        which: usize,
        /// Its channel ends: it gives back what it holds before it goes.
        gives_back: bool,
    },
    /// A consumer's socket takes so many deliveries.
    Written {
        which: usize,
        count: usize,
    },
    SetLimit {
        limit: u16,
    },
    Purge,
    /// The disk writes so many wishes.
    Write {
        count: usize,
    },
    /// The disk answers a read, with so many messages at most, after so many looks.
    Answer {
        messages: usize,
        looks: usize,
    },
    /// The broker dies, and starts from what was written.
    Crash {
        in_stretch: usize,
    },
    /// Time goes on. The queue is called when it asked for it, or it is not.
    Advance {
        ms: u64,
        punctual: bool,
    },
    /// The queue is called, if it asked for it.
    Tick,
    /// Somebody declares the queue again.
    Touch,
    /// Memory is short, or no more.
    Narrow {
        bytes: usize,
    },
    /// A policy changes.
    SetSettings(QueueSettings),
    /// What becomes from now on of dead letters that the queue keeps until they are taken.
    Bury(Burying),
}

/// What the queue hears of dead letters that it keeps until they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Burying {
    /// They are taken.
    Taken,
    /// Nobody takes them.
    Refused,
    /// It hears nothing yet.
    Later,
}

fn limit() -> Arc<ChannelLimit> {
    let limit = ChannelLimit::new(0);
    limit.count_from(0);
    Arc::new(limit)
}

fn message(number: u64, content: &Content) -> Message {
    let mut flags: u16 = 0;
    let mut values = Vec::new();
    if content.persistent {
        flags |= 1 << 12;
        values.push(2);
    }
    if let Some(priority) = content.priority {
        flags |= 1 << 11;
        values.push(priority);
    }
    if let Some(expiration) = content.expiration {
        flags |= 1 << 8;
        let text = expiration.to_string();
        values.push(u8::try_from(text.len()).expect("short"));
        values.extend_from_slice(text.as_bytes());
    }
    let mut body = number.to_be_bytes().to_vec();
    body.resize(8 + content.padding, 0);
    Message::new(b"", b"q", &[&flags.to_be_bytes(), &values[..]].concat(), &body)
}

pub struct History {
    options: QueueOptions,
    queue: Queue,
    effects: Effects,
    model: Model,
    disk: Disk,
    limit: Arc<ChannelLimit>,
    published: u64,
    get_waits: bool,
    /// Since when the hand-out opens.
    opening_since: Option<Timestamp>,
    /// Deaths that have to be told next.
    due: VecDeque<Death>,
    /// Letters that have to be offered again next.
    offered: VecDeque<Position>,
    burying: Burying,
    /// Letters that the queue has not heard of.
    unburied: Vec<Position>,
    /// The disk answers at this moment.
    is_answer: bool,
    /// Expired messages that it has just found.
    found_expired: Vec<Message>,
}

impl History {
    pub fn new(options: QueueOptions, settings: QueueSettings) -> Self {
        let now = Timestamp::from_millis(1_000);
        let origin = Origin {
            levels: Vec::new(),
            next: Position(0),
            seen_before: Position(0),
        };
        Self {
            options,
            queue: Queue::new(options, settings.clone(), origin, now),
            effects: Effects::default(),
            model: Model::new(options, settings, now),
            disk: Disk::default(),
            limit: limit(),
            published: 0,
            get_waits: false,
            opening_since: None,
            due: VecDeque::new(),
            offered: VecDeque::new(),
            burying: Burying::Taken,
            unburied: Vec::new(),
            is_answer: false,
            found_expired: Vec::new(),
        }
    }

    /// Takes the steps, and then takes everything out and finds nothing left behind.
    pub fn run(mut self, steps: &[Step]) {
        self.take(steps);
        self.finish();
    }

    pub fn take(&mut self, steps: &[Step]) {
        for step in steps {
            self.step(step);
        }
    }

    /// Messages that consumers hold.
    pub fn held(&self) -> usize {
        self.model.held.len()
    }

    fn now(&self) -> Timestamp {
        self.model.now
    }

    fn step(&mut self, step: &Step) {
        let now = self.now();
        match *step {
            Step::Publish(ref contents) => contents.iter().for_each(|content| self.publish(content)),
            Step::Get { no_ack } => self.get(no_ack),
            Step::Settle {
                which,
                count,
                settlement,
            } => self.settle_some(which, count, settlement),
            Step::AddConsumer {
                priority,
                no_ack,
                prefetch,
                is_limited,
                timeout_ms,
            } => {
                let options = ConsumerOptions {
                    timeout_ms,
                    priority,
                    no_ack,
                    exclusive: false,
                    prefetch: if no_ack { 0 } else { prefetch },
                    limit: (is_limited && !no_ack).then(|| Arc::clone(&self.limit)),
                };
                let slot = self.queue.add_consumer(options.clone());
                self.model.add_consumer(slot, options);
            }
            Step::RemoveConsumer { which, gives_back } => {
                let count = self.model.consumers.len();
                if count > 0 {
                    let slot = self.model.consumers[which % count].slot;
                    self.remove_consumer(slot, gives_back);
                }
            }
            Step::Written { which, count } => self.written(which, count),
            Step::SetLimit { limit } => {
                self.limit.set(limit);
                self.model.limit = limit.into();
                self.resume();
            }
            Step::Purge => assert_eq!(self.queue.purge(&mut self.effects), self.model.purge()),
            Step::Write { count } => self.disk.write(count),
            Step::Answer { messages, looks } => self.answer(ReadMax { messages, looks }),
            Step::Crash { in_stretch } => {
                self.crash(in_stretch);
                self.narrow(usize::MAX);
            }
            Step::Narrow { bytes } => self.narrow(bytes),
            Step::Advance { ms, punctual } => self.advance(ms, punctual),
            Step::Tick => self.tick_while_due(),
            Step::Touch => {
                self.queue.touch(now);
                self.model.unused_since = self.model.unused_since.map(|_| now);
            }
            Step::SetSettings(ref settings) => {
                self.queue.set_settings(settings.clone());
                self.model.settings = settings.clone();
            }
            Step::Bury(burying) => self.burying = burying,
        }
        self.dispatch();
        self.bury();
        self.check();
    }

    /// Tells the queue of letters that it keeps.
    fn bury(&mut self) {
        if self.burying == Burying::Later {
            return;
        }
        let (now, is_taken) = (self.now(), self.burying == Burying::Taken);
        for at in std::mem::take(&mut self.unburied) {
            self.queue.buried(at, is_taken, now, &mut self.effects);
            self.model.buried(at, is_taken);
        }
        self.absorb(now);
    }

    /// A message dies: the queue keeps it until it is taken, if its settings say so.
    fn dies(&mut self, told: &DeadLetter, death: Death) {
        assert_eq!(told.reason, death.reason, "of {told:?}");
        assert!(
            told.message.is_same(&death.expected.message),
            "{told:?}, not {death:?}"
        );
        let target = self.model.settings.dead_letter.as_ref();
        let is_kept = target.is_some_and(|target| target.at_least_once);
        assert_eq!(told.kept, is_kept.then_some(death.at), "of {told:?}");
        if is_kept {
            self.unburied.push(death.at);
            self.model.dying.insert(death.at, death);
        }
    }

    fn dispatch(&mut self) {
        let now = self.now();
        self.queue.dispatch(now, &mut self.effects);
        self.absorb(now);
    }

    /// Checks what the queue asks for, and does it. What expired before `floor` was not to be delivered.
    fn absorb(&mut self, floor: Timestamp) {
        let was_paging = self.disk.is_paging() || self.is_answer;
        let is_opening = self.opening_since.is_some();
        let dead = std::mem::take(&mut self.effects.dead);
        let deliveries = std::mem::take(&mut self.effects.deliveries);
        let cancelled = std::mem::take(&mut self.effects.cancelled);
        assert!(cancelled.is_empty(), "only time cancels: {cancelled:?}");
        if self.effects.open {
            self.opening_since = Some(self.now());
        }
        self.disk.take(&mut self.effects);
        let later = self.early_deaths(dead, floor);
        if !deliveries.is_empty() {
            self.check_hand_out();
        }
        for delivery in deliveries {
            self.model.delivered(&delivery, floor);
        }
        // Else it might be that the next message was not in memory.
        let is_exact = !was_paging && !self.disk.is_paging() && !is_opening;
        for death in later {
            let is_missed = self.model.is_ready(&death.message) && self.model.has_able_consumer();
            assert!(!(is_exact && is_missed), "a consumer could have had {death:?}");
            let expected = match death.reason {
                DeathReason::Expired => self.model.expired(&death.message),
                DeathReason::MaxLength => self.model.dropped(&death),
                DeathReason::Rejected | DeathReason::DeliveryLimit => panic!("nobody did that: {death:?}"),
            };
            self.dies(&death, expected);
        }
    }

    /// Books deaths that come before deliveries; returns the others.
    fn early_deaths(&mut self, dead: Vec<DeadLetter>, floor: Timestamp) -> Vec<DeadLetter> {
        let mut later = Vec::new();
        for death in dead {
            if let Some(expected) = self.due.pop_front() {
                self.dies(&death, expected);
                continue;
            }
            let next = self.offered.front().map(|at| self.model.dying[at].clone());
            if let Some(again) = next.filter(|next| next.expected.message.is_same(&death.message)) {
                self.offered.pop_front();
                self.model.dying.remove(&again.at);
                self.dies(&death, again);
                continue;
            }
            self.check_may_die(&death);
            let is_found = self
                .found_expired
                .iter()
                .any(|message| message.is_same(&death.message));
            let is_early = death.reason == DeathReason::Expired
                && (is_found || self.model.expires_at(&death.message).is_some_and(|at| at < floor));
            if is_early {
                assert!(later.is_empty(), "{death:?} is told too late");
                let expected = self.model.expired(&death.message);
                self.dies(&death, expected);
            } else {
                later.push(death);
            }
        }
        assert!(self.due.is_empty(), "deaths that were not told: {:?}", self.due);
        assert!(
            self.offered.is_empty(),
            "letters that were not offered again: {:?}",
            self.offered
        );
        later
    }

    /// While the hand-out opens, and a consumer is there, nothing goes that it may have: that is known when it is open.
    fn check_may_die(&self, death: &DeadLetter) {
        let Some(since) = self.opening_since.filter(|_| !self.model.consumers.is_empty()) else {
            return;
        };
        if !self.model.is_ready(&death.message) {
            return;
        }
        // A page of expired messages may have been on its way by then.
        let end = if self.is_answer { since.plus(1) } else { since };
        let is_over = death.reason == DeathReason::Expired
            && self.model.expires_at(&death.message).is_some_and(|at| at < end);
        assert!(is_over, "a consumer may want it: {death:?}");
    }

    fn check_hand_out(&self) {
        let is_open = !self.options.durable || self.disk.is_marked_from_now_on();
        assert!(is_open, "handed out before the disk knows");
    }

    fn publish(&mut self, content: &Content) {
        let now = self.now();
        self.published += 1;
        let message = message(self.published, content);
        let is_taken = self.queue.publish(message.clone(), now, &mut self.effects);
        let is_refused_dead = !is_taken && self.model.settings.overflow == Overflow::RejectPublishDlx;
        let refused = is_refused_dead.then(|| self.effects.dead.pop().expect("it is dead-lettered"));
        // It may have gone at once; others have gone before it.
        let is_own = |delivery: &mut Delivery| delivery.message.is_same(&message);
        let own = self.effects.deliveries.pop_if(is_own);
        self.absorb(now);
        let (must, may) = self.model.refuses(&message);
        if is_taken {
            assert!(!must, "{content:?} is one too many");
            self.model.publish(message);
            if let Some(delivery) = own {
                self.check_hand_out();
                self.model.delivered(&delivery, now);
            }
            return;
        }
        assert!(may, "{content:?} has room");
        let is_exact = !self.disk.is_paging() && self.opening_since.is_none();
        assert!(
            !is_exact || self.model.ready.is_empty() || !self.model.has_able_consumer(),
            "a consumer could have made room for {content:?}"
        );
        if let Some(refused) = refused {
            assert_eq!((refused.reason, refused.kept), (DeathReason::MaxLength, None));
            assert!(refused.message.is_same(&message), "the one that was refused");
        }
    }

    fn get(&mut self, no_ack: bool) {
        let now = self.now();
        let got = self.queue.get(no_ack, now, |_| true, &mut self.effects);
        self.model.unused_since = self.model.unused_since.map(|_| now);
        self.absorb(now);
        match got {
            Got::Empty => assert!(self.model.ready.is_empty(), "there are ready messages"),
            Got::Later => {
                let may_be_there = self.model.has_ready() || self.model.unread_resting() > 0;
                assert!(may_be_there, "there is nothing to wait for");
                self.get_waits = true;
            }
            Got::Message {
                handle,
                message,
                redelivered,
                remaining,
            } => {
                self.check_hand_out();
                self.model.got(handle, &message, redelivered, no_ack);
                self.check_ready_count(remaining);
            }
        }
    }

    /// Deliveries that their holders have not settled, late or not.
    fn handles(&self) -> Vec<DeliveryHandle> {
        let held = self.model.held.iter().map(|(at, held)| DeliveryHandle {
            position: *at,
            delivery_count: held.expected.delivery_count,
        });
        held.chain(self.model.late.keys().copied()).collect()
    }

    fn settle_some(&mut self, which: usize, count: usize, settlement: Settlement) {
        for _ in 0..count {
            let handles = self.handles();
            if !handles.is_empty() {
                self.settle(handles[which % handles.len()], settlement);
            }
        }
        self.resume();
    }

    fn settle(&mut self, handle: DeliveryHandle, settlement: Settlement) {
        let now = self.now();
        let is_there = self.queue.settle(handle, settlement, now, &mut self.effects);
        let (expected, gave_room, death) = self.model.settle(handle, settlement);
        assert_eq!(is_there, expected, "{handle:?}");
        self.due.extend(death);
        self.absorb(now);
        if gave_room {
            self.limit.release(1);
        }
        let again = self.queue.settle(handle, settlement, now, &mut self.effects);
        assert!(!again, "settled twice");
    }

    /// As the channel does, in one go with what made room.
    fn resume(&mut self) {
        let limited = self.model.consumers.iter().filter(|consumer| consumer.is_limited);
        for consumer in limited {
            self.queue.resume(consumer.slot);
        }
        self.model.note_ability();
    }

    fn remove_consumer(&mut self, slot: ConsumerSlot, gives_back: bool) {
        if gives_back {
            self.queue.suspend_consumer(slot);
            let suspended = self
                .model
                .consumers
                .iter_mut()
                .find(|consumer| consumer.slot == slot);
            suspended.expect("it is there").is_suspended = true;
            self.model.note_ability();
            let of_this = |handle: &DeliveryHandle| {
                let held = self.model.held.get(&handle.position);
                let held = held.filter(|held| held.expected.delivery_count == handle.delivery_count);
                let late = self.model.late.get(handle).copied().flatten();
                held.and_then(|held| held.consumer).or(late) == Some(slot)
            };
            let mine: Vec<_> = self.handles().into_iter().filter(of_this).collect();
            for handle in mine {
                self.settle(handle, Settlement::Lost);
            }
            self.resume();
            self.dispatch();
        }
        let now = self.now();
        let removed = self.model.remove_consumer(slot);
        if removed.is_limited {
            self.limit.release(u32::try_from(removed.unacked).expect("small"));
        }
        self.queue.remove_consumer(slot, now, &mut self.effects);
        let is_last = self.model.consumers.is_empty();
        let delete = std::mem::take(&mut self.effects.delete_queue);
        assert_eq!(delete, self.options.auto_delete && is_last);
        self.absorb(now);
        self.resume();
    }

    fn narrow(&mut self, window_bytes: usize) {
        self.queue.allow(Allowance {
            window_bytes,
            holds_back: false,
        });
        self.model.outbox_bytes_max = OUTBOX_BYTES_MAX.min(window_bytes.max(OUTBOX_BYTES_MIN));
        self.model.note_ability();
    }

    fn written(&mut self, which: usize, count: usize) {
        let consumers = self.model.consumers.len();
        if consumers == 0 {
            return;
        }
        let consumer = &mut self.model.consumers[which % consumers];
        let count = count.min(consumer.outbox.len());
        let bytes = consumer.outbox.drain(..count).sum();
        let messages = u32::try_from(count).expect("small");
        self.queue.written(consumer.slot, messages, bytes);
        self.model.note_ability();
    }

    fn answer(&mut self, max: ReadMax) {
        let Some(answer) = self.disk.answer(max) else {
            return;
        };
        let now = self.now();
        let mut floor = now;
        self.is_answer = true;
        match answer {
            Answer::Page {
                level,
                found,
                is_expired,
                expires_next,
            } => {
                if is_expired {
                    let messages = found.0.iter().map(|entry| entry.message.clone());
                    self.found_expired = messages.collect();
                }
                self.queue
                    .page_loaded(level, found, expires_next, now, &mut self.effects);
            }
            Answer::Opened => {
                self.queue.opened(now, &mut self.effects);
                // What came meanwhile and had to go at once went, if there was who could take it.
                let since = self.opening_since.take().expect("it was asked for");
                if !self.model.consumers.is_empty() {
                    floor = since;
                }
            }
        }
        let get_again = std::mem::take(&mut self.effects.get_again);
        assert_eq!(get_again, std::mem::take(&mut self.get_waits));
        self.absorb(floor);
        self.is_answer = false;
        self.found_expired.clear();
    }

    fn advance(&mut self, ms: u64, punctual: bool) {
        let end = self.now().plus(ms);
        if punctual {
            self.tick_while_due();
            while let Some(due) = self.queue.due_next().filter(|due| *due <= end) {
                self.model.now = due;
                self.tick_while_due();
            }
        }
        self.model.now = end;
    }

    fn tick_while_due(&mut self) {
        for _ in 0..TICKS_MAX {
            let now = self.now();
            if self.queue.due_next().is_none_or(|due| due > now) {
                return;
            }
            self.tick();
        }
        panic!("it wants to be called again and again, at {:?}", self.now());
    }

    fn tick(&mut self) {
        let now = self.now();
        let expires = self.model.is_expired();
        self.queue.tick(now, &mut self.effects);
        assert_eq!(std::mem::take(&mut self.effects.queue_expired), expires);
        if expires {
            let mut next = Self::new(self.options, self.model.settings.clone());
            next.queue.touch(now);
            next.model.now = now;
            next.model.unused_since = Some(now);
            *self = next;
            return;
        }
        let (deaths, cancelled, offered) = self.model.tick();
        self.due.extend(deaths);
        self.offered.extend(offered);
        assert_eq!(std::mem::take(&mut self.effects.cancelled), cancelled);
        self.absorb(now);
        for slot in cancelled {
            self.remove_consumer(slot, false);
        }
        self.dispatch();
        self.bury();
        let overdue = self.model.resting.values().find(|resting| {
            let expires_at = resting.expected.expires_at;
            !resting.is_unread && expires_at.is_some_and(|at| at <= now)
        });
        let is_opening = self.opening_since.is_some() && !self.model.consumers.is_empty();
        assert!(
            overdue.is_none() || is_opening,
            "it should have expired: {overdue:?}"
        );
    }

    fn crash(&mut self, in_stretch: usize) {
        let now = self.now();
        let settings = self.model.settings.clone();
        if !self.options.durable {
            let mut next = Self::new(self.options, settings);
            next.model.now = now;
            next.queue.touch(now);
            next.model.unused_since = Some(now);
            *self = next;
            return;
        }
        let before: Vec<(Position, Expected)> = self
            .model
            .messages()
            .map(|(at, expected)| (at, expected.clone()))
            .collect();
        let unwritten: Vec<_> = before
            .iter()
            .map(|(at, _)| *at)
            .filter(|at| self.disk.is_publish_pending(*at))
            .collect();
        let origin = self.disk.crash(in_stretch);
        for (at, expected) in &before {
            let is_kept = self.disk.asked().contains_key(at);
            let must_be_kept =
                self.options.keeps(expected.message.is_persistent()) && !unwritten.contains(at);
            assert_eq!(is_kept, must_be_kept, "{at:?} after a crash");
        }
        let mut model = Model::new(self.options, settings.clone(), now);
        for (at, stored) in self.disk.asked() {
            let known = before.iter().find(|(other, _)| other == at);
            // What is not known was settled, and the disk did not hear of it: somebody saw it, or it was purged.
            let seen = known.is_some_and(|(_, expected)| expected.seen) || self.model.held.contains_key(at);
            let expected = Expected {
                message: stored.entry.message.clone(),
                priority: self.disk.priority(stored),
                expires_at: stored.entry.expires_at,
                delivery_count: stored.delivery_count,
                seen,
                survived: true,
            };
            model.recover(*at, expected, stored.rests_until);
        }
        model.next = origin.next;
        self.model = model;
        self.get_waits = false;
        self.opening_since = None;
        self.unburied.clear();
        self.limit = limit();
        self.effects = Effects::default();
        self.queue = Queue::new(self.options, settings, origin, now);
    }

    fn check_ready_count(&self, count: u64) {
        let least = self.model.ready.len() as u64;
        let most = least + self.model.unread_resting() as u64;
        assert!(
            (least..=most).contains(&count),
            "{count} ready of {least} to {most}"
        );
    }

    fn check(&self) {
        self.check_ready_count(self.queue.ready_count());
        let waiting = self.queue.ready_count() + self.queue.resting_count() as u64;
        assert_eq!(
            waiting,
            (self.model.ready.len() + self.model.resting.len()) as u64
        );
        assert_eq!(self.queue.unacked_count(), self.model.held.len());
        assert_eq!(self.queue.late.len(), self.model.late.len());
        assert_eq!(self.queue.consumer_count(), self.model.consumers.len());
        self.check_store();
        let due = self.queue.due_next();
        if self.disk.is_idle() {
            assert!(!self.get_waits, "a get waits for nothing");
            let truth = self.model.due().unwrap_or(Timestamp::from_millis(u64::MAX));
            assert!(
                due.is_none_or(|due| due <= truth) || due.is_some(),
                "{due:?}, but {truth:?}"
            );
            assert!(
                due.unwrap_or(Timestamp::from_millis(u64::MAX)) <= truth,
                "{due:?}, but {truth:?}"
            );
            self.check_rest(due.is_none_or(|due| due > self.now()));
        }
    }

    /// The disk is idle: what is left is what has to be left.
    fn check_rest(&self, is_ticked: bool) {
        let is_stuck = !self.model.ready.is_empty() && self.model.has_able_consumer();
        assert!(
            !is_stuck,
            "a consumer waits for nothing: {:?}",
            self.model.ready.keys()
        );
        assert!(
            !self.model.has_to_drop(),
            "too many: {:?}",
            self.model.ready.keys()
        );
        let is_over = |expected: &Expected| expected.expires_at.is_some_and(|at| at <= self.now());
        let expired = self.model.ready.iter().find(|(_, expected)| is_over(expected));
        assert!(expired.is_none(), "it should have expired: {expired:?}");
        if is_ticked {
            let is_rested = self.model.has_ready() && self.model.has_able_consumer();
            assert!(!is_rested, "a consumer waits for who has rested");
            assert!(!self.model.is_expired(), "the queue should be gone");
        }
    }

    /// The store holds what it has to hold, and knows of it what it has to know.
    fn check_store(&self) {
        let stored = self.disk.asked();
        let mut found = 0;
        for (at, expected) in self.model.messages() {
            let must = self.options.keeps(expected.message.is_persistent());
            let Some(stored) = stored.get(&at) else {
                assert!(!must, "{at:?} is not stored");
                continue;
            };
            found += 1;
            assert!(
                stored.entry.message.is_same(&expected.message),
                "another one at {at:?}"
            );
            assert_eq!(
                stored.entry.is_persistent,
                expected.message.is_persistent() || self.options.is_quorum
            );
            assert_eq!(stored.entry.expires_at, expected.expires_at, "expiry of {at:?}");
            assert_eq!(
                stored.delivery_count, expected.delivery_count,
                "returns of {at:?}"
            );
            assert_eq!(
                self.disk.priority(stored),
                expected.priority,
                "priority of {at:?}"
            );
            if let Some(resting) = self.model.resting.get(&at) {
                assert_eq!(stored.rests_until, Some(resting.until), "rest of {at:?}");
            }
        }
        assert_eq!(found, stored.len(), "left in the store");
    }

    /// Lets the disk catch up, takes everything out, and finds nothing left behind.
    fn finish(&mut self) {
        let settings = QueueSettings {
            expires: None,
            consumer_timeout: None,
            ..self.model.settings.clone()
        };
        self.step(&Step::SetSettings(settings));
        self.step(&Step::Bury(Burying::Taken));
        while !self.model.consumers.is_empty() {
            let step = Step::RemoveConsumer {
                which: 0,
                gives_back: false,
            };
            self.step(&step);
        }
        let count = usize::MAX;
        let rounds = (self.model.ready.len() + self.model.resting.len()) * 3 + 10;
        for _ in 0..rounds {
            self.step(&Step::Get { no_ack: false });
            while let Some(handle) = self.handles().first() {
                self.settle(*handle, Settlement::Ack);
            }
            self.step(&Step::Write { count });
            self.step(&Step::Answer {
                messages: count,
                looks: count,
            });
            self.step(&Step::Advance {
                ms: 20,
                punctual: true,
            });
        }
        for ms in [OFFER_INTERVAL, 0] {
            self.step(&Step::Advance { ms, punctual: true });
            self.step(&Step::Write { count });
        }
        assert!(
            self.model.messages().next().is_none(),
            "some can not be had: {:?}",
            self.model
        );
        assert!(self.disk.is_idle());
        assert!(self.queue.late.is_empty());
        assert!(
            self.disk.asked().is_empty(),
            "left in the store: {:?}",
            self.disk.asked()
        );
    }
}
