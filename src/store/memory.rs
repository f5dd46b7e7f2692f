//! A store for simulations: nothing happens until it is told to, on the caller's thread, in a fixed order.
//!
//! It keeps the meaning of the durable store and none of its rows, so that it serves as the model to test that
//! one against. A crash leaves what was committed.

mod delayed;
mod disk;
mod remembered;

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;

use crate::message::Message;
use crate::store::operation::Request;
use crate::store::{MemoryChange, Operation, Recovered, Sequence, Space, Store, StoreError};

use self::disk::Disk;

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
    loads: VecDeque<Request>,
    wakers: Vec<(Sequence, Waker)>,
    stopped: bool,
}

#[derive(Default)]
struct Group {
    operations: Vec<Operation>,
    through: Sequence,
}

impl MemoryStore {
    /// How many groups are appended and not committed: what a hold spans is one of them, else each append is.
    pub fn pending_groups(&self) -> usize {
        self.0.lock().pending.len()
    }

    /// All messages that are committed, with their queues' names.
    pub fn messages(&self) -> Vec<(Arc<str>, Message)> {
        self.0.lock().disk.messages()
    }

    /// All delayed messages that are committed.
    pub fn delayed_messages(&self) -> Vec<Message> {
        self.0.lock().disk.delays.messages().cloned().collect()
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
        let mut state = self.0.lock();
        // The sinks are called outside of the lock: they may append.
        match state.loads.pop_front() {
            None => return false,
            Some(Request::Messages(request)) => {
                let page = state.disk.read(&request);
                drop(state);
                request.sink.page_loaded(page);
            }
            Some(Request::Delayed(request)) => {
                let page = state.disk.delays.read(&request);
                drop(state);
                request.sink.delayed_loaded(page);
            }
        }
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
                    messages.iter().map(|entry| entry.message.memory_bytes()).sum()
                }
                Operation::Delay { entry, .. } => entry.message.memory_bytes(),
                Operation::Remember(MemoryChange::RecordHistory(row)) => row.message.memory_bytes(),
                _ => 0,
            })
            .sum()
    }

    fn space(&self) -> Space {
        Space::default()
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

#[cfg(test)]
mod tests;
