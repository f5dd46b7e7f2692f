//! What two threads do with one queue at the same time.

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use amq_protocol::types::{AMQPValue, FieldTable};

use super::*;
use crate::broker::delayed::DelayedMessages;
use crate::broker::headroom::Headroom;
use crate::broker::queue::level::Window;
use crate::broker::queue_ids::QueueIds;
use crate::broker::timers::Timers;
use crate::clock::Clock;
use crate::store::memory::MemoryStore;

/// Buries with one operation.
#[derive(Debug)]
struct Undertaker(Arc<MemoryStore>);

impl QueueOwner for Undertaker {
    fn bury(&self, _: &Arc<LiveQueue>, _: DeadLetters) -> Option<Sequence> {
        Some(self.0.append(&mut vec![Operation::NoteTime(Timestamp::MIN)]))
    }

    fn expire(&self, _: &Arc<LiveQueue>) {}

    fn delete_unused(&self, _: &Arc<LiveQueue>) {}

    fn release(&self, _: &Arc<DelayedMessages>) {}
}

fn settings(dead_letter_exchange: Option<&str>) -> QueueSettings {
    let mut arguments = FieldTable::default();
    if let Some(name) = dead_letter_exchange {
        let name = AMQPValue::LongString(name.into());
        arguments.insert("x-dead-letter-exchange".into(), name);
    }
    QueueSettings::new(&arguments, QueueType::Classic)
}

fn durable_queue(store: &Arc<MemoryStore>, owner: &Arc<Undertaker>) -> Arc<LiveQueue> {
    let surroundings = Surroundings {
        clock: Arc::new(Clock::new(Instant::now(), Timestamp::from_millis(1_000))),
        timers: Arc::<Timers>::default(),
        ids: Arc::new(QueueIds::new(2)),
        window: Window {
            messages: 100,
            bytes: 1 << 20,
        },
        headroom: Arc::<Headroom>::default(),
        durable: Arc::clone(store) as Arc<dyn Store>,
        owner: Arc::downgrade(&(Arc::clone(owner) as Arc<dyn QueueOwner>)),
    };
    let definition = QueueDefinition {
        name: "q".into(),
        durable: true,
        auto_delete: false,
        owner: None,
        queue_type: QueueType::Classic,
        arguments: FieldTable::default(),
    };
    let id = QueueId(1);
    let dyn_store = Arc::clone(store) as Arc<dyn Store>;
    let queue = LiveQueue::new(
        &surroundings,
        Some(id),
        &"/".into(),
        definition,
        settings(None),
        &dyn_store,
    );
    store.append(&mut vec![queue.declaration(id)]);
    queue
}

#[test]
fn a_message_that_fails_while_a_policy_begins_to_bury_moves_in_one_group() {
    let store = Arc::<MemoryStore>::default();
    let owner = Arc::new(Undertaker(Arc::clone(&store)));
    let queue = durable_queue(&store, &owner);
    let persistent = Message::new(b"", b"q", &[0x10, 0, 2], b"body");
    queue.publish(std::iter::once(persistent));
    let outbox = Arc::<Outbox>::default();
    assert!(matches!(queue.get(false, &outbox), Got::Later));
    store.commit_all();
    while store.answer_load() {}
    let Got::Message { handle, .. } = queue.get(false, &outbox) else {
        panic!("the hand-out is open");
    };
    store.commit_all();
    let begun = Barrier::new(2);
    thread::scope(|scope| {
        let mut state = queue.state.lock();
        scope.spawn(|| {
            begun.wait();
            queue.settle(std::iter::once((handle, Settlement::Discard)));
        });
        begun.wait();
        // That it waits for the lock, and knows of no dead letters, can not be seen; it has every opportunity.
        for _ in 0..10_000 {
            thread::yield_now();
        }
        let settings = settings(Some("graves"));
        queue.note_settings(&settings);
        state.queue.set_settings(settings);
    });
    assert_eq!(store.pending_groups(), 1);
}
