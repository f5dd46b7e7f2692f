//! The exchange, queues and bindings of a run, and the connection that makes and removes them.

use std::sync::{Arc, atomic::AtomicBool};

use amq_protocol::{
    protocol::{AMQPClass, exchange, queue},
    uri::AMQPUri,
};

use crate::bench::{
    client::{Client, unexpected},
    error::BenchError,
    plan::{Flow, Plan, Routing},
};

/// Keys that a topic producer uses in turn, at most.
const TOPIC_KEYS_MAX: u64 = 1000;

/// What stands on the broker during a run.
#[derive(Debug)]
pub(super) struct Topology {
    client: Client,
    exchange: String,
    queues: Vec<String>,
    routing: Routing,
}

impl Topology {
    /// Makes it anew, except for the queue of a backlog that is to be drained.
    ///
    /// # Errors
    /// As the broker's refusals come.
    pub(super) fn declare(uri: &AMQPUri, plan: &Plan, entity: &str) -> Result<Self, BenchError> {
        let exchange = if plan.routing == Routing::Default {
            String::new()
        } else {
            entity.to_owned()
        };
        // A flag of its own: what a failed run leaves is still to be removed.
        let is_aborted = Arc::new(AtomicBool::new(false));
        let mut topology = Self {
            client: Client::open(uri, &is_aborted)?,
            exchange,
            queues: (0..plan.queues)
                .map(|number| format!("{entity}-{number}"))
                .collect(),
            routing: plan.routing.clone(),
        };
        if plan.flow != Flow::Drain {
            topology.delete()?;
            topology.declare_queues(plan.is_durable)?;
            topology.declare_exchange()?;
        }
        Ok(topology)
    }

    /// The exchange to publish to.
    pub(super) fn exchange(&self) -> &str {
        &self.exchange
    }

    /// The queues.
    pub(super) fn queues(&self) -> &[String] {
        &self.queues
    }

    /// What the broker calls itself.
    pub(super) fn broker(&self) -> &str {
        &self.client.broker
    }

    /// The routing keys that the producer of that number uses in turn.
    pub(super) fn keys(&self, producer: u16) -> Vec<String> {
        match self.routing {
            Routing::Default => vec![self.queues[usize::from(producer)].clone()],
            Routing::Fanout => vec![String::new()],
            Routing::Topic(bindings) => {
                let count = bindings.min(TOPIC_KEYS_MAX);
                (0..count)
                    .map(|place| format!("bench.{}.some", place * bindings / count))
                    .collect()
            }
        }
    }

    /// Ready messages of all queues.
    ///
    /// # Errors
    /// As the broker's refusals come.
    pub(super) fn depth(&mut self) -> Result<u64, BenchError> {
        let mut depth = 0;
        for name in &self.queues {
            let declare = queue::Declare {
                queue: name.as_str().into(),
                passive: true,
                ..queue::Declare::default()
            };
            match self
                .client
                .call(AMQPClass::Queue(queue::AMQPMethod::Declare(declare)))?
            {
                AMQPClass::Queue(queue::AMQPMethod::DeclareOk(ok)) => depth += u64::from(ok.message_count),
                other => return Err(unexpected(&other)),
            }
        }
        Ok(depth)
    }

    /// Removes it all; gives the number of messages that were still there.
    ///
    /// # Errors
    /// As the broker's refusals come.
    pub(super) fn delete(&mut self) -> Result<u64, BenchError> {
        if !self.exchange.is_empty() {
            let delete = exchange::Delete {
                exchange: self.exchange.as_str().into(),
                ..exchange::Delete::default()
            };
            self.client
                .call(AMQPClass::Exchange(exchange::AMQPMethod::Delete(delete)))?;
        }
        let mut left = 0;
        for name in &self.queues {
            let delete = queue::Delete {
                queue: name.as_str().into(),
                ..queue::Delete::default()
            };
            match self
                .client
                .call(AMQPClass::Queue(queue::AMQPMethod::Delete(delete)))?
            {
                AMQPClass::Queue(queue::AMQPMethod::DeleteOk(ok)) => left += u64::from(ok.message_count),
                other => return Err(unexpected(&other)),
            }
        }
        Ok(left)
    }

    fn declare_queues(&mut self, durable: bool) -> Result<(), BenchError> {
        for name in &self.queues {
            let declare = queue::Declare {
                queue: name.as_str().into(),
                durable,
                ..queue::Declare::default()
            };
            self.client
                .call(AMQPClass::Queue(queue::AMQPMethod::Declare(declare)))?;
        }
        Ok(())
    }

    fn declare_exchange(&mut self) -> Result<(), BenchError> {
        let (kind, binding_keys) = match self.routing {
            Routing::Default => return Ok(()),
            Routing::Fanout => ("fanout", vec![String::new()]),
            Routing::Topic(bindings) => (
                "topic",
                (0..bindings).map(|number| format!("bench.{number}.*")).collect(),
            ),
        };
        let declare = exchange::Declare {
            exchange: self.exchange.as_str().into(),
            kind: kind.into(),
            ..exchange::Declare::default()
        };
        self.client
            .call(AMQPClass::Exchange(exchange::AMQPMethod::Declare(declare)))?;
        for name in &self.queues {
            for key in &binding_keys {
                let bind = queue::Bind {
                    queue: name.as_str().into(),
                    exchange: self.exchange.as_str().into(),
                    routing_key: key.as_str().into(),
                    nowait: true,
                    ..queue::Bind::default()
                };
                self.client
                    .tell(AMQPClass::Queue(queue::AMQPMethod::Bind(bind)))?;
            }
        }
        self.depth().map(drop)
    }
}
