//! `basic.get`: one message for who asks, whether or not anybody consumes.

use crate::clock::Timestamp;
use crate::message::Message;
use crate::store::Position;

use super::Queue;
use super::effects::{DeliveryHandle, Effects};

/// What `basic.get` finds.
#[derive(Debug)]
pub enum Got {
    /// No ready message.
    Empty,
    /// There is one, but it is not in memory yet, or may not go: try again when [`Effects::get_again`] says so, or when
    /// it may go.
    Later,
    /// A message.
    Message {
        /// Which delivery it is, to settle it with.
        handle: DeliveryHandle,
        /// The message.
        message: Message,
        /// It was handed out before.
        redelivered: bool,
        /// Ready messages left.
        remaining: u64,
    },
}

impl Queue {
    /// Takes the first ready message for `basic.get`, if the one at that place `may_go`.
    pub fn get(
        &mut self,
        no_ack: bool,
        now: Timestamp,
        may_go: impl FnOnce(Position) -> bool,
        effects: &mut Effects,
    ) -> Got {
        self.touch(now);
        let end = self.opening_since().unwrap_or(now.plus(1));
        if !self.expire_before(end, effects) {
            // The timer comes at once, takes another turn, and says so.
            self.get_turns = true;
            return Got::Later;
        }
        if self.ready.count() == 0 {
            return Got::Empty;
        }
        let is_open = self.open(now, effects);
        if is_open && self.ready.next_in_memory().is_none() {
            self.ready.load(&mut effects.loads);
        }
        if !is_open || self.ready.next_in_memory().is_none() {
            self.get_waits = true;
            return Got::Later;
        }
        if self.ready.first_in_memory().is_some_and(|first| !may_go(first)) {
            return Got::Later;
        }
        let entry = self.ready.pop().expect("the next message is in memory");
        let (handle, redelivered) = (entry.2.handle(entry.1), entry.2.redelivered);
        let counted = self.with_delivery_count(&entry.2.message, entry.2.delivery_count);
        let kept = self.hand_out(entry, (None, !no_ack), now, effects);
        let message = counted.unwrap_or(kept);
        self.ready.load(&mut effects.loads);
        Got::Message {
            handle,
            message,
            redelivered,
            remaining: self.ready.count(),
        }
    }
}
