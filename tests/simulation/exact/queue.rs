//! The slow obvious queue: lists, searched from end to end.

use std::collections::BTreeMap;

use super::consumers::Consumer;
use super::layout::{Overflow, QueueSpec, RetryKind, Settings};
use super::message::{Message, Reason};
use super::remembering::KnownKey;

/// How long until a dead letter is offered again that nobody took, ms.
const OFFER_INTERVAL: u64 = 10_000;

/// When a message entered its queue. Those that entered in one step by different ways have no order among themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival {
    pub step: u64,
    pub way: u64,
    pub number: u64,
}

/// A message in a queue.
#[derive(Clone, Debug)]
pub struct Entry {
    pub message: Message,
    pub arrival: Arrival,
    /// The step in which it became ready last, and by which way.
    ready_since: (u64, u64),
    pub priority: u8,
    pub expires_at: Option<u64>,
    /// Until when it rests, or has rested last, as it is on disk.
    pub rests_until: Option<u64>,
    /// How often it was handed out and came back.
    pub returns: u32,
    /// A client had it: it has to be flagged.
    pub seen: bool,
    /// It came through a crash: it may be flagged.
    pub survived: bool,
}

#[derive(Clone, Debug)]
pub struct Resting {
    pub entry: Entry,
    pub until: u64,
    /// It came through a crash, and the queue may count it as ready until it has read it.
    pub is_unread: bool,
}

/// A dead letter that its queue keeps until somebody takes it.
#[derive(Clone, Debug)]
pub struct Dying {
    pub entry: Entry,
    pub reason: Reason,
    /// When it is offered again.
    pub offer_at: Option<u64>,
}

/// A message that died.
#[derive(Clone, Debug)]
pub struct Letter {
    pub message: Message,
    pub reason: Reason,
    /// When it entered the queue, unless that refused it.
    pub arrival: Option<Arrival>,
    /// Its queue keeps it until it is taken.
    pub kept: Option<Arrival>,
}

#[derive(Clone, Debug)]
pub struct Queue {
    /// Tells it from one that had its name before.
    pub number: u64,
    pub spec: QueueSpec,
    pub settings: Settings,
    pub ready: Vec<Entry>,
    pub resting: Vec<Resting>,
    pub dying: Vec<Dying>,
    /// In the order in which they came.
    pub consumers: Vec<Consumer>,
    /// The single active one.
    pub active: Option<u64>,
    pub unused_since: Option<u64>,
    /// Messages may be on disk only, so that what has to be done with them comes late.
    pub is_unread: bool,
    pub pressure: Pressure,
    /// Keys that it takes no more.
    pub known: BTreeMap<String, KnownKey>,
    /// Until when keys of the disk are known.
    pub stored_keys: BTreeMap<String, u64>,
}

/// What there was in a queue at the beginning of a step, and what came.
#[derive(Clone, Debug, Default)]
pub struct Pressure {
    step: u64,
    /// The last way.
    way: u64,
    /// By how many ways it came. What comes by different ways has no order.
    pub ways: usize,
    messages: u64,
    bytes: u64,
}

/// How a message comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// `basic.nack` or `basic.recover` asked for it.
    Asked,
    /// `basic.reject` asked for it, its channel ended, or it was late.
    Failed,
}

impl Entry {
    /// Whether it comes before another one of the same queue, beyond doubt. What became ready in this `step` by another
    /// way may have come too late for that.
    pub fn is_before(&self, other: &Self, step: u64) -> bool {
        let is_new = self.ready_since.0 == step && self.ready_since.1 != other.ready_since.1;
        !is_new && (self.priority > other.priority || self.is_earlier(other))
    }

    /// Whether it is of the same priority and came earlier, beyond doubt.
    pub fn is_earlier(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.arrival, other.arrival);
        self.priority == other.priority && mine.number < theirs.number && !mine.is_beside(theirs)
    }
}

impl Arrival {
    /// Whether nobody knows which of two came first.
    pub fn is_beside(self, other: Self) -> bool {
        self.step == other.step && self.way != other.way
    }
}

impl Queue {
    pub fn new(number: u64, spec: QueueSpec, now: u64) -> Self {
        Self {
            number,
            settings: Settings::default(),
            spec,
            ready: Vec::new(),
            resting: Vec::new(),
            dying: Vec::new(),
            consumers: Vec::new(),
            active: None,
            unused_since: Some(now),
            is_unread: false,
            pressure: Pressure::default(),
            known: BTreeMap::new(),
            stored_keys: BTreeMap::new(),
        }
    }

    /// Something happens to the queue in this step, by a way of its own.
    pub fn begin_way(&mut self, step: u64, way: u64) {
        if self.pressure.step != step {
            let dying = self.dying.iter().map(|dying| &dying.entry);
            let all = self.ready.iter().chain(dying);
            self.pressure = Pressure {
                step,
                way,
                ways: 0,
                messages: (self.ready.len() + self.dying.len()) as u64,
                bytes: all.map(|entry| entry.message.body_len).sum(),
            };
        }
        self.pressure.ways += 1;
        self.pressure.way = way;
    }

    /// A message is ready again.
    fn make_ready(&mut self, mut entry: Entry) {
        entry.ready_since = (self.pressure.step, self.pressure.way);
        self.ready.push(entry);
    }

    /// A message of this size comes, or comes back.
    pub fn press(&mut self, bytes: u64) {
        self.pressure.messages += 1;
        self.pressure.bytes += bytes;
    }

    /// Whether something happened to the queue in this step.
    pub fn has_changed(&self, step: u64) -> bool {
        self.pressure.step == step
    }

    /// Whether something came in this step by another way than what comes now.
    pub fn is_of_other_way(&self, arrival: Arrival) -> bool {
        arrival.step == self.pressure.step && arrival.way != self.pressure.way
    }

    /// Whether the order of what came decides what a limit lets in.
    pub fn is_contested(&self) -> bool {
        let is_over = |max: Option<u64>, count| max.is_some_and(|max| count > max);
        self.pressure.ways > 1
            && (is_over(self.settings.max_length, self.pressure.messages)
                || is_over(self.settings.max_bytes, self.pressure.bytes))
    }

    pub fn keeps(&self, message: &Message) -> bool {
        self.spec.durable && (message.persistent || self.spec.is_quorum)
    }

    fn bytes(&self) -> u64 {
        self.ready.iter().map(|entry| entry.message.body_len).sum()
    }

    /// Whether the queue is too full for the message.
    pub fn refuses(&self, message: &Message) -> bool {
        let dying: u64 = self.dying.iter().map(|dying| dying.entry.message.body_len).sum();
        let count = (self.ready.len() + self.dying.len() + 1) as u64;
        let bytes = self.bytes() + dying + message.body_len;
        self.settings.overflow() != Overflow::DropHead
            && (self.settings.max_length.is_some_and(|max| count > max)
                || self.settings.max_bytes.is_some_and(|max| bytes > max))
    }

    pub fn is_over_limit(&self) -> bool {
        let is_over = |max: Option<u64>, count: u64| max.is_some_and(|max| count > max);
        self.settings.overflow() == Overflow::DropHead
            && (is_over(self.settings.max_length, self.ready.len() as u64)
                || is_over(self.settings.max_bytes, self.bytes()))
    }

    pub fn enter(&mut self, message: Message, arrival: Arrival, now: u64) {
        let ttl = self.settings.ttl.into_iter().chain(message.expiration).min();
        self.ready.push(Entry {
            ready_since: (arrival.step, arrival.way),
            priority: message.priority.unwrap_or(0).min(self.spec.max_priority),
            expires_at: ttl.map(|ttl| now + ttl),
            rests_until: None,
            returns: 0,
            seen: false,
            survived: false,
            message,
            arrival,
        });
    }

    /// A message dies; it may become a letter.
    pub fn kill(&mut self, entry: Entry, reason: Reason, letters: &mut Vec<Letter>) {
        let Some(target) = &self.settings.target else {
            return;
        };
        let kept = target.at_least_once.then_some(entry.arrival);
        letters.push(Letter {
            message: entry.message.clone(),
            reason,
            arrival: Some(entry.arrival),
            kept,
        });
        if kept.is_some() {
            self.dying.push(Dying {
                entry,
                reason,
                offer_at: None,
            });
        }
    }

    /// Takes out what expired before `end`, the first first.
    pub fn expire_before(&mut self, end: u64, letters: &mut Vec<Letter>) -> usize {
        let mut dead: Vec<Entry> = self
            .ready
            .extract_if(.., |entry| entry.expires_at.is_some_and(|at| at < end))
            .collect();
        dead.sort_by_key(|entry| (entry.expires_at, entry.arrival));
        let count = dead.len();
        for entry in dead {
            self.kill(entry, Reason::Expired, letters);
        }
        count
    }

    /// The message that is dropped next: of the lowest priority the oldest.
    pub fn victim(&self) -> usize {
        let lowest = self.ready.iter().map(|entry| entry.priority).min();
        let of_lowest = (0..self.ready.len()).filter(|index| Some(self.ready[*index].priority) == lowest);
        of_lowest
            .min_by_key(|index| self.ready[*index].arrival)
            .expect("only a queue with messages is over its limit")
    }

    /// Whether a ready message may have come before this one of the same priority, or after it.
    pub fn is_beside_another(&self, entry: &Entry) -> bool {
        let mut others = self.ready.iter();
        others.any(|other| other.priority == entry.priority && other.arrival.is_beside(entry.arrival))
    }

    /// Whether it makes a difference if what is too old is found before what is too much goes, or after.
    pub fn is_order_of_deaths_seen(&self, now: u64) -> bool {
        let is_old = |entry: &Entry| entry.expires_at.is_some_and(|at| at <= now);
        let dropped = |ready: Vec<Entry>| {
            let mut queue = Self {
                ready,
                ..self.clone()
            };
            let mut dropped: Vec<(Arrival, bool)> = Vec::new();
            while queue.is_over_limit() {
                let victim = queue.victim();
                let entry = queue.ready.remove(victim);
                dropped.push((entry.arrival, is_old(&entry)));
            }
            dropped
        };
        let young = self.ready.iter().filter(|entry| !is_old(entry)).cloned();
        let dropped_after = dropped(young.collect());
        let mut dropped_before = dropped(self.ready.clone());
        if self.settings.target.is_none() {
            // Nobody sees of what these died.
            dropped_before.retain(|(_, is_old)| !is_old);
        }
        dropped_before != dropped_after
    }

    /// A message that was handed out comes back.
    pub fn take_back(&mut self, mut entry: Entry, how: Return, now: u64, letters: &mut Vec<Letter>) {
        self.press(entry.message.body_len);
        entry.returns += 1;
        entry.rests_until = None;
        if self
            .settings
            .delivery_limit
            .is_some_and(|limit| entry.returns > limit)
        {
            return self.kill(entry, Reason::DeliveryLimit, letters);
        }
        let kind = if how == Return::Asked {
            RetryKind::Returned
        } else {
            RetryKind::Failed
        };
        let retry = self.settings.retry;
        let retry = retry.filter(|retry| retry.kind == RetryKind::All || retry.kind == kind);
        let rest = retry.map_or(0, |retry| (retry.min * u64::from(entry.returns)).min(retry.max));
        entry.rests_until = (rest > 0).then_some(now + rest);
        if rest == 0 {
            self.make_ready(entry);
        } else {
            self.resting.push(Resting {
                entry,
                until: now + rest,
                is_unread: false,
            });
        }
    }

    /// Makes ready what has rested enough, and buries what did not live so long.
    pub fn wake(&mut self, now: u64, letters: &mut Vec<Letter>) -> usize {
        let at = |resting: &Resting| {
            let expires_at = resting.entry.expires_at;
            expires_at.map_or(resting.until, |expires_at| expires_at.min(resting.until))
        };
        let mut due: Vec<Resting> = self
            .resting
            .extract_if(.., |resting| at(resting) <= now)
            .collect();
        due.sort_by_key(|resting| (at(resting), resting.entry.arrival));
        let count = due.len();
        for resting in due {
            if resting.entry.expires_at == Some(at(&resting)) {
                self.kill(resting.entry, Reason::Expired, letters);
            } else {
                self.press(resting.entry.message.body_len);
                self.make_ready(resting.entry);
            }
        }
        count
    }

    /// Offers again the letters that nobody took.
    pub fn offer_again(&mut self, now: u64, letters: &mut Vec<Letter>) {
        let mut due: Vec<Dying> = self
            .dying
            .extract_if(.., |dying| dying.offer_at.is_some_and(|at| at <= now))
            .collect();
        due.sort_by_key(|dying| (dying.offer_at, dying.entry.arrival));
        for dying in due {
            self.kill(dying.entry, dying.reason, letters);
        }
    }

    /// What has become of a letter that the queue keeps.
    pub fn buried(&mut self, which: Arrival, is_taken: bool, now: u64) {
        if is_taken {
            self.dying.retain(|dying| dying.entry.arrival != which);
        } else if let Some(dying) = self.dying.iter_mut().find(|dying| dying.entry.arrival == which) {
            dying.offer_at = Some(now + OFFER_INTERVAL);
        }
    }

    pub fn purge(&mut self) -> usize {
        let count = self.ready.len() + self.resting.len() + self.dying.len();
        self.ready.clear();
        self.resting.clear();
        self.dying.clear();
        count
    }

    pub fn is_expired(&self, now: u64) -> bool {
        let unused = self.unused_since.zip(self.settings.expires);
        unused.is_some_and(|(since, expires)| since + expires <= now)
    }

    /// Somebody declared it again, or got from it.
    pub fn touch(&mut self, now: u64) {
        self.unused_since = self.unused_since.map(|_| now);
    }
}
