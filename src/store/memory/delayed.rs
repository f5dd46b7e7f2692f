//! Delayed messages as the memory store keeps them: a map in the order in which they are due.

use std::collections::BTreeMap;

use crate::message::Message;
use crate::store::{
    DelayedEntry, DelayedId, DelayedPage, DelayedRequest, DelaysRow, Operation, Position, QueueId,
    RecoveredDelays,
};

/// All of them, by exchange.
#[derive(Default)]
pub(super) struct AllDelays(BTreeMap<QueueId, Delays>);

struct Delays {
    row: DelaysRow,
    messages: BTreeMap<DelayedId, DelayedEntry>,
    next: Position,
}

impl AllDelays {
    /// Applies an operation that is for these.
    pub(super) fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::DeclareDelays(row) => {
                let delays = Delays {
                    row,
                    messages: BTreeMap::new(),
                    next: Position(0),
                };
                self.0.entry(delays.row.id).or_insert(delays);
            }
            Operation::DeleteDelays(id) => {
                self.0.remove(&id);
            }
            Operation::Delay { delays, entry } => {
                if let Some(delays) = self.0.get_mut(&delays) {
                    delays.next = delays.next.max(Position(entry.id.position.0 + 1));
                    delays.messages.insert(entry.id, entry);
                }
            }
            Operation::EndDelay { delays, ids } => {
                if let Some(delays) = self.0.get_mut(&delays) {
                    for id in ids {
                        delays.messages.remove(&id);
                    }
                }
            }
            _ => {}
        }
    }

    pub(super) fn read(&self, request: &DelayedRequest) -> DelayedPage {
        let mut page = DelayedPage::default();
        let Some(delays) = self.0.get(&request.delays) else {
            return page;
        };
        let mut bytes = 0;
        for (id, entry) in delays.messages.range(request.from..) {
            let count = page.entries.len();
            if count > 0 && (count >= request.messages_max || bytes >= request.bytes_max) {
                page.next = Some(*id);
                break;
            }
            bytes += entry.message.memory_bytes();
            page.entries.push(entry.clone());
        }
        page
    }

    pub(super) fn messages(&self) -> impl Iterator<Item = &Message> {
        self.0
            .values()
            .flat_map(|delays| delays.messages.values().map(|entry| &entry.message))
    }

    pub(super) fn recover(&self) -> Vec<RecoveredDelays> {
        let delays = self.0.values().map(|delays| RecoveredDelays {
            row: delays.row.clone(),
            messages: delays.messages.len() as u64,
            body_bytes: delays
                .messages
                .values()
                .map(|entry| entry.message.body_len() as u64)
                .sum(),
            next: delays.next,
        });
        delays.collect()
    }
}
