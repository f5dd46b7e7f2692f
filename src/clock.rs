//! Time as the core knows it: a number of milliseconds that its shells move.
//!
//! It starts from the time of day, so that what is stored means the same after a restart, and goes on with the
//! monotonic clock: a step of the time of day while the broker runs lets no message expire and holds none back. When
//! the time of day is behind what an earlier run has seen, it goes on from there.

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
    ahead_millis: u64,
    now: AtomicU64,
}

impl Clock {
    /// A clock that shows `at` at the instant `origin`.
    pub fn new(origin: Instant, at: Timestamp) -> Self {
        Self {
            origin,
            origin_at: at,
            ahead_millis: 0,
            now: AtomicU64::new(at.millis()),
        }
    }

    /// A clock that shows the time of day, or what an earlier run has seen if that is later: it never goes back, also
    /// when the time of day has.
    pub fn resumed(origin: Instant, time_of_day: Timestamp, seen: Timestamp) -> Self {
        let ahead_millis = seen.millis().saturating_sub(time_of_day.millis());
        Self {
            ahead_millis,
            ..Self::new(origin, time_of_day.max(seen))
        }
    }

    /// How far it is ahead of the time of day as the start found it, milliseconds.
    pub fn ahead_millis(&self) -> u64 {
        self.ahead_millis
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

    #[test]
    fn a_start_goes_on_from_what_was_seen() {
        let origin = Instant::now();
        let shown = |time_of_day, seen| {
            let at = Timestamp::from_millis;
            let clock = Clock::resumed(origin, at(time_of_day), at(seen));
            clock.advance(origin + Duration::from_millis(5));
            (clock.now().millis(), clock.ahead_millis())
        };
        assert_eq!(shown(9_000, 2_000), (9_005, 0));
        assert_eq!(shown(9_000, 0), (9_005, 0));
        // The time of day has gone back, by hours or by years.
        assert_eq!(shown(1_000, 9_000), (9_005, 8_000));
    }
}
