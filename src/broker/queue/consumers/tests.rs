//! Whose turn it is: cases, and random histories of a single active consumer against a list that is searched anew.

use proptest::prelude::*;

use super::*;

fn with_priority(priority: i64) -> ConsumerOptions {
    ConsumerOptions {
        priority,
        ..ConsumerOptions::default()
    }
}

fn with_prefetch(prefetch: u16) -> ConsumerOptions {
    ConsumerOptions {
        prefetch,
        ..ConsumerOptions::default()
    }
}

/// Delivers one message, if anybody can take it.
fn deliver(consumers: &mut Consumers) -> Option<ConsumerSlot> {
    let slot = consumers.take_turn()?;
    consumers.book(slot, 1);
    Some(slot)
}

#[test]
fn a_slot_used_again_is_another_consumer() {
    let mut consumers = Consumers::default();
    let first = consumers.add(ConsumerOptions::default());
    assert!(consumers.remove(first));
    let second = consumers.add(with_prefetch(1));
    assert_eq!(consumers.take_turn(), Some(second));
    assert!(consumers.book(second, 1));
    consumers.settled(first);
    assert_eq!(
        consumers.take_turn(),
        None,
        "what the first one settles is not the second one's"
    );
    consumers.settled(second);
    assert_eq!(consumers.take_turn(), Some(second));
}

#[test]
fn the_first_consumer_alone_is_active_and_waits_at_its_prefetch() {
    let mut consumers = Consumers::new(Activation::Single);
    let first = consumers.add(with_prefetch(2));
    consumers.add(with_priority(10));
    assert_eq!(deliver(&mut consumers), Some(first));
    assert_eq!(deliver(&mut consumers), Some(first));
    assert_eq!(
        deliver(&mut consumers),
        None,
        "its prefetch does not make room for others"
    );
    consumers.settled(first);
    assert_eq!(deliver(&mut consumers), Some(first));
}

#[test]
fn a_standby_has_no_credit() {
    let mut consumers = Consumers::new(Activation::Single);
    assert!(!consumers.have_credit(), "there is none");
    let active = consumers.add(with_prefetch(10));
    consumers.add(ConsumerOptions::default());
    for taken in 0..10 {
        assert!(consumers.have_credit());
        assert_eq!(consumers.taken(), taken);
        deliver(&mut consumers);
    }
    assert!(!consumers.have_credit(), "nobody waits for the standby");
    consumers.settled(active);
    assert!(consumers.have_credit());
}

#[test]
fn the_highest_priority_then_the_oldest_takes_over() {
    let mut consumers = Consumers::new(Activation::Single);
    let first = consumers.add(ConsumerOptions::default());
    let low = consumers.add(with_priority(-1));
    let high = consumers.add(with_priority(10));
    let later = consumers.add(with_priority(10));
    for (gone, next) in [
        (first, Some(high)),
        (high, Some(later)),
        (later, Some(low)),
        (low, None),
    ] {
        assert!(consumers.remove(gone));
        assert_eq!(deliver(&mut consumers), next);
    }
}

#[test]
fn a_waiting_consumer_that_goes_changes_nothing() {
    let mut consumers = Consumers::new(Activation::Single);
    let active = consumers.add(ConsumerOptions::default());
    let waiting = consumers.add(ConsumerOptions::default());
    assert!(consumers.remove(waiting));
    assert_eq!(deliver(&mut consumers), Some(active));
}

#[test]
fn a_suspended_consumer_keeps_its_place_and_takes_nothing() {
    let mut consumers = Consumers::new(Activation::Single);
    let active = consumers.add(ConsumerOptions::default());
    let waiting = consumers.add(ConsumerOptions::default());
    assert_eq!(deliver(&mut consumers), Some(active));
    consumers.suspend(active);
    assert_eq!(deliver(&mut consumers), None);
    consumers.settled(active);
    assert_eq!(
        deliver(&mut consumers),
        None,
        "what it gives back is not for others yet"
    );
    assert!(consumers.remove(active));
    assert_eq!(deliver(&mut consumers), Some(waiting));
}

#[test]
fn by_priority_the_active_one_yields_once_nothing_is_unacked() {
    let mut consumers = Consumers::new(Activation::SingleByPriority);
    let first = consumers.add(ConsumerOptions::default());
    assert_eq!(deliver(&mut consumers), Some(first));
    let high = consumers.add(with_priority(1));
    assert_eq!(deliver(&mut consumers), None, "neither: one delivery is unacked");
    consumers.settled(first);
    assert_eq!(deliver(&mut consumers), Some(high));
    consumers.add(with_priority(1));
    assert_eq!(
        deliver(&mut consumers),
        Some(high),
        "an equal does not outrank it"
    );
}

#[test]
fn by_priority_the_active_one_goes_on_when_its_rival_is_gone() {
    let mut consumers = Consumers::new(Activation::SingleByPriority);
    let first = consumers.add(ConsumerOptions::default());
    assert_eq!(deliver(&mut consumers), Some(first));
    let high = consumers.add(with_priority(1));
    assert_eq!(deliver(&mut consumers), None);
    assert!(consumers.remove(high));
    assert_eq!(deliver(&mut consumers), Some(first));
}

#[derive(Clone, Debug)]
enum Step {
    Add { priority: i64, prefetch: u16 },
    Remove(usize),
    Suspend(usize),
    Settle(usize),
    Deliver,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (-1..3i64, 0..3u16).prop_map(|(priority, prefetch)| Step::Add { priority, prefetch }),
        2 => any::<usize>().prop_map(Step::Remove),
        1 => any::<usize>().prop_map(Step::Suspend),
        4 => any::<usize>().prop_map(Step::Settle),
        6 => Just(Step::Deliver),
    ]
}

/// A consumer as the model sees it.
#[derive(Clone, Debug)]
struct Known {
    slot: ConsumerSlot,
    priority: i64,
    prefetch: u16,
    unacked: u32,
    suspended: bool,
}

/// Consumers in the order of their registration, and which of them is active.
#[derive(Debug, Default)]
struct Model {
    known: Vec<Known>,
    active: Option<ConsumerSlot>,
}

impl Model {
    /// The one that would be chosen among all but the active one.
    fn successor(&self) -> Option<&Known> {
        let others = || self.known.iter().filter(|known| Some(known.slot) != self.active);
        let highest = others().map(|known| known.priority).max()?;
        others().find(|known| known.priority == highest)
    }

    fn active(&self) -> Option<&Known> {
        self.known.iter().find(|known| Some(known.slot) == self.active)
    }

    fn is_outranked(&self) -> bool {
        match (self.active(), self.successor()) {
            (Some(active), Some(next)) => next.priority > active.priority,
            _ => false,
        }
    }

    fn settle_who_is_active(&mut self, activation: Activation) {
        let is_over = match self.active() {
            None => true,
            Some(active) => {
                activation == Activation::SingleByPriority && self.is_outranked() && active.unacked == 0
            }
        };
        if is_over {
            self.active = self.successor().map(|known| known.slot);
        }
    }

    /// Who gets the next message.
    fn next(&self, activation: Activation) -> Option<ConsumerSlot> {
        let active = self.active()?;
        let yields = activation == Activation::SingleByPriority && self.is_outranked();
        let has_room = active.prefetch == 0 || active.unacked < u32::from(active.prefetch);
        (has_room && !yields && !active.suspended).then_some(active.slot)
    }
}

proptest! {
    #[test]
    fn one_consumer_is_active_as_the_model_says(
        by_priority: bool,
        steps in prop::collection::vec(steps(), 1..80),
    ) {
        let activation = if by_priority { Activation::SingleByPriority } else { Activation::Single };
        let mut consumers = Consumers::new(activation);
        let mut model = Model::default();
        for step in steps {
            let index = |which: usize| which % model.known.len().max(1);
            match step {
                Step::Add { priority, prefetch } => {
                    let options = ConsumerOptions { priority, prefetch, ..ConsumerOptions::default() };
                    let slot = consumers.add(options);
                    let known = Known { slot, priority, prefetch, unacked: 0, suspended: false };
                    model.known.push(known);
                }
                Step::Remove(which) if !model.known.is_empty() => {
                    let gone = model.known.remove(index(which));
                    prop_assert!(consumers.remove(gone.slot));
                }
                Step::Suspend(which) if !model.known.is_empty() => {
                    let at = index(which);
                    model.known[at].suspended = true;
                    consumers.suspend(model.known[at].slot);
                }
                Step::Settle(which) if !model.known.is_empty() => {
                    let at = index(which);
                    if model.known[at].unacked > 0 {
                        model.known[at].unacked -= 1;
                        consumers.settled(model.known[at].slot);
                    }
                }
                Step::Deliver => {
                    let expected = model.next(activation);
                    prop_assert_eq!(deliver(&mut consumers), expected);
                    if let Some(known) = model.known.iter_mut().find(|known| Some(known.slot) == expected) {
                        known.unacked += 1;
                    }
                }
                Step::Remove(_) | Step::Suspend(_) | Step::Settle(_) => {}
            }
            model.settle_who_is_active(activation);
            prop_assert_eq!(consumers.len(), model.known.len());
        }
    }
}
