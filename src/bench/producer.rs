//! One producer: a connection that publishes as fast as the socket, the confirms or the rate allow.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use amq_protocol::protocol::{AMQPClass, basic, confirm, queue};

use crate::bench::{
    client::{Client, STALL_MAX, read_method, unexpected},
    confirms::Confirms,
    error::BenchError,
    stream::Stream,
    template::Template,
    wire::{BASIC_ACK, FRAME_HEARTBEAT},
};

/// How long a producer rests that is too far ahead.
const REST: Duration = Duration::from_micros(200);
/// Waits shorter than this are not worth a sleep.
const PACE_MIN: Duration = Duration::from_micros(20);

/// When and how fast a producer publishes.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// It ends after so many messages.
    pub(super) messages_max: u64,
    /// It ends after so long.
    pub(super) time_max: Option<Duration>,
    /// Messages that it may be ahead of its slowest consumer.
    pub(super) ahead_max: u64,
    /// Messages a second; `None` is as many as possible.
    pub(super) rate: Option<u64>,
    /// Unconfirmed messages that it may have.
    pub(super) confirm_window: Option<u64>,
}

/// A connected producer.
#[derive(Debug)]
pub(super) struct Producer {
    client: Client,
    template: Template,
    pace: Pace,
    stream: Arc<Stream>,
    confirms: Confirms,
    next: u64,
    /// A queue to ask for at the end, when all publishes must have been taken.
    queue: String,
}

impl Producer {
    /// Puts the connection into confirm mode if the pace wants that.
    ///
    /// # Errors
    /// As the broker's refusals come.
    pub(super) fn new(
        mut client: Client,
        template: Template,
        pace: Pace,
        stream: Arc<Stream>,
        queue: String,
    ) -> Result<Self, BenchError> {
        if pace.confirm_window.is_some() {
            let select = confirm::AMQPMethod::Select(confirm::Select { nowait: false });
            client.call(AMQPClass::Confirm(select))?;
        }
        Ok(Self {
            client,
            template,
            pace,
            stream,
            confirms: Confirms::default(),
            next: 0,
            queue,
        })
    }

    /// Publishes until count or time are reached and the broker has taken everything; gives the moment of
    /// that.
    ///
    /// # Errors
    /// As the broker's refusals come; `Stalled` when confirms stay away; `Violation` for wrong ones.
    pub(super) fn run(&mut self, start: Instant) -> Result<Instant, BenchError> {
        if let Some(rate) = self.pace.rate {
            self.publish_paced(start, rate)?;
        } else {
            self.publish_all(start)?;
        }
        self.stream.end(self.next);
        while self.confirms.outstanding() > 0 {
            self.wait_for_confirms()?;
        }
        let confirmed = Instant::now();
        self.wait_until_taken()?;
        let has_confirms = self.pace.confirm_window.is_some();
        Ok(if has_confirms { confirmed } else { Instant::now() })
    }

    /// How many it has published.
    pub(super) fn published(&self) -> u64 {
        self.next
    }

    fn publish_all(&mut self, start: Instant) -> Result<(), BenchError> {
        let mut waiting_since = None;
        while self.next < self.pace.messages_max && self.pace.time_max.is_none_or(|max| start.elapsed() < max)
        {
            let window = self
                .pace
                .confirm_window
                .map_or(u64::MAX, |max| max - self.confirms.outstanding());
            let ahead = self.next.saturating_sub(self.stream.consumed_min());
            let room = self
                .pace
                .ahead_max
                .saturating_sub(ahead)
                .min(self.pace.messages_max - self.next);
            let count = usize::try_from(window.min(room))
                .unwrap_or(usize::MAX)
                .min(self.template.slots());
            if count > 0 {
                waiting_since = None;
                let sent = nanoseconds(start.elapsed());
                self.publish(count, |_| sent)?;
            } else if window == 0 {
                self.wait_for_confirms()?;
            } else {
                self.rest(&mut waiting_since)?;
            }
        }
        Ok(())
    }

    /// Messages that fell due while a write was blocked carry the time at which they were due, so that a
    /// broker's pause shows in the latency of all that it delayed. Those that are late only because this
    /// thread slept carry the present time.
    fn publish_paced(&mut self, start: Instant, rate: u64) -> Result<(), BenchError> {
        let due = |sequence: u64| sequence * 1_000_000_000 / rate;
        let end = self.pace.time_max.map_or(u64::MAX, nanoseconds);
        let mut write_ended = 0;
        while self.next < self.pace.messages_max && due(self.next) < end {
            let now = nanoseconds(start.elapsed());
            let wait = Duration::from_nanos(due(self.next).saturating_sub(now));
            if wait > PACE_MIN {
                thread::sleep(wait);
                continue;
            }
            let first = self.next;
            let count = (0..self.template.slots())
                .zip(first..)
                .take_while(|(_, next)| due(*next) <= now)
                .count();
            self.publish(count.max(1), |sequence| {
                if due(sequence) <= write_ended {
                    due(sequence)
                } else {
                    now
                }
            })?;
            write_ended = nanoseconds(start.elapsed());
        }
        Ok(())
    }

    fn publish(&mut self, count: usize, sent: impl FnMut(u64) -> u64) -> Result<(), BenchError> {
        let bytes = self.template.fill(self.next, count, sent);
        self.client.write(bytes)?;
        self.next += u64::try_from(count).expect("usize fits into 64 bits");
        if self.pace.confirm_window.is_some() {
            self.confirms.publish(count);
        }
        Ok(())
    }

    fn rest(&mut self, since: &mut Option<Instant>) -> Result<(), BenchError> {
        if since.get_or_insert_with(Instant::now).elapsed() > STALL_MAX {
            return Err(BenchError::Stalled(format!(
                "{} published, and the consumers wait",
                self.next
            )));
        }
        thread::sleep(REST);
        if self.client.is_aborted() {
            Err(BenchError::Aborted)
        } else {
            Ok(())
        }
    }

    /// Reads once, for as long as it takes, and takes all confirms that came.
    fn wait_for_confirms(&mut self) -> Result<(), BenchError> {
        let since = Instant::now();
        while !self.client.read()? {
            if since.elapsed() > STALL_MAX {
                let outstanding = self.confirms.outstanding();
                return Err(BenchError::Stalled(format!(
                    "{outstanding} messages were not confirmed"
                )));
            }
        }
        while let Some(frame) = self.client.inbox.next_frame()? {
            if frame.method() == Some(BASIC_ACK) {
                let (tag, is_multiple) = frame
                    .ack()
                    .ok_or_else(|| BenchError::Protocol("a short basic.ack".to_owned()))?;
                self.confirms.accept(tag, is_multiple)?;
            } else if frame.kind != FRAME_HEARTBEAT {
                return Err(match read_method(&frame)? {
                    AMQPClass::Basic(basic::AMQPMethod::Nack(nack)) => {
                        BenchError::Violation(format!("{} was refused with basic.nack", nack.delivery_tag))
                    }
                    other => unexpected(&other),
                });
            }
        }
        Ok(())
    }

    /// A channel is worked off in order: when a question is answered, all publishes before it have been
    /// taken.
    fn wait_until_taken(&mut self) -> Result<(), BenchError> {
        let declare = queue::Declare {
            queue: self.queue.as_str().into(),
            passive: true,
            ..queue::Declare::default()
        };
        self.client
            .call(AMQPClass::Queue(queue::AMQPMethod::Declare(declare)))?;
        Ok(())
    }
}

/// A duration in whole nanoseconds.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("a run takes less than 584 years")
}
