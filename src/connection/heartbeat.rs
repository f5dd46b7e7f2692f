//! Heartbeats with RabbitMQ's timing: something is sent every half interval, and a peer that was silent at two
//! checks in a row, one per interval, is given up.

use std::time::{Duration, Instant};

/// The heartbeat of one connection.
#[derive(Debug)]
pub struct Heartbeat {
    interval: Duration,
    next_send: Instant,
    next_check: Instant,
    has_sent: bool,
    /// The next bytes that go out are a heartbeat, which does not put off the one after it.
    is_own: bool,
    has_received: bool,
    misses: u8,
}

/// What is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Send a heartbeat frame.
    pub send: bool,
    /// The peer is gone.
    pub is_dead: bool,
}

impl Heartbeat {
    /// Starts both timers; `None` when the interval is 0.
    pub fn new(seconds: u16, now: Instant) -> Option<Self> {
        let interval = Duration::from_secs(u64::from(seconds));
        (seconds > 0).then(|| Self {
            interval,
            next_send: now + interval / 2,
            next_check: now + interval,
            has_sent: false,
            is_own: false,
            has_received: false,
            misses: 0,
        })
    }

    /// Bytes arrived.
    pub fn received(&mut self) {
        self.has_received = true;
    }

    /// Bytes went out.
    pub fn sent(&mut self) {
        if !std::mem::take(&mut self.is_own) {
            self.has_sent = true;
        }
    }

    /// When [`Heartbeat::due`] should be asked next.
    pub fn next(&self) -> Instant {
        self.next_send.min(self.next_check)
    }

    /// Asks at `now`. While `is_reading` is false (the connection is blocked) silence is not held against the peer.
    pub fn due(&mut self, now: Instant, is_reading: bool) -> Due {
        let mut due = Due::default();
        if now >= self.next_send {
            due.send = !std::mem::take(&mut self.has_sent);
            self.is_own = due.send;
            self.next_send = now + self.interval / 2;
        }
        if now >= self.next_check {
            let has_received = std::mem::take(&mut self.has_received);
            self.misses = if has_received || !is_reading {
                0
            } else {
                self.misses + 1
            };
            due.is_dead = self.misses >= 2;
            self.next_check = now + self.interval;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_every_half_interval_unless_something_was_sent() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(2, start).expect("not zero");
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(heartbeat.next(), at(1000));
        assert!(heartbeat.due(at(1000), true).send);
        heartbeat.sent();
        assert!(
            heartbeat.due(at(2000), true).send,
            "a heartbeat does not put off the next one"
        );
        heartbeat.sent();
        heartbeat.sent();
        assert!(!heartbeat.due(at(3000), true).send);
        assert!(heartbeat.due(at(4000), true).send);
    }

    #[test]
    fn gives_up_at_the_second_silent_check() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(1, start).expect("not zero");
        let at = |seconds| start + Duration::from_secs(seconds);
        heartbeat.received();
        assert!(!heartbeat.due(at(1), true).is_dead);
        assert!(!heartbeat.due(at(2), true).is_dead);
        assert!(heartbeat.due(at(3), true).is_dead);
    }

    #[test]
    fn blocked_peers_may_be_silent() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(1, start).expect("not zero");
        for second in 1..10 {
            assert!(!heartbeat.due(start + Duration::from_secs(second), false).is_dead);
        }
    }

    #[test]
    fn zero_is_off() {
        assert!(Heartbeat::new(0, Instant::now()).is_none());
    }
}
