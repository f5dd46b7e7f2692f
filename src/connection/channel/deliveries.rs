//! Deliveries on their way out: tags, credit for the socket, and what to do with those that never left.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::amqp::method;
use crate::broker::outbox::{OutboxDelivery, SourceId};
use crate::broker::queue::Settlement;

use super::super::session::Session;
use super::{Channel, Source, Unacked};

impl Channel {
    /// Encodes the first of the deliveries, which is this channel's, and those of the same source that follow it, until
    /// the output has reached `output_max`. One whose consumer is gone for good is dropped: it went back to its queue.
    pub fn deliver(
        &mut self,
        deliveries: &mut VecDeque<OutboxDelivery>,
        frame_max: u32,
        output: &mut Vec<u8>,
        output_max: usize,
    ) {
        let Some(first) = deliveries.front() else { return };
        let id = first.source;
        // The channel's sources are cleared when it is released, and its mail with them.
        let Some(source) = self.sources.get_mut(&id) else {
            deliveries.pop_front();
            return;
        };
        if source.written.messages == 0 {
            self.touched.push(id);
        }
        let mut done = 0;
        for delivery in deliveries.iter().take_while(|delivery| delivery.source == id) {
            self.last_delivery_tag += 1;
            let message = &delivery.message;
            method::deliver(
                output,
                self.number,
                source.tag.as_bytes(),
                self.last_delivery_tag,
                delivery.redelivered,
                &message.content(),
                frame_max,
            );
            source.written.messages += 1;
            source.written.bytes += message.memory_bytes();
            if !source.no_ack {
                source.unacked += 1;
                let unacked = Unacked {
                    source: id,
                    handle: delivery.handle,
                };
                self.unacked.insert(self.last_delivery_tag, unacked);
            }
            done += 1;
            if output.len() >= output_max {
                break;
            }
        }
        deliveries.drain(..done);
    }

    /// Notes a delivery that `basic.get` took; returns its tag.
    pub(super) fn note_got(&mut self, source: SourceId, unacked: Option<Unacked>) -> u64 {
        self.last_delivery_tag += 1;
        if let Some(unacked) = unacked {
            self.sources.get_mut(&source).expect("the caller made it").unacked += 1;
            self.unacked.insert(self.last_delivery_tag, unacked);
            if let Some(limit) = &self.limit {
                limit.take_unchecked();
            }
        }
        self.last_delivery_tag
    }

    /// The socket took everything: tells the queues, which may have more.
    pub fn socket_took_all(&mut self) {
        for id in self.touched.drain(..) {
            let Some(source) = self.sources.get_mut(&id) else {
                continue;
            };
            let written = std::mem::take(&mut source.written);
            if let Some(slot) = source.slot {
                source.queue.written(slot, written.messages, written.bytes);
            }
        }
    }

    /// Whether [`Channel::socket_took_all`] has anything to tell.
    pub fn has_written(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Gives back a delivery that was never encoded: nobody saw it.
    pub fn return_undelivered(&mut self, session: &mut Session, delivery: &OutboxDelivery) {
        let source = self.sources.get(&delivery.source);
        if let Some(source) = source.filter(|source| !source.no_ack) {
            session
                .batch
                .settle(&source.queue, delivery.handle, Settlement::Return);
        }
    }

    /// Sends the deliveries that lie in the mail for these sources, and are not withheld.
    pub(super) fn deliver_mail(
        &mut self,
        session: &mut Session,
        output: &mut Vec<u8>,
        is_wanted: impl Fn(SourceId) -> bool,
    ) {
        let number = self.number;
        let is_wanted = |delivery: &OutboxDelivery| delivery.channel == number && is_wanted(delivery.source);
        let mut wanted = session.take_deliveries(is_wanted);
        while !wanted.is_empty() {
            self.deliver(&mut wanted, session.frame_max, output, usize::MAX);
        }
    }

    /// The consumer's queue is gone. Returns its tag if it was still there.
    pub fn consumer_cancelled(&mut self, id: SourceId) -> Option<Arc<str>> {
        let source = self.sources.get_mut(&id)?;
        source.slot.take()?;
        let tag = Arc::clone(&source.tag);
        self.consumers.remove(&tag);
        self.forget_if_done(id);
        Some(tag)
    }

    /// Forgets a source without consumer and without unacked deliveries.
    pub(super) fn forget_if_done(&mut self, id: SourceId) {
        let is_done = |source: &Source| source.slot.is_none() && source.unacked == 0;
        if self.sources.get(&id).is_some_and(is_done) {
            self.sources.remove(&id);
        }
    }
}
