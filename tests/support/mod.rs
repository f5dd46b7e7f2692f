//! A broker of the tests' own: the real binary on a free port with a directory that goes away.
//!
//! Every test program includes this with `#[path = "../support/mod.rs"] mod support;`.

#![allow(dead_code, reason = "each test program uses its own part of this")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything that should happen may take. Never a measure: only so that a failure ends.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A running broker, killed when dropped.
pub struct TestServer {
    child: Child,
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    /// The lines so far.
    log: Arc<Mutex<Vec<String>>>,
    directory: PathBuf,
    config: Option<PathBuf>,
    environment: Vec<(String, String)>,
    /// Removed with the last server on it.
    _temporary: Option<TempDir>,
}

impl TestServer {
    /// Starts a broker with the built-in defaults on an empty directory.
    pub fn start() -> Self {
        Self::with_config("")
    }

    /// Starts a broker with this configuration file on an empty directory.
    pub fn with_config(config: &str) -> Self {
        Self::with_environment(config, &[])
    }

    /// The same with these variables, now and at each further start.
    pub fn with_environment(config: &str, environment: &[(String, String)]) -> Self {
        let temporary = TempDir::new().unwrap();
        let path = temporary.path().join("leveret.toml");
        std::fs::write(&path, config).unwrap();
        let directory = temporary.path().join("data");
        let started = spawn(&directory, Some(&path), "127.0.0.1:0", environment);
        Self {
            child: started.child,
            address: started.address,
            tls_address: started.tls_address,
            log: started.log,
            directory,
            config: Some(path),
            environment: environment.to_vec(),
            _temporary: Some(temporary),
        }
    }

    /// Starts a broker with the built-in defaults on this directory, which stays.
    pub fn on(directory: &Path) -> Self {
        Self::of(spawn(directory, None, "127.0.0.1:0", &[]), directory)
    }

    /// The same with a directory that it may refuse. Its log has what it says to anybody, panics too.
    pub fn try_on(directory: &Path) -> Result<Self, Refusal> {
        let mut command = command(directory, None, "127.0.0.1:0", &[]);
        let (said, saying) = io::pipe().unwrap();
        command.stdout(saying.try_clone().unwrap()).stderr(saying);
        let child = command.spawn().unwrap();
        // It has the other end of the pipe.
        drop(command);
        Ok(Self::of(ready(child, said)?, directory))
    }

    fn of(started: Started, directory: &Path) -> Self {
        Self {
            child: started.child,
            address: started.address,
            tls_address: started.tls_address,
            log: started.log,
            directory: directory.to_owned(),
            config: None,
            environment: Vec::new(),
            _temporary: None,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for TLS; its configuration must say that it does.
    pub fn tls_address(&self) -> SocketAddr {
        self.tls_address.expect("the broker listens for TLS")
    }

    /// Its configuration file.
    pub fn config(&self) -> &Path {
        self.config.as_deref().expect("the broker has a file")
    }

    /// Waits until a line of the log has all these parts; returns it.
    pub fn logged(&self, parts: &[&str]) -> String {
        eventually(&format!("the log says {parts:?}"), || {
            let log = self.log.lock().unwrap();
            let line = log
                .iter()
                .find(|line| parts.iter().all(|part| line.contains(part)));
            line.cloned()
        })
    }

    /// An AMQP URI for guest in the default vhost.
    pub fn uri(&self) -> String {
        format!("amqp://guest:guest@{}/%2f", self.address)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory that it has, bytes.
    pub fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<usize>().unwrap() << 10
    }

    /// Its data directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// kill -9, a look at what is left, and the same broker again on the same directory and port.
    pub fn kill_and_restart(&mut self) {
        self.kill();
        self.verify();
        self.start_again();
    }

    /// Looks whether what it has left is sound.
    pub fn verify(&self) {
        leveret(&self.directory, &["verify"]).expect("a killed broker leaves its data sound");
    }

    /// Starts it, and kills it so much later, ready or not.
    pub fn start_and_kill(&mut self, after: Duration) {
        let mut command = command(
            &self.directory,
            self.config.as_deref(),
            &self.address.to_string(),
            &self.environment,
        );
        self.child = command.stdout(Stdio::null()).spawn().unwrap();
        thread::park_timeout(after);
        self.kill();
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, waits for a clean exit, and the same broker again on the same directory and port.
    pub fn stop_and_restart(&mut self) {
        self.stop();
        self.start_again();
    }

    /// Waits until it ends by itself; whether it said that all was well.
    pub fn ends(&mut self) -> bool {
        eventually("the broker exits", || self.child.try_wait().unwrap()).success()
    }

    /// Whether it is still there.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Starts it again after its end, on the same directory and port.
    pub fn restart(&mut self) {
        self.start_again();
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        self.signal("-HUP");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(status.success(), "cannot signal the broker");
    }

    /// SIGTERM, and waits for a clean exit.
    pub fn stop(&mut self) {
        self.terminate();
        let status = eventually("the broker exits", || self.child.try_wait().unwrap());
        assert!(status.success(), "the broker ended with {status}");
    }

    /// The lines of its log so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    fn start_again(&mut self) {
        let address = self.address.to_string();
        let started = spawn(
            &self.directory,
            self.config.as_deref(),
            &address,
            &self.environment,
        );
        self.child = started.child;
        self.address = started.address;
        self.tls_address = started.tls_address;
        self.log = started.log;
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // It may have ended already; either way nothing of it is left.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// How a start ended that came to nothing.
#[derive(Debug)]
pub struct Refusal {
    pub status: ExitStatus,
    /// The lines that it said.
    pub said: String,
}

/// A broker that is ready.
struct Started {
    child: Child,
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    log: Arc<Mutex<Vec<String>>>,
}

/// The binary, with where it works.
fn command(
    directory: &Path,
    config: Option<&Path>,
    listen: &str,
    environment: &[(String, String)],
) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leveret"));
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    command.args(["--listen", listen, "--data-dir"]).arg(directory);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

/// Starts the binary and waits until it says that it is ready.
fn spawn(directory: &Path, config: Option<&Path>, listen: &str, environment: &[(String, String)]) -> Started {
    let mut command = command(directory, config, listen, environment);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let log = child.stdout.take().unwrap();
    ready(child, log).expect("the broker says that it is ready")
}

/// Waits until a broker says that it is ready, or ends.
fn ready(mut child: Child, log: impl Read + Send + 'static) -> Result<Started, Refusal> {
    let lines = BufReader::new(log).lines();
    let (ready, is_ready) = mpsc::channel();
    let log = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&log);
    // Reads to the end, so that the broker never blocks on its log.
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if line.contains("Server startup complete") {
                drop(ready.send(line.clone()));
            }
            kept.lock().unwrap().push(line);
        }
    });
    let Ok(line) = is_ready.recv_timeout(DEADLINE) else {
        // It has ended, or is stuck: then it is not its own status that is told.
        drop(child.kill());
        let status = child.wait().unwrap();
        let said = log.lock().unwrap().join("\n");
        return Err(Refusal { status, said });
    };
    Ok(Started {
        child,
        address: address_in(&line, "listeners").expect("the line names the listeners"),
        tls_address: address_in(&line, "tls_listeners"),
        log,
    })
}

/// The first address of these listeners in the line, which is text or JSON.
fn address_in(line: &str, listeners: &str) -> Option<SocketAddr> {
    let written = [format!(" {listeners}=\""), format!("\"{listeners}\":\"")];
    let (_, listeners) = written.iter().find_map(|written| line.split_once(written))?;
    listeners.split(['"', ' ']).next()?.parse().ok()
}

/// Runs a command of the binary on a data directory: what it printed, or what it complained of.
pub fn leveret(directory: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_leveret"))
        .args(arguments)
        .arg("--data-dir")
        .arg(directory)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

/// Says one byte now and then until the peer hangs up; what that said meanwhile.
pub fn drip(mut stream: TcpStream, byte: u8) -> Vec<u8> {
    // Reading is the pause.
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
    let end = Instant::now() + DEADLINE;
    while Instant::now() < end {
        drop(stream.write_all(&[byte]));
        match stream.read(&mut buffer) {
            Ok(0) => return heard,
            Ok(len) => heard.extend(&buffer[..len]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return heard,
        }
    }
    panic!("the peer never hangs up");
}

/// Waits until `condition` gives something.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < end, "it did not happen in {DEADLINE:?}: {what}");
        thread::park_timeout(Duration::from_millis(1));
    }
}
