//! A segment while it is being put together.

use super::extras::{Extra, Extras};
use super::segment::{Home, Record, Records};
use super::shared::Places;
use crate::store::{PublishEntry, StoreError};

/// A segment is closed when it holds so many bytes of its own.
const SEGMENT_BYTES: usize = 1 << 20;

/// A segment holds at most so many messages.
const SEGMENT_MESSAGES: u32 = 4096;

/// A segment that is being put together.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub records: Records,
    pub data: Vec<u8>,
    pub extras: Extras,
}

impl Draft {
    pub(super) fn add(&mut self, entry: &PublishEntry, places: &Places) {
        let message = &entry.message;
        let number = |len: usize| u32::try_from(len).expect("a message is below 4 GiB");
        let home = places.get(message).unwrap_or_else(|| {
            let offset = number(self.data.len());
            message.encode(&mut self.data);
            Home { row: 0, offset }
        });
        self.records.push(Record {
            position: entry.position.0,
            len: number(message.encoded_len()),
            body_len: number(message.body_len()),
            home,
            is_persistent: entry.is_persistent,
        });
        self.extras.push(Extra {
            expires_at: entry.expires_at,
            is_dead_letter: message.is_dead_letter(),
        });
    }

    /// Takes a record of another segment, whose data is given.
    pub(super) fn copy(&mut self, record: &Record, extra: Extra, data: &[u8]) -> Result<(), StoreError> {
        let mut record = *record;
        if record.home.row == 0 {
            let bytes = record.slice(data)?;
            record.home.offset = u32::try_from(self.data.len()).expect("a segment is below 4 GiB");
            self.data.extend_from_slice(bytes);
        }
        self.records.push(record);
        self.extras.push(extra);
        Ok(())
    }

    pub(super) fn is_full(&self) -> bool {
        self.data.len() >= SEGMENT_BYTES || self.records.count >= SEGMENT_MESSAGES
    }

    /// Keeps the allocation, unless one long message made it huge.
    pub(super) fn clear(&mut self) {
        self.data.clear();
        self.data.shrink_to(2 * SEGMENT_BYTES);
        self.extras.clear();
    }
}
