//! The store on real files: what survives, and what is refused.

use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use amq_protocol::types::FieldTable;
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::clock::Timestamp;
use crate::message::Message;
use crate::store::{
    BindingRow, DestinationKind, ExchangeRow, Page, PageRequest, PageSink, Position, PublishEntry, QueueId,
    QueueRow,
};

mod access;
mod copy;
mod crash;
mod definitions;
mod delayed;
mod expiry;
mod histories;
mod holds;
mod levels;
mod log;
mod messages;
mod migration;
mod pair;
mod refusals;
mod remembered;
mod step;
mod verify;

const DEADLINE: Duration = Duration::from_secs(30);

/// delivery-mode 2 and 1 as property bytes.
const PERSISTENT: &[u8] = &[0x10, 0, 2];
const TRANSIENT: &[u8] = &[0x10, 0, 1];

struct Sink(Sender<Page>);

impl PageSink for Sink {
    fn page_loaded(self: Arc<Self>, page: Page) {
        self.0.send(page).expect("the test waits for it");
    }
}

fn open(directory: &Path) -> (SqliteStore, Recovered) {
    open_with(directory, &StoreSettings::default())
}

fn open_with(directory: &Path, settings: &StoreSettings) -> (SqliteStore, Recovered) {
    let failed = Box::new(|error| panic!("the store has failed: {error:?}"));
    SqliteStore::open(directory, settings, failed).expect("a store that opens")
}

fn directory() -> TempDir {
    TempDir::new().expect("a temporary directory")
}

fn queue_row(id: u32) -> QueueRow {
    QueueRow {
        id: QueueId(id),
        vhost: "/".into(),
        name: format!("q{id}").into(),
        durable: true,
        auto_delete: false,
        arguments: FieldTable::default(),
    }
}

fn message(properties: &[u8], body: &[u8]) -> Message {
    Message::new(b"", b"key", properties, body)
}

/// A message that enters as its properties say.
fn entry(position: u64, message: Message) -> PublishEntry {
    PublishEntry {
        position: Position(position),
        is_persistent: message.is_persistent(),
        expires_at: None,
        message,
    }
}

fn publish(queue: u32, positions: std::ops::Range<u64>) -> Operation {
    let with_body = |at: u64| entry(at, message(PERSISTENT, format!("body {at}").as_bytes()));
    Operation::Publish {
        queue: QueueId(queue),
        messages: positions.map(with_body).collect(),
    }
}

fn settle(queue: u32, positions: impl IntoIterator<Item = u64>) -> Operation {
    Operation::Settle {
        queue: QueueId(queue),
        positions: positions.into_iter().map(Position).collect(),
    }
}

/// Appends, and waits until it is on disk.
fn commit(store: &dyn Store, operations: impl IntoIterator<Item = Operation>) {
    let mut operations: Vec<Operation> = operations.into_iter().collect();
    operations.push(Operation::MarkDelivered {
        queue: QueueId(u32::MAX >> 8),
        before: Position(0),
    });
    let sequence = store.append(&mut operations);
    let (sender, woken) = mpsc::channel();
    if store.wake_when_committed(sequence, &Waker::from(Arc::new(Wake(sender)))) {
        woken.recv_timeout(DEADLINE).expect("a commit in time");
    }
    assert!(store.committed() >= sequence);
}

struct Wake(Sender<()>);

impl std::task::Wake for Wake {
    fn wake(self: Arc<Self>) {
        // A test that has failed waits no more.
        let _ = self.0.send(());
    }
}

/// A wish to read; [`load_page`] puts in who takes the page.
fn request(queue: u32, from: u64, to: u64, messages_max: usize) -> PageRequest {
    PageRequest {
        queue: QueueId(queue),
        from: Position(from),
        to: Position(to),
        messages_max,
        bytes_max: usize::MAX,
        expired_at: None,
        tag: queue + 1000,
        sink: Arc::new(Sink(mpsc::channel().0)),
    }
}

fn load_page(store: &dyn Store, mut request: PageRequest) -> Page {
    let (sender, page) = mpsc::channel();
    let tag = request.tag;
    request.sink = Arc::new(Sink(sender));
    store.append(&mut vec![Operation::Load(request)]);
    let page = page.recv_timeout(DEADLINE).expect("a page in time");
    assert_eq!(page.tag, tag);
    page
}

fn load(store: &dyn Store, queue: u32, from: u64, to: u64, messages_max: usize) -> Page {
    load_page(store, request(queue, from, to, messages_max))
}

/// Reads those that expire at `now` or before.
fn load_expired(store: &dyn Store, queue: u32, from: u64, to: u64, now: u64) -> Page {
    let mut request = request(queue, from, to, usize::MAX);
    request.expired_at = Some(at(now));
    load_page(store, request)
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn positions(page: &Page) -> Vec<u64> {
    page.entries.iter().map(|entry| entry.position.0).collect()
}

/// A second look at the file, while the store is open.
fn count(directory: &Path, table: &str) -> i64 {
    Connection::open(directory.join("leveret.db"))
        .and_then(|connection| {
            connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
        })
        .expect("a count of rows")
}

/// What a crash at this moment would leave: the files as they are, in another directory.
fn crashed_copy(directory: &Path) -> TempDir {
    let copy = self::directory();
    // The log first: a checkpoint between the two then leaves frames that are moved once more.
    for name in ["leveret.db-wal", "leveret.db"] {
        std::fs::copy(directory.join(name), copy.path().join(name)).expect("a copy");
    }
    copy
}

/// Waits for what happens in the background.
fn eventually(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "it did not happen in time");
        thread::yield_now();
    }
}
