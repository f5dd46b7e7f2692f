//! What is done to the broker: kills, a stop, changed policies, reloads, backups.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::churn::check_length;
use crate::client::Client;
use crate::scene::Scene;
use crate::support::{TestServer, eventually, leveret};
use crate::topology::CAPPED;

/// Between two kills at least.
const LIFE_MIN: f64 = 5.0;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    Kill,
    Stop,
    Backup,
    Reload,
}

/// The plan: crashes in the first half, a clean stop in the middle, and no restart behind it, so that growth shows.
pub fn plan(seconds: f64) -> Vec<(f64, Action)> {
    let half = seconds / 2.0;
    let mut kills = 5;
    while kills > 1 && half / f64::from(kills) < LIFE_MIN {
        kills -= 1;
    }
    let kill = |index| ((f64::from(index) + 0.5) * half / f64::from(kills), Action::Kill);
    // At that phase the backlog is nearly as long as it gets.
    let backup = |index| ((1.65 + 2.0 * f64::from(index)) * seconds / 12.0, Action::Backup);
    let reload = |index| ((0.4 + f64::from(index)) * seconds / 12.0, Action::Reload);
    let mut plan: Vec<_> = (0..kills).map(kill).collect();
    plan.push((half, Action::Stop));
    plan.extend((0..6).map(backup));
    plan.extend((0..12).map(reload));
    plan.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    plan
}

pub struct Operator<'a> {
    pub scene: &'a Scene,
    pub server: &'a mut TestServer,
    /// The broker's process, for who watches it.
    pub process: &'a AtomicU32,
    /// Where backups go.
    pub directory: &'a Path,
    /// What happened, and when, in seconds.
    pub events: Vec<(f64, Action)>,
    pub last_backup: Option<PathBuf>,
}

impl Operator<'_> {
    /// Carries the plan out, and returns when the time is over.
    pub fn work(&mut self, seconds: f64) {
        for (at, action) in plan(seconds) {
            self.wait_until(at);
            println!("{:6.0} s: {action:?}", self.scene.begin.elapsed().as_secs_f64());
            self.events
                .push((self.scene.begin.elapsed().as_secs_f64(), action));
            match action {
                Action::Kill | Action::Stop => self.restart(action),
                Action::Backup => self.back_up(),
                Action::Reload => self.reload(),
            }
        }
        self.wait_until(seconds);
    }

    /// With another configuration afterwards: policies need a restart.
    fn restart(&mut self, action: Action) {
        self.scene.begin_outage();
        if action == Action::Kill {
            self.server.kill();
        } else {
            self.server.stop();
        }
        if let Err(problems) = leveret(self.server.directory(), &["verify"]) {
            self.scene
                .complain(format!("after {action:?} the data is not sound: {problems}"));
        }
        let number = self.events.len();
        fs::write(self.server.config(), configuration(number)).expect("the file can be written");
        self.server.restart();
        self.process.store(self.server.pid(), Ordering::SeqCst);
        self.scene.allow_length(length_max(number));
        let length = Client::connect(self.server.address())
            .and_then(|mut client| check_length(self.scene, &mut client));
        if let Err(error) = length {
            self.scene
                .complain(format!("after {action:?} nobody answers: {error}"));
        }
        self.scene.end_outage();
    }

    fn back_up(&mut self) {
        let number = self.events.len();
        let file = self.directory.join(format!("{number}.db"));
        let name = file.to_str().expect("it is readable");
        match leveret(self.server.directory(), &["backup", name]) {
            Err(problems) => self.scene.complain(format!("no backup: {problems}")),
            Ok(_) => {
                if let Some(last) = self.last_backup.replace(file) {
                    drop(fs::remove_file(last));
                }
            }
        }
    }

    fn reload(&mut self) {
        let count = || {
            let log = self.server.log();
            log.matches("the configuration is reloaded").count()
        };
        let before = count();
        // Restarts set the policies; here they stay, for they can not change.
        let text = fs::read_to_string(self.server.config()).expect("the file is there");
        let share = if self.events.len().is_multiple_of(2) {
            0.5
        } else {
            0.6
        };
        let mark = "memory_high_watermark = ";
        let (head, tail) = text.split_once(mark).expect("the file has it");
        let tail = tail.split_once('\n').map_or("", |(_, tail)| tail);
        fs::write(self.server.config(), format!("{head}{mark}{share}\n{tail}"))
            .expect("the file can be written");
        self.server.hang_up();
        eventually("the configuration is reloaded", || {
            (count() > before).then_some(())
        });
    }

    fn wait_until(&self, at: f64) {
        while let Some(left) = Duration::from_secs_f64(at).checked_sub(self.scene.begin.elapsed()) {
            thread::park_timeout(left);
        }
    }
}

/// Memory holds little of a queue, and the policies differ with the number.
pub fn configuration(number: usize) -> String {
    let mut text = String::from(
        "[storage]\nmemory_window_messages = 5000\nmemory_window_bytes = \"8 MiB\"\ncommit_interval = \"2ms\"\n\
         [limits]\nmemory_high_watermark = 0.6\n",
    );
    let wait = if number.is_multiple_of(2) { 2000 } else { 3000 };
    let policies = [
        ("cap", CAPPED, format!("\"max-length\" = {}", length_max(number))),
        ("wait", "retry.wait", format!("\"message-ttl\" = {wait}")),
    ];
    for (name, queue, definition) in policies {
        writeln!(
            text,
            "[[policies]]\nname = \"{name}\"\nvhost = \"/\"\npattern = \"^{queue}$\"\n\
             apply_to = \"queues\"\ndefinition = {{ {definition} }}"
        )
        .expect("a string takes all");
    }
    text
}

/// How long the capped queue may be, by the policy of that number.
pub fn length_max(number: usize) -> u32 {
    if number.is_multiple_of(2) { 500 } else { 1000 }
}
