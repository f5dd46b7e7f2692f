//! Delayed messages come back in the order in which they are due, and cost nothing before.

use proptest::prelude::*;

use super::*;
use crate::clock::Timestamp;
use crate::store::memory::MemoryStore;
use crate::store::{
    DelayedEntry, DelayedId, DelayedPage, DelayedRequest, DelayedSink, DelayedWay, DelaysRow, RecoveredDelays,
};

const DELAYS: QueueId = QueueId(5);

struct DelayedTo(Sender<DelayedPage>);

impl DelayedSink for DelayedTo {
    fn delayed_loaded(self: Arc<Self>, page: DelayedPage) {
        self.0.send(page).expect("the test waits for it");
    }
}

fn declare(id: QueueId) -> Operation {
    Operation::DeclareDelays(DelaysRow {
        id,
        vhost: "/".into(),
        exchange: format!("x{}", id.0).into(),
    })
}

fn id(due: u64, position: u64) -> DelayedId {
    DelayedId {
        due: Timestamp::from_millis(due),
        position: Position(position),
    }
}

fn delay_in(delays: QueueId, due: u64, position: u64) -> Operation {
    let entry = DelayedEntry {
        id: id(due, position),
        message: message(TRANSIENT, format!("body {position}").as_bytes()),
        way: DelayedWay::Exchange(Vec::new()),
    };
    Operation::Delay { delays, entry }
}

fn delay(due: u64, position: u64) -> Operation {
    delay_in(DELAYS, due, position)
}

fn end(ids: &[(u64, u64)]) -> Operation {
    Operation::EndDelay {
        delays: DELAYS,
        ids: ids.iter().map(|(due, position)| id(*due, *position)).collect(),
    }
}

fn read(store: &dyn Store, delays: QueueId, from: DelayedId, messages_max: usize) -> DelayedPage {
    let (sender, page) = mpsc::channel();
    store.append(&mut vec![Operation::LoadDelayed(DelayedRequest {
        delays,
        from,
        messages_max,
        bytes_max: usize::MAX,
        sink: Arc::new(DelayedTo(sender)),
    })]);
    if let Ok(page) = page.try_recv() {
        return page;
    }
    page.recv_timeout(DEADLINE).expect("a page in time")
}

fn ids(page: &DelayedPage) -> Vec<(u64, u64)> {
    let number = |entry: &DelayedEntry| (entry.id.due.millis(), entry.id.position.0);
    page.entries.iter().map(number).collect()
}

fn sums(messages: u64, body_bytes: u64, next: u64) -> Vec<RecoveredDelays> {
    vec![RecoveredDelays {
        row: DelaysRow {
            id: DELAYS,
            vhost: "/".into(),
            exchange: "x5".into(),
        },
        messages,
        body_bytes,
        next: Position(next),
    }]
}

#[test]
fn they_come_by_pages_in_the_order_in_which_they_are_due() {
    let directory = directory();
    let (store, _) = open(directory.path());
    let operations = [
        declare(DELAYS),
        delay(70, 0),
        delay(50, 1),
        delay(60, 2),
        delay(50, 3),
        delay(50, 4),
    ];
    commit(&store, operations);
    let first = read(&store, DELAYS, DelayedId::FIRST, 2);
    assert_eq!(
        (ids(&first), first.next),
        (vec![(50, 1), (50, 3)], Some(id(50, 4)))
    );
    let second = read(&store, DELAYS, id(50, 4), 2);
    assert_eq!(
        (ids(&second), second.next),
        (vec![(50, 4), (60, 2)], Some(id(70, 0)))
    );
    let third = read(&store, DELAYS, id(60, 3), 2);
    assert_eq!((ids(&third), third.next), (vec![(70, 0)], None));
    assert!(read(&store, QueueId(6), DelayedId::FIRST, 2).entries.is_empty());
}

#[test]
fn a_message_comes_back_with_all_that_belongs_to_it() {
    let directory = directory();
    let (store, _) = open(directory.path());
    let ways = [
        DelayedWay::Exchange(vec![b"a.b".to_vec(), Vec::new(), vec![0xff; 255]]),
        DelayedWay::Exchange(Vec::new()),
        DelayedWay::Queue("q".into()),
    ];
    let entry = |(position, way): (u64, &DelayedWay)| DelayedEntry {
        id: DelayedId {
            due: DelayedId::DUE_MAX,
            position: Position(position),
        },
        message: Message::dead_letter(b"x", b"key", PERSISTENT, &[7; 9000]),
        way: way.clone(),
    };
    let entries: Vec<_> = (3..).zip(&ways).map(entry).collect();
    let delayed = entries.iter().map(|entry| Operation::Delay {
        delays: DELAYS,
        entry: entry.clone(),
    });
    commit(&store, [declare(DELAYS)].into_iter().chain(delayed));
    drop(store);
    let (store, recovered) = open(directory.path());
    assert_eq!(recovered.delays, sums(3, 27_000, 6));
    assert_eq!(recovered.next_queue, 6);
    let page = read(&store, DELAYS, DelayedId::FIRST, 10);
    assert_eq!(page.entries.len(), 3);
    for (back, entry) in page.entries.iter().zip(&entries) {
        assert_eq!((back.id, &back.way), (entry.id, &entry.way));
        assert_eq!(back.message.encoded(), entry.message.encoded());
        assert!(back.message.is_dead_letter());
    }
}

#[test]
fn a_number_is_not_given_again_when_its_message_is_gone() {
    let directory = directory();
    let (store, _) = open(directory.path());
    commit(&store, [declare(DELAYS), delay(50, 0), delay(60, 1)]);
    commit(&store, [end(&[(60, 1), (60, 1), (99, 7)])]);
    commit(&store, [delay(40, 2), end(&[(40, 2)])]);
    assert_eq!(count(directory.path(), "delayed"), 1);
    drop(store);
    assert_eq!(open(directory.path()).1.delays, sums(1, 6, 3));
}

#[test]
fn what_comes_and_ends_in_one_group_is_never_written() {
    let directory = directory();
    let (store, _) = open(directory.path());
    commit(
        &store,
        [declare(DELAYS), delay(50, 0), delay(60, 1), end(&[(50, 0)])],
    );
    assert_eq!(ids(&read(&store, DELAYS, DelayedId::FIRST, 9)), [(60, 1)]);
    let changes = |store: &SqliteStore, operations: Vec<Operation>| {
        let before = std::fs::metadata(directory.path().join("leveret.db-wal")).map(|wal| wal.len());
        commit(store, operations);
        let after = std::fs::metadata(directory.path().join("leveret.db-wal")).map(|wal| wal.len());
        (after.expect("a log") - before.expect("a log")) / 4096
    };
    let many = |ends: bool| -> Vec<Operation> {
        let delays = (2..500).map(|at| delay(1000 + at, at));
        let ended = (2..500).filter(|_| ends).map(|at| end(&[(1000 + at, at)]));
        delays.chain(ended).collect()
    };
    assert!(changes(&store, many(true)) < 5, "only the sums are written");
    assert!(changes(&store, many(false)) > 5, "else rows are");
}

#[test]
fn the_messages_of_a_deleted_exchange_go_bit_by_bit_also_after_a_restart() {
    let directory = directory();
    let (store, _) = open(directory.path());
    let other = QueueId(6);
    commit(&store, [declare(DELAYS), declare(other), delay_in(other, 50, 0)]);
    commit(&store, (0..5000).map(|at| delay(100 + at % 7, at)));
    commit(&store, [Operation::DeleteDelays(DELAYS), delay(100, 5000)]);
    assert!(count(directory.path(), "delayed") > 1, "not all at once");
    let crashed = crashed_copy(directory.path());
    let (store_after, recovered) = open(crashed.path());
    let left: Vec<QueueId> = recovered.delays.iter().map(|delays| delays.row.id).collect();
    assert_eq!(left, [other]);
    for (store, path) in [(&store, directory.path()), (&store_after, crashed.path())] {
        eventually(|| count(path, "delayed") == 1 && count(path, "delays") == 1);
        assert_eq!(ids(&read(store, other, DelayedId::FIRST, 9)), [(50, 0)]);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Delay(u64),
    /// Ends messages that were delayed so long ago.
    End(Vec<u64>),
    Read(u64, usize),
    /// Another exchange comes and goes.
    Another,
    Reopen,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        10 => (1..20u64).prop_map(Step::Delay),
        4 => prop::collection::vec(1..12u64, 1..4).prop_map(Step::End),
        4 => (0..20u64, 1..5usize).prop_map(|(due, max)| Step::Read(due, max)),
        1 => Just(Step::Another),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn they_are_kept_as_the_memory_store_keeps_them(steps in steps()) {
        let mut place = directory();
        let (mut sqlite, _) = open(place.path());
        let mut memory = MemoryStore::default();
        let mut dues = Vec::new();
        let mut other = DELAYS.0;
        let both = |sqlite: &SqliteStore, memory: &MemoryStore, make: &dyn Fn() -> Vec<Operation>| {
            sqlite.append(&mut make());
            memory.append(&mut make());
        };
        both(&sqlite, &memory, &|| vec![declare(DELAYS)]);
        for step in steps {
            match step {
                Step::Delay(due) => {
                    let position = dues.len() as u64;
                    dues.push(due);
                    both(&sqlite, &memory, &|| vec![delay(due, position)]);
                }
                Step::End(ago) => {
                    let positions = ago.iter().filter_map(|ago| (dues.len() as u64).checked_sub(*ago));
                    let ids: Vec<_> = positions.map(|at| (dues[usize::try_from(at).unwrap()], at)).collect();
                    both(&sqlite, &memory, &|| vec![end(&ids)]);
                }
                Step::Read(due, max) => {
                    memory.commit_all();
                    let found = read(&sqlite, DELAYS, id(due, 3), max);
                    let (sender, page) = mpsc::channel();
                    memory.append(&mut vec![Operation::LoadDelayed(DelayedRequest {
                        delays: DELAYS,
                        from: id(due, 3),
                        messages_max: max,
                        bytes_max: usize::MAX,
                        sink: Arc::new(DelayedTo(sender)),
                    })]);
                    memory.commit_all();
                    memory.answer_load();
                    let expected = page.try_recv().expect("it was answered");
                    prop_assert_eq!((ids(&found), found.next), (ids(&expected), expected.next));
                }
                Step::Another => {
                    other += 1;
                    let (both, id) = (|make: &dyn Fn() -> _| both(&sqlite, &memory, make), QueueId(other));
                    both(&|| vec![declare(id), delay_in(id, 3, 0)]);
                    both(&|| vec![Operation::DeleteDelays(id), delay_in(id, 3, 1)]);
                }
                Step::Reopen | Step::Crash => {
                    commit(&sqlite, []);
                    memory.commit_all();
                    let (crashed, expected) = memory.crash();
                    memory = crashed;
                    let copy = matches!(step, Step::Crash).then(|| crashed_copy(place.path()));
                    drop(sqlite);
                    place = copy.unwrap_or(place);
                    let (reopened, recovered) = open(place.path());
                    sqlite = reopened;
                    prop_assert_eq!(recovered.delays, expected.delays);
                    prop_assert_eq!(recovered.next_queue, expected.next_queue);
                }
            }
        }
    }
}
