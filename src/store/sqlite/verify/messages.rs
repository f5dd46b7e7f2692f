//! Messages in queues: segments parse, stand in order and hold their messages' bytes; the sums fit what is there.

use rusqlite::{Connection, OptionalExtension, Row};
use rustc_hash::FxHashMap;

use super::Findings;
use crate::message::Message;
use crate::store::sqlite::database;
use crate::store::sqlite::extras::{Extra, Extras, expires_column};
use crate::store::sqlite::garbage::Garbage;
use crate::store::sqlite::segment::{Bits, Record, Records, position_of, queue_of, row_id};
use crate::store::{QueueId, StoreError};

/// Looks at all segments in their order.
pub(super) fn look(connection: &Connection, findings: &mut Findings) -> Result<(), StoreError> {
    let mut tour = Tour {
        connection,
        garbage: Garbage::open(connection)?,
        epoch: connection
            .query_row("SELECT value FROM meta WHERE name = 'epoch'", [], |row| {
                row.get(0)
            })
            .map_err(database("read the number of the last run"))?,
        sums: FxHashMap::default(),
        sharers: FxHashMap::default(),
        shared: None,
        findings,
    };
    let failed = database("read messages");
    let sql = "SELECT id, epoch, records, data, (SELECT bits FROM settled WHERE settled.id = segment.id), extras, \
               expires FROM segment ORDER BY id";
    let mut select = connection.prepare(sql).map_err(&failed)?;
    let mut rows = select.query([]).map_err(&failed)?;
    while let Some(row) = rows.next().map_err(&failed)? {
        if let Err(error) = tour.segment(row) {
            tour.findings.problem(error.to_string());
        }
    }
    tour.sums()?;
    tour.sharers()
}

/// What is gathered on the way.
struct Tour<'a> {
    connection: &'a Connection,
    garbage: Garbage,
    epoch: i64,
    sums: FxHashMap<QueueId, Sum>,
    /// Segments that refer to each row of `shared`.
    sharers: FxHashMap<i64, i64>,
    /// The last row of `shared` that was used.
    shared: Option<(i64, Vec<u8>)>,
    findings: &'a mut Findings,
}

/// What the segments of one queue come to.
#[derive(Default)]
struct Sum {
    messages: u64,
    body_bytes: u64,
    /// One past the last position.
    end: u64,
}

impl Tour<'_> {
    fn segment(&mut self, row: &Row<'_>) -> Result<(), StoreError> {
        let failed = database("read messages");
        let id: i64 = row.get(0).map_err(&failed)?;
        let column = |at| row.get_ref(at).map(|column| column.as_blob().unwrap_or_default());
        let records = Records::decode(id, column(2).map_err(&failed)?)?;
        let data = column(3).map_err(&failed)?;
        let settled = Bits::from_column(column(4).map_err(&failed)?);
        let extras = Extras::decode(id, column(5).map_err(&failed)?)?;
        let (queue, at) = (queue_of(id), position_of(id));
        let mut wrong = |what: &str| {
            let what = format!("segment {at} of queue {}: {what}", queue.0);
            self.findings.problem(what);
        };
        let end = self.sums.get(&queue).map_or(0, |sum| sum.end);
        if at < end {
            wrong("it overlaps the one before");
        }
        if row.get::<_, i64>(1).map_err(&failed)? > self.epoch {
            wrong("it is of a run that has not been");
        }
        if settled.count() > records.count {
            wrong("more messages are settled than there are");
        }
        let expires: Option<i64> = row.get(6).map_err(&failed)?;
        if expires != extras.expires().map(expires_column) {
            wrong("its index of expiry does not fit its messages");
        }
        self.sums.entry(queue).or_default().end = records.end();
        for row in records.shared_rows() {
            *self.sharers.entry(row).or_default() += 1;
        }
        for ((index, record), extra) in records.iter().zip(extras.iter()) {
            let is_gone = settled.has(index) || self.garbage.end_of(row_id(queue, record.position)).is_some();
            if !is_gone {
                self.message(queue, &record, extra, data)?;
            }
        }
        Ok(())
    }

    fn message(
        &mut self,
        queue: QueueId,
        record: &Record,
        extra: Extra,
        data: &[u8],
    ) -> Result<(), StoreError> {
        let damaged = |reason: String| StoreError::Damaged {
            what: format!("message {} of queue {}", record.position, queue.0),
            reason,
        };
        let row = record.home.row;
        if row != 0 && self.shared.as_ref().is_none_or(|(loaded, _)| *loaded != row) {
            let found = self
                .connection
                .prepare_cached("SELECT data FROM shared WHERE id = ?1")
                .and_then(|mut select| select.query_row([row], |row| row.get(0)).optional())
                .map_err(database("read a shared message"))?
                .ok_or_else(|| damaged("the row of its bytes is missing".to_owned()))?;
            self.shared = Some((row, found));
        }
        let data = match &self.shared {
            Some((_, shared)) if row != 0 => shared,
            _ => data,
        };
        let message = Message::decode(record.slice(data)?, extra.is_dead_letter)
            .map_err(|error| damaged(error.to_string()))?;
        if message.body().len() != record.body_len as usize {
            return Err(damaged("its body has another length than was noted".to_owned()));
        }
        if record.is_persistent {
            let sum = self.sums.entry(queue).or_default();
            sum.messages += 1;
            sum.body_bytes += u64::from(record.body_len);
        }
        Ok(())
    }

    /// Every queue and level has its sums, and they are right.
    fn sums(&mut self) -> Result<(), StoreError> {
        let failed = database("read the queues' sums");
        let sql = "SELECT number.id, messages, body_bytes, next FROM
            (SELECT id FROM queue UNION ALL SELECT id FROM level) AS number
            LEFT JOIN summary ON summary.queue = number.id ORDER BY number.id";
        let mut select = self.connection.prepare(sql).map_err(&failed)?;
        let mut rows = select.query([]).map_err(&failed)?;
        while let Some(row) = rows.next().map_err(&failed)? {
            let id = QueueId(row.get(0).map_err(&failed)?);
            let number = |at| {
                row.get::<_, Option<i64>>(at)
                    .map(|number| number.map(i64::cast_unsigned))
            };
            let noted = (
                number(1).map_err(&failed)?,
                number(2).map_err(&failed)?,
                number(3).map_err(&failed)?,
            );
            let (Some(messages), Some(body_bytes), Some(next)) = noted else {
                self.findings.problem(format!("queue {} has no sums", id.0));
                continue;
            };
            let found = self.sums.remove(&id).unwrap_or_default();
            if (found.messages, found.body_bytes) != (messages, body_bytes) {
                self.findings.problem(format!(
                    "queue {} holds {} messages of {} bytes; noted are {messages} of {body_bytes}",
                    id.0, found.messages, found.body_bytes
                ));
            }
            if found.end > next {
                self.findings
                    .problem(format!("queue {} would use place {next} again", id.0));
            }
            self.findings.messages += found.messages;
            self.findings.body_bytes += found.body_bytes;
        }
        // What is left is of queues that are not there: of deleted ones all has to be garbage.
        let strays = self.sums.iter().filter(|(_, sum)| sum.messages > 0);
        let strays: Vec<u32> = strays.map(|(id, _)| id.0).collect();
        for id in strays {
            self.findings
                .problem(format!("there are messages of queue {id}, which is not there"));
        }
        Ok(())
    }

    /// No row of shared bytes would go before the last segment that needs it.
    fn sharers(&mut self) -> Result<(), StoreError> {
        for (row, found) in &self.sharers {
            let noted: Option<i64> = self
                .connection
                .prepare_cached("SELECT segments FROM sharer WHERE id = ?1")
                .and_then(|mut select| select.query_row([row], |row| row.get(0)).optional())
                .map_err(database("count a shared row's segments"))?;
            let noted = noted.unwrap_or(0);
            if noted < *found {
                self.findings.problem(format!(
                    "{found} segments need shared row {row}; noted are {noted}"
                ));
            }
        }
        Ok(())
    }
}
