//! The slow obvious queue: sorted maps, and for each delivery and each death the question whether it was the right
//! one.
//!
//! It knows what a queue owes its clients and nothing of windows, pages or the hand-out. Where those make the queue
//! late, the history that drives both says so.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::amqp::{content, field_table};
use crate::broker::queue::consumers::{Activation, ConsumerOptions, ConsumerSlot};
use crate::broker::queue::effects::{DeadLetter, DeathReason, Delivery, DeliveryHandle};
use crate::broker::queue::settings::{Overflow, QueueSettings, RetryKind};
use crate::broker::queue::{QueueOptions, Settlement};
use crate::clock::Timestamp;
use crate::message::Message;
use crate::store::Position;

/// A consumer stops when so much waits in its outbox.
const OUTBOX_MESSAGES_MAX: usize = 4096;
pub const OUTBOX_BYTES_MAX: usize = 1 << 20;
/// And while memory is short, when at least this much does.
pub const OUTBOX_BYTES_MIN: usize = 64 << 10;

/// A letter that nobody took is offered again after so long, ms.
pub const OFFER_INTERVAL: u64 = 10_000;

/// A message in the queue.
#[derive(Clone, Debug)]
pub struct Expected {
    pub message: Message,
    pub priority: u8,
    pub expires_at: Option<Timestamp>,
    pub delivery_count: u32,
    /// A client saw it, so that it has to be flagged.
    pub seen: bool,
    /// It came through a crash: it may be flagged although nobody saw it.
    pub survived: bool,
}

/// A message that was handed out.
#[derive(Clone, Debug)]
pub struct Held {
    pub expected: Expected,
    pub consumer: Option<ConsumerSlot>,
    pub times_out_at: Option<Timestamp>,
}

/// A message that came back and is not ready yet.
#[derive(Clone, Debug)]
pub struct Resting {
    pub expected: Expected,
    pub until: Timestamp,
    /// It came through a crash: the queue counts it as ready until it has read it.
    pub is_unread: bool,
}

#[derive(Debug)]
pub struct Consumer {
    pub slot: ConsumerSlot,
    pub options: ConsumerOptions,
    pub is_limited: bool,
    pub is_suspended: bool,
    /// Deliveries that it has not settled, late ones too.
    pub unacked: usize,
    /// Sizes of what waits for its socket.
    pub outbox: VecDeque<usize>,
    /// The turn since which it could take a message all the time.
    able_since: Option<u64>,
    last_turn: u64,
}

/// Who goes first: the highest priority, and within it who came first.
type Rank = (Reverse<u8>, Position);

/// A message that dies, and of what.
#[derive(Clone, Debug)]
pub struct Death {
    pub at: Position,
    pub expected: Expected,
    pub reason: DeathReason,
}

/// A queue.
#[derive(Debug)]
pub struct Model {
    pub options: QueueOptions,
    pub outbox_bytes_max: usize,
    pub settings: QueueSettings,
    pub now: Timestamp,
    pub ready: BTreeMap<Rank, Expected>,
    pub held: BTreeMap<Position, Held>,
    pub resting: BTreeMap<Position, Resting>,
    /// Dead letters that nobody has taken yet.
    pub dying: BTreeMap<Position, Death>,
    /// When those are offered again that nobody took.
    offers: BTreeSet<(Timestamp, Position)>,
    /// Deliveries that were late and that their holder has not settled.
    pub late: BTreeMap<DeliveryHandle, Option<ConsumerSlot>>,
    /// In the order in which they came.
    pub consumers: Vec<Consumer>,
    /// The single active one.
    active: Option<ConsumerSlot>,
    /// Of the channel that the limited consumers are on; 0 is none.
    pub limit: u32,
    pub limit_unacked: u32,
    pub next: Position,
    pub unused_since: Option<Timestamp>,
    turn: u64,
}

impl Model {
    pub fn new(options: QueueOptions, settings: QueueSettings, now: Timestamp) -> Self {
        Self {
            options,
            outbox_bytes_max: OUTBOX_BYTES_MAX,
            settings,
            now,
            ready: BTreeMap::new(),
            held: BTreeMap::new(),
            resting: BTreeMap::new(),
            dying: BTreeMap::new(),
            offers: BTreeSet::new(),
            late: BTreeMap::new(),
            consumers: Vec::new(),
            active: None,
            limit: 0,
            limit_unacked: 0,
            next: Position(0),
            unused_since: Some(now),
            turn: 0,
        }
    }

    /// All messages with their places.
    pub fn messages(&self) -> impl Iterator<Item = (Position, &Expected)> {
        let ready = self.ready.iter().map(|((_, at), expected)| (*at, expected));
        let held = self.held.iter().map(|(at, held)| (*at, &held.expected));
        let resting = self.resting.iter().map(|(at, resting)| (*at, &resting.expected));
        let dying = self.dying.iter().map(|(at, death)| (*at, &death.expected));
        ready.chain(held).chain(resting).chain(dying)
    }

    /// Messages that the queue may count as ready although they rest.
    pub fn unread_resting(&self) -> usize {
        self.resting.values().filter(|resting| resting.is_unread).count()
    }

    fn body_bytes(&self) -> u64 {
        self.ready
            .values()
            .map(|expected| expected.message.body_len() as u64)
            .sum()
    }

    fn unread_resting_bytes(&self) -> u64 {
        let unread = self.resting.values().filter(|resting| resting.is_unread);
        unread
            .map(|resting| resting.expected.message.body_len() as u64)
            .sum()
    }

    /// Whether more is ready than may be; for sure, and at most.
    fn is_over(&self, messages: u64, bytes: u64) -> (bool, bool) {
        let over = |messages, bytes| {
            self.settings.max_length.is_some_and(|max| messages > max)
                || self.settings.max_length_bytes.is_some_and(|max| bytes > max)
        };
        let (messages, bytes) = (messages + self.ready.len() as u64, bytes + self.body_bytes());
        let doubtful = (self.unread_resting() as u64, self.unread_resting_bytes());
        (
            over(messages, bytes),
            over(messages + doubtful.0, bytes + doubtful.1),
        )
    }

    /// Whether the queue has to drop something now.
    pub fn has_to_drop(&self) -> bool {
        self.settings.overflow == Overflow::DropHead && self.is_over(0, 0).0
    }

    /// Whether a publish has to be refused, and whether it may be.
    pub fn refuses(&self, message: &Message) -> (bool, bool) {
        if self.settings.overflow == Overflow::DropHead {
            return (false, false);
        }
        let letters = self.dying.values();
        let bytes: usize = letters.map(|death| death.expected.message.body().len()).sum();
        let messages = self.dying.len() as u64 + 1;
        self.is_over(messages, (bytes + message.body().len()) as u64)
    }

    /// A message enters.
    pub fn publish(&mut self, message: Message) {
        let ttl = self
            .settings
            .message_ttl
            .into_iter()
            .chain(message.expiration())
            .min();
        let expected = Expected {
            priority: message.priority().min(self.options.max_priority),
            expires_at: ttl.map(|ttl| self.now.plus(ttl)),
            delivery_count: 0,
            seen: false,
            survived: false,
            message,
        };
        self.ready
            .insert((Reverse(expected.priority), self.next), expected);
        self.next = Position(self.next.0 + 1);
    }

    fn make_ready(&mut self, at: Position, expected: Expected) {
        self.ready.insert((Reverse(expected.priority), at), expected);
    }

    /// A message is in the queue after a crash.
    pub fn recover(&mut self, at: Position, expected: Expected, rests_until: Option<Timestamp>) {
        match rests_until.filter(|until| *until > self.now) {
            None => self.make_ready(at, expected),
            Some(until) => {
                let resting = Resting {
                    expected,
                    until,
                    is_unread: true,
                };
                self.resting.insert(at, resting);
            }
        }
    }

    pub fn add_consumer(&mut self, slot: ConsumerSlot, options: ConsumerOptions) {
        self.unused_since = None;
        let is_limited = options.limit.is_some();
        self.consumers.push(Consumer {
            slot,
            options,
            is_limited,
            is_suspended: false,
            unacked: 0,
            outbox: VecDeque::new(),
            able_since: None,
            last_turn: 0,
        });
        self.elect();
        self.note_ability();
    }

    /// What it holds stays held, and its channel gives it back; here it no longer counts.
    pub fn remove_consumer(&mut self, slot: ConsumerSlot) -> Consumer {
        let index = self.index(slot).expect("the test removes who is there");
        let consumer = self.consumers.remove(index);
        if consumer.is_limited {
            self.limit_unacked -= u32::try_from(consumer.unacked).expect("small");
        }
        if self.consumers.is_empty() {
            self.unused_since = Some(self.now);
        }
        self.active = self.active.filter(|active| *active != slot);
        self.elect();
        self.note_ability();
        consumer
    }

    fn index(&self, slot: ConsumerSlot) -> Option<usize> {
        self.consumers.iter().position(|consumer| consumer.slot == slot)
    }

    /// The one that would be active, were it not for the one that is.
    fn rival(&self) -> Option<&Consumer> {
        let others = || {
            self.consumers
                .iter()
                .filter(|other| Some(other.slot) != self.active)
        };
        let highest = others().map(|other| other.options.priority).max()?;
        others().find(|other| other.options.priority == highest)
    }

    fn is_outranked(&self) -> bool {
        let active = self.active.and_then(|active| self.index(active));
        let rank = |consumer: &Consumer| consumer.options.priority;
        active.is_some_and(|active| {
            self.rival()
                .is_some_and(|rival| rank(rival) > rank(&self.consumers[active]))
        })
    }

    fn elect(&mut self) {
        let is_over = match self.active.and_then(|active| self.index(active)) {
            None => true,
            Some(index) => {
                self.options.activation == Activation::SingleByPriority
                    && self.is_outranked()
                    && self.consumers[index].unacked == 0
            }
        };
        if self.options.activation != Activation::All && is_over {
            self.active = self.rival().map(|rival| rival.slot);
        }
    }

    fn is_active(&self, consumer: &Consumer) -> bool {
        match self.options.activation {
            Activation::All => true,
            Activation::Single => self.active == Some(consumer.slot),
            Activation::SingleByPriority => self.active == Some(consumer.slot) && !self.is_outranked(),
        }
    }

    fn can_take(&self, consumer: &Consumer) -> bool {
        let prefetch = usize::from(consumer.options.prefetch);
        self.is_active(consumer)
            && !consumer.is_suspended
            && (prefetch == 0 || consumer.unacked < prefetch)
            && consumer.outbox.len() < OUTBOX_MESSAGES_MAX
            && consumer.outbox.iter().sum::<usize>() < self.outbox_bytes_max
            && (!consumer.is_limited || self.limit == 0 || self.limit_unacked < self.limit)
    }

    /// Whether a consumer could take a message now.
    pub fn has_able_consumer(&self) -> bool {
        self.consumers.iter().any(|consumer| self.can_take(consumer))
    }

    /// Call after anything that changes who can take a message.
    pub fn note_ability(&mut self) {
        let able: Vec<bool> = self
            .consumers
            .iter()
            .map(|consumer| self.can_take(consumer))
            .collect();
        for (consumer, is_able) in self.consumers.iter_mut().zip(able) {
            match (is_able, consumer.able_since) {
                (true, None) => consumer.able_since = Some(self.turn),
                (false, _) => consumer.able_since = None,
                _ => {}
            }
        }
    }

    fn times_out_at(&self, own: Option<u64>) -> Option<Timestamp> {
        let timeout = own
            .or(self.settings.consumer_timeout)
            .filter(|timeout| *timeout > 0);
        timeout.map(|timeout| self.now.plus(timeout))
    }

    /// A message was delivered to a consumer: checks that it is the right message and the right consumer. It may be
    /// one that expired at `floor` or later.
    pub fn delivered(&mut self, delivery: &Delivery, floor: Timestamp) {
        let Delivery {
            consumer: to,
            handle,
            message,
            redelivered,
        } = delivery;
        let expected = self.take_first(*handle, message, *redelivered, floor);
        self.turn += 1;
        let index = self
            .index(*to)
            .expect("deliveries go to consumers that are there");
        self.check_turn(&self.consumers[index]);
        let turn = self.turn;
        let consumer = &mut self.consumers[index];
        consumer.last_turn = turn;
        consumer.outbox.push_back(message.memory_bytes());
        if !consumer.options.no_ack {
            consumer.unacked += 1;
            self.limit_unacked += u32::from(consumer.is_limited);
            let own = consumer.options.timeout_ms;
            let held = Held {
                expected,
                consumer: Some(*to),
                times_out_at: self.times_out_at(own),
            };
            self.held.insert(handle.position, held);
        }
        self.note_ability();
    }

    fn check_turn(&self, chosen: &Consumer) {
        assert!(self.can_take(chosen), "{chosen:?} can take nothing");
        for other in &self.consumers {
            let priority = other.options.priority.cmp(&chosen.options.priority);
            assert!(
                priority.is_le() || !self.can_take(other),
                "{other:?} has precedence over {chosen:?}"
            );
            // Who could take something since before the chosen one's last turn, and had none, was next.
            let waited_longer = priority.is_eq()
                && other.slot != chosen.slot
                && chosen.last_turn > 0
                && other.last_turn < chosen.last_turn
                && other.able_since.is_some_and(|since| since < chosen.last_turn);
            assert!(!waited_longer, "it was the turn of {other:?}, not of {chosen:?}");
        }
    }

    /// A message was taken by `basic.get`.
    pub fn got(&mut self, handle: DeliveryHandle, message: &Message, redelivered: bool, no_ack: bool) {
        let expected = self.take_first(handle, message, redelivered, self.now.plus(1));
        if !no_ack {
            let held = Held {
                expected,
                consumer: None,
                times_out_at: self.times_out_at(None),
            };
            self.held.insert(handle.position, held);
        }
    }

    fn take_first(
        &mut self,
        handle: DeliveryHandle,
        message: &Message,
        redelivered: bool,
        floor: Timestamp,
    ) -> Expected {
        let at = handle.position;
        let first = self.ready.first_key_value().map(|(rank, _)| *rank);
        let expected = if let Some(resting) = self.resting.remove(&at) {
            assert!(resting.until <= self.now, "{at:?} still rests: {resting:?}");
            let rank = (Reverse(resting.expected.priority), at);
            assert!(
                first.is_none_or(|first| rank < first),
                "{first:?} is before {at:?}"
            );
            resting.expected
        } else {
            let first = self.ready.pop_first();
            let (rank, expected) = first.expect("only ready messages are handed out");
            assert_eq!(at, rank.1, "the first ready message is next");
            expected
        };
        assert!(
            expected.expires_at.is_none_or(|expires_at| expires_at >= floor),
            "{at:?} is expired at {floor:?}: {expected:?}"
        );
        assert_eq!(handle.delivery_count, expected.delivery_count, "of {at:?}");
        self.check_outgoing(message, &expected);
        assert!(
            redelivered || !expected.seen,
            "{at:?} was seen: it is redelivered"
        );
        assert!(
            !redelivered || expected.seen || expected.survived,
            "{at:?} was never handed out: it is not redelivered"
        );
        expected
    }

    /// A message goes out as it came in, but for the header that counts deliveries.
    fn check_outgoing(&self, message: &Message, expected: &Expected) {
        const KEY: &[u8] = b"x-delivery-count";
        let count = expected.delivery_count;
        let tells = self.options.is_quorum || self.settings.delivery_limit.is_some();
        if !tells || count == 0 {
            assert_eq!(message.encoded(), expected.message.encoded());
            return;
        }
        let headers = content::headers_range(message.properties()).expect("it tells the count");
        let told = field_table::lookup(&message.properties()[headers], KEY);
        assert_eq!(told, Some(field_table::Value::Int(count.into())), "{KEY:?}");
        let others = |message: &Message| content::headers_without(message.properties(), &[KEY]);
        assert_eq!(others(message), others(&expected.message));
        let bare = |message: &Message| content::with_headers(message.properties(), None);
        assert_eq!(bare(message), bare(&expected.message));
        assert_eq!(message.envelope(), expected.message.envelope());
        assert_eq!(message.body(), expected.message.body());
    }

    /// Settles a delivery. Returns whether it was in the queue, its consumer had it on its channel's account, and
    /// whether the message has died of it.
    pub fn settle(&mut self, handle: DeliveryHandle, settlement: Settlement) -> (bool, bool, Option<Death>) {
        let found = self.held.get(&handle.position);
        if found.is_none_or(|held| held.expected.delivery_count != handle.delivery_count) {
            let consumer = self.late.remove(&handle).flatten();
            return (false, self.give_room(consumer), None);
        }
        let Held {
            expected, consumer, ..
        } = self.held.remove(&handle.position).expect("it is there");
        let gave_room = self.give_room(consumer);
        let death = match settlement {
            Settlement::Ack => None,
            Settlement::Discard => Some(Death {
                at: handle.position,
                expected: Expected {
                    delivery_count: expected.delivery_count + 1,
                    seen: true,
                    ..expected
                },
                reason: DeathReason::Rejected,
            }),
            Settlement::Return => {
                self.make_ready(handle.position, expected);
                None
            }
            Settlement::Requeue => self.take_back(handle.position, expected, RetryKind::Returned),
            Settlement::Reject | Settlement::Lost => {
                self.take_back(handle.position, expected, RetryKind::Failed)
            }
        };
        (true, gave_room, death)
    }

    /// A consumer has settled a delivery. Returns whether that gave room under the channel's limit.
    fn give_room(&mut self, consumer: Option<ConsumerSlot>) -> bool {
        let Some(index) = consumer.and_then(|slot| self.index(slot)) else {
            return false;
        };
        self.consumers[index].unacked -= 1;
        let is_limited = self.consumers[index].is_limited;
        self.limit_unacked -= u32::from(is_limited);
        self.elect();
        self.note_ability();
        is_limited
    }

    fn take_back(&mut self, at: Position, mut expected: Expected, kind: RetryKind) -> Option<Death> {
        expected.delivery_count += 1;
        expected.seen = true;
        let count = expected.delivery_count;
        if self.settings.delivery_limit.is_some_and(|limit| count > limit) {
            let reason = DeathReason::DeliveryLimit;
            return Some(Death { at, expected, reason });
        }
        let retry = self.settings.delayed_retry;
        let retry = retry.filter(|retry| retry.kind == RetryKind::All || retry.kind == kind);
        let rest = retry.map_or(0, |retry| (retry.min * u64::from(count)).min(retry.max));
        if rest == 0 {
            self.make_ready(at, expected);
        } else {
            let resting = Resting {
                expected,
                until: self.now.plus(rest),
                is_unread: false,
            };
            self.resting.insert(at, resting);
        }
        None
    }

    /// What time does to deliveries, to messages that rest and to dead letters. Returns who dies of it, which single
    /// active consumers are to be cancelled, and which letters are offered again.
    pub fn tick(&mut self) -> (Vec<Death>, Vec<ConsumerSlot>, Vec<Position>) {
        let is_late = |held: &Held| held.times_out_at.is_some_and(|at| at <= self.now);
        let late: Vec<Position> = self
            .held
            .iter()
            .filter(|(_, held)| is_late(held))
            .map(|(at, _)| *at)
            .collect();
        let (mut deaths, mut cancelled) = (Vec::new(), Vec::new());
        for at in late {
            let Held {
                expected, consumer, ..
            } = self.held.remove(&at).expect("it was just found");
            let handle = DeliveryHandle {
                position: at,
                delivery_count: expected.delivery_count,
            };
            self.late.insert(handle, consumer);
            let known = consumer.filter(|_| self.options.activation != Activation::All);
            if let Some(index) = known.and_then(|slot| self.index(slot))
                && !std::mem::replace(&mut self.consumers[index].is_suspended, true)
            {
                cancelled.extend(known);
            }
            deaths.extend(self.take_back(at, expected, RetryKind::Failed));
        }
        for (at, resting) in self
            .resting
            .extract_if(.., |_, resting| resting.is_rested(self.now))
        {
            let rank = (Reverse(resting.expected.priority), at);
            self.ready.insert(rank, resting.expected);
        }
        self.note_ability();
        let offers = self.offers.extract_if(.., |(at, _)| *at <= self.now);
        let offered = offers
            .map(|(_, at)| at)
            .filter(|at| self.dying.contains_key(at))
            .collect();
        (deaths, cancelled, offered)
    }

    /// The queue hears what has become of a letter that it keeps.
    pub fn buried(&mut self, at: Position, is_taken: bool) {
        if is_taken {
            self.dying.remove(&at);
        } else {
            self.offers.insert((self.now.plus(OFFER_INTERVAL), at));
        }
    }

    /// A message died of its age.
    pub fn expired(&mut self, message: &Message) -> Death {
        let is_it = |expected: &Expected| expected.message.is_same(message);
        let ready = self.ready.iter().find(|(_, expected)| is_it(expected));
        let (at, expected) = if let Some(((priority, at), _)) = ready {
            let (priority, at) = (*priority, *at);
            (at, self.ready.remove(&(priority, at)).expect("it was just found"))
        } else {
            let resting = self.resting.iter().find(|(_, resting)| is_it(&resting.expected));
            let at = *resting.expect("who dies was ready or resting").0;
            (at, self.resting.remove(&at).expect("it was just found").expected)
        };
        let expires_at = expected.expires_at.expect("it expires");
        assert!(expires_at <= self.now, "{at:?} died too early: {expected:?}");
        let reason = DeathReason::Expired;
        Death { at, expected, reason }
    }

    /// When a message expires that is ready or rests.
    pub fn expires_at(&self, message: &Message) -> Option<Timestamp> {
        let of_ready = self.ready.values();
        let of_resting = self.resting.values().map(|resting| &resting.expected);
        let mut all = of_ready.chain(of_resting);
        let found = all.find(|expected| expected.message.is_same(message));
        found.expect("who dies was ready or resting").expires_at
    }

    /// Whether a message is ready, and does not rest.
    pub fn is_ready(&self, message: &Message) -> bool {
        self.ready
            .values()
            .any(|expected| expected.message.is_same(message))
    }

    /// A message was dropped because there are too many.
    pub fn dropped(&mut self, death: &DeadLetter) -> Death {
        let reason = DeathReason::MaxLength;
        assert_eq!(self.settings.overflow, Overflow::DropHead);
        assert!(self.is_over(0, 0).1, "there was room: {:?}", self.ready.keys());
        let lowest = self
            .ready
            .keys()
            .next_back()
            .expect("only ready messages are dropped")
            .0;
        let victim = self.ready.range((lowest, Position(0))..).next();
        let (rank, expected) = victim.expect("there is one of the lowest priority");
        if expected.message.is_same(&death.message) {
            let rank = *rank;
            let expected = self.ready.remove(&rank).expect("it was just found");
            let at = rank.1;
            return Death { at, expected, reason };
        }
        // One that has rested enough may be ready already, if it came through a crash.
        let is_rested = |(_, resting): &(&Position, &Resting)| {
            resting.until <= self.now && resting.expected.message.is_same(&death.message)
        };
        let rested = self.resting.iter().find(is_rested);
        let at = *rested
            .unwrap_or_else(|| panic!("{rank:?} goes first, not {death:?}"))
            .0;
        let expected = self.resting.remove(&at).expect("it was just found").expected;
        Death { at, expected, reason }
    }

    /// Drops what nobody holds; returns how many there were.
    pub fn purge(&mut self) -> u64 {
        let count = self.ready.len() + self.resting.len() + self.dying.len();
        self.ready.clear();
        self.resting.clear();
        self.dying.clear();
        count as u64
    }

    /// Whether nobody has used the queue for too long.
    pub fn is_expired(&self) -> bool {
        let unused = self.unused_since.zip(self.settings.expires);
        unused.is_some_and(|(since, expires)| since.plus(expires) <= self.now)
    }

    /// When the queue has to be called, for what it surely knows.
    pub fn due(&self) -> Option<Timestamp> {
        let ready = self.ready.values().filter_map(|expected| expected.expires_at);
        let known = self.resting.values().filter(|resting| !resting.is_unread);
        let until = known.map(|resting| resting.until);
        let resting = self.resting.values();
        let resting = resting.filter_map(|resting| resting.expected.expires_at);
        let late = self.held.values().filter_map(|held| held.times_out_at);
        let unused = self.unused_since.zip(self.settings.expires);
        let unused = unused.map(|(since, expires)| since.plus(expires));
        let dying = |(_, at): &&(Timestamp, Position)| self.dying.contains_key(at);
        let offers = self.offers.iter().filter(dying).map(|(at, _)| *at);
        let time = ready.chain(until).chain(resting).chain(late);
        time.chain(unused).chain(offers).min()
    }

    /// Whether something can be had now.
    pub fn has_ready(&self) -> bool {
        let mut resting = self.resting.values();
        !self.ready.is_empty() || resting.any(|resting| resting.is_rested(self.now))
    }
}

impl Resting {
    /// Whether it is ready again. What expires before it has rested never is.
    fn is_rested(&self, now: Timestamp) -> bool {
        let expires_first = self.expected.expires_at.is_some_and(|at| at <= self.until);
        self.until <= now && !expires_first
    }
}
