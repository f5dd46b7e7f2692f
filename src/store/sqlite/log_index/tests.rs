//! Logs that are cut and changed under an index that was left behind.

use std::fs;
use std::path::PathBuf;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;

/// A database whose connection is open, and copies of its files as a kill would leave them.
struct Scene {
    live: TempDir,
    left: TempDir,
    connection: Connection,
}

impl Scene {
    fn new() -> Self {
        let (live, left) = (
            TempDir::new().expect("a directory"),
            TempDir::new().expect("a directory"),
        );
        let connection = Connection::open(live.path().join("db")).expect("a database");
        connection
            .execute_batch(
                "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;
                 CREATE TABLE t(x)",
            )
            .expect("a table");
        let mut scene = Self {
            live,
            left,
            connection,
        };
        scene.commit(4);
        scene
    }

    fn commit(&mut self, times: usize) {
        for _ in 0..times {
            let insert = "INSERT INTO t VALUES (zeroblob(100))";
            self.connection.execute(insert, []).expect("an insert");
        }
    }

    fn checkpoint(&self) {
        let run = |row: &rusqlite::Row<'_>| row.get::<_, i64>(2);
        let moved = self
            .connection
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], run);
        assert!(moved.is_ok_and(|pages| pages > 0));
    }

    fn kill(&self) {
        for suffix in ["", "-wal", "-shm"] {
            self.leave(suffix);
        }
    }

    fn leave(&self, suffix: &str) {
        let name = format!("db{suffix}");
        fs::copy(self.live.path().join(&name), self.left.path().join(&name)).expect("a copy");
    }

    fn path(&self, suffix: &str) -> PathBuf {
        self.left.path().join(format!("db{suffix}"))
    }

    fn change(&self, suffix: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path(suffix)).expect("a file");
        change(&mut bytes);
        fs::write(self.path(suffix), bytes).expect("a file");
    }

    fn gap(&self) -> Option<Gap> {
        gap(&self.path("")).expect("files that can be read")
    }

    fn frames(&self) -> u32 {
        let bytes = fs::read(self.path("-wal")).expect("a log").len() - HEADER_BYTES;
        u32::try_from(bytes / (FRAME_HEADER_BYTES + PAGE)).expect("few")
    }
}

#[test]
fn a_whole_log_lacks_nothing() {
    let mut scene = Scene::new();
    scene.kill();
    assert_eq!(scene.gap(), None);
    scene.checkpoint();
    scene.kill();
    assert_eq!(scene.gap(), None);
    // It begins anew, with what is behind its end left as it was.
    scene.commit(1);
    scene.kill();
    assert_eq!(scene.gap(), None);
}

#[test]
fn what_is_cut_off_or_can_not_be_read_is_lost() {
    let scene = Scene::new();
    scene.kill();
    let all = scene.frames();
    let one = FRAME_HEADER_BYTES + PAGE;
    scene.change("-wal", |log| log.truncate(log.len() - 1));
    assert_eq!(scene.gap(), Some(Gap::Lost(1)));
    scene.change("-wal", |log| log.truncate(log.len() + 1 - 2 * one));
    assert_eq!(scene.gap(), Some(Gap::Lost(2)));
    scene.leave("-wal");
    scene.change("-wal", |log| log[HEADER_BYTES + one + 100] ^= 1);
    assert!(matches!(scene.gap(), Some(Gap::Lost(lost)) if lost >= all - 1));
    scene.leave("-wal");
    scene.change("-wal", |log| log[20] ^= 1);
    assert_eq!(scene.gap(), Some(Gap::Lost(all)));
    scene.change("-wal", Vec::clear);
    assert_eq!(scene.gap(), Some(Gap::Lost(all)));
    fs::remove_file(scene.path("-wal")).expect("a log");
    assert_eq!(scene.gap(), Some(Gap::Lost(all)));
}

#[test]
fn what_was_moved_and_can_not_be_read_does_not_fit() {
    let scene = Scene::new();
    scene.checkpoint();
    scene.kill();
    let one = FRAME_HEADER_BYTES + PAGE;
    scene.change("-wal", |log| log.truncate(log.len() - one));
    let expected = Gap::OutOfStep {
        pages: 1,
        is_all_moved: true,
    };
    assert_eq!(scene.gap(), Some(expected));
    // Without any log the database has everything.
    scene.change("-wal", Vec::clear);
    assert_eq!(scene.gap(), None);
}

#[test]
fn what_may_have_been_moved_is_told_and_does_not_keep_a_broker_from_starting() {
    let scene = Scene::new();
    scene.kill();
    let all = scene.frames();
    // So it is after a recovery: nothing was moved, and all may have been.
    scene.change("-shm", |index| {
        index[128..132].copy_from_slice(&all.to_ne_bytes());
    });
    let one = FRAME_HEADER_BYTES + PAGE;
    scene.change("-wal", |log| log.truncate(log.len() - one));
    assert_eq!(scene.gap(), Some(Gap::Unsure(1)));
    assert!(check(&scene.path("")).is_ok());
    // Some were, but not what is missing.
    scene.change("-shm", |index| {
        index[96..100].copy_from_slice(&(all - 1).to_ne_bytes());
    });
    assert_eq!(scene.gap(), Some(Gap::Unsure(1)));
    scene.change("-shm", |index| index[96..100].copy_from_slice(&all.to_ne_bytes()));
    assert!(check(&scene.path("")).is_err());
    scene.change("-wal", Vec::clear);
    scene.change("-shm", |index| {
        index[96..100].copy_from_slice(&1_u32.to_ne_bytes());
    });
    assert_eq!(scene.gap(), Some(Gap::Unsure(all)));
}

#[test]
fn an_index_of_another_log_or_none_tells_nothing() {
    let mut scene = Scene::new();
    scene.kill();
    scene.change("-shm", |index| index[17] ^= 1);
    scene.change("-wal", |log| log.truncate(5000));
    assert_eq!(scene.gap(), None);
    fs::remove_file(scene.path("-shm")).expect("an index");
    assert_eq!(scene.gap(), None);
    scene.leave("-shm");
    scene.checkpoint();
    scene.commit(1);
    // A power cut may leave an older index beside a newer log.
    scene.leave("-wal");
    assert_eq!(scene.gap(), None);
}
