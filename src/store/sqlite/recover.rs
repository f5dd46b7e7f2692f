//! What a start finds: the definitions, and sums of the messages. What does not outlive a run is let go of.
//!
//! The cost grows with the number of queues and of segments in which messages expire. Only where a sum does not fit
//! the rows are the rows of that queue looked at.

use rusqlite::{Connection, OptionalExtension};
use rustc_hash::FxHashMap;

use super::garbage::Garbage;
use super::segment::{Bits, POSITION_END, Records, position_of, row_id};
use super::writer::State;
use super::{access, database, definitions, remembered};
use crate::clock::Timestamp;
use crate::store::{
    ExpiringStretch, LevelRow, Position, QueueId, Recovered, RecoveredLevel, RecoveredQueue, StoreError,
};

/// Stretches that a level is given; more become fewer and longer ones.
const STRETCHES_MAX: usize = if cfg!(test) { 4 } else { 1024 };

/// Reads everything that survives.
pub(super) fn recover(connection: &Connection, state: &mut State) -> Result<Recovered, StoreError> {
    let failed = database("read the definitions");
    let mut recovered = Recovered {
        exchanges: definitions::exchanges(connection)?,
        bindings: definitions::bindings(connection)?,
        policies: definitions::policies(connection)?,
        access: access::read(connection)?,
        had_users: access::had_users(connection)?,
        delays: state.delays.recovered(),
        keys: remembered::keys(connection)?,
        history: remembered::history(connection)?,
        queues: Vec::new(),
        noted_time: definitions::noted_time(connection)?,
        next_queue: connection
            .query_row("SELECT value FROM meta WHERE name = 'next_queue'", [], |row| {
                row.get(0)
            })
            .map_err(&failed)?,
    };
    let mut levels: FxHashMap<QueueId, Vec<LevelRow>> = FxHashMap::default();
    for level in definitions::levels(connection)? {
        levels.entry(level.queue).or_default().push(level);
    }
    for row in definitions::queues(connection)? {
        if !row.durable {
            state.delete_queue(connection, row.id)?;
            continue;
        }
        let mut found = vec![level(connection, state, row.id, 0)?];
        for LevelRow { id, priority, .. } in levels.remove(&row.id).unwrap_or_default() {
            found.push(level(connection, state, id, priority)?);
        }
        recovered.queues.push(RecoveredQueue { row, levels: found });
    }
    for stray in levels.into_values().flatten() {
        state.delete_queue(connection, stray.id)?;
    }
    connection
        .execute_batch(
            "DELETE FROM queue WHERE NOT durable;
             DELETE FROM level WHERE queue NOT IN (SELECT id FROM queue)",
        )
        .map_err(&failed)?;
    Ok(recovered)
}

/// Sums up what is kept under one number.
fn level(
    connection: &Connection,
    state: &mut State,
    id: QueueId,
    priority: u8,
) -> Result<RecoveredLevel, StoreError> {
    let mut first = first(connection, &state.garbage, id)?;
    let mut summary = state.summaries.get(id).copied().unwrap_or_default();
    if (summary.messages > 0) != first.is_some() {
        // Usually transient messages of an earlier run. Rows are thrown away on their own word only.
        let (messages, body_bytes) = count(connection, &state.garbage, id, first.unwrap_or(0))?;
        if messages != summary.messages {
            tracing::warn!(
                queue = id.0,
                noted = summary.messages,
                found = messages,
                "a queue's messages were counted wrongly; going on with those that were found"
            );
            (summary.messages, summary.body_bytes) = (messages, body_bytes);
            state.summaries.replace(id, summary);
        }
        if messages == 0 {
            let all = (0, summary.next);
            state.garbage.add(connection, &mut state.segments, id, all)?;
            first = None;
        }
    }
    Ok(RecoveredLevel {
        id,
        priority,
        messages: summary.messages,
        body_bytes: summary.body_bytes,
        first: Position(first.unwrap_or(summary.next)),
        next: Position(summary.next),
        delivered_before: Position(summary.redelivered_before),
        expiring: expiring(connection, &state.garbage, id, Position(summary.next))?,
    })
}

/// A place that no stored message of the queue is below; none if there is no message.
fn first(connection: &Connection, garbage: &Garbage, queue: QueueId) -> Result<Option<u64>, StoreError> {
    let end = row_id(queue, POSITION_END);
    let sql = "SELECT id FROM segment WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 1";
    let found: Option<i64> = connection
        .prepare_cached(sql)
        .and_then(|mut select| {
            select
                .query_row([row_id(queue, 0), end], |row| row.get(0))
                .optional()
        })
        .map_err(database("look for a queue's first message"))?;
    let Some(mut id) = found else {
        return Ok(None);
    };
    while let Some(after) = garbage.end_of(id) {
        if after >= end {
            return Ok(None);
        }
        id = after;
    }
    Ok(Some(position_of(id)))
}

/// Counts a queue's persistent messages from a place on, one by one, with their body bytes.
fn count(
    connection: &Connection,
    garbage: &Garbage,
    queue: QueueId,
    from: u64,
) -> Result<(u64, u64), StoreError> {
    let failed = database("count a queue's messages");
    let sql = "SELECT id, records, (SELECT bits FROM settled WHERE settled.id = segment.id) FROM segment \
               WHERE id >= (SELECT max(id) FROM segment WHERE id >= ?1 AND id <= ?2) AND id < ?3";
    let bounds = [row_id(queue, 0), row_id(queue, from), row_id(queue, POSITION_END)];
    let mut select = connection.prepare_cached(sql).map_err(&failed)?;
    let mut rows = select.query(bounds).map_err(&failed)?;
    let mut sum = (0, 0);
    while let Some(row) = rows.next().map_err(&failed)? {
        let column = |at| row.get_ref(at).map(|column| column.as_blob().unwrap_or_default());
        let records = Records::decode(row.get(0).map_err(&failed)?, column(1).map_err(&failed)?)?;
        let settled = Bits::from_column(column(2).map_err(&failed)?);
        for (index, record) in records.iter() {
            let is_gone = || settled.has(index) || garbage.end_of(row_id(queue, record.position)).is_some();
            if record.is_persistent && !is_gone() {
                sum.0 += 1;
                sum.1 += u64::from(record.body_len);
            }
        }
    }
    Ok(sum)
}

/// Where messages of a queue expire that ends at `next`: from each segment with such messages to the following one,
/// so that nothing but the index is read. Some of the messages may be settled.
fn expiring(
    connection: &Connection,
    garbage: &Garbage,
    queue: QueueId,
    next: Position,
) -> Result<Vec<ExpiringStretch>, StoreError> {
    let failed = database("look for messages that expire");
    let origin = row_id(queue, 0);
    let sql = "SELECT id, expires FROM segment INDEXED BY segment_expires \
               WHERE expires IS NOT NULL AND id >= ?1 AND id < ?2 ORDER BY id";
    let mut select = connection.prepare_cached(sql).map_err(&failed)?;
    let mut rows = select
        .query([origin, row_id(queue, POSITION_END)])
        .map_err(&failed)?;
    let mut stretches: Vec<ExpiringStretch> = Vec::new();
    while let Some(row) = rows.next().map_err(&failed)? {
        let from = Position(position_of(row.get(0).map_err(&failed)?));
        let expires: i64 = row.get(1).map_err(&failed)?;
        if let Some(last) = stretches.last_mut() {
            last.to = from;
        }
        if stretches.len() >= STRETCHES_MAX {
            stretches = halve(&stretches);
        }
        stretches.push(ExpiringStretch {
            from,
            to: next,
            expires_next: Timestamp::from_millis(expires.cast_unsigned()),
        });
    }
    stretches.retain_mut(|stretch| {
        while let Some(after) = garbage.end_of(row_id(queue, stretch.from.0)) {
            stretch.from = Position((after - origin).cast_unsigned());
        }
        stretch.from < stretch.to
    });
    Ok(stretches)
}

/// Makes one of two neighbours each.
fn halve(stretches: &[ExpiringStretch]) -> Vec<ExpiringStretch> {
    let join = |pair: &[ExpiringStretch]| {
        let (first, last) = (pair[0], pair[pair.len() - 1]);
        ExpiringStretch {
            from: first.from,
            to: last.to,
            expires_next: first.expires_next.min(last.expires_next),
        }
    };
    stretches.chunks(2).map(join).collect()
}
