//! A channel: its consumers and unacked deliveries, its half-received message, and its mode. One file per class of
//! methods; what is gathered for the queues goes to the session's batch.

mod basic;
mod confirm;
mod deliveries;
mod exchange;
mod incoming;
mod properties;
mod publish;
mod queue;
mod repetition;
mod replies;
mod settle;
mod tx;

use std::sync::Arc;

use amq_protocol::protocol::{AMQPClass, access, channel};
use amq_protocol::types::ShortString;
use rustc_hash::FxHashMap;

use crate::amqp::method::{self, Method, MethodId};
use crate::amqp::reply_code::ReplyCode;
use crate::broker::live_queue::LiveQueue;
use crate::broker::outbox::SourceId;
use crate::broker::queue::Settlement;
use crate::broker::queue::consumers::{ChannelLimit, ConsumerSlot};
use crate::broker::queue::effects::DeliveryHandle;
use crate::broker::sparse_deque::SparseDeque;
use crate::store::Sequence;

use super::batch::Confirmed;
use super::error::{Failure, connection, unimplemented_method};
use super::session::Session;
use confirm::Confirms;
use incoming::Incoming;
use repetition::Repetition;
use tx::Transaction;

pub use basic::check_prefetch_size;

/// Where a channel gets messages from: a consumer, or `basic.get` on one queue.
#[derive(Debug)]
struct Source {
    queue: Arc<LiveQueue>,
    /// The queue's number for the consumer; `None` for `basic.get` and after cancel.
    slot: Option<ConsumerSlot>,
    /// Consumer tag; empty for `basic.get`.
    tag: Arc<str>,
    /// Deliveries count as acked when made.
    no_ack: bool,
    /// Deliveries that are not settled.
    unacked: usize,
    /// Deliveries encoded since the queue was last told that the socket took them.
    written: Written,
}

#[derive(Clone, Copy, Debug, Default)]
struct Written {
    messages: u32,
    bytes: usize,
}

/// A delivery that is not settled.
#[derive(Clone, Copy, Debug)]
struct Unacked {
    source: SourceId,
    handle: DeliveryHandle,
}

/// What `confirm.select` and `tx.select` chose.
#[derive(Debug)]
enum Mode {
    Plain,
    Confirm(Confirms),
    Transaction(Transaction),
}

/// A channel.
#[derive(Debug)]
pub struct Channel {
    number: u16,
    /// It failed, and close-ok is awaited; all else is ignored.
    is_closing: bool,
    /// The half-received message.
    incoming: Option<Incoming>,
    repetition: Repetition,
    sources: FxHashMap<SourceId, Source>,
    consumers: FxHashMap<Arc<str>, SourceId>,
    unacked: SparseDeque<Unacked>,
    last_delivery_tag: u64,
    /// Default for consumers to come (`basic.qos` with global=false).
    prefetch: u16,
    limit: Option<Arc<ChannelLimit>>,
    /// Consumers may wait for the limit, and it has room now.
    has_room_again: bool,
    /// The queue that an empty name stands for.
    last_queue: Option<Arc<str>>,
    mode: Mode,
    /// Where answers to this channel's requests go, while it consumes them.
    reply_queue: Option<Arc<LiveQueue>>,
    /// Sources with `written` to report.
    touched: Vec<SourceId>,
}

/// A queue that a released channel consumed from, and that is not done with it yet.
#[derive(Debug)]
pub enum Left {
    /// It is auto-delete and lost its last consumer.
    Emptied(Arc<LiveQueue>),
    /// It has a single active consumer: the successor must not get anything before all was given back.
    Suspended(Arc<LiveQueue>, ConsumerSlot),
}

/// What becomes of the channel after a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It goes on.
    Open,
    /// It is closed and forgotten.
    Closed,
}

impl Channel {
    /// An open channel.
    pub fn new(number: u16) -> Self {
        Self {
            number,
            is_closing: false,
            incoming: None,
            repetition: Repetition::default(),
            sources: FxHashMap::default(),
            consumers: FxHashMap::default(),
            unacked: SparseDeque::default(),
            last_delivery_tag: 0,
            prefetch: 0,
            limit: None,
            has_room_again: false,
            last_queue: None,
            mode: Mode::Plain,
            reply_queue: None,
            touched: Vec::new(),
        }
    }

    /// Whether a method is what has to come next, and would not be ignored.
    pub fn takes_methods(&self) -> bool {
        !self.is_closing && self.incoming.is_none()
    }

    /// Works off a method.
    ///
    /// # Errors
    /// What the channel or the connection has to be closed with.
    pub fn method(
        &mut self,
        session: &mut Session,
        output: &mut Vec<u8>,
        method: Method<'_>,
    ) -> Result<Next, Failure> {
        if self.is_closing {
            return self.method_while_closing(output, &method);
        }
        if self.incoming.is_some() {
            return Err(self.unexpected_method());
        }
        match method {
            Method::Publish(publish) => self.begin_publish(&publish)?,
            Method::Ack {
                delivery_tag,
                multiple,
            } => self.ack(session, delivery_tag, multiple)?,
            Method::Nack {
                delivery_tag,
                multiple,
                requeue,
            } => {
                let settlement = if requeue {
                    Settlement::Requeue
                } else {
                    Settlement::Discard
                };
                self.settle(
                    session,
                    delivery_tag,
                    multiple,
                    settlement,
                    MethodId::new(60, 120),
                )?;
            }
            Method::Reject {
                delivery_tag,
                requeue,
            } => {
                let settlement = if requeue {
                    Settlement::Reject
                } else {
                    Settlement::Discard
                };
                self.settle(session, delivery_tag, false, settlement, MethodId::new(60, 90))?;
            }
            Method::Other(id, class) => {
                session.flush();
                return self.other(session, output, id, class);
            }
        }
        Ok(Next::Open)
    }

    fn other(
        &mut self,
        session: &mut Session,
        output: &mut Vec<u8>,
        id: MethodId,
        class: AMQPClass,
    ) -> Result<Next, Failure> {
        match class {
            AMQPClass::Channel(method) => return self.channel_method(session, output, id, &method),
            AMQPClass::Exchange(method) => self.exchange_method(session, output, id, method)?,
            AMQPClass::Queue(method) => self.queue_method(session, output, id, method)?,
            AMQPClass::Basic(method) => self.basic_method(session, output, id, method)?,
            AMQPClass::Confirm(method) => self.confirm_method(output, id, &method)?,
            AMQPClass::Tx(method) => self.tx_method(session, output, id, &method)?,
            AMQPClass::Access(access::AMQPMethod::Request(_)) => {
                let ok = access::RequestOk {};
                let ok = access::AMQPMethod::RequestOk(ok);
                method::encode(output, self.number, &AMQPClass::Access(ok));
            }
            AMQPClass::Access(_) | AMQPClass::Connection(_) => return Err(unimplemented_method(id)),
        }
        Ok(Next::Open)
    }

    fn channel_method(
        &mut self,
        session: &mut Session,
        output: &mut Vec<u8>,
        id: MethodId,
        method: &channel::AMQPMethod,
    ) -> Result<Next, Failure> {
        match method {
            channel::AMQPMethod::Open(_) => Err(second_open(id)),
            channel::AMQPMethod::Flow(channel::Flow { active: true }) => {
                let ok = channel::AMQPMethod::FlowOk(channel::FlowOk { active: true });
                method::encode(output, self.number, &AMQPClass::Channel(ok));
                Ok(Next::Open)
            }
            channel::AMQPMethod::Flow(_) => Err(connection(ReplyCode::NotImplemented, "active=false", id)),
            channel::AMQPMethod::Close(_) => {
                self.release(session);
                self.send_close_ok(output);
                Ok(Next::Closed)
            }
            _ => Err(unimplemented_method(id)),
        }
    }

    /// After the broker closed the channel: the client may cross it with its own close.
    fn method_while_closing(&mut self, output: &mut Vec<u8>, method: &Method<'_>) -> Result<Next, Failure> {
        match method {
            Method::Other(_, AMQPClass::Channel(channel::AMQPMethod::CloseOk(_))) => Ok(Next::Closed),
            Method::Other(_, AMQPClass::Channel(channel::AMQPMethod::Close(_))) => {
                self.send_close_ok(output);
                Ok(Next::Open)
            }
            Method::Other(id, AMQPClass::Channel(channel::AMQPMethod::Open(_))) => Err(second_open(*id)),
            _ => Ok(Next::Open),
        }
    }

    /// The broker closes the channel: everything is released now, and what still comes in is ignored.
    pub fn fail(&mut self, session: &mut Session) {
        self.release(session);
        self.is_closing = true;
    }

    /// Ends everything that the channel has in the broker.
    pub fn release(&mut self, session: &mut Session) {
        let left = self.cancel_all(session);
        let number = self.number;
        for delivery in session.take_back(|delivery| delivery.channel == number) {
            self.return_undelivered(session, &delivery);
        }
        self.give_back(session);
        for left in left {
            left.finish(session);
        }
    }

    /// First step of a release: no consumer gets anything more. Returns what is to be finished when all steps are
    /// done, for all channels if the connection ends.
    pub fn cancel_all(&mut self, session: &mut Session) -> Vec<Left> {
        session.flush();
        self.incoming = None;
        self.rollback();
        self.consumers.clear();
        let mut left = Vec::new();
        for source in self.sources.values_mut() {
            let Some(slot) = source.slot.take() else { continue };
            let queue = Arc::clone(&source.queue);
            if queue.definition.has_single_active_consumer() {
                queue.suspend(slot);
                left.push(Left::Suspended(queue, slot));
            } else if queue.cancel(slot).delete {
                left.push(Left::Emptied(queue));
            }
        }
        if let Some(queue) = self.reply_queue.take() {
            session.vhost.close_reply_queue(&queue);
        }
        left
    }

    /// Second step, after the undelivered messages were returned: gives back what is unacked and forgets the rest.
    pub fn give_back(&mut self, session: &mut Session) {
        while let Some((_, Unacked { source, handle })) = self.unacked.pop_front() {
            let source = self
                .sources
                .get(&source)
                .expect("a source outlives its unacked deliveries");
            session.batch.settle(&source.queue, handle, Settlement::Lost);
        }
        session.flush();
        session.batch.forget_queues();
        self.sources.clear();
        self.touched.clear();
        self.mode = Mode::Plain;
    }

    /// The confirms that `committed` makes due.
    pub fn committed(&mut self, committed: Sequence, output: &mut Vec<u8>) {
        if let Mode::Confirm(confirms) = &mut self.mode {
            confirms.committed(committed, self.number, output);
        }
    }

    /// What the oldest confirm waits for.
    pub fn awaits(&self) -> Option<Sequence> {
        match &self.mode {
            Mode::Confirm(confirms) => confirms.awaits(),
            _ => None,
        }
    }

    /// Takes confirms of this channel, in the order of their publishes.
    pub fn confirm(&mut self, confirmed: &[Confirmed], output: &mut Vec<u8>) {
        if let Mode::Confirm(confirms) = &mut self.mode {
            confirms.confirmed(confirmed, self.number, output);
        }
    }

    fn send_close_ok(&self, output: &mut Vec<u8>) {
        let ok = channel::AMQPMethod::CloseOk(channel::CloseOk {});
        method::encode(output, self.number, &AMQPClass::Channel(ok));
    }
}

impl Left {
    /// Last step of a release.
    pub fn finish(self, session: &mut Session) {
        match self {
            Self::Emptied(queue) => session.delete_unused(&queue),
            Self::Suspended(queue, slot) => {
                if queue.cancel(slot).delete {
                    session.delete_unused(&queue);
                }
                queue.dispatch();
            }
        }
    }
}

/// 504 for opening an open channel, also one that waits for close-ok.
fn second_open(id: MethodId) -> Failure {
    connection(ReplyCode::ChannelError, "second 'channel.open' seen", id)
}

/// A short string as the shared name that the broker uses.
fn name(text: &ShortString) -> Arc<str> {
    text.as_str().into()
}

/// An entity's name without line breaks, which RabbitMQ removes in declare, delete, bind and unbind.
fn entity_name(text: &ShortString) -> Arc<str> {
    if text.as_str().contains(['\r', '\n']) {
        text.as_str().replace(['\r', '\n'], "").into()
    } else {
        name(text)
    }
}
