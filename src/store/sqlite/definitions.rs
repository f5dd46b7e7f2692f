//! Rows of exchanges, queues, bindings and policies.

use std::sync::Arc;

use amq_protocol::types::FieldTable;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{access, database};
use crate::amqp::field_table;
use crate::clock::Timestamp;
use crate::store::{
    BindingRow, DestinationKind, ExchangeRow, LevelRow, Operation, PolicyKind, PolicyRow, QueueId, QueueRow,
    StoreError,
};

/// Writes a definition; other operations are not for this table.
pub(super) fn apply(connection: &Connection, operation: &Operation) -> Result<(), StoreError> {
    match operation {
        Operation::DeclareExchange(row) => declare_exchange(connection, row),
        Operation::DeleteExchange { vhost, name } => connection
            .prepare_cached("DELETE FROM exchange WHERE vhost = ?1 AND name = ?2")
            .and_then(|mut delete| delete.execute([vhost, name])),
        Operation::DeclareQueue(row) => declare_queue(connection, row),
        Operation::DeclareLevel(row) => declare_level(connection, row),
        Operation::DeleteQueue(queue) => connection
            .prepare_cached("DELETE FROM queue WHERE id = ?1")
            .and_then(|mut delete| delete.execute([queue.0]))
            .and_then(|_| connection.prepare_cached("DELETE FROM level WHERE id = ?1"))
            .and_then(|mut delete| delete.execute([queue.0])),
        Operation::Bind(row) => {
            let sql = "INSERT OR IGNORE INTO binding VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            with_binding(connection, sql, row)
        }
        Operation::Unbind(row) => {
            let sql = "DELETE FROM binding WHERE vhost = ?1 AND source = ?2 AND to_exchange = ?3 AND \
                       destination = ?4 AND routing_key = ?5 AND arguments = ?6";
            with_binding(connection, sql, row)
        }
        Operation::SetPolicy(row) => set_policy(connection, row),
        Operation::ClearPolicy { vhost, kind, name } => connection
            .prepare_cached("DELETE FROM policy WHERE vhost = ?1 AND is_operator = ?2 AND name = ?3")
            .and_then(|mut delete| delete.execute(params![vhost, *kind == PolicyKind::Operator, name])),
        Operation::NoteTime(time) => connection
            .prepare_cached("INSERT OR REPLACE INTO meta VALUES ('time', ?1)")
            .and_then(|mut insert| insert.execute([time.millis().cast_signed()])),
        Operation::Access(change) => return access::apply(connection, change),
        _ => Ok(0),
    }
    .map(|_| ())
    .map_err(database("write a definition"))
}

fn declare_exchange(connection: &Connection, row: &ExchangeRow) -> rusqlite::Result<usize> {
    let sql = "INSERT OR REPLACE INTO exchange VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    connection.prepare_cached(sql)?.execute(params![
        row.vhost,
        row.name,
        row.kind,
        row.auto_delete,
        row.internal,
        encode(&row.arguments)
    ])
}

fn declare_queue(connection: &Connection, row: &QueueRow) -> rusqlite::Result<usize> {
    use_number(connection, row.id)?;
    let sql = "INSERT OR REPLACE INTO queue VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    connection.prepare_cached(sql)?.execute(params![
        row.id.0,
        row.vhost,
        row.name,
        row.durable,
        row.auto_delete,
        encode(&row.arguments)
    ])
}

fn declare_level(connection: &Connection, row: &LevelRow) -> rusqlite::Result<usize> {
    use_number(connection, row.id)?;
    connection
        .prepare_cached("INSERT OR REPLACE INTO level(id, queue, priority) VALUES (?1, ?2, ?3)")?
        .execute(params![row.id.0, row.queue.0, row.priority])
}

/// The number, and all below it, are not given out again.
fn use_number(connection: &Connection, id: QueueId) -> rusqlite::Result<usize> {
    let sql = "UPDATE meta SET value = max(value, ?1) WHERE name = 'next_queue'";
    connection.prepare_cached(sql)?.execute([i64::from(id.0) + 1])
}

fn with_binding(connection: &Connection, sql: &str, row: &BindingRow) -> rusqlite::Result<usize> {
    connection.prepare_cached(sql)?.execute(params![
        row.vhost,
        row.source,
        row.destination_kind == DestinationKind::Exchange,
        row.destination,
        &*row.routing_key,
        encode(&row.arguments)
    ])
}

fn set_policy(connection: &Connection, row: &PolicyRow) -> rusqlite::Result<usize> {
    let sql = "INSERT OR REPLACE INTO policy VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    connection.prepare_cached(sql)?.execute(params![
        row.vhost,
        row.kind == PolicyKind::Operator,
        row.name,
        row.pattern,
        row.apply_to,
        encode(&row.definition),
        row.priority
    ])
}

/// Reads all exchanges.
pub(super) fn exchanges(connection: &Connection) -> Result<Vec<ExchangeRow>, StoreError> {
    let sql = "SELECT vhost, name, kind, auto_delete, internal, arguments FROM exchange";
    read(connection, sql, "an exchange", |row, arguments| {
        Ok(ExchangeRow {
            vhost: row.get(0)?,
            name: row.get(1)?,
            kind: row.get(2)?,
            auto_delete: row.get(3)?,
            internal: row.get(4)?,
            arguments,
        })
    })
}

/// Reads all queues, in the order of their ids.
pub(super) fn queues(connection: &Connection) -> Result<Vec<QueueRow>, StoreError> {
    let sql = "SELECT id, vhost, name, durable, auto_delete, arguments FROM queue ORDER BY id";
    read(connection, sql, "a queue", |row, arguments| {
        Ok(QueueRow {
            id: QueueId(row.get(0)?),
            vhost: row.get(1)?,
            name: row.get(2)?,
            durable: row.get(3)?,
            auto_delete: row.get(4)?,
            arguments,
        })
    })
}

/// Reads the levels of all queues, in the order of their ids.
pub(super) fn levels(connection: &Connection) -> Result<Vec<LevelRow>, StoreError> {
    let level = |row: &Row<'_>| {
        Ok(LevelRow {
            id: QueueId(row.get(0)?),
            queue: QueueId(row.get(1)?),
            priority: row.get(2)?,
        })
    };
    connection
        .prepare("SELECT id, queue, priority FROM level ORDER BY id")
        .and_then(|mut select| select.query_map([], level)?.collect())
        .map_err(database("read the definitions"))
}

/// Reads all bindings.
pub(super) fn bindings(connection: &Connection) -> Result<Vec<BindingRow>, StoreError> {
    let sql = "SELECT vhost, source, to_exchange, destination, routing_key, arguments FROM binding";
    read(connection, sql, "a binding", |row, arguments| {
        let to_exchange = row.get::<_, bool>(2)?;
        let kind = [DestinationKind::Queue, DestinationKind::Exchange];
        Ok(BindingRow {
            vhost: row.get(0)?,
            source: row.get(1)?,
            destination_kind: kind[usize::from(to_exchange)],
            destination: row.get(3)?,
            routing_key: row.get::<_, Arc<[u8]>>(4)?,
            arguments,
        })
    })
}

/// Reads the time that was noted last.
pub(super) fn noted_time(connection: &Connection) -> Result<Option<Timestamp>, StoreError> {
    connection
        .query_row("SELECT value FROM meta WHERE name = 'time'", [], |row| row.get(0))
        .optional()
        .map(|noted: Option<i64>| noted.map(|millis| Timestamp::from_millis(millis.cast_unsigned())))
        .map_err(database("read the time that was noted last"))
}

/// Reads all policies.
pub(super) fn policies(connection: &Connection) -> Result<Vec<PolicyRow>, StoreError> {
    let sql = "SELECT vhost, is_operator, name, pattern, apply_to, definition, priority FROM policy";
    read(connection, sql, "a policy", |row, definition| {
        Ok(PolicyRow {
            vhost: row.get(0)?,
            kind: if row.get(1)? {
                PolicyKind::Operator
            } else {
                PolicyKind::User
            },
            name: row.get(2)?,
            pattern: row.get(3)?,
            apply_to: row.get(4)?,
            definition,
            priority: row.get(6)?,
        })
    })
}

/// Reads a table whose sixth column holds arguments.
fn read<T>(
    connection: &Connection,
    sql: &str,
    what: &'static str,
    make: impl Fn(&Row<'_>, FieldTable) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let failed = database("read the definitions");
    let mut statement = connection.prepare(sql).map_err(&failed)?;
    let mut rows = statement.query([]).map_err(&failed)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next().map_err(&failed)? {
        let column = row.get_ref(5).map_err(&failed)?;
        let arguments = column
            .as_blob()
            .ok()
            .and_then(decode)
            .ok_or_else(|| StoreError::Damaged {
                what: what.to_owned(),
                reason: "its arguments do not parse".to_owned(),
            })?;
        all.push(make(row, arguments).map_err(&failed)?);
    }
    Ok(all)
}

fn encode(table: &FieldTable) -> Vec<u8> {
    let mut entries = Vec::new();
    field_table::write(&mut entries, table);
    entries
}

fn decode(entries: &[u8]) -> Option<FieldTable> {
    field_table::validate(entries).ok()?;
    Some(field_table::to_owned(entries))
}
