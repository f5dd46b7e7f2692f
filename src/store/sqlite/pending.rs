//! What was appended and is not yet on disk, the numbers that are, and those who wait for them.
//!
//! Everything that the broker's threads touch is here; the database is the writer's alone. A batch that is no
//! longer the last one never grows, so that only the last one has to wait for holds to end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::store::{MemoryChange, Operation, Sequence, StoreError};

/// How long new holds wait for the old ones, at first and at most. Their callers may have a lock that one of these
/// needs to end.
const HOLD_PATIENCE: Duration = Duration::from_millis(20);
const HOLD_PATIENCE_MAX: Duration = Duration::from_secs(1);

/// Operations that are written in one transaction.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub operations: Vec<Operation>,
    /// Memory of the messages in it.
    pub bytes: usize,
    /// The last number given out for it.
    pub through: Sequence,
}

/// What the writer finds when it asks for work.
#[derive(Debug)]
pub(super) enum Work {
    Batch(Batch),
    /// Nothing was appended; the caller asked not to wait.
    Nothing,
    /// The store closes and all batches were taken.
    Close,
}

#[derive(Debug)]
pub(super) struct Pending {
    state: Mutex<State>,
    /// The writer waits here for operations, and for holds to end.
    work: Condvar,
    /// New holds wait here while the writer waits for old ones.
    turn: Condvar,
    committed: AtomicU64,
    bytes: AtomicUsize,
    wakers: Mutex<Wakers>,
    batch_operations_max: usize,
    batch_bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Batch>,
    appended: Sequence,
    /// The last batch does not grow: the writer waited for its holds, and they have ended.
    is_sealed: bool,
    /// Threads that keep the last batch open, with how often each does.
    holders: Vec<(ThreadId, usize)>,
    door: Door,
    writer: WriterState,
    stage: Stage,
    spare: Vec<Operation>,
}

/// Where new holds wait while the writer waits for old ones. All who came meanwhile are let in at once, and the next
/// wait longer: sooner or later the old ones have ended by then, however long the system keeps threads from running.
#[derive(Debug, Default)]
struct Door {
    /// When it opens next, and how long it was closed then.
    opens: Option<(Instant, Duration)>,
}

impl Door {
    /// When somebody who comes now is let in.
    fn opens_at(&mut self, now: Instant) -> Instant {
        match self.opens {
            Some((at, _)) if at > now => at,
            last => {
                let patience = last.map_or(HOLD_PATIENCE, |(_, patience)| patience * 2);
                let patience = patience.min(HOLD_PATIENCE_MAX);
                self.opens = Some((now + patience, patience));
                now + patience
            }
        }
    }
}

/// What the writer's thread does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum WriterState {
    #[default]
    Works,
    WaitsForOperations,
    WaitsForHolds,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Open,
    /// What is there is still written.
    Closing,
    /// Nothing is written any more: closed or failed.
    Stopped,
}

#[derive(Debug, Default)]
struct Wakers {
    waiting: Vec<(Sequence, Waker)>,
    stopped: bool,
    failure: Option<Arc<StoreError>>,
}

impl Pending {
    pub(super) fn new(batch_operations_max: usize, batch_bytes_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            work: Condvar::new(),
            turn: Condvar::new(),
            committed: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
            wakers: Mutex::default(),
            batch_operations_max,
            batch_bytes_max,
        }
    }

    pub(super) fn append(&self, operations: &mut Vec<Operation>) -> Sequence {
        let bytes = operations.iter().map(message_bytes).sum();
        let mut state = self.state.lock();
        if operations.is_empty() {
            return state.appended;
        }
        state.appended.0 += 1;
        let sequence = state.appended;
        if state.stage == Stage::Stopped {
            operations.clear();
            return sequence;
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let held = !state.holders.is_empty();
        let is_full = |batch: &Batch| {
            !held
                && (batch.operations.len() >= self.batch_operations_max
                    || batch.bytes >= self.batch_bytes_max)
        };
        if state.is_sealed || state.batches.back().is_none_or(is_full) {
            state.is_sealed = false;
            let operations = std::mem::take(&mut state.spare);
            state.batches.push_back(Batch {
                operations,
                ..Batch::default()
            });
        }
        let batch = state
            .batches
            .back_mut()
            .expect("one was pushed if there was none");
        batch.operations.append(operations);
        batch.bytes += bytes;
        batch.through = sequence;
        if state.writer == WriterState::WaitsForOperations {
            if held {
                // From now on new holds wait, else overlapping ones could keep the writer asleep forever.
                state.writer = WriterState::WaitsForHolds;
            } else {
                self.work.notify_one();
            }
        }
        sequence
    }

    pub(super) fn hold(&self) {
        let me = thread::current().id();
        let mut state = self.state.lock();
        if let Some((_, count)) = state.holders.iter_mut().find(|(thread, _)| *thread == me) {
            *count += 1;
            return;
        }
        if state.writer == WriterState::WaitsForHolds {
            // Else overlapping holds could keep the writer waiting forever.
            let deadline = state.door.opens_at(Instant::now());
            while state.writer == WriterState::WaitsForHolds
                && !self.turn.wait_until(&mut state, deadline).timed_out()
            {}
        }
        state.holders.push((me, 1));
    }

    pub(super) fn release(&self) {
        let me = thread::current().id();
        let mut state = self.state.lock();
        let Some(index) = state.holders.iter().position(|(thread, _)| *thread == me) else {
            return;
        };
        state.holders[index].1 -= 1;
        if state.holders[index].1 == 0 {
            state.holders.swap_remove(index);
        }
        if state.holders.is_empty() && state.writer == WriterState::WaitsForHolds {
            // At once, for there may be new ones when the writer runs.
            state.is_sealed = true;
            state.let_holds_in(&self.turn);
            self.work.notify_one();
        }
    }

    pub(super) fn committed(&self) -> Sequence {
        Sequence(self.committed.load(Ordering::Acquire))
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn wake_when_committed(&self, sequence: Sequence, waker: &Waker) -> bool {
        let mut wakers = self.wakers.lock();
        if self.committed() >= sequence {
            return false;
        }
        if !wakers.stopped {
            wakers.add(sequence, waker);
        }
        true
    }

    /// The next batch. Waits for one if `wait`, and in any case until the batch may be closed.
    pub(super) fn take(&self, wait: bool) -> Work {
        let mut state = self.state.lock();
        loop {
            let batches = state.batches.len();
            if batches > 1 || (batches == 1 && (state.is_sealed || state.holders.is_empty())) {
                break;
            }
            if batches == 1 {
                state.writer = WriterState::WaitsForHolds;
                self.work.wait(&mut state);
                continue;
            }
            if state.stage != Stage::Open {
                return Work::Close;
            }
            if !wait {
                return Work::Nothing;
            }
            state.writer = WriterState::WaitsForOperations;
            self.work.wait(&mut state);
            state.writer = WriterState::Works;
        }
        state.let_holds_in(&self.turn);
        let batch = state.batches.pop_front();
        state.is_sealed &= !state.batches.is_empty();
        batch.map_or(Work::Nothing, Work::Batch)
    }

    /// Waits until `until`, or until the store closes; whether it is still open.
    pub(super) fn rest(&self, until: Instant) -> bool {
        let mut state = self.state.lock();
        while state.stage == Stage::Open && !self.work.wait_until(&mut state, until).timed_out() {}
        state.stage == Stage::Open
    }

    /// The batch is on disk: raises the number, wakes those who waited for it, keeps the allocation.
    pub(super) fn finish(&self, batch: Batch) {
        let due: Vec<_> = {
            let mut wakers = self.wakers.lock();
            if wakers.stopped {
                return;
            }
            self.bytes.fetch_sub(batch.bytes, Ordering::Relaxed);
            self.committed.store(batch.through.0, Ordering::Release);
            wakers
                .waiting
                .extract_if(.., |(sequence, _)| *sequence <= batch.through)
                .collect()
        };
        for (_, waker) in due {
            waker.wake();
        }
        let mut operations = batch.operations;
        operations.clear();
        let mut state = self.state.lock();
        if state.spare.capacity() < operations.capacity()
            && operations.capacity() <= self.batch_operations_max
        {
            state.spare = operations;
        }
    }

    /// Lets the writer take what is there and then end.
    pub(super) fn close(&self) {
        {
            let mut state = self.state.lock();
            if state.stage == Stage::Open {
                state.stage = Stage::Closing;
            }
        }
        self.work.notify_all();
    }

    /// Nothing is written from now on. Returns false when that was so already.
    pub(super) fn stop(&self, failure: Option<Arc<StoreError>>) -> bool {
        {
            let mut state = self.state.lock();
            state.stage = Stage::Stopped;
            state.batches.clear();
            state.is_sealed = false;
            state.let_holds_in(&self.turn);
        }
        let due = {
            let mut wakers = self.wakers.lock();
            if wakers.stopped {
                return false;
            }
            wakers.stopped = true;
            wakers.failure = failure;
            self.bytes.store(0, Ordering::Relaxed);
            std::mem::take(&mut wakers.waiting)
        };
        for (_, waker) in due {
            waker.wake();
        }
        true
    }

    pub(super) fn failure(&self) -> Option<Arc<StoreError>> {
        self.wakers.lock().failure.clone()
    }
}

impl Wakers {
    /// A busy connection asks again and again while nothing is committed: what stands there twice goes before the
    /// list grows.
    fn add(&mut self, sequence: Sequence, waker: &Waker) {
        if self.waiting.len() == self.waiting.capacity() {
            self.waiting
                .sort_unstable_by_key(|(sequence, waker)| (waker.data(), *sequence));
            self.waiting
                .dedup_by(|(at, one), (other_at, other)| at == other_at && one.will_wake(other));
            // As much again, so that the next time is as far away as this one took.
            self.waiting.reserve(self.waiting.len() + 1);
        }
        self.waiting.push((sequence, waker.clone()));
    }
}

impl State {
    /// The writer waits for no hold any more.
    fn let_holds_in(&mut self, turn: &Condvar) {
        if self.writer == WriterState::WaitsForHolds {
            self.door = Door::default();
            turn.notify_all();
        }
        self.writer = WriterState::Works;
    }
}

fn message_bytes(operation: &Operation) -> usize {
    match operation {
        Operation::Publish { messages, .. } => {
            messages.iter().map(|entry| entry.message.memory_bytes()).sum()
        }
        Operation::Delay { entry, .. } => entry.message.memory_bytes(),
        Operation::Remember(MemoryChange::RecordHistory(row)) => row.message.memory_bytes(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
