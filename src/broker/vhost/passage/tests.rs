//! Windows on a clock of the test's own, and what a crash leaves of keys.

use std::iter;
use std::time::{Duration, Instant};

use amq_protocol::types::AMQPValue;

use super::*;
use crate::amqp::{content, field_table};
use crate::broker::ConnectionId;
use crate::broker::limits::Tally;
use crate::broker::outbox::Outbox;
use crate::broker::queue::effects::DeliveryHandle;
use crate::broker::queue::level::Window;
use crate::broker::queue::{Got, Settlement};
use crate::broker::queue_ids::QueueIds;
use crate::broker::queue_type::QueueType;
use crate::broker::vhost::{ExchangeDeclaration, QueueDeclaration, Shared, Stores};
use crate::clock::{Clock, Timestamp};
use crate::store::memory::MemoryStore;
use crate::store::{Recovered, Store};

struct World {
    vhost: Arc<Vhost>,
    store: Arc<MemoryStore>,
    spill: Arc<MemoryStore>,
    clock: Arc<Clock>,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let clock = Arc::new(Clock::new(now, Timestamp::from_millis(1_000)));
        Self::on(MemoryStore::default(), &Recovered::default(), clock, now)
    }

    fn on(store: MemoryStore, recovered: &Recovered, clock: Arc<Clock>, now: Instant) -> Self {
        let (store, spill) = (Arc::new(store), Arc::<MemoryStore>::default());
        let shared = Shared {
            stores: Stores {
                durable: Arc::clone(&store) as Arc<dyn Store>,
                spill: Arc::clone(&spill) as Arc<dyn Store>,
            },
            clock: Arc::clone(&clock),
            timers: Arc::default(),
            ids: Arc::new(QueueIds::new(recovered.next_queue.max(1))),
            // Most messages of a queue are in the store only.
            headroom: Arc::default(),
            window: Window {
                messages: 2,
                bytes: 1 << 20,
            },
            policies: Arc::default(),
            queues: Tally::new(0),
            exchanges: Tally::new(0),
        };
        let vhost = Vhost::new("/", shared);
        for row in &recovered.exchanges {
            vhost.recover_exchange(row).expect("it was acceptable before");
        }
        for queue in &recovered.queues {
            vhost.recover_queue(queue).expect("it was acceptable before");
        }
        for row in &recovered.bindings {
            vhost.recover_binding(row).expect("it was acceptable before");
        }
        vhost.recover_keys(&recovered.keys);
        vhost.recover_history(&recovered.history);
        Self {
            vhost,
            store,
            spill,
            clock,
            now,
        }
    }

    /// The broker dies, and starts from what is committed.
    fn crash(&self) -> Self {
        let (store, recovered) = self.store.crash();
        Self::on(store, &recovered, Arc::clone(&self.clock), self.now)
    }

    fn pass_time(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        self.clock.advance(self.now);
    }

    /// A durable fanout exchange that knows keys for a hundred milliseconds.
    fn declare_exchange(&self, name: &str) {
        let asked = ExchangeDeclaration {
            name: name.into(),
            kind: "fanout".into(),
            durable: true,
            auto_delete: false,
            internal: false,
            arguments: unique(&[]),
        };
        let declared = self.vhost.declare_exchange::<Refusal>(asked, |_| Ok(()));
        declared.expect("the arguments are acceptable");
    }

    fn declare(&self, name: &str, durable: bool, arguments: FieldTable) -> Arc<LiveQueue> {
        let asked = QueueDeclaration {
            name: name.into(),
            durable,
            exclusive: false,
            auto_delete: false,
            default_type: QueueType::Classic,
            arguments,
        };
        let declared = self
            .vhost
            .declare_queue::<Refusal>(asked, ConnectionId(1), || Ok(()));
        declared.expect("the arguments are acceptable").queue
    }

    fn bind(&self, queue: &Arc<LiveQueue>, exchange: &str) {
        let source = Arc::from(exchange);
        let bound = self.vhost.bind_queue(queue, &source, b"", &FieldTable::default());
        bound.expect("both are there");
    }

    /// Publishes as a connection does, and tells whether a queue took it.
    fn publish(&self, message: &Message) -> bool {
        let _hold = self.vhost.hold();
        let (route, traces) = self.vhost.pass(message, &[]);
        for queue in &route.queues {
            queue.publish(iter::once(message.clone()));
        }
        assert_eq!(traces.is_duplicate(), route.queues.is_empty());
        !route.queues.is_empty()
    }

    /// Begins to publish: the queues have not answered.
    fn pass(&self, message: &Message) -> Traces {
        let _hold = self.vhost.hold();
        self.vhost.pass(message, &[]).1
    }

    /// Takes the first message, when everything is on disk.
    fn get(&self, queue: &Arc<LiveQueue>) -> Option<DeliveryHandle> {
        loop {
            match queue.get(false, &Arc::new(Outbox::default())) {
                Got::Empty => return None,
                Got::Message { handle, .. } => return Some(handle),
                Got::Later => {
                    for store in [&self.store, &self.spill] {
                        store.commit_all();
                        store.answer_load();
                    }
                }
            }
        }
    }
}

/// Asks for deduplication with a window of a hundred milliseconds.
fn unique(more: &[(&str, i32)]) -> FieldTable {
    let mut table = FieldTable::default();
    table.insert("x-message-deduplication".into(), AMQPValue::Boolean(true));
    table.insert("x-cache-ttl".into(), AMQPValue::LongInt(100));
    for (name, number) in more {
        table.insert((*name).into(), AMQPValue::LongInt(*number));
    }
    table
}

fn message(exchange: &str, key: u32, persistent: bool, priority: u8) -> Message {
    with_key(
        exchange,
        key,
        &[0x18, 0, if persistent { 2 } else { 1 }, priority],
    )
}

/// A persistent one that expires after so many milliseconds.
fn expiring(key: u32, millis: &str) -> Message {
    let length = u8::try_from(millis.len()).expect("it is short");
    with_key("", key, &[&[0x11, 0, 2, length], millis.as_bytes()].concat())
}

fn with_key(exchange: &str, key: u32, properties: &[u8]) -> Message {
    let mut table = FieldTable::default();
    table.insert("x-deduplication-header".into(), AMQPValue::LongUInt(key));
    let mut entries = Vec::new();
    field_table::write(&mut entries, &table);
    let properties = content::with_headers(properties, Some(&entries));
    Message::new(exchange.as_bytes(), b"", &properties, &key.to_be_bytes())
}

/// Publishes straight to a queue; whether it has one message more.
fn enters(queue: &Arc<LiveQueue>, message: Message) -> bool {
    let before = queue.counts().0;
    assert!(queue.publish(iter::once(message)).rejected.is_empty());
    queue.counts().0 > before
}

#[test]
fn an_exchange_takes_a_key_again_when_its_window_is_over() {
    let mut world = World::new();
    world.declare_exchange("unique");
    let queue = world.declare("queue", true, FieldTable::default());
    world.bind(&queue, "unique");
    for (wait, is_taken) in [
        (0, true),
        (0, false),
        (99, false),
        (1, true),
        (99, false),
        (1, true),
    ] {
        world.pass_time(wait);
        assert_eq!(world.publish(&message("unique", 1, true, 0)), is_taken);
    }
}

#[test]
fn a_duplicate_of_what_may_still_be_refused_is_refused() {
    for is_refused in [false, true] {
        let world = World::new();
        world.declare_exchange("unique");
        let queue = world.declare("queue", true, FieldTable::default());
        world.bind(&queue, "unique");
        let message = message("unique", 1, true, 0);
        let [mut first, mut second] = [(); 2].map(|()| world.pass(&message));
        assert!(world.vhost.settle_traces(&mut second, false), "nobody knows yet");
        assert_eq!(world.vhost.settle_traces(&mut first, is_refused), is_refused);
        let mut third = world.pass(&message);
        assert_eq!(third.is_duplicate(), !is_refused);
        assert!(!world.vhost.settle_traces(&mut third, false), "it is known");
    }
}

#[test]
fn a_message_that_nobody_settles_stays_taken() {
    let world = World::new();
    world.declare_exchange("unique");
    let queue = world.declare("queue", true, FieldTable::default());
    world.bind(&queue, "unique");
    let message = message("unique", 1, true, 0);
    drop(world.pass(&message));
    assert!(!world.vhost.settle_traces(&mut world.pass(&message), false));
}

#[test]
fn a_crash_loses_a_key_with_its_message_or_neither() {
    let world = World::new();
    world.declare_exchange("unique");
    let queue = world.declare("queue", true, FieldTable::default());
    world.bind(&queue, "unique");
    world.store.commit_all();
    assert!(world.publish(&message("unique", 1, true, 0)));
    assert_eq!(world.store.pending_groups(), 1, "key and message are one group");
    let world = world.crash();
    assert!(world.publish(&message("unique", 1, true, 0)), "both were lost");
    world.store.commit_all();
    let mut world = world.crash();
    assert!(!world.publish(&message("unique", 1, true, 0)), "both are there");
    assert_eq!(world.store.messages().len(), 1);
    world.pass_time(100);
    assert!(
        world.publish(&message("unique", 1, true, 0)),
        "and so is the window"
    );
}

#[test]
fn a_crash_loses_a_queues_key_with_its_message_or_neither() {
    let world = World::new();
    let queue = world.declare("queue", true, unique(&[]));
    world.store.commit_all();
    assert!(enters(&queue, message("", 1, true, 0)));
    assert!(!enters(&queue, message("", 1, true, 0)));
    assert_eq!(world.store.pending_groups(), 1, "key and message are one group");
    let world = world.crash();
    let find = |world: &World| {
        world
            .vhost
            .queue("queue", ConnectionId(1))
            .expect("it is durable")
    };
    assert!(enters(&find(&world), message("", 1, true, 0)), "both were lost");
    assert!(enters(&find(&world), message("", 2, false, 0)));
    world.store.commit_all();
    let world = world.crash();
    assert!(!enters(&find(&world), message("", 1, true, 0)), "both are there");
    assert!(
        enters(&find(&world), message("", 2, false, 0)),
        "a transient one is gone with its key"
    );
}

#[test]
fn a_deleted_queue_leaves_no_keys_to_one_of_its_name() {
    let world = World::new();
    let queue = world.declare("queue", true, unique(&[]));
    assert!(enters(&queue, message("", 1, true, 0)));
    let deleted = world.vhost.remove_queue(&queue, <_>::default());
    deleted.expect("there are no conditions");
    // Somebody still has the route.
    queue.publish(iter::once(message("", 2, true, 0)));
    let again = world.declare("queue", true, unique(&[]));
    assert!(enters(&again, message("", 1, true, 0)));
    world.store.commit_all();
    let (_, recovered) = world.store.crash();
    assert_eq!(recovered.keys.len(), 1);
}

#[test]
fn a_queue_knows_a_key_beyond_its_window_while_it_has_the_message() {
    for (durable, priorities) in [(true, 0), (false, 0), (true, 5), (false, 5)] {
        let mut world = World::new();
        let more = [("x-max-priority", priorities)];
        let arguments = unique(if priorities > 0 { &more } else { &[] });
        let queue = world.declare("queue", durable, arguments);
        let priority = |key: u32| u8::try_from(key % 3).expect("small");
        let again = |key| message("", key, true, priority(key));
        // In memory, and on disk only.
        for key in 0..10 {
            assert!(enters(&queue, again(key)));
        }
        world.pass_time(500);
        for key in 0..10 {
            assert!(!enters(&queue, again(key)), "{key} is still there");
        }
        let handles: Vec<_> = (0..10).map(|_| world.get(&queue).expect("a message")).collect();
        assert!(!enters(&queue, again(3)), "it is unacked");
        queue.settle(handles.into_iter().map(|handle| (handle, Settlement::Ack)));
        for key in 0..10 {
            assert!(enters(&queue, again(key)), "{key} is gone, and so is its window");
            assert!(!enters(&queue, again(key)));
        }
        queue.purge();
        assert!(
            !enters(&queue, again(0)),
            "within the window it is known, purged or not"
        );
        world.pass_time(100);
        assert!(enters(&queue, again(0)));
    }
}

#[test]
fn what_expired_between_others_on_disk_is_not_held_to_be_there() {
    let mut world = World::new();
    let queue = world.declare("queue", true, unique(&[]));
    let is_lasting = |key: u32| key % 4 == 3;
    let again = |key| {
        if is_lasting(key) {
            message("", key, true, 0)
        } else {
            expiring(key, "50")
        }
    };
    for key in 0..12 {
        assert!(enters(&queue, again(key)));
    }
    world.pass_time(500);
    queue.dispatch();
    world.store.commit_all();
    while world.store.answer_load() {
        world.store.commit_all();
    }
    assert_eq!(queue.counts().0, 3);
    for key in 0..12 {
        assert_eq!(enters(&queue, again(key)), !is_lasting(key), "{key}");
    }
}

#[test]
fn a_message_that_may_have_expired_is_not_held_to_be_there() {
    let mut world = World::new();
    let queue = world.declare("queue", true, unique(&[("x-message-ttl", 50)]));
    for key in 0..10 {
        assert!(enters(&queue, message("", key, true, 0)));
    }
    world.pass_time(100);
    for key in 3..10 {
        queue.publish(iter::once(message("", key, true, 0)));
    }
    let mut fresh = 0;
    while world.get(&queue).is_some() {
        fresh += 1;
    }
    assert_eq!(fresh, 7, "none was taken for one that has expired");
}
