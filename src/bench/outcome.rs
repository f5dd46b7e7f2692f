//! What a run has shown.

use serde::Serialize;

use crate::bench::{
    process::Usage,
    statistics::{float, percentile},
};

/// What one run has shown.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    /// What the broker calls itself.
    pub(super) broker: String,
    /// Messages that count: delivered ones, or published ones where nothing consumes. Of idle things, their
    /// number.
    pub(super) messages: u64,
    /// From the start to the last message or confirm.
    pub(super) seconds: f64,
    /// Messages a second.
    pub(super) per_second: f64,
    /// CPU seconds of the broker.
    pub(super) cpu_seconds: Option<f64>,
    /// CPU seconds of the broker for a million messages.
    pub(super) cpu_seconds_per_million: Option<f64>,
    /// CPU seconds of this program for a million messages.
    pub(super) generator_cpu_seconds_per_million: Option<f64>,
    /// The largest resident memory that was seen.
    pub(super) resident_bytes_max: Option<u64>,
    /// Bytes the broker sent to block devices.
    pub(super) written_bytes: Option<u64>,
    /// Latency percentiles of a run at a fixed rate.
    pub(super) latency_us: Option<Latency>,
    /// With several queues of their own: the smallest of their message counts divided by the largest.
    pub(super) fairness: Option<f64>,
    /// Resident memory that each idle connection or queue added.
    pub(super) resident_bytes_each: Option<f64>,
    /// Messages a second at which a backlog was drained.
    pub(super) drained_per_second: Option<f64>,
}

/// From the write of a message (or the moment it was due, if the broker held the producer up) to its arrival,
/// in microseconds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Latency {
    /// The median.
    pub(super) p50: f64,
    /// 99 of 100 took no longer.
    pub(super) p99: f64,
    /// 999 of 1,000 took no longer.
    pub(super) p999: f64,
    /// The longest.
    pub(super) max: f64,
}

/// What one phase of a run took.
#[derive(Debug)]
pub(super) struct Phase {
    /// Messages that the producers published.
    pub(super) published: u64,
    /// Messages that each consumer got.
    pub(super) received: Vec<u64>,
    /// Latencies of all messages in nanoseconds, if they were noted.
    pub(super) latencies: Vec<u64>,
    /// From the start to the last message or confirm.
    pub(super) seconds: f64,
    /// What the broker's process used.
    pub(super) broker: Option<Usage>,
    /// What this process used.
    pub(super) generator: Option<Usage>,
    /// The largest resident memory of the broker that was seen.
    pub(super) resident_bytes_max: Option<u64>,
}

impl Phase {
    /// Messages a second.
    pub(super) fn per_second(&self) -> f64 {
        float(self.messages()) / self.seconds
    }

    /// Messages that count.
    fn messages(&self) -> u64 {
        if self.received.is_empty() {
            self.published
        } else {
            self.received.iter().sum()
        }
    }

    /// The phase as the figures of a run. `are_rivals` says that the consumers had producers of their own.
    pub(super) fn outcome(mut self, broker: String, are_rivals: bool) -> Outcome {
        let messages = self.messages();
        let per_million =
            |usage: Option<Usage>| usage.map(|usage| usage.cpu_seconds * 1e6 / float(messages.max(1)));
        self.latencies.sort_unstable();
        let fairness = self.received.iter().min().zip(self.received.iter().max());
        Outcome {
            broker,
            messages,
            seconds: self.seconds,
            per_second: self.per_second(),
            cpu_seconds: self.broker.map(|usage| usage.cpu_seconds),
            cpu_seconds_per_million: per_million(self.broker),
            generator_cpu_seconds_per_million: per_million(self.generator),
            resident_bytes_max: self.resident_bytes_max,
            written_bytes: self.broker.map(|usage| usage.written_bytes),
            latency_us: Latency::of(&self.latencies),
            fairness: fairness
                .filter(|_| are_rivals)
                .map(|(min, max)| float(*min) / float((*max).max(1))),
            resident_bytes_each: None,
            drained_per_second: None,
        }
    }
}

impl Latency {
    fn of(sorted_ns: &[u64]) -> Option<Self> {
        let microseconds = |per_mille| percentile(sorted_ns, per_mille).map(|value| float(value) / 1e3);
        Some(Self {
            p50: microseconds(500)?,
            p99: microseconds(990)?,
            p999: microseconds(999)?,
            max: microseconds(1000)?,
        })
    }
}
