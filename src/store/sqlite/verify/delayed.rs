//! Delayed messages: each is whole and of an exchange that is there, and the sums fit.

use rusqlite::Connection;
use rustc_hash::FxHashMap;

use super::Findings;
use crate::store::sqlite::{database, delayed};
use crate::store::{QueueId, StoreError};

pub(super) fn look(connection: &Connection, findings: &mut Findings) -> Result<(), StoreError> {
    let mut found: FxHashMap<QueueId, (u64, u64)> = FxHashMap::default();
    delayed::each(connection, |delays, entry| match entry {
        Ok(entry) => {
            let sums = found.entry(delays).or_default();
            sums.0 += 1;
            sums.1 += entry.message.body_len() as u64;
        }
        Err(error) => findings.problem(error.to_string()),
    })?;
    for delays in delayed::AllDelays::open(connection)?.recovered() {
        let exchange = &delays.row.exchange;
        let is_there: bool = connection
            .query_row(
                "SELECT EXISTS (SELECT 1 FROM exchange WHERE vhost = ?1 AND name = ?2)",
                [&delays.row.vhost, exchange],
                |row| row.get(0),
            )
            .map_err(database("look for an exchange"))?;
        if !is_there {
            findings.problem(format!("exchange {exchange:?} delays messages and is not there"));
        }
        let (messages, body_bytes) = found.remove(&delays.row.id).unwrap_or_default();
        if (messages, body_bytes) != (delays.messages, delays.body_bytes) {
            findings.problem(format!(
                "exchange {exchange:?} delays {messages} messages of {body_bytes} bytes; noted are {} of {}",
                delays.messages, delays.body_bytes
            ));
        }
        findings.delayed += messages;
    }
    Ok(())
}
