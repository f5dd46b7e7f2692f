//! Who wants to be called when: one list for all queues and other things that wait for a time.
//!
//! Nothing happens by itself: a shell asks for the next time and calls [`Timers::fire`] when it has come. A thing
//! has one entry at most; being called early is harmless, so only what ends needs to cancel.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::task::Waker;

use parking_lot::Mutex;

use crate::clock::Timestamp;

/// Something that waits for a time.
pub trait Timed: Send + Sync {
    /// Its time has come, or is near. It asks for the next call itself.
    fn is_due(self: Arc<Self>);
}

/// Tells apart what waits; see [`Timers::register`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerId(u64);

/// The list.
#[derive(Default)]
pub struct Timers(Mutex<State>);

#[derive(Default)]
struct State {
    due: BTreeMap<(Timestamp, TimerId), Weak<dyn Timed>>,
    registered: u64,
    waker: Option<Waker>,
}

impl Timers {
    /// A number for something that will wait.
    pub fn register(&self) -> TimerId {
        let mut state = self.0.lock();
        state.registered += 1;
        TimerId(state.registered)
    }

    /// Calls `who` at `at` and no longer at `instead_of`, which is what it last asked for and was not called at yet.
    /// Returns whom to wake once no lock is held: the shell, if it has to fire earlier than it knew.
    pub fn schedule(
        &self,
        id: TimerId,
        at: Timestamp,
        instead_of: Option<Timestamp>,
        who: Weak<dyn Timed>,
    ) -> Option<Waker> {
        let mut state = self.0.lock();
        if let Some(old) = instead_of {
            state.due.remove(&(old, id));
        }
        let is_first = state
            .due
            .first_key_value()
            .is_none_or(|((first, _), _)| at < *first);
        state.due.insert((at, id), who);
        is_first.then(|| state.waker.take()).flatten()
    }

    /// No longer calls at `at`, which is what was last asked for: what waited is gone. Else its memory would be kept
    /// until then.
    pub fn cancel(&self, id: TimerId, at: Timestamp) {
        self.0.lock().due.remove(&(at, id));
    }

    /// Calls everybody whose time is `now` or earlier. What they ask for meanwhile waits for the next call, so that
    /// this one ends.
    pub fn fire(&self, now: Timestamp) {
        let due = {
            let mut state = self.0.lock();
            let later = state.due.split_off(&(now.plus(1), TimerId(0)));
            std::mem::replace(&mut state.due, later)
        };
        for who in due.into_values().filter_map(|who| who.upgrade()) {
            who.is_due();
        }
    }

    /// When [`Timers::fire`] has to be called next; `waker` is called when that moves closer.
    pub fn poll_next(&self, waker: &Waker) -> Option<Timestamp> {
        let mut state = self.0.lock();
        state.waker = Some(waker.clone());
        state.due.first_key_value().map(|((first, _), _)| *first)
    }

    /// When [`Timers::fire`] has to be called next.
    pub fn next(&self) -> Option<Timestamp> {
        let state = self.0.lock();
        state.due.first_key_value().map(|((first, _), _)| *first)
    }
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers")
            .field("next", &self.next())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Timed for Counter {
        fn is_due(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_is_called_once_when_its_time_has_come() {
        let timers = Timers::default();
        let counters: [Arc<Counter>; 3] = Default::default();
        let at = Timestamp::from_millis;
        for (counter, time) in counters.iter().zip([5, 5, 7]) {
            let who = Arc::downgrade(counter) as Weak<dyn Timed>;
            timers.schedule(timers.register(), at(time), None, who);
        }
        let counts = || {
            counters
                .each_ref()
                .map(|counter| counter.0.load(Ordering::Relaxed))
        };
        timers.fire(at(4));
        assert_eq!(counts(), [0, 0, 0]);
        timers.fire(at(5));
        timers.fire(at(6));
        assert_eq!(counts(), [1, 1, 0]);
        assert_eq!(timers.next(), Some(at(7)));
    }

    #[test]
    fn another_time_takes_the_place_of_the_old_one() {
        let timers = Timers::default();
        let counter = Arc::new(Counter::default());
        let who = || Arc::downgrade(&counter) as Weak<dyn Timed>;
        let (id, at) = (timers.register(), Timestamp::from_millis);
        timers.schedule(id, at(9), None, who());
        timers.schedule(id, at(3), Some(at(9)), who());
        timers.fire(at(9));
        assert_eq!(counter.0.load(Ordering::Relaxed), 1);
        assert_eq!(timers.next(), None);
    }
}
