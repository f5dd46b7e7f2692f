//! A disk that fails, fills up or waits, and a clock that steps, under the real binary.
//!
//! The binary loads a small library before libc, which is compiled here by `cc` and steered by numbers in a file.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

const SOURCE: &str = include_str!("faults.c");

/// Calls that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Write = 1,
    Sync = 2,
    Read = 4,
}

/// What becomes of the call whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Io = 1,
    NoSpace,
    CutShort,
    Kill,
}

/// Numbers of the library, as places in the file.
#[derive(Clone, Copy)]
enum Field {
    Kinds,
    Countdown,
    Action,
    Stays,
    Seen,
    Fired,
    Hold,
    Free,
    ClockStep,
}

/// The disk and the clock of the brokers that are started with its environment.
pub struct Faults {
    control: File,
    path: PathBuf,
    /// A part of the paths of the files that are concerned.
    name: &'static str,
    _temporary: TempDir,
}

impl Faults {
    /// For the files of the main store. Nothing fails as yet.
    pub fn new() -> Self {
        Self::of("leveret.db")
    }

    /// For files with this in their path.
    pub fn of(name: &'static str) -> Self {
        let temporary = TempDir::new().unwrap();
        let path = temporary.path().join("control");
        let control = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .unwrap();
        control.write_all_at(&[0; 9 * 8], 0).unwrap();
        let faults = Self {
            control,
            path,
            name,
            _temporary: temporary,
        };
        faults.set_free(None);
        faults
    }

    /// What a broker needs to have them.
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        vec![
            ("LD_PRELOAD".to_owned(), text(library())),
            ("FAULTS_CONTROL".to_owned(), text(&self.path)),
            ("FAULTS_NAME".to_owned(), self.name.to_owned()),
        ]
    }

    /// Lets the `nth` call from now on fail, counted from 1, and all later ones if it `stays`.
    pub fn arm(&self, kind: Kind, nth: i64, fault: Fault, stays: bool) {
        self.disarm();
        self.set(Field::Countdown, nth);
        self.set(Field::Action, fault as i64);
        self.set(Field::Stays, stays.into());
        self.set(Field::Seen, 0);
        self.set(Field::Fired, 0);
        self.set(Field::Kinds, kind as i64);
    }

    pub fn disarm(&self) {
        self.set(Field::Kinds, 0);
    }

    /// How many calls have failed.
    pub fn fired(&self) -> i64 {
        self.get(Field::Fired)
    }

    /// How many calls of the armed kind there were.
    pub fn seen(&self) -> i64 {
        self.get(Field::Seen)
    }

    /// Syncs wait while it is held.
    pub fn hold(&self, holds: bool) {
        self.set(Field::Hold, holds.into());
    }

    /// The disk has so many bytes free, or as many as it really has.
    pub fn set_free(&self, bytes: Option<i64>) {
        self.set(Field::Free, bytes.unwrap_or(-1));
    }

    pub fn free(&self) -> i64 {
        self.get(Field::Free)
    }

    /// The time of day differs by so many seconds.
    pub fn step_clock(&self, seconds: i64) {
        self.set(Field::ClockStep, seconds);
    }

    fn set(&self, field: Field, value: i64) {
        let place = field as u64 * 8;
        self.control.write_all_at(&value.to_ne_bytes(), place).unwrap();
    }

    fn get(&self, field: Field) -> i64 {
        let mut bytes = [0; 8];
        self.control.read_exact_at(&mut bytes, field as u64 * 8).unwrap();
        i64::from_ne_bytes(bytes)
    }
}

/// Which calls are to fail, one after the other: the first ones and then fewer and fewer, or all of them.
pub fn turns() -> impl Iterator<Item = i64> {
    let every = std::env::var_os("LEVERET_EVERY_FAULT").is_some();
    std::iter::successors(Some(1), move |nth| {
        Some(nth + 1 + if every { 0 } else { nth * 2 / 3 })
    })
}

/// Compiled once per run of the tests.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = LIBRARY.get_or_init(|| {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (source, library) = (
            directory.path().join("faults.c"),
            directory.path().join("faults.so"),
        );
        fs::write(&source, SOURCE).unwrap();
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(&source)
            .arg("-ldl")
            .status()
            .expect("a C compiler, which the build needs as well");
        assert!(compiled.success(), "the library does not compile");
        (directory, library)
    });
    path
}

/// `dd` writes five times ten bytes to a file of that name and syncs it; whether all went well.
fn write_under(faults: &Faults, name: &str) -> (bool, u64) {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join(name);
    let output = Command::new("dd")
        .args(["if=/dev/zero", "bs=10", "count=5", "conv=fsync"])
        .arg(format!("of={}", file.to_str().unwrap()))
        .envs(faults.environment())
        .output()
        .unwrap();
    (output.status.success(), fs::metadata(file).unwrap().len())
}

#[test]
fn the_library_does_what_is_asked_of_it_and_to_no_other_file() {
    let faults = Faults::new();
    assert_eq!(write_under(&faults, "leveret.db"), (true, 50));
    faults.arm(Kind::Write, 3, Fault::Io, false);
    assert_eq!(write_under(&faults, "other.db"), (true, 50));
    assert_eq!((faults.seen(), faults.fired()), (0, 0));
    assert_eq!(write_under(&faults, "leveret.db"), (false, 20));
    assert_eq!((faults.seen(), faults.fired()), (3, 1));
    faults.arm(Kind::Write, 2, Fault::CutShort, false);
    assert_eq!(write_under(&faults, "leveret.db-wal"), (true, 50));
    assert_eq!(faults.fired(), 1);
    faults.arm(Kind::Sync, 1, Fault::NoSpace, true);
    assert_eq!(write_under(&faults, "leveret.db"), (false, 50));
    faults.arm(Kind::Write, 4, Fault::Kill, false);
    assert_eq!(write_under(&faults, "leveret.db"), (false, 30));
    faults.arm(Kind::Read, 1, Fault::Io, true);
    assert_eq!(write_under(&faults, "leveret.db"), (true, 50));
    faults.disarm();
    faults.set_free(Some(35));
    assert_eq!(write_under(&faults, "leveret.db"), (false, 35));
    assert_eq!(faults.free(), 0);
    faults.hold(false);
    faults.step_clock(10_000_000_000);
    let date = Command::new("date")
        .arg("+%s")
        .envs(faults.environment())
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&date.stdout).starts_with("11"),
        "{date:?}"
    );
}
