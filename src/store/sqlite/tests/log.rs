//! How long the write-ahead log becomes.

use super::*;

#[test]
fn groups_larger_than_a_checkpoint_do_not_let_the_log_grow() {
    const CHECKPOINT_BYTES: u64 = 64 << 10;
    const GROUP_BYTES: usize = 100 << 10;
    let directory = directory();
    let settings = StoreSettings {
        checkpoint_bytes: CHECKPOINT_BYTES,
        ..StoreSettings::default()
    };
    let (store, _) = open_with(directory.path(), &settings);
    commit(&store, [Operation::DeclareQueue(queue_row(1))]);
    let body = vec![0x5A; GROUP_BYTES];
    for at in 0..400 {
        let messages = vec![entry(at, message(PERSISTENT, &body))];
        let publish = Operation::Publish {
            queue: QueueId(1),
            messages,
        };
        commit(&store, [publish]);
    }
    let log = std::fs::metadata(directory.path().join("leveret.db-wal"))
        .expect("a log")
        .len();
    // The writer waits at six groups, and may have added another two before it does.
    let most = 8 * (GROUP_BYTES as u64 + CHECKPOINT_BYTES);
    assert!(log < most, "{log} bytes");
}
