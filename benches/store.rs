//! What the store costs: messages per second and CPU seconds per million messages, each written and settled.
//!
//! `cargo bench --bench store` runs every case for about a second; `-- NAME` runs those whose line contains NAME.
//! The CPU is that of the whole process, which makes and drops the operations as well.

use std::env;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use amq_protocol::types::FieldTable;
use nix::sys::resource::{UsageWho, getrusage};

use leveret::message::Message;
use leveret::store::sqlite::{SqliteStore, StoreSettings};
use leveret::store::{
    Operation, Page, PageRequest, PageSink, Position, PublishEntry, QueueId, QueueRow, Store,
};

/// As the broker has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long a case runs.
const DURATION: Duration = Duration::from_secs(1);

/// delivery-mode 2.
const PERSISTENT: &[u8] = &[0x10, 0, 2];

/// Steady state: as many settled as published, so many messages deep.
#[derive(Clone, Copy)]
struct Steady {
    body_bytes: usize,
    group: u64,
    depth: u64,
    queues: u32,
    /// Every message goes to all queues.
    fanout: bool,
}

fn main() {
    let wanted: Vec<String> = env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part));
    println!("{:<44} {:>12} {:>10}", "case", "messages/s", "CPU s/M");
    for (body_bytes, group) in [
        (16, 1),
        (16, 10),
        (16, 100),
        (16, 1000),
        (16, 10_000),
        (128, 100),
        (128, 1000),
        (1024, 100),
        (1024, 1000),
        (1024, 10_000),
    ] {
        let case = Steady {
            body_bytes,
            group,
            depth: 10_000.max(group),
            queues: 1,
            fanout: false,
        };
        let name = format!("steady, {body_bytes} B, groups of {group}");
        if is_wanted(&name) {
            steady(&name, case);
        }
    }
    for (name, case) in special() {
        if is_wanted(name) {
            steady(name, case);
        }
    }
    if is_wanted("read pages") {
        read_pages();
    }
    if is_wanted("open") {
        open_deep();
    }
    if is_wanted("append and sync a file") {
        append_and_sync();
    }
}

fn special() -> [(&'static str, Steady); 4] {
    let case = Steady {
        body_bytes: 128,
        group: 1000,
        depth: 10_000,
        queues: 1,
        fanout: false,
    };
    [
        (
            "steady, 128 B, 1,000 over 100 queues",
            Steady { queues: 100, ..case },
        ),
        (
            "fanout, 1 KiB, 1,000 to each of 10 queues",
            Steady {
                queues: 10,
                body_bytes: 1024,
                fanout: true,
                ..case
            },
        ),
        (
            "steady, 128 B, groups of 100, 1 M deep",
            Steady {
                group: 100,
                depth: 1_000_000,
                ..case
            },
        ),
        (
            "steady, 128 B, groups of 1,000, 1 M deep",
            Steady {
                depth: 1_000_000,
                ..case
            },
        ),
    ]
}

fn steady(name: &str, case: Steady) {
    let directory = tempfile::tempdir_in(".").expect("a directory on the disk that is measured");
    let store = open(directory.path());
    commit(&store, &mut (0..case.queues).map(declare).collect());
    let mut next = 0;
    while next < case.depth {
        let count = 10_000.min(case.depth - next);
        commit(&store, &mut publish(case, next, count));
        next += count;
    }
    let (start, cpu, first) = (Instant::now(), cpu_seconds(), next);
    let mut longest = Duration::ZERO;
    while start.elapsed() < DURATION {
        let begun = Instant::now();
        let mut operations = publish(case, next, case.group);
        operations.extend(settle(case, next - case.depth, case.group));
        commit(&store, &mut operations);
        next += case.group;
        longest = longest.max(begun.elapsed());
    }
    let copies = if case.fanout { u64::from(case.queues) } else { 1 };
    report(
        name,
        (next - first) * copies,
        start.elapsed(),
        cpu_seconds() - cpu,
    );
    println!("{:>44} longest group {:.1} ms", "", longest.as_secs_f64() * 1e3);
    store.close().expect("a clean end");
}

fn publish(case: Steady, first: u64, count: u64) -> Vec<Operation> {
    let body = vec![7; case.body_bytes];
    let new = |_| Message::new(b"", b"queue", PERSISTENT, &body);
    let per_queue = if case.fanout {
        count
    } else {
        count.div_ceil(u64::from(case.queues))
    };
    let shared: Vec<Message> = (0..per_queue).map(new).collect();
    let first = if case.fanout {
        first
    } else {
        first / u64::from(case.queues)
    };
    (0..case.queues)
        .map(|queue| {
            let messages = shared.iter().enumerate().map(|(at, message)| {
                let message = if case.fanout || queue == 0 {
                    message.clone()
                } else {
                    new(0)
                };
                PublishEntry {
                    position: Position(first + at as u64),
                    message,
                    expires_at: None,
                    is_persistent: true,
                }
            });
            Operation::Publish {
                queue: QueueId(queue),
                messages: messages.collect(),
            }
        })
        .collect()
}

fn settle(case: Steady, first: u64, count: u64) -> impl Iterator<Item = Operation> {
    let parts = if case.fanout { 1 } else { u64::from(case.queues) };
    let (first, count) = (first / parts, count.div_ceil(parts));
    (0..case.queues).map(move |queue| Operation::Settle {
        queue: QueueId(queue),
        positions: (first..first + count).map(Position).collect(),
    })
}

fn read_pages() {
    let case = Steady {
        body_bytes: 128,
        group: 1000,
        depth: 0,
        queues: 1,
        fanout: false,
    };
    let directory = tempfile::tempdir_in(".").expect("a directory on the disk that is measured");
    let store = open(directory.path());
    commit(&store, &mut vec![declare(0)]);
    let depth = 300_000;
    for first in (0..depth).step_by(1000) {
        commit(&store, &mut publish(case, first, 1000));
    }
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let (sender, pages) = mpsc::channel();
    let (mut from, mut messages) = (Position(0), 0);
    while from < Position(depth) {
        store.append(&mut vec![Operation::Load(PageRequest {
            queue: QueueId(0),
            from,
            to: Position(depth),
            messages_max: 1000,
            bytes_max: 1 << 20,
            expired_at: None,
            tag: 0,
            sink: Arc::new(Sink(sender.clone())),
        })]);
        let page = pages.recv().expect("a page");
        messages += page.entries.len() as u64;
        from = page.next;
    }
    report(
        "read pages of 1,000, 128 B",
        messages,
        start.elapsed(),
        cpu_seconds() - cpu,
    );
}

/// A start must not depend on how many messages there are.
fn open_deep() {
    let case = Steady {
        body_bytes: 16,
        group: 10_000,
        depth: 0,
        queues: 1,
        fanout: false,
    };
    let directory = tempfile::tempdir_in(".").expect("a directory on the disk that is measured");
    let store = open(directory.path());
    commit(&store, &mut vec![declare(0)]);
    for first in (0..1_000_000).step_by(10_000) {
        commit(&store, &mut publish(case, first, 10_000));
    }
    drop(store);
    let start = Instant::now();
    let _store = open(directory.path());
    println!(
        "{:<44} {:>9.1} ms",
        "open, 1 M messages deep",
        start.elapsed().as_secs_f64() * 1e3
    );
}

/// The yardstick for groups of one: nothing durable can be faster.
fn append_and_sync() {
    let mut file = tempfile::tempfile_in(".").expect("a file on the disk that is measured");
    let (start, cpu, mut count) = (Instant::now(), cpu_seconds(), 0);
    while start.elapsed() < DURATION {
        append(&mut file);
        count += 1;
    }
    report(
        "append and sync a file, 64 B each",
        count,
        start.elapsed(),
        cpu_seconds() - cpu,
    );
}

fn append(file: &mut File) {
    file.write_all(&[7; 64])
        .and_then(|()| file.sync_data())
        .expect("a disk with room");
}

fn open(directory: &Path) -> SqliteStore {
    let on_failure = Box::new(|error| panic!("the store has failed: {error:?}"));
    let (store, _) =
        SqliteStore::open(directory, &StoreSettings::default(), on_failure).expect("an empty directory");
    store
}

fn declare(id: u32) -> Operation {
    Operation::DeclareQueue(QueueRow {
        id: QueueId(id),
        vhost: "/".into(),
        name: format!("queue-{id}").into(),
        durable: true,
        auto_delete: false,
        arguments: FieldTable::default(),
    })
}

/// Appends, and waits until it is on disk.
fn commit(store: &SqliteStore, operations: &mut Vec<Operation>) {
    let sequence = store.append(operations);
    let signal = Arc::new(Signal::default());
    if store.wake_when_committed(sequence, &Waker::from(Arc::clone(&signal))) {
        let mut is_set = signal.is_set.lock().expect("nobody panics with it");
        while !*is_set {
            is_set = signal.changed.wait(is_set).expect("nobody panics with it");
        }
    }
}

#[derive(Default)]
struct Signal {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        *self.is_set.lock().expect("nobody panics with it") = true;
        self.changed.notify_one();
    }
}

struct Sink(Sender<Page>);

impl PageSink for Sink {
    fn page_loaded(self: Arc<Self>, page: Page) {
        self.0.send(page).expect("the case waits for it");
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn report(name: &str, messages: u64, elapsed: Duration, cpu: f64) {
    let messages = messages as f64;
    let rate = messages / elapsed.as_secs_f64();
    println!("{name:<44} {rate:>12.0} {:>10.2}", cpu / messages * 1e6);
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of CPU are few")]
fn cpu_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask for its own usage");
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}
