//! Who is next: consumers take turns within their priority; one that can take nothing leaves the rotation until it
//! can again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Messages that may wait in a consumer's outbox for its socket, whatever its prefetch says.
const OUTBOX_MESSAGES_MAX: u32 = 4096;

/// Bytes that may wait there; one message always may.
const OUTBOX_BYTES_MAX: usize = 1 << 20;

/// Names a consumer within its queue, for as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConsumerSlot {
    /// Its place; used again after it is gone.
    pub index: u32,
    generation: u32,
}

/// The limit of `basic.qos(global=true)`, shared by a channel's consumers over all their queues.
#[derive(Debug)]
pub struct ChannelLimit {
    /// 0: none.
    limit: AtomicU32,
    unacked: AtomicU32,
}

impl ChannelLimit {
    /// A limit that leaves no room before [`ChannelLimit::count_from`].
    pub fn new(limit: u16) -> Self {
        Self {
            limit: AtomicU32::new(u32::from(limit)),
            unacked: AtomicU32::new(u32::MAX),
        }
    }

    /// Starts from the deliveries that are unacked already (RabbitMQ counts those of `basic.get` here too). Call it
    /// when all consumers are under the limit, so that none takes a message that is not counted.
    pub fn count_from(&self, unacked: u32) {
        self.unacked.store(unacked, Ordering::Relaxed);
    }

    /// Changes the limit; 0 removes it.
    pub fn set(&self, limit: u16) {
        self.limit.store(u32::from(limit), Ordering::Relaxed);
    }

    /// Gives back what settled deliveries took.
    pub fn release(&self, deliveries: u32) {
        // Never below none: a limit that wraps around starves its consumers for ever.
        let mut unacked = self.unacked.load(Ordering::Relaxed);
        while let Err(changed) = self.unacked.compare_exchange_weak(
            unacked,
            unacked.saturating_sub(deliveries),
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            unacked = changed;
        }
    }

    /// Takes room for a delivery that no consumer asked for (`basic.get`).
    pub fn take_unchecked(&self) {
        self.unacked.fetch_add(1, Ordering::Relaxed);
    }

    fn has_room(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        limit == 0 || self.unacked.load(Ordering::Relaxed) < limit
    }

    /// Takes room for one delivery; two queues may ask at once, and only one gets the last place.
    fn take(&self) -> bool {
        self.unacked
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |unacked| {
                let limit = self.limit.load(Ordering::Relaxed);
                (limit == 0 || unacked < limit).then_some(unacked + 1)
            })
            .is_ok()
    }
}

/// What a consumer asked for.
#[derive(Clone, Debug, Default)]
pub struct ConsumerOptions {
    /// `x-priority`: higher first.
    pub priority: i64,
    /// Deliveries count as acked when made.
    pub no_ack: bool,
    /// No other consumer is wanted.
    pub exclusive: bool,
    /// Unacked deliveries allowed; 0 is unlimited.
    pub prefetch: u16,
    /// The channel's own limit, if it set one.
    pub limit: Option<Arc<ChannelLimit>>,
}

#[derive(Debug)]
struct Consumer {
    options: ConsumerOptions,
    unacked: u32,
    outbox_messages: u32,
    outbox_bytes: usize,
    /// It stands in the rotation.
    active: bool,
}

impl Consumer {
    fn can_take(&self) -> bool {
        let prefetch = u32::from(self.options.prefetch);
        (prefetch == 0 || self.unacked < prefetch)
            && self.outbox_messages < OUTBOX_MESSAGES_MAX
            && self.outbox_bytes < OUTBOX_BYTES_MAX
            && self.options.limit.as_ref().is_none_or(|limit| limit.has_room())
    }
}

/// All consumers of one queue.
#[derive(Debug, Default)]
pub struct Consumers {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Priority, highest first, with the active consumers whose turn comes in this order.
    rotation: Vec<(i64, VecDeque<u32>)>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    consumer: Option<Consumer>,
}

impl Consumers {
    /// Adds a consumer at the end of its priority's rotation.
    pub fn add(&mut self, options: ConsumerOptions) -> ConsumerSlot {
        let consumer = Consumer {
            options,
            unacked: 0,
            outbox_messages: 0,
            outbox_bytes: 0,
            active: false,
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                consumer: None,
            });
            u32::try_from(self.slots.len() - 1).expect("a queue has fewer than 2^32 consumers")
        });
        self.slots[index as usize].consumer = Some(consumer);
        self.activate(index);
        ConsumerSlot {
            index,
            generation: self.slots[index as usize].generation,
        }
    }

    /// Removes a consumer. What it holds unacked stays with its channel; settling that does no harm here.
    pub fn remove(&mut self, slot: ConsumerSlot) -> bool {
        let Some(consumer) = self.consumer(slot) else {
            return false;
        };
        let active = consumer.active;
        let place = &mut self.slots[slot.index as usize];
        place.consumer = None;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(slot.index);
        if active {
            for (_, level) in &mut self.rotation {
                level.retain(|other| *other != slot.index);
            }
        }
        self.rotation.retain(|(_, level)| !level.is_empty());
        true
    }

    /// The consumer whose turn it is, if any can take a message; its turn is over then.
    pub fn take_turn(&mut self) -> Option<ConsumerSlot> {
        for (_, level) in &mut self.rotation {
            while let Some(index) = level.pop_front() {
                let Slot { generation, consumer } = &mut self.slots[index as usize];
                let consumer = consumer.as_mut().expect("the rotation names live consumers");
                let has_turn =
                    consumer.can_take() && consumer.options.limit.as_ref().is_none_or(|limit| limit.take());
                if has_turn {
                    level.push_back(index);
                    return Some(ConsumerSlot {
                        index,
                        generation: *generation,
                    });
                }
                consumer.active = false;
            }
        }
        None
    }

    /// Books a delivery of `bytes` to the consumer that [`Consumers::take_turn`] named; returns whether it must be acked.
    pub fn book(&mut self, slot: ConsumerSlot, bytes: usize) -> bool {
        let consumer = self.consumer(slot).expect("take_turn() names live consumers");
        consumer.outbox_messages += 1;
        consumer.outbox_bytes += bytes;
        let needs_ack = !consumer.options.no_ack;
        consumer.unacked += u32::from(needs_ack);
        needs_ack
    }

    /// A delivery was settled.
    pub fn settled(&mut self, slot: ConsumerSlot) {
        self.change(slot, |consumer| consumer.unacked -= 1);
    }

    /// The socket took deliveries out of the outbox.
    pub fn written(&mut self, slot: ConsumerSlot, messages: u32, bytes: usize) {
        self.change(slot, |consumer| {
            consumer.outbox_messages -= messages;
            consumer.outbox_bytes -= bytes;
        });
    }

    /// The channel's limit is another one.
    pub fn set_limit(&mut self, slot: ConsumerSlot, limit: Option<Arc<ChannelLimit>>) {
        self.change(slot, |consumer| consumer.options.limit = limit);
    }

    /// The channel's limit has room again.
    pub fn resume(&mut self, slot: ConsumerSlot) {
        self.change(slot, |_| ());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether one of them wants to be the only one.
    pub fn has_exclusive(&self) -> bool {
        self.slots
            .iter()
            .flat_map(|slot| &slot.consumer)
            .any(|consumer| consumer.options.exclusive)
    }

    /// The consumer, unless it was removed.
    fn consumer(&mut self, slot: ConsumerSlot) -> Option<&mut Consumer> {
        let place = self.slots.get_mut(slot.index as usize)?;
        if place.generation == slot.generation {
            place.consumer.as_mut()
        } else {
            None
        }
    }

    fn change(&mut self, slot: ConsumerSlot, change: impl FnOnce(&mut Consumer)) {
        let Some(consumer) = self.consumer(slot) else {
            return;
        };
        change(consumer);
        if !consumer.active {
            self.activate(slot.index);
        }
    }

    fn activate(&mut self, index: u32) {
        let consumer = self.slots[index as usize]
            .consumer
            .as_mut()
            .expect("callers name live consumers");
        if !consumer.can_take() {
            return;
        }
        consumer.active = true;
        let priority = consumer.options.priority;
        match self.rotation.binary_search_by(|(other, _)| priority.cmp(other)) {
            Ok(level) => self.rotation[level].1.push_back(index),
            Err(level) => self.rotation.insert(level, (priority, VecDeque::from([index]))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn giving_back_more_than_was_counted_leaves_room() {
        let limit = ChannelLimit::new(1);
        limit.count_from(0);
        limit.release(1);
        assert!(limit.take(), "nothing is unacked");
        assert!(!limit.take(), "one is unacked, and one is the limit");
    }

    #[test]
    fn a_slot_used_again_is_another_consumer() {
        let mut consumers = Consumers::default();
        let first = consumers.add(ConsumerOptions::default());
        assert!(consumers.remove(first));
        let second = consumers.add(ConsumerOptions {
            prefetch: 1,
            ..ConsumerOptions::default()
        });
        assert_eq!(consumers.take_turn(), Some(second));
        assert!(consumers.book(second, 1));
        consumers.settled(first);
        assert_eq!(
            consumers.take_turn(),
            None,
            "what the first one settles is not the second one's"
        );
        consumers.settled(second);
        assert_eq!(consumers.take_turn(), Some(second));
    }
}
