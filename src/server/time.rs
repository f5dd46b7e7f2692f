//! The broker's time: where it begins, and who is called when it passes.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::task::yield_now;
use tokio::time::{interval, sleep_until};
use tracing::warn;

use crate::broker::Broker;
use crate::clock::{Clock, Timestamp};
use crate::store::{Operation, Sequence};

/// How often the time is noted, if anything was stored meanwhile.
const NOTE_INTERVAL: Duration = Duration::from_secs(10);

/// A clock that shows the time of day now, or what was noted if that is later, and goes on by itself.
pub(super) fn clock(noted: Option<Timestamp>) -> Clock {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
    Clock::resumed(
        Instant::now(),
        Timestamp::from_millis(millis),
        noted.unwrap_or(Timestamp::MIN),
    )
}

/// Tells the operator if the time of day is behind what was noted.
pub(super) fn warn_of_step(clock: &Clock) {
    let ahead = Duration::from_millis(clock.ahead_millis());
    if ahead >= Duration::from_secs(1) {
        warn!(
            ahead = %humantime::format_duration(ahead),
            "the system's clock has gone back since the last run; the broker's goes on from there"
        );
    }
}

/// Notes the time again and again, for the next start; an idle broker writes nothing.
pub(super) async fn note_time(broker: Arc<Broker>) {
    let mut noted = broker.stores.durable.committed();
    let mut ticks = interval(NOTE_INTERVAL);
    loop {
        ticks.tick().await;
        if broker.stores.durable.committed() > noted {
            noted = note_once(&broker);
        }
    }
}

/// Notes what the clock shows now.
pub(super) fn note_once(broker: &Broker) -> Sequence {
    broker.clock.advance(Instant::now());
    let note = Operation::NoteTime(broker.clock.now());
    broker.stores.durable.append(&mut vec![note])
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
