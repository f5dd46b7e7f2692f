//! Holds a publisher to the pace of consumers that take messages as fast as sockets and disk let them: for a moment it
//! is not read. Else the queue would grow for nothing, until messages go to the disk that consumers are waiting for.
//!
//! No publisher waits for a consumer that stands still, nor one that publishes little: there is a pause only for so many
//! messages that consumers took, and for so many bytes that it sent.

use std::time::{Duration, Instant};

use crate::broker::LiveQueueId;
use crate::broker::live_queue::{LiveQueue, Published};

/// How long it is not read. What else it sent, acks say, is late by that.
const PAUSE: Duration = Duration::from_millis(1);

/// Messages that consumers have to take for each pause.
const TAKEN_MIN: u64 = 64;

/// What the publisher has to send for each pause, bytes.
const SENT_MIN: usize = 32 << 10;

/// A queue whose publishers are far ahead of its consumers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    /// The queue.
    pub queue: LiveQueueId,
    /// How many messages they have taken so far.
    pub taken: u64,
}

impl Lead {
    /// What the queue says of it.
    #[inline]
    pub fn of(queue: &LiveQueue, published: &Published) -> Option<Self> {
        published.taken_if_outrun.map(|taken| Self {
            queue: queue.id,
            taken,
        })
    }
}

/// A connection's pauses.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// As it was at the last pause, or when it was first seen.
    last: Option<Lead>,
    /// What it has sent since then, bytes.
    sent: usize,
    until: Option<Instant>,
}

impl Pace {
    /// Publishes are so far ahead, of which it sent some in `sent` bytes.
    pub fn keep(&mut self, lead: Lead, sent: usize, now: Instant) {
        if let Some(last) = self.last.filter(|last| last.queue == lead.queue) {
            self.sent = self.sent.saturating_add(sent);
            if lead.taken.saturating_sub(last.taken) < TAKEN_MIN || self.sent < SENT_MIN {
                return;
            }
            self.until = Some(now + PAUSE);
        }
        self.last = Some(lead);
        self.sent = 0;
    }

    /// Until when it is not read.
    #[inline]
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Ends a pause that is over.
    pub fn go_on(&mut self, now: Instant) {
        self.until = self.until.filter(|until| *until > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(queue: u64, taken: u64) -> Lead {
        Lead {
            queue: LiveQueueId(queue),
            taken,
        }
    }

    #[test]
    fn a_pause_is_for_messages_that_were_taken() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.keep(lead(1, 1000), SENT_MIN, now);
        assert_eq!(pace.until(), None, "nobody knows yet whether the consumers move");
        pace.keep(lead(1, 1000 + TAKEN_MIN - 1), SENT_MIN, now);
        assert_eq!(pace.until(), None, "they hardly move");
        pace.keep(lead(1, 1000 + TAKEN_MIN), SENT_MIN, now);
        assert_eq!(pace.until(), Some(now + PAUSE));
        pace.go_on(now);
        assert_eq!(pace.until(), Some(now + PAUSE));
        pace.go_on(now + PAUSE);
        assert_eq!(pace.until(), None);
        pace.keep(lead(1, 1001 + TAKEN_MIN), SENT_MIN, now + PAUSE);
        assert_eq!(pace.until(), None, "that was not enough since the pause");
    }

    #[test]
    fn a_pause_is_for_bytes_that_were_sent() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.keep(lead(1, 0), SENT_MIN, now);
        pace.keep(lead(1, 1000), SENT_MIN - 1, now);
        assert_eq!(pace.until(), None, "others have put the messages there");
        pace.keep(lead(1, 2000), 1, now);
        assert_eq!(pace.until(), Some(now + PAUSE));
        pace.go_on(now + PAUSE);
        pace.keep(lead(1, 3000), SENT_MIN - 1, now + PAUSE);
        assert_eq!(pace.until(), None, "that was for the first pause");
    }

    #[test]
    fn another_queue_begins_anew() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.keep(lead(1, 0), SENT_MIN, now);
        pace.keep(lead(2, 1000), SENT_MIN, now);
        pace.keep(lead(1, 1000), SENT_MIN, now);
        assert_eq!(pace.until(), None);
    }
}
