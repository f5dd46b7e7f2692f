//! One run of one scenario against one broker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use amq_protocol::uri::AMQPUri;

use crate::bench::{
    client::{Client, STALL_MAX},
    consumer::Consumer,
    error::BenchError,
    outcome::{Outcome, Phase},
    plan::{Flow, Plan},
    process::{Usage, resident_bytes},
    producer::{Pace, Producer},
    scenario::Scenario,
    stream::Stream,
    template::{Shape, Template},
    topology::Topology,
};

const SAMPLE_INTERVAL: Duration = Duration::from_millis(50);

/// A broker to measure.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Where it listens.
    pub(super) uri: AMQPUri,
    /// Its process, if it is on this machine and may be looked at.
    pub(super) pid: Option<u32>,
}

/// One scenario against one broker.
#[derive(Debug)]
pub(super) struct Trial<'a> {
    target: &'a Target,
    plan: Plan,
    time_max: Duration,
    is_backlog_kept: bool,
    is_aborted: Arc<AtomicBool>,
    topology: Topology,
    streams: Vec<Arc<Stream>>,
}

impl<'a> Trial<'a> {
    /// Declares what the scenario needs.
    ///
    /// # Errors
    /// As the broker's refusals come.
    pub(super) fn prepare(
        target: &'a Target,
        scenario: &Scenario,
        time_max: Duration,
        is_backlog_kept: bool,
    ) -> Result<Self, BenchError> {
        let plan = scenario.plan();
        let is_aborted = Arc::new(AtomicBool::new(false));
        let topology = Topology::declare(&target.uri, &plan, &scenario.entity())?;
        let consumers = plan.queues / plan.producers;
        let streams = (0..plan.producers)
            .map(|_| Arc::new(Stream::new(consumers)))
            .collect();
        Ok(Self {
            target,
            plan,
            time_max,
            is_backlog_kept,
            is_aborted,
            topology,
            streams,
        })
    }

    /// What the broker calls itself.
    pub(super) fn broker(&self) -> String {
        self.topology.broker().to_owned()
    }

    /// Runs and removes what was declared.
    ///
    /// # Errors
    /// `Violation` for a broker that does wrong; else as the broker's refusals come.
    pub(super) fn run(mut self) -> Result<Outcome, BenchError> {
        let result = self.run_phases();
        if result.is_err() && self.plan.flow != Flow::Drain {
            // The failure is what counts; removing the rest is a courtesy.
            let _ = self.topology.delete();
        }
        result
    }

    fn run_phases(&mut self) -> Result<Outcome, BenchError> {
        let mut drained_per_second = None;
        let phase = match self.plan.flow {
            Flow::Publish => self.publish_only()?,
            Flow::Consume => {
                self.publish_only()?;
                self.phase(false, true)?
            }
            Flow::Backlog => {
                let phase = self.publish_only()?;
                if !self.is_backlog_kept {
                    drained_per_second = Some(self.phase(false, true)?.per_second());
                }
                phase
            }
            Flow::Drain => {
                self.streams[0].end(self.plan.messages_max);
                self.phase(false, true)?
            }
            _ => self.phase(true, true)?,
        };
        self.clean_up(phase.published)?;
        let mut outcome = phase.outcome(self.broker(), self.plan.producers > 1);
        outcome.drained_per_second = drained_per_second;
        Ok(outcome)
    }

    /// Publishes, and compares what the queue then holds. A broker whose channels pass messages on to queues on their own,
    /// as RabbitMQ's do, may be a moment behind with its count.
    fn publish_only(&mut self) -> Result<Phase, BenchError> {
        let phase = self.phase(true, false)?;
        let end = Instant::now() + STALL_MAX;
        loop {
            let depth = self.topology.depth()?;
            if depth == phase.published {
                return Ok(phase);
            }
            if depth > phase.published || Instant::now() > end {
                return Err(BenchError::Violation(format!(
                    "{} were published, {depth} are in the queue",
                    phase.published
                )));
            }
            thread::sleep(SAMPLE_INTERVAL);
        }
    }

    fn clean_up(&mut self, published: u64) -> Result<(), BenchError> {
        let is_kept = self.plan.flow == Flow::Backlog && self.is_backlog_kept;
        if is_kept {
            return Ok(());
        }
        let expected = if self.plan.flow == Flow::Publish {
            published
        } else {
            0
        };
        let left = self.topology.delete()?;
        if left == expected {
            Ok(())
        } else {
            Err(BenchError::Violation(format!(
                "{left} messages were left, {expected} should have been"
            )))
        }
    }

    fn phase(&self, with_producers: bool, with_consumers: bool) -> Result<Phase, BenchError> {
        let mut producers = if with_producers {
            self.producers()?
        } else {
            Vec::new()
        };
        let mut consumers = if with_consumers {
            self.consumers()?
        } else {
            Vec::new()
        };
        if with_producers {
            consumers.iter_mut().try_for_each(Consumer::subscribe)?;
        }
        let start_usage = self.target.pid.and_then(Usage::of);
        let generator_start = Usage::of(std::process::id());
        let start = Instant::now();
        if !with_producers {
            consumers.iter_mut().try_for_each(Consumer::subscribe)?;
        }
        let (finished, resident_bytes_max) = thread::scope(|scope| {
            let consuming = consumers
                .iter_mut()
                .map(|consumer| scope.spawn(|| self.abort_on_error(consumer.run(start))));
            let mut threads: Vec<_> = consuming.collect();
            threads.extend(
                producers
                    .iter_mut()
                    .map(|producer| scope.spawn(|| self.abort_on_error(producer.run(start)))),
            );
            let resident_bytes_max =
                self.watch_memory(|| threads.iter().all(thread::ScopedJoinHandle::is_finished));
            let results = threads
                .into_iter()
                .map(|thread| thread.join().expect("workers return their errors"));
            (results.collect::<Vec<_>>(), resident_bytes_max)
        });
        let seconds = last_moment(finished)?.duration_since(start).as_secs_f64();
        let broker = self
            .target
            .pid
            .and_then(Usage::of)
            .zip(start_usage)
            .map(|(end, start)| end.since(start));
        let generator = Usage::of(std::process::id())
            .zip(generator_start)
            .map(|(end, start)| end.since(start));
        consumers.iter_mut().try_for_each(Consumer::cancel)?;
        Ok(Phase {
            published: producers.iter().map(Producer::published).sum(),
            received: consumers.iter().map(Consumer::received).collect(),
            latencies: consumers
                .iter_mut()
                .filter_map(Consumer::take_latencies)
                .flatten()
                .collect(),
            seconds,
            broker,
            generator,
            resident_bytes_max,
        })
    }

    fn producers(&self) -> Result<Vec<Producer>, BenchError> {
        let shape = Shape {
            exchange: self.topology.exchange().to_owned(),
            body_bytes: self.plan.body_bytes,
            is_persistent: self.plan.is_durable,
        };
        let pace = Pace {
            messages_max: self.plan.messages_max,
            time_max: self.plan.is_timed.then_some(self.time_max),
            ahead_max: if self.plan.flow == Flow::Together {
                self.plan.ahead_max
            } else {
                u64::MAX
            },
            rate: self.plan.rate,
            confirm_window: self.plan.confirm_window,
        };
        let open = |(number, stream): (u16, &Arc<Stream>)| {
            let client = Client::open(&self.target.uri, &self.is_aborted)?;
            let template = Template::new(&shape, number, &self.topology.keys(number), client.frame_max);
            let queue = self.topology.queues()[usize::from(number)].clone();
            Producer::new(client, template, pace.clone(), Arc::clone(stream), queue)
        };
        (0..).zip(&self.streams).map(open).collect()
    }

    fn consumers(&self) -> Result<Vec<Consumer>, BenchError> {
        let open = |(number, queue): (u16, &String)| {
            let client = Client::open(&self.target.uri, &self.is_aborted)?;
            let (producer, place) = if self.plan.producers == 1 {
                (0, number)
            } else {
                (number, 0)
            };
            let stream = Arc::clone(&self.streams[usize::from(producer)]);
            let consumer = Consumer::new(
                client,
                queue.clone(),
                stream,
                producer,
                place,
                self.plan.body_bytes,
            )
            .with_acks(self.plan.ack_each);
            Ok(if self.plan.rate.is_some() {
                consumer.with_latencies()
            } else {
                consumer
            })
        };
        (0..).zip(self.topology.queues()).map(open).collect()
    }

    fn abort_on_error<T>(&self, result: Result<T, BenchError>) -> Result<T, BenchError> {
        if result.is_err() {
            self.is_aborted.store(true, Ordering::Relaxed);
        }
        result
    }

    fn watch_memory(&self, is_done: impl Fn() -> bool) -> Option<u64> {
        let mut largest = self.target.pid.and_then(resident_bytes);
        while !is_done() {
            thread::sleep(SAMPLE_INTERVAL);
            largest = largest.max(self.target.pid.and_then(resident_bytes));
        }
        largest
    }
}

/// The last moment, or the error that caused the others.
fn last_moment(results: Vec<Result<Instant, BenchError>>) -> Result<Instant, BenchError> {
    let mut last = None;
    let mut failure = None;
    for result in results {
        match result {
            Ok(moment) => last = last.max(Some(moment)),
            Err(BenchError::Aborted) => {
                failure.get_or_insert(BenchError::Aborted);
            }
            Err(error) => {
                failure = failure
                    .filter(|found| !matches!(found, BenchError::Aborted))
                    .or(Some(error));
            }
        }
    }
    failure.map_or_else(|| Ok(last.expect("a phase has a producer or a consumer")), Err)
}
