//! Exchanges of type `x-delayed-message`: what they are declared with, and where their messages go in the end.

use std::sync::Arc;

use amq_protocol::types::{AMQPValue, FieldTable};

use crate::message::Message;
use crate::store::{DelayedWay, Hold, Operation};

use super::super::delayed::DelayedMessages;
use super::super::exchange::{Criteria, ExchangeKind};
use super::super::live_queue::QueueOwner;
use super::super::refusal::Refusal;
use super::dead_letters::{Graves, takes_refused};
use super::passage::Passage;
use super::routing::Delay;
use super::{ExchangeDefinition, Route, Topology, Vhost};

const X_DELAYED_MESSAGE: &str = "x-delayed-message";
const X_DELAYED_TYPE: &str = "x-delayed-type";

/// Whether a declare may ask for this type.
pub fn is_exchange_type(name: &str) -> bool {
    name == X_DELAYED_MESSAGE || ExchangeKind::from_name(name).is_some()
}

/// How an exchange of this type routes, at once or later.
///
/// # Errors
/// When there is no such type, or an exchange that delays does not name one to route by.
pub(super) fn exchange_type(name: &str, arguments: &FieldTable) -> Result<ExchangeKind, Refusal> {
    let kind =
        |name: &str| ExchangeKind::from_name(name).ok_or_else(|| Refusal::UnknownExchangeType(name.into()));
    if name != X_DELAYED_MESSAGE {
        return kind(name);
    }
    let Some(AMQPValue::LongString(name)) = arguments.inner().get(X_DELAYED_TYPE) else {
        let text = "Invalid argument, 'x-delayed-type' must be an existing exchange type";
        return Err(Refusal::Argument(text.to_owned()));
    };
    let name = String::from_utf8_lossy(name.as_bytes());
    if name == X_DELAYED_MESSAGE {
        let text = "Invalid argument, 'x-delayed-message' can't be used for 'x-delayed-type'";
        return Err(Refusal::Argument(text.to_owned()));
    }
    kind(&name)
}

impl Vhost {
    /// What an exchange delays: to be counted, listed and cancelled. `None` when there is no such exchange, or it
    /// does not delay.
    pub fn delayed(&self, exchange: &str) -> Option<Arc<DelayedMessages>> {
        self.topology.read().exchanges.get(exchange)?.delayed.clone()
    }

    /// Whether a message with this route is only delayed, and by exchanges that have no queue for it now.
    pub fn lacks_queue(&self, route: &Route, message: &Message) -> bool {
        let topology = self.topology.read();
        let reaches_none = |delay: &Delay| {
            let mut passage = self.release(None, delay.by.exchange());
            topology
                .route_on(&delay.by, message, &delay.copies, &mut passage)
                .queues
                .is_empty()
        };
        route.queues.is_empty() && !route.delays.is_empty() && route.delays.iter().all(reaches_none)
    }

    /// The list of a new exchange's delayed messages, empty; none if it does not delay.
    pub(super) fn delayed_messages(
        &self,
        exchange: &ExchangeDefinition,
        operations: &mut Vec<Operation>,
    ) -> Result<Option<Arc<DelayedMessages>>, Refusal> {
        if &*exchange.type_name != X_DELAYED_MESSAGE {
            return Ok(None);
        }
        let new = |stored, store| {
            DelayedMessages::new(&self.surroundings, stored, &self.name, &exchange.name, store)
        };
        if !exchange.durable {
            return Ok(Some(new(None, &self.stores.spill)));
        }
        let id = self.surroundings.ids.durable().ok_or(Refusal::NoMoreQueues)?;
        let delayed = new(Some(id), &self.stores.durable);
        operations.push(delayed.declaration(id));
        Ok(Some(delayed))
    }

    /// Routes messages whose time has come. Their end there and their entry into the queues are one group of the
    /// store, so that a crash neither loses nor doubles one. They were confirmed when they were delayed: a queue that
    /// is full gets them later.
    pub(super) fn release_due(&self, delayed: &Arc<DelayedMessages>) {
        let hold = Hold::new(&*self.stores.durable);
        let (turn, due, left) = delayed.take_turn();
        let mut takers = Graves::default();
        {
            let topology = self.topology.read();
            for (index, entry) in due.iter().enumerate() {
                let message = &entry.message;
                let queues = match &entry.way {
                    DelayedWay::Exchange(copies) => {
                        let mut passage = self.release(Some(message), delayed.exchange());
                        let route = topology.route_on(delayed, message, copies, &mut passage);
                        passage.end(message, &route);
                        route.queues
                    }
                    DelayedWay::Queue(name) => topology.queues.get(name).cloned().into_iter().collect(),
                };
                for queue in queues {
                    takers.add(queue, index, message.clone());
                }
            }
        }
        for (queue, messages) in takers.list {
            let offered = messages.iter().map(|(_, message)| message.clone());
            let (published, dead) = queue.publish_dead(offered, left);
            let is_taken = dead.as_ref().is_some_and(takes_refused);
            if let Some(dead) = dead {
                self.bury(&queue, dead);
            }
            for refused in published.rejected.into_iter().filter(|_| !is_taken) {
                delayed.offer_again(messages[refused].1.clone(), &queue.definition.name);
            }
        }
        drop(hold);
        turn.end();
    }
}

impl Topology {
    /// Where a message goes that an exchange has delayed; nowhere when the exchange is gone. It is delayed only once.
    fn route_on(
        &self,
        by: &Arc<DelayedMessages>,
        message: &Message,
        copies: &[Vec<u8>],
        passage: &mut Passage<'_>,
    ) -> Route {
        let mut route = Route::default();
        let mut routing_keys = vec![message.routing_key()];
        routing_keys.extend(copies.iter().map(Vec::as_slice));
        let criteria = Criteria {
            routing_keys: &routing_keys,
            properties: message.properties(),
        };
        if let Some(exchange) = self.exchanges.get(by.exchange())
            && exchange
                .delayed
                .as_ref()
                .is_some_and(|delayed| Arc::ptr_eq(delayed, by))
        {
            self.walk(exchange, &criteria, passage, &mut route);
        }
        route
    }
}
