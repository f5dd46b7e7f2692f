//! Moves what the write-ahead log holds into the database, away from the writer.
//!
//! The log starts over only when every frame was moved while no reader needs it. Under constant load a checkpoint
//! in the background never catches up by itself, so the writer moves the small rest after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;
use rusqlite::hooks::Wal;

use super::{Core, database, is_full, spawn};
use crate::store::StoreError;

/// Passes in the background before the writer moves the rest.
const PASSES: usize = 4;

/// Pages that the writer may move itself.
const REST_PAGES: i64 = 1000;

/// The writer waits for the background when the log is so many times the threshold.
const HARD_FACTOR: i32 = 6;

/// Groups that the log has room for, however large they are: one that has messages for very many queues changes pages of
/// all of them, and so does the next one. Moved together they are moved once.
const GROUPS_MIN: i32 = 4;

#[derive(Debug)]
pub(super) struct Checkpointer {
    thread: Option<JoinHandle<()>>,
    turn: Arc<Turn>,
    /// Pages in the log after the last commit.
    pages: Arc<AtomicI32>,
    /// The background begins at so many pages.
    threshold: i32,
    /// The next time it begins; above the threshold while a reader keeps the log from starting over.
    next: i32,
    /// Pages in the log after the commit before.
    before: i32,
}

#[derive(Debug, Default)]
struct Turn {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Idle,
    Running,
    /// The background has done its part.
    Done,
    Closing,
}

impl Checkpointer {
    /// Watches the log that `writer` writes and starts the background thread with a connection of its own.
    pub(super) fn start(
        core: &Arc<Core>,
        writer: &mut Connection,
        background: Connection,
        threshold: i32,
    ) -> Result<Self, StoreError> {
        let pages = Arc::new(AtomicI32::new(0));
        let seen = Arc::clone(&pages);
        let hook = move |_: &mut Wal, pages| {
            seen.store(pages, Ordering::Relaxed);
            Ok(())
        };
        writer
            .wal_hook(Some(hook))
            .map_err(database("watch the write-ahead log"))?;
        let turn = Arc::new(Turn::default());
        let theirs = Arc::clone(&turn);
        let thread = spawn("store-checkpoint", core, move |_| run(&background, &theirs))?;
        Ok(Self {
            thread: Some(thread),
            turn,
            pages,
            threshold,
            next: threshold,
            before: 0,
        })
    }

    /// After each commit: starts the background, or finishes what it began.
    pub(super) fn after_commit(&mut self, writer: &Connection) -> Result<(), StoreError> {
        let pages = self.pages.load(Ordering::Relaxed);
        let before = std::mem::replace(&mut self.before, pages);
        let has_started_over = pages < before;
        let group = if has_started_over { pages } else { pages - before };
        let due = self.threshold.max(group.saturating_mul(GROUPS_MIN));
        if has_started_over {
            self.next = due;
        }
        if pages < self.threshold {
            return Ok(());
        }
        let mut state = self.turn.state.lock();
        let most = self.threshold.saturating_mul(HARD_FACTOR);
        if pages > most.max(due.saturating_add(due / 2)) {
            while *state == State::Running {
                self.turn.changed.wait(&mut state);
            }
        }
        match *state {
            State::Done => {
                *state = State::Idle;
                drop(state);
                make_room(writer)?;
                // If a reader kept a frame from being moved, the log goes on; try again somewhat later.
                self.next = pages.saturating_add(self.threshold / 4);
            }
            State::Idle if pages >= self.next => {
                *state = State::Running;
                self.turn.changed.notify_all();
            }
            _ => {}
        }
        Ok(())
    }

    /// Ends the background.
    pub(super) fn close(&mut self) {
        *self.turn.state.lock() = State::Closing;
        self.turn.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by the thread itself.
            let _ = thread.join();
        }
    }
}

fn run(connection: &Connection, turn: &Turn) -> Result<(), StoreError> {
    loop {
        {
            let mut state = turn.state.lock();
            while !matches!(*state, State::Running | State::Closing) {
                turn.changed.wait(&mut state);
            }
            if *state == State::Closing {
                return Ok(());
            }
        }
        let mut passes = Ok(());
        for _ in 0..PASSES {
            match pass(connection) {
                Ok(rest) if rest > REST_PAGES => {}
                // The writer meets it as well, and waits.
                Err(error) if is_full(&error) => break,
                other => {
                    passes = other.map(|_| ());
                    break;
                }
            }
        }
        let mut state = turn.state.lock();
        if *state == State::Running {
            *state = State::Done;
        }
        turn.changed.notify_all();
        passes?;
    }
}

/// Moves what can be moved, as far as the disk has room for it: a database with free pages needs none.
pub(super) fn make_room(connection: &Connection) -> Result<(), StoreError> {
    match pass(connection) {
        Err(error) if is_full(&error) => Ok(()),
        done => done.map(|_| ()),
    }
}

/// Moves everything and empties the log; false when a reader is in the way.
pub(super) fn truncate(connection: &Connection) -> Result<bool, StoreError> {
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .map(|is_busy: bool| !is_busy)
        .map_err(database("move the log into the database"))
}

/// Moves what can be moved without waiting for anyone; gives the pages that are left.
fn pass(connection: &Connection) -> Result<i64, StoreError> {
    connection
        .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
            Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?)
        })
        .map_err(database("checkpoint"))
}
