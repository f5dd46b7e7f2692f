//! Time as the core knows it: a number of milliseconds that its shells move.
//!
//! It starts from the wall clock, so that what is stored means the same after a restart, and goes on with the
//! monotonic one: a step of the wall clock while the broker runs lets no message expire and holds none back.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A point in time: milliseconds since the Unix epoch, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(NonZeroU64);

impl Timestamp {
    /// The earliest.
    pub const MIN: Self = Self(NonZeroU64::MIN);

    /// The point so many milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        match NonZeroU64::new(millis) {
            Some(millis) => Self(millis),
            None => Self::MIN,
        }
    }

    /// Milliseconds since the epoch.
    pub fn millis(self) -> u64 {
        self.0.get()
    }

    /// The point so many milliseconds later; the end of time if there is none.
    pub fn plus(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

/// What time it is. It never goes back, and stands still between two calls of [`Clock::advance`].
#[derive(Debug)]
pub struct Clock {
    origin: Instant,
    origin_at: Timestamp,
    now: AtomicU64,
}

impl Clock {
    /// A clock that shows `at` at the instant `origin`.
    pub fn new(origin: Instant, at: Timestamp) -> Self {
        Self {
            origin,
            origin_at: at,
            now: AtomicU64::new(at.millis()),
        }
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::Relaxed))
    }

    /// Moves it forward to `instant`, if it is not there already.
    pub fn advance(&self, instant: Instant) {
        let elapsed = instant.saturating_duration_since(self.origin).as_millis();
        let now = self
            .origin_at
            .plus(u64::try_from(elapsed).unwrap_or(u64::MAX))
            .millis();
        if self.now.load(Ordering::Relaxed) < now {
            self.now.fetch_max(now, Ordering::Relaxed);
        }
    }

    /// The instant at which it will show `at`; `None` when that is beyond what the system can count.
    pub fn instant(&self, at: Timestamp) -> Option<Instant> {
        let ahead = at.millis().saturating_sub(self.origin_at.millis());
        self.origin.checked_add(Duration::from_millis(ahead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_forward_only() {
        let origin = Instant::now();
        let clock = Clock::new(origin, Timestamp::from_millis(1_000));
        clock.advance(origin + Duration::from_millis(70));
        clock.advance(origin + Duration::from_millis(20));
        assert_eq!(clock.now(), Timestamp::from_millis(1_070));
        let later = clock.instant(Timestamp::from_millis(1_500));
        assert_eq!(later, Some(origin + Duration::from_millis(500)));
    }
}
