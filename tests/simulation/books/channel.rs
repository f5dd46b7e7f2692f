//! A client's books of a channel: what it sent and was not answered, what it holds, what it waits for.

use std::collections::{BTreeMap, VecDeque};

use super::ledger::{End, Ledger};
use crate::wire::Frame;

/// Something sent, in the order in which the broker works it off.
#[derive(Debug)]
pub enum Request {
    Publish(u64),
    /// An ack that ends a message of a queue.
    End(usize, u64),
    /// Answered by this method.
    Call((u16, u16)),
    Qos {
        limit: u16,
    },
    Get {
        queue: Option<usize>,
        no_ack: bool,
    },
    Recover,
    Commit {
        group: usize,
    },
    Close,
}

/// A delivery that the client holds.
#[derive(Clone, Debug)]
pub struct Held {
    pub queue: Option<usize>,
    pub id: u64,
    consumer: Option<String>,
}

#[derive(Debug)]
pub struct Consumer {
    pub queue: Option<usize>,
    pub no_ack: bool,
    pub prefetch: u16,
    pub is_cancelled: bool,
    /// Last message of each publishing channel.
    last: BTreeMap<u64, u64>,
}

/// What is gathered until commit.
#[derive(Debug, Default)]
pub struct Transaction {
    pub publishes: Vec<u64>,
    /// Tag, delivery, and whether it ends.
    pub acks: Vec<(u64, Held, bool)>,
}

#[derive(Debug, Default)]
pub struct Channel {
    pub requests: VecDeque<Request>,
    pub unconfirmed: BTreeMap<u64, u64>,
    pub last_publish: u64,
    pub held: BTreeMap<u64, Held>,
    pub consumers: BTreeMap<String, Consumer>,
    pub transaction: Transaction,
    pub prefetch: u16,
    /// The limit of the whole channel, once it is known to stand.
    pub limit: Option<u16>,
    pub recovering: usize,
    incoming: Option<Incoming>,
}

/// A delivery whose content is awaited.
#[derive(Debug)]
struct Incoming {
    delivery_tag: u64,
    redelivered: bool,
    consumer: Option<String>,
    is_return: bool,
}

impl Consumer {
    pub fn new(queue: Option<usize>, no_ack: bool, prefetch: u16) -> Self {
        Self {
            queue,
            no_ack,
            prefetch,
            is_cancelled: false,
            last: BTreeMap::new(),
        }
    }
}

impl Channel {
    /// Whether a consumer of the queue could take another message, when all is quiet.
    pub fn wants_more(&self, queue: usize) -> bool {
        let has_room = self
            .limit
            .is_none_or(|limit| self.held.len() < usize::from(limit));
        let in_transaction = !self.transaction.acks.is_empty();
        self.consumers.iter().any(|(tag, consumer)| {
            let prefetch = usize::from(consumer.prefetch);
            let wants = prefetch == 0 || (self.held_by(tag) < prefetch && !in_transaction);
            let has_room = consumer.no_ack || (has_room && !(in_transaction && self.limit.is_some()));
            consumer.queue == Some(queue) && !consumer.is_cancelled && wants && has_room
        })
    }

    pub fn method(&mut self, frame: &Frame, ledger: &mut Ledger) {
        match frame.id() {
            (60, 60) => {
                let (tag, end) = frame.short();
                self.incoming = Some(Incoming {
                    delivery_tag: frame.u64_at(end),
                    redelivered: frame.payload[end + 8] & 1 == 1,
                    consumer: Some(tag),
                    is_return: false,
                });
            }
            (60, 50) => {
                self.incoming = Some(Incoming {
                    delivery_tag: 0,
                    redelivered: false,
                    consumer: None,
                    is_return: true,
                });
            }
            (60, 71) => {
                self.incoming = Some(Incoming {
                    delivery_tag: frame.u64_at(4),
                    redelivered: frame.payload[12] & 1 == 1,
                    consumer: None,
                    is_return: false,
                });
            }
            (60, 31) => {
                let request = self.answered(ledger);
                self.answer((60, 31), request, ledger);
                self.consumers.remove(&frame.short().0);
            }
            (60, 80) => self.confirmed(frame.u64_at(4), frame.payload[12] & 1 == 1, ledger),
            answer => {
                let request = self.answered(ledger);
                self.answer(answer, request, ledger);
            }
        }
    }

    /// What the answer is for; all that was sent before it has been worked off.
    pub fn answered(&mut self, ledger: &mut Ledger) -> Request {
        loop {
            match self.requests.pop_front().expect("an answer has its question") {
                Request::Publish(id) => ledger.arrived(id),
                Request::End(queue, id) => ledger.ended(queue, id, End::Sure),
                request => return request,
            }
        }
    }

    fn answer(&mut self, answer: (u16, u16), request: Request, ledger: &mut Ledger) {
        let expected = match request {
            Request::Call(expected) => expected,
            Request::Qos { limit } => {
                let changes_again = self
                    .requests
                    .iter()
                    .any(|request| matches!(request, Request::Qos { .. }));
                self.limit = (limit > 0 && !changes_again).then_some(limit);
                (60, 11)
            }
            Request::Get { .. } => (60, 72),
            Request::Recover => {
                self.recovering -= 1;
                (60, 111)
            }
            Request::Commit { group } => {
                ledger.committed(group);
                (90, 21)
            }
            other => panic!("{answer:?} for {other:?}"),
        };
        assert_eq!(answer, expected, "answers come in order");
    }

    fn confirmed(&mut self, tag: u64, multiple: bool, ledger: &mut Ledger) {
        let first = if multiple { 0 } else { tag };
        let tags: Vec<u64> = self.unconfirmed.range(first..=tag).map(|(tag, _)| *tag).collect();
        assert!(
            tags.contains(&tag),
            "publish {tag} was confirmed already, or never made"
        );
        for tag in tags {
            let id = self.unconfirmed.remove(&tag).expect("it was listed");
            ledger.confirmed(id);
        }
    }

    pub fn body(&mut self, body: &[u8], ledger: &mut Ledger) {
        let id = u64::from_be_bytes(*body.first_chunk().expect("bodies begin with a number"));
        let incoming = self.incoming.take().expect("a method comes before content");
        if incoming.is_return {
            let published = &ledger.published[usize::try_from(id).expect("small")];
            assert!(published.queues.is_empty(), "{id} has queues and was returned");
            return;
        }
        let (queue, no_ack) = match &incoming.consumer {
            None => match self.answered(ledger) {
                Request::Get { queue, no_ack } => (queue, no_ack),
                other => panic!("get-ok for {other:?}"),
            },
            Some(tag) => {
                let consumer = self.consumers.get_mut(tag).expect("deliveries name a consumer");
                let is_ordered = consumer.queue == Some(2) && !incoming.redelivered && ledger.closing == 0;
                if is_ordered && id >= ledger.order_floor {
                    let source = ledger.published[usize::try_from(id).expect("small")].source;
                    let last = consumer.last.insert(source, id);
                    assert!(last.is_none_or(|last| last < id), "{id} comes after {last:?}");
                }
                (consumer.queue, consumer.no_ack)
            }
        };
        if let Some(queue) = queue {
            ledger.delivered(queue, id, incoming.redelivered);
        }
        if no_ack {
            if let Some(queue) = queue {
                ledger.ended(queue, id, End::Maybe);
            }
            return;
        }
        if self.recovering > 0 {
            return;
        }
        let consumer = incoming.consumer;
        self.held.insert(
            incoming.delivery_tag,
            Held {
                queue,
                id,
                consumer: consumer.clone(),
            },
        );
        self.check_limits(consumer.as_deref());
    }

    fn check_limits(&self, consumer: Option<&str>) {
        let Some(tag) = consumer else { return };
        let held = self.held_by(tag);
        let prefetch = usize::from(self.consumers[tag].prefetch);
        assert!(
            prefetch == 0 || held <= prefetch,
            "{held} held, {prefetch} asked for"
        );
        // A get may overtake a delivery that already counts.
        let all = self.held.values().filter(|held| held.consumer.is_some()).count();
        assert!(
            self.limit.is_none_or(|limit| all <= usize::from(limit)),
            "{all} held on a channel with limit {:?}",
            self.limit
        );
    }

    pub fn held_by(&self, tag: &str) -> usize {
        self.held
            .values()
            .filter(|held| held.consumer.as_deref() == Some(tag))
            .count()
    }

    /// It is gone, and what it had not committed with it.
    pub fn forget(&mut self, ledger: &mut Ledger) {
        for id in std::mem::take(&mut self.transaction).publishes {
            ledger.dropped(id);
        }
    }

    /// All is quiet: everything sent was worked off, and answered if it has an answer.
    pub fn settle_down(&mut self, ledger: &mut Ledger) {
        while let Some(request) = self.requests.pop_front() {
            match request {
                Request::Publish(id) => ledger.arrived(id),
                Request::End(queue, id) => ledger.ended(queue, id, End::Sure),
                other => panic!("never answered: {other:?}"),
            }
        }
        assert!(
            self.unconfirmed.is_empty(),
            "never confirmed: {:?}",
            self.unconfirmed
        );
    }
}
