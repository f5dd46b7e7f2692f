//! A start on files as they stood in the middle of work.

use super::*;

#[test]
fn a_crash_leaves_whole_groups_and_everything_that_was_committed() {
    const WINDOW: u64 = 7;
    let directory = directory();
    // Files can be copied at any moment as long as only the log changes.
    let settings = StoreSettings {
        checkpoint_bytes: 1 << 40,
        ..StoreSettings::default()
    };
    let (store, _) = open_with(directory.path(), &settings);
    commit(&store, [1, 2].map(|id| Operation::DeclareQueue(queue_row(id))));
    let mut next = 0;
    for round in 0..12_u64 {
        let mut sequences = Vec::new();
        for _ in 0..50 + round * 7 {
            let mut operations = vec![publish(1, next..next + 1), publish(2, next..next + 1)];
            if next >= WINDOW {
                operations.extend([settle(1, [next - WINDOW]), settle(2, [next - WINDOW])]);
            }
            sequences.push((next, store.append(&mut operations)));
            next += 1;
        }
        let committed = store.committed();
        let sure = sequences
            .iter()
            .filter(|(_, sequence)| *sequence <= committed)
            .map(|(at, _)| *at)
            .max();
        let copy = crashed_copy(directory.path());
        let (copied, recovered) = open(copy.path());
        let [first, second] = [1, 2].map(|queue| positions(&load(&copied, queue, 0, next, usize::MAX)));
        assert_eq!(first, second, "both queues are of one group");
        let last = first.last().copied();
        let expected: Vec<u64> = last.map_or(Vec::new(), |last| {
            (last.saturating_sub(WINDOW - 1)..=last).collect()
        });
        assert_eq!(first, expected);
        assert!(last >= sure, "{last:?} was recovered of {sure:?}");
        assert_eq!(recovered.queues[0].levels[0].messages, first.len() as u64);
        commit(&store, []);
    }
}
