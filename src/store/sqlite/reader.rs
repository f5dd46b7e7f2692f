//! Reads pages of queues, on a connection and a thread of its own, each in one short transaction.

use std::sync::mpsc::Receiver;

use rusqlite::{Connection, OptionalExtension, Row};

use super::segment::{Bits, POSITION_END, Record, Records, row_id};
use super::{Core, database};
use crate::message::Message;
use crate::store::{Operation, Page, PageEntry, PageRequest, Position, QueueId, StoreError};

/// Entries that a page makes room for before it knows how many there are.
const ROOM: usize = 4096;

/// What a page read needs besides the request.
pub(super) struct Reader {
    pub connection: Connection,
    /// This run's number: transient messages of other runs are gone.
    pub epoch: i64,
}

/// A page while it is being read.
struct Reading<'a> {
    request: &'a PageRequest,
    page: Page,
    bytes: usize,
    /// Transient messages of earlier runs that were met.
    stale: Vec<Position>,
    redelivered_before: u64,
    /// Ranges of positions that are gone though their rows are not.
    garbage: Vec<(u64, u64)>,
    /// The last row of `shared` that was used.
    shared: Option<(i64, Vec<u8>)>,
}

impl Reader {
    /// Answers requests in order until there are no more.
    pub(super) fn run(self, core: &Core, requests: &Receiver<PageRequest>) -> Result<(), StoreError> {
        for request in requests {
            let (page, stale) = if request.from < request.to {
                self.read(&request)?
            } else {
                let next = request.to;
                let entries = Vec::new();
                (Page { entries, next }, Vec::new())
            };
            if !stale.is_empty() {
                core.pending.append(&mut vec![Operation::Settle {
                    queue: request.queue,
                    positions: stale,
                }]);
            }
            request.sink.page_loaded(page);
        }
        Ok(())
    }

    fn read(&self, request: &PageRequest) -> Result<(Page, Vec<Position>), StoreError> {
        let failed = database("read a page");
        let transaction = self.connection.unchecked_transaction().map_err(&failed)?;
        let queue = request.queue;
        let redelivered_before: Option<i64> = self
            .connection
            .prepare_cached("SELECT redelivered_before FROM summary WHERE queue = ?1")
            .and_then(|mut select| select.query_row([queue.0], |row| row.get(0)).optional())
            .map_err(&failed)?;
        let mut reading = Reading {
            request,
            page: Page {
                entries: Vec::with_capacity(request.messages_max.min(ROOM)),
                next: request.to,
            },
            bytes: 0,
            stale: Vec::new(),
            redelivered_before: redelivered_before.unwrap_or(0).cast_unsigned(),
            garbage: self.garbage(queue)?,
            shared: None,
        };
        let start = self.start(queue, request.from)?;
        let end = row_id(queue, request.to.0);
        let sql = "SELECT id, epoch, records, data, (SELECT bits FROM settled WHERE settled.id = segment.id) \
                   FROM segment WHERE id >= ?1 AND id < ?2 ORDER BY id";
        let mut select = self.connection.prepare_cached(sql).map_err(&failed)?;
        let mut rows = select.query([start, end]).map_err(&failed)?;
        while let Some(row) = rows.next().map_err(&failed)? {
            if self.segment(row, &mut reading)? {
                break;
            }
        }
        drop(rows);
        drop(select);
        let Reading { page, stale, .. } = reading;
        transaction.commit().map_err(&failed)?;
        Ok((page, stale))
    }

    /// Row id of the segment that `from` may lie in.
    fn start(&self, queue: QueueId, from: Position) -> Result<i64, StoreError> {
        let key = row_id(queue, from.0.min(POSITION_END - 1));
        let sql = "SELECT max(id) FROM segment WHERE id >= ?1 AND id <= ?2";
        let before: Option<i64> = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut select| select.query_row([row_id(queue, 0), key], |row| row.get(0)))
            .map_err(database("read a page"))?;
        Ok(before.unwrap_or(key))
    }

    fn garbage(&self, queue: QueueId) -> Result<Vec<(u64, u64)>, StoreError> {
        let bounds = [row_id(queue, 0), row_id(queue, POSITION_END)];
        let sql = "SELECT from_id - ?1, to_id - ?1 FROM garbage WHERE from_id >= ?1 AND from_id < ?2";
        self.connection
            .prepare_cached(sql)
            .and_then(|mut select| {
                let number = |row: &Row<'_>, at| row.get(at).map(i64::cast_unsigned);
                let rows = select.query_map(bounds, |row| Ok((number(row, 0)?, number(row, 1)?)))?;
                rows.collect()
            })
            .map_err(database("read a page"))
    }

    /// Adds a segment's messages; true when the page is full.
    fn segment(&self, row: &Row<'_>, reading: &mut Reading<'_>) -> Result<bool, StoreError> {
        let failed = database("read a page");
        let id: i64 = row.get(0).map_err(&failed)?;
        let epoch: i64 = row.get(1).map_err(&failed)?;
        let column = |at| row.get_ref(at).map(|column| column.as_blob().unwrap_or_default());
        let records = Records::decode(id, column(2).map_err(&failed)?)?;
        let data = column(3).map_err(&failed)?;
        let settled = Bits::from_column(column(4).map_err(&failed)?);
        let returned = self.returned(id, row_id(reading.request.queue, records.end()))?;
        for (index, record) in records.iter() {
            if record.position >= reading.request.to.0 {
                return Ok(true);
            }
            if record.position < reading.request.from.0 || settled.has(index) || reading.is_garbage(&record) {
                continue;
            }
            if !record.is_persistent && epoch != self.epoch {
                reading.stale.push(Position(record.position));
                continue;
            }
            if reading.is_full() {
                reading.page.next = Position(record.position);
                return Ok(true);
            }
            let key = row_id(reading.request.queue, record.position);
            let count = returned
                .binary_search_by_key(&key, |(id, _)| *id)
                .map_or(0, |at| returned[at].1);
            self.message(&record, data, count, reading)?;
        }
        Ok(false)
    }

    fn returned(&self, from: i64, to: i64) -> Result<Vec<(i64, u32)>, StoreError> {
        self.connection
            .prepare_cached("SELECT id, count FROM returned WHERE id >= ?1 AND id < ?2 ORDER BY id")
            .and_then(|mut select| {
                let rows = select.query_map([from, to], |row| Ok((row.get(0)?, row.get(1)?)))?;
                rows.collect()
            })
            .map_err(database("read a page"))
    }

    fn message(
        &self,
        record: &Record,
        data: &[u8],
        delivery_count: u32,
        reading: &mut Reading<'_>,
    ) -> Result<(), StoreError> {
        let row = record.home.row;
        if row != 0 && reading.shared.as_ref().is_none_or(|(loaded, _)| *loaded != row) {
            let shared = self
                .connection
                .prepare_cached("SELECT data FROM shared WHERE id = ?1")
                .and_then(|mut select| select.query_row([row], |row| row.get(0)))
                .map_err(database("read a shared message"))?;
            reading.shared = Some((row, shared));
        }
        let data = match &reading.shared {
            Some((_, shared)) if row != 0 => shared,
            _ => data,
        };
        let bytes = record.slice(data)?;
        let message = Message::decode(bytes).map_err(|error| StoreError::Damaged {
            what: format!("message {} of queue {}", record.position, reading.request.queue.0),
            reason: error.to_string(),
        })?;
        reading.bytes += bytes.len();
        reading.page.entries.push(PageEntry {
            position: Position(record.position),
            message,
            delivery_count,
            redelivered: delivery_count > 0 || record.position < reading.redelivered_before,
        });
        Ok(())
    }
}

impl Reading<'_> {
    fn is_full(&self) -> bool {
        !self.page.entries.is_empty()
            && (self.page.entries.len() >= self.request.messages_max || self.bytes >= self.request.bytes_max)
    }

    fn is_garbage(&self, record: &Record) -> bool {
        self.garbage
            .iter()
            .any(|(from, to)| (*from..*to).contains(&record.position))
    }
}
