//! Publishers and consumers that work until the broker is gone, and write down what they did and saw.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::books::{BARRIER, FAN, HELD, Id, QUEUES, Record, SHARED, TX_IN};
use crate::client::{Client, Delivery, Event};

/// Publishes in flight per publisher.
const WINDOW: usize = 100;
/// Acks between two proofs that they are on disk.
const ACKS_PER_BARRIER: usize = 40;

/// Fires once, after so many confirms and deliveries: when the broker is to die.
#[derive(Debug)]
pub struct Fuse {
    left: AtomicI64,
    fire: Sender<()>,
}

impl Fuse {
    pub fn new(after: i64, fire: Sender<()>) -> Self {
        Self {
            left: AtomicI64::new(after),
            fire,
        }
    }

    pub fn burn(&self) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            let _ = self.fire.send(());
        }
    }
}

/// What every worker is given.
pub struct Shift<'a> {
    pub address: SocketAddr,
    pub seed: u64,
    pub round: u32,
    /// Its number, with which its messages are told from those of others.
    pub worker: u8,
    pub fuse: &'a Fuse,
}

/// The end of a worker: the broker is gone. Anything else is a failure.
pub fn expect_loss(result: &io::Result<()>) {
    let error = result.as_ref().expect_err("nobody stops before the broker");
    assert!(
        !matches!(error.kind(), io::ErrorKind::Other | io::ErrorKind::TimedOut),
        "the broker was not gone: {error}"
    );
}

/// A publisher with confirms.
pub struct Publisher<'a> {
    shift: Shift<'a>,
    random: StdRng,
    in_flight: BTreeMap<u64, Id>,
    number: u32,
    pub log: Vec<Record>,
}

impl<'a> Publisher<'a> {
    pub fn new(shift: Shift<'a>) -> Self {
        let random = StdRng::seed_from_u64(shift.seed);
        Self {
            shift,
            random,
            in_flight: BTreeMap::new(),
            number: 0,
            log: Vec::new(),
        }
    }

    pub fn work(mut self) -> Vec<Record> {
        expect_loss(&self.publish_on());
        self.log
    }

    fn publish_on(&mut self) -> io::Result<()> {
        let mut client = Client::connect(self.shift.address)?;
        client.select_confirms()?;
        loop {
            for _ in 0..self.random.random_range(1..30) {
                self.publish(&mut client);
            }
            client.flush()?;
            while let Some(event) = client.next(Duration::from_micros(100))? {
                let Event::Confirm { tag, multiple } = event else {
                    panic!("a publisher got {event:?}");
                };
                for id in confirmed(&mut self.in_flight, tag, multiple) {
                    self.log.push(Record::Confirmed(id));
                    self.shift.fuse.burn();
                }
            }
            while self.in_flight.len() > WINDOW {
                let event = client.expect_event()?;
                let Event::Confirm { tag, multiple } = event else {
                    panic!("a publisher got {event:?}");
                };
                for id in confirmed(&mut self.in_flight, tag, multiple) {
                    self.log.push(Record::Confirmed(id));
                    self.shift.fuse.burn();
                }
            }
        }
    }

    fn publish(&mut self, client: &mut Client) {
        self.number += 1;
        let id = Id::new(self.shift.round, self.shift.worker, self.number);
        let (exchange, queues) = match self.random.random_range(0..10) {
            0..4 => ("", vec![self.random.random_range(0..=SHARED)]),
            4..8 => ("fan", FAN.to_vec()),
            _ => ("", vec![TX_IN]),
        };
        let is_persistent = queues == [TX_IN] || self.random.random_bool(0.75);
        let bytes = if self.random.random_bool(0.02) {
            20_000
        } else {
            self.random.random_range(8..400)
        };
        let key = if exchange.is_empty() {
            QUEUES[queues[0]]
        } else {
            ""
        };
        self.log.push(Record::Published {
            id,
            queues,
            is_persistent,
        });
        client.publish(exchange, key, is_persistent, &id.body(bytes));
        self.in_flight.insert(client.published, id);
    }
}

/// Takes what a confirm is for.
pub fn confirmed<T>(in_flight: &mut BTreeMap<u64, T>, tag: u64, multiple: bool) -> Vec<T> {
    if !multiple {
        return vec![
            in_flight
                .remove(&tag)
                .expect("a confirm is for a publish in flight"),
        ];
    }
    let later = in_flight.split_off(&(tag + 1));
    std::mem::replace(in_flight, later).into_values().collect()
}

/// A consumer with manual acks that acks, requeues and holds.
pub struct Consumer<'a> {
    shift: Shift<'a>,
    queues: &'a [usize],
    random: StdRng,
    held: BTreeMap<u64, (usize, Id)>,
    /// Acks sent since the last barrier began.
    acked: Vec<(usize, Id)>,
    /// Acks that the running barrier stands for.
    settling: Vec<(usize, Id)>,
    /// Confirms that the running barrier still needs.
    barrier: u8,
    number: u32,
    pub log: Vec<Record>,
}

impl<'a> Consumer<'a> {
    pub fn new(shift: Shift<'a>, queues: &'a [usize]) -> Self {
        let random = StdRng::seed_from_u64(shift.seed);
        Self {
            shift,
            queues,
            random,
            held: BTreeMap::new(),
            acked: Vec::new(),
            settling: Vec::new(),
            barrier: 0,
            number: 0,
            log: Vec::new(),
        }
    }

    pub fn work(mut self) -> Vec<Record> {
        expect_loss(&self.consume_on());
        self.log
    }

    fn consume_on(&mut self) -> io::Result<()> {
        let mut client = Client::connect(self.shift.address)?;
        client.select_confirms()?;
        client.qos(60)?;
        for &queue in self.queues {
            client.consume(QUEUES[queue])?;
        }
        loop {
            match client.next(Duration::from_secs(1))? {
                Some(Event::Delivery(delivery)) => self.take(&mut client, &delivery),
                Some(Event::Confirm { .. }) => self.confirmed(&mut client),
                None => {}
                Some(other) => panic!("a consumer got {other:?}"),
            }
        }
    }

    fn take(&mut self, client: &mut Client, delivery: &Delivery) {
        let queue = QUEUES.iter().position(|name| *name == delivery.consumer).unwrap();
        let id = Id::of(&delivery.body);
        self.log.push(Record::Delivered {
            queue,
            id,
            redelivered: delivery.redelivered,
        });
        self.shift.fuse.burn();
        if queue == HELD {
            return;
        }
        match self.random.random_range(0..100) {
            0..65 => {
                client.ack(delivery.tag, false);
                self.ack(queue, id);
            }
            65..70 => client.requeue(delivery.tag),
            70..75 => client.reject(delivery.tag, true),
            _ => {
                self.held.insert(delivery.tag, (queue, id));
            }
        }
        if self.held.len() > 30 {
            self.settle_oldest(client, 15);
        }
        if self.barrier == 0 && self.acked.len() > ACKS_PER_BARRIER {
            self.settling = std::mem::take(&mut self.acked);
            self.barrier = 2;
            self.publish_barrier(client);
        }
    }

    /// One by one, all at once, or not at all: then they go back.
    fn settle_oldest(&mut self, client: &mut Client, count: usize) {
        let (&last, _) = self.held.iter().nth(count - 1).expect("more are held");
        let later = self.held.split_off(&(last + 1));
        let these = std::mem::replace(&mut self.held, later);
        let others_are_held = self.queues.contains(&HELD);
        match self.random.random_range(0..3) {
            0 if !others_are_held => client.ack(last, true),
            1 if !others_are_held => {
                client.nack(last, true, true);
                return;
            }
            _ => these.keys().for_each(|tag| client.ack(*tag, false)),
        }
        for (queue, id) in these.into_values() {
            self.ack(queue, id);
        }
    }

    fn ack(&mut self, queue: usize, id: Id) {
        self.log.push(Record::AckSent { queue, id });
        self.acked.push((queue, id));
    }

    /// Acks read together with the first publish of a barrier may reach the store behind it, but never behind the
    /// second, which is sent when the first is confirmed.
    fn publish_barrier(&mut self, client: &mut Client) {
        self.number += 1;
        let id = Id::new(self.shift.round, self.shift.worker, self.number);
        self.log.push(Record::Published {
            id,
            queues: vec![BARRIER],
            is_persistent: true,
        });
        client.publish("", QUEUES[BARRIER], true, &id.body(8));
    }

    fn confirmed(&mut self, client: &mut Client) {
        self.log.push(Record::Confirmed(Id::new(
            self.shift.round,
            self.shift.worker,
            self.number,
        )));
        self.barrier -= 1;
        if self.barrier > 0 {
            self.publish_barrier(client);
            return;
        }
        for (queue, id) in self.settling.drain(..) {
            self.log.push(Record::AckSettled { queue, id });
        }
    }
}
