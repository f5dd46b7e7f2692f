//! The last messages of an `x-recent-history` exchange, for those who are bound later.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::amqp::content;
use crate::amqp::field_table::{self, Value};
use crate::message::Message;
use crate::store::{HistoryRow, Keeper, MemoryChange, Operation, Sequence, Store};

/// Bytes of messages that a history keeps, beside the newest one.
const BYTES_MAX: usize = 16 << 20;

/// A message with this header set to true is not kept.
const NO_STORE: &[u8] = b"x-recent-history-no-store";

/// The messages, oldest first.
#[derive(Debug)]
pub struct History {
    keeper: Arc<Keeper>,
    /// Messages at most.
    length_max: usize,
    /// Where they survive a restart, whatever their delivery mode; none if the exchange does not.
    store: Option<Arc<dyn Store>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<(u64, Message)>,
    bytes: usize,
    /// The place of the next message.
    next: u64,
}

impl History {
    /// An empty one.
    pub fn new(keeper: Arc<Keeper>, length_max: usize, store: Option<Arc<dyn Store>>) -> Self {
        Self {
            keeper,
            length_max,
            store,
            state: Mutex::default(),
        }
    }

    /// Takes over what the store kept, oldest first.
    pub fn recover(&self, rows: &[HistoryRow]) {
        let mut state = self.state.lock();
        for row in rows {
            state.add(row.place, row.message.clone());
        }
        state.shorten(self.length_max);
    }

    /// Keeps a message that passes. Returns what has to be committed before it is safe.
    pub fn record(&self, message: &Message) -> Option<Sequence> {
        if is_not_to_be_kept(message.properties()) {
            return None;
        }
        let mut state = self.state.lock();
        let place = state.next;
        state.add(place, message.clone());
        let is_shorter = state.shorten(self.length_max);
        let mut operations = vec![
            MemoryChange::RecordHistory(HistoryRow {
                keeper: Arc::clone(&self.keeper),
                place,
                message: message.clone(),
            })
            .into(),
        ];
        if is_shorter {
            let forget = MemoryChange::ForgetHistory {
                keeper: Arc::clone(&self.keeper),
                before: state.messages.front().map_or(state.next, |(place, _)| *place),
            };
            operations.push(forget.into());
        }
        // Under the lock, so that the store forgets nothing that it learns later.
        self.store.as_ref().map(|store| store.append(&mut operations))
    }

    /// What it keeps, oldest first.
    pub fn messages(&self) -> Vec<Message> {
        let state = self.state.lock();
        state
            .messages
            .iter()
            .map(|(_, message)| message.clone())
            .collect()
    }

    /// The exchange is gone.
    pub fn forget_all(&self, operations: &mut Vec<Operation>) {
        if self.store.is_some() {
            let forget = MemoryChange::ForgetHistory {
                keeper: Arc::clone(&self.keeper),
                before: u64::MAX,
            };
            operations.push(forget.into());
        }
    }
}

impl State {
    fn add(&mut self, place: u64, message: Message) {
        self.bytes += message.memory_bytes();
        self.messages.push_back((place, message));
        self.next = place + 1;
    }

    /// Drops the oldest messages beyond the bounds; whether there were any. The newest stays, however long it is.
    fn shorten(&mut self, length_max: usize) -> bool {
        let before = self.messages.len();
        while self.messages.len() > length_max || (self.bytes > BYTES_MAX && self.messages.len() > 1) {
            let (_, oldest) = self.messages.pop_front().expect("there are messages");
            self.bytes -= oldest.memory_bytes();
        }
        self.messages.len() < before
    }
}

fn is_not_to_be_kept(properties: &[u8]) -> bool {
    let Some(entries) = content::headers_range(properties) else {
        return false;
    };
    field_table::lookup(&properties[entries], NO_STORE) == Some(Value::Bool(true))
}

#[cfg(test)]
mod tests {
    use amq_protocol::types::{AMQPValue, FieldTable};

    use crate::store::memory::MemoryStore;
    use crate::store::{DestinationKind, Recovered};

    use super::*;

    fn keeper() -> Arc<Keeper> {
        Arc::new(Keeper {
            vhost: "/".into(),
            kind: DestinationKind::Exchange,
            name: "news".into(),
        })
    }

    fn message(body: &[u8]) -> Message {
        Message::new(b"news", b"", &[0, 0], body)
    }

    fn bodies(history: &History) -> Vec<String> {
        let body = |message: &Message| String::from_utf8_lossy(message.body()).into_owned();
        history.messages().iter().map(body).collect()
    }

    #[test]
    fn it_keeps_the_last_ones_in_their_order() {
        let history = History::new(keeper(), 3, None);
        for body in ["a", "b", "c", "d", "e"] {
            assert_eq!(history.record(&message(body.as_bytes())), None);
        }
        assert_eq!(bodies(&history), ["c", "d", "e"]);
    }

    #[test]
    fn it_is_bounded_in_bytes_but_for_the_newest() {
        let history = History::new(keeper(), 100, None);
        for _ in 0..5 {
            history.record(&message(&vec![0; BYTES_MAX / 3]));
        }
        assert_eq!(history.messages().len(), 2);
        history.record(&message(&vec![0; BYTES_MAX + 1]));
        assert_eq!(history.messages().len(), 1);
        history.record(&message(b"short"));
        assert_eq!(bodies(&history), ["short"]);
    }

    #[test]
    fn a_message_may_ask_not_to_be_kept() {
        let with = |value: AMQPValue| {
            let mut table = FieldTable::default();
            table.insert("x-recent-history-no-store".into(), value);
            let mut entries = Vec::new();
            field_table::write(&mut entries, &table);
            Message::new(b"", b"", &content::with_headers(&[0, 0], Some(&entries)), b"kept")
        };
        let history = History::new(keeper(), 3, None);
        history.record(&with(AMQPValue::Boolean(true)));
        assert_eq!(bodies(&history), [""; 0]);
        history.record(&with(AMQPValue::Boolean(false)));
        history.record(&with(AMQPValue::LongString("true".into())));
        assert_eq!(bodies(&history), ["kept", "kept"]);
    }

    #[test]
    fn it_comes_back_with_what_was_committed_and_goes_on_from_there() {
        let restart = |store: &MemoryStore| -> (Arc<MemoryStore>, Recovered) {
            let (store, recovered) = store.crash();
            (Arc::new(store), recovered)
        };
        let (store, _) = restart(&MemoryStore::default());
        let stored = |store: &Arc<MemoryStore>| Some(Arc::clone(store) as Arc<dyn Store>);
        let history = History::new(keeper(), 2, stored(&store));
        for body in ["a", "b", "c"] {
            assert!(history.record(&message(body.as_bytes())).is_some());
        }
        store.commit_all();
        history.record(&message(b"lost"));
        let (store, recovered) = restart(&store);
        let history = History::new(keeper(), 2, stored(&store));
        history.recover(&recovered.history);
        assert_eq!(bodies(&history), ["b", "c"]);
        history.record(&message(b"d"));
        store.commit_all();
        let (_, recovered) = restart(&store);
        let places: Vec<_> = recovered.history.iter().map(|row| row.place).collect();
        assert_eq!(places, [2, 3]);
        let mut operations = Vec::new();
        history.forget_all(&mut operations);
        assert_eq!(operations.len(), 1);
    }
}
