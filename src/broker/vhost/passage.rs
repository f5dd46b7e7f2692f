//! Exchanges that remember the messages that pass: against duplicates, and as history.
//!
//! Where a message goes is looked up when it has arrived, often for many at once; what it leaves behind is written
//! when it enters its queues, while the store is held, so that both are on disk or neither is.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use amq_protocol::types::FieldTable;
use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::message::Message;
use crate::store::{DestinationKind, HistoryRow, Hold, Keeper, KeyRow, MessageKey, Operation, Sequence};

use super::super::dead_letter;
use super::super::deduplication::{Candidate, Deduplication, Rules, Taken};
use super::super::exchange::{Criteria, ExchangeKind, arguments};
use super::super::history::History;
use super::super::live_queue::LiveQueue;
use super::super::refusal::Refusal;
use super::routing::Remembered;
use super::{Exchange, ExchangeDefinition, Route, Topology, Vhost};

/// What an exchange remembers; mostly nothing.
#[derive(Debug, Default)]
pub(super) struct Memory {
    deduplication: Option<Arc<Deduplication>>,
    history: Option<Arc<History>>,
}

/// What a message has left behind in the exchanges that it passed.
#[derive(Debug, Default)]
pub struct Traces {
    taken: SmallVec<[(Arc<Deduplication>, Taken); 1]>,
    duplicates: SmallVec<[(Arc<Deduplication>, MessageKey); 1]>,
    /// What has to be committed before the message may be confirmed, besides its entry into queues.
    pub sequence: Option<Sequence>,
}

/// A message on its way through exchanges.
pub(super) struct Passage<'a> {
    /// It leaves traces; without it somebody only looks where such a message would go.
    message: Option<&'a Message>,
    now: Timestamp,
    /// [`Clock::ahead_millis`](crate::clock::Clock::ahead_millis).
    ahead_millis: u64,
    /// The exchange that has delayed the message, and lets it go now.
    released_by: Option<&'a str>,
    traces: Traces,
    histories: SmallVec<[Arc<History>; 1]>,
}

impl Memory {
    /// What such an exchange has to remember, and nothing yet.
    fn new(vhost: &Vhost, exchange: &ExchangeDefinition) -> Self {
        let keeper = || {
            Arc::new(Keeper {
                vhost: Arc::clone(&vhost.name),
                kind: DestinationKind::Exchange,
                name: Arc::clone(&exchange.name),
            })
        };
        let store = &vhost.stores.durable;
        let is_type = exchange.kind == ExchangeKind::Deduplication;
        // Both were checked when it was declared.
        let rules = Rules::from_arguments(&exchange.arguments, is_type).unwrap_or_default();
        let length = (exchange.kind == ExchangeKind::RecentHistory)
            .then(|| arguments::history_length(&exchange.arguments).ok())
            .flatten();
        Self {
            deduplication: rules
                .map(|rules| Arc::new(Deduplication::new(rules, keeper(), exchange.durable, store))),
            history: length.map(|length| {
                let store = exchange.durable.then(|| Arc::clone(store));
                Arc::new(History::new(keeper(), length, store))
            }),
        }
    }

    fn is_empty(&self) -> bool {
        self.deduplication.is_none() && self.history.is_none()
    }

    /// A message without a key goes where one with the same routing key and a key may not.
    pub(super) fn varies(&self) -> bool {
        self.deduplication.is_some()
    }

    /// The exchange is gone.
    pub(super) fn forget_all(&self, operations: &mut Vec<Operation>) {
        if let Some(deduplication) = &self.deduplication {
            deduplication.forget_all(operations);
        }
        if let Some(history) = &self.history {
            history.forget_all(operations);
        }
    }

    /// The messages that it would pass to whoever is bound now.
    pub(super) fn history(&self) -> Vec<Message> {
        self.history
            .as_ref()
            .map_or(Vec::new(), |history| history.messages())
    }
}

impl Traces {
    /// Whether an exchange on the way knew the message.
    pub fn is_duplicate(&self) -> bool {
        !self.duplicates.is_empty()
    }

    /// A queue refused the message, or there was none: it may come again.
    pub fn undo(&mut self) {
        for (deduplication, taken) in self.taken.drain(..) {
            deduplication.forget(&taken);
        }
        self.sequence = None;
    }

    /// The queues have answered: a message that was refused may come again, and one that is a duplicate of it was
    /// refused with it, as is one that another connection has on its way to queues that may still refuse it. Returns
    /// whether this one was.
    pub fn settle(&mut self, is_refused: bool, now: Timestamp) -> bool {
        if is_refused {
            self.undo();
        }
        self.decide();
        is_refused || (self.is_duplicate() && !self.is_of_taken(now))
    }

    /// Whether the message is a duplicate of others that no queue can refuse any more.
    pub fn is_of_taken(&self, now: Timestamp) -> bool {
        let mut duplicates = self.duplicates.iter();
        self.is_duplicate() && duplicates.all(|(deduplication, key)| deduplication.has_taken(key, now))
    }

    fn decide(&mut self) {
        for (deduplication, taken) in self.taken.drain(..) {
            deduplication.decide(&taken);
        }
    }
}

impl Drop for Traces {
    /// Nobody is left who could forget the keys.
    fn drop(&mut self) {
        self.decide();
    }
}

impl Passage<'_> {
    /// Whether the exchange lets the message through.
    pub(super) fn enter(&mut self, exchange: &Exchange, criteria: &Criteria<'_>, route: &mut Route) -> bool {
        // It has learnt the key when it began to delay the message, or before the message died.
        let name = &*exchange.definition.name;
        let comes_back = || {
            self.message
                .is_some_and(|message| dead_letter::was_published_to(message, name))
        };
        if let Some(deduplication) = &exchange.memory.deduplication
            && self.released_by != Some(name)
            && !comes_back()
            && let Some(key) = deduplication.key(criteria.properties)
        {
            route.varies = true;
            route.remembered = route.remembered.max(Remembered::Messages);
            let is_new = match self.message {
                None => !deduplication.knows(&key, self.now),
                Some(message) => {
                    let candidate = Candidate {
                        key,
                        properties: criteria.properties,
                        is_persistent: message.is_persistent(),
                        place: None,
                    };
                    let taken = deduplication.accept(&candidate, self.now);
                    let trace = taken.map(|taken| (Arc::clone(deduplication), taken));
                    self.traces.taken.extend(trace);
                    taken.is_some()
                }
            };
            if !is_new {
                self.traces.duplicates.push((Arc::clone(deduplication), key));
                route.remembered = Remembered::ThisOne;
                return false;
            }
        }
        true
    }

    /// The exchange passes the message on now.
    pub(super) fn note(&mut self, exchange: &Exchange, route: &mut Route) {
        if let Some(history) = &exchange.memory.history {
            route.remembered = route.remembered.max(Remembered::Messages);
            self.histories.push(Arc::clone(history));
        }
    }

    /// When it is, and how far that is ahead of the time of day, if exchanges on the way may delay the message. It is
    /// delayed only once.
    pub(super) fn delays_at(&self) -> Option<(Timestamp, u64)> {
        self.released_by
            .is_none()
            .then_some((self.now, self.ahead_millis))
    }

    /// The way has ended at these queues, or for now at exchanges that delay.
    pub(super) fn end(mut self, message: &Message, route: &Route) -> Traces {
        if route.queues.is_empty() && route.delays.is_empty() {
            self.traces.undo();
        }
        let traces = &mut self.traces;
        if message.is_persistent() {
            let taken = traces.taken.iter().map(|(keeper, _)| keeper);
            let keepers = taken.chain(traces.duplicates.iter().map(|(keeper, _)| keeper));
            traces.sequence = keepers.filter_map(|keeper| keeper.appended()).max();
        }
        let recorded = self.histories.iter().map(|history| history.record(message));
        let recorded = recorded.max().flatten().filter(|_| message.is_persistent());
        traces.sequence = traces.sequence.max(recorded);
        self.traces
    }
}

impl Vhost {
    /// Whether the arguments of a queue, or of an exchange of this kind, say properly what to remember.
    ///
    /// # Errors
    /// The first that does not.
    pub(super) fn check_memory(arguments: &FieldTable, kind: Option<ExchangeKind>) -> Result<(), Refusal> {
        Rules::from_arguments(arguments, kind == Some(ExchangeKind::Deduplication))
            .map(drop)
            .map_err(|refusal| Refusal::Argument(refusal.to_string()))
    }

    /// Lets a new exchange remember what it is to remember.
    pub(super) fn equip(&self, topology: &mut Topology, name: &str) {
        if let Some(exchange) = topology.exchanges.get_mut(name) {
            exchange.memory = Memory::new(self, &exchange.definition);
            self.note_memory(!exchange.memory.is_empty());
        }
    }

    /// Something new remembers messages, if it `remembers`.
    pub(super) fn note_memory(&self, remembers: bool) {
        self.remembers.fetch_or(remembers, Ordering::AcqRel);
    }

    /// Takes over keys that exchanges and queues knew; those of each stand together.
    pub fn recover_keys(&self, rows: &[KeyRow]) {
        let topology = self.topology.read();
        for rows in rows.chunk_by(|left, right| left.keeper == right.keeper) {
            let Keeper { kind, name, .. } = &*rows[0].keeper;
            match kind {
                DestinationKind::Queue => {
                    if let Some(queue) = topology.queues.get(name) {
                        queue.recover_keys(rows);
                    }
                }
                DestinationKind::Exchange => {
                    let exchange = topology.exchanges.get(name);
                    let deduplication = exchange.and_then(|exchange| exchange.memory.deduplication.as_ref());
                    if let Some(deduplication) = deduplication {
                        deduplication.recover(rows);
                    }
                }
            }
        }
    }

    /// Takes over the histories of exchanges; the messages of each stand together.
    pub fn recover_history(&self, rows: &[HistoryRow]) {
        let topology = self.topology.read();
        for rows in rows.chunk_by(|left, right| left.keeper == right.keeper) {
            let exchange = topology.exchanges.get(&rows[0].keeper.name);
            if let Some(history) = exchange.and_then(|exchange| exchange.memory.history.as_ref()) {
                history.recover(rows);
            }
        }
    }

    /// Keeps the store from ending a group, if anything remembers messages: for a message's traces and its
    /// entry into queues.
    pub fn hold(&self) -> Option<Hold<'_>> {
        self.remembers
            .load(Ordering::Acquire)
            .then(|| Hold::new(&*self.stores.durable))
    }

    /// Routes a message that is about to enter its queues, and leaves its traces. `copies` are routing keys besides
    /// its own. Nowhere if the exchange is gone.
    pub fn pass(&self, message: &Message, copies: &[Vec<u8>]) -> (Route, Traces) {
        let Ok(exchange) = std::str::from_utf8(message.exchange()) else {
            return <_>::default();
        };
        let mut keys = vec![message.routing_key()];
        keys.extend(copies.iter().map(Vec::as_slice));
        self.pass_from(exchange, message, &keys)
    }

    /// [`Traces::settle`] now.
    pub fn settle_traces(&self, traces: &mut Traces, is_refused: bool) -> bool {
        traces.settle(is_refused, self.surroundings.clock.now())
    }

    /// [`Vhost::pass`] from any exchange, internal ones too, with these routing keys.
    pub(super) fn pass_from(&self, exchange: &str, message: &Message, keys: &[&[u8]]) -> (Route, Traces) {
        let criteria = Criteria {
            routing_keys: keys,
            properties: message.properties(),
        };
        let mut route = Route::default();
        let mut passage = self.passage(Some(message));
        let topology = self.topology.read();
        if let Some(start) = topology.exchanges.get(exchange) {
            topology.walk(start, &criteria, &mut passage, &mut route);
        }
        // Before the lock is gone: a deleted exchange writes nothing more.
        let traces = passage.end(message, &route);
        (route, traces)
    }

    /// Gives a history to an exchange that was bound; see [`replay`].
    pub(super) fn replay_through(&self, history: Vec<Message>, exchange: &str) -> Option<Sequence> {
        let mut sequence = None;
        for message in history {
            let (route, traces) = self.pass_from(exchange, &message, &[message.routing_key()]);
            sequence = sequence.max(traces.sequence).max(route.delay(&message, None));
            for queue in &route.queues {
                sequence = sequence.max(replay(vec![message.clone()], queue));
            }
        }
        sequence
    }

    /// A way through exchanges; without a message it leaves no traces.
    pub(super) fn passage<'a>(&self, message: Option<&'a Message>) -> Passage<'a> {
        Passage {
            message,
            now: self.surroundings.clock.now(),
            ahead_millis: self.surroundings.clock.ahead_millis(),
            released_by: None,
            traces: Traces::default(),
            histories: SmallVec::new(),
        }
    }

    /// The same for one that `exchange` has delayed.
    pub(super) fn release<'a>(&self, message: Option<&'a Message>, exchange: &'a str) -> Passage<'a> {
        Passage {
            released_by: Some(exchange),
            ..self.passage(message)
        }
    }
}

/// Gives a history to a queue that was bound. Returns what has to be committed.
pub(super) fn replay(history: Vec<Message>, queue: &Arc<LiveQueue>) -> Option<Sequence> {
    if history.is_empty() {
        return None;
    }
    let published = queue.publish(history.into_iter());
    published.sequence.filter(|_| queue.definition.durable)
}

#[cfg(test)]
mod tests;
