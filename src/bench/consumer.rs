//! One consumer: a connection that takes everything of one producer from one queue and checks it.

use std::{sync::Arc, time::Instant};

use amq_protocol::protocol::{AMQPClass, basic};

use crate::bench::{
    body::{Assembler, OrderCheck},
    client::{Client, STALL_MAX, read_method, unexpected},
    error::BenchError,
    producer::nanoseconds,
    stream::Stream,
    wire::{BASIC_DELIVER, FRAME_METHOD, push_ack},
};

/// Unacked messages that a consumer with acks may have.
const PREFETCH: u16 = 1000;
const CONSUMER_TAG: &str = "leveret-bench";

/// A connected consumer.
#[derive(Debug)]
pub(super) struct Consumer {
    client: Client,
    queue: String,
    stream: Arc<Stream>,
    /// Its place among the consumers of the stream.
    place: u16,
    assembler: Assembler,
    check: OrderCheck,
    acks: Acks,
    /// One entry per message, in nanoseconds, if latencies are wanted.
    latencies: Option<Vec<u64>>,
}

#[derive(Debug)]
struct Acks {
    /// Messages per ack; `None` is automatic acks.
    each: Option<u64>,
    pending: u64,
    last_tag: u64,
    output: Vec<u8>,
}

impl Consumer {
    /// Consumes `queue`, into which the stream's producer publishes `body_bytes` each, as consumer `place` of
    /// the stream.
    pub(super) fn new(
        client: Client,
        queue: String,
        stream: Arc<Stream>,
        producer: u16,
        place: u16,
        body_bytes: usize,
    ) -> Self {
        Self {
            client,
            queue,
            stream,
            place,
            assembler: Assembler::new(body_bytes),
            check: OrderCheck::new(producer),
            acks: Acks {
                each: None,
                pending: 0,
                last_tag: 0,
                output: Vec::new(),
            },
            latencies: None,
        }
    }

    /// Acks each `each` messages instead of automatically.
    pub(super) fn with_acks(mut self, each: Option<u64>) -> Self {
        self.acks.each = each;
        self
    }

    /// Notes the latency of every message.
    pub(super) fn with_latencies(mut self) -> Self {
        self.latencies = Some(Vec::new());
        self
    }

    /// Begins to consume.
    ///
    /// # Errors
    /// As the broker's refusals come.
    pub(super) fn subscribe(&mut self) -> Result<(), BenchError> {
        if self.acks.each.is_some() {
            let qos = basic::Qos {
                prefetch_count: PREFETCH,
                global: false,
            };
            self.client.call(AMQPClass::Basic(basic::AMQPMethod::Qos(qos)))?;
        }
        let consume = basic::Consume {
            queue: self.queue.as_str().into(),
            consumer_tag: CONSUMER_TAG.into(),
            no_ack: self.acks.each.is_none(),
            ..basic::Consume::default()
        };
        self.client
            .call(AMQPClass::Basic(basic::AMQPMethod::Consume(consume)))?;
        Ok(())
    }

    /// Takes messages until all of the stream's have come; gives the moment of the last one.
    ///
    /// # Errors
    /// `Violation` when they are not those that were published; `Stalled` when they stay away.
    pub(super) fn run(&mut self, start: Instant) -> Result<Instant, BenchError> {
        let mut last = Instant::now();
        loop {
            if self.take_arrived(start)? {
                last = Instant::now();
            }
            if self.stream.total() == Some(self.check.received()) {
                break;
            }
            if !self.client.read()? && last.elapsed() > STALL_MAX {
                let total = self
                    .stream
                    .total()
                    .map_or("more".to_owned(), |total| total.to_string());
                let received = self.check.received();
                return Err(BenchError::Stalled(format!(
                    "{received} of {total} messages came, then none"
                )));
            }
        }
        self.acks.finish();
        self.send_acks()?;
        Ok(last)
    }

    /// Ends the consumer. A message that comes before the broker agrees was never published.
    ///
    /// # Errors
    /// `Violation` for that; refusals as they come.
    pub(super) fn cancel(&mut self) -> Result<(), BenchError> {
        let cancel = basic::Cancel {
            consumer_tag: CONSUMER_TAG.into(),
            nowait: false,
        };
        self.client
            .call(AMQPClass::Basic(basic::AMQPMethod::Cancel(cancel)))?;
        self.client.close()
    }

    /// How many messages came.
    pub(super) fn received(&self) -> u64 {
        self.check.received()
    }

    /// The noted latencies.
    pub(super) fn take_latencies(&mut self) -> Option<Vec<u64>> {
        self.latencies.take()
    }

    /// Works off what was read; `true` if a message was in it.
    fn take_arrived(&mut self, start: Instant) -> Result<bool, BenchError> {
        let before = self.check.received();
        let now = nanoseconds(start.elapsed());
        while let Some(frame) = self.client.inbox.next_frame()? {
            if frame.kind == FRAME_METHOD && frame.method() != Some(BASIC_DELIVER) {
                return Err(unexpected(&read_method(&frame)?));
            }
            let Some(delivery) = self.assembler.accept(&frame)? else {
                continue;
            };
            self.check.accept(delivery.mark)?;
            self.acks.push(delivery.tag);
            if let Some(latencies) = &mut self.latencies {
                latencies.push(now.saturating_sub(delivery.sent));
            }
        }
        self.send_acks()?;
        self.stream.consume(self.place, self.check.received());
        Ok(self.check.received() > before)
    }

    fn send_acks(&mut self) -> Result<(), BenchError> {
        self.client.write(&self.acks.output)?;
        self.acks.output.clear();
        Ok(())
    }
}

impl Acks {
    fn push(&mut self, tag: u64) {
        let Some(each) = self.each else { return };
        self.last_tag = tag;
        self.pending += 1;
        if self.pending >= each {
            self.write(each > 1);
        }
    }

    /// Acks the rest of an unfinished group.
    fn finish(&mut self) {
        if self.pending > 0 {
            self.write(true);
        }
    }

    fn write(&mut self, is_multiple: bool) {
        push_ack(&mut self.output, self.last_tag, is_multiple);
        self.pending = 0;
    }
}
