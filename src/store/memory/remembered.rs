//! What exchanges and queues remember of messages, in plain maps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::message::Message;
use crate::store::{HistoryRow, Keeper, KeyRow, MemoryChange, Recovered};

#[derive(Default)]
pub(super) struct Remembered {
    keys: BTreeSet<KeyRow>,
    history: BTreeMap<(Arc<Keeper>, u64), Message>,
}

impl Remembered {
    pub(super) fn apply(&mut self, change: MemoryChange) {
        match change {
            MemoryChange::RememberKey(row) => {
                self.keys.insert(row);
            }
            MemoryChange::ForgetKey(row) => {
                self.keys.remove(&row);
            }
            MemoryChange::ForgetKeys { keeper, before } => {
                self.keys
                    .retain(|row| row.keeper != keeper || row.expires_at >= before);
            }
            MemoryChange::RecordHistory(row) => {
                self.history.insert((row.keeper, row.place), row.message);
            }
            MemoryChange::ForgetHistory { keeper, before } => {
                self.history
                    .retain(|(other, place), _| *other != keeper || *place >= before);
            }
        }
    }

    pub(super) fn recover(&self, recovered: &mut Recovered) {
        recovered.keys = self.keys.iter().cloned().collect();
        let row = |((keeper, place), message): (&(Arc<Keeper>, u64), &Message)| HistoryRow {
            keeper: Arc::clone(keeper),
            place: *place,
            message: message.clone(),
        };
        recovered.history = self.history.iter().map(row).collect();
    }
}
