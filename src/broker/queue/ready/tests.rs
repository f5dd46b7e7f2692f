//! Priorities and the window. What becomes of messages in histories is tested with the whole queue.

use super::*;
use crate::message::Message;

const WINDOW: Window = Window {
    messages: 40,
    bytes: 1 << 20,
};

fn empty(max_priority: u8) -> Ready {
    Ready::new(WINDOW, max_priority, Vec::new())
}

fn entry(position: u64, expires_at: Option<u64>) -> PublishEntry {
    PublishEntry {
        position: Position(position),
        message: Message::new(b"", b"q", &[0, 0], b"12345678"),
        expires_at: expires_at.map(Timestamp::from_millis),
        is_persistent: false,
    }
}

/// Adds a message as the queue does; false when it went to the store only.
fn push(ready: &mut Ready, priority: u8, entry: &PublishEntry) -> bool {
    let level = ready.level(priority);
    if ready.is_window_full(level) {
        ready.push_unread(level, entry);
        return false;
    }
    let waiting = Waiting {
        message: entry.message.clone(),
        expires_at: entry.expires_at,
        delivery_count: 0,
        redelivered: false,
        stored: false,
    };
    ready.insert(level, entry.position, waiting);
    true
}

fn place(popped: Option<(LevelId, Position, Waiting)>) -> Option<(u8, u64)> {
    popped.map(|(level, position, _)| (level.priority, position.0))
}

#[test]
fn the_highest_priority_goes_first_and_the_lowest_is_dropped_first() {
    let mut ready = empty(9);
    for (position, priority) in (0..).zip([3, 9, 0, 3, 200, 0]) {
        assert!(push(&mut ready, priority, &entry(position, None)));
    }
    assert_eq!(ready.count(), 6);
    assert_eq!(ready.body_bytes(), 48);
    assert_eq!(
        place(ready.pop_lowest()),
        Some((0, 2)),
        "the oldest of the lowest"
    );
    let rest: Vec<_> = std::iter::from_fn(|| place(ready.pop())).collect();
    assert_eq!(rest, [(9, 1), (9, 4), (3, 0), (3, 3), (0, 5)], "200 counts as 9");
    assert_eq!((ready.count(), ready.body_bytes()), (0, 0));
}

#[test]
fn without_priorities_there_is_one_level() {
    let mut ready = empty(0);
    assert_eq!(ready.level(0), LevelId::BASE);
    assert_eq!(ready.level(255), LevelId::BASE);
}

#[test]
fn levels_are_numbered_as_they_come_and_base_is_always_there() {
    let mut ready = empty(255);
    let numbers: Vec<u8> = [7, 255, 7, 0, 1]
        .map(|priority| ready.level(priority).index)
        .into();
    assert_eq!(numbers, [1, 2, 1, 0, 3]);
}

#[test]
fn priorities_share_the_window() {
    let mut ready = empty(3);
    let mut in_memory = [0; 4];
    for position in 0..400 {
        let priority = u8::try_from(position % 4).unwrap();
        in_memory[usize::from(priority)] += usize::from(push(&mut ready, priority, &entry(position, None)));
    }
    assert_eq!(in_memory, [10; 4]);
    assert_eq!(ready.count(), 400);
}

#[test]
fn a_higher_priority_that_only_the_store_has_comes_first() {
    let mut ready = empty(1);
    push(&mut ready, 0, &entry(0, None));
    for position in 1..30 {
        push(&mut ready, 1, &entry(position, None));
    }
    while ready.next_in_memory().is_some() {
        assert_eq!(place(ready.pop()).map(|(priority, _)| priority), Some(1));
    }
    assert_eq!(
        ready.count(),
        10,
        "nine are unread, and one of priority 0 has to wait for them"
    );
    assert_eq!(place(ready.pop()), None);
    let mut loads = Vec::new();
    ready.load(&mut loads);
    assert_eq!(loads.len(), 1);
    assert_eq!(
        (loads[0].level.priority, loads[0].from, loads[0].to),
        (1, Position(21), Position(30))
    );
    ready.load(&mut loads);
    assert_eq!(loads.len(), 1, "one page at a time");
}

#[test]
fn expired_messages_are_found_in_the_order_of_their_time() {
    let mut ready = empty(3);
    for (position, (priority, expires_at)) in (0..).zip([(0, 30), (3, 20), (1, 20), (2, 40), (0, 10)]) {
        push(&mut ready, priority, &entry(position, Some(expires_at)));
    }
    let at = Timestamp::from_millis;
    assert_eq!(ready.expires_next(), Some(at(10)));
    assert_eq!(place(ready.pop_expired(at(9))), None);
    assert_eq!(place(ready.pop_expired_before(at(10))), None);
    let expired: Vec<_> = std::iter::from_fn(|| place(ready.pop_expired(at(30)))).collect();
    assert_eq!(expired, [(0, 4), (3, 1), (1, 2), (0, 0)]);
    assert_eq!(ready.expires_next(), Some(at(40)));
    assert_eq!(place(ready.pop()), Some((2, 3)));
    assert_eq!(ready.expires_next(), None, "who leaves is forgotten");
}
