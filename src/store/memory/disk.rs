//! What a crash leaves: the maps that committed operations end up in.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::message::Message;
use crate::store::access::{AccessChange, AccessRows};
use crate::store::operation::Request;
use crate::store::{
    BindingRow, ExchangeRow, ExpiringStretch, LevelRow, Operation, Page, PageEntry, PageRequest, PolicyKind,
    PolicyRow, Position, PublishEntry, QueueId, QueueRow, Recovered, RecoveredLevel, RecoveredQueue,
};

use super::delayed::AllDelays;
use super::remembered::Remembered;

/// Messages that a read of expired ones looks at before it ends early, and that one [`ExpiringStretch`] holds: few,
/// so that simulations meet more than one page and more than one stretch.
const LOOKED_AT_MAX: usize = 16;

#[derive(Default)]
pub(super) struct Disk {
    exchanges: BTreeMap<(Arc<str>, Arc<str>), ExchangeRow>,
    queues: BTreeMap<QueueId, QueueRow>,
    levels: BTreeMap<QueueId, LevelRow>,
    /// Those of queues and of levels.
    messages: BTreeMap<QueueId, Messages>,
    bindings: Vec<BindingRow>,
    policies: BTreeMap<(Arc<str>, PolicyKind, Arc<str>), PolicyRow>,
    access: AccessRows,
    had_users: bool,
    pub delays: AllDelays,
    remembered: Remembered,
    next_queue: u32,
    noted_time: Option<Timestamp>,
}

/// What is kept under one number.
#[derive(Default)]
struct Messages {
    stored: BTreeMap<Position, Stored>,
    next: Position,
    delivered_before: Position,
    redelivered_before: Position,
}

struct Stored {
    entry: PublishEntry,
    delivery_count: u32,
    rests_until: Option<Timestamp>,
}

impl Disk {
    /// Applies an operation; a page request comes back, since it is answered later.
    pub(super) fn apply(&mut self, operation: Operation) -> Option<Request> {
        match operation {
            Operation::DeclareExchange(row) => {
                let name = (Arc::clone(&row.vhost), Arc::clone(&row.name));
                self.exchanges.insert(name, row);
            }
            Operation::DeleteExchange { vhost, name } => {
                self.exchanges.remove(&(vhost, name));
            }
            Operation::DeclareQueue(row) => {
                self.begin(row.id);
                self.queues.insert(row.id, row);
            }
            Operation::DeclareLevel(row) => {
                self.begin(row.id);
                self.levels.insert(row.id, row);
            }
            Operation::DeleteQueue(queue) => {
                self.queues.remove(&queue);
                self.levels.remove(&queue);
                self.messages.remove(&queue);
            }
            Operation::Bind(row) => {
                if !self.bindings.contains(&row) {
                    self.bindings.push(row);
                }
            }
            Operation::Unbind(row) => self.bindings.retain(|binding| *binding != row),
            Operation::Access(change) => {
                self.access.apply(&change);
                self.had_users |= change.is_of_user();
                if let AccessChange::DeleteVhost(gone) = change {
                    self.policies.retain(|(vhost, ..), _| *vhost != gone);
                }
            }
            Operation::SetPolicy(row) => {
                let name = (Arc::clone(&row.vhost), row.kind, Arc::clone(&row.name));
                self.policies.insert(name, row);
            }
            Operation::ClearPolicy { vhost, kind, name } => {
                self.policies.remove(&(vhost, kind, name));
            }
            Operation::NoteTime(time) => self.noted_time = Some(time),
            Operation::Remember(change) => self.remembered.apply(change),
            Operation::Load(request) => return Some(Request::Messages(request)),
            Operation::LoadDelayed(request) => return Some(Request::Delayed(request)),
            Operation::DeclareDelays(ref row) => {
                self.next_queue = self.next_queue.max(row.id.0 + 1);
                self.delays.apply(operation);
            }
            Operation::DeleteDelays(_) | Operation::Delay { .. } | Operation::EndDelay { .. } => {
                self.delays.apply(operation);
            }
            Operation::Publish { queue, .. }
            | Operation::Settle { queue, .. }
            | Operation::SettleRange { queue, .. }
            | Operation::Return { queue, .. }
            | Operation::MarkDelivered { queue, .. } => {
                if let Some(messages) = self.messages.get_mut(&queue) {
                    messages.apply(operation);
                }
            }
        }
        None
    }

    /// A queue or level has this number from now on.
    fn begin(&mut self, id: QueueId) {
        self.next_queue = self.next_queue.max(id.0 + 1);
        self.messages.entry(id).or_default();
    }

    /// All messages with the names of their queues.
    pub(super) fn messages(&self) -> Vec<(Arc<str>, Message)> {
        let mut all = Vec::new();
        for (id, messages) in &self.messages {
            let queue = self.levels.get(id).map_or(*id, |level| level.queue);
            let Some(row) = self.queues.get(&queue) else {
                continue;
            };
            let stored = messages.stored.values();
            all.extend(stored.map(|stored| (Arc::clone(&row.name), stored.entry.message.clone())));
        }
        all
    }

    /// Answers a request with what is here now.
    pub(super) fn read(&self, request: &PageRequest) -> Page {
        match self.messages.get(&request.queue) {
            Some(messages) if request.from < request.to => messages.read(request),
            _ => Page {
                next: request.to,
                tag: request.tag,
                ..Page::default()
            },
        }
    }

    /// Lets go of what does not survive, and tells what does.
    pub(super) fn recover(&mut self) -> Recovered {
        self.queues.retain(|_, row| row.durable);
        let queues = &self.queues;
        self.levels.retain(|_, level| queues.contains_key(&level.queue));
        let levels = &self.levels;
        self.messages
            .retain(|id, _| queues.contains_key(id) || levels.contains_key(id));
        for messages in self.messages.values_mut() {
            messages.restart();
        }
        let mut recovered = Recovered {
            exchanges: self.exchanges.values().cloned().collect(),
            queues: self.queues.values().map(|row| self.recovered(row)).collect(),
            bindings: self.bindings.clone(),
            policies: self.policies.values().cloned().collect(),
            access: self.access.clone(),
            had_users: self.had_users,
            delays: self.delays.recover(),
            next_queue: self.next_queue,
            noted_time: self.noted_time,
            ..Recovered::default()
        };
        self.remembered.recover(&mut recovered);
        recovered
    }

    fn recovered(&self, row: &QueueRow) -> RecoveredQueue {
        let own = LevelRow {
            id: row.id,
            queue: row.id,
            priority: 0,
        };
        let others = self.levels.values().filter(|level| level.queue == row.id);
        RecoveredQueue {
            row: row.clone(),
            levels: std::iter::once(&own)
                .chain(others)
                .map(|level| self.messages[&level.id].recovered(level))
                .collect(),
        }
    }
}

impl Messages {
    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Publish { messages, .. } => {
                for entry in messages {
                    self.next = self.next.max(Position(entry.position.0 + 1));
                    self.stored.entry(entry.position).or_insert(Stored {
                        entry,
                        delivery_count: 0,
                        rests_until: None,
                    });
                }
            }
            Operation::Settle { positions, .. } => {
                for position in positions {
                    self.stored.remove(&position);
                }
            }
            Operation::SettleRange { from, to, .. } => {
                self.stored.retain(|position, _| !(from..to).contains(position));
            }
            Operation::Return {
                position,
                delivery_count,
                rests_until,
                ..
            } => {
                if let Some(stored) = self.stored.get_mut(&position) {
                    stored.delivery_count = delivery_count;
                    stored.rests_until = rests_until;
                }
            }
            Operation::MarkDelivered { before, .. } => self.delivered_before = before,
            _ => {}
        }
    }

    fn read(&self, request: &PageRequest) -> Page {
        let mut page = Page {
            next: request.to,
            tag: request.tag,
            ..Page::default()
        };
        let (mut bytes, mut passed) = (0, 0);
        for (position, stored) in self.stored.range(request.from..request.to) {
            let expires_at = stored.entry.expires_at;
            let is_wanted = request
                .expired_at
                .is_none_or(|now| expires_at.is_some_and(|at| at <= now));
            let count = page.entries.len();
            let is_full = count > 0 && (count >= request.messages_max || bytes >= request.bytes_max);
            if passed >= LOOKED_AT_MAX || (is_full && is_wanted) {
                page.next = *position;
                break;
            }
            if !is_wanted {
                page.expires_next = page.expires_next.into_iter().chain(expires_at).min();
                passed += 1;
                continue;
            }
            bytes += stored.entry.message.memory_bytes();
            page.entries.push(PageEntry {
                position: *position,
                message: stored.entry.message.clone(),
                delivery_count: stored.delivery_count,
                redelivered: stored.delivery_count > 0 || *position < self.redelivered_before,
                expires_at,
                rests_until: stored.rests_until,
                is_persistent: stored.entry.is_persistent,
            });
        }
        page
    }

    fn restart(&mut self) {
        self.stored.retain(|_, stored| stored.entry.is_persistent);
        let before = self.delivered_before.min(self.next);
        self.redelivered_before = self.redelivered_before.max(before);
        self.delivered_before = Position(0);
    }

    fn recovered(&self, level: &LevelRow) -> RecoveredLevel {
        let body_bytes = |stored: &Stored| stored.entry.message.body_len() as u64;
        RecoveredLevel {
            id: level.id,
            priority: level.priority,
            messages: self.stored.len() as u64,
            body_bytes: self.stored.values().map(body_bytes).sum(),
            first: self.stored.keys().next().copied().unwrap_or(self.next),
            next: self.next,
            delivered_before: self.redelivered_before,
            expiring: self.expiring(),
        }
    }

    fn expiring(&self) -> Vec<ExpiringStretch> {
        let stored = self.stored.iter();
        let expiring: Vec<_> = stored
            .filter_map(|(position, stored)| Some((*position, stored.entry.expires_at?)))
            .collect();
        let stretch = |part: &[(Position, Timestamp)]| {
            let (from, first) = part[0];
            let expires_next = part.iter().map(|(_, at)| *at).min().unwrap_or(first);
            let to = Position(part[part.len() - 1].0.0 + 1);
            ExpiringStretch {
                from,
                to,
                expires_next,
            }
        };
        expiring.chunks(LOOKED_AT_MAX).map(stretch).collect()
    }
}
