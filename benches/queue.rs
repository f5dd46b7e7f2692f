//! What a queue's rules cost without lock, store and socket: `cargo bench --bench queue` prints nanoseconds per message,
//! published, delivered and acked, in a few seconds.
//!
//! A cost that grows with the depth or with a setting that has nothing to do shows as a ratio between lines.

use std::time::Instant;

use leveret::broker::queue::consumers::{Activation, ConsumerOptions, ConsumerSlot};
use leveret::broker::queue::effects::Effects;
use leveret::broker::queue::level::Window;
use leveret::broker::queue::settings::{Overflow, QueueSettings};
use leveret::broker::queue::{Origin, Queue, QueueOptions, Settlement};
use leveret::clock::Timestamp;
use leveret::message::Message;
use leveret::store::Position;

/// As the broker has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Messages of one batch, as a connection hands them over.
const BATCH: usize = 128;

/// Batches of one round, and rounds of which the best counts.
const BATCHES: u32 = 500;
const ROUNDS: usize = 5;

fn main() {
    let plain = QueueSettings::default();
    let ttl = QueueSettings {
        message_ttl: Some(3_600_000),
        ..plain.clone()
    };
    let limited = QueueSettings {
        max_length: Some(1_000_000),
        overflow: Overflow::RejectPublish,
        ..plain.clone()
    };
    let counted = QueueSettings {
        delivery_limit: Some(20),
        consumer_timeout: Some(1_800_000),
        ..plain.clone()
    };
    report("1 consumer", &plain, 0, 1, 0);
    report("16 consumers", &plain, 0, 16, 0);
    report("1 consumer, 10,000 ready", &plain, 0, 1, 10_000);
    report("1 consumer, 200,000 ready", &plain, 0, 1, 200_000);
    report("priorities up to 10", &plain, 10, 1, 0);
    report("priorities up to 10, 10,000 ready", &plain, 10, 1, 10_000);
    report("message TTL", &ttl, 0, 1, 0);
    report("message TTL, 200,000 ready", &ttl, 0, 1, 200_000);
    report("length limit", &limited, 0, 1, 0);
    report("delivery limit and consumer timeout", &counted, 0, 1, 0);
}

fn report(name: &str, settings: &QueueSettings, max_priority: u8, consumers: u16, ready: usize) {
    let mut work = Work::new(settings.clone(), max_priority, consumers, ready);
    let round = |_| {
        let begin = Instant::now();
        for _ in 0..BATCHES {
            work.batch();
        }
        let messages = f64::from(BATCHES) * 128.0;
        begin.elapsed().as_secs_f64() * 1e9 / messages
    };
    let best = (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min);
    println!("{name:<40} {best:>8.1} ns per message");
}

/// A transient queue and its consumers.
struct Work {
    queue: Queue,
    effects: Effects,
    consumers: Vec<ConsumerSlot>,
    messages: Vec<Message>,
    now: Timestamp,
}

impl Work {
    /// `ready` messages lie in the queue whenever a batch comes.
    fn new(settings: QueueSettings, max_priority: u8, consumers: u16, ready: usize) -> Self {
        let options = QueueOptions {
            durable: false,
            is_quorum: false,
            auto_delete: false,
            activation: Activation::All,
            max_priority,
            window: Window {
                messages: 1 << 22,
                bytes: 1 << 30,
            },
        };
        let origin = Origin {
            levels: Vec::new(),
            next: Position(0),
            seen_before: Position(0),
        };
        let now = Timestamp::from_millis(1_000_000);
        let mut work = Self {
            queue: Queue::new(options, settings, origin, now),
            effects: Effects::default(),
            consumers: Vec::new(),
            messages: (0..BATCH).map(|number| message(number, max_priority)).collect(),
            now,
        };
        for number in 0..ready {
            let message = message(number, max_priority);
            assert!(work.queue.publish(message, now, &mut work.effects), "it has room");
        }
        // Each may hold its share of a batch: what comes finds room for as much as has come.
        let prefetch = u16::try_from(BATCH).expect("it is small").div_ceil(consumers);
        for _ in 0..consumers {
            let options = ConsumerOptions {
                prefetch,
                ..ConsumerOptions::default()
            };
            work.consumers.push(work.queue.add_consumer(options));
        }
        work.queue.dispatch(now, &mut work.effects);
        work
    }

    /// Publishes a batch, and acks whatever was delivered.
    fn batch(&mut self) {
        for message in &self.messages {
            assert!(
                self.queue.publish(message.clone(), self.now, &mut self.effects),
                "it has room"
            );
        }
        self.queue.dispatch(self.now, &mut self.effects);
        let deliveries = std::mem::take(&mut self.effects.deliveries);
        assert_eq!(deliveries.len(), BATCH, "as many go as come");
        for delivery in &deliveries {
            let bytes = delivery.message.memory_bytes();
            self.queue.written(delivery.consumer, 1, bytes);
            let is_new = self
                .queue
                .settle(delivery.handle, Settlement::Ack, self.now, &mut self.effects);
            assert!(is_new, "it was unacked");
        }
        if self.queue.ready_count() > 0 {
            self.queue.dispatch(self.now, &mut self.effects);
        } else {
            self.effects.deliveries = deliveries;
            self.effects.deliveries.clear();
        }
    }
}

/// A message of 16 bytes; priorities take turns.
fn message(number: usize, max_priority: u8) -> Message {
    let priority = u8::try_from(number % (usize::from(max_priority) + 1)).expect("priorities are bytes");
    // Flag bit 11 is the priority.
    Message::new(b"", b"queue", &[0x08, 0, priority], &[7; 16])
}
