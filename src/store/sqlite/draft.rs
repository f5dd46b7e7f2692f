//! A segment while it is being put together.

use super::segment::{Home, Record, Records};
use super::shared::Places;
use crate::message::Message;
use crate::store::StoreError;

/// A segment is closed when it holds so many bytes of its own.
const SEGMENT_BYTES: usize = 1 << 20;

/// A segment holds at most so many messages.
const SEGMENT_MESSAGES: u32 = 4096;

/// A segment that is being put together.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub records: Records,
    pub data: Vec<u8>,
}

impl Draft {
    pub(super) fn add(&mut self, position: u64, message: &Message, places: &Places) {
        let bytes = message.encoded();
        let number = |len: usize| u32::try_from(len).expect("a message is below 4 GiB");
        let home = places.get(message).unwrap_or_else(|| {
            let offset = number(self.data.len());
            self.data.extend_from_slice(bytes);
            Home { row: 0, offset }
        });
        self.records.push(Record {
            position,
            len: number(bytes.len()),
            body_len: number(message.body().len()),
            home,
            is_persistent: message.is_persistent(),
        });
    }

    /// Takes a record of another segment, whose data is given.
    pub(super) fn copy(&mut self, record: &Record, data: &[u8]) -> Result<(), StoreError> {
        let mut record = *record;
        if record.home.row == 0 {
            let bytes = record.slice(data)?;
            record.home.offset = u32::try_from(self.data.len()).expect("a segment is below 4 GiB");
            self.data.extend_from_slice(bytes);
        }
        self.records.push(record);
        Ok(())
    }

    pub(super) fn is_full(&self) -> bool {
        self.data.len() >= SEGMENT_BYTES || self.records.count >= SEGMENT_MESSAGES
    }

    /// Keeps the allocation, unless one long message made it huge.
    pub(super) fn clear(&mut self) {
        self.data.clear();
        self.data.shrink_to(2 * SEGMENT_BYTES);
    }
}
