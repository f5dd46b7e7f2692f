//! The client of a line: it publishes, takes, acks, rejects, requeues and goes away, until the broker is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::book::{Line, Verdict};
use crate::client::{Client, Delivery, Event};
use crate::load::{Shift, confirmed, expect_loss};

/// Publishes in flight, and messages at once.
const WINDOW: usize = 50;
const LIVES_MAX: usize = 300;
/// Answers between two proofs that they are on disk.
const VERDICTS_PER_PROOF: usize = 20;
/// Deaths after which a message is acked.
const DEATHS_MAX: u32 = 4;

/// How far the proof is that answers are on disk: the publish whose confirm it waits for.
#[derive(Clone, Copy, Debug)]
enum Proof {
    None,
    /// Answers read together with this publish may reach the store behind it.
    First(u64),
    Second(u64),
}

struct Worker<'a> {
    line: &'a mut Line,
    shift: &'a Shift<'a>,
    random: &'a mut StdRng,
    client: Client,
    in_flight: BTreeMap<u64, u32>,
    prefetch: usize,
    /// Deliveries without an answer, by tag.
    held: BTreeMap<u64, (u32, &'static str)>,
    /// Answers since the last proof began: number, and how often it had died.
    answered: Vec<(u32, u32)>,
    /// Answers that the running proof stands for.
    proving: Vec<(u32, u32)>,
    proof: Proof,
}

impl Line {
    /// Works until the broker is gone.
    pub fn work(&mut self, shift: &Shift<'_>) {
        let mut random = StdRng::seed_from_u64(shift.seed);
        let mut again = std::mem::take(&mut self.recent);
        loop {
            let ended = Worker::connect(self, shift, &mut random).and_then(|mut worker| {
                worker.publish_again(std::mem::take(&mut again));
                worker.work()
            });
            self.disconnect();
            if ended.is_err() {
                expect_loss(&ended);
                return;
            }
        }
    }
}

impl<'a> Worker<'a> {
    fn connect(line: &'a mut Line, shift: &'a Shift<'a>, random: &'a mut StdRng) -> io::Result<Self> {
        let mut client = Client::connect(shift.address)?;
        client.select_confirms()?;
        let prefetch = random.random_range(1..60);
        for queue in line.kind.queues() {
            client.qos(prefetch)?;
            client.consume(queue)?;
        }
        Ok(Self {
            line,
            shift,
            random,
            client,
            in_flight: BTreeMap::new(),
            prefetch: prefetch.into(),
            held: BTreeMap::new(),
            answered: Vec::new(),
            proving: Vec::new(),
            proof: Proof::None,
        })
    }

    /// Returns when it has had enough of this connection.
    fn work(&mut self) -> io::Result<()> {
        while !self.random.random_bool(0.002) {
            let mut room = WINDOW.saturating_sub(self.in_flight.len());
            room = room.min(LIVES_MAX.saturating_sub(self.line.lives.len()));
            if room > 0 {
                (0..self.random.random_range(0..=room.min(10))).for_each(|_| self.publish());
            }
            self.client.flush()?;
            while let Some(event) = self.client.next(Duration::from_micros(500))? {
                match event {
                    Event::Delivery(delivery) => self.take(&delivery),
                    Event::Confirm { tag, multiple } => self.confirm(tag, multiple),
                    other => panic!("the client of a line got {other:?}"),
                }
            }
        }
        Ok(())
    }

    fn publish(&mut self) {
        let number = self.line.next;
        self.line.next += 1;
        let kind = self.line.kind;
        let under_way = kind.publish(&mut self.client, number, self.random);
        self.line.publish(number, under_way);
        self.line.recent.insert(number);
        self.in_flight.insert(self.client.published, number);
    }

    /// What was published before the crash, whether it was confirmed or not: nobody may notice.
    fn publish_again(&mut self, numbers: BTreeSet<u32>) {
        if self.line.kind != super::Kind::Unique {
            return;
        }
        for number in numbers {
            self.line.kind.publish(&mut self.client, number, self.random);
            self.in_flight.insert(self.client.published, number);
        }
    }

    fn confirm(&mut self, tag: u64, multiple: bool) {
        for number in confirmed(&mut self.in_flight, tag, multiple) {
            self.line.confirm(number);
            self.shift.fuse.burn();
        }
        let is_through = |tag| !self.in_flight.contains_key(&tag) && tag <= self.client.published;
        match self.proof {
            Proof::First(tag) if is_through(tag) => self.proof = Proof::Second(self.client.published + 1),
            Proof::Second(tag) if is_through(tag) => {
                for (number, deaths) in self.proving.drain(..) {
                    self.line.settled(number, deaths);
                }
                self.proof = Proof::None;
            }
            _ => {}
        }
    }

    fn take(&mut self, delivery: &Delivery) {
        let number = self.line.deliver(delivery);
        self.shift.fuse.burn();
        let queues = self.line.kind.queues();
        let queue = queues.iter().find(|queue| **queue == delivery.consumer).unwrap();
        self.held.insert(delivery.tag, (number, queue));
        let tag = delivery.tag;
        match self.random.random_range(0..100) {
            0..30 => {
                self.client.ack(tag, false);
                self.settle(tag, false, Some(Verdict::Acked));
            }
            30..40 => {
                self.client.reject(tag, true);
                self.settle(tag, false, None);
            }
            40..60 => {
                let verdict = self.verdict(number);
                match verdict {
                    Verdict::Acked => self.client.ack(tag, false),
                    Verdict::Rejected if self.random.random() => self.client.reject(tag, false),
                    Verdict::Rejected => self.client.nack(tag, false, false),
                }
                self.settle(tag, false, Some(verdict));
            }
            60..65 => {
                self.client.ack(tag, true);
                self.settle(tag, true, Some(Verdict::Acked));
            }
            65..70 => {
                self.client.nack(tag, true, true);
                self.settle(tag, true, None);
            }
            70..72 => {
                self.client.nack(tag, true, false);
                self.settle(tag, true, Some(Verdict::Rejected));
            }
            _ => {}
        }
        // Whoever holds all it may have gets no more.
        if self.held.len() >= self.prefetch {
            let middle = self.held.keys().nth(self.prefetch / 2);
            let tag = *middle.expect("there are more");
            self.client.ack(tag, true);
            self.settle(tag, true, Some(Verdict::Acked));
        }
        if matches!(self.proof, Proof::None) && self.answered.len() > VERDICTS_PER_PROOF {
            self.proving = std::mem::take(&mut self.answered);
            self.proof = Proof::First(self.client.published + 1);
        }
    }

    fn verdict(&self, number: u32) -> Verdict {
        match self.line.lives[&number].deaths() {
            ..DEATHS_MAX => Verdict::Rejected,
            _ => Verdict::Acked,
        }
    }

    /// Writes down what was answered to a delivery, or to all up to it; `None` for what goes back.
    fn settle(&mut self, tag: u64, multiple: bool, verdict: Option<Verdict>) {
        let later = self.held.split_off(&(tag + 1));
        let mut these = std::mem::replace(&mut self.held, later);
        if !multiple {
            let others = std::mem::take(&mut these);
            for (other, held) in others {
                let to = if other == tag { &mut these } else { &mut self.held };
                to.insert(other, held);
            }
        }
        for (number, queue) in these.into_values() {
            if let Some(verdict) = verdict {
                let deaths = self.line.settle(number, queue, verdict);
                self.answered.push((number, deaths));
            }
        }
    }
}
