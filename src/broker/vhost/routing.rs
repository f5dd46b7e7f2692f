//! From an exchange and routing keys to the set of queues: through exchange-to-exchange bindings and alternates.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::super::exchange::ExchangeKind;
use super::super::live_queue::LiveQueue;
use super::super::refusal::{Entity, Refusal};
use super::replies::is_reply_queue_name;
use super::{Destination, Exchange, Topology, Vhost};

/// Where a message goes.
#[derive(Clone, Debug, Default)]
pub struct Route {
    /// Each queue once, in no order.
    pub queues: Vec<Arc<LiveQueue>>,
    /// A headers exchange took part: the next message with the same routing key may go elsewhere.
    pub depends_on_headers: bool,
    /// It is a reply and its requester is gone: nobody gets it, and nobody is told.
    pub is_late_reply: bool,
}

impl Route {
    /// Nothing takes the message: a publisher that asked to be told is told so.
    pub fn is_unroutable(&self) -> bool {
        self.queues.is_empty() && !self.is_late_reply
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

    /// Finds the queues for a message published to `exchange` with these routing keys (more than one with CC or
    /// BCC). `headers` are the entries of its header table.
    ///
    /// # Errors
    /// When the exchange is missing or internal.
    pub fn route(
        &self,
        exchange: &[u8],
        routing_keys: &[&[u8]],
        headers: Option<&[u8]>,
    ) -> Result<Route, Refusal> {
        let topology = self.topology.read();
        let exchange = topology.publishable(exchange)?;
        let mut route = Route::default();
        topology.walk(exchange, routing_keys, headers, &mut route);
        Ok(route)
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
    fn walk<'a>(
        &'a self,
        start: &'a Exchange,
        routing_keys: &[&[u8]],
        headers: Option<&[u8]>,
        route: &mut Route,
    ) {
        let mut seen_queues = FxHashSet::default();
        let mut seen_exchanges = FxHashSet::default();
        let mut ahead = vec![start];
        seen_exchanges.insert(Arc::clone(&start.definition.name));
        let mut found = Vec::new();
        while let Some(exchange) = ahead.pop() {
            route.depends_on_headers |= exchange.definition.kind == ExchangeKind::Headers;
            found.clear();
            for routing_key in routing_keys {
                if exchange.definition.name.is_empty() {
                    let Ok(name) = std::str::from_utf8(routing_key) else {
                        continue;
                    };
                    let queue = self.queues.get(name).or_else(|| self.reply_queues.get(name));
                    route.is_late_reply |= queue.is_none() && is_reply_queue_name(name);
                    found.extend(queue.cloned().map(Destination::Queue));
                } else {
                    exchange.bindings.route(routing_key, headers, &mut |destination| {
                        found.push(destination.clone());
                    });
                }
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
