//! Transactions: publishes and acks of one channel, kept until commit and then stored as one group, in every queue
//! or in none.

use std::sync::Arc;

use amq_protocol::protocol::{AMQPClass, tx};

use crate::amqp::method::{self, MethodId};
use crate::amqp::reply_code::ReplyCode;
use crate::broker::Broker;
use crate::broker::queue::Settlement;
use crate::broker::vhost::Route;
use crate::message::Message;
use crate::store::{Hold, Operation, Sequence};

use super::super::error::{Failure, precondition, unimplemented_method};
use super::super::session::Session;
use super::{Channel, Mode, Unacked};

/// What a transaction has gathered.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    /// Messages with where they go, which was decided when they were published.
    pub(super) publishes: Vec<(Route, Message)>,
    /// Mandatory messages that no queue takes; they are returned at commit.
    pub(super) returns: Vec<Message>,
    /// Settled deliveries with their tags.
    pub(super) settlements: Vec<(u64, Unacked, Settlement)>,
}

impl Channel {
    pub(super) fn tx_method(
        &mut self,
        session: &mut Session,
        output: &mut Vec<u8>,
        id: MethodId,
        method: &tx::AMQPMethod,
    ) -> Result<(), Failure> {
        match method {
            tx::AMQPMethod::Select(_) => {
                match self.mode {
                    Mode::Confirm(_) => {
                        return Err(precondition("cannot switch from confirm to tx mode", id));
                    }
                    Mode::Transaction(_) => {}
                    Mode::Plain => self.mode = Mode::Transaction(Transaction::default()),
                }
                method::encode(
                    output,
                    self.number,
                    &ok(tx::AMQPMethod::SelectOk(tx::SelectOk {})),
                );
                Ok(())
            }
            tx::AMQPMethod::Commit(_) => self.commit(session, output, id),
            tx::AMQPMethod::Rollback(_) => {
                if !self.rollback() {
                    return Err(precondition("channel is not transactional", id));
                }
                method::encode(
                    output,
                    self.number,
                    &ok(tx::AMQPMethod::RollbackOk(tx::RollbackOk {})),
                );
                Ok(())
            }
            _ => Err(unimplemented_method(id)),
        }
    }

    /// Drops gathered publishes and makes gathered acks outstanding again. False without a transaction.
    pub(super) fn rollback(&mut self) -> bool {
        let Mode::Transaction(transaction) = &mut self.mode else {
            return false;
        };
        let Transaction { settlements, .. } = std::mem::take(transaction);
        for (delivery_tag, unacked, _) in settlements {
            self.unacked.insert(delivery_tag, unacked);
        }
        true
    }

    fn commit(&mut self, session: &mut Session, output: &mut Vec<u8>, id: MethodId) -> Result<(), Failure> {
        let Mode::Transaction(transaction) = &mut self.mode else {
            return Err(precondition("channel is not transactional", id));
        };
        let Transaction {
            publishes,
            returns,
            settlements,
        } = std::mem::take(transaction);
        let store = Arc::clone(&session.broker.stores.durable);
        let hold = Hold::new(&*store);
        session.batch.seen_after = is_stored(&publishes, &settlements).then(|| begin(session));
        let mut sequence = None;
        // Of an earlier transaction, or of publishes before tx.select.
        session.batch.take_rejected();
        for (route, message) in publishes {
            let route = session.batch.routes.once(route);
            if session.batch.publish(message, route, None) {
                sequence = sequence.max(session.batch.flush());
            }
        }
        for (_, unacked, settlement) in settlements {
            self.settle_one(session, unacked, settlement);
        }
        self.resume_consumers(session);
        sequence = sequence.max(session.batch.flush());
        session.batch.seen_after = None;
        drop(hold);
        if session.batch.take_rejected() {
            // As in RabbitMQ the others have entered their queues, and stay there.
            return Err(precondition("partial tx completion", id));
        }
        let mut reply = Vec::new();
        for message in returns {
            let content = message.content();
            method::basic_return(
                &mut reply,
                self.number,
                ReplyCode::NoRoute,
                &content,
                session.frame_max,
            );
        }
        method::encode(
            &mut reply,
            self.number,
            &ok(tx::AMQPMethod::CommitOk(tx::CommitOk {})),
        );
        session.send_after(output, sequence, reply);
        Ok(())
    }
}

/// Whether a crash could undo the transaction after somebody has seen its messages, so that it is made again.
fn is_stored(publishes: &[(Route, Message)], settlements: &[(u64, Unacked, Settlement)]) -> bool {
    let is_kept = |(route, message): &(Route, Message)| {
        let is_persistent = message.is_persistent();
        route.is_kept_later() || route.queues.iter().any(|queue| queue.keeps(is_persistent))
    };
    !publishes.is_empty() && (!settlements.is_empty() || publishes.iter().any(is_kept))
}

/// The number of the group that the transaction is in. The caller holds the store, so that it is that of all of it.
fn begin(session: &Session) -> Sequence {
    let Broker { stores, clock, .. } = &*session.broker;
    stores.durable.append(&mut vec![Operation::NoteTime(clock.now())])
}

fn ok(method: tx::AMQPMethod) -> AMQPClass {
    AMQPClass::Tx(method)
}
