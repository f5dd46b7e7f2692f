//! What one group of operations comes to, per queue, before a row is touched.
//!
//! A message that was published and settled within the group is gone when this is done: the cheapest row is the
//! one that is never written.

use std::mem;

use rustc_hash::FxHashMap;

use super::delayed::DelayedGroup;
use super::returned::Returned;
use crate::message::Message;
use crate::store::operation::Request;
use crate::store::{Operation, Position, PublishEntry, QueueId};

/// The sum of a group.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Definitions, and what is remembered of messages, in the order in which they were appended.
    pub definitions: Vec<Operation>,
    pub queues: FxHashMap<QueueId, QueueGroup>,
    pub delayed: DelayedGroup,
    pub loads: Vec<Request>,
}

/// The sum of a group for one queue.
#[derive(Debug, Default)]
pub(super) struct QueueGroup {
    /// Messages that enter, in ascending order of position, none twice.
    pub published: Vec<PublishEntry>,
    /// Places that were settled and not published in this group, ascending.
    pub settled: Vec<Position>,
    /// Ranges of unread messages that were purged.
    pub purged: Vec<(Position, Position)>,
    pub returned: Vec<Returned>,
    pub delivered_before: Option<Position>,
    /// What the summary changes by, besides `settled` messages that are found.
    pub messages: i64,
    pub body_bytes: i64,
}

impl Group {
    /// Takes the operations out of the vector.
    pub(super) fn gather(operations: &mut Vec<Operation>) -> Self {
        let mut group = Self::default();
        for operation in operations.drain(..) {
            group.add(operation);
        }
        for queue in group.queues.values_mut() {
            queue.cancel();
            for entry in queue.published.iter().filter(|entry| entry.is_persistent) {
                queue.messages += 1;
                queue.body_bytes += body_bytes(&entry.message);
            }
        }
        group.queues.retain(|_, queue| !queue.is_empty());
        group.delayed.cancel();
        group
    }

    /// Whether nothing has to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.definitions.is_empty() && self.queues.is_empty() && self.delayed.is_empty()
    }

    fn add(&mut self, operation: Operation) {
        match operation {
            Operation::Publish { queue, mut messages } => {
                let published = &mut self.queue(queue).published;
                if published.is_empty() {
                    *published = messages;
                } else {
                    published.append(&mut messages);
                }
            }
            Operation::Settle { queue, mut positions } => {
                let group = self.queue(queue);
                let is_purged =
                    |at: &Position| group.purged.iter().any(|(from, to)| (from..to).contains(&at));
                if !group.purged.is_empty() {
                    positions.retain(|position| !is_purged(position));
                }
                let settled = &mut group.settled;
                if settled.is_empty() {
                    *settled = positions;
                } else {
                    settled.append(&mut positions);
                }
            }
            Operation::SettleRange {
                queue,
                from,
                to,
                messages,
                body_bytes,
            } => self.queue(queue).purge(from, to, messages, body_bytes),
            Operation::Return {
                queue,
                position,
                delivery_count,
                rests_until,
            } => self.queue(queue).returned.push(Returned {
                position,
                delivery_count,
                rests_until,
            }),
            Operation::MarkDelivered { queue, before } => self.queue(queue).delivered_before = Some(before),
            Operation::Load(request) => self.loads.push(Request::Messages(request)),
            Operation::LoadDelayed(request) => self.loads.push(Request::Delayed(request)),
            Operation::DeclareDelays(_)
            | Operation::DeleteDelays(_)
            | Operation::Delay { .. }
            | Operation::EndDelay { .. } => self.delayed.add(operation),
            Operation::DeleteQueue(queue) => {
                self.queues.remove(&queue);
                self.definitions.push(operation);
            }
            Operation::DeclareExchange(_)
            | Operation::DeleteExchange { .. }
            | Operation::DeclareQueue(_)
            | Operation::DeclareLevel(_)
            | Operation::Bind(_)
            | Operation::Unbind(_)
            | Operation::SetPolicy(_)
            | Operation::ClearPolicy { .. }
            | Operation::Access(_)
            | Operation::NoteTime(_)
            | Operation::Remember(_) => self.definitions.push(operation),
        }
    }

    fn queue(&mut self, queue: QueueId) -> &mut QueueGroup {
        self.queues.entry(queue).or_default()
    }
}

impl QueueGroup {
    fn purge(&mut self, from: Position, to: Position, messages: u64, body_bytes_gone: u64) {
        self.cancel();
        let start = self.published.partition_point(|entry| entry.position < from);
        let end = self.published.partition_point(|entry| entry.position < to);
        // Its counts hold these too, which now are never added.
        for entry in self.published.drain(start..end.max(start)) {
            if entry.is_persistent {
                self.messages += 1;
                self.body_bytes += body_bytes(&entry.message);
            }
        }
        self.messages -= i64::try_from(messages).unwrap_or(i64::MAX);
        self.body_bytes -= i64::try_from(body_bytes_gone).unwrap_or(i64::MAX);
        self.purged.push((from, to));
    }

    /// Drops what was published and settled in the group.
    fn cancel(&mut self) {
        if !self
            .published
            .is_sorted_by(|left, right| left.position < right.position)
        {
            self.published.sort_by_key(|entry| entry.position);
            self.published.dedup_by_key(|entry| entry.position);
        }
        if !self.settled.is_sorted_by(|left, right| left < right) {
            self.settled.sort_unstable();
            self.settled.dedup();
        }
        let (Some(first), Some(last)) = (self.published.first(), self.settled.last()) else {
            return;
        };
        if *last < first.position {
            return;
        }
        let mut elsewhere = Vec::new();
        let mut settled = mem::take(&mut self.settled).into_iter().peekable();
        self.published.retain(|entry| {
            while let Some(other) = settled.next_if(|other| *other < entry.position) {
                elsewhere.push(other);
            }
            settled.next_if_eq(&entry.position).is_none()
        });
        elsewhere.extend(settled);
        self.settled = elsewhere;
    }

    fn is_empty(&self) -> bool {
        self.published.is_empty()
            && self.settled.is_empty()
            && self.purged.is_empty()
            && self.returned.is_empty()
            && self.delivered_before.is_none()
    }
}

fn body_bytes(message: &Message) -> i64 {
    i64::try_from(message.body().len()).expect("a message is smaller than the address space")
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: QueueId = QueueId(3);

    fn publish(range: std::ops::Range<u64>) -> Operation {
        let entry = |at| PublishEntry {
            position: Position(at),
            message: Message::new(b"", b"q", &[0x10, 0, 2], b"body"),
            expires_at: None,
            is_persistent: true,
        };
        Operation::Publish {
            queue: QUEUE,
            messages: range.map(entry).collect(),
        }
    }

    fn settle(positions: &[u64]) -> Operation {
        let positions = positions.iter().copied().map(Position).collect();
        Operation::Settle {
            queue: QUEUE,
            positions,
        }
    }

    #[test]
    fn what_is_published_and_settled_in_a_group_leaves_nothing() {
        let group = Group::gather(&mut vec![publish(5..8), settle(&[6, 5]), settle(&[7])]);
        assert!(group.is_empty());
    }

    #[test]
    fn what_was_published_before_stays_to_be_settled() {
        let group = Group::gather(&mut vec![publish(5..8), settle(&[6, 1, 9, 2])]);
        let queue = &group.queues[&QUEUE];
        assert_eq!(queue.settled, [Position(1), Position(2), Position(9)]);
        let left: Vec<u64> = queue.published.iter().map(|entry| entry.position.0).collect();
        assert_eq!(left, [5, 7]);
        assert_eq!((queue.messages, queue.body_bytes), (2, 8));
    }

    #[test]
    fn a_purge_counts_what_it_took_from_this_group_and_from_before() {
        let range = Operation::SettleRange {
            queue: QUEUE,
            from: Position(3),
            to: Position(7),
            messages: 3,
            body_bytes: 12,
        };
        let group = Group::gather(&mut vec![publish(5..8), settle(&[5]), range, publish(8..9)]);
        let queue = &group.queues[&QUEUE];
        let left: Vec<u64> = queue.published.iter().map(|entry| entry.position.0).collect();
        assert_eq!(left, [7, 8]);
        // Two of the purged three were stored before; two enter.
        assert_eq!((queue.messages, queue.body_bytes), (-2 + 2, 0));
        assert_eq!(queue.purged, [(Position(3), Position(7))]);
    }

    #[test]
    fn a_deleted_queue_keeps_nothing_of_the_group() {
        let group = Group::gather(&mut vec![publish(5..8), Operation::DeleteQueue(QUEUE)]);
        assert!(group.queues.is_empty());
        assert_eq!(group.definitions.len(), 1);
    }
}
