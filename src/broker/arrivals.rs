//! Room for the bodies of large messages that arrive in parts. Who announces one waits until there is room for all of
//! it, and is then read to its end: so each that was begun can be finished, and halves never fill the memory.
//!
//! A connection of which a half has come can not wait, for nobody would read the rest of that half: its channels share
//! one socket. So there is as much room again, for the next bodies of such connections only; what finds none there is
//! refused.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// Of the room for all, and of that for who can not wait.
    max: u64,
    taken: u64,
    /// Of the room for who can not wait.
    taken_beyond: u64,
    /// How many places for bodies that are not whole each connection has.
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
    is_beyond: bool,
    is_whole: AtomicBool,
}

impl Default for Arrivals {
    /// There is room without end.
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            max: u64::MAX,
            taken: 0,
            taken_beyond: 0,
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

    /// Asks for room, behind all who wait. A connection of which a part of a body has come does not wait; `None` if
    /// there is no room for it.
    pub fn ask(&self, owner: ConnectionId, bytes: u64) -> Option<Place> {
        let mut state = self.0.lock();
        let number = state.next;
        let is_at_once = state.waiting.is_empty() && state.has_room(bytes);
        let is_beyond = !is_at_once && state.holders.contains_key(&owner);
        if is_beyond && state.taken_beyond.saturating_add(bytes) > state.max {
            return None;
        }
        state.next += 1;
        if is_at_once || is_beyond {
            state.take(owner, bytes, is_beyond);
        } else {
            state.waiting.push_back(Waiter {
                number,
                owner,
                bytes,
                waker: None,
            });
        }
        Some(Place {
            state: Arc::clone(&self.0),
            number,
            owner,
            bytes,
            is_beyond,
            is_whole: AtomicBool::new(false),
        })
    }
}

impl Place {
    /// Whether the body may be read.
    pub fn is_granted(&self) -> bool {
        self.state.lock().find(self.number).is_none()
    }

    /// All of the body has come. It keeps its room, but its owner can wait for the next.
    pub fn whole(&self) {
        let mut state = self.state.lock();
        if !self.is_whole.swap(true, Ordering::Relaxed) {
            state.let_wait(self.owner);
        }
    }

    /// The same as [`Place::is_granted`]; if not, `waker` is called when it may.
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
            if let Some(at) = state.find(self.number) {
                state.waiting.remove(at);
            } else {
                *state.taken_of(self.is_beyond) -= self.bytes;
                if !*self.is_whole.get_mut() {
                    state.let_wait(self.owner);
                }
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

    fn taken_of(&mut self, is_beyond: bool) -> &mut u64 {
        if is_beyond {
            &mut self.taken_beyond
        } else {
            &mut self.taken
        }
    }

    fn take(&mut self, owner: ConnectionId, bytes: u64, is_beyond: bool) {
        *self.taken_of(is_beyond) += bytes;
        *self.holders.entry(owner).or_default() += 1;
    }

    /// One of the bodies for which this connection could not wait is no half any more.
    fn let_wait(&mut self, owner: ConnectionId) {
        let halves = self.holders.get_mut(&owner).expect("it has this one");
        *halves -= 1;
        if *halves == 0 {
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
            self.take(owner, bytes, false);
            wakers.extend(waker);
        }
        wakers
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
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

    fn ask(arrivals: &Arrivals, owner: u64, bytes: u64) -> Place {
        arrivals
            .ask(ConnectionId(owner), bytes)
            .expect("it can wait, or there is room")
    }

    fn are_granted<const N: usize>(places: [&Place; N]) -> [bool; N] {
        places.map(Place::is_granted)
    }

    #[test]
    fn who_finds_no_room_waits_in_order_and_is_woken_once() {
        let arrivals = arrivals(100);
        let [first, second] = [1, 2].map(|owner| ask(&arrivals, owner, 50));
        let large = ask(&arrivals, 3, 100);
        let small = ask(&arrivals, 4, 1);
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
    fn who_has_a_half_gets_as_much_room_again_and_no_more() {
        let arrivals = arrivals(100);
        let own = ask(&arrivals, 1, 100);
        let other = ask(&arrivals, 2, 10);
        let more = ask(&arrivals, 1, 99);
        assert_eq!(are_granted([&own, &other, &more]), [true, false, true]);
        for _ in 0..20 {
            assert!(arrivals.ask(ConnectionId(1), 2).is_none());
        }
        let last = ask(&arrivals, 1, 1);
        assert!(last.is_granted());
        drop(own);
        assert!(other.is_granted(), "what is beyond is nothing to who waits");
        drop(more);
        assert!(ask(&arrivals, 1, 99).is_granted());
    }

    #[test]
    fn who_has_only_whole_bodies_waits_behind_others() {
        let arrivals = arrivals(100);
        let own = ask(&arrivals, 1, 100);
        let other = ask(&arrivals, 2, 10);
        own.whole();
        own.whole();
        let next = ask(&arrivals, 1, 100);
        assert_eq!(
            are_granted([&other, &next]),
            [false, false],
            "the first has its room yet"
        );
        drop(own);
        assert_eq!(are_granted([&other, &next]), [true, false]);
        drop(other);
        assert!(next.is_granted());
    }

    #[test]
    fn one_always_may_and_who_goes_while_waiting_holds_up_nobody() {
        let arrivals = arrivals(0);
        let first = ask(&arrivals, 1, u64::from(u32::MAX));
        let second = ask(&arrivals, 2, 1000);
        let third = ask(&arrivals, 3, 1000);
        assert_eq!(are_granted([&first, &second, &third]), [true, false, false]);
        drop(second);
        assert!(!third.is_granted());
        drop(first);
        assert!(third.is_granted());
        let fourth = ask(&arrivals, 4, 1000);
        arrivals.bound(2000);
        assert!(fourth.is_granted());
    }
}
