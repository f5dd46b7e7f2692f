//! Random histories on both stores, compared step by step.

use std::collections::BTreeMap;
use std::ops::Bound;

use proptest::prelude::*;

use super::pair::Pair;
use super::step::{NUMBERS, QUEUES, Step, step};
use super::*;
use crate::store::LevelRow;

/// What the broker would know of what is kept under one number.
#[derive(Default)]
struct Known {
    id: u32,
    next: u64,
    /// Stored and not settled.
    live: BTreeMap<u64, Live>,
    /// Places of transient messages in memory.
    kept: Vec<u64>,
}

#[derive(Clone, Copy)]
struct Live {
    is_persistent: bool,
    body_bytes: u64,
    expires_at: Option<Timestamp>,
}

/// Both stores, and what the broker would know of them.
struct History {
    pair: Pair,
    /// Those of the queues, then those of the levels: the first level is part of the first queue, and so on.
    numbers: Vec<Known>,
    next_id: u32,
}

/// An entry as a history has it: bit 0 lets it expire, 1 makes it a dead letter, 2 makes the queue persist what is
/// transient, 3 lets it expire together with the others.
fn special(mut entry: PublishEntry, special: u8, nth: u8) -> PublishEntry {
    if special & 1 != 0 && (special & 8 != 0 || !nth.is_multiple_of(3)) {
        let jitter = if special & 8 != 0 { 0 } else { nth };
        entry.expires_at = Some(at(u64::from((special >> 4) + jitter % 8)));
    }
    if special & 2 != 0 && !nth.is_multiple_of(5) {
        let message = &entry.message;
        entry.message = Message::dead_letter(b"dlx", b"key", message.properties(), message.body());
    }
    entry.is_persistent |= special & 4 != 0;
    entry
}

impl History {
    fn new() -> Self {
        let mut history = Self {
            pair: Pair::new(),
            numbers: Vec::new(),
            next_id: 1,
        };
        for number in 0..NUMBERS {
            let known = history.declare(number);
            history.numbers.push(known);
        }
        history
    }

    fn declare(&mut self, number: u8) -> Known {
        let id = self.next_id;
        self.next_id += 1;
        let queue = number
            .checked_sub(QUEUES)
            .map(|queue| QueueId(self.numbers[usize::from(queue)].id));
        self.pair.append(|| {
            let declaration = match queue {
                None => Operation::DeclareQueue(queue_row(id)),
                Some(queue) => Operation::DeclareLevel(LevelRow {
                    id: QueueId(id),
                    queue,
                    priority: number,
                }),
            };
            vec![declaration]
        });
        Known {
            id,
            ..Known::default()
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Publish {
                queue,
                count,
                transient,
                special,
                body,
            } => self.publish(queue, count, (transient, special), body),
            Step::Fanout { body } => self.fanout(body),
            Step::Spill { queue, special } => self.spill(queue, special),
            Step::Settle {
                queue,
                from,
                count,
                step,
            } => self.settle(queue, from, count, step),
            Step::Purge { queue, from } => self.purge(queue, from),
            Step::Return { queue, at, count } => self.put_back(queue, at, count),
            Step::Mark { queue, before } => {
                let known = &self.numbers[usize::from(queue)];
                let before = Position(if before > 200 { u64::MAX } else { u64::from(before) });
                let queue = QueueId(known.id);
                self.pair
                    .append(|| vec![Operation::MarkDelivered { queue, before }]);
            }
            Step::Delete { queue } => self.delete(queue),
            Step::Hold => self.pair.hold(),
            Step::Release => self.pair.release(),
            Step::Commit => {
                self.pair.commit();
                verify::assert_sound(self.pair.directory());
            }
            Step::Load {
                queue,
                from,
                messages_max,
                expired_at,
            } => {
                self.pair.commit();
                let known = &self.numbers[usize::from(queue)];
                let (id, from, to) = (known.id, u64::from(from) % (known.next + 1), known.next);
                let messages_max = usize::from(messages_max);
                match expired_at {
                    None => self.pair.compare(id, from, to, messages_max),
                    Some(now) => self
                        .pair
                        .compare_expired(id, (from, to), messages_max, at(u64::from(now))),
                }
            }
            Step::Reopen | Step::Crash => self.reopen(matches!(step, Step::Crash)),
        }
    }

    fn publish(&mut self, queue: u8, count: u8, (transient, extra): (u8, u8), body: u16) {
        let known = &mut self.numbers[usize::from(queue)];
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
            let entry = special(entry(position, message(properties, &body)), extra, nth);
            known.add(&entry);
            messages.push(entry);
        }
        let queue = QueueId(known.id);
        self.pair.append(|| {
            let messages = messages.clone();
            vec![Operation::Publish { queue, messages }]
        });
    }

    fn fanout(&mut self, body: u16) {
        let shared = message(PERSISTENT, &vec![1; usize::from(body)]);
        let mut entries = Vec::new();
        for (nth, known) in self.numbers.iter_mut().enumerate() {
            let mut entry = entry(known.next, shared.clone());
            entry.expires_at = nth.is_multiple_of(2).then(|| at(nth as u64 + 10));
            known.add(&entry);
            entries.push((QueueId(known.id), entry));
            known.next += 1;
        }
        self.pair.append(|| {
            let publish = |(queue, entry): &(QueueId, PublishEntry)| Operation::Publish {
                queue: *queue,
                messages: vec![entry.clone()],
            };
            entries.iter().map(publish).collect()
        });
    }

    fn spill(&mut self, queue: u8, extra: u8) {
        let known = &mut self.numbers[usize::from(queue)];
        let late = std::mem::take(&mut known.kept).into_iter().zip(0..);
        let late = late.map(|(at, nth)| special(entry(at, message(TRANSIENT, b"late")), extra & !4, nth));
        let messages: Vec<PublishEntry> = late.collect();
        for entry in &messages {
            known.add(entry);
        }
        let queue = QueueId(known.id);
        self.pair.append(|| {
            let messages = messages.clone();
            vec![Operation::Publish { queue, messages }]
        });
    }

    fn settle(&mut self, queue: u8, from: u8, count: u8, step: u8) {
        let known = &mut self.numbers[usize::from(queue)];
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
        self.pair.append(|| vec![settle(queue, positions.clone())]);
    }

    fn purge(&mut self, queue: u8, from: u8) {
        let known = &mut self.numbers[usize::from(queue)];
        let from = u64::from(from) * known.next / 256;
        let gone = known.live.split_off(&from);
        known.kept.retain(|position| *position < from);
        let persistent = || gone.values().filter(|live| live.is_persistent);
        let (messages, body_bytes) = (
            persistent().count() as u64,
            persistent().map(|live| live.body_bytes).sum(),
        );
        let (queue, to) = (QueueId(known.id), Position(known.next));
        self.pair.append(|| {
            vec![Operation::SettleRange {
                queue,
                from: Position(from),
                to,
                messages,
                body_bytes,
            }]
        });
    }

    fn put_back(&mut self, queue: u8, from: u8, count: u8) {
        let known = &self.numbers[usize::from(queue)];
        let bounds = (Bound::Included(u64::from(from)), Bound::Unbounded);
        if let Some((position, _)) = known.live.range(bounds).next() {
            let (queue, position) = (QueueId(known.id), Position(*position));
            self.pair.append(|| {
                vec![Operation::Return {
                    queue,
                    position,
                    delivery_count: u32::from(count),
                    rests_until: count.is_multiple_of(2).then(|| at(u64::from(from))),
                }]
            });
        }
    }

    /// With its level, if it has one.
    fn delete(&mut self, number: u8) {
        let level = (number + QUEUES < NUMBERS).then_some(number + QUEUES);
        let gone: Vec<u8> = level.into_iter().chain([number]).collect();
        let ids: Vec<u32> = gone
            .iter()
            .map(|number| self.numbers[usize::from(*number)].id)
            .collect();
        self.pair.append(|| {
            ids.iter()
                .map(|id| Operation::DeleteQueue(QueueId(*id)))
                .collect()
        });
        for number in gone.into_iter().rev() {
            self.numbers[usize::from(number)] = self.declare(number);
        }
    }

    fn reopen(&mut self, crashes: bool) {
        let expiring = self.pair.reopen(crashes);
        verify::assert_sound(self.pair.directory());
        for known in &mut self.numbers {
            known.kept.clear();
            known.live.retain(|_, live| live.is_persistent);
            let (_, stretches) = expiring
                .iter()
                .find(|(id, _)| *id == known.id)
                .expect("it was found");
            for (position, live) in &known.live {
                let in_time = |expires_at| {
                    stretches.iter().any(|stretch| {
                        (stretch.from..stretch.to).contains(&Position(*position))
                            && stretch.expires_next <= expires_at
                    })
                };
                assert!(live.expires_at.is_none_or(in_time), "{position} in {stretches:?}");
            }
        }
        for known in &self.numbers {
            self.pair.compare(known.id, 0, known.next, usize::MAX);
            self.pair.compare_expired(known.id, (0, known.next), 7, at(12));
        }
    }

    /// At the end nothing may be left over.
    fn drain(&mut self) {
        for queue in 0..NUMBERS {
            self.settle(queue, 0, u8::MAX, 1);
            while !self.numbers[usize::from(queue)].live.is_empty() {
                self.settle(queue, 0, u8::MAX, 1);
            }
        }
        self.reopen(false);
        let tables = ["segment", "settled", "returned", "shared", "sharer", "garbage"];
        let directory = self.pair.directory();
        eventually(|| tables.iter().all(|table| count(directory, table) == 0));
        assert_eq!(count(directory, "level"), i64::from(NUMBERS - QUEUES));
        assert_eq!(count(directory, "summary"), i64::from(NUMBERS));
    }
}

impl Known {
    fn add(&mut self, entry: &PublishEntry) {
        let live = Live {
            is_persistent: entry.is_persistent,
            body_bytes: entry.message.body_len() as u64,
            expires_at: entry.expires_at,
        };
        self.live.insert(entry.position.0, live);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 400, ..ProptestConfig::default() })]
    #[test]
    fn every_history_reads_as_the_model_has_it(steps in prop::collection::vec(step(), 1..60)) {
        let mut history = History::new();
        for step in &steps {
            history.take(step);
        }
        history.drain();
    }
}
