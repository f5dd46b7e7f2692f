//! Routes that this connection has used, so that a publish costs one lookup by its own bytes.

use rustc_hash::FxHashMap;

use crate::broker::LiveQueueId;
use crate::broker::vhost::Route;

/// Routes kept; more are forgotten all at once.
const ROUTES_MAX: usize = 4096;

/// Names a route until [`Routes::forget`] or [`Routes::forget_once`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteId {
    /// It may be used by later messages too.
    Kept(u32),
    /// It is for one message.
    Once(u32),
}

/// The cache. Its owner forgets it when the vhost's version moves.
#[derive(Debug, Default)]
pub struct Routes {
    /// The vhost's version that the routes are true for.
    pub version: u64,
    /// How often all were forgotten.
    epoch: u64,
    by_key: FxHashMap<Box<[u8]>, u32>,
    /// Each way to go once, whatever keys lead there.
    kept: Vec<Route>,
    /// Those that lead to these queues, as they stand in the route, and nowhere else.
    by_queues: FxHashMap<Box<[LiveQueueId]>, u32>,
    once: Vec<Route>,
    last_key: Vec<u8>,
    last: u32,
}

impl Routes {
    /// The route for a message with this envelope (exchange and routing key).
    #[inline]
    pub fn find(&mut self, envelope: &[u8]) -> Option<RouteId> {
        if envelope == self.last_key && !self.kept.is_empty() {
            return Some(RouteId::Kept(self.last));
        }
        let id = *self.by_key.get(envelope)?;
        self.last = id;
        self.last_key.clear();
        self.last_key.extend_from_slice(envelope);
        Some(RouteId::Kept(id))
    }

    /// Keeps a route for all messages with this envelope. Where another one leads to the same queues it is that one, so
    /// that what goes the same way is one run.
    pub fn keep(&mut self, envelope: &[u8], route: Route) -> RouteId {
        let next = u32::try_from(self.kept.len()).expect("there are at most ROUTES_MAX");
        let id = if route.is_straight() {
            let queues = route.queues.iter().map(|queue| queue.id).collect();
            *self.by_queues.entry(queues).or_insert(next)
        } else {
            next
        };
        if id == next {
            self.kept.push(route);
        }
        self.by_key.insert(envelope.into(), id);
        RouteId::Kept(id)
    }

    /// Holds a route until the batch that uses it is flushed.
    pub fn once(&mut self, route: Route) -> RouteId {
        self.once.push(route);
        RouteId::Once(u32::try_from(self.once.len() - 1).expect("batches are small"))
    }

    /// Another one each time that the routes are forgotten.
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether it is time to [`Routes::forget`] before another route is kept.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.by_key.len() >= ROUTES_MAX
    }

    /// The route of that number.
    #[inline]
    pub fn get(&self, id: RouteId) -> &Route {
        match id {
            RouteId::Kept(id) => &self.kept[id as usize],
            RouteId::Once(id) => &self.once[id as usize],
        }
    }

    /// Forgets everything; no batch may refer to it.
    pub fn forget(&mut self, version: u64) {
        *self = Self {
            version,
            epoch: self.epoch + 1,
            ..Self::default()
        };
    }

    /// Forgets the route of a message that no batch takes, if it is for that message only and was made last.
    pub fn drop_unused(&mut self, id: RouteId) {
        if let RouteId::Once(index) = id
            && index as usize + 1 == self.once.len()
        {
            self.once.pop();
        }
    }

    /// Forgets the routes for single messages.
    pub fn forget_once(&mut self) {
        self.once.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_nobody_uses_takes_no_room() {
        let mut routes = Routes::default();
        let used = routes.once(Route::default());
        for _ in 0..1_000 {
            let unused = routes.once(Route::default());
            routes.drop_unused(unused);
        }
        routes.drop_unused(RouteId::Kept(0));
        assert_eq!(used, RouteId::Once(0));
        assert_eq!(routes.once.len(), 1);
    }
}
