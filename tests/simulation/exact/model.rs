//! The broker as its clients should find it: one thing after the other, nothing in between.
//!
//! Where the broker may choose, who of several consumers gets a message, the model looks at what it chose and checks
//! whether it may.

use std::collections::{BTreeMap, VecDeque};

use super::consumers::Place;
use super::content::Content;
use super::detours::Delayed;
use super::layout::Overflow;
use super::message::{Message, Reason};
use super::policies::PolicySpec;
use super::queue::{Arrival, Entry, Letter, Queue};
use super::routing::Topology;
use super::seen::Cache;
use super::transaction::Channel;
use crate::coverage::Coverage;

/// A message that was handed out.
#[derive(Clone, Debug)]
pub struct Held {
    pub queue: String,
    /// Of the queue of that name.
    pub queue_number: u64,
    /// Gone if the delivery was late, or its queue is gone.
    pub entry: Option<Entry>,
    pub consumer: Option<u64>,
    pub times_out_at: Option<u64>,
    /// A transaction settles it.
    pub is_gathered: bool,
}

/// What consumers were given in this step, and the model has not accounted for.
pub type Observed = BTreeMap<u64, VecDeque<Content>>;

#[derive(Clone, Debug)]
pub struct Model {
    pub now: u64,
    pub step: u64,
    way: u64,
    number: u64,
    /// The last step in which things happened of which nobody knows the order.
    pub forked: u64,
    pub queues: BTreeMap<String, Queue>,
    pub topology: Topology,
    pub policies: Vec<PolicySpec>,
    /// What [`LATE`](super::detours::LATE) delays.
    pub delayed: Vec<Delayed>,
    /// Keys that exchanges have seen.
    pub caches: BTreeMap<&'static str, Cache>,
    /// When what full queues refused is offered to them again.
    pub offered_at: u64,
    /// What [`HISTORY`](super::remembering::HISTORY) keeps, oldest first.
    pub history: VecDeque<Message>,
    /// The last steps in which a dead letter went there, and to an exchange that looks at keys.
    pub recorded: u64,
    pub haunted: u64,
    /// Who waits for replies, by address: a channel, and its consumer's number.
    pub requesters: BTreeMap<String, (Place, u64)>,
    pub channels: BTreeMap<Place, Channel>,
    pub held: BTreeMap<(Place, u64), Held>,
    pub observed: Observed,
    /// A channel that may end of its commit: what it is given then never leaves the broker.
    pub committing: Option<Place>,
    /// Whether all queues keep little in memory.
    pub is_small: bool,
    /// Things happened whose order nobody can know, and which make a difference.
    pub is_ambiguous: bool,
    pub coverage: Coverage,
}

impl Model {
    pub fn new(now: u64, is_small: bool, topology: Topology) -> Self {
        Self {
            now,
            step: 0,
            way: 0,
            number: 0,
            forked: 0,
            queues: BTreeMap::new(),
            topology,
            policies: Vec::new(),
            delayed: Vec::new(),
            caches: Cache::all(),
            offered_at: 0,
            history: VecDeque::new(),
            recorded: 0,
            haunted: 0,
            requesters: BTreeMap::new(),
            channels: BTreeMap::new(),
            held: BTreeMap::new(),
            observed: Observed::new(),
            committing: None,
            is_small,
            is_ambiguous: false,
            coverage: Coverage::default(),
        }
    }

    /// If so, nobody can know what comes next; `why` is for the run's table.
    pub fn doubt(&mut self, is_doubtful: bool, why: &'static str) {
        if is_doubtful && !self.is_ambiguous {
            self.is_ambiguous = true;
            self.coverage.note(why);
        }
    }

    /// Several things happen in this step, in any order.
    pub fn fork(&mut self, is_so: bool) {
        if is_so {
            self.forked = self.step;
        }
    }

    /// Whether it is open what a limit lets in: things came in any order, and there is too much of them.
    pub fn is_contested(&self, name: &str) -> bool {
        self.forked == self.step && self.queues[name].is_contested()
    }

    /// A number that was not used before.
    pub fn fresh(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    pub fn queue(&mut self, name: &str) -> &mut Queue {
        self.queues
            .get_mut(name)
            .expect("the step names a queue that is there")
    }

    /// How many deliveries count towards a channel's limit.
    fn outstanding(&self, place: Place) -> usize {
        self.held.range((place, 0)..=(place, u64::MAX)).count()
    }

    /// The queues that take a message, each with the messages for it: those of one queue in order.
    pub fn groups(&self, messages: &[(Message, Vec<String>)]) -> Vec<(String, Vec<usize>)> {
        let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
        for (index, (_, queues)) in messages.iter().enumerate() {
            for queue in queues.iter().filter(|queue| self.queues.contains_key(*queue)) {
                match groups.iter_mut().find(|(name, _)| name == queue) {
                    Some((_, indices)) => indices.push(index),
                    None => groups.push((queue.clone(), vec![index])),
                }
            }
        }
        groups
    }

    /// Routed messages enter their queues. Returns which were refused.
    pub fn publish(&mut self, messages: &[(Message, Vec<String>)]) -> Vec<bool> {
        let mut is_refused = vec![false; messages.len()];
        let groups = self.groups(messages);
        self.fork(groups.len() > 1);
        for (queue, indices) in groups {
            let group = indices.iter().map(|index| messages[*index].0.clone()).collect();
            let (refused, letters) = self.publish_into(&queue, group);
            for index in refused {
                is_refused[indices[index]] = true;
            }
            self.bury(&queue, letters);
        }
        is_refused
    }

    /// Messages enter a queue, if it takes them. Returns which it refused, and who died.
    pub fn publish_into(&mut self, name: &str, messages: Vec<Message>) -> (Vec<usize>, Vec<Letter>) {
        let (mut refused, mut letters) = (Vec::new(), Vec::new());
        self.begin_way(name);
        let is_between = self
            .queue(name)
            .consumers
            .iter()
            .any(|consumer| consumer.is_suspended);
        self.doubt(is_between, "(ended: one single active consumer followed another)");
        // What has expired on disk only counts until it is read, for all of the batch.
        let mut may_be_fuller = false;
        for (index, message) in messages.into_iter().enumerate() {
            if self.is_duplicate(name, &message) {
                continue;
            }
            self.queue(name).press(message.body_len);
            if self.queue(name).refuses(&message) {
                let before = self.queue(name).ready.len();
                self.dispatch(name, &mut letters);
                let queue = self.queue(name);
                may_be_fuller |= queue.is_unread && queue.ready.len() < before;
            }
            let is_doubtful = may_be_fuller && !self.queue(name).refuses(&message);
            self.doubt(is_doubtful, "(ended: a full queue has not read what expired)");
            if self.queue(name).refuses(&message) {
                refused.push(index);
                self.coverage.note("a queue refused a message");
                let settings = &self.queue(name).settings;
                if settings.overflow() == Overflow::RejectPublishDlx && settings.target.is_some() {
                    letters.push(Letter {
                        message,
                        reason: Reason::MaxLength,
                        arrival: None,
                        kept: None,
                    });
                }
                continue;
            }
            let arrival = Arrival {
                step: self.step,
                way: self.way,
                number: self.fresh(),
            };
            let now = self.now;
            let is_kept = self.queue(name).keeps(&message);
            self.remember(name, &message, arrival, is_kept);
            self.queue(name).enter(message, arrival, now);
        }
        self.dispatch(name, &mut letters);
        let is_contested = self.is_contested(name);
        self.doubt(is_contested, "(ended: publishes compete for room)");
        (refused, letters)
    }

    /// Something happens to a queue, by a way of its own.
    pub fn begin_way(&mut self, name: &str) {
        self.way += 1;
        let (step, way) = (self.step, self.way);
        self.queue(name).begin_way(step, way);
    }

    /// Gives messages to consumers, then lets go of what is too old or too much.
    pub fn dispatch(&mut self, name: &str, letters: &mut Vec<Letter>) {
        if !self.queue(name).consumers.is_empty() {
            self.deliver(name, letters);
        }
        let now = self.now;
        let queue = self.queue(name);
        let before = queue.ready.len();
        let was_over = queue.is_over_limit();
        // What has expired on disk only may push out others before it is read.
        let is_doubtful = was_over && queue.is_unread && queue.is_order_of_deaths_seen(now);
        let expired = queue.expire_before(now + 1, letters);
        let mut dropped = 0;
        let mut may_be_another = false;
        while queue.is_over_limit() {
            let victim = queue.victim();
            let entry = queue.ready.remove(victim);
            may_be_another = queue.is_beside_another(&entry);
            queue.kill(entry, Reason::MaxLength, letters);
            dropped += 1;
        }
        self.doubt(may_be_another, "(ended: nobody knows what is oldest)");
        self.doubt(is_doubtful, "(ended: what expired on disk pushes out others)");
        let is_in_the_middle = expired > 0 && expired + dropped < before;
        let priority = self.queue(name).spec.max_priority > 0;
        for _ in 0..expired {
            self.coverage.note("a message expired");
        }
        if is_in_the_middle {
            self.coverage.note("messages expired and others stayed");
        }
        for _ in 0..dropped {
            self.coverage.note("a message was dropped at the head");
            if priority {
                self.coverage.note("a message was dropped by its priority");
            }
        }
    }

    fn deliver(&mut self, name: &str, letters: &mut Vec<Letter>) {
        let now = self.now;
        self.queue(name).expire_before(now, letters);
        while let Some((number, position, index)) = self.find_delivery(name) {
            let content = self
                .observed
                .get_mut(&number)
                .and_then(|contents| contents.remove(position))
                .expect("it was just looked at");
            let queue = self.queue(name);
            let mut entry = queue.ready.remove(index);
            entry.seen = true;
            let own = queue.settings.consumer_timeout;
            let queue_number = queue.number;
            let consumer = queue.consumer(number).expect("it was just found");
            if consumer.no_ack {
                continue;
            }
            consumer.unacked += 1;
            let timeout = consumer.timeout.or(own).filter(|timeout| *timeout > 0);
            let held = Held {
                queue: name.to_owned(),
                queue_number,
                entry: Some(entry),
                consumer: Some(number),
                times_out_at: timeout.map(|timeout| now + timeout),
                is_gathered: false,
            };
            let place = consumer.place;
            self.held.insert((place, content.delivery_tag), held);
        }
    }

    /// A consumer who was given the message that comes next, at which position among what it was given, and that
    /// message's index.
    fn find_delivery(&self, name: &str) -> Option<(u64, usize, usize)> {
        let queue = &self.queues[name];
        let mut able: Vec<_> = queue
            .consumers
            .iter()
            .filter(|other| self.can_take(queue, other))
            .collect();
        able.sort_by_key(|consumer| -consumer.priority);
        for consumer in &able {
            let Some((position, index)) = self.find_next(queue, consumer.number) else {
                continue;
            };
            let better = able[0];
            let is_limited = self.channels[&better.place].limit > 0;
            let may_end = self.committing == Some(better.place);
            // What comes by another way in this step may have filled it before.
            let may_be_full = better.prefetch > 0 && self.forked == self.step;
            assert!(
                better.priority == consumer.priority || is_limited || may_end || may_be_full,
                "{better:?} has precedence over {consumer:?}"
            );
            return Some((consumer.number, position, index));
        }
        None
    }

    /// What a consumer was given next. What is not in the queue yet came before by another way.
    fn find_next(&self, queue: &Queue, consumer: u64) -> Option<(usize, usize)> {
        let is_next = |entry: &Entry| !queue.ready.iter().any(|other| self.is_before(other, entry));
        for (position, content) in self.observed.get(&consumer)?.iter().enumerate() {
            let is_it = |index: &usize| content.is_of(&queue.ready[*index], queue);
            let mut indices = (0..queue.ready.len()).filter(is_it).peekable();
            if indices.peek().is_some() {
                let index = indices.find(|index| is_next(&queue.ready[*index]))?;
                return Some((position, index));
            }
        }
        None
    }

    /// Whether a message has to be handed out before another one of its queue. With little room in memory the broker
    /// may hand out the first of a batch before it looks at the others.
    pub fn is_before(&self, one: &Entry, other: &Entry) -> bool {
        let is_of_batch = self.is_small && one.arrival.step == self.step && one.priority != other.priority;
        !is_of_batch && one.is_before(other, self.step)
    }

    /// Nothing may be left that should have happened by now.
    pub fn settle_down(&self) {
        for (consumer, contents) in &self.observed {
            let queue = self.queues.values().find(|queue| {
                let mut consumers = queue.consumers.iter();
                consumers.any(|other| other.number == *consumer)
            });
            assert!(
                contents.is_empty(),
                "consumer {consumer} was given {contents:?}, which was not next in {queue:?}"
            );
        }
        for (name, queue) in &self.queues {
            let able = queue
                .consumers
                .iter()
                .find(|consumer| self.can_take(queue, consumer));
            let is_stuck = able.is_some() && !queue.ready.is_empty();
            assert!(!is_stuck, "{name} holds {:?}, and {able:?} waits", queue.ready);
        }
    }

    /// All that is in a queue, wherever it is.
    pub fn entries<'a>(&'a self, queue: &'a Queue) -> Vec<&'a Entry> {
        let held = self
            .held
            .values()
            .filter(|held| held.queue_number == queue.number);
        let held = held.filter_map(|held| held.entry.as_ref());
        let resting = queue.resting.iter().map(|resting| &resting.entry);
        let dying = queue.dying.iter().map(|dying| &dying.entry);
        queue
            .ready
            .iter()
            .chain(held)
            .chain(resting)
            .chain(dying)
            .collect()
    }

    /// Whether a consumer may be given a message now.
    pub fn can_take(&self, queue: &Queue, consumer: &super::consumers::Consumer) -> bool {
        let limit = usize::from(self.channels[&consumer.place].limit);
        let has_room = consumer.no_ack || limit == 0 || self.outstanding(consumer.place) < limit;
        has_room && queue.is_willing(consumer)
    }
}
