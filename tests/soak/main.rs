//! Everything at once for an hour: all kinds of traffic, crashes, backups, reloads; books are kept, and figures drawn.
//!
//! `cargo test --release --test soak -- --minutes 60 --picture docs/soak.svg` is the whole run, and writes the figures
//! beside the picture. Without arguments it is a run of seconds, for what breaks at once. It fails if a promise is
//! broken, and a long one also if memory, descriptors or files grow.

mod backlog;
mod books;
mod churn;
#[path = "../durability/client.rs"]
#[allow(dead_code, reason = "the durability tests use all of it")]
mod client;
mod consumer;
mod figures;
mod gauge;
mod lanes;
#[path = "../durability/methods.rs"]
#[allow(dead_code, reason = "the durability tests use all of it")]
mod methods;
mod operator;
#[path = "../support/options.rs"]
#[allow(dead_code, reason = "others take files")]
mod options;
mod picture;
mod probe;
mod publisher;
mod rpc;
mod scene;
#[path = "../support/mod.rs"]
mod support;
mod topology;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};
use std::{fs, thread};

use tempfile::TempDir;

use crate::client::Client;
use crate::consumer::Post;
use crate::gauge::{Row, descriptors};
use crate::lanes::LANES;
use crate::operator::{Action, Operator};
use crate::options::Options;
use crate::scene::Scene;
use crate::support::{TestServer, leveret};

/// How long the last messages may take when nobody publishes any more.
const DRAIN: Duration = Duration::from_mins(3);

const POSTS: [Post; 13] = [
    Post::at(&["settle"], 50),
    Post::at(&["settle"], 20),
    Post::at(&["dead"], 50),
    Post::at(&["work"], 50),
    Post {
        is_transactional: true,
        ..Post::at(&["delayed"], 50)
    },
    Post {
        is_transactional: true,
        ..Post::at(&["tx.in"], 10)
    },
    Post::at(&["tx.left", "tx.right", "unique"], 50),
    Post::at(
        &[
            "topic.all",
            "topic.red",
            "headers.all",
            "headers.any",
            "fan.left",
            "fan.right",
        ],
        100,
    ),
    Post::at(&["priority", "quorum"], 50),
    Post::at(&["large"], 1),
    leaving(7),
    leaving(11),
    leaving(13),
];

const fn leaving(seconds: u64) -> Post {
    Post {
        leaves_after: Some(Duration::from_secs(seconds)),
        ..Post::at(&["single"], 20)
    }
}

/// What is left of a run.
struct Outcome {
    rows: Vec<Row>,
    events: Vec<(f64, Action)>,
    last_backup: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::read(&["--minutes", "--load", "--picture"]);
    for name in options.wanted(&["everything_at_once"], |name| name) {
        if options.is_list {
            println!("{name}: test");
            return ExitCode::SUCCESS;
        }
    }
    let minutes: Option<f64> = options.value("--minutes");
    let load = options
        .value("--load")
        .unwrap_or(if minutes.is_some() { 1.0 } else { 0.2 });
    books::prove();
    figures::prove();
    let seconds = minutes.unwrap_or(0.25) * 60.0;
    let mut server = TestServer::with_config(&operator::configuration(0));
    let base = descriptors(server.pid()).expect("the broker is up");
    let mut declarer = Client::connect(server.address()).expect("the broker is up");
    topology::declare(&mut declarer).expect("all can be declared");
    drop(declarer);
    let scene = Scene::new(server.address(), load, Duration::from_secs_f64(seconds / 12.0));
    scene.allow_length(operator::length_max(0));
    let temporary = TempDir::new().expect("there can be a directory");
    println!("broker {} on {}", server.pid(), server.directory().display());
    println!("rows so far: {}", temporary.path().join("rows.csv").display());
    let outcome = run(&scene, &mut server, temporary.path(), seconds);
    look_at_end(&scene, &mut server, base);
    if let Some(backup) = &outcome.last_backup {
        look_at_backup(&scene, backup, &temporary.path().join("restored"));
    }
    let mut wrong = std::mem::take(&mut scene.books().complaints);
    if seconds >= figures::SECONDS_MIN {
        wrong.extend(figures::growth(&outcome.rows, seconds));
    }
    println!("{}", figures::table(&outcome.rows, seconds));
    let kinds = [Action::Kill, Action::Stop, Action::Backup, Action::Reload];
    let counts = kinds.map(|kind| {
        outcome
            .events
            .iter()
            .filter(|(_, action)| *action == kind)
            .count()
    });
    println!("{kinds:?}: {counts:?}");
    println!("{}", scene.summary());
    if let Some(path) = options.value::<PathBuf>("--picture") {
        let title = title();
        picture::draw(&path, &title, &outcome.rows, &outcome.events).expect("the picture can be written");
        fs::write(path.with_extension("csv"), figures::csv(&outcome.rows))
            .expect("the figures can be written");
    }
    for complaint in &wrong {
        println!("FAILED: {complaint}");
    }
    if wrong.is_empty() {
        println!("soak: {seconds} s: ok");
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}

/// Lets the workers go home, however the run ends: nobody would otherwise hear of a panic.
struct EndWhenDropped<'a>(&'a Scene);

impl Drop for EndWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Everything at once, and the end of it.
fn run(scene: &Scene, server: &mut TestServer, directory: &Path, seconds: f64) -> Outcome {
    let process = AtomicU32::new(server.pid());
    let data = server.directory().to_owned();
    let live = directory.join("rows.csv");
    thread::scope(|scope| {
        let gauge = scope.spawn(|| gauge::watch(scene, &process, &data, &live));
        for lane in 0..LANES.len() {
            scope.spawn(move || publisher::work(scene, lane));
        }
        for post in POSTS {
            scope.spawn(move || post.work(scene));
        }
        let roles = [
            backlog::work,
            probe::transient,
            probe::durable,
            rpc::ask,
            rpc::answer,
            churn::connections,
            churn::queues,
            churn::capped,
        ];
        for role in roles {
            scope.spawn(move || role(scene));
        }
        let end = EndWhenDropped(scene);
        let mut operator = Operator {
            scene,
            server,
            process: &process,
            directory,
            events: Vec::new(),
            last_backup: None,
        };
        operator.work(seconds);
        drain(scene);
        drop(end);
        Outcome {
            rows: gauge.join().expect("the gauge works"),
            events: operator.events,
            last_backup: operator.last_backup,
        }
    })
}

/// Nobody publishes any more; what was confirmed must come, and all queues become empty.
fn drain(scene: &Scene) {
    scene.stop_publishing();
    let end = Instant::now() + DRAIN;
    let mut client = Client::connect(scene.address).expect("the broker is up");
    loop {
        let missing = scene.books().missing();
        let filled = topology::filled(&mut client).expect("the broker is up");
        if missing.is_empty() && filled.is_empty() {
            return;
        }
        if Instant::now() > end {
            for lane in missing {
                scene.complain(lane);
            }
            scene.complain(format!("these queues do not become empty: {filled:?}"));
            return;
        }
        thread::park_timeout(Duration::from_millis(200));
    }
}

/// All connections are gone: so are their descriptors, and nothing came back to the queues.
fn look_at_end(scene: &Scene, server: &mut TestServer, base: usize) {
    let process = server.pid();
    let end = Instant::now() + support::DEADLINE;
    let mut open = usize::MAX;
    while open > base && Instant::now() < end {
        open = descriptors(process).expect("the broker is up");
        thread::park_timeout(Duration::from_millis(10));
    }
    println!("descriptors: {base} before the first client, {open} after the last");
    if open > base {
        scene.complain(format!(
            "{open} descriptors are open, and there were {base} at first"
        ));
    }
    let filled = Client::connect(server.address()).and_then(|mut client| topology::filled(&mut client));
    if !matches!(&filled, Ok(filled) if filled.is_empty()) {
        scene.complain(format!("when all had gone, there was {filled:?}"));
    }
    server.stop();
    if let Err(problems) = leveret(server.directory(), &["verify"]) {
        scene.complain(format!("at the end the data is not sound: {problems}"));
    }
}

fn look_at_backup(scene: &Scene, backup: &Path, restored: &Path) {
    let name = backup.to_str().expect("it is readable");
    let result = leveret(restored, &["restore", name]).and_then(|_| leveret(restored, &["verify"]));
    if let Err(problems) = result {
        scene.complain(format!("the last backup is not sound: {problems}"));
    }
}

fn title() -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<f64>().ok());
    let gib = kib.unwrap_or_default() / 1_048_576.0;
    let date = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    let (day, _) = date.split_at(10);
    let version = env!("CARGO_PKG_VERSION");
    format!("Leveret {version}, {day}, {cores} shared cores, {gib:.0} GiB")
}
