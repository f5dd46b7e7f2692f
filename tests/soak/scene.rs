//! What all workers share: where the broker is, whether it lives, the books, and what is counted.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::books::Books;
use crate::client::{Client, Event};

pub struct Scene {
    pub address: SocketAddr,
    pub begin: Instant,
    /// A factor of all rates.
    pub load: f64,
    /// From one drain of the backlog to the next.
    pub cycle: Duration,
    /// Even while the broker lives, odd from before its end until it is back.
    life: AtomicU32,
    is_publishing: AtomicBool,
    is_over: AtomicBool,
    books: Mutex<Books>,
    /// Messages published, and taken, by all workers.
    pub sent: AtomicU64,
    pub received: AtomicU64,
    /// Microseconds from a transient publish to its delivery.
    pub transient: Latencies,
    /// Microseconds from a persistent publish to its confirm.
    pub durable: Latencies,
    /// Messages that a queue with a length limit may have.
    pub length_max: AtomicU32,
}

/// Measured since they were last taken.
pub type Latencies = Mutex<Vec<u64>>;

impl Scene {
    pub fn new(address: SocketAddr, load: f64, cycle: Duration) -> Self {
        Self {
            address,
            begin: Instant::now(),
            load,
            cycle,
            life: AtomicU32::new(0),
            is_publishing: AtomicBool::new(true),
            is_over: AtomicBool::new(false),
            books: Mutex::default(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            transient: Mutex::default(),
            durable: Mutex::default(),
            length_max: AtomicU32::new(0),
        }
    }

    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock()
    }

    pub fn complain(&self, complaint: String) {
        self.books().complain(complaint);
    }

    /// Prints the complaints behind those that were told before.
    pub fn tell_complaints(&self, told: &mut usize) {
        let books = self.books();
        for complaint in books.complaints.iter().skip(*told).take(20) {
            println!(
                "WRONG after {:.0} s: {complaint}",
                self.begin.elapsed().as_secs_f64()
            );
        }
        *told = books.complaints.len();
    }

    pub fn is_publishing(&self) -> bool {
        self.is_publishing.load(Ordering::SeqCst)
    }

    /// The publishers come to their end; what is on its way still arrives.
    pub fn stop_publishing(&self) {
        self.is_publishing.store(false, Ordering::SeqCst);
    }

    pub fn is_going_on(&self) -> bool {
        !self.is_over.load(Ordering::SeqCst)
    }

    pub fn end(&self) {
        self.stop_publishing();
        self.is_over.store(true, Ordering::SeqCst);
    }

    pub fn life(&self) -> u32 {
        self.life.load(Ordering::SeqCst)
    }

    /// Between the two the connections may break.
    pub fn begin_outage(&self) {
        self.life.fetch_add(1, Ordering::SeqCst);
        self.books().crash();
    }

    pub fn end_outage(&self) {
        self.life.fetch_add(1, Ordering::SeqCst);
    }

    pub fn count_sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    /// Microseconds since the begin.
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_micros()).expect("a run is short")
    }

    /// How many messages the capped queue may have from now on.
    pub fn allow_length(&self, max: u32) {
        self.length_max.store(max, Ordering::SeqCst);
    }

    /// What the books have in all.
    pub fn summary(&self) -> String {
        let books = self.books();
        format!(
            "{} published, {} confirms, {} delivered, {} of them redelivered; with what is beside the books {} and {}",
            books.published(),
            books.confirmed,
            books.delivered,
            books.redelivered,
            self.sent.load(Ordering::Relaxed),
            self.received.load(Ordering::Relaxed)
        )
    }

    /// Does this on one connection after the other as long as it is wanted. Only outages may cut it off.
    pub fn keep_working(
        &self,
        name: &str,
        is_wanted: impl Fn() -> bool,
        mut work: impl FnMut(Client, u32) -> io::Result<()>,
    ) {
        while is_wanted() {
            let life = self.life();
            if !life.is_multiple_of(2) {
                thread::park_timeout(Duration::from_millis(20));
                continue;
            }
            let connected = Client::connect(self.address);
            let Err(error) = connected.and_then(|client| work(client, life)) else {
                continue;
            };
            if self.life() == life {
                self.complain(format!("{name} was cut off: {error}"));
                thread::park_timeout(Duration::from_secs(1));
            }
        }
    }
}

/// The next event. That a channel or the connection is closed is an error.
pub fn next(client: &mut Client, wait: Duration) -> io::Result<Option<Event>> {
    match client.next(wait)? {
        Some(Event::Closed(code)) => Err(io::Error::other(format!("the broker closed with {code}"))),
        event => Ok(event),
    }
}

/// Something that is done so often in a second.
pub struct Pace {
    begin: Instant,
    rate: f64,
    done: u32,
}

impl Pace {
    pub fn new(rate: f64) -> Self {
        Self {
            begin: Instant::now(),
            rate,
            done: 0,
        }
    }

    /// Whether it is time for the next; if so, it counts as done.
    pub fn is_due(&mut self) -> bool {
        let is_due = self.begin.elapsed().as_secs_f64() * self.rate > f64::from(self.done);
        self.done += u32::from(is_due);
        is_due
    }
}

/// Publishes that wait for their confirms, by sequence number.
pub type InFlight<T> = BTreeMap<u64, T>;

/// What a confirm is for; it is no longer in flight.
pub fn confirmed<T>(in_flight: &mut InFlight<T>, tag: u64, multiple: bool) -> Vec<T> {
    if multiple {
        let later = in_flight.split_off(&(tag + 1));
        return std::mem::replace(in_flight, later).into_values().collect();
    }
    in_flight.remove(&tag).into_iter().collect()
}
