//! What a start needs to know of a queue without looking at its messages.

use rusqlite::{Connection, params};
use rustc_hash::FxHashMap;

use super::database;
use crate::store::{QueueId, StoreError};

/// A queue's row in `summary`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Summary {
    /// Unsettled persistent messages.
    pub messages: u64,
    /// Sum of their body bytes.
    pub body_bytes: u64,
    /// One past the highest position that was ever written.
    pub next: u64,
    /// As [`crate::store::Operation::MarkDelivered`] said in this run.
    pub delivered_before: u64,
    /// Messages below it may have been handed out in an earlier run.
    pub redelivered_before: u64,
    /// It differs from its row.
    pub is_changed: bool,
}

/// The summaries of all queues.
#[derive(Debug, Default)]
pub(super) struct Summaries {
    of: FxHashMap<QueueId, Summary>,
    changed: Vec<QueueId>,
}

impl Summary {
    /// Adds the change of the counts. They are never negative, whatever a purge claimed.
    pub(super) fn count(&mut self, messages: i64, body_bytes: i64) {
        self.messages = self.messages.saturating_add_signed(messages);
        self.body_bytes = self.body_bytes.saturating_add_signed(body_bytes);
        self.is_changed |= messages != 0 || body_bytes != 0;
    }
}

impl Summaries {
    /// What was handed out in the last run becomes what may be redelivered in this one.
    pub(super) fn begin_run(connection: &Connection) -> rusqlite::Result<()> {
        connection.execute_batch(
            "UPDATE summary SET redelivered_before = max(redelivered_before, min(delivered_before, next)),
                delivered_before = 0 WHERE delivered_before > 0",
        )
    }

    /// Reads all rows.
    pub(super) fn read(connection: &Connection) -> Result<Self, StoreError> {
        let failed = database("read the queues' summaries");
        let sql =
            "SELECT queue, messages, body_bytes, next, delivered_before, redelivered_before FROM summary";
        let mut statement = connection.prepare(sql).map_err(&failed)?;
        let rows = statement
            .query_map([], |row| {
                let number = |at| row.get(at).map(i64::cast_unsigned);
                let summary = Summary {
                    messages: number(1)?,
                    body_bytes: number(2)?,
                    next: number(3)?,
                    delivered_before: number(4)?,
                    redelivered_before: number(5)?,
                    is_changed: false,
                };
                Ok((QueueId(row.get(0)?), summary))
            })
            .map_err(&failed)?;
        Ok(Self {
            of: rows.collect::<Result<_, _>>().map_err(&failed)?,
            changed: Vec::new(),
        })
    }

    /// Begins a queue's summary, unless it is there.
    pub(super) fn declare(&mut self, queue: QueueId) {
        self.of.entry(queue).or_insert(Summary {
            is_changed: true,
            ..Summary::default()
        });
        self.changed.push(queue);
    }

    pub(super) fn delete(&mut self, connection: &Connection, queue: QueueId) -> Result<(), StoreError> {
        self.of.remove(&queue);
        connection
            .prepare_cached("DELETE FROM summary WHERE queue = ?1")
            .and_then(|mut delete| delete.execute([queue.0]))
            .map(|_| ())
            .map_err(database("delete a summary"))
    }

    pub(super) fn get(&self, queue: QueueId) -> Option<&Summary> {
        self.of.get(&queue)
    }

    /// For a change; [`Summaries::write`] writes it.
    pub(super) fn get_mut(&mut self, queue: QueueId) -> Option<&mut Summary> {
        let summary = self.of.get_mut(&queue)?;
        self.changed.push(queue);
        Some(summary)
    }

    /// Puts another summary in the place of a queue's.
    pub(super) fn replace(&mut self, queue: QueueId, summary: Summary) {
        self.of.insert(
            queue,
            Summary {
                is_changed: true,
                ..summary
            },
        );
        self.changed.push(queue);
    }

    /// Writes the rows that changed.
    pub(super) fn write(&mut self, connection: &Connection) -> Result<(), StoreError> {
        for queue in self.changed.drain(..) {
            let Some(summary) = self.of.get_mut(&queue).filter(|summary| summary.is_changed) else {
                continue;
            };
            summary.is_changed = false;
            let sql = "INSERT OR REPLACE INTO summary VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            connection
                .prepare_cached(sql)
                .and_then(|mut insert| {
                    insert.execute(params![
                        queue.0,
                        summary.messages.cast_signed(),
                        summary.body_bytes.cast_signed(),
                        summary.next.cast_signed(),
                        summary.delivered_before.cast_signed(),
                        summary.redelivered_before.cast_signed(),
                    ])
                })
                .map_err(database("write a summary"))?;
        }
        Ok(())
    }
}
