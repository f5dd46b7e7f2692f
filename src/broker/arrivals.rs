//! Room for the bodies of large messages that arrive in parts. Who announces one waits until there is room for all of
//! it, and is then read to its end: so each that was begun can be finished, and halves never fill the memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::ConnectionId;

/// To be called when the lock is gone.
type Wakers = SmallVec<[Waker; 4]>;

#[derive(Debug)]
struct Waiter {
    /// In the order in which they came.
    number: u64,
    owner: ConnectionId,
    bytes: u64,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct State {
    max: u64,
    taken: u64,
    /// Places that each connection has.
    holders: FxHashMap<ConnectionId, usize>,
    waiting: VecDeque<Waiter>,
    next: u64,
}

/// All bodies that arrive, and those that wait.
#[derive(Debug)]
pub struct Arrivals(Arc<Mutex<State>>);

/// Room for one body, or the wait for it; ends when it is dropped.
#[derive(Debug)]
pub struct Place {
    state: Arc<Mutex<State>>,
    number: u64,
    owner: ConnectionId,
    bytes: u64,
}

impl Default for Arrivals {
    /// There is room without end.
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            max: u64::MAX,
            taken: 0,
            holders: FxHashMap::default(),
            waiting: VecDeque::new(),
            next: 0,
        })))
    }
}

impl Arrivals {
    /// Bodies that arrive have so many bytes together from now on; one always may.
    pub fn bound(&self, bytes: u64) {
        let wakers = {
            let mut state = self.0.lock();
            state.max = bytes;
            state.admit()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Asks for room, behind all who wait. A connection that has a place does not wait for another: while it did, nobody
    /// would read the rest of the first.
    pub fn ask(&self, owner: ConnectionId, bytes: u64) -> Place {
        let mut state = self.0.lock();
        let number = state.next;
        state.next += 1;
        if state.holders.contains_key(&owner) || (state.waiting.is_empty() && state.has_room(bytes)) {
            state.take(owner, bytes);
        } else {
            state.waiting.push_back(Waiter {
                number,
                owner,
                bytes,
                waker: None,
            });
        }
        Place {
            state: Arc::clone(&self.0),
            number,
            owner,
            bytes,
        }
    }
}

impl Place {
    /// Whether the body may be read.
    pub fn is_granted(&self) -> bool {
        self.state.lock().find(self.number).is_none()
    }

    /// The same; if not, `waker` is called when it may.
    pub fn poll(&self, waker: &Waker) -> bool {
        let mut state = self.state.lock();
        match state.find(self.number) {
            None => true,
            Some(at) => {
                state.waiting[at].waker = Some(waker.clone());
                false
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let wakers = {
            let mut state = self.state.lock();
            match state.find(self.number) {
                Some(at) => drop(state.waiting.remove(at)),
                None => state.give_back(self.owner, self.bytes),
            }
            state.admit()
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl State {
    fn find(&self, number: u64) -> Option<usize> {
        self.waiting
            .binary_search_by_key(&number, |waiter| waiter.number)
            .ok()
    }

    fn has_room(&self, bytes: u64) -> bool {
        self.taken == 0 || self.taken.saturating_add(bytes) <= self.max
    }

    fn take(&mut self, owner: ConnectionId, bytes: u64) {
        self.taken += bytes;
        *self.holders.entry(owner).or_default() += 1;
    }

    fn give_back(&mut self, owner: ConnectionId, bytes: u64) {
        self.taken -= bytes;
        let places = self.holders.get_mut(&owner).expect("it has this one");
        *places -= 1;
        if *places == 0 {
            self.holders.remove(&owner);
        }
    }

    /// Lets those in who fit, in their order: who needs much is not overtaken for ever by those who need little.
    fn admit(&mut self) -> Wakers {
        let mut wakers = Wakers::new();
        while let Some(first) = self.waiting.front()
            && self.has_room(first.bytes)
        {
            let Waiter {
                owner, bytes, waker, ..
            } = self.waiting.pop_front().expect("it was just looked at");
            self.take(owner, bytes);
            wakers.extend(waker);
        }
        wakers
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn arrivals(max: u64) -> Arrivals {
        let arrivals = Arrivals::default();
        arrivals.bound(max);
        arrivals
    }

    fn are_granted<const N: usize>(places: [&Place; N]) -> [bool; N] {
        places.map(Place::is_granted)
    }

    #[test]
    fn who_finds_no_room_waits_in_order_and_is_woken_once() {
        let arrivals = arrivals(100);
        let [first, second] = [1, 2].map(|owner| arrivals.ask(ConnectionId(owner), 50));
        let large = arrivals.ask(ConnectionId(3), 100);
        let small = arrivals.ask(ConnectionId(4), 1);
        assert_eq!(
            are_granted([&first, &second, &large, &small]),
            [true, true, false, false]
        );
        let bell = Arc::<Bell>::default();
        assert!(!large.poll(&Waker::from(Arc::clone(&bell))));
        drop(first);
        assert_eq!(are_granted([&large, &small]), [false, false], "in their order");
        drop(second);
        assert_eq!(are_granted([&large, &small]), [true, false]);
        assert_eq!(bell.0.load(Ordering::Relaxed), 1);
        drop(large);
        assert!(small.is_granted());
        assert_eq!(bell.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn who_has_a_place_gets_another() {
        let arrivals = arrivals(100);
        let own = arrivals.ask(ConnectionId(1), 100);
        let other = arrivals.ask(ConnectionId(2), 10);
        let more = arrivals.ask(ConnectionId(1), 100);
        assert_eq!(are_granted([&own, &other, &more]), [true, false, true]);
        drop(own);
        let last = arrivals.ask(ConnectionId(1), 100);
        assert_eq!(are_granted([&other, &last]), [false, true]);
        drop((more, last));
        assert!(other.is_granted());
    }

    #[test]
    fn one_always_may_and_who_goes_while_waiting_holds_up_nobody() {
        let arrivals = arrivals(0);
        let first = arrivals.ask(ConnectionId(1), u64::from(u32::MAX));
        let second = arrivals.ask(ConnectionId(2), 1000);
        let third = arrivals.ask(ConnectionId(3), 1000);
        assert_eq!(are_granted([&first, &second, &third]), [true, false, false]);
        drop(second);
        assert!(!third.is_granted());
        drop(first);
        assert!(third.is_granted());
        let fourth = arrivals.ask(ConnectionId(4), 1000);
        arrivals.bound(2000);
        assert!(fourth.is_granted());
    }
}
