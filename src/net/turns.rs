//! Turns of connections that never rest: one after the other, whichever worker they are on.
//!
//! A worker of the runtime has a queue of its own, and takes from another's only when that is empty. Connections that
//! always have more to do would stay with the worker they are on, and those of a crowded one have a fraction of what
//! the others have. So they ask here: each gets a turn when all who asked before it have had theirs. Who rests now and
//! then needs not ask, and waits for one such turn at most, not for all of them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// After so many turns without a rest a connection asks for each further one.
const RESTLESS_TURNS: u8 = 4;

/// The turns of all connections: as many at a time as there are workers, in the order in which they were asked for.
#[derive(Clone, Debug)]
pub(super) struct Turns(Arc<Semaphore>);

/// One connection's place in the order.
pub(super) struct Turn {
    turns: Turns,
    state: State,
    /// Turns without a rest, less the rests since.
    restless: u8,
}

type Asking = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

enum State {
    /// It has not asked.
    Free,
    Waiting(Asking),
    Has(#[expect(dead_code, reason = "others may have it once it is dropped")] OwnedSemaphorePermit),
}

impl Turns {
    /// As many at a time as the runtime has workers.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(
            Handle::current().metrics().num_workers(),
        )))
    }

    /// The place of one more connection.
    pub(super) fn place(&self) -> Turn {
        Turn {
            turns: self.clone(),
            state: State::Free,
            restless: 0,
        }
    }
}

impl Turn {
    /// Ready when a turn may begin: at once for who has not asked for it.
    pub(super) fn poll_begin(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let State::Waiting(asking) = &mut self.state {
            let permit = ready!(asking.as_mut().poll(context)).expect("nobody closes the turns");
            self.state = State::Has(permit);
            // It was woken to be the worker's next; those who have waited there go first.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// The turn is over, and there is no more to do.
    pub(super) fn rest(&mut self) {
        self.state = State::Free;
        self.restless = self.restless.saturating_sub(1);
    }

    /// The turn is over, and there is more to do: the connection is woken for another one.
    pub(super) fn go_on(&mut self, context: &mut Context<'_>) {
        // What it has is free before it asks: it is behind all who wait.
        self.state = State::Free;
        if self.restless < RESTLESS_TURNS {
            self.restless += 1;
        } else {
            let mut asking: Asking = Box::pin(Arc::clone(&self.turns.0).acquire_owned());
            match asking.as_mut().poll(context) {
                Poll::Ready(permit) => self.state = State::Has(permit.expect("nobody closes the turns")),
                Poll::Pending => {
                    self.state = State::Waiting(asking);
                    return;
                }
            }
        }
        context.waker().wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Has a turn now.
    fn begins(turn: &mut Turn) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        // The first of two polls may only have put it behind its worker's others.
        turn.poll_begin(&mut context).is_ready() || turn.poll_begin(&mut context).is_ready()
    }

    fn go_on(turn: &mut Turn) {
        assert!(begins(turn));
        turn.go_on(&mut Context::from_waker(Waker::noop()));
    }

    fn restless(turns: &Turns) -> Turn {
        let mut turn = turns.place();
        (0..RESTLESS_TURNS).for_each(|_| go_on(&mut turn));
        turn
    }

    #[tokio::test]
    async fn who_never_rests_waits_for_all_who_asked_before() {
        let turns = Turns::new();
        let mut all = [restless(&turns), restless(&turns), restless(&turns)];
        all.iter_mut().for_each(go_on);
        for _ in 0..10 {
            for now in 0..3 {
                let begun: Vec<bool> = all.iter_mut().map(begins).collect();
                assert_eq!(begun, [now == 0, now == 1, now == 2]);
                go_on(&mut all[now]);
            }
        }
    }

    #[tokio::test]
    async fn who_rests_as_often_need_not_ask() {
        let turns = Turns::new();
        let mut busy = restless(&turns);
        go_on(&mut busy);
        let mut other = turns.place();
        for _ in 0..10 {
            go_on(&mut other);
            assert!(begins(&mut other));
            other.rest();
        }
        // With two turns for each rest it has to ask in the end.
        for _ in 1..RESTLESS_TURNS {
            (0..2).for_each(|_| go_on(&mut other));
            assert!(begins(&mut other));
            other.rest();
        }
        (0..2).for_each(|_| go_on(&mut other));
        assert!(!begins(&mut other));
    }

    #[tokio::test]
    async fn a_turn_is_free_when_its_connection_rests_or_is_gone() {
        let turns = Turns::new();
        let (mut first, mut second, mut third) = (restless(&turns), restless(&turns), restless(&turns));
        [&mut first, &mut second, &mut third].into_iter().for_each(go_on);
        assert!(!begins(&mut third));
        drop(second);
        first.rest();
        assert!(begins(&mut third));
        let mut fourth = restless(&turns);
        go_on(&mut fourth);
        drop(third);
        assert!(begins(&mut fourth));
    }
}
