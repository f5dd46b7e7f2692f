//! What all of these tests have in common: a broker with a mark on its memory, and how it was before.

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use amq_protocol::protocol::{AMQPClass, queue};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::client::Client;
use crate::gauge::{Gauge, MIB};
use crate::support::{DEADLINE, TestServer, eventually};

/// How long a socket may be silent while everybody else is busy.
pub const PATIENCE: Duration = Duration::from_mins(5);

/// What is read and delivered before the broker looks at its memory again, and then can not be taken back: it depends on
/// how long others keep the processor.
const OVERSHOOT: u64 = 24 * MIB;

/// Memory that may be left over a storm: the caches of the stores, 16 MiB for each of their connections to the disk, and
/// what the allocators keep.
pub fn left_over() -> u64 {
    scale(96, 192) * MIB
}

/// A size for a minute of a debug build, or for a bad day.
pub fn scale<T>(minute: T, full: T) -> T {
    if is_full() { full } else { minute }
}

pub fn is_full() -> bool {
    env::var("LEVERET_OVERLOAD").is_ok_and(|mode| mode == "full")
}

pub struct Storm {
    pub server: TestServer,
    pub gauge: Gauge,
    name: &'static str,
    mark: u64,
    resident: u64,
    anonymous: u64,
    files: usize,
}

impl Storm {
    /// A broker whose memory mark is so many bytes.
    pub fn begin(name: &'static str, mark: u64, config: &str) -> Self {
        let config = format!("limits.memory_high_watermark = \"{mark} B\"\n{config}");
        let server = TestServer::with_config(&config);
        let gauge = Gauge::new(server.pid());
        let mut client = Client::connect(server.address()).unwrap();
        client.declare("calm", true).unwrap();
        client.delete("calm").unwrap();
        drop(client);
        let mut files = gauge.files();
        eventually("the first connection is gone", || {
            let before = std::mem::replace(&mut files, gauge.files());
            (before == files).then_some(())
        });
        Self {
            resident: gauge.resident(),
            anonymous: gauge.anonymous(),
            files,
            server,
            gauge,
            name,
            mark,
        }
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.server.address()).unwrap()
    }

    /// Memory that it has more than before, bytes.
    pub fn grown(&self) -> u64 {
        self.gauge.resident().saturating_sub(self.resident)
    }

    /// The memory never was far above the mark.
    pub fn check_peak(&self) {
        let (peak, mark) = (self.gauge.peak(), self.mark);
        println!(
            "{}: {} MiB of memory at most, mark {} MiB, base {} MiB",
            self.name,
            peak / MIB,
            mark / MIB,
            self.resident / MIB
        );
        assert!(
            peak <= mark + OVERSHOOT,
            "{peak} bytes of memory, the mark is {mark}"
        );
    }

    /// Once it is over, memory and files are near what they were.
    pub fn end(&self) {
        self.end_within(left_over());
    }

    /// The same, with so many bytes of memory left.
    pub fn end_within(&self, left_over: u64) {
        println!(
            "{}: {} MiB of memory at the end of the storm",
            self.name,
            self.gauge.anonymous() / MIB
        );
        eventually("the files are closed", || {
            (self.gauge.files() <= self.files).then_some(())
        });
        let end = Instant::now() + DEADLINE;
        while self.gauge.anonymous() > self.anonymous + left_over {
            assert!(
                Instant::now() < end,
                "{}: {} bytes are left, there were {} before",
                self.name,
                self.gauge.anonymous(),
                self.anonymous
            );
            thread::park_timeout(Duration::from_millis(20));
        }
        println!(
            "{}: {} MiB of memory and {} files afterwards",
            self.name,
            self.gauge.anonymous() / MIB,
            self.gauge.files()
        );
    }
}

/// A queue that ends with its connection.
pub fn declare_exclusive(client: &mut Client, name: &str) {
    let declare = queue::Declare {
        queue: name.into(),
        exclusive: true,
        ..queue::Declare::default()
    };
    client
        .call(AMQPClass::Queue(queue::AMQPMethod::Declare(declare)))
        .unwrap();
}

/// Lets this process open so many files; what it starts has that limit, and may raise it. Returns how many it may have.
pub fn allow_files(count: usize) -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let soft = hard.min(count as u64);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    usize::try_from(soft).unwrap()
}
