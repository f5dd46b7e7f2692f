//! What is measured each second, of the broker's process, its files and the clients.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::scene::{Latencies, Scene};

const SECOND: Duration = Duration::from_secs(1);
const MIB: f64 = 1_048_576.0;
/// Of the system's clock ticks, in which it counts processor time.
const TICKS_PER_SECOND: f64 = 100.0;

/// The columns, with their units.
pub const COLUMNS: [&str; 17] = [
    "published_per_s",
    "delivered_per_s",
    "rss_mib",
    "fds",
    "threads",
    "cpu_cores",
    "clients_cpu_cores",
    "wal_mib",
    "database_mib",
    "transient_p50_ms",
    "transient_p99_ms",
    "transient_max_ms",
    "durable_p50_ms",
    "durable_p99_ms",
    "durable_max_ms",
    "load_average",
    "open_entries",
];

/// Seconds since the begin, and a value for each column; one that is not known is not a number.
pub struct Row {
    pub at: f64,
    pub values: [f64; COLUMNS.len()],
}

/// Which place a column has.
pub fn column(name: &str) -> usize {
    COLUMNS
        .iter()
        .position(|column| *column == name)
        .expect("the columns are these")
}

/// Measures until the run is over; also writes each row to a file at once, for who looks on.
pub fn watch(scene: &Scene, broker: &AtomicU32, directory: &Path, live: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut told = 0;
    let mut file = fs::File::create(live).expect("the rows can be written");
    writeln!(file, "second,{}", COLUMNS.join(",")).expect("the rows can be written");
    let mut last = Counters::read(scene, broker.load(Ordering::SeqCst));
    while scene.is_going_on() {
        let end = last.at + SECOND;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            thread::park_timeout(left);
        }
        let counters = Counters::read(scene, broker.load(Ordering::SeqCst));
        let row = row(scene, &last, &counters, directory);
        let values = row.values.map(|value| format!("{value:.3}"));
        writeln!(file, "{:.0},{}", row.at, values.join(",")).expect("the rows can be written");
        rows.push(row);
        scene.tell_complaints(&mut told);
        last = counters;
    }
    rows
}

/// Open file descriptors of a process.
pub fn descriptors(process: u32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{process}/fd")).ok()?.count())
}

/// What grows, of which a rate is made.
struct Counters {
    at: Instant,
    process: u32,
    sent: f64,
    received: f64,
    cpu: f64,
    clients_cpu: f64,
}

impl Counters {
    #[expect(clippy::cast_precision_loss, reason = "they are small")]
    fn read(scene: &Scene, process: u32) -> Self {
        Self {
            at: Instant::now(),
            process,
            sent: scene.sent.load(Ordering::Relaxed) as f64,
            received: scene.received.load(Ordering::Relaxed) as f64,
            cpu: cpu_seconds(&process.to_string()),
            clients_cpu: cpu_seconds("self"),
        }
    }
}

fn row(scene: &Scene, last: &Counters, now: &Counters, directory: &Path) -> Row {
    let seconds = (now.at - last.at).as_secs_f64();
    let process = now.process.to_string();
    let is_same = now.process == last.process && scene.life().is_multiple_of(2);
    let of_process = |value: f64| if is_same { value } else { f64::NAN };
    let descriptors = descriptors(now.process).and_then(|count| u32::try_from(count).ok());
    let [transient_p50, transient_p99, transient_max] = percentiles(&scene.transient);
    let [durable_p50, durable_p99, durable_max] = percentiles(&scene.durable);
    let open = u32::try_from(scene.books().open()).unwrap_or(u32::MAX);
    Row {
        at: scene.begin.elapsed().as_secs_f64(),
        values: [
            (now.sent - last.sent) / seconds,
            (now.received - last.received) / seconds,
            of_process(status(&process, "VmRSS:") / 1024.0),
            of_process(descriptors.map_or(f64::NAN, f64::from)),
            of_process(status(&process, "Threads:")),
            of_process((now.cpu - last.cpu) / seconds),
            (now.clients_cpu - last.clients_cpu) / seconds,
            of_process(sizes(directory, |name| name.ends_with("-wal"))),
            of_process(sizes(directory, |name| name == "leveret.db")),
            transient_p50,
            transient_p99,
            transient_max,
            durable_p50,
            durable_p99,
            durable_max,
            load_average(),
            f64::from(open),
        ],
    }
}

/// Median, 99th percentile and greatest, in milliseconds, of what was measured since the last time.
fn percentiles(latencies: &Latencies) -> [f64; 3] {
    let mut values = std::mem::take(&mut *latencies.lock());
    values.sort_unstable();
    let at = |percent: usize| {
        let index = (values.len() * percent / 100).min(values.len().saturating_sub(1));
        let value = values.get(index).and_then(|value| u32::try_from(*value).ok());
        value.map_or(f64::NAN, |value| f64::from(value) / 1000.0)
    };
    [at(50), at(99), at(100)]
}

fn cpu_seconds(process: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let behind_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<f64> = behind_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    fields.iter().sum::<f64>() / TICKS_PER_SECOND
}

fn status(process: &str, key: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(f64::NAN)
}

#[expect(clippy::cast_precision_loss, reason = "it is a figure")]
fn sizes(directory: &Path, is_meant: impl Fn(&str) -> bool) -> f64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let meant = entries.filter(|entry| is_meant(&entry.file_name().to_string_lossy()));
    let bytes: u64 = meant
        .filter_map(|entry| entry.metadata().ok())
        .map(|meta| meta.len())
        .sum();
    bytes as f64 / MIB
}

/// How many tasks of the whole machine want a core: how much others disturb.
fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|number| number.parse().ok()).unwrap_or(f64::NAN)
}
