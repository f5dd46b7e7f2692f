//! Whether messages may leave: before the first one does, the store has to know that from now on they may have been
//! seen, or a crash would bring them back without the redelivered flag.

use crate::amqp::content;
use crate::clock::Timestamp;
use crate::message::Message;
use crate::store::Position;

use super::consumers::ConsumerSlot;
use super::effects::Effects;
use super::level::{LevelId, Waiting};
use super::{Queue, Unacked};

/// The state of a durable queue's hand-out; that of others is always open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandOut {
    /// Nobody took anything since the store was last told so.
    Closed,
    /// The store was told then, and has not answered.
    Opening { since: Timestamp },
    /// It is open; `was_consumed` tells whether a consumer had a part in that.
    Open { was_consumed: bool },
}

impl HandOut {
    pub(super) fn new(durable: bool) -> Self {
        if durable {
            Self::Closed
        } else {
            Self::Open { was_consumed: false }
        }
    }
}

impl Queue {
    /// Whether messages may be handed out; if not, sees to it that they soon may.
    pub(super) fn open(&mut self, now: Timestamp, effects: &mut Effects) -> bool {
        match &mut self.hand_out {
            HandOut::Open { was_consumed } => {
                *was_consumed |= !self.consumers.is_empty();
                return true;
            }
            HandOut::Opening { .. } => {}
            HandOut::Closed => {
                self.hand_out = HandOut::Opening { since: now };
                effects.mark_delivered = Some(Position(u64::MAX));
                effects.open = true;
            }
        }
        false
    }

    /// The store knows that messages may be seen from now on ([`Effects::open`]).
    pub fn opened(&mut self, now: Timestamp, effects: &mut Effects) {
        if let Some(since) = self.opening_since() {
            // What came meanwhile and had to go at once would have gone, had it been open.
            self.deliver(since, now, effects);
        }
        self.hand_out = HandOut::Open {
            was_consumed: !self.consumers.is_empty(),
        };
        effects.get_again = std::mem::take(&mut self.get_waits);
        if !effects.get_again {
            self.close_at_rest(effects);
        }
        self.dispatch(now, effects);
    }

    /// Whether messages may be handed out now.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        matches!(self.hand_out, HandOut::Open { .. })
    }

    /// Since when the hand-out opens for a consumer. Meanwhile nothing is let go of that this one may still have.
    pub(super) fn opening_since(&self) -> Option<Timestamp> {
        match self.hand_out {
            HandOut::Opening { since } if !self.consumers.is_empty() => Some(since),
            _ => None,
        }
    }

    /// Closes the hand-out when nobody consumes and all that was handed out in this run is settled, or has come back
    /// with its count stored.
    pub fn close_at_rest(&mut self, effects: &mut Effects) {
        let is_at_rest = self.consumers.is_empty() && self.unacked.is_empty();
        if is_at_rest && self.options.durable && self.is_open() {
            self.hand_out = HandOut::Closed;
            effects.mark_delivered = Some(self.seen_before);
        }
    }

    /// The same, but not between one `basic.get` and the next, or each would wait for the disk.
    pub(super) fn close_if_consumed(&mut self, effects: &mut Effects) {
        if self.hand_out == (HandOut::Open { was_consumed: true }) {
            self.close_at_rest(effects);
        }
    }

    /// Books a message that leaves the ready ones: as unacked, or as done with.
    #[expect(clippy::inline_always, reason = "as for Queue::give()")]
    #[inline(always)]
    pub(super) fn hand_out(
        &mut self,
        (level, position, waiting): (LevelId, Position, Waiting),
        (consumer, needs_ack): (Option<ConsumerSlot>, bool),
        now: Timestamp,
        effects: &mut Effects,
    ) -> Message {
        let Waiting {
            message,
            expires_at,
            delivery_count,
            redelivered,
            stored,
        } = waiting;
        if needs_ack {
            let kept = Unacked {
                message: message.clone(),
                level,
                expires_at,
                delivery_count,
                redelivered,
                stored,
                consumer,
                times_out_at: self.times_out_at(consumer, now),
            };
            self.held_bytes += message.memory_bytes();
            self.unacked.insert(position.0, kept);
        } else if stored {
            effects.of(level).settled.push(position);
        }
        message
    }

    /// The message with the header that tells how often it has come back, if it has and the queue counts that.
    #[inline]
    pub(super) fn with_delivery_count(&self, message: &Message, delivery_count: u32) -> Option<Message> {
        let counts = self.options.is_quorum || self.settings.delivery_limit.is_some();
        (delivery_count > 0 && counts).then(|| add_delivery_count(message, delivery_count))
    }
}

#[cold]
fn add_delivery_count(message: &Message, count: u32) -> Message {
    const KEY: &[u8] = b"x-delivery-count";
    let mut entries = content::headers_without(message.properties(), &[KEY]);
    entries.push(u8::try_from(KEY.len()).expect("it is short"));
    entries.extend_from_slice(KEY);
    entries.push(b'l');
    entries.extend_from_slice(&i64::from(count).to_be_bytes());
    message.with_properties(&content::with_headers(message.properties(), Some(&entries)))
}
