//! The broker dies: when all is at rest, or in the middle of things that the disk has written in part.
//!
//! In the middle, what is left has to be what the model held after some whole number of steps. Where a step takes
//! several transactions it may also be something in between: then each message has to be where it was before or
//! after, and the history ends.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;

use super::consumers::Place;
use super::content::Content;
use super::detours::LATE;
use super::link::Event;
use super::message::Message;
use super::model::Model;
use super::queue::{Entry, Queue};
use super::remembering::HISTORY;
use super::stage::{CONFIRM, PLAIN, Stage, TX};

/// What happens while the disk writes late.
#[derive(Default)]
pub struct Window {
    /// The model before, and after each step.
    states: Vec<Model>,
    /// What a publisher was told, or will be, and the state that this promises. Without a number it is a commit.
    promises: Vec<(Place, Option<u64>, usize)>,
    /// The last step is a transaction's commit, which is whole or not at all.
    has_commit: bool,
}

/// A copy of a message: one may come to a queue by different ways.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Copy {
    id: u64,
    /// Where it began, in a place of its own: it moves from there, and is one all the time.
    origin: String,
    /// Where it died how often.
    deaths: Vec<(String, String, i64)>,
}

/// How often a message is in a queue.
type Counts = BTreeMap<(String, Copy), usize>;

impl Window {
    /// A step is done.
    pub fn note(&mut self, model: &Model) {
        self.states.push(model.clone());
    }

    /// The step that is under way promises this to a publisher.
    pub fn promise(&mut self, place: Place, publishes: &[u64]) {
        let state = self.states.len();
        self.promises
            .extend(publishes.iter().map(|tag| (place, Some(*tag), state)));
    }

    fn promise_commit(&mut self, place: Place) {
        self.promises.push((place, None, self.states.len()));
    }

    /// The earliest state that may be left after these events.
    fn promised(&self, events: &[(Place, Event)]) -> usize {
        let is_kept = |(place, tag, _): &&(Place, Option<u64>, usize)| {
            events.iter().any(|(at, event)| {
                let Event::Method(id, payload) = event else {
                    return false;
                };
                let acked = || u64::from_be_bytes(*payload[4..].first_chunk().expect("a tag"));
                at == place
                    && match (id, tag) {
                        ((60, 80), Some(tag)) => acked() == *tag || (payload[12] & 1 == 1 && acked() > *tag),
                        ((90, 21), None) => true,
                        _ => false,
                    }
            })
        };
        let kept = self.promises.iter().filter(is_kept);
        kept.map(|(.., state)| *state).max().unwrap_or_default()
    }
}

impl Stage {
    /// The broker dies, and comes back when the wall clock shows any time.
    pub fn crash(&mut self) {
        let now = self.node.millis();
        let hours = 3_600_000 * self.rng.random_range(1..5);
        let wall_clock = match self.rng.random_range(0..10) {
            0 => now - hours,
            1 => now + hours,
            _ => now + self.rng.random_range(0..50),
        };
        if !self.is_restless && self.rng.random_bool(0.7) {
            self.read_all();
        }
        let is_unread = self.model.queues.values().any(|queue| queue.is_unread);
        let window = (!is_unread && self.rng.random_bool(0.7)).then(|| self.work_in_vain());
        if self.model.is_ambiguous {
            return;
        }
        self.tell(&("crash", wall_clock));
        self.model.coverage.note("the broker died");
        self.links.clear();
        self.node.crash(wall_clock);
        if let Some(promised) = window {
            self.find_what_is_left(promised);
        }
        self.events.clear();
        self.model.crash(wall_clock);
        self.tick();
        self.compare();
        self.connect_all();
        self.model.step += 1;
        self.declare_queues();
        self.bind_again();
    }

    /// Gets a message of each queue that may not have read its messages from the disk, so that it does.
    fn read_all(&mut self) {
        if self.model.is_small {
            return;
        }
        let place = (self.links[0].number, PLAIN);
        let may_get =
            |queue: &&Queue| queue.is_unread && !(queue.spec.is_quorum && queue.spec.is_single_active);
        let names = self.model.queues.values().filter(may_get);
        let names: Vec<String> = names.map(|queue| queue.spec.name.clone()).collect();
        for name in &names {
            if self.model.is_ambiguous {
                return;
            }
            self.model.step += 1;
            self.get_from(0, place, name, false);
            self.compare();
        }
    }

    /// Clients work, and the disk writes some of it. Returns the earliest state that may be left.
    fn work_in_vain(&mut self) -> usize {
        let mut window = Window::default();
        window.note(&self.model);
        self.window = Some(window);
        for _ in 0..self.rng.random_range(1..6) {
            if self.model.is_ambiguous {
                break;
            }
            self.model.step += 1;
            let which = self.rng.random_range(0..self.links.len());
            let channel = [CONFIRM, CONFIRM, PLAIN, TX][self.rng.random_range(0..4)];
            let place = (self.links[which].number, channel);
            match self.rng.random_range(0..20) {
                0..9 => self.publish(which, place),
                9..17 => self.settle(which, place),
                _ => {
                    let millis = self.rng.random_range(1..30);
                    self.pass(millis);
                }
            }
            self.compare();
            let groups = self.rng.random_range(0..2);
            self.node.durable.commit(groups);
        }
        if !self.model.is_ambiguous && self.rng.random_bool(0.3) {
            // Its client waits for it, and does nothing more.
            self.model.step += 1;
            let place = (self.links[0].number, TX);
            self.links[0].send(TX, (90, 20), &[]);
            self.pump();
            let window = self.window.as_mut().expect("it was just opened");
            window.has_commit = true;
            if self.model.promises(place) {
                window.promise_commit(place);
            }
            if self.model.commit(place).is_none() {
                self.model.doubt(true, "(ended: a refused commit before a crash)");
            }
            self.compare();
        }
        let has_commit = self.window.as_ref().is_some_and(|window| window.has_commit);
        let before = self.node.durable.pending_groups();
        let chance = if self.is_restless { 0.4 } else { 0.7 };
        if !self.is_narrow && !has_commit && !self.model.is_ambiguous && self.rng.random_bool(chance) {
            // Much happens at once.
            self.model.step += 1;
            let is_wide = !self.is_restless && self.rng.random_bool(0.5) && self.publish_widely();
            if !is_wide {
                let millis = self.rng.random_range(10..60);
                self.pass(millis);
            }
            self.compare();
        }
        let groups = self.node.durable.pending_groups();
        let of_last = groups.saturating_sub(before);
        let missing = if !self.is_restless && of_last > 1 && self.rng.random_bool(0.7) {
            self.rng.random_range(1..of_last)
        } else if !self.is_narrow && self.rng.random_bool(0.5) {
            self.rng.random_range(0..3).min(groups)
        } else {
            groups - self.rng.random_range(0..=groups)
        };
        self.node.durable.commit(groups - missing);
        self.pump();
        let window = self.window.as_ref().expect("it was just opened");
        window.promised(&self.events)
    }

    /// Looks for the state that the crash has left.
    fn find_what_is_left(&mut self, promised: usize) {
        let Window {
            mut states,
            has_commit,
            ..
        } = self.window.take().expect("it was just opened");
        // A queue that is left may be empty.
        let mut left: BTreeMap<String, Vec<Message>> = BTreeMap::new();
        for queue in self.node.vhost().queues() {
            left.insert(queue.definition.name.to_string(), Vec::new());
        }
        for (queue, message) in self.node.durable.messages() {
            left.entry(queue.to_string())
                .or_default()
                .push(Content::stored(&message));
        }
        for message in self.node.durable.delayed_messages() {
            left.entry(LATE.to_owned())
                .or_default()
                .push(Content::stored(&message));
        }
        for message in &self.node.history {
            left.entry(HISTORY.to_owned())
                .or_default()
                .push(Content::stored(message));
        }
        let fitting: Vec<usize> = (0..states.len())
            .filter(|index| states[*index].would_leave(&left))
            .collect();
        let Some(best) = fitting.last().filter(|best| **best >= promised) else {
            self.model
                .coverage
                .note("the broker died in the middle of a step");
            if has_commit {
                states.pop();
            }
            // Something in between may look like an early state: what came has gone again.
            let since = promised.saturating_sub(usize::from(fitting.is_empty()));
            check_counts(&states, &left, since);
            self.model.doubt(true, "(ended: a crash in the middle of a step)");
            return;
        };
        self.model.coverage.note("the broker died between two steps");
        let last = states.last().expect("there is the first");
        if has_commit && best + 1 == states.len() {
            self.model
                .coverage
                .note("the broker died after a commit that was not told");
        }
        last.check_seen(&states[..=*best]);
        let coverage = self.model.coverage.clone();
        let mut model = states[*best].clone();
        model.coverage = coverage;
        for index in fitting {
            model.doubt_whether_left(&states, index);
        }
        model.see_what_was_seen(last);
        model.step = last.step;
        self.model = model;
    }
}

/// Where a copy in a place began.
fn origin<'a>(place: &'a str, message: &'a Message) -> &'a str {
    match &message.first {
        // What is kept there does not go on.
        _ if place == HISTORY => place,
        Some(first) => &first.queue,
        None if message.delay.is_some() => LATE,
        None => place,
    }
}

fn copy(place: &str, message: &Message) -> Copy {
    let deaths = message.deaths.iter();
    let deaths = deaths.map(|death| (death.queue.clone(), death.reason.clone(), death.count));
    Copy {
        id: message.id,
        origin: origin(place, message).to_owned(),
        deaths: deaths.collect(),
    }
}

/// Each message is as often where it is as it was at some time since that state.
fn check_counts(states: &[Model], left: &BTreeMap<String, Vec<Message>>, since: usize) {
    let mut counts = Counts::new();
    for (queue, messages) in left {
        for message in messages {
            *counts.entry((queue.clone(), copy(queue, message))).or_default() += 1;
        }
    }
    let all: Vec<Counts> = states.iter().skip(since).map(Model::counts).collect();
    let totals = |counts: &Counts| {
        let mut totals: BTreeMap<(u64, String), usize> = BTreeMap::new();
        for ((_, copy), count) in counts {
            *totals.entry((copy.id, copy.origin.clone())).or_default() += count;
        }
        totals
    };
    let check = |what: &dyn std::fmt::Debug, count: usize, possible: Vec<usize>| {
        let (least, most) = (possible.iter().min(), possible.iter().max());
        let fits = least.is_some_and(|least| *least <= count) && most.is_some_and(|most| count <= *most);
        assert!(
            fits,
            "{what:?} is there {count} times, and was {possible:?} times"
        );
    };
    let places = all.iter().flat_map(Counts::keys).chain(counts.keys());
    // A dead letter may have come there and gone for others, all in one step.
    let may_have_passed = |copy: &Copy| copy.origin == HISTORY && !copy.deaths.is_empty();
    let places = places.filter(|(_, copy)| !may_have_passed(copy));
    for place in places.clone() {
        let of = |counts: &Counts| counts.get(place).copied().unwrap_or_default();
        check(place, of(&counts), all.iter().map(of).collect());
    }
    let (count, all): (_, Vec<_>) = (totals(&counts), all.iter().map(totals).collect());
    for which in places.map(|(_, copy)| (copy.id, copy.origin.clone())) {
        let of = |totals: &BTreeMap<_, usize>| totals.get(&which).copied().unwrap_or_default();
        check(&which, of(&count), all.iter().map(of).collect());
    }
}

impl Model {
    /// Whether a crash would leave this.
    fn would_leave(&self, left: &BTreeMap<String, Vec<Message>>) -> bool {
        let durable = self.queues.iter().filter(|(_, queue)| queue.spec.durable);
        let all_fit = durable.clone().all(|(name, queue)| {
            let mut entries = self.entries(queue);
            entries.retain(|entry| queue.keeps(&entry.message));
            let Some(found) = left.get(name) else { return false };
            let each = found.iter().all(|message| {
                let index = entries.iter().position(|entry| entry.message.is_same(message));
                index.map(|index| entries.swap_remove(index)).is_some()
            });
            each && entries.is_empty()
        });
        let mut delayed: Vec<&Message> = self.delayed.iter().map(|delayed| &delayed.message).collect();
        let mut found = left.get(LATE).into_iter().flatten();
        let all_wait = found.all(|message| {
            let index = delayed.iter().position(|other| other.is_same(message));
            index.map(|index| delayed.swap_remove(index)).is_some()
        });
        let found = left.get(HISTORY).map(Vec::as_slice).unwrap_or_default();
        let is_history = found.len() == self.history.len()
            && found
                .iter()
                .zip(&self.history)
                .all(|(one, other)| one.is_same(other));
        let is_there = |name: &String| {
            name == LATE || name == HISTORY || self.queues.get(name).is_some_and(|queue| queue.spec.durable)
        };
        all_fit && is_history && all_wait && delayed.is_empty() && left.keys().all(is_there)
    }

    /// How often each message is where it would survive.
    fn counts(&self) -> Counts {
        let mut counts = Counts::new();
        for (name, queue) in &self.queues {
            for entry in self.entries(queue) {
                if queue.keeps(&entry.message) {
                    *counts
                        .entry((name.clone(), copy(name, &entry.message)))
                        .or_default() += 1;
                }
            }
        }
        for delayed in &self.delayed {
            *counts
                .entry((LATE.to_owned(), copy(LATE, &delayed.message)))
                .or_default() += 1;
        }
        for message in &self.history {
            *counts
                .entry((HISTORY.to_owned(), copy(HISTORY, message)))
                .or_default() += 1;
        }
        counts
    }

    /// The crash may have left the state of that index instead, or something between that and the one beside it.
    fn doubt_whether_left(&mut self, states: &[Self], index: usize) {
        self.doubt(
            !self.knows_the_same_as(&states[index]),
            "(ended: a crash left one of several states)",
        );
        // Where the step before or behind takes several transactions, that of a count may have been the last or first.
        for beside in [index.checked_sub(1), Some(index + 1)] {
            let beside = beside.and_then(|index| states.get(index));
            let is_doubtful = beside.is_some_and(|beside| !self.counts_the_same_as(beside));
            self.doubt(is_doubtful, "(ended: a crash came beside a step that counts)");
        }
        // The first transaction of the next step may have left a key, and no message if that was acked at once.
        let next = states.get(index + 1);
        let is_doubtful = next.is_some_and(|next| self.stored_keys() != next.stored_keys());
        self.doubt(
            is_doubtful,
            "(ended: a crash came before a step that leaves keys)",
        );
    }

    /// The keys on disk, of queues and of exchanges, and until when each is known.
    fn stored_keys(&self) -> BTreeSet<(&str, &str, u64)> {
        let queues = self.queues.iter().flat_map(|(name, queue)| {
            let keys = queue.stored_keys.iter();
            keys.map(|(key, until)| (name.as_str(), key.as_str(), *until))
        });
        let exchanges = self.caches.iter().flat_map(|(name, cache)| {
            let rows = cache.rows.iter();
            rows.map(|(until, key)| (*name, key.as_str(), *until))
        });
        queues.chain(exchanges).collect()
    }

    /// Whether another state says the same of the messages that both have.
    fn knows_the_same_as(&self, other: &Self) -> bool {
        self.stored_keys() == other.stored_keys()
            && self.delays_the_same_as(other)
            && self.queues.iter().all(|(name, queue)| {
                let others = other
                    .queues
                    .get(name)
                    .map(|queue| other.entries(queue))
                    .unwrap_or_default();
                self.entries(queue).iter().all(|entry| {
                    let mut others = others.iter();
                    let same = others.find(|other| other.arrival == entry.arrival);
                    same.is_some_and(|other| {
                        (other.returns, other.rests_until) == (entry.returns, entry.rests_until)
                    }) || !queue.keeps(&entry.message)
                })
            })
    }

    /// Whether another state has the same counts of the messages that are in both.
    fn counts_the_same_as(&self, other: &Self) -> bool {
        self.queues.iter().all(|(name, queue)| {
            let others = other.queues.get(name).map(|queue| other.entries(queue));
            let others = others.unwrap_or_default();
            let mut kept = self.entries(queue).into_iter();
            kept.all(|entry| {
                let same = others.iter().find(|other| other.arrival == entry.arrival);
                let is_same =
                    |other: &&Entry| (other.returns, other.rests_until) == (entry.returns, entry.rests_until);
                same.is_none_or(is_same) || !queue.keeps(&entry.message)
            })
        })
    }

    /// What clients saw of messages that had moved within the broker, and would survive there, was there before the
    /// crash in one of the states that are left: else it comes again, and nobody knows that it was seen.
    fn check_seen(&self, left: &[Self]) {
        for (name, queue) in &self.queues {
            let has_moved =
                |entry: &&Entry| !entry.message.deaths.is_empty() || entry.message.delay.is_some();
            let entries = self.entries(queue).into_iter().filter(|entry| entry.seen);
            for entry in entries
                .filter(has_moved)
                .filter(|entry| queue.keeps(&entry.message))
            {
                let was_there = left.iter().any(|state| {
                    let before = state.queues.get(name);
                    let mut before = before
                        .map(|queue| state.entries(queue))
                        .unwrap_or_default()
                        .into_iter();
                    before.any(|other| other.arrival == entry.arrival)
                });
                // One that a full queue refused was in no other place: with its publish all of it is undone.
                let comes_again = left.last().is_some_and(|state| state.keeps(name, &entry.message));
                assert!(
                    was_there || !comes_again,
                    "{entry:?} of {name} was seen, and its move is undone"
                );
            }
        }
    }

    /// Whether what is in a place in another state is in any queue where it survives, or delayed: the same copy.
    fn keeps(&self, place: &str, message: &Message) -> bool {
        let of = origin(place, message);
        let is_it = |place: &str, other: &Message| other.id == message.id && origin(place, other) == of;
        let mut queues = self.queues.iter();
        queues.any(|(name, queue)| {
            let entries = self.entries(queue);
            let mut kept = entries.iter().filter(|entry| queue.keeps(&entry.message));
            kept.any(|entry| is_it(name, &entry.message))
        }) || self.delayed.iter().any(|delayed| is_it(LATE, &delayed.message))
    }

    /// What clients saw later, they saw.
    fn see_what_was_seen(&mut self, later: &Self) {
        for (name, queue) in &mut self.queues {
            let Some(other) = later.queues.get(name) else {
                continue;
            };
            let seen: Vec<_> = later
                .entries(other)
                .iter()
                .filter(|entry| entry.seen)
                .map(|entry| entry.arrival)
                .collect();
            let resting = queue.resting.iter_mut().map(|resting| &mut resting.entry);
            for entry in queue.ready.iter_mut().chain(resting) {
                entry.seen |= seen.contains(&entry.arrival);
            }
        }
    }
}
