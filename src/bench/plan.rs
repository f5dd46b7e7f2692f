//! A scenario in numbers: everything that a run needs to know of it.

/// Messages that a producer may be ahead of its slowest consumer, whatever their size.
const AHEAD_MAX: u64 = 200_000;
/// Bytes of bodies that a producer may be ahead.
const AHEAD_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Where messages are published to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Routing {
    /// The default exchange, by queue name.
    Default,
    /// A fanout exchange to which all queues are bound.
    Fanout,
    /// A topic exchange with that many bindings to the one queue.
    Topic(u64),
}

/// What follows what, and what of it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Publishing and consuming at the same time.
    Together,
    /// Publishing only; the queue is counted and purged.
    Publish,
    /// Publishing unmeasured, then consuming.
    Consume,
    /// Publishing and the memory that it takes; draining after it is a second figure.
    Backlog,
    /// Consuming what an earlier run left.
    Drain,
    /// Connections that do nothing; `messages_max` says how many.
    Connections,
    /// Queues that do nothing; `messages_max` says how many.
    Queues,
}

/// A scenario in numbers.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Size of each body.
    pub(super) body_bytes: usize,
    /// The exchange.
    pub(super) routing: Routing,
    /// Queues, and consumers: one for each.
    pub(super) queues: u16,
    /// Producers: one, or one for each queue.
    pub(super) producers: u16,
    /// Durable queue and delivery mode 2.
    pub(super) is_durable: bool,
    /// Unconfirmed messages that a producer may have; `None` is without confirms.
    pub(super) confirm_window: Option<u64>,
    /// Messages per ack; `None` is automatic acks.
    pub(super) ack_each: Option<u64>,
    /// Messages a second; `None` is as many as possible.
    pub(super) rate: Option<u64>,
    /// Order of the phases.
    pub(super) flow: Flow,
    /// Each producer ends after so many. In flows without messages, how many things are made.
    pub(super) messages_max: u64,
    /// Whether producers end when the time is up, too.
    pub(super) is_timed: bool,
    /// Messages that a producer may be ahead of its slowest consumer.
    pub(super) ahead_max: u64,
}

impl Plan {
    /// Transient messages as fast as they go, one producer, one consumer, automatic acks.
    pub(super) fn flood(body_bytes: u64) -> Self {
        Self {
            body_bytes: usize::try_from(body_bytes).expect("bodies are at most 16 MiB"),
            routing: Routing::Default,
            queues: 1,
            producers: 1,
            is_durable: false,
            confirm_window: None,
            ack_each: None,
            rate: None,
            flow: Flow::Together,
            messages_max: u64::MAX,
            is_timed: true,
            ahead_max: (AHEAD_BYTES_MAX / body_bytes).clamp(16, AHEAD_MAX),
        }
    }

    /// The same with durable queue, persistent messages, confirms and acks.
    pub(super) fn confirmed(self, window: u64) -> Self {
        Self {
            is_durable: true,
            confirm_window: Some(window),
            ..self.acked(100)
        }
    }

    /// The same with an ack for so many messages each.
    pub(super) fn acked(self, each: u64) -> Self {
        Self {
            ack_each: Some(each),
            ..self
        }
    }

    /// Whether nothing is published.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.flow, Flow::Connections | Flow::Queues)
    }

    /// Nothing but `count` idle things.
    pub(super) fn idle(self, flow: Flow, count: u64) -> Self {
        Self {
            flow,
            messages_max: count,
            ..self
        }
    }

    /// Without a consumer nothing but a count bounds the queue: as many as fit half a GiB with 100 bytes for
    /// each beside its body.
    pub(super) fn with_bounded_queue(self) -> Self {
        let message_bytes = u64::try_from(self.body_bytes).expect("bodies are at most 16 MiB") + 100;
        Self {
            messages_max: 512 * 1024 * 1024 / message_bytes,
            ..self
        }
    }
}
