//! The writer thread: one batch of operations, one transaction, one sync, one number raised.

use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::checkpoint::{self, Checkpointer};
use super::delayed::AllDelays;
use super::garbage::Garbage;
use super::group::{Group, QueueGroup};
use super::pending::Work;
use super::reader::Reader;
use super::segment::{POSITION_END, row_id};
use super::segments::Segments;
use super::shared::Places;
use super::summary::Summaries;
use super::{Chain, Core, database, definitions, is_full, remembered, spawn};
use crate::store::operation::Request;
use crate::store::{Operation, Position, QueueId, StoreError};

/// How long a group waits that the disk has no room for, until it is tried again.
const ROOM_INTERVAL: Duration = Duration::from_millis(200);

/// Everything the writer works with; nobody else touches it.
#[derive(Debug)]
pub(super) struct Writer {
    pub connection: Connection,
    pub state: State,
    pub checkpointer: Checkpointer,
    pub interval_min: Duration,
}

/// What the rows come to, as far as the writer has to know.
#[derive(Debug)]
pub(super) struct State {
    pub summaries: Summaries,
    pub segments: Segments,
    pub garbage: Garbage,
    pub delays: AllDelays,
    /// First free row of `shared`.
    pub next_shared: i64,
}

impl Writer {
    /// Works until the store closes, then leaves an empty log behind.
    pub(super) fn run(mut self, core: &Arc<Core>, reader: Reader) -> Result<(), StoreError> {
        let (requests, answered) = mpsc::channel();
        let answering = spawn("store-read", core, move |core| reader.run(core, &answered))?;
        let worked = self.work(core, &requests);
        drop(requests);
        self.close(answering, worked)
    }

    fn work(&mut self, core: &Core, requests: &Sender<Request>) -> Result<(), StoreError> {
        let mut last = None;
        loop {
            let is_clean = self.state.garbage.is_empty() && self.state.delays.is_clean();
            let batch = match core.pending.take(is_clean) {
                Work::Batch(batch) => Some(batch),
                Work::Nothing => None,
                Work::Close => return Ok(()),
            };
            let Some(mut batch) = batch else {
                self.write(core, &Group::default())?;
                continue;
            };
            let group = Group::gather(&mut batch.operations);
            if !group.is_empty() {
                self.write(core, &group)?;
            }
            core.pending.finish(batch);
            for request in group.loads {
                // The reader is gone only when the store has failed.
                let _ = requests.send(request);
            }
            if !self.interval_min.is_zero() {
                if let Some(last) = last {
                    core.pending.rest(last + self.interval_min);
                }
                last = Some(Instant::now());
            }
        }
    }

    /// Writes a group. Where the disk has no room for it, it waits: nothing of the group is believed meanwhile. Any
    /// other failure ends the store, above all that of a sync: nobody knows what is on disk after one.
    fn write(&mut self, core: &Core, group: &Group) -> Result<(), StoreError> {
        let mut waits = false;
        while let Err(error) = self.transact(group) {
            if !is_full(&error) {
                return Err(error);
            }
            if !waits {
                tracing::error!(error = %Chain(&error), "the disk is full; nothing is confirmed until there is room");
                waits = true;
            }
            self.roll_back()?;
            checkpoint::make_room(&self.connection)?;
            if !core.pending.rest(Instant::now() + ROOM_INTERVAL) {
                return Err(error);
            }
        }
        if waits {
            tracing::info!("there is room on the disk again");
        }
        self.state.segments.evict();
        self.checkpointer.after_commit(&self.connection)
    }

    /// Forgets what came of a group that was not written.
    fn roll_back(&mut self) -> Result<(), StoreError> {
        if !self.connection.is_autocommit() {
            self.connection
                .execute_batch("ROLLBACK")
                .map_err(database("roll back"))?;
        }
        self.state = State::read(&self.connection, self.state.segments.epoch())?;
        Ok(())
    }

    fn transact(&mut self, group: &Group) -> Result<(), StoreError> {
        let execute = |sql| {
            self.connection
                .prepare_cached(sql)
                .and_then(|mut statement| statement.execute([]))
        };
        execute("BEGIN IMMEDIATE").map_err(database("begin a transaction"))?;
        self.state.apply(&self.connection, group)?;
        execute("COMMIT").map_err(database("commit"))?;
        Ok(())
    }

    fn close(mut self, answering: JoinHandle<()>, worked: Result<(), StoreError>) -> Result<(), StoreError> {
        // A panic there was reported by the thread itself.
        let _ = answering.join();
        self.checkpointer.close();
        worked?;
        match checkpoint::truncate(&self.connection) {
            // The next start does it.
            Err(error) if is_full(&error) => Ok(()),
            done => done.map(|_| ()),
        }
    }
}

impl State {
    /// What the rows come to now.
    pub(super) fn read(connection: &Connection, epoch: i64) -> Result<Self, StoreError> {
        let failed = database("open the database");
        let number = |sql: &str| {
            connection
                .query_row(sql, [], |row| row.get::<_, i64>(0))
                .map_err(&failed)
        };
        Ok(Self {
            summaries: Summaries::read(connection)?,
            segments: Segments::new(epoch, number("SELECT EXISTS (SELECT 1 FROM returned)")? != 0),
            garbage: Garbage::open(connection)?,
            delays: AllDelays::open(connection)?,
            next_shared: number("SELECT coalesce(max(id), 0) + 1 FROM shared")?,
        })
    }

    fn apply(&mut self, connection: &Connection, group: &Group) -> Result<(), StoreError> {
        for operation in &group.definitions {
            definitions::apply(connection, operation)?;
            match operation {
                Operation::Remember(change) => remembered::apply(connection, change)?,
                Operation::DeclareQueue(row) => self.summaries.declare(row.id),
                Operation::DeclareLevel(row) => self.summaries.declare(row.id),
                Operation::DeleteQueue(queue) => self.delete_queue(connection, *queue)?,
                _ => {}
            }
        }
        let places = Places::write(connection, &group.queues, &mut self.next_shared)?;
        for (queue, changes) in &group.queues {
            self.apply_to_queue(connection, *queue, changes, &places)?;
        }
        self.delays.apply(connection, &group.delayed)?;
        self.delays.step(connection)?;
        self.garbage.step(connection, &mut self.segments)?;
        self.segments.flush(connection)?;
        self.summaries.write(connection)
    }

    /// Deletes what the queue holds and its summary.
    pub(super) fn delete_queue(&mut self, connection: &Connection, queue: QueueId) -> Result<(), StoreError> {
        if self.summaries.get(queue).is_some_and(|summary| summary.next > 0) {
            let all = (0, POSITION_END);
            self.garbage.add(connection, &mut self.segments, queue, all)?;
        }
        self.summaries.delete(connection, queue)
    }

    fn apply_to_queue(
        &mut self,
        connection: &Connection,
        queue: QueueId,
        changes: &QueueGroup,
        places: &Places,
    ) -> Result<(), StoreError> {
        // Operations on a queue that was deleted meanwhile are void.
        let Some(summary) = self.summaries.get_mut(queue) else {
            return Ok(());
        };
        if let Some(last) = changes.published.last() {
            let messages = &changes.published;
            self.segments
                .publish(connection, queue, messages, summary.next, places)?;
            summary.next = summary.next.max(last.position.0 + 1);
            summary.is_changed = true;
        }
        let is_there = |position: &Position| self.garbage.end_of(row_id(queue, position.0)).is_none();
        let settled = if self.garbage.is_empty() {
            self.segments.settle(connection, queue, &changes.settled)?
        } else {
            let settled: Vec<Position> = changes.settled.iter().copied().filter(is_there).collect();
            self.segments.settle(connection, queue, &settled)?
        };
        summary.count(
            changes.messages - settled.messages,
            changes.body_bytes - settled.body_bytes,
        );
        for returned in changes
            .returned
            .iter()
            .filter(|returned| is_there(&returned.position))
        {
            self.segments.put_returned(connection, queue, returned)?;
        }
        for (from, to) in &changes.purged {
            let range = (from.0, to.0.min(summary.next));
            self.garbage.add(connection, &mut self.segments, queue, range)?;
        }
        if let Some(before) = changes.delivered_before {
            let before = before.0.min(POSITION_END);
            summary.is_changed |= summary.delivered_before != before;
            summary.delivered_before = before;
        }
        Ok(())
    }
}
