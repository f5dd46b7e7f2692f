//! A store for simulations: nothing happens until it is told to, on the caller's thread, in a fixed order.
//!
//! It keeps the meaning of the durable store and none of its rows, so that it serves as the model to test that
//! one against. A crash leaves what was committed.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;

use crate::message::Message;
use crate::store::{
    BindingRow, ExchangeRow, Operation, Page, PageEntry, PageRequest, Position, QueueId, QueueRow, Recovered,
    RecoveredQueue, Sequence, Store, StoreError,
};

/// A store whose disk is a map.
#[derive(Default)]
pub struct MemoryStore(Mutex<State>);

#[derive(Default)]
struct State {
    disk: Disk,
    /// Appended and not committed; an entry is committed whole or not at all.
    pending: VecDeque<Group>,
    appended: Sequence,
    committed: Sequence,
    holds: usize,
    /// The last of `pending` was begun under a hold that stands.
    is_open: bool,
    /// Committed, and not answered.
    loads: VecDeque<PageRequest>,
    wakers: Vec<(Sequence, Waker)>,
    stopped: bool,
}

#[derive(Default)]
struct Group {
    operations: Vec<Operation>,
    through: Sequence,
}

/// What a crash leaves.
#[derive(Default)]
struct Disk {
    exchanges: BTreeMap<(Arc<str>, Arc<str>), ExchangeRow>,
    queues: BTreeMap<QueueId, Queue>,
    bindings: Vec<BindingRow>,
    next_queue: u32,
}

struct Queue {
    row: QueueRow,
    messages: BTreeMap<Position, Stored>,
    next: Position,
    delivered_before: Position,
    redelivered_before: Position,
}

struct Stored {
    message: Message,
    delivery_count: u32,
}

impl MemoryStore {
    /// How many groups are appended and not committed: what a hold spans is one of them, else each append is.
    pub fn pending_groups(&self) -> usize {
        self.0.lock().pending.len()
    }

    /// All messages that are committed, with their queues' names.
    pub fn messages(&self) -> Vec<(Arc<str>, Message)> {
        let state = self.0.lock();
        let queues = state.disk.queues.values();
        queues
            .flat_map(|queue| {
                let name = &queue.row.name;
                let messages = queue.messages.values();
                messages.map(|stored| (Arc::clone(name), stored.message.clone()))
            })
            .collect()
    }

    /// Commits the oldest `groups` at most, in one transaction, and wakes who waited for them. Groups that a hold
    /// keeps open are not committed.
    pub fn commit(&self, groups: usize) {
        let due: Vec<_> = {
            let mut state = self.0.lock();
            let closed = state.pending.len() - usize::from(state.is_open);
            for _ in 0..groups.min(closed) {
                let group = state.pending.pop_front().expect("they were counted");
                state.committed = group.through;
                for operation in group.operations {
                    if let Some(request) = state.disk.apply(operation) {
                        state.loads.push_back(request);
                    }
                }
            }
            let committed = state.committed;
            state
                .wakers
                .extract_if(.., |(sequence, _)| *sequence <= committed)
                .collect()
        };
        for (_, waker) in due {
            waker.wake();
        }
    }

    /// Commits all that no hold keeps open.
    pub fn commit_all(&self) {
        self.commit(usize::MAX);
    }

    /// Answers the oldest committed page request with what is committed now; false when there is none.
    pub fn answer_load(&self) -> bool {
        let (request, page) = {
            let mut state = self.0.lock();
            let Some(request) = state.loads.pop_front() else {
                return false;
            };
            let page = state.disk.read(&request);
            (request, page)
        };
        // Outside of the lock: the sink may append.
        request.sink.page_loaded(page);
        true
    }

    /// The store that a new process finds when this one ends now. This one writes nothing more.
    pub fn crash(&self) -> (Self, Recovered) {
        let mut disk = {
            let mut state = self.0.lock();
            state.stopped = true;
            state.pending.clear();
            state.loads.clear();
            mem::take(&mut state.disk)
        };
        let recovered = disk.recover();
        let state = State {
            disk,
            ..State::default()
        };
        (Self(Mutex::new(state)), recovered)
    }
}

impl Store for MemoryStore {
    fn append(&self, operations: &mut Vec<Operation>) -> Sequence {
        let mut state = self.0.lock();
        if operations.is_empty() {
            return state.appended;
        }
        state.appended.0 += 1;
        let through = state.appended;
        if state.stopped {
            operations.clear();
            return through;
        }
        if !state.is_open {
            state.pending.push_back(Group::default());
            state.is_open = state.holds > 0;
        }
        let group = state.pending.back_mut().expect("one was pushed if none is open");
        group.operations.append(operations);
        group.through = through;
        through
    }

    fn hold(&self) {
        self.0.lock().holds += 1;
    }

    fn release(&self) {
        let mut state = self.0.lock();
        state.holds = state.holds.saturating_sub(1);
        state.is_open &= state.holds > 0;
    }

    fn committed(&self) -> Sequence {
        self.0.lock().committed
    }

    fn wake_when_committed(&self, sequence: Sequence, waker: &Waker) -> bool {
        let mut state = self.0.lock();
        if state.stopped || state.committed >= sequence {
            return false;
        }
        state.wakers.push((sequence, waker.clone()));
        true
    }

    fn pending_bytes(&self) -> usize {
        let state = self.0.lock();
        let operations = state.pending.iter().flat_map(|group| &group.operations);
        operations
            .map(|operation| match operation {
                Operation::Publish { messages, .. } => {
                    messages.iter().map(|(_, message)| message.memory_bytes()).sum()
                }
                _ => 0,
            })
            .sum()
    }

    fn close(&self) -> Result<(), Arc<StoreError>> {
        self.commit_all();
        while self.answer_load() {}
        let wakers = {
            let mut state = self.0.lock();
            state.stopped = true;
            mem::take(&mut state.wakers)
        };
        for (_, waker) in wakers {
            waker.wake();
        }
        Ok(())
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        f.debug_struct("MemoryStore")
            .field("appended", &state.appended)
            .field("committed", &state.committed)
            .finish_non_exhaustive()
    }
}

impl Disk {
    /// Applies an operation; a page request comes back, since it is answered later.
    fn apply(&mut self, operation: Operation) -> Option<PageRequest> {
        match operation {
            Operation::DeclareExchange(row) => {
                let name = (Arc::clone(&row.vhost), Arc::clone(&row.name));
                self.exchanges.insert(name, row);
            }
            Operation::DeleteExchange { vhost, name } => {
                self.exchanges.remove(&(vhost, name));
            }
            Operation::DeclareQueue(row) => self.declare_queue(row),
            Operation::DeleteQueue(queue) => {
                self.queues.remove(&queue);
            }
            Operation::Bind(row) => {
                if !self.bindings.contains(&row) {
                    self.bindings.push(row);
                }
            }
            Operation::Unbind(row) => self.bindings.retain(|binding| *binding != row),
            Operation::Load(request) => return Some(request),
            Operation::Publish { queue, .. }
            | Operation::Settle { queue, .. }
            | Operation::SettleRange { queue, .. }
            | Operation::Return { queue, .. }
            | Operation::MarkDelivered { queue, .. } => {
                if let Some(queue) = self.queues.get_mut(&queue) {
                    queue.apply(operation);
                }
            }
        }
        None
    }

    fn declare_queue(&mut self, row: QueueRow) {
        self.next_queue = self.next_queue.max(row.id.0 + 1);
        if let Some(queue) = self.queues.get_mut(&row.id) {
            queue.row = row;
            return;
        }
        let queue = Queue {
            messages: BTreeMap::new(),
            next: Position(0),
            delivered_before: Position(0),
            redelivered_before: Position(0),
            row,
        };
        self.queues.insert(queue.row.id, queue);
    }

    fn read(&self, request: &PageRequest) -> Page {
        let mut page = Page {
            entries: Vec::new(),
            next: request.to,
        };
        let Some(queue) = self
            .queues
            .get(&request.queue)
            .filter(|_| request.from < request.to)
        else {
            return page;
        };
        let mut bytes = 0;
        for (position, stored) in queue.messages.range(request.from..request.to) {
            let count = page.entries.len();
            if count > 0 && (count >= request.messages_max || bytes >= request.bytes_max) {
                page.next = *position;
                break;
            }
            bytes += stored.message.memory_bytes();
            page.entries.push(PageEntry {
                position: *position,
                message: stored.message.clone(),
                delivery_count: stored.delivery_count,
                redelivered: stored.delivery_count > 0 || *position < queue.redelivered_before,
            });
        }
        page
    }

    fn recover(&mut self) -> Recovered {
        self.queues.retain(|_, queue| queue.row.durable);
        for queue in self.queues.values_mut() {
            queue.messages.retain(|_, stored| stored.message.is_persistent());
            let before = queue.delivered_before.min(queue.next);
            queue.redelivered_before = queue.redelivered_before.max(before);
            queue.delivered_before = Position(0);
        }
        let queue = |queue: &Queue| RecoveredQueue {
            row: queue.row.clone(),
            messages: queue.messages.len() as u64,
            body_bytes: queue
                .messages
                .values()
                .map(|stored| stored.message.body().len() as u64)
                .sum(),
            first: queue.messages.keys().next().copied().unwrap_or(queue.next),
            next: queue.next,
            delivered_before: queue.redelivered_before,
        };
        Recovered {
            exchanges: self.exchanges.values().cloned().collect(),
            queues: self.queues.values().map(queue).collect(),
            bindings: self.bindings.clone(),
            next_queue: self.next_queue,
        }
    }
}

impl Queue {
    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Publish { messages, .. } => {
                for (position, message) in messages {
                    self.next = self.next.max(Position(position.0 + 1));
                    self.messages.entry(position).or_insert(Stored {
                        message,
                        delivery_count: 0,
                    });
                }
            }
            Operation::Settle { positions, .. } => {
                for position in positions {
                    self.messages.remove(&position);
                }
            }
            Operation::SettleRange { from, to, .. } => {
                self.messages.retain(|position, _| !(from..to).contains(position));
            }
            Operation::Return {
                position,
                delivery_count,
                ..
            } => {
                if let Some(stored) = self.messages.get_mut(&position) {
                    stored.delivery_count = delivery_count;
                }
            }
            Operation::MarkDelivered { before, .. } => self.delivered_before = before,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
