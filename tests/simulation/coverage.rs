//! How often what is worth meeting was met.

use std::collections::BTreeMap;
use std::fmt;

/// What has to happen in a run of the default length.
pub const EVENTS: &[&str] = &[
    "a channel ended by 403",
    "a channel ended by 404",
    "a channel ended by 405",
    "a channel ended by 406",
    "a channel recovered without an answer",
    "a client asked what a queue holds",
    "a connection ended by 501",
    "a connection ended by 503",
    "a connection ended by 504",
    "a connection ended by 530",
    "a connection ended by 540",
    "a method was answered",
    "a method wanted no answer",
    "a channel ended and gave messages back",
    "a dead letter became history",
    "a dead letter died again at once",
    "a dead letter left a key",
    "a dead letter was a duplicate",
    "a dead letter would have gone in circles",
    "a delayed message found its queue full",
    "a delayed message was released",
    "a delivery was late",
    "a hash chose a queue",
    "a hash chose a queue for want of what it looks at",
    "a hash chose among several for want of what it looks at",
    "a hash of a header chose a queue",
    "a hash of a property chose a queue",
    "a history was given to who came later",
    "a key had to go for others",
    "a key was forgotten with its message",
    "a late delivery was settled",
    "a late single active consumer was taken away",
    "a key was known for its message alone",
    "a letter of at-least-once was not taken",
    "a letter of at-least-once was taken",
    "a limit let in what fits",
    "a limit refused a channel",
    "a limit refused a connection",
    "a limit refused a queue",
    "a message came back",
    "a delivery waited for the disk",
    "a message said how long its key is to be known",
    "a message was a duplicate",
    "a message was delayed",
    "a message expired",
    "a message has rested",
    "a message reached no queue",
    "a message was acked",
    "a message was dropped at the head",
    "a message was dropped by its priority",
    "a message was rejected",
    "a policy changed a queue",
    "a publish was nacked",
    "a publish was refused",
    "a queue knew a key",
    "a queue refused a message",
    "a queue was deleted",
    "a queue went with its last consumer",
    "a reply came too late",
    "a reply reached who asked",
    "a right for what an argument names was missing",
    "a right to configure was missing",
    "a right to read was missing",
    "a right to write was missing",
    "a routing key was not allowed",
    "a request carried an address",
    "a transaction delayed a message",
    "a transaction had a duplicate",
    "a transaction had publishes and settlements",
    "a transaction left a key",
    "a transaction was refused in part",
    "a transaction was remembered",
    "a transaction was undone that an exchange would have remembered",
    "an exchange that takes each key once met one again",
    "an exclusive queue was refused to another client",
    "an exclusive queue went with its connection",
    "an owner declared its queue again",
    "an unused queue expired",
    "chance chose a local queue",
    "chance chose a queue",
    "dead-lettered: delivery_limit",
    "dead-lettered: expired",
    "dead-lettered: maxlen",
    "dead-lettered: rejected",
    "messages expired and others stayed",
    "rights were just enough",
    "the node refused a channel",
    "the node refused a connection",
    "the node refused a queue",
    "the node refused an exchange",
    "the broker died",
    "the broker died after a commit that was not told",
    "the broker died between two steps",
    "the broker died in the middle of a step",
];

/// What is worth meeting often, and how often it has to happen in a run of the default length.
pub const OFTEN: &[(&str, u64)] = &[("the broker died in the middle of a step", 20)];

/// Counts by the words that say what happened.
#[derive(Clone, Debug, Default)]
pub struct Coverage(BTreeMap<&'static str, u64>);

impl Coverage {
    pub fn note(&mut self, event: &'static str) {
        *self.0.entry(event).or_default() += 1;
    }

    pub fn count(&self, event: &str) -> u64 {
        self.0.get(event).copied().unwrap_or_default()
    }

    pub fn add(&mut self, other: &Self) {
        for (event, count) in &other.0 {
            *self.0.entry(event).or_default() += count;
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (event, count) in &self.0 {
            writeln!(f, "{count:>9}  {event}")?;
        }
        Ok(())
    }
}
