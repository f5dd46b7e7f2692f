//! From an exchange and routing keys to the set of queues: through exchange-to-exchange bindings and alternates.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use crate::amqp::content;
use crate::clock::Timestamp;
use crate::message::Message;
use crate::store::Sequence;

use super::super::delayed::{DelayedMessages, due};
use super::super::exchange::Criteria;
use super::super::live_queue::LiveQueue;
use super::super::refusal::{Entity, Refusal};
use super::passage::Passage;
use super::replies::is_reply_queue_name;
use super::{Destination, Exchange, Topology, Vhost};

/// Where a message goes.
#[derive(Clone, Debug, Default)]
pub struct Route {
    /// Each queue once, in no order.
    pub queues: Vec<Arc<LiveQueue>>,
    /// Exchanges that keep it for later.
    pub delays: Vec<Delay>,
    /// Another message with the same routing key may go elsewhere: headers, properties or chance took part.
    pub varies: bool,
    /// What exchanges on the way remember.
    pub remembered: Remembered,
    /// Routing keys of CC and BCC, of a message that leaves traces.
    pub copies: Vec<Vec<u8>>,
    /// It is a reply and its requester is gone: nobody gets it, and nobody is told.
    pub is_late_reply: bool,
}

/// A message's way ends at an exchange, which goes on with it later.
#[derive(Clone, Debug)]
pub struct Delay {
    pub(super) by: Arc<DelayedMessages>,
    due: Timestamp,
    /// Routing keys besides the message's own.
    pub(super) copies: Vec<Vec<u8>>,
}

/// What exchanges that a message passes remember.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remembered {
    /// Nothing.
    #[default]
    Nothing,
    /// Messages: [`Vhost::pass`] takes this one there.
    Messages,
    /// This very message: it is a duplicate.
    ThisOne,
}

impl Route {
    /// Exchanges on the way remember messages: [`Vhost::pass`] takes this one there.
    #[inline]
    pub fn leaves_traces(&self) -> bool {
        self.remembered != Remembered::Nothing
    }

    /// It leads to queues, and nothing else happens on the way.
    pub fn is_straight(&self) -> bool {
        !self.queues.is_empty() && self.delays.is_empty() && !self.is_late_reply && !self.leaves_traces()
    }

    /// Nothing takes the message: a publisher that asked to be told is told so.
    #[inline]
    pub fn is_unroutable(&self) -> bool {
        self.queues.is_empty()
            && self.delays.is_empty()
            && !self.is_late_reply
            && self.remembered != Remembered::ThisOne
    }

    /// Whether an exchange keeps the message over a restart.
    pub fn is_kept_later(&self) -> bool {
        self.delays.iter().any(|delay| delay.by.is_durable())
    }

    /// Hands the message that was routed to the exchanges that delay it; the queues are the caller's part. Nobody sees
    /// it before `after` is committed. Returns what has to be committed before it is safe with them.
    pub fn delay(&self, message: &Message, after: Option<Sequence>) -> Option<Sequence> {
        let added = self
            .delays
            .iter()
            .map(|delay| delay.by.add(message, delay.due, &delay.copies, after));
        added.max().flatten()
    }
}

impl Vhost {
    /// Whether publishers may use the exchange.
    ///
    /// # Errors
    /// When it is missing or internal.
    pub fn check_publish(&self, exchange: &[u8]) -> Result<(), Refusal> {
        self.topology.read().publishable(exchange).map(|_| ())
    }

    /// Finds the queues for a message published to `exchange`.
    ///
    /// # Errors
    /// When the exchange is missing or internal.
    pub fn route(&self, exchange: &[u8], criteria: &Criteria<'_>) -> Result<Route, Refusal> {
        let topology = self.topology.read();
        let exchange = topology.publishable(exchange)?;
        let mut route = Route::default();
        topology.walk(exchange, criteria, &mut self.passage(None), &mut route);
        Ok(route)
    }
}

impl Exchange {
    /// Where the message's way ends if this exchange delays it.
    fn delay(&self, criteria: &Criteria<'_>, (now, ahead_millis): (Timestamp, u64)) -> Option<Delay> {
        let by = self.delayed.as_ref()?;
        let headers = content::headers_range(criteria.properties)?;
        Some(Delay {
            by: Arc::clone(by),
            due: due::due(&criteria.properties[headers], now, ahead_millis)?,
            copies: criteria
                .routing_keys
                .iter()
                .skip(1)
                .map(|key| key.to_vec())
                .collect(),
        })
    }
}

impl Topology {
    fn publishable(&self, name: &[u8]) -> Result<&Exchange, Refusal> {
        let found = std::str::from_utf8(name)
            .ok()
            .and_then(|name| self.exchanges.get(name));
        let exchange =
            found.ok_or_else(|| Refusal::NotFound(Entity::Exchange(String::from_utf8_lossy(name).into())))?;
        if exchange.definition.internal {
            return Err(Refusal::InternalExchange(Arc::clone(&exchange.definition.name)));
        }
        Ok(exchange)
    }

    /// Visits each exchange at most once, so that cycles end.
    pub(super) fn walk<'a>(
        &'a self,
        start: &'a Exchange,
        criteria: &Criteria<'_>,
        passage: &mut Passage<'_>,
        route: &mut Route,
    ) {
        let mut seen_queues = FxHashSet::default();
        let mut seen_exchanges = FxHashSet::default();
        let mut ahead = vec![start];
        seen_exchanges.insert(Arc::clone(&start.definition.name));
        let mut found = Vec::new();
        while let Some(exchange) = ahead.pop() {
            if !passage.enter(exchange, criteria, route) {
                continue;
            }
            route.varies |=
                exchange.bindings.varies() || exchange.delayed.is_some() || exchange.memory.varies();
            if let Some(delay) = passage.delays_at().and_then(|now| exchange.delay(criteria, now)) {
                route.delays.push(delay);
                continue;
            }
            passage.note(exchange, route);
            found.clear();
            if exchange.definition.name.is_empty() {
                let names = criteria.routing_keys.iter();
                for name in names.filter_map(|name| std::str::from_utf8(name).ok()) {
                    let queue = self.queues.get(name).or_else(|| self.reply_queues.get(name));
                    route.is_late_reply |= queue.is_none() && is_reply_queue_name(name);
                    found.extend(queue.cloned().map(Destination::Queue));
                }
            } else {
                exchange
                    .bindings
                    .route(criteria, &mut |destination| found.push(destination.clone()));
            }
            let alternate = exchange.alternate.iter().filter(|_| found.is_empty()).cloned();
            let alternate: Vec<_> = alternate.map(Destination::Exchange).collect();
            for destination in found.drain(..).chain(alternate) {
                match destination {
                    Destination::Queue(queue) => {
                        if seen_queues.insert(queue.id) {
                            route.queues.push(queue);
                        }
                    }
                    Destination::Exchange(name) => {
                        if let Some(next) = self.exchanges.get(&name)
                            && seen_exchanges.insert(name)
                        {
                            ahead.push(next);
                        }
                    }
                }
            }
        }
    }
}
