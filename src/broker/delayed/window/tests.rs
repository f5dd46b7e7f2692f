//! The window against a list that holds everything, with pages that are read late and arrive later.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// A message that is due so many milliseconds from now.
    Add(u64),
    /// Time passes, and so many messages at most are taken.
    Take(u64, usize),
    /// The store reads the page that was asked for.
    Read,
    /// What was read arrives.
    Arrive,
    /// Somebody cancels a message, by its number.
    Cancel(u64),
    /// The store answers the one who wanted to cancel a message that is not in memory.
    Answer,
    /// The broker dies and finds what the store has.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..30u64).prop_map(Step::Add),
        3 => (0..8u64, 1..5usize).prop_map(|(millis, max)| Step::Take(millis, max)),
        3 => Just(Step::Read),
        3 => Just(Step::Arrive),
        2 => (0..60u64).prop_map(Step::Cancel),
        2 => Just(Step::Answer),
        1 => prop::num::u8::ANY.prop_map(|number| if number < 16 { Step::Restart } else { Step::Read }),
    ];
    prop::collection::vec(step, 0..200)
}

/// The window, and all that should be in it or behind it.
struct World {
    window: DelayedWindow,
    all: BTreeMap<DelayedId, Message>,
    asked: Option<Load>,
    read: Option<(Vec<DelayedEntry>, Option<DelayedId>)>,
    /// The store was asked for this one, and had it.
    cancelling: Option<DelayedId>,
    limits: Window,
    now: u64,
    next: u64,
}

impl World {
    fn new(limits: Window) -> Self {
        Self {
            window: DelayedWindow::new(limits, 0, Position(0)),
            all: BTreeMap::new(),
            asked: None,
            read: None,
            cancelling: None,
            limits,
            now: 1,
            next: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Add(delay) => {
                let message = Message::new(b"x", b"", &[0, 0], &vec![7; usize::try_from(*delay).unwrap()]);
                let due = Timestamp::from_millis(self.now + delay);
                let id = self
                    .window
                    .add(due, message.clone(), DelayedWay::Exchange(Vec::new()));
                assert_eq!(id.position, Position(self.next));
                self.next += 1;
                self.all.insert(id, message);
            }
            Step::Take(millis, max) => {
                self.now += millis;
                self.take(*max);
            }
            Step::Read => self.read(),
            Step::Arrive => {
                if let Some((entries, next)) = self.read.take() {
                    self.asked = None;
                    self.window.page_loaded(entries, next);
                }
            }
            Step::Cancel(position) => self.cancel(Position(*position)),
            Step::Answer => {
                if let Some(id) = self.cancelling.take() {
                    let is_there = self.all.remove(&id).is_some();
                    assert_eq!(self.window.cancel_stored(id), is_there, "{id:?}");
                }
            }
            Step::Restart => {
                let count = self.all.len() as u64;
                self.window = DelayedWindow::new(self.limits, count, Position(self.next));
                self.asked = None;
                self.read = None;
                self.cancelling = None;
            }
        }
        if self.asked.is_none() {
            self.asked = self.window.load();
        }
        self.check();
    }

    fn take(&mut self, max: usize) -> usize {
        let taken = self.window.take_due(Timestamp::from_millis(self.now), max);
        for entry in &taken {
            assert!(entry.id.due.millis() <= self.now, "{:?} comes early", entry.id);
            let (first, message) = self.all.pop_first().expect("there are messages");
            assert_eq!(entry.id, first, "the first is due first");
            assert!(entry.message.is_same(&message));
        }
        taken.len()
    }

    fn read(&mut self) {
        let Some(load) = self.asked.filter(|_| self.read.is_none()) else {
            return;
        };
        let mut entries = Vec::new();
        let mut bytes = 0;
        for (id, message) in self.all.range(load.from..) {
            if !entries.is_empty() && (entries.len() >= load.messages_max || bytes >= load.bytes_max) {
                self.read = Some((entries, Some(*id)));
                return;
            }
            bytes += message.memory_bytes();
            entries.push(DelayedEntry {
                id: *id,
                message: message.clone(),
                way: DelayedWay::Exchange(Vec::new()),
            });
        }
        self.read = Some((entries, None));
    }

    fn cancel(&mut self, position: Position) {
        let there = self.all.keys().find(|id| id.position == position).copied();
        let id = there.unwrap_or(DelayedId {
            due: Timestamp::from_millis(self.now + 3),
            position,
        });
        if self.cancelling == Some(id) {
            return;
        }
        match self.window.cancel(id) {
            Cancel::Done => assert!(self.all.remove(&id).is_some(), "{id:?} was not there"),
            Cancel::Missing => assert!(!self.all.contains_key(&id), "{id:?} is there"),
            Cancel::AskStore if self.all.contains_key(&id) => self.cancelling = Some(id),
            Cancel::AskStore => {}
        }
    }

    fn check(&self) {
        assert_eq!(self.window.count(), self.all.len() as u64);
        let bytes = self.window.near.values().map(|kept| kept.message.memory_bytes());
        assert_eq!(self.window.near_bytes, bytes.sum::<usize>());
        let count = self.window.near.len();
        assert!(count <= self.limits.messages);
        assert!(count <= 1 || self.window.near_bytes <= self.limits.bytes);
        if self.asked.is_none() {
            let first = self.all.first_key_value().map(|(id, _)| id.due);
            assert_eq!(
                self.window.next_due(),
                first,
                "nothing is asked for, so the first is known"
            );
        }
    }

    /// Whatever happened, all that is left comes out once its time has come.
    fn finish(&mut self) {
        self.now += 1000;
        for _ in 0..2 * self.all.len() + 10 {
            self.step(&Step::Take(0, 3));
            self.step(&Step::Read);
            self.step(&Step::Arrive);
        }
        assert!(self.all.is_empty(), "{} are stuck", self.all.len());
        assert_eq!(self.window.count_in_memory(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn messages_come_in_order_and_not_early_and_once(
        messages in 1..9usize,
        bytes in prop_oneof![Just(1 << 20), 1..200usize],
        steps in steps(),
    ) {
        let mut world = World::new(Window { messages, bytes });
        for step in &steps {
            world.step(step);
        }
        world.finish();
    }
}

#[test]
fn after_a_restart_nothing_is_in_memory_before_a_page_came() {
    let limits = Window {
        messages: 10,
        bytes: 1 << 20,
    };
    let mut window = DelayedWindow::new(limits, 1_000_000, Position(1_000_000));
    assert_eq!(
        (window.count(), window.count_in_memory(), window.next_due()),
        (1_000_000, 0, None)
    );
    let load = window.load().expect("there is something to read");
    assert_eq!((load.from, load.messages_max), (DelayedId::FIRST, 10));
    assert_eq!(window.load(), None, "one page at a time");
}
