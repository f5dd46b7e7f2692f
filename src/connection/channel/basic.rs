//! The methods of class basic, except publishing and settling, which have files of their own.

use std::sync::Arc;

use amq_protocol::protocol::{AMQPClass, basic};
use amq_protocol::types::ShortString;

use crate::amqp::method::{self, MethodId};
use crate::amqp::reply_code::ReplyCode;
use crate::broker::consumer_arguments::ConsumerArguments;
use crate::broker::live_queue::{ConsumeRefused, LiveQueue, Outlet};
use crate::broker::outbox::SourceId;
use crate::broker::permission::Access;
use crate::broker::queue::Got;
use crate::broker::queue::consumers::{ChannelLimit, ConsumerOptions};
use crate::broker::queue_type::{QueueType, TypeRefusal};
use crate::broker::refusal::{Entity, Refusal};
use crate::broker::vhost::REPLY_TO;

use super::super::error::{Denied, Failure, connection, queue_is_gone, unimplemented_method};
use super::super::session::{Rest, Session, Wait};
use super::queue::saturated;
use super::{Channel, Mode, Source, Unacked, Written, name};

impl Channel {
    pub(super) fn basic_method(
        &mut self,
        session: &mut Session,
        output: &mut Vec<u8>,
        id: MethodId,
        method: basic::AMQPMethod,
    ) -> Result<(), Failure> {
        match method {
            basic::AMQPMethod::Qos(qos) => {
                self.qos(session, output, &qos);
                Ok(())
            }
            basic::AMQPMethod::Consume(consume) => self.consume(session, output, id, &consume),
            basic::AMQPMethod::Cancel(cancel) => {
                self.cancel(session, output, &cancel);
                Ok(())
            }
            basic::AMQPMethod::Get(get) => self.get(session, output, id, &get),
            basic::AMQPMethod::Recover(basic::Recover { requeue: true }) => {
                self.recover(session);
                session.flush();
                self.reply(output, basic::AMQPMethod::RecoverOk(basic::RecoverOk {}));
                Ok(())
            }
            basic::AMQPMethod::RecoverAsync(basic::RecoverAsync { requeue: true }) => {
                self.recover(session);
                Ok(())
            }
            basic::AMQPMethod::Recover(_) | basic::AMQPMethod::RecoverAsync(_) => {
                Err(connection(ReplyCode::NotImplemented, "requeue=false", id))
            }
            // The answer to a cancel that the broker sent; nothing depends on it.
            basic::AMQPMethod::CancelOk(_) => Ok(()),
            _ => Err(unimplemented_method(id)),
        }
    }

    /// `global=false` is for consumers to come, and takes a limit of the whole channel away, as in RabbitMQ.
    fn qos(&mut self, session: &mut Session, output: &mut Vec<u8>, qos: &basic::Qos) {
        let is_new = self.limit.is_none();
        self.limit = if !qos.global || qos.prefetch_count == 0 {
            None
        } else if let Some(limit) = self.limit.take() {
            limit.set(qos.prefetch_count);
            Some(limit)
        } else {
            Some(Arc::new(ChannelLimit::new(qos.prefetch_count)))
        };
        if !qos.global {
            self.prefetch = qos.prefetch_count;
        }
        let limited = || {
            let sources = self.sources.values().filter(|source| !source.no_ack);
            sources.filter_map(|source| Some((&source.queue, source.slot?)))
        };
        for (queue, slot) in limited() {
            queue.set_channel_limit(slot, self.limit.clone());
        }
        // Of all that may take more now, those of a higher priority come first.
        for (queue, _) in limited() {
            queue.dispatch();
        }
        // What was delivered under another limit, or none, goes out before the answer.
        if self.limit.is_some() {
            session.take_mail();
            let is_own = |source: &SourceId| self.sources.contains_key(source);
            if session.withheld.sources().any(is_own) {
                return self.wait_for_withheld(session, Rest::Qos { is_new });
            }
        }
        self.finish_qos(session, output, is_new);
    }

    /// The last part of `basic.qos`.
    fn finish_qos(&mut self, session: &mut Session, output: &mut Vec<u8>, is_new: bool) {
        if let Some(limit) = self.limit.clone() {
            self.deliver_mail(session, output, |_| true);
            if is_new {
                limit.count_from(self.outstanding());
            }
            self.has_room_again = true;
            self.resume_consumers(session);
        }
        self.reply(output, basic::AMQPMethod::QosOk(basic::QosOk {}));
    }

    /// Deliveries that the broker still holds for this channel, also those that a transaction will settle.
    fn outstanding(&self) -> u32 {
        let gathered = match &self.mode {
            Mode::Transaction(transaction) => transaction.settlements.len(),
            _ => 0,
        };
        u32::try_from(self.unacked.len() + gathered).unwrap_or(u32::MAX)
    }

    fn consume(
        &mut self,
        session: &mut Session,
        output: &mut Vec<u8>,
        id: MethodId,
        consume: &basic::Consume,
    ) -> Result<(), Failure> {
        let mut tag = name(&consume.consumer_tag);
        if tag.is_empty() {
            tag = session.broker.unique_name("amq.ctag-").into();
        }
        if self.consumers.contains_key(&tag) {
            let explanation = format!("attempt to reuse consumer tag '{tag}'");
            return Err(connection(ReplyCode::NotAllowed, explanation, id));
        }
        let queue_name = self.named(&consume.queue, id)?;
        let queue = if *queue_name == *REPLY_TO {
            self.consume_replies(session, consume.no_ack, &tag, id)?
        } else {
            self.start_consumer(session, &queue_name, consume, &tag)
                .map_err(|denied| denied.failure(&session.vhost.name, id))?
        };
        if !consume.nowait {
            let consumer_tag = short(&tag);
            self.reply(
                output,
                basic::AMQPMethod::ConsumeOk(basic::ConsumeOk { consumer_tag }),
            );
        }
        queue.dispatch();
        Ok(())
    }

    /// Adds a consumer to its queue, which must not give it anything before consume-ok.
    fn start_consumer(
        &mut self,
        session: &mut Session,
        queue_name: &Arc<str>,
        consume: &basic::Consume,
        tag: &Arc<str>,
    ) -> Result<Arc<LiveQueue>, Denied> {
        session.check(Access::Read, &Entity::Queue(Arc::clone(queue_name)))?;
        let queue = session.vhost.queue(queue_name, session.id)?;
        let queue_type = queue.definition.queue_type;
        let arguments = ConsumerArguments::parse(queue_name, queue_type, &consume.arguments)?;
        if queue_type == QueueType::Quorum && self.limit.is_some() {
            return Err(queue_type.refuses(queue_name, TypeRefusal::GlobalQos).into());
        }
        let no_ack = consume.no_ack;
        let options = ConsumerOptions {
            priority: arguments.priority,
            timeout_ms: arguments.timeout_ms,
            no_ack,
            exclusive: consume.exclusive,
            prefetch: if no_ack { 0 } else { self.prefetch },
            limit: self.limit.clone().filter(|_| !no_ack),
        };
        self.add_consumer(session, &queue, options, tag)
            .map_err(|refused| match refused {
                ConsumeRefused::ExclusiveUse => Refusal::ExclusiveUse(Arc::clone(queue_name)),
                ConsumeRefused::Deleted => queue_is_gone(queue_name),
            })?;
        Ok(queue)
    }

    /// Adds a consumer to a queue and notes it under its tag.
    pub(super) fn add_consumer(
        &mut self,
        session: &mut Session,
        queue: &Arc<LiveQueue>,
        options: ConsumerOptions,
        tag: &Arc<str>,
    ) -> Result<(), ConsumeRefused> {
        let no_ack = options.no_ack;
        let source = session.next_source();
        let outlet = Outlet {
            outbox: Arc::clone(&session.outbox),
            channel: self.number,
            source,
        };
        let slot = queue.consume(options, outlet)?;
        self.consumers.insert(Arc::clone(tag), source);
        self.sources.insert(
            source,
            Source {
                queue: Arc::clone(queue),
                slot: Some(slot),
                tag: Arc::clone(tag),
                no_ack,
                unacked: 0,
                written: Written::default(),
            },
        );
        Ok(())
    }

    /// Deliveries that are on their way go out before cancel-ok, none after it.
    fn cancel(&mut self, session: &mut Session, output: &mut Vec<u8>, cancel: &basic::Cancel) {
        if let Some(id) = self.consumers.get(cancel.consumer_tag.as_str()).copied() {
            let source = self.sources.get_mut(&id).expect("a consumer is a source");
            let slot = source.slot.expect("a consumer has its slot");
            let queue = Arc::clone(&source.queue);
            queue.suspend(slot);
            session.take_mail();
            if session.withheld.holds(id) {
                return self.wait_for_withheld(session, Rest::Cancel(cancel.clone()));
            }
            source.slot = None;
            self.consumers.remove(cancel.consumer_tag.as_str());
            let outcome = queue.cancel(slot);
            self.deliver_mail(session, output, |source| source == id);
            self.forget_if_done(id);
            self.close_replies(session, &queue);
            if outcome.delete {
                session.delete_unused(&queue);
            }
            if queue.definition.has_single_active_consumer() {
                queue.dispatch();
            }
        }
        if !cancel.nowait {
            let consumer_tag = cancel.consumer_tag.clone();
            self.reply(
                output,
                basic::AMQPMethod::CancelOk(basic::CancelOk { consumer_tag }),
            );
        }
    }

    /// Goes on with a method when all that is withheld now may be seen.
    fn wait_for_withheld(&self, session: &mut Session, rest: Rest) {
        session.wait = Some(Wait::Withheld {
            sequence: session.withheld.awaits_last(),
            channel: self.number,
            rest,
        });
    }

    /// Goes on with a method that waited until what was withheld may be seen.
    pub fn go_on(&mut self, session: &mut Session, output: &mut Vec<u8>, rest: &Rest) {
        match rest {
            Rest::Cancel(cancel) => self.cancel(session, output, cancel),
            Rest::Qos { is_new } => self.finish_qos(session, output, *is_new),
        }
    }

    fn get(
        &mut self,
        session: &mut Session,
        output: &mut Vec<u8>,
        id: MethodId,
        get: &basic::Get,
    ) -> Result<(), Failure> {
        let queue_name = self.named(&get.queue, id)?;
        let denied = |denied: Denied| denied.failure(&session.vhost.name, id);
        session
            .check(Access::Read, &Entity::Queue(Arc::clone(&queue_name)))
            .map_err(denied)?;
        let queue = session
            .vhost
            .queue(&queue_name, session.id)
            .map_err(|refusal| denied(refusal.into()))?;
        let definition = &queue.definition;
        if definition.queue_type == QueueType::Quorum && definition.has_single_active_consumer() {
            return Err(denied(
                QueueType::Quorum.refuses(&queue_name, TypeRefusal::Get).into(),
            ));
        }
        self.try_get(session, output, &queue, get.no_ack);
        Ok(())
    }

    /// Answers `basic.get`, or waits until the queue has a message in memory.
    pub fn try_get(
        &mut self,
        session: &mut Session,
        output: &mut Vec<u8>,
        queue: &Arc<LiveQueue>,
        no_ack: bool,
    ) {
        match queue.get(no_ack, &session.outbox) {
            Got::Empty => self.reply(output, basic::AMQPMethod::GetEmpty(basic::GetEmpty {})),
            Got::Later => {
                let (channel, queue) = (self.number, Arc::clone(queue));
                session.wait = Some(Wait::Get {
                    channel,
                    queue,
                    no_ack,
                    is_due: false,
                });
            }
            Got::Message {
                handle,
                message,
                redelivered,
                remaining,
            } => {
                let source = self.get_source(session, queue);
                let unacked = (!no_ack).then_some(Unacked { source, handle });
                let delivery_tag = self.note_got(source, unacked);
                self.forget_if_done(source);
                let content = message.content();
                let remaining = saturated(remaining);
                let frame_max = session.frame_max;
                method::get_ok(
                    output,
                    self.number,
                    delivery_tag,
                    redelivered,
                    remaining,
                    &content,
                    frame_max,
                );
            }
        }
    }

    /// The source that stands for `basic.get` on this queue.
    fn get_source(&mut self, session: &mut Session, queue: &Arc<LiveQueue>) -> SourceId {
        let is_it = |source: &Source| source.tag.is_empty() && source.queue.id == queue.id;
        if let Some((id, _)) = self.sources.iter().find(|(_, source)| is_it(source)) {
            return *id;
        }
        let id = session.next_source();
        let source = Source {
            queue: Arc::clone(queue),
            slot: None,
            tag: "".into(),
            no_ack: false,
            unacked: 0,
            written: Written::default(),
        };
        self.sources.insert(id, source);
        id
    }

    fn reply(&self, output: &mut Vec<u8>, reply: basic::AMQPMethod) {
        method::encode(output, self.number, &AMQPClass::Basic(reply));
    }
}

fn short(text: &str) -> ShortString {
    ShortString::try_new(text.to_owned()).expect("consumer tags came as short strings")
}

/// 540 for a byte limit, which RabbitMQ does not offer either. amq-protocol drops the field, so it is read from the
/// method's bytes.
pub fn check_prefetch_size(payload: &[u8], id: MethodId) -> Result<(), Failure> {
    let size = payload.get(4..8).map_or(0, |bytes| {
        u32::from_be_bytes(bytes.try_into().expect("four bytes"))
    });
    if size == 0 {
        return Ok(());
    }
    let explanation = format!("prefetch_size!=0 ({size})");
    Err(connection(ReplyCode::NotImplemented, explanation, id))
}
