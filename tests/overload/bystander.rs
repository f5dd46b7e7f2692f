//! Clients that have no part in the storm. How long they wait is printed; that they get on is checked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::client::{Client, Event};
use crate::support::DEADLINE;

/// Round trips that a bystander makes at least while a storm lasts, however short.
const ROUND_TRIPS_MIN: usize = 20;

#[derive(Debug)]
pub struct Bystander {
    what: &'static str,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Bystander {
    /// Publishes to a queue of its own and gets it from there.
    pub fn publishing(address: SocketAddr) -> Self {
        let mut client = Client::connect(address).unwrap();
        client.declare("bystander", false).unwrap();
        client.consume("bystander").unwrap();
        Self::start("publish to delivery", move || {
            client.publish("", "bystander", false, b"still there");
            loop {
                match client.next(DEADLINE).unwrap() {
                    Some(Event::Delivery(delivery)) => {
                        client.ack(delivery.tag, false);
                        break client.flush().unwrap();
                    }
                    Some(Event::Blocked(_)) => {}
                    other => panic!("a delivery was due, not {other:?}"),
                }
            }
        })
    }

    /// Asks for a queue: who publishes nothing is not blocked.
    pub fn asking(address: SocketAddr) -> Self {
        let mut client = Client::connect(address).unwrap();
        client.declare("asked for", false).unwrap();
        Self::start("passive declare", move || {
            client.ready("asked for").unwrap();
        })
    }

    fn start(what: &'static str, mut round_trip: impl FnMut() + Send + 'static) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let over = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let mut waits = Vec::new();
            while !over.load(Ordering::Relaxed) || waits.len() < ROUND_TRIPS_MIN {
                let start = Instant::now();
                round_trip();
                waits.push(start.elapsed());
                thread::park_timeout(Duration::from_millis(1));
            }
            waits
        });
        Self {
            what,
            is_over,
            thread,
        }
    }

    /// The storm is over.
    pub fn end(self, storm: &str) {
        self.is_over.store(true, Ordering::Relaxed);
        let mut waits = self.thread.join().unwrap();
        waits.sort_unstable();
        let at = |percent: usize| waits[(waits.len() - 1) * percent / 100];
        println!(
            "{storm}: bystander ({}) made {} round trips, p50 {:?}, p99 {:?}, max {:?}",
            self.what,
            waits.len(),
            at(50),
            at(99),
            at(100)
        );
    }
}
