//! Holds: what they keep together, and that the writer is not kept from its work.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Condvar;

use super::*;

#[test]
fn what_a_hold_spans_is_committed_at_once() {
    let directory = directory();
    let (store, _) = open(directory.path());
    commit(&store, [Operation::DeclareQueue(queue_row(1))]);
    let before = store.committed();
    store.hold();
    store.append(&mut vec![publish(1, 0..1)]);
    store.hold();
    store.append(&mut vec![publish(1, 1..2)]);
    store.release();
    let last = store.append(&mut vec![publish(1, 2..3)]);
    assert_eq!(store.committed(), before, "a hold keeps the group open");
    store.release();
    let (sender, woken) = mpsc::channel();
    if store.wake_when_committed(last, &Waker::from(Arc::new(Wake(sender)))) {
        woken.recv_timeout(DEADLINE).expect("a commit in time");
    }
    assert_eq!(positions(&load(&store, 1, 0, 3, 10)), [0, 1, 2]);
}

/// Tells threads to end, also when the test fails: it waits for them.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn overlapping_holds_do_not_starve_the_writer() {
    let directory = directory();
    let (store, _) = open(directory.path());
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = End(&ended);
        for _ in 0..3 {
            scope.spawn(|| {
                let mut last = Sequence(0);
                while !ended.load(Ordering::Relaxed) {
                    store.hold();
                    // One at a time: else each group would be longer, and take longer, than the one before.
                    if store.committed() >= last {
                        last = store.append(&mut vec![Operation::DeclareQueue(queue_row(1))]);
                    }
                    thread::yield_now();
                    store.release();
                }
            });
        }
        for _ in 0..5 {
            commit(&store, [Operation::DeclareQueue(queue_row(2))]);
        }
    });
}

#[test]
fn holds_that_outlast_the_patience_of_others_do_not_starve_the_writer() {
    let directory = directory();
    let (store, _) = open(directory.path());
    let ended = AtomicBool::new(false);
    let (entries, entered) = (Mutex::new(0), Condvar::new());
    thread::scope(|scope| {
        let _end = End(&ended);
        for _ in 0..2 {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    store.hold();
                    store.append(&mut vec![Operation::DeclareQueue(queue_row(1))]);
                    // As if the system let this thread run again when others have lost their patience.
                    let mut number = entries.lock();
                    *number += 1;
                    entered.notify_all();
                    let mine = *number;
                    entered.wait_while_for(&mut number, |last| *last == mine, Duration::from_millis(100));
                    drop(number);
                    store.release();
                }
            });
        }
        for _ in 0..3 {
            commit(&store, [Operation::DeclareQueue(queue_row(2))]);
        }
    });
}
