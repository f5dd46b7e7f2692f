//! ack, nack, reject and recover: what becomes of deliveries.

use crate::amqp::method::MethodId;
use crate::broker::queue::Settlement;

use super::super::error::{Failure, precondition};
use super::super::session::Session;
use super::{Channel, Mode, Unacked};

impl Channel {
    /// `basic.ack`. The channel [`Channel::takes_methods`].
    ///
    /// # Errors
    /// When there is no such delivery.
    #[inline]
    pub fn ack(&mut self, session: &mut Session, delivery_tag: u64, multiple: bool) -> Result<(), Failure> {
        self.settle(
            session,
            delivery_tag,
            multiple,
            Settlement::Ack,
            MethodId::new(60, 80),
        )
    }

    /// Settles one delivery, or with `multiple` all up to the tag; tag 0 with `multiple` means all.
    pub(super) fn settle(
        &mut self,
        session: &mut Session,
        delivery_tag: u64,
        multiple: bool,
        settlement: Settlement,
        id: MethodId,
    ) -> Result<(), Failure> {
        let unknown = || precondition(format!("unknown delivery tag {delivery_tag}"), id);
        if multiple {
            // As in RabbitMQ the tag itself has to be outstanding, even if lower ones are.
            if delivery_tag != 0 && self.unacked.get(delivery_tag).is_none() {
                return Err(unknown());
            }
            let last = if delivery_tag == 0 { u64::MAX } else { delivery_tag };
            while self.unacked.first_key().is_some_and(|first| first <= last) {
                let (tag, unacked) = self.unacked.pop_front().expect("there is a first key");
                self.settle_or_gather(session, tag, unacked, settlement);
            }
        } else {
            let unacked = self.unacked.remove(delivery_tag).ok_or_else(unknown)?;
            self.settle_or_gather(session, delivery_tag, unacked, settlement);
        }
        if !matches!(self.mode, Mode::Transaction(_)) {
            self.resume_consumers(session);
        }
        Ok(())
    }

    /// Gives back all unacked deliveries of this channel (`basic.recover`).
    pub(super) fn recover(&mut self, session: &mut Session) {
        while let Some((_, unacked)) = self.unacked.pop_front() {
            self.settle_one(session, unacked, Settlement::Requeue);
        }
        self.resume_consumers(session);
    }

    /// Gathers the settlement of one delivery for its queue.
    pub(super) fn settle_one(&mut self, session: &mut Session, unacked: Unacked, settlement: Settlement) {
        let source = self
            .sources
            .get_mut(&unacked.source)
            .expect("a source outlives its unacked deliveries");
        session.batch.settle(&source.queue, unacked.handle, settlement);
        source.unacked -= 1;
        if let Some(limit) = &self.limit {
            self.has_room_again |= limit.release(1);
        }
        let is_done = source.unacked == 0 && source.slot.is_none();
        if is_done {
            self.sources.remove(&unacked.source);
        }
    }

    /// A channel-wide limit that has room again concerns consumers of all its queues.
    pub(super) fn resume_consumers(&mut self, session: &mut Session) {
        if !std::mem::take(&mut self.has_room_again) || self.limit.is_none() {
            return;
        }
        for source in self.sources.values() {
            if let Some(slot) = source.slot {
                session.batch.resume(&source.queue, slot);
            }
        }
    }

    fn settle_or_gather(
        &mut self,
        session: &mut Session,
        delivery_tag: u64,
        unacked: Unacked,
        settlement: Settlement,
    ) {
        if let Mode::Transaction(transaction) = &mut self.mode {
            transaction.settlements.push((delivery_tag, unacked, settlement));
        } else {
            self.settle_one(session, unacked, settlement);
        }
    }
}
