//! A publisher of one lane: persistent messages at a fixed rate, all of them confirmed.

use std::io;
use std::time::{Duration, Instant};

use crate::books::Id;
use crate::client::{Client, Event};
use crate::lanes::{LANES, priority};
use crate::scene::{InFlight, Pace, Scene, confirmed, next};
use crate::support::DEADLINE;

/// Publishes in flight at most.
const WINDOW: usize = 500;
/// Between two bursts.
const TICK: Duration = Duration::from_millis(25);

pub fn work(scene: &Scene, lane: usize) {
    scene.keep_working(
        LANES[lane].name,
        || scene.is_publishing(),
        |client, life| {
            let mut publisher = Publisher {
                scene,
                lane,
                life,
                client,
                in_flight: InFlight::new(),
            };
            let result = publisher.publish_on();
            for number in publisher.in_flight.into_values() {
                scene.books().give_up(lane, number);
            }
            result
        },
    );
}

struct Publisher<'a> {
    scene: &'a Scene,
    lane: usize,
    life: u32,
    client: Client,
    in_flight: InFlight<u64>,
}

impl Publisher<'_> {
    fn publish_on(&mut self) -> io::Result<()> {
        self.client.select_confirms()?;
        let mut pace = Pace::new(LANES[self.lane].rate * self.scene.load);
        while self.scene.is_publishing() {
            let tick = Instant::now() + TICK;
            while self.in_flight.len() < WINDOW && pace.is_due() {
                self.publish();
            }
            self.client.flush()?;
            while let Some(wait) = tick.checked_duration_since(Instant::now()) {
                self.take_confirm(wait)?;
            }
        }
        let end = Instant::now() + DEADLINE;
        while !self.in_flight.is_empty() && Instant::now() < end {
            self.take_confirm(TICK)?;
        }
        if !self.in_flight.is_empty() {
            return Err(io::Error::other(format!(
                "{} confirms are missing",
                self.in_flight.len()
            )));
        }
        Ok(())
    }

    fn publish(&mut self) {
        let lane = &LANES[self.lane];
        let number = self.scene.books().publish(self.lane);
        let class = if lane.name == "priority" {
            priority(number)
        } else {
            0
        };
        let id = Id {
            lane: self.lane,
            class,
            number,
            sent_us: self.scene.now_us(),
        };
        let (exchange, routing_key) = (lane.route)(number);
        let mode = if lane.is_transient { 1 } else { 2 };
        let body = id.body(lane.bytes);
        for _ in 0..lane.times {
            let properties = (lane.properties)(number).with_delivery_mode(mode);
            self.client
                .publish_properties(exchange, routing_key, true, properties, &body);
            self.in_flight.insert(self.client.published, number);
            self.scene.count_sent();
        }
    }

    fn take_confirm(&mut self, wait: Duration) -> io::Result<()> {
        match next(&mut self.client, wait)? {
            None => {}
            Some(Event::Confirm { tag, multiple }) => {
                let is_past = self.scene.life() != self.life;
                let mut books = self.scene.books();
                for number in confirmed(&mut self.in_flight, tag, multiple) {
                    books.confirm(self.lane, number, is_past);
                }
            }
            Some(other) => self
                .scene
                .complain(format!("a publisher of {} got {other:?}", LANES[self.lane].name)),
        }
        Ok(())
    }
}
