//! Reads pages of queues, on a connection and a thread of its own, each in one short transaction.

use std::sync::mpsc::Receiver;

use rusqlite::{Connection, OptionalExtension, Row};

use super::entries::{Entries, Stored};
use super::extras::{Extra, Extras, expires_column};
use super::returned::{self, Returned};
use super::segment::{Bits, POSITION_END, Record, Records, position_of, row_id};
use super::{Core, database, delayed};
use crate::clock::Timestamp;
use crate::message::Encoded;
use crate::store::operation::Request;
use crate::store::{Operation, Page, PageRequest, Position, QueueId, StoreError};

/// Entries that a page makes room for before it knows how many there are.
const ROOM: usize = 4096;

/// A read of expired messages ends with the segment after it has gone through so many bytes: it may give few of very
/// many messages. Tests meet the limit soon.
const LOOKED_AT_BYTES_MAX: usize = if cfg!(test) { 6_000 } else { 32 << 20 };

/// What a record counts for besides its bytes.
const RECORD_BYTES: usize = 64;

/// What a page read needs besides the request.
pub(super) struct Reader {
    pub connection: Connection,
    /// This run's number: transient messages of other runs are gone.
    pub epoch: i64,
}

/// All segments from one row id to another.
const ALL: &str = "SELECT id, epoch, records, data, (SELECT bits FROM settled WHERE settled.id = segment.id), extras \
                   FROM segment WHERE id >= ?1 AND id < ?2 ORDER BY id";

/// Those of them in which a message has expired. The index leaves the others untouched.
const EXPIRED: &str = "SELECT id, epoch, records, data, (SELECT bits FROM settled WHERE settled.id = segment.id), extras \
     FROM segment INDEXED BY segment_expires WHERE expires <= ?3 AND id >= ?1 AND id < ?2 ORDER BY id";

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
    /// Bytes that were gone through for expired messages.
    looked_at: usize,
    /// The last row of `shared` that was used.
    shared: Option<(i64, Vec<u8>)>,
    entries: Entries,
}

impl Reader {
    /// Answers requests in order until there are no more.
    pub(super) fn run(self, core: &Core, requests: &Receiver<Request>) -> Result<(), StoreError> {
        for request in requests {
            let request = match request {
                Request::Messages(request) => request,
                Request::Delayed(request) => {
                    let page = delayed::read(&self.connection, &request)?;
                    request.sink.delayed_loaded(page);
                    continue;
                }
            };
            let (page, stale) = if request.from < request.to {
                self.read(&request)?
            } else {
                let page = Page {
                    next: request.to,
                    tag: request.tag,
                    ..Page::default()
                };
                (page, Vec::new())
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
                next: request.to,
                tag: request.tag,
                ..Page::default()
            },
            bytes: 0,
            stale: Vec::new(),
            redelivered_before: redelivered_before.unwrap_or(0).cast_unsigned(),
            garbage: self.garbage(queue)?,
            looked_at: 0,
            shared: None,
            entries: Entries::with_room(request.messages_max.min(ROOM)),
        };
        let start = self.start(queue, request.from)?;
        let end = row_id(queue, request.to.0);
        let sql = match request.expired_at {
            None => ALL,
            Some(_) => EXPIRED,
        };
        let mut select = self.connection.prepare_cached(sql).map_err(&failed)?;
        let mut rows = match request.expired_at {
            None => select.query([start, end]),
            Some(now) => select.query([start, end, expires_column(now)]),
        }
        .map_err(&failed)?;
        while let Some(row) = rows.next().map_err(&failed)? {
            if self.segment(row, &mut reading)? {
                break;
            }
        }
        drop(rows);
        drop(select);
        if let Some(now) = request.expired_at {
            let next = self.expires_after(now, start, row_id(queue, reading.page.next.0))?;
            reading.expires_next(next);
        }
        let Reading {
            mut page,
            entries,
            stale,
            ..
        } = reading;
        page.entries = entries.finish();
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

    /// When the first message expires of those segments from one row id to another in which none has at `now`. It may
    /// be settled.
    fn expires_after(&self, now: Timestamp, from: i64, to: i64) -> Result<Option<Timestamp>, StoreError> {
        let sql = "SELECT min(expires) FROM segment INDEXED BY segment_expires \
                   WHERE expires > ?3 AND id >= ?1 AND id < ?2";
        let next: Option<i64> = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut select| select.query_row([from, to, expires_column(now)], |row| row.get(0)))
            .map_err(database("look for the next message that expires"))?;
        Ok(next.map(|at| Timestamp::from_millis(at.cast_unsigned())))
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
        if reading.looked_at >= LOOKED_AT_BYTES_MAX {
            reading.page.next = Position(position_of(id));
            return Ok(true);
        }
        let epoch: i64 = row.get(1).map_err(&failed)?;
        let column = |at| row.get_ref(at).map(|column| column.as_blob().unwrap_or_default());
        let records = Records::decode(id, column(2).map_err(&failed)?)?;
        let data = column(3).map_err(&failed)?;
        if reading.request.expired_at.is_some() {
            reading.looked_at += data.len() + records.count as usize * RECORD_BYTES;
        }
        let settled = Bits::from_column(column(4).map_err(&failed)?);
        let extras = Extras::decode(id, column(5).map_err(&failed)?)?;
        let returned = returned::read(&self.connection, id, row_id(reading.request.queue, records.end()))?;
        for ((index, record), extra) in records.iter().zip(extras.iter()) {
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
            if !reading.wants(extra) {
                continue;
            }
            if reading.is_full() {
                reading.page.next = Position(record.position);
                return Ok(true);
            }
            let returned = returned
                .binary_search_by_key(&record.position, |returned| returned.position.0)
                .ok()
                .map(|at| &returned[at]);
            self.message(&record, extra, returned, data, reading)?;
        }
        Ok(false)
    }

    fn message(
        &self,
        record: &Record,
        extra: Extra,
        returned: Option<&Returned>,
        data: &[u8],
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
        let encoded = Encoded::parse(bytes).map_err(|error| StoreError::Damaged {
            what: format!("message {} of queue {}", record.position, reading.request.queue.0),
            reason: error.to_string(),
        })?;
        let delivery_count = returned.map_or(0, |returned| returned.delivery_count);
        let stored = Stored {
            position: Position(record.position),
            delivery_count,
            redelivered: delivery_count > 0 || record.position < reading.redelivered_before,
            expires_at: extra.expires_at,
            rests_until: returned.and_then(|returned| returned.rests_until),
            is_persistent: record.is_persistent,
        };
        reading.bytes += bytes.len();
        reading.entries.add(&encoded, extra.is_dead_letter, stored);
        Ok(())
    }
}

impl Reading<'_> {
    /// Whether the request asks for such messages; else notes when this one expires.
    fn wants(&mut self, extra: Extra) -> bool {
        let Some(now) = self.request.expired_at else {
            return true;
        };
        let is_expired = extra.expires_at.is_some_and(|at| at <= now);
        if !is_expired {
            self.expires_next(extra.expires_at);
        }
        is_expired
    }

    /// A message was passed over that expires then.
    fn expires_next(&mut self, at: Option<Timestamp>) {
        self.page.expires_next = self.page.expires_next.into_iter().chain(at).min();
    }

    fn is_full(&self) -> bool {
        let count = self.entries.len();
        count > 0 && (count >= self.request.messages_max || self.bytes >= self.request.bytes_max)
    }

    fn is_garbage(&self, record: &Record) -> bool {
        self.garbage
            .iter()
            .any(|(from, to)| (*from..*to).contains(&record.position))
    }
}
