//! What moves within the broker is seen when that is on disk, by whomever.

use super::*;

const GET_OK: (u16, u16) = (60, 71);
const DELIVER: (u16, u16) = (60, 60);
const CANCEL_OK: (u16, u16) = (60, 31);
const QOS_OK: (u16, u16) = (60, 11);
const COMMIT_OK: (u16, u16) = (90, 21);

/// A queue whose rejected messages go to another one, a client that works on it, and one that reads the other.
struct Scene {
    store: Arc<MemoryStore>,
    broker: Arc<Broker>,
    now: Instant,
    worker: Connection,
    reader: Connection,
}

impl Scene {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::default());
        let mut parts = parts(guest());
        parts.stores.durable = Arc::clone(&store) as Arc<_>;
        let broker = Arc::new(Broker::new(parts, &Recovered::default()).unwrap());
        let now = Instant::now();
        let [worker, reader] = [(); 2].map(|()| opened(&broker, now, 0, false));
        let mut scene = Self {
            store,
            broker,
            now,
            worker,
            reader,
        };
        scene.declare("work", true, None);
        scene.declare_with("dead", true, FieldTable::default());
        scene.consume();
        scene
    }

    /// A queue with dead letters; `limit` is the length that it may have, and what happens beyond.
    fn declare(&mut self, name: &str, durable: bool, limit: Option<(i32, &str)>) {
        let mut arguments = FieldTable::default();
        let text = |text: &str| AMQPValue::LongString(text.into());
        arguments.insert("x-dead-letter-exchange".into(), text(""));
        arguments.insert("x-dead-letter-routing-key".into(), text("dead"));
        if let Some((length, overflow)) = limit {
            arguments.insert("x-max-length".into(), AMQPValue::LongInt(length));
            arguments.insert("x-overflow".into(), text(overflow));
        }
        self.declare_with(name, durable, arguments);
    }

    fn declare_with(&mut self, name: &str, durable: bool, arguments: FieldTable) {
        let declare = queue::Declare {
            queue: name.into(),
            durable,
            arguments,
            ..queue::Declare::default()
        };
        let declare = AMQPClass::Queue(queue::AMQPMethod::Declare(declare));
        self.worker.receive(&encoded(&declare), self.now);
        self.write();
    }

    /// A message in a transaction that stores another one, too.
    fn transact(&mut self, queue: &str, mode: u8) {
        let tx = |method| encoded(&AMQPClass::Tx(method));
        let select = tx(tx::AMQPMethod::Select(tx::Select {}));
        let commit = tx(tx::AMQPMethod::Commit(tx::Commit {}));
        let mut client = opened(&self.broker, self.now, 0, false);
        for bytes in [select, published(queue, mode), published("work", 2), commit] {
            client.receive(&bytes, self.now);
        }
    }

    /// The disk writes, and the clients get what they may.
    fn write(&mut self) {
        loop {
            self.store.commit_all();
            if !self.store.answer_load() && self.store.pending_groups() == 0 {
                break;
            }
        }
        for client in [&mut self.worker, &mut self.reader] {
            while client.poll_mail(Waker::noop()) {
                client.advance(self.now);
            }
        }
    }

    fn consume(&mut self) {
        let consume = basic::Consume {
            queue: "dead".into(),
            consumer_tag: "reader".into(),
            ..basic::Consume::default()
        };
        self.reader
            .receive(&basic(basic::AMQPMethod::Consume(consume)), self.now);
        self.write();
        drop(sent(&mut self.reader));
    }

    /// A message dies: published, on disk, taken and rejected.
    fn reject_one(&mut self, mode: u8) {
        self.worker.receive(&published("work", mode), self.now);
        self.worker.receive(&got("work"), self.now);
        self.write();
        assert!(sent(&mut self.worker).contains(&GET_OK));
        let nack = basic::Nack {
            delivery_tag: 0,
            multiple: true,
            requeue: false,
        };
        self.worker
            .receive(&basic(basic::AMQPMethod::Nack(nack)), self.now);
    }

    /// What the reader is told without the disk.
    fn told(&mut self) -> Vec<(u16, u16)> {
        self.reader.advance(self.now);
        let told = sent(&mut self.reader);
        self.reader.advance(self.now);
        assert!(!self.reader.poll_mail(Waker::noop()), "it has nothing to do");
        told
    }

    fn told_when_written(&mut self) -> Vec<(u16, u16)> {
        self.write();
        sent(&mut self.reader)
    }
}

fn basic(method: basic::AMQPMethod) -> Vec<u8> {
    encoded(&AMQPClass::Basic(method))
}

fn one_at_a_time() -> basic::AMQPMethod {
    basic::AMQPMethod::Qos(basic::Qos {
        prefetch_count: 1,
        global: true,
    })
}

fn published(queue: &str, mode: u8) -> Vec<u8> {
    let publish = basic::Publish {
        routing_key: queue.into(),
        ..basic::Publish::default()
    };
    let mut bytes = basic(basic::AMQPMethod::Publish(publish));
    frame::header_frame(
        &mut bytes,
        1,
        &[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, mode],
    );
    bytes
}

fn got(queue: &str) -> Vec<u8> {
    basic(basic::AMQPMethod::Get(basic::Get {
        queue: queue.into(),
        no_ack: false,
    }))
}

#[test]
fn a_dead_letter_is_delivered_when_its_move_is_on_disk() {
    let mut scene = Scene::new();
    scene.reject_one(2);
    assert_eq!(scene.told(), []);
    assert_eq!(scene.told_when_written(), [DELIVER]);
    scene.reject_one(1);
    assert_eq!(scene.told(), [DELIVER], "nothing of it is on disk");
}

#[test]
fn basic_get_waits_for_the_move() {
    let mut scene = Scene::new();
    scene.reader.receive(&basic(one_at_a_time()), scene.now);
    scene.reject_one(2);
    assert_eq!(scene.told_when_written(), [QOS_OK, DELIVER]);
    // The queue is open, and its consumer takes no more.
    scene.reject_one(2);
    scene.reader.receive(&got("dead"), scene.now);
    assert_eq!(scene.told(), []);
    assert!(!scene.reader.wants_read());
    assert_eq!(scene.told_when_written(), [GET_OK]);
}

#[test]
fn cancel_and_qos_are_answered_behind_what_is_withheld() {
    let cancel = basic::Cancel {
        consumer_tag: "reader".into(),
        nowait: false,
    };
    for (method, answer) in [
        (basic::AMQPMethod::Cancel(cancel), CANCEL_OK),
        (one_at_a_time(), QOS_OK),
    ] {
        let mut scene = Scene::new();
        scene.reject_one(2);
        scene.reader.receive(&basic(method), scene.now);
        assert_eq!(scene.told(), []);
        assert_eq!(scene.told_when_written(), [DELIVER, answer]);
        scene.reject_one(2);
        assert_eq!(
            scene.told_when_written(),
            [],
            "it is no consumer any more, or holds one"
        );
    }
}

#[test]
fn what_a_client_leaves_waits_for_the_next_one_too() {
    let mut scene = Scene::new();
    let mut other = opened(&scene.broker, scene.now, 0, false);
    std::mem::swap(&mut scene.reader, &mut other);
    scene.consume();
    std::mem::swap(&mut scene.reader, &mut other);
    scene.reject_one(2);
    scene.reader.advance(scene.now);
    other.advance(scene.now);
    let mut both = [sent(&mut scene.reader), sent(&mut other)].concat();
    assert_eq!(both, []);
    scene.reader.terminate();
    scene.reader = other;
    assert_eq!(scene.told(), []);
    both = scene.told_when_written();
    assert_eq!(both, [DELIVER], "whoever had it");
}

#[test]
fn a_transaction_is_seen_when_it_is_on_disk() {
    let mut scene = Scene::new();
    let tx = |method| encoded(&AMQPClass::Tx(method));
    scene
        .worker
        .receive(&tx(tx::AMQPMethod::Select(tx::Select {})), scene.now);
    scene.worker.receive(&published("dead", 2), scene.now);
    scene
        .worker
        .receive(&tx(tx::AMQPMethod::Commit(tx::Commit {})), scene.now);
    assert_eq!(scene.told(), []);
    assert_eq!(scene.told_when_written(), [DELIVER]);
    assert!(sent(&mut scene.worker).contains(&COMMIT_OK));
    scene.worker.receive(&published("dead", 2), scene.now);
    scene.worker.receive(&published("dead", 1), scene.now);
    scene
        .worker
        .receive(&tx(tx::AMQPMethod::Rollback(tx::Rollback {})), scene.now);
    scene.worker.receive(&published("dead", 1), scene.now);
    scene
        .worker
        .receive(&tx(tx::AMQPMethod::Commit(tx::Commit {})), scene.now);
    assert_eq!(scene.told(), [DELIVER], "nothing of it is on disk");
}

#[test]
fn what_a_full_queue_refuses_of_a_transaction_is_seen_when_that_is_on_disk() {
    let mut scene = Scene::new();
    scene.declare("full", true, Some((0, "reject-publish-dlx")));
    scene.transact("full", 2);
    assert_eq!(scene.told(), []);
    assert_eq!(scene.told_when_written(), [DELIVER]);
}

#[test]
fn a_dead_letter_that_dies_again_waits_for_its_first_move() {
    for (durable, mode) in [(false, 2), (true, 1)] {
        let mut scene = Scene::new();
        scene.declare("between", durable, Some((1, "drop-head")));
        scene.transact("between", mode);
        // Drives out what came with the transaction.
        scene.worker.receive(&published("between", 1), scene.now);
        assert_eq!(scene.told(), [], "durable {durable}");
        assert_eq!(scene.told_when_written(), [DELIVER], "durable {durable}");
        scene.worker.receive(&published("between", 1), scene.now);
        assert_eq!(
            scene.told(),
            [DELIVER],
            "durable {durable}: nothing of it is on disk"
        );
    }
}
