//! Direct reply-to: one consumer per channel for replies, and the address that is put into what the channel asks.

use std::sync::Arc;

use amq_protocol::protocol::queue::DeclareOk;
use amq_protocol::types::ShortString;

use crate::amqp::method::MethodId;
use crate::broker::live_queue::LiveQueue;
use crate::broker::queue::consumers::ConsumerOptions;
use crate::broker::refusal::{Entity, Refusal};
use crate::broker::vhost::{REPLY_QUEUE_PREFIX, REPLY_TO};

use super::super::error::{Failure, precondition};
use super::super::session::Session;
use super::Channel;

impl Channel {
    /// Consumes from [`REPLY_TO`]: no permission is needed, and arguments choose nothing.
    pub(super) fn consume_replies(
        &mut self,
        session: &mut Session,
        no_ack: bool,
        tag: &Arc<str>,
        id: MethodId,
    ) -> Result<Arc<LiveQueue>, Failure> {
        if !no_ack {
            return Err(precondition("reply consumer cannot acknowledge", id));
        }
        if self.reply_queue.is_some() {
            return Err(precondition("reply consumer already set", id));
        }
        let name = session.broker.unique_name(REPLY_QUEUE_PREFIX);
        let queue = session.vhost.open_reply_queue(name, session.id);
        let options = ConsumerOptions {
            no_ack,
            ..ConsumerOptions::default()
        };
        self.add_consumer(session, &queue, options, tag)
            .expect("nobody else knows the queue yet");
        self.reply_queue = Some(Arc::clone(&queue));
        Ok(queue)
    }

    /// Ends the reply queue, if the consumer that was cancelled is its own.
    pub(super) fn close_replies(&mut self, session: &Session, cancelled: &LiveQueue) {
        if let Some(queue) = self.reply_queue.take_if(|queue| queue.id == cancelled.id) {
            session.vhost.close_reply_queue(&queue);
        }
    }

    /// The address that answers to this channel's requests go to.
    pub(super) fn reply_address(&self) -> Result<&[u8], Failure> {
        let queue = self.reply_queue.as_ref();
        queue
            .map(|queue| queue.definition.name.as_bytes())
            .ok_or_else(|| precondition("fast reply consumer does not exist", MethodId::PUBLISH))
    }
}

/// Any declaration of [`REPLY_TO`] or of a reply queue only asks whether it is there.
pub(super) fn declare_reply_queue(session: &Session, name: &Arc<str>) -> Result<DeclareOk, Refusal> {
    if **name != *REPLY_TO && !session.vhost.has_reply_queue(name) {
        return Err(Refusal::NotFound(Entity::Queue(Arc::clone(name))));
    }
    Ok(DeclareOk {
        queue: ShortString::try_new(name.to_string()).expect("it came as a short string"),
        message_count: 0,
        consumer_count: 1,
    })
}
