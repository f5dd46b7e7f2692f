//! What the clients of a broker know about its messages, and what follows from it after a crash.
//!
//! Each worker writes a log of its own while it works; the logs are entered when the broker is dead.

use std::collections::{BTreeMap, HashMap};

/// The durable queues under load, by their index in the books.
pub const QUEUES: [&str; 17] = [
    "direct-0", "direct-1", "shared", "fan-0", "fan-1", "fan-2", "tx-in", "barrier", "held", "tx-0", "tx-1",
    "tx-2", "tx-3", "tx-4", "tx-5", "tx-6", "tx-7",
];
pub const SHARED: usize = 2;
pub const FAN: [usize; 4] = [3, 4, 5, HELD];
pub const TX_IN: usize = 6;
pub const BARRIER: usize = 7;
/// Nobody ever acks what comes from this one.
pub const HELD: usize = 8;
/// As many as that a transaction takes its time, so that a crash finds some half done.
pub const TX_OUT: [usize; 8] = [9, 10, 11, 12, 13, 14, 15, 16];

/// Round, worker and number of a message; ascending in the order in which the worker published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(u64);

impl Id {
    pub fn new(round: u32, worker: u8, number: u32) -> Self {
        Self(u64::from(round) << 40 | u64::from(worker) << 32 | u64::from(number))
    }

    /// What the body begins with.
    pub fn body(self, bytes: usize) -> Vec<u8> {
        let mut body = self.0.to_be_bytes().to_vec();
        body.resize(bytes.max(8), b'.');
        body
    }

    pub fn of(body: &[u8]) -> Self {
        Self(u64::from_be_bytes(body[..8].try_into().unwrap()))
    }

    fn round(self) -> u32 {
        u32::try_from(self.0 >> 40).unwrap()
    }

    fn publisher(self) -> u64 {
        self.0 >> 32
    }
}

/// What one worker did and saw, in its order.
#[derive(Debug)]
pub enum Record {
    /// Sent to these queues; written down before it is sent.
    Published {
        id: Id,
        queues: Vec<usize>,
        is_persistent: bool,
    },
    Confirmed(Id),
    Delivered {
        queue: usize,
        id: Id,
        redelivered: bool,
    },
    AckSent {
        queue: usize,
        id: Id,
    },
    /// The ack is on disk, as a later confirm on the same connection shows.
    AckSettled {
        queue: usize,
        id: Id,
    },
}

/// How far a transaction came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// Rolled back, or its commit was never sent.
    Never,
    /// Sent, not answered.
    Sent,
    Done,
}

/// Publishes one message to each of `TX_OUT` and acks one of `TX_IN`.
#[derive(Clone, Copy, Debug)]
pub struct Transaction {
    pub id: Id,
    pub taken: Id,
    pub commit: Commit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ack {
    None,
    Sent,
    Settled,
}

/// A message in one queue.
#[derive(Debug)]
struct Copy {
    is_persistent: bool,
    is_confirmed: bool,
    /// The round of the last delivery.
    last_seen: Option<u32>,
    /// It came without the redelivered flag.
    was_fresh: bool,
    ack: Ack,
}

#[derive(Debug, Default)]
pub struct Books {
    copies: HashMap<(usize, Id), Copy>,
    transactions: Vec<Transaction>,
    /// Of the last round; replaced at each entry.
    pub published: usize,
    pub delivered: usize,
}

impl Books {
    /// Enters what all workers of a round did.
    pub fn enter(&mut self, round: u32, logs: &[Vec<Record>], transactions: Vec<Transaction>) {
        self.published = 0;
        self.delivered = 0;
        for record in logs.iter().flatten() {
            if let Record::Published {
                id,
                queues,
                is_persistent,
            } = record
            {
                self.publish(*id, queues, *is_persistent);
            }
        }
        for record in logs.iter().flatten() {
            if let Record::Delivered {
                queue,
                id,
                redelivered,
            } = record
            {
                self.deliver(round, *queue, *id, *redelivered);
            }
        }
        for record in logs.iter().flatten() {
            match record {
                Record::Confirmed(id) => self.confirm(*id),
                Record::AckSent { queue, id } => self.ack(*queue, *id, Ack::Sent),
                Record::AckSettled { queue, id } => self.ack(*queue, *id, Ack::Settled),
                _ => {}
            }
        }
        for transaction in &transactions {
            match transaction.commit {
                Commit::Never => {}
                Commit::Sent => self.ack(TX_IN, transaction.taken, Ack::Sent),
                Commit::Done => {
                    self.confirm(transaction.id);
                    self.ack(TX_IN, transaction.taken, Ack::Settled);
                }
            }
        }
        self.transactions.extend(transactions);
    }

    /// Enters that these messages, and no others, are in the queues: all that the broker has after a crash. They are
    /// acked, or go back.
    pub fn enter_all(&mut self, round: u32, found: &BTreeMap<usize, Vec<(Id, bool)>>, acked: bool) {
        for (&queue, messages) in found {
            check_order(queue, messages);
            for (id, redelivered) in messages {
                self.deliver(round, queue, *id, *redelivered);
            }
        }
        for ((queue, id), copy) in &self.copies {
            let is_due = copy.is_persistent && copy.is_confirmed && copy.ack == Ack::None;
            let is_here = copy.last_seen == Some(round);
            assert!(
                is_here || !is_due,
                "{id:?} was confirmed and is no longer in {}: {copy:?}",
                QUEUES[*queue]
            );
        }
        for transaction in std::mem::take(&mut self.transactions) {
            self.check_transaction(round, transaction);
        }
        for copy in self.copies.values_mut() {
            let goes_back = !acked && copy.last_seen == Some(round);
            copy.ack = if goes_back { Ack::None } else { Ack::Settled };
            // It has outlived the broker.
            copy.is_confirmed |= goes_back;
        }
    }

    fn publish(&mut self, id: Id, queues: &[usize], is_persistent: bool) {
        self.published += 1;
        for &queue in queues {
            let copy = Copy {
                is_persistent,
                is_confirmed: false,
                last_seen: None,
                was_fresh: false,
                ack: Ack::None,
            };
            assert!(
                self.copies.insert((queue, id), copy).is_none(),
                "{id:?} is used twice"
            );
        }
    }

    fn confirm(&mut self, id: Id) {
        for queue in 0..QUEUES.len() {
            if let Some(copy) = self.copies.get_mut(&(queue, id)) {
                copy.is_confirmed = true;
            }
        }
    }

    fn ack(&mut self, queue: usize, id: Id, ack: Ack) {
        let copy = self
            .copies
            .get_mut(&(queue, id))
            .expect("only what was delivered is acked");
        copy.ack = copy.ack.max(ack);
    }

    fn deliver(&mut self, round: u32, queue: usize, id: Id, redelivered: bool) {
        self.delivered += 1;
        let name = QUEUES[queue];
        let Some(copy) = self.copies.get_mut(&(queue, id)) else {
            panic!("{id:?} came from {name} and was never published there");
        };
        assert!(
            copy.is_persistent || id.round() == round,
            "{id:?} in {name} is transient and came back"
        );
        assert!(
            copy.ack < Ack::Settled,
            "{id:?} in {name} was acked, which was on disk, and came back"
        );
        if !redelivered {
            let last_seen = copy.last_seen;
            assert!(
                last_seen.is_none_or(|seen| seen == round) && !copy.was_fresh,
                "{id:?} in {name} came unflagged in round {round} and was seen before: {copy:?}"
            );
            copy.was_fresh = true;
        }
        copy.last_seen = Some(round);
    }

    /// `round` is that of the count of everything: who was seen in it was there.
    fn check_transaction(&self, round: u32, transaction: Transaction) {
        let Transaction { id, taken, commit } = transaction;
        let copies = TX_OUT.map(|queue| self.copies[&(queue, id)].last_seen == Some(round));
        let here = copies.iter().filter(|is_here| **is_here).count();
        let (least, most) = match commit {
            Commit::Never => (0, 0),
            Commit::Sent => (0, copies.len()),
            Commit::Done => (copies.len(), copies.len()),
        };
        let is_whole = here == 0 || here == copies.len();
        assert!(
            is_whole && (least..=most).contains(&here),
            "of {transaction:?} {here} of {} messages are there",
            copies.len()
        );
        if commit == Commit::Sent {
            let taken = &self.copies[&(TX_IN, taken)];
            let came_back = taken.last_seen > Some(id.round());
            assert!(
                !(came_back && here > 0),
                "{transaction:?} is done, and its ack is not"
            );
            // Without its confirm it may have been handed out before it was on disk.
            let is_due = here == 0 && taken.is_confirmed;
            assert!(
                came_back || !is_due,
                "{transaction:?} is not done, and its ack is"
            );
        }
    }
}

/// What one publisher sent to one queue stands there in its order, also when it had been handed out.
fn check_order(queue: usize, messages: &[(Id, bool)]) {
    let mut last: HashMap<u64, Id> = HashMap::new();
    for (id, _) in messages {
        let before = last.insert(id.publisher(), *id);
        assert!(
            before < Some(*id),
            "in {} {id:?} stands behind {before:?}",
            QUEUES[queue]
        );
    }
}
