//! Stretches against a map of what expires when.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// Messages come, so many places apart, the last two of them expire or not.
    Note {
        gap: u64,
        ttls: Vec<Option<u64>>,
    },
    /// Time goes on.
    Advance(u64),
    /// The first messages go to memory.
    Load(usize),
    /// A stretch is looked through: at most so many messages are found, after so many looks; meanwhile others come.
    Look {
        found_max: usize,
        looks_max: usize,
        meanwhile: Vec<Option<u64>>,
    },
    Purge,
}

fn ttls() -> impl Strategy<Value = Vec<Option<u64>>> {
    prop::collection::vec(prop::option::weighted(0.6, 0..50u64), 0..6)
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (prop_oneof![Just(1u64), 1..6000u64], ttls()).prop_map(|(gap, ttls)| Step::Note { gap, ttls }),
        3 => (0..20u64).prop_map(Step::Advance),
        2 => (0..6usize).prop_map(Step::Load),
        6 => (1..4usize, 1..8usize, ttls()).prop_map(|(found_max, looks_max, meanwhile)| Step::Look {
            found_max,
            looks_max,
            meanwhile,
        }),
        1 => Just(Step::Purge),
    ]
}

struct Books {
    stretches: Stretches,
    unread: BTreeMap<Position, Option<Timestamp>>,
    next: Position,
    now: Timestamp,
}

impl Books {
    fn note(&mut self, gap: u64, ttls: &[Option<u64>]) {
        for ttl in ttls {
            let at = Position(self.next.0 + gap);
            self.next = Position(at.0 + 1);
            let expires_at = ttl.map(|ttl| self.now.plus(ttl));
            self.stretches.note(at, expires_at);
            self.unread.insert(at, expires_at);
        }
    }

    /// As a store reads; false when there was nothing to look at.
    fn look(&mut self, found_max: usize, looks_max: usize, meanwhile: &[Option<u64>]) -> bool {
        let Some((from, to)) = self.stretches.first_due(self.now) else {
            return false;
        };
        self.note(0, meanwhile);
        let (mut found, mut next, mut left) = (Vec::new(), to, None::<Timestamp>);
        for (looks, (at, expires_at)) in self.unread.range(from..to).enumerate() {
            if looks == looks_max || found.len() == found_max {
                next = *at;
                break;
            }
            if expires_at.is_some_and(|at| at <= self.now) {
                found.push(*at);
            } else {
                left = left.into_iter().chain(*expires_at).min();
            }
        }
        self.stretches.looked_through(from, next, to, left);
        for at in found {
            self.unread.remove(&at);
        }
        true
    }

    fn check(&self) {
        let truth = self.unread.values().flatten().min();
        let told = self.stretches.expires_next();
        if let Some(truth) = truth {
            assert!(
                told.is_some_and(|told| told <= *truth),
                "{told:?} is later than {truth:?}"
            );
        }
        assert_eq!(
            self.stretches.first_due(self.now).is_some(),
            told.is_some_and(|told| told <= self.now)
        );
        let list = &self.stretches.list;
        assert!(
            list.iter().all(|stretch| stretch.from < stretch.to),
            "an empty one: {list:?}"
        );
        assert!(
            list.iter()
                .zip(list.iter().skip(1))
                .all(|(one, next)| one.to <= next.from),
            "they overlap: {list:?}"
        );
    }
}

proptest! {
    #[test]
    fn what_expires_is_known_in_time(steps in prop::collection::vec(steps(), 1..60)) {
        let mut books = Books {
            stretches: Stretches::default(),
            unread: BTreeMap::new(),
            next: Position(0),
            now: Timestamp::from_millis(1_000),
        };
        for step in &steps {
            match step {
                Step::Note { gap, ttls } => books.note(*gap, ttls),
                Step::Advance(ms) => books.now = books.now.plus(*ms),
                Step::Load(count) => {
                    let read: Vec<_> = books.unread.keys().copied().take(*count).collect();
                    books.unread.retain(|at, _| !read.contains(at));
                    if let Some(last) = read.last() {
                        books.stretches.forget_before(Position(last.0 + 1));
                    }
                }
                Step::Look { found_max, looks_max, meanwhile } => {
                    books.look(*found_max, *looks_max, meanwhile);
                }
                Step::Purge => {
                    books.stretches = Stretches::default();
                    books.unread.clear();
                }
            }
            books.check();
        }
        let mut looks = 0;
        while books.look(2, 3, &[]) {
            looks += 1;
            prop_assert!(looks < 2_000, "it is never done");
        }
        books.check();
        let expired = books.unread.values().flatten().find(|at| **at <= books.now);
        prop_assert!(expired.is_none(), "not found: {expired:?}");
    }
}

#[test]
fn a_long_queue_takes_few_of_them() {
    let mut stretches = Stretches::default();
    for position in 0..100 * STRETCH_PLACES {
        stretches.note(Position(position), Some(Timestamp::from_millis(position + 1)));
    }
    assert_eq!(stretches.list.len(), 100);
    assert_eq!(stretches.expires_next(), Some(Timestamp::from_millis(1)));
}

#[test]
fn what_a_start_finds_is_used_on() {
    let stretch = |from, to, at| ExpiringStretch {
        from: Position(from),
        to: Position(to),
        expires_next: Timestamp::from_millis(at),
    };
    let mut stretches = Stretches::new(vec![stretch(0, 10, 50), stretch(20, 30, 40)]);
    let at = Timestamp::from_millis;
    assert_eq!(stretches.expires_next(), Some(at(40)));
    assert_eq!(stretches.first_due(at(45)), Some((Position(20), Position(30))));
    stretches.note(Position(30), Some(at(35)));
    assert_eq!(stretches.first_due(at(35)), Some((Position(20), Position(31))));
    stretches.forget_before(Position(31));
    assert_eq!(stretches.expires_next(), None);
}
