//! What can happen in a history.

use proptest::prelude::*;

/// How many queues there are.
pub const QUEUES: u8 = 3;

/// How many numbers messages are kept under: those of the queues, and of one level of each but the last.
pub const NUMBERS: u8 = QUEUES + 2;

/// One step of a history; numbers choose among what is there at that moment.
#[derive(Clone, Debug)]
pub enum Step {
    Publish {
        queue: u8,
        count: u8,
        transient: u8,
        /// What is special about them; see [`Special`].
        special: u8,
        body: u16,
    },
    /// One message to all queues.
    Fanout {
        body: u16,
    },
    /// Transient messages that had kept a place in memory.
    Spill {
        queue: u8,
        special: u8,
    },
    Settle {
        queue: u8,
        from: u8,
        count: u8,
        step: u8,
    },
    Purge {
        queue: u8,
        from: u8,
    },
    Return {
        queue: u8,
        at: u8,
        count: u8,
    },
    Mark {
        queue: u8,
        before: u8,
    },
    Delete {
        queue: u8,
    },
    Hold,
    Release,
    Commit,
    Load {
        queue: u8,
        from: u8,
        messages_max: u8,
        expired_at: Option<u8>,
    },
    Reopen,
    Crash,
}

pub fn step() -> impl Strategy<Value = Step> {
    let queue = 0..NUMBERS;
    let n = any::<u8>;
    prop_oneof![
        6 => (queue.clone(), 1_u8..40, n(), n(), 0_u16..400)
            .prop_map(|(queue, count, transient, special, body)| {
                Step::Publish { queue, count, transient, special, body }
            }),
        2 => (0_u16..400).prop_map(|body| Step::Fanout { body }),
        2 => (queue.clone(), n()).prop_map(|(queue, special)| Step::Spill { queue, special }),
        6 => (queue.clone(), n(), 1_u8..60, 1_u8..3)
            .prop_map(|(queue, from, count, step)| Step::Settle { queue, from, count, step }),
        1 => (queue.clone(), n()).prop_map(|(queue, from)| Step::Purge { queue, from }),
        2 => (queue.clone(), n(), 1_u8..5).prop_map(|(queue, at, count)| Step::Return { queue, at, count }),
        1 => (queue.clone(), n()).prop_map(|(queue, before)| Step::Mark { queue, before }),
        1 => queue.clone().prop_map(|queue| Step::Delete { queue }),
        1 => Just(Step::Hold),
        1 => Just(Step::Release),
        4 => Just(Step::Commit),
        6 => (queue, n(), 1_u8..50, prop::option::of(0_u8..24))
            .prop_map(|(queue, from, messages_max, expired_at)| {
                Step::Load { queue, from, messages_max, expired_at }
            }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}
