//! The broker's time: where it begins, and who is called when it passes.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::task::yield_now;
use tokio::time::sleep_until;

use crate::broker::Broker;
use crate::clock::{Clock, Timestamp};

/// A clock that shows the time of day now, and goes on by itself.
pub(super) fn clock() -> Clock {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
    Clock::new(Instant::now(), Timestamp::from_millis(millis))
}

/// Calls whoever waits for a time, for ever.
pub(super) async fn fire_timers(broker: Arc<Broker>) {
    let mut pause = pin!(sleep_until(tokio::time::Instant::now()));
    loop {
        poll_fn(|context| {
            let Some(instant) = broker
                .timers
                .poll_next(context.waker())
                .and_then(|at| broker.clock.instant(at))
            else {
                return Poll::Pending;
            };
            let instant = tokio::time::Instant::from_std(instant);
            if pause.deadline() != instant {
                pause.as_mut().reset(instant);
            }
            pause.as_mut().poll(context)
        })
        .await;
        broker.clock.advance(Instant::now());
        broker.timers.fire(broker.clock.now());
        // Others have their turn, however much is due.
        yield_now().await;
    }
}
