//! Where a live queue comes from: a declaration, or the store.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::broker::deduplication::{Deduplication, Rules};
use crate::broker::queue::effects::{Effects, Unread};
use crate::broker::queue::settings::QueueSettings;
use crate::broker::queue::stretches::Stretches;
use crate::broker::queue::{Origin, Queue, QueueOptions};
use crate::broker::queue_arguments;
use crate::broker::queue_type::QueueType;
use crate::store::{DestinationKind, Keeper, Position, QueueId, RecoveredLevel, RecoveredQueue, Store};

use super::moved::Moved;
use super::{LiveQueue, QueueDefinition, State, Surroundings};

impl LiveQueue {
    /// A new, empty queue. `stored` is its number in the store if it is durable; then the caller appends
    /// [`LiveQueue::declaration`].
    pub fn new(
        surroundings: &Surroundings,
        stored: Option<QueueId>,
        vhost: &Arc<str>,
        definition: QueueDefinition,
        settings: QueueSettings,
        store: &Arc<dyn Store>,
    ) -> Arc<Self> {
        let origin = Origin {
            levels: Vec::new(),
            next: Position(0),
            seen_before: Position(0),
        };
        Self::with(
            surroundings,
            vec![stored],
            vhost,
            definition,
            settings,
            store,
            origin,
        )
    }

    /// A durable queue that a start found in the store.
    pub fn recovered(
        surroundings: &Surroundings,
        found: &RecoveredQueue,
        definition: QueueDefinition,
        settings: QueueSettings,
        store: &Arc<dyn Store>,
    ) -> Arc<Self> {
        let levels = &found.levels;
        let next = levels.iter().map(|level| level.next).max().unwrap_or_default();
        let seen_before = levels.iter().map(|level| level.delivered_before.min(next)).max();
        let origin = Origin {
            levels: levels.iter().map(unread).collect(),
            next,
            seen_before: seen_before.unwrap_or_default(),
        };
        let stored = levels.iter().map(|level| Some(level.id)).collect();
        let vhost = &found.row.vhost;
        Self::with(surroundings, stored, vhost, definition, settings, store, origin)
    }

    fn with(
        surroundings: &Surroundings,
        stored: Vec<Option<QueueId>>,
        vhost: &Arc<str>,
        definition: QueueDefinition,
        settings: QueueSettings,
        store: &Arc<dyn Store>,
        origin: Origin,
    ) -> Arc<Self> {
        let options = QueueOptions {
            durable: definition.durable,
            is_quorum: definition.queue_type == QueueType::Quorum,
            auto_delete: definition.auto_delete,
            activation: definition.activation(),
            max_priority: queue_arguments::max_priority(&definition.arguments),
            window: surroundings.window,
        };
        let buries = definition.durable && settings.dead_letter.is_some();
        let deduplication = deduplication(vhost, &definition, store);
        let queue = Queue::new(options, settings, origin, surroundings.clock.now());
        let state = State {
            queue,
            outlets: Vec::new(),
            get_waits: Vec::new(),
            moved: Moved::default(),
            deleted: false,
            stored,
            marked: None,
            held_told: 0,
            scheduled: None,
            effects: Effects::default(),
            operations: Vec::new(),
        };
        Arc::new(Self {
            id: surroundings.ids.live(),
            vhost: Arc::clone(vhost),
            definition,
            declared: OnceLock::new(),
            options,
            store: Arc::clone(store),
            surroundings: surroundings.clone(),
            timer: surroundings.timers.register(),
            buries: AtomicBool::new(buries),
            deduplication,
            state: Mutex::new(state),
        })
    }
}

/// What the arguments ask for, which were checked when it was declared.
fn deduplication(
    vhost: &Arc<str>,
    definition: &QueueDefinition,
    store: &Arc<dyn Store>,
) -> Option<Deduplication> {
    let rules = Rules::from_arguments(&definition.arguments, false).unwrap_or_default()?;
    let keeper = Keeper {
        vhost: Arc::clone(vhost),
        kind: DestinationKind::Queue,
        name: Arc::clone(&definition.name),
    };
    Some(Deduplication::new(
        rules,
        Arc::new(keeper),
        definition.durable,
        store,
    ))
}

/// A level's messages, all of which are in the store.
fn unread(level: &RecoveredLevel) -> (u8, Unread, Stretches) {
    let unread = Unread {
        from: level.first,
        to: level.next,
        messages: level.messages,
        body_bytes: level.body_bytes,
        persistent: level.messages,
        persistent_bytes: level.body_bytes,
    };
    (level.priority, unread, Stretches::new(level.expiring.clone()))
}
