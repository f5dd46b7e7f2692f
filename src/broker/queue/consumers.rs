//! Who is next: consumers take turns within their priority; one that can take nothing leaves the rotation until it
//! can again. With a single active consumer only that one is ever in the rotation.

mod bounds;
mod channel_limit;
mod consumer;

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::broker::headroom::Allowance;

use bounds::Bounds;
use consumer::Consumer;

pub use channel_limit::ChannelLimit;

/// Consumers that are looked at to see whether some have credit.
const LOOKED_AT_MAX: usize = 16;

/// Names a consumer within its queue, for as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConsumerSlot {
    /// Its place; used again after it is gone.
    pub index: u32,
    generation: u32,
}

/// Which of a queue's consumers may take messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// All of them, in turns.
    #[default]
    All,
    /// The first one until it goes; then the waiting one of highest priority, and of these the oldest.
    Single,
    /// The same, but one of higher priority takes over as soon as the active one has nothing unacked: as RabbitMQ's
    /// quorum queues do it.
    SingleByPriority,
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
    /// How long a delivery may stay unacked, ms; `None` is what the queue says.
    pub timeout_ms: Option<u64>,
}

/// All consumers of one queue.
#[derive(Debug, Default)]
pub struct Consumers {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Priority, highest first, with the consumers whose turn comes in this order.
    rotation: Vec<(i64, VecDeque<u32>)>,
    activation: Activation,
    /// The single active consumer; `None` also when all are active.
    active: Option<u32>,
    /// The active consumer takes nothing more: one of higher priority waits for it to have nothing unacked.
    active_yields: bool,
    bounds: Bounds,
    registrations: u64,
    taken: u64,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    consumer: Option<Consumer>,
}

impl Consumers {
    /// None yet.
    pub fn new(activation: Activation) -> Self {
        Self {
            activation,
            ..Self::default()
        }
    }

    /// Adds a consumer at the end of its priority's rotation, or of those that wait to be the active one.
    pub fn add(&mut self, options: ConsumerOptions) -> ConsumerSlot {
        self.registrations += 1;
        let consumer = Consumer {
            options,
            registration: self.registrations,
            unacked: 0,
            outbox_messages: 0,
            outbox_bytes: 0,
            in_rotation: false,
            is_suspended: false,
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                consumer: None,
            });
            u32::try_from(self.slots.len() - 1).expect("a queue has fewer than 2^32 consumers")
        });
        self.slots[index as usize].consumer = Some(consumer);
        match self.activation {
            Activation::All => self.join_rotation(index),
            Activation::Single | Activation::SingleByPriority => self.elect(),
        }
        ConsumerSlot {
            index,
            generation: self.slots[index as usize].generation,
        }
    }

    /// Removes a consumer. What it holds unacked stays with its channel; settling that does no harm here. If it was
    /// the single active one, another is now, which may be given messages.
    pub fn remove(&mut self, slot: ConsumerSlot) -> bool {
        if self.consumer(slot).is_none() {
            return false;
        }
        self.leave_rotation(slot.index);
        let place = &mut self.slots[slot.index as usize];
        place.consumer = None;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(slot.index);
        if self.activation != Activation::All {
            self.active = self.active.filter(|active| *active != slot.index);
            self.elect();
        }
        true
    }

    /// Lets a consumer take nothing more, though it keeps its place until [`Consumers::remove`]: what it gives back
    /// meanwhile comes before what the next single active consumer takes. False when that is so already, or it is gone.
    pub fn suspend(&mut self, slot: ConsumerSlot) -> bool {
        let Some(consumer) = self.consumer(slot) else {
            return false;
        };
        let is_new = !std::mem::replace(&mut consumer.is_suspended, true);
        self.leave_rotation(slot.index);
        is_new
    }

    /// The consumer whose turn it is, if any can take a message; its turn is over then.
    #[inline]
    pub fn take_turn(&mut self) -> Option<ConsumerSlot> {
        for (_, level) in &mut self.rotation {
            while let Some(&index) = level.front() {
                let Slot { generation, consumer } = &mut self.slots[index as usize];
                let consumer = consumer.as_mut().expect("the rotation names live consumers");
                let has_turn = consumer.can_take(self.bounds)
                    && consumer.options.limit.as_ref().is_none_or(|limit| limit.take());
                if has_turn {
                    if level.len() > 1 {
                        level.rotate_left(1);
                    }
                    return Some(ConsumerSlot {
                        index,
                        generation: *generation,
                    });
                }
                consumer.in_rotation = false;
                level.pop_front();
            }
        }
        None
    }

    /// The same among those that ack nothing, and with `also_unladen` those that have nothing unacked. All others keep
    /// their turns.
    pub fn take_turn_of_idle(&mut self, also_unladen: bool) -> Option<ConsumerSlot> {
        for (_, level) in &mut self.rotation {
            for at in 0..level.len() {
                let Slot { generation, consumer } = &self.slots[level[at] as usize];
                let consumer = consumer.as_ref().expect("the rotation names live consumers");
                let is_idle = consumer.options.no_ack || (also_unladen && consumer.unacked == 0);
                let limit = consumer.options.limit.as_ref();
                if is_idle && consumer.can_take(self.bounds) && limit.is_none_or(|limit| limit.take()) {
                    let index = level.remove(at).expect("it was just looked at");
                    let generation = *generation;
                    level.push_back(index);
                    return Some(ConsumerSlot { index, generation });
                }
            }
        }
        None
    }

    /// Books a delivery of `bytes` to the consumer that [`Consumers::take_turn`] named; returns whether it must be acked.
    #[inline]
    pub fn book(&mut self, slot: ConsumerSlot, bytes: usize) -> bool {
        self.taken += 1;
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
        if self.active_yields {
            self.elect();
        }
    }

    /// The socket took deliveries out of the outbox.
    pub fn written(&mut self, slot: ConsumerSlot, messages: u32, bytes: usize) {
        self.change(slot, |consumer| {
            consumer.outbox_messages -= messages;
            consumer.outbox_bytes -= bytes;
        });
    }

    /// So much may be in memory from now on.
    pub fn bound(&mut self, allowance: Allowance) {
        self.bounds = Bounds::of(allowance);
        for index in 0..self.slots.len() {
            if self.slots[index].consumer.is_some() {
                self.join_rotation(u32::try_from(index).expect("a queue has fewer than 2^32 consumers"));
            }
        }
    }

    /// The channel's limit is another one.
    pub fn set_limit(&mut self, slot: ConsumerSlot, limit: Option<Arc<ChannelLimit>>) {
        self.change(slot, |consumer| consumer.options.limit = limit);
    }

    /// The channel's limit has room again.
    pub fn resume(&mut self, slot: ConsumerSlot) {
        self.change(slot, |_| ());
    }

    /// How long its deliveries may stay unacked, ms, if it said so itself.
    pub fn timeout(&self, slot: ConsumerSlot) -> Option<u64> {
        let place = self.slots.get(slot.index as usize)?;
        let consumer = place
            .consumer
            .as_ref()
            .filter(|_| place.generation == slot.generation)?;
        consumer.options.timeout_ms
    }

    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether one of the first of them would take more, as far as acks matter.
    pub fn have_credit(&self) -> bool {
        let has_credit = |slot: &Slot| {
            let consumer = slot.consumer.as_ref();
            consumer.is_some_and(|consumer| consumer.has_credit(self.bounds))
        };
        match (self.activation, self.active) {
            (Activation::All, _) => self.slots.iter().take(LOOKED_AT_MAX).any(has_credit),
            (_, active) => active.is_some_and(|active| has_credit(&self.slots[active as usize])),
        }
    }

    /// How many deliveries were booked so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether one of them wants to be the only one.
    pub fn has_exclusive(&self) -> bool {
        self.slots
            .iter()
            .flat_map(|slot| &slot.consumer)
            .any(|consumer| consumer.options.exclusive)
    }

    /// The consumer, unless it was removed.
    #[inline]
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
        if !consumer.in_rotation {
            self.join_rotation(slot.index);
        }
    }

    /// Finds the single active consumer, after anything that could make it another one.
    fn elect(&mut self) {
        if self.activation == Activation::Single && self.active.is_some() {
            return;
        }
        let best = (0..)
            .zip(&self.slots)
            .filter_map(|(index, slot)| Some((index, slot.consumer.as_ref()?)))
            .filter(|(index, _)| self.active != Some(*index))
            .max_by_key(|(_, consumer)| (consumer.options.priority, Reverse(consumer.registration)))
            .map(|(index, consumer)| (index, consumer.options.priority));
        self.active_yields = false;
        if let Some(active) = self.active {
            let consumer = self.slots[active as usize]
                .consumer
                .as_ref()
                .expect("the active one was not removed");
            if best.is_none_or(|(_, priority)| priority <= consumer.options.priority) {
                self.join_rotation(active);
                return;
            }
            let has_unacked = consumer.unacked > 0;
            self.leave_rotation(active);
            if has_unacked {
                self.active_yields = true;
                return;
            }
        }
        self.active = best.map(|(index, _)| index);
        if let Some(active) = self.active {
            self.join_rotation(active);
        }
    }

    /// Puts a consumer into the rotation, unless it is there, can take nothing, or has to wait to become active.
    fn join_rotation(&mut self, index: u32) {
        let has_to_wait = self.active_yields || self.active != Some(index);
        if self.activation != Activation::All && has_to_wait {
            return;
        }
        let consumer = self.slots[index as usize]
            .consumer
            .as_mut()
            .expect("callers name live consumers");
        if consumer.in_rotation || !consumer.can_take(self.bounds) {
            return;
        }
        consumer.in_rotation = true;
        let priority = consumer.options.priority;
        match self.rotation.binary_search_by(|(other, _)| priority.cmp(other)) {
            Ok(level) => self.rotation[level].1.push_back(index),
            Err(level) => self.rotation.insert(level, (priority, VecDeque::from([index]))),
        }
    }

    fn leave_rotation(&mut self, index: u32) {
        let consumer = self.slots[index as usize]
            .consumer
            .as_mut()
            .expect("callers name live consumers");
        if std::mem::take(&mut consumer.in_rotation) {
            for (_, level) in &mut self.rotation {
                level.retain(|other| *other != index);
            }
        }
        self.rotation.retain(|(_, level)| !level.is_empty());
    }
}

#[cfg(test)]
mod tests;
