//! Random histories on both stores, compared step by step.

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::prelude::*;

use super::step::{Step, step};
use super::*;
use crate::store::memory::MemoryStore;

/// What the broker would know of a queue.
#[derive(Default)]
struct Known {
    id: u32,
    next: u64,
    /// Stored and not settled: persistent or not, body bytes.
    live: BTreeMap<u64, (bool, u64)>,
    /// Places of transient messages in memory.
    kept: Vec<u64>,
}

/// Both stores, driven with the same operations.
struct Pair {
    directory: TempDir,
    sqlite: Option<SqliteStore>,
    memory: MemoryStore,
    queues: Vec<Known>,
    next_id: u32,
    is_held: bool,
}

impl Pair {
    fn new() -> Self {
        let directory = directory();
        let (sqlite, _) = open(directory.path());
        let mut pair = Self {
            directory,
            sqlite: Some(sqlite),
            memory: MemoryStore::default(),
            queues: Vec::new(),
            next_id: 1,
            is_held: false,
        };
        for _ in 0..3 {
            let queue = pair.declare();
            pair.queues.push(queue);
        }
        pair
    }

    fn sqlite(&self) -> &SqliteStore {
        self.sqlite
            .as_ref()
            .expect("it is only away while it is opened again")
    }

    fn append(&self, make: impl Fn() -> Vec<Operation>) {
        self.sqlite().append(&mut make());
        self.memory.append(&mut make());
    }

    fn declare(&mut self) -> Known {
        let id = self.next_id;
        self.next_id += 1;
        self.append(|| vec![Operation::DeclareQueue(queue_row(id))]);
        Known {
            id,
            ..Known::default()
        }
    }

    fn release(&mut self) {
        if self.is_held {
            self.sqlite().release();
            self.memory.release();
            self.is_held = false;
        }
    }

    fn commit(&mut self) {
        self.release();
        commit(self.sqlite(), []);
        self.memory.commit_all();
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Publish {
                queue,
                count,
                transient,
                body,
            } => self.publish(queue, count, transient, body),
            Step::Fanout { body } => self.fanout(body),
            Step::Spill { queue } => self.spill(queue),
            Step::Settle {
                queue,
                from,
                count,
                step,
            } => self.settle(queue, from, count, step),
            Step::Purge { queue, from } => self.purge(queue, from),
            Step::Return { queue, at, count } => self.put_back(queue, at, count),
            Step::Mark { queue, before } => {
                let known = &self.queues[usize::from(queue)];
                let before = Position(if before > 200 { u64::MAX } else { u64::from(before) });
                let queue = QueueId(known.id);
                self.append(|| vec![Operation::MarkDelivered { queue, before }]);
            }
            Step::Delete { queue } => {
                let old = self.queues[usize::from(queue)].id;
                self.append(|| vec![Operation::DeleteQueue(QueueId(old))]);
                self.queues[usize::from(queue)] = self.declare();
            }
            Step::Hold if !self.is_held => {
                self.sqlite().hold();
                self.memory.hold();
                self.is_held = true;
            }
            Step::Hold => {}
            Step::Release => self.release(),
            Step::Commit => self.commit(),
            Step::Load {
                queue,
                from,
                messages_max,
            } => {
                self.commit();
                let known = &self.queues[usize::from(queue)];
                let from = u64::from(from) % (known.next + 1);
                self.compare(known.id, from, known.next, usize::from(messages_max));
            }
            Step::Reopen | Step::Crash => self.reopen(matches!(step, Step::Crash)),
        }
    }

    fn publish(&mut self, queue: u8, count: u8, transient: u8, body: u16) {
        let known = &mut self.queues[usize::from(queue)];
        let mut messages = Vec::new();
        for nth in 0..count {
            let position = known.next;
            known.next += 1;
            let is_transient = transient & 1 << (nth % 8) != 0;
            if is_transient && transient.is_multiple_of(3) {
                known.kept.push(position);
                continue;
            }
            let properties = if is_transient { TRANSIENT } else { PERSISTENT };
            let body = vec![nth; usize::from(body) / usize::from(1 + nth % 2)];
            known.live.insert(position, (!is_transient, body.len() as u64));
            messages.push((Position(position), message(properties, &body)));
        }
        let queue = QueueId(known.id);
        self.append(|| {
            let messages = messages.clone();
            vec![Operation::Publish { queue, messages }]
        });
    }

    fn fanout(&mut self, body: u16) {
        let shared = message(PERSISTENT, &vec![1; usize::from(body)]);
        let mut entries = Vec::new();
        for known in &mut self.queues {
            known.live.insert(known.next, (true, u64::from(body)));
            entries.push((QueueId(known.id), Position(known.next)));
            known.next += 1;
        }
        self.append(|| {
            let publish = |(queue, position): &(QueueId, Position)| Operation::Publish {
                queue: *queue,
                messages: vec![(*position, shared.clone())],
            };
            entries.iter().map(publish).collect()
        });
    }

    fn spill(&mut self, queue: u8) {
        let known = &mut self.queues[usize::from(queue)];
        let kept = std::mem::take(&mut known.kept);
        for position in &kept {
            known.live.insert(*position, (false, 4));
        }
        let queue = QueueId(known.id);
        self.append(|| {
            let late = |position: &u64| (Position(*position), message(TRANSIENT, b"late"));
            let messages = kept.iter().map(late).collect();
            vec![Operation::Publish { queue, messages }]
        });
    }

    fn settle(&mut self, queue: u8, from: u8, count: u8, step: u8) {
        let known = &mut self.queues[usize::from(queue)];
        let start = usize::from(from) * known.live.len() / 256;
        let positions: Vec<u64> = known
            .live
            .keys()
            .copied()
            .skip(start)
            .step_by(usize::from(step))
            .collect();
        let mut positions: Vec<u64> = positions.into_iter().take(usize::from(count)).collect();
        for position in &positions {
            known.live.remove(position);
        }
        if count.is_multiple_of(2) {
            positions.reverse();
        }
        let queue = known.id;
        self.append(|| vec![settle(queue, positions.clone())]);
    }

    fn purge(&mut self, queue: u8, from: u8) {
        let known = &mut self.queues[usize::from(queue)];
        let from = u64::from(from) * known.next / 256;
        let gone = known.live.split_off(&from);
        known.kept.retain(|position| *position < from);
        let persistent = || gone.values().filter(|(is_persistent, _)| *is_persistent);
        let (messages, body_bytes) = (
            persistent().count() as u64,
            persistent().map(|(_, bytes)| bytes).sum(),
        );
        let (queue, to) = (QueueId(known.id), Position(known.next));
        self.append(|| {
            vec![Operation::SettleRange {
                queue,
                from: Position(from),
                to,
                messages,
                body_bytes,
            }]
        });
    }

    fn put_back(&mut self, queue: u8, at: u8, count: u8) {
        let known = &self.queues[usize::from(queue)];
        let bounds = (Bound::Included(u64::from(at)), Bound::Unbounded);
        if let Some((position, _)) = known.live.range(bounds).next() {
            let (queue, position) = (QueueId(known.id), Position(*position));
            self.append(|| {
                vec![Operation::Return {
                    queue,
                    position,
                    delivery_count: u32::from(count),
                }]
            });
        }
    }

    fn compare(&self, queue: u32, from: u64, to: u64, messages_max: usize) {
        let ours = load(self.sqlite(), queue, from, to, messages_max);
        let (sender, page) = mpsc::channel();
        self.memory.append(&mut vec![Operation::Load(PageRequest {
            queue: QueueId(queue),
            from: Position(from),
            to: Position(to),
            messages_max,
            bytes_max: usize::MAX,
            sink: Arc::new(Sink(sender)),
        })]);
        self.memory.commit_all();
        assert!(self.memory.answer_load());
        let model = page.recv().expect("it was just answered");
        let entry = |entry: &PageEntry| {
            let body = entry.message.body().to_vec();
            (entry.position, body, entry.delivery_count, entry.redelivered)
        };
        let entries = |page: &Page| page.entries.iter().map(entry).collect::<Vec<_>>();
        assert_eq!(
            entries(&ours),
            entries(&model),
            "queue {queue} from {from} to {to}"
        );
        assert_eq!(ours.next, model.next);
    }

    fn reopen(&mut self, crashes: bool) {
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
        for (ours, model) in ours.queues.iter().zip(&model.queues) {
            assert_eq!(ours.row, model.row);
            assert_eq!(
                (ours.messages, ours.body_bytes),
                (model.messages, model.body_bytes),
                "{:?}",
                ours.row.id
            );
            assert!(ours.first <= model.first || ours.messages == 0);
            assert!(ours.next <= model.next);
        }
        for known in &mut self.queues {
            known.kept.clear();
            known.live.retain(|_, (is_persistent, _)| *is_persistent);
        }
        for known in &self.queues {
            self.compare(known.id, 0, known.next, usize::MAX);
        }
    }

    /// At the end nothing may be left over.
    fn drain(&mut self) {
        for queue in 0..3 {
            self.settle(queue, 0, u8::MAX, 1);
            while !self.queues[usize::from(queue)].live.is_empty() {
                self.settle(queue, 0, u8::MAX, 1);
            }
        }
        self.reopen(false);
        let tables = ["segment", "settled", "returned", "shared", "sharer", "garbage"];
        eventually(|| {
            tables
                .iter()
                .all(|table| count(self.directory.path(), table) == 0)
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 400, ..ProptestConfig::default() })]
    #[test]
    fn every_history_reads_as_the_model_has_it(steps in prop::collection::vec(step(), 1..60)) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.take(step);
        }
        pair.drain();
    }
}
