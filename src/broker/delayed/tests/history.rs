//! Random histories: publishes, cancels, lists, time, commits and crashes, in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// What clients know in a history.
#[derive(Default)]
struct Known {
    /// All that were published: due time, step, and what has to be committed for the confirm.
    published: BTreeMap<u64, (u64, usize, Option<Sequence>)>,
    /// With what has to be committed.
    cancelled: BTreeMap<u64, Sequence>,
    /// By place in the queue: step and time at which a message was seen there.
    seen: Vec<(usize, u64)>,
}

fn number(message: &Message) -> u64 {
    u64::from_be_bytes(message.body().try_into().unwrap())
}

impl Known {
    /// After a crash: what was confirmed is on disk, once, and what was cancelled for good is not.
    fn check_disk(&mut self, disk: &MemoryStore, committed: Sequence) {
        let queued = disk.messages().into_iter().map(|(_, message)| number(&message));
        let delayed = disk.delayed_messages();
        let all: Vec<u64> = queued.chain(delayed.iter().map(number)).collect();
        let there: BTreeSet<u64> = all.iter().copied().collect();
        assert_eq!(there.len(), all.len(), "a message is there twice");
        for (number, (_, _, after)) in &self.published {
            let is_confirmed = after.is_some_and(|after| after <= committed);
            let is_cancelled = self.cancelled.contains_key(number);
            assert!(
                !is_confirmed || is_cancelled || there.contains(number),
                "{number} is lost"
            );
        }
        for (number, after) in &self.cancelled {
            assert!(
                *after > committed || !there.contains(number),
                "{number} was cancelled"
            );
        }
        self.published.retain(|number, (_, _, after)| {
            *after = Some(Sequence(0));
            there.contains(number)
        });
        self.cancelled.clear();
    }

    /// In the end: each came once, not early, and none that was due earlier and there was overtaken.
    fn check_end(&self, came: &[u64]) {
        let mut expected: BTreeSet<u64> = self.published.keys().copied().collect();
        expected.retain(|number| !self.cancelled.contains_key(number));
        assert_eq!(came.iter().copied().collect::<BTreeSet<_>>(), expected);
        assert_eq!(came.len(), expected.len(), "one came twice");
        assert_eq!(came.len(), self.seen.len());
        for (at, number) in came.iter().enumerate() {
            let (due, _, _) = self.published[number];
            let (step, time) = self.seen[at];
            assert!(due <= time, "{number} came early");
            for later in &came[at + 1..] {
                let (other, published, _) = self.published[later];
                let is_overtaken = (other, *later) < (due, *number) && published < step;
                assert!(!is_overtaken, "{number} overtook {later}");
            }
        }
    }
}

/// Which message was to be cancelled, and what became of it.
type Answer = (u64, Option<Sequence>);

/// A history while it goes on.
struct History {
    rng: StdRng,
    world: World,
    known: Known,
    /// What was cancelled, as answers come.
    answers: Arc<Mutex<Vec<Answer>>>,
    /// What was listed and not tried to cancel.
    listed: Arc<Mutex<Vec<DelayedEntry>>>,
    next: u64,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = world(rng.random_range(1..9));
        world.settle();
        Self {
            rng,
            world,
            known: Known::default(),
            answers: Arc::default(),
            listed: Arc::default(),
            next: 0,
        }
    }

    fn act(&mut self, step: usize) {
        match self.rng.random_range(0..100) {
            0..40 => self.publish(step),
            40..60 => self.world.pass(self.rng.random_range(0..6)),
            60..75 => self.world.durable.commit(self.rng.random_range(1..4)),
            75..90 => drop(self.world.durable.answer_load()),
            90..93 => {
                let listed = Arc::clone(&self.listed);
                let take = move |page: DelayedPage| *listed.lock() = page.entries;
                self.world
                    .delayed("later")
                    .list(DelayedId::FIRST, 20, Box::new(take));
            }
            93..97 => {
                let entry = self.listed.lock().pop();
                if let Some(DelayedEntry { id, message, .. }) = entry {
                    let answers = Arc::clone(&self.answers);
                    let take = move |cancelled| answers.lock().push((number(&message), cancelled));
                    self.world.delayed("later").cancel(id, Box::new(take));
                }
            }
            97 => {
                let committed = self.world.durable.committed();
                self.world.crash();
                self.answers.lock().clear();
                self.known.check_disk(&self.world.durable, committed);
                self.known
                    .seen
                    .truncate(usize::try_from(self.world.ready("q")).unwrap());
            }
            _ => self.world.settle(),
        }
        self.note(step);
        let delayed = self.world.delayed("later");
        assert!(delayed.count_in_memory() <= self.world.window.messages);
    }

    fn publish(&mut self, step: usize) {
        let millis = if self.rng.random_bool(0.1) {
            0
        } else {
            self.rng.random_range(0..40)
        };
        // One that is not delayed overtakes all others.
        let due = if millis == 0 {
            0
        } else {
            self.world.broker.clock.now().millis() + millis
        };
        let body = self.next.to_be_bytes();
        let after = self.world.publish("later", &["k"], &delay(millis), &body);
        self.known.published.insert(self.next, (due, step, after));
        self.next += 1;
    }

    /// What has come and what was answered up to this step.
    fn note(&mut self, step: usize) {
        for (number, cancelled) in self.answers.lock().drain(..) {
            if let Some(after) = cancelled {
                let before = self.known.cancelled.insert(number, after);
                assert_eq!(before, None, "{number} was cancelled twice");
            }
        }
        let now = self.world.broker.clock.now().millis();
        let ready = usize::try_from(self.world.ready("q")).unwrap();
        self.known.seen.resize(ready, (step, now));
    }

    fn finish(mut self) {
        self.world.pass(1000);
        self.world.settle();
        self.note(usize::MAX);
        let bodies = self.world.take_all("q").into_iter();
        let came: Vec<u64> = bodies
            .map(|body| u64::from_be_bytes(body.try_into().unwrap()))
            .collect();
        self.known.check_end(&came);
        assert_eq!(self.world.delayed("later").count(), 0);
        self.world.settle();
        assert_eq!(self.world.durable.delayed_messages().len(), 0);
    }
}

/// Says which history failed.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the history of seed {} fails", self.0);
        }
    }
}

#[test]
fn no_history_loses_doubles_hurries_or_reorders_a_delayed_message() {
    for seed in 0..100 {
        let _named = Named(seed);
        let mut history = History::new(seed);
        for step in 0..400 {
            history.act(step);
        }
        history.finish();
    }
}
