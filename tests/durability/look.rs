//! What a start would find in a data directory: opened in this process, read to the end, and closed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, mpsc};

use leveret::store::sqlite::{Durability, SqliteStore, StoreSettings};
use leveret::store::{Operation, Page, PageRequest, PageSink, Position, RecoveredLevel, Store, StoreError};

use crate::support::{DEADLINE, eventually};

/// Bytes of a message's body that tell it from others.
pub const ID_BYTES: usize = 4;

/// All that is there, as far as the tests make it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Ready messages of each queue.
    pub queues: BTreeMap<String, Vec<u32>>,
    pub exchanges: BTreeSet<String>,
    /// Source and destination.
    pub bindings: BTreeSet<(String, String)>,
    pub delayed: u64,
}

struct Sink(mpsc::Sender<Result<Page, String>>);

impl PageSink for Sink {
    fn page_loaded(self: Arc<Self>, page: Page) {
        drop(self.0.send(Ok(page)));
    }
}

/// Opens, reads and closes.
///
/// # Errors
/// Why it can not be opened, or not read.
pub fn look(directory: &Path) -> Result<Look, String> {
    let (sender, answers) = mpsc::channel();
    let settings = StoreSettings {
        // What it writes is never looked at.
        durability: Durability::Off,
        ..StoreSettings::default()
    };
    let open = || {
        let failure = sender.clone();
        let failed = Box::new(move |error| drop(failure.send(Err(format!("{error:?}")))));
        match SqliteStore::open(directory, &settings, failed) {
            // A process that another test has forked has the last lock until it begins its program.
            Err(StoreError::Unusable { reason, .. }) if reason.contains("another process") => None,
            opened => Some(opened.map_err(|error| format!("{error:?}"))),
        }
    };
    let (store, recovered) = eventually("the lock of the last look is gone", open)?;
    let mut look = Look {
        exchanges: recovered
            .exchanges
            .iter()
            .map(|row| row.name.to_string())
            .collect(),
        bindings: recovered
            .bindings
            .iter()
            .map(|row| (row.source.to_string(), row.destination.to_string()))
            .collect(),
        delayed: recovered.delays.iter().map(|delays| delays.messages).sum(),
        queues: BTreeMap::new(),
    };
    let sink = Arc::new(Sink(sender));
    for queue in &recovered.queues {
        let mut messages = Vec::new();
        for level in &queue.levels {
            messages.extend(read(&store, level, &sink, &answers)?);
        }
        look.queues.insert(queue.row.name.to_string(), messages);
    }
    store.close().map_err(|error| format!("{error:?}"))?;
    Ok(look)
}

fn read(
    store: &SqliteStore,
    level: &RecoveredLevel,
    sink: &Arc<Sink>,
    answers: &mpsc::Receiver<Result<Page, String>>,
) -> Result<Vec<u32>, String> {
    let mut from = Position(0);
    let mut messages = Vec::new();
    while from < level.next {
        let request = PageRequest {
            queue: level.id,
            from,
            to: level.next,
            messages_max: 1000,
            bytes_max: 1 << 20,
            expired_at: None,
            tag: 0,
            sink: Arc::clone(sink) as Arc<dyn PageSink>,
        };
        store.append(&mut vec![Operation::Load(request)]);
        let page = answers.recv_timeout(DEADLINE).expect("a page, or a failure")?;
        let number = |body: &[u8]| u32::from_be_bytes(body[..ID_BYTES].try_into().unwrap());
        messages.extend(page.entries.iter().map(|entry| number(entry.message.body())));
        assert!(page.next > from, "a page gets on");
        from = page.next;
    }
    Ok(messages)
}
