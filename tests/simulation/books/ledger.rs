//! What has become of each message, as far as the clients can know: the slow obvious model.
//!
//! What was sent and not answered may or may not have happened; the books say so, and a crash or a quiet moment
//! settles it.

use std::collections::{BTreeMap, BTreeSet};

/// The queues that every history has. Only the last is not durable.
pub const QUEUES: [&str; 4] = ["d0", "d1", "d2", "t0"];

/// Their messages are only ever acked: none may be missing.
pub const STRICT: [usize; 2] = [0, 2];

const DURABLE: [usize; 3] = [0, 1, 2];

/// Whether a message is in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is part of a transaction that is not committed.
    Held,
    /// It was sent.
    Maybe,
    /// It has arrived.
    Sure,
    /// It can not be there any more, and never comes back.
    Gone,
}

/// Whether a message was done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    None,
    /// An ack was sent.
    Maybe,
    /// The ack was worked off; a crash may still undo it.
    Sure,
    /// The ack is on disk.
    Final,
}

/// A message in a queue.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "what is known comes bit by bit, in any order"
)]
pub struct Entry {
    pub arrival: Arrival,
    pub end: End,
    /// A client read it.
    pub seen: bool,
    /// It can not come without the flag any more. Clients read late, so that only a quiet moment tells.
    pub is_flagged: bool,
    /// It can not come any more at all.
    pub is_buried: bool,
    /// It is on disk, by the broker's word.
    pub confirmed: bool,
}

#[derive(Clone, Debug)]
pub struct Published {
    pub persistent: bool,
    pub queues: &'static [usize],
    /// The channel that published it.
    pub source: u64,
}

/// A transaction for which commit was sent.
#[derive(Debug, Default)]
pub struct Group {
    pub publishes: Vec<u64>,
    /// Queue and message.
    pub acks: Vec<(usize, u64)>,
    pub is_committed: bool,
}

#[derive(Debug, Default)]
pub struct Ledger {
    pub published: Vec<Published>,
    pub entries: BTreeMap<(usize, u64), Entry>,
    groups: Vec<Group>,
    /// Messages below this may come out of order: a consumer with deliveries went away.
    pub order_floor: u64,
    /// Channels on which close was sent: what they had not read comes back in between.
    pub closing: usize,
}

impl Ledger {
    /// Books a publish and returns the message's number.
    pub fn publish(&mut self, persistent: bool, queues: &'static [usize], source: u64, is_held: bool) -> u64 {
        let id = self.published.len() as u64;
        self.published.push(Published {
            persistent,
            queues,
            source,
        });
        for queue in queues {
            let entry = Entry {
                arrival: if is_held { Arrival::Held } else { Arrival::Maybe },
                end: End::None,
                seen: false,
                is_flagged: false,
                is_buried: false,
                confirmed: false,
            };
            self.entries.insert((*queue, id), entry);
        }
        id
    }

    fn of_message(&mut self, id: u64) -> impl Iterator<Item = &mut Entry> {
        let queues = self.published[usize::try_from(id).expect("small")].queues;
        self.entries
            .iter_mut()
            .filter(move |((queue, other), _)| *other == id && queues.contains(queue))
            .map(|(_, entry)| entry)
    }

    /// The publish was worked off.
    pub fn arrived(&mut self, id: u64) {
        for entry in self
            .of_message(id)
            .filter(|entry| entry.arrival == Arrival::Maybe)
        {
            entry.arrival = Arrival::Sure;
        }
    }

    /// The broker confirmed it.
    pub fn confirmed(&mut self, id: u64) {
        self.arrived(id);
        for entry in self.of_message(id) {
            entry.confirmed = true;
        }
    }

    /// It was never committed.
    pub fn dropped(&mut self, id: u64) {
        for entry in self.of_message(id) {
            entry.arrival = Arrival::Gone;
        }
    }

    /// A client read it.
    pub fn delivered(&mut self, queue: usize, id: u64, redelivered: bool) {
        let name = QUEUES[queue];
        let entry = self
            .entries
            .get_mut(&(queue, id))
            .unwrap_or_else(|| panic!("{id} was not published to {name}"));
        assert!(
            matches!(entry.arrival, Arrival::Maybe | Arrival::Sure),
            "{id} can not be in {name}: {entry:?}"
        );
        assert!(!entry.is_buried, "{id} of {name} was acked: {entry:?}");
        assert!(
            redelivered || !entry.is_flagged,
            "{id} of {name} comes again without the flag"
        );
        entry.is_flagged |= !redelivered;
        entry.arrival = Arrival::Sure;
        entry.seen = true;
    }

    /// What was sent may end it, or ends it.
    pub fn ended(&mut self, queue: usize, id: u64, end: End) {
        let entry = self.entries.get_mut(&(queue, id)).expect("it was delivered");
        let rank = |end| {
            [End::None, End::Maybe, End::Sure, End::Final]
                .iter()
                .position(|other| *other == end)
        };
        if rank(end) > rank(entry.end) {
            entry.end = end;
        }
    }

    /// Commit was sent; returns the transaction's number.
    pub fn commit_sent(&mut self, publishes: Vec<u64>, acks: Vec<(usize, u64)>) -> usize {
        for id in &publishes {
            for entry in self.of_message(*id) {
                entry.arrival = Arrival::Maybe;
            }
        }
        for (queue, id) in &acks {
            self.ended(*queue, *id, End::Maybe);
        }
        self.groups.push(Group {
            publishes,
            acks,
            is_committed: false,
        });
        self.groups.len() - 1
    }

    /// Commit-ok came.
    pub fn committed(&mut self, group: usize) {
        let Group {
            publishes,
            acks,
            is_committed,
        } = &mut self.groups[group];
        *is_committed = true;
        let (publishes, acks) = (publishes.clone(), acks.clone());
        for id in publishes {
            self.confirmed(id);
        }
        for (queue, id) in acks {
            self.ended(queue, id, End::Final);
        }
    }

    /// The broker died and `kept` is what its store holds.
    pub fn crashed(&mut self, kept: &BTreeSet<(usize, u64)>) {
        for place in kept {
            let entry = self
                .entries
                .get(place)
                .unwrap_or_else(|| panic!("{place:?} was not published"));
            let may_be_there =
                matches!(entry.arrival, Arrival::Maybe | Arrival::Sure) && entry.end != End::Final;
            assert!(may_be_there, "{place:?} came back: {entry:?}");
        }
        for (place, entry) in &self.entries {
            let must_be_there = entry.confirmed
                && entry.arrival == Arrival::Sure
                && entry.end == End::None
                && STRICT.contains(&place.0)
                && self.published[usize::try_from(place.1).expect("small")].persistent;
            assert!(
                !must_be_there || kept.contains(place),
                "{place:?} is lost: {entry:?}"
            );
        }
        self.check_groups(kept);
        for (place, entry) in &mut self.entries {
            entry.is_flagged = entry.seen;
            if kept.contains(place) {
                // It is on disk now and no consumer has it.
                entry.arrival = Arrival::Sure;
                entry.confirmed = true;
                entry.end = End::None;
                entry.is_buried = false;
            } else {
                entry.arrival = Arrival::Gone;
            }
        }
        self.groups.clear();
        self.order_floor = self.published.len() as u64;
    }

    /// A transaction happened as a whole or not at all.
    fn check_groups(&self, kept: &BTreeSet<(usize, u64)>) {
        for group in &self.groups {
            let mut there = Vec::new();
            for id in &group.publishes {
                let published = &self.published[usize::try_from(*id).expect("small")];
                let queues = published.queues.iter().filter(|queue| STRICT.contains(queue));
                for queue in queues.filter(|_| published.persistent) {
                    let place = (*queue, *id);
                    if self.entries[&place].end == End::None {
                        there.push(kept.contains(&place));
                    }
                }
            }
            let all = there.iter().all(|there| *there);
            let none = !there.contains(&true);
            assert!(all || none, "half a transaction: {group:?} {there:?}");
            assert!(
                all || !group.is_committed,
                "a committed transaction is lost: {group:?}"
            );
            if there.contains(&true) {
                let back = group.acks.iter().find(|place| kept.contains(place));
                assert!(back.is_none(), "{back:?} was acked by {group:?}");
            }
        }
    }

    /// Nothing is on its way any more.
    pub fn settle_down(&mut self) {
        for entry in self.entries.values_mut() {
            entry.is_flagged |= entry.seen;
            entry.is_buried |= matches!(entry.end, End::Sure | End::Final);
        }
    }

    /// Compares with what the queue says it holds, when all is quiet.
    pub fn check_count(&self, queue: usize, count: u64) {
        let of_queue = || self.entries.iter().filter(|((other, _), _)| *other == queue);
        let least = of_queue()
            .filter(|(_, entry)| entry.arrival == Arrival::Sure && entry.end == End::None)
            .count() as u64;
        let most = of_queue()
            .filter(|(_, entry)| {
                matches!(entry.arrival, Arrival::Maybe | Arrival::Sure)
                    && matches!(entry.end, End::None | End::Maybe)
            })
            .count() as u64;
        let name = QUEUES[queue];
        assert!(count <= most, "{name} holds {count}, at most {most} can be there");
        assert!(
            count >= least || !STRICT.contains(&queue),
            "{name} holds {count}, at least {least} have to be there"
        );
    }

    /// Everything was taken out: nothing may be missing.
    pub fn check_drained(&self) {
        for (place, entry) in self
            .entries
            .iter()
            .filter(|((queue, _), _)| STRICT.contains(queue))
        {
            let is_missing = entry.arrival == Arrival::Sure && entry.end == End::None;
            assert!(!is_missing, "{place:?} is lost: {entry:?}");
        }
    }
}

/// Whether a queue survives.
pub fn is_durable(queue: usize) -> bool {
    DURABLE.contains(&queue)
}
