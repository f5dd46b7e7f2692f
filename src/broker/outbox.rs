//! What others leave for a connection: deliveries and notices. Whoever fills it wakes the connection's task, which
//! swaps the whole contents out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;

use crate::message::Message;
use crate::store::{Position, Sequence};

use super::alarms::Alarm;
use super::login::LoginRefused;
use super::queue::effects::DeliveryHandle;

/// One message on its way to a consumer of this connection.
#[derive(Debug)]
pub struct OutboxDelivery {
    /// Channel number.
    pub channel: u16,
    /// Which of the channel's sources (consumers) it is for.
    pub source: SourceId,
    /// Which delivery of the queue, to settle it with.
    pub handle: DeliveryHandle,
    /// It was handed out before.
    pub redelivered: bool,
    /// The message.
    pub message: Message,
}

/// A channel's own number for where it gets messages from; never used twice on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u64);

/// Something a connection has to know that is not a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The queue of this consumer is gone: it gets no more deliveries.
    ConsumerCancelled {
        /// Channel number.
        channel: u16,
        /// Which of its sources.
        source: SourceId,
    },
    /// A `basic.get` that had to wait can be tried again.
    GetAgain,
    /// The alarms that stand now changed.
    Alarms(Vec<Alarm>),
    /// The password of this connection's login was checked: it is that of this user, or why it is refused.
    PasswordChecked(Result<Arc<str>, LoginRefused>),
    /// Close with 320 and this reason, at once.
    Close(Arc<str>),
    /// Read nothing more, answer what the disk still owes an answer to, and then close with 320 and this reason.
    Drain(Arc<str>),
}

/// The contents of an outbox.
#[derive(Debug, Default)]
pub struct Mail {
    /// In the order in which each queue made them.
    pub deliveries: VecDeque<OutboxDelivery>,
    /// Which of them nobody may see before the durable store has committed a number: by index, ascending.
    pub withheld: Vec<(usize, Sequence)>,
    /// Each true after all `deliveries` that lie here with it.
    pub notices: Vec<Notice>,
}

impl Mail {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty() && self.notices.is_empty()
    }
}

#[derive(Debug, Default)]
struct State {
    mail: Mail,
    waker: Option<Waker>,
}

/// A connection's letter box.
#[derive(Debug, Default)]
pub struct Outbox(Mutex<State>);

impl Outbox {
    /// Leaves deliveries. Returns the waker to call once no lock is held.
    pub fn deliver(&self, deliveries: impl Iterator<Item = OutboxDelivery>) -> Option<Waker> {
        let mut state = self.0.lock();
        state.mail.deliveries.extend(deliveries);
        state.waker.take()
    }

    /// The same, where some of them have to wait until the durable store has committed what `awaits` says of their places.
    pub fn deliver_after(
        &self,
        deliveries: impl Iterator<Item = OutboxDelivery>,
        awaits: impl Fn(Position) -> Option<Sequence>,
    ) -> Option<Waker> {
        let mut state = self.0.lock();
        let mail = &mut state.mail;
        for delivery in deliveries {
            let after = awaits(delivery.handle.position);
            mail.withheld
                .extend(after.map(|after| (mail.deliveries.len(), after)));
            mail.deliveries.push_back(delivery);
        }
        state.waker.take()
    }

    /// Leaves a notice and wakes the connection.
    pub fn notify(&self, notice: Notice) {
        let waker = {
            let mut state = self.0.lock();
            state.mail.notices.push(notice);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Swaps the contents with `empty`, whose allocation is used on.
    pub fn take(&self, empty: &mut Mail) {
        debug_assert!(empty.is_empty(), "taken mail is read first");
        std::mem::swap(&mut self.0.lock().mail, empty);
    }

    /// Whether there is anything; if not, `waker` is called when there is.
    pub fn poll(&self, waker: &Waker) -> bool {
        let mut state = self.0.lock();
        if !state.mail.is_empty() {
            return true;
        }
        if !state.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
        false
    }
}
