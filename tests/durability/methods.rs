//! The methods that the tests use, in a short form.

use std::collections::BTreeSet;
use std::io;

use amq_protocol::protocol::{AMQPClass, basic, confirm, exchange, queue};
use amq_protocol::types::FieldTable;

use crate::client::{Client, Delivery, Event};

impl Client {
    pub fn select_confirms(&mut self) -> io::Result<()> {
        self.call(AMQPClass::Confirm(confirm::AMQPMethod::Select(confirm::Select {
            nowait: false,
        })))?;
        Ok(())
    }

    /// Waits until all that was published is confirmed. Only while no deliveries are expected.
    pub fn wait_for_confirms(&mut self) -> io::Result<()> {
        let mut missing: BTreeSet<u64> = (self.waited_for + 1..=self.published).collect();
        while !missing.is_empty() {
            match self.expect_event()? {
                Event::Confirm { tag, multiple: true } => missing = missing.split_off(&(tag + 1)),
                Event::Confirm { tag, multiple: false } => {
                    missing.remove(&tag);
                }
                other => return Err(io::Error::other(format!("a confirm was due, not {other:?}"))),
            }
        }
        self.waited_for = self.published;
        Ok(())
    }

    /// Returns when all acks sent so far are on disk. Needs confirms, and leaves two messages in `queue`.
    ///
    /// Acks read together with the first publish may reach the store behind it, but never behind the second.
    pub fn prove_on_disk(&mut self, queue: &str) -> io::Result<()> {
        for _ in 0..2 {
            self.publish("", queue, true, b"proof");
            self.wait_for_confirms()?;
        }
        Ok(())
    }

    pub fn declare(&mut self, name: &str, is_durable: bool) -> io::Result<u32> {
        self.declare_with(queue::Declare {
            queue: name.into(),
            durable: is_durable,
            ..queue::Declare::default()
        })
    }

    /// Ready messages of a queue that exists.
    pub fn ready(&mut self, name: &str) -> io::Result<u32> {
        self.declare_with(queue::Declare {
            queue: name.into(),
            passive: true,
            ..queue::Declare::default()
        })
    }

    /// A durable queue with arguments.
    pub fn declare_typed(&mut self, name: &str, arguments: &FieldTable) -> io::Result<u32> {
        self.declare_with(queue::Declare {
            queue: name.into(),
            durable: true,
            arguments: arguments.clone(),
            ..queue::Declare::default()
        })
    }

    fn declare_with(&mut self, declare: queue::Declare) -> io::Result<u32> {
        match self.call(AMQPClass::Queue(queue::AMQPMethod::Declare(declare)))? {
            AMQPClass::Queue(queue::AMQPMethod::DeclareOk(ok)) => Ok(ok.message_count),
            other => panic!("declare-ok was due, not {other:?}"),
        }
    }

    /// Returns how many messages it removed.
    pub fn purge(&mut self, name: &str) -> io::Result<u32> {
        let purge = queue::Purge {
            queue: name.into(),
            nowait: false,
        };
        match self.call(AMQPClass::Queue(queue::AMQPMethod::Purge(purge)))? {
            AMQPClass::Queue(queue::AMQPMethod::PurgeOk(ok)) => Ok(ok.message_count),
            other => panic!("purge-ok was due, not {other:?}"),
        }
    }

    pub fn delete(&mut self, name: &str) -> io::Result<()> {
        let delete = queue::Delete {
            queue: name.into(),
            ..queue::Delete::default()
        };
        self.call(AMQPClass::Queue(queue::AMQPMethod::Delete(delete)))?;
        Ok(())
    }

    pub fn declare_exchange(&mut self, name: &str, kind: &str, is_durable: bool) -> io::Result<()> {
        let declare = exchange::Declare {
            exchange: name.into(),
            kind: kind.into(),
            durable: is_durable,
            ..exchange::Declare::default()
        };
        self.call(AMQPClass::Exchange(exchange::AMQPMethod::Declare(declare)))?;
        Ok(())
    }

    pub fn has_exchange(&mut self, name: &str) -> io::Result<()> {
        let declare = exchange::Declare {
            exchange: name.into(),
            passive: true,
            ..exchange::Declare::default()
        };
        self.call(AMQPClass::Exchange(exchange::AMQPMethod::Declare(declare)))?;
        Ok(())
    }

    pub fn delete_exchange(&mut self, name: &str) -> io::Result<()> {
        let delete = exchange::Delete {
            exchange: name.into(),
            ..exchange::Delete::default()
        };
        self.call(AMQPClass::Exchange(exchange::AMQPMethod::Delete(delete)))?;
        Ok(())
    }

    pub fn bind(&mut self, queue: &str, exchange: &str, routing_key: &str) -> io::Result<()> {
        let bind = queue::Bind {
            queue: queue.into(),
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            ..queue::Bind::default()
        };
        self.call(AMQPClass::Queue(queue::AMQPMethod::Bind(bind)))?;
        Ok(())
    }

    pub fn unbind(&mut self, queue: &str, exchange: &str, routing_key: &str) -> io::Result<()> {
        let unbind = queue::Unbind {
            queue: queue.into(),
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            ..queue::Unbind::default()
        };
        self.call(AMQPClass::Queue(queue::AMQPMethod::Unbind(unbind)))?;
        Ok(())
    }

    pub fn qos(&mut self, count: u16) -> io::Result<()> {
        let qos = basic::Qos {
            prefetch_count: count,
            global: false,
        };
        self.call(AMQPClass::Basic(basic::AMQPMethod::Qos(qos)))?;
        Ok(())
    }

    /// Consumes with manual acks under the queue's name.
    pub fn consume(&mut self, queue: &str) -> io::Result<()> {
        let consume = basic::Consume {
            queue: queue.into(),
            consumer_tag: queue.into(),
            ..basic::Consume::default()
        };
        self.call(AMQPClass::Basic(basic::AMQPMethod::Consume(consume)))?;
        Ok(())
    }

    /// The queue's first ready message.
    pub fn get(&mut self, queue: &str) -> io::Result<Option<Delivery>> {
        let get = basic::Get {
            queue: queue.into(),
            no_ack: false,
        };
        self.send(AMQPClass::Basic(basic::AMQPMethod::Get(get)));
        loop {
            match self.expect_event()? {
                Event::Delivery(delivery) => return Ok(Some(delivery)),
                Event::Answer(AMQPClass::Basic(basic::AMQPMethod::GetEmpty(_))) => return Ok(None),
                Event::Confirm { .. } => {}
                other => return Err(io::Error::other(format!("{other:?}"))),
            }
        }
    }

    pub fn ack(&mut self, tag: u64, multiple: bool) {
        let ack = basic::Ack {
            delivery_tag: tag,
            multiple,
        };
        self.send(AMQPClass::Basic(basic::AMQPMethod::Ack(ack)));
    }

    pub fn requeue(&mut self, tag: u64) {
        self.nack(tag, false, true);
    }

    pub fn nack(&mut self, tag: u64, multiple: bool, requeue: bool) {
        let nack = basic::Nack {
            delivery_tag: tag,
            multiple,
            requeue,
        };
        self.send(AMQPClass::Basic(basic::AMQPMethod::Nack(nack)));
    }

    pub fn reject(&mut self, tag: u64, requeue: bool) {
        let reject = basic::Reject {
            delivery_tag: tag,
            requeue,
        };
        self.send(AMQPClass::Basic(basic::AMQPMethod::Reject(reject)));
    }
}
