//! The store under test beside its model: both are given the same operations, and have to say the same.

use super::*;
use crate::store::memory::MemoryStore;
use crate::store::{ExpiringStretch, RecoveredLevel};

/// Both stores, at one point of a history.
pub struct Pair {
    directory: TempDir,
    sqlite: Option<SqliteStore>,
    memory: MemoryStore,
    is_held: bool,
}

impl Pair {
    pub fn new() -> Self {
        let directory = directory();
        let (sqlite, _) = open(directory.path());
        Self {
            directory,
            sqlite: Some(sqlite),
            memory: MemoryStore::default(),
            is_held: false,
        }
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn sqlite(&self) -> &SqliteStore {
        self.sqlite
            .as_ref()
            .expect("it is only away while it is opened again")
    }

    pub fn append(&self, make: impl Fn() -> Vec<Operation>) {
        self.sqlite().append(&mut make());
        self.memory.append(&mut make());
    }

    pub fn hold(&mut self) {
        if !self.is_held {
            self.sqlite().hold();
            self.memory.hold();
            self.is_held = true;
        }
    }

    pub fn release(&mut self) {
        if self.is_held {
            self.sqlite().release();
            self.memory.release();
            self.is_held = false;
        }
    }

    pub fn commit(&mut self) {
        self.release();
        commit(self.sqlite(), []);
        self.memory.commit_all();
    }

    /// Reads one page of both.
    pub fn compare(&self, queue: u32, from: u64, to: u64, messages_max: usize) {
        let ours = load(self.sqlite(), queue, from, to, messages_max);
        let model = self.load_model(request(queue, from, to, messages_max));
        assert_eq!(
            entries(&ours),
            entries(&model),
            "queue {queue} from {from} to {to}"
        );
        assert_eq!((ours.next, ours.expires_next), (model.next, model.expires_next));
    }

    /// Reads what has expired of both, page by page.
    pub fn compare_expired(&self, queue: u32, (from, to): (u64, u64), messages_max: usize, now: Timestamp) {
        let read = |load: &dyn Fn(PageRequest) -> Page| {
            let (mut found, mut expires_next, mut at) = (Vec::new(), None::<Timestamp>, from);
            while at < to {
                let mut request = request(queue, at, to, messages_max);
                request.expired_at = Some(now);
                let page = load(request);
                assert!(page.next.0 > at, "it goes on");
                assert!(page.entries.len() <= messages_max);
                found.extend(entries(&page));
                expires_next = expires_next.into_iter().chain(page.expires_next).min();
                at = page.next.0;
            }
            (found, expires_next)
        };
        let (ours, our_next) = read(&|request| load_page(self.sqlite(), request));
        let (model, model_next) = read(&|request| self.load_model(request));
        assert_eq!(ours, model, "queue {queue} from {from} to {to} at {now:?}");
        assert!(
            our_next.is_none_or(|next| next > now),
            "nobody asks again at once"
        );
        if let Some(model) = model_next {
            assert!(
                our_next.is_some_and(|next| next <= model),
                "{our_next:?} {model:?}"
            );
        }
    }

    fn load_model(&self, mut request: PageRequest) -> Page {
        let (sender, page) = mpsc::channel();
        request.sink = Arc::new(Sink(sender));
        self.memory.append(&mut vec![Operation::Load(request)]);
        self.memory.commit_all();
        assert!(self.memory.answer_load());
        page.recv().expect("it was just answered")
    }

    /// Ends both, cleanly or not, and compares what starts find. Gives the stretches that SQLite found for each
    /// number.
    pub fn reopen(&mut self, crashes: bool) -> Vec<(u32, Vec<ExpiringStretch>)> {
        self.commit();
        let old = self.sqlite.take().expect("it is there");
        if crashes {
            let copy = crashed_copy(self.directory.path());
            drop(old);
            self.directory = copy;
        } else {
            old.close().expect("a clean end");
            drop(old);
        }
        let (sqlite, ours) = open(self.directory.path());
        let (memory, model) = self.memory.crash();
        self.sqlite = Some(sqlite);
        self.memory = memory;
        assert_eq!(ours.next_queue, model.next_queue);
        assert_eq!(ours.queues.len(), model.queues.len());
        let mut expiring = Vec::new();
        for (ours, model) in ours.queues.iter().zip(&model.queues) {
            assert_eq!(ours.row, model.row);
            assert_eq!(ours.levels.len(), model.levels.len());
            for (ours, model) in ours.levels.iter().zip(&model.levels) {
                compare_levels(ours, model);
                expiring.push((ours.id.0, ours.expiring.clone()));
            }
        }
        expiring
    }
}

fn compare_levels(ours: &RecoveredLevel, model: &RecoveredLevel) {
    let sums = |level: &RecoveredLevel| (level.id, level.priority, level.messages, level.body_bytes);
    assert_eq!(sums(ours), sums(model));
    assert!(ours.first <= model.first || ours.messages == 0);
    assert!(ours.next <= model.next);
    let mut end = Position(0);
    for stretch in &ours.expiring {
        assert!(end <= stretch.from && stretch.from < stretch.to, "{stretch:?}");
        end = stretch.to;
    }
    assert!(end <= ours.next);
}

/// All that a page says of its messages, in a form that can be compared.
fn entries(page: &Page) -> Vec<String> {
    page.entries.iter().map(|entry| format!("{entry:?}")).collect()
}
