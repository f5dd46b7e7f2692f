//! What a transaction has gathered: where a message goes is decided when it is published, unless an exchange that
//! remembers is on its way; that looks at it, and learns of it, at the commit.

use rand::RngExt;

use super::detours::{Detour, LATE, ONCE, UNIQUE};
use super::exchanges::{BY_PROPERTIES, EXCHANGES};
use super::message::Message;
use super::model::Model;
use super::remembering::HISTORY;
use super::stage::{Age, Stage};

/// What becomes of a message at the commit.
#[derive(Clone, Debug)]
pub enum Gathered {
    /// It enters these queues.
    Routed(Vec<String>),
    /// It waits until then, routed by these keys.
    Late(u64, Vec<String>),
    /// It is routed.
    Remembered,
}

impl Model {
    /// A message is published in a transaction, and whether it will be returned.
    pub fn foresee(&mut self, message: &Message, is_mandatory: bool) -> (Gathered, bool) {
        let (exchange, keys) = (&message.exchange, message.routing_keys());
        let queues = self.topology.route(exchange, &keys, message, &self.queues);
        self.note_hash(message, !queues.is_empty());
        if let Some(due) = self.due(exchange, message)
            && !(is_mandatory && queues.is_empty())
        {
            return (Gathered::Late(due, keys), false);
        }
        let seen = self.first_sight(message);
        if seen.is_none() && exchange != HISTORY {
            if queues.is_empty() {
                self.coverage.note("a message reached no queue");
            }
            let is_returned = is_mandatory && queues.is_empty();
            return (Gathered::Routed(queues), is_returned);
        }
        let is_known = seen.is_some_and(|seen| self.is_known(&seen));
        (
            Gathered::Remembered,
            is_mandatory && queues.is_empty() && !is_known,
        )
    }

    /// The transaction is committed: where its messages go now, and what else they meet.
    pub fn pass_gathered(
        &mut self,
        publishes: Vec<(Message, Gathered)>,
    ) -> (Vec<(Message, Vec<String>)>, Vec<Detour>) {
        let (mut routed, mut detours) = (Vec::new(), Vec::new());
        for (message, gathered) in publishes {
            let (queues, detour) = match gathered {
                Gathered::Routed(queues) => (queues, Detour::None),
                Gathered::Late(due, keys) => {
                    self.coverage.note("a transaction delayed a message");
                    self.delay(message.clone(), due, keys);
                    (Vec::new(), Detour::Delayed)
                }
                Gathered::Remembered => {
                    let keys = message.routing_keys();
                    let queues = self
                        .topology
                        .route(&message.exchange, &keys, &message, &self.queues);
                    let (queues, detour) = self.leave_traces(&message, queues);
                    self.coverage.note(match &detour {
                        Detour::Duplicate(_) => "a transaction had a duplicate",
                        Detour::First(_) => "a transaction left a key",
                        _ => "a transaction was remembered",
                    });
                    (queues, detour)
                }
            };
            routed.push((message, queues));
            detours.push(detour);
        }
        (routed, detours)
    }
}

impl Stage {
    /// An exchange that transactions publish to: any but those that leave it to chance.
    pub fn transactional_exchange(&mut self) -> &'static str {
        if self.age == Age::Now && self.rng.random_bool(0.3) {
            return [LATE, ONCE, UNIQUE, HISTORY][self.rng.random_range(0..4)];
        }
        if self.age >= Age::Common && self.rng.random_bool(0.2) {
            return EXCHANGES[self.rng.random_range(BY_PROPERTIES)].name;
        }
        self.layout.plain_exchange(&mut self.rng)
    }
}
