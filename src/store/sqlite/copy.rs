//! Backups: copies of a database that get their name only when they are whole, proved and on disk.
//!
//! A copy is made in one read transaction of SQLite, beside whoever writes: it holds the groups that were committed
//! when it began, and nothing of later ones. The log of the writer does not start over meanwhile.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::{OpenFlags, TransactionBehavior};

use super::open::create_directory;
use super::verify::{Findings, examine};
use super::{StoreSettings, database, file_system, lock, schema, unusable};
use crate::store::StoreError;

/// What a directory may hold and yet is empty: the lock's file, what an interrupted restore left, and what file
/// systems keep for themselves.
const NOTHING: [&str; 4] = [
    "leveret.db.lock",
    "leveret.db.partial",
    "leveret.db.partial-journal",
    "lost+found",
];

/// Writes what `directory` holds to a new file, also while a broker works there. At least `keep_free` bytes of the
/// file's disk stay free. Where the findings are not sound, no file is left.
///
/// # Errors
/// When there is nothing to copy, the file exists, or what the system or the database ran into; then no file is left.
pub fn backup(directory: &Path, file: &Path, keep_free: u64) -> Result<Findings, StoreError> {
    let source = database_in(directory)?;
    let parent = parent(file)?;
    let is_inside = fs::canonicalize(directory).is_ok_and(|directory| parent.starts_with(directory));
    if is_inside {
        let reason = "it is in the data directory; a backup belongs elsewhere, best on another disk";
        return Err(unusable(file, reason.to_owned()));
    }
    if file.symlink_metadata().is_ok() {
        let reason = "it exists, and a backup replaces nothing; give another name";
        return Err(unusable(file, reason.to_owned()));
    }
    let reader = open_reader(&source)?;
    schema::check_used(&reader, &source)?;
    check_room(&reader, &parent, keep_free)?;
    let partial = Partial::create(file)?;
    partial.fill(&reader)?;
    drop(reader);
    let findings = examine(&open_reader(&partial.path)?)?;
    if findings.is_sound() {
        partial.take_name(file, &parent)?;
    }
    Ok(findings)
}

/// Makes a data directory of a backup. All its messages are flagged as redelivered: who took them after the backup was
/// made is not known. Where the findings are not sound, nothing is restored.
///
/// # Errors
/// When the file is no backup or of a newer version, the directory is not empty or in use, or what the system or the
/// database ran into; then nothing is restored.
pub fn restore(file: &Path, directory: &Path) -> Result<Findings, StoreError> {
    if !file.is_file() {
        return Err(unusable(file, "there is no such file".to_owned()));
    }
    let reader = open_reader(file)?;
    schema::check_used(&reader, file)?;
    create_directory(directory)?;
    let target = directory.join(StoreSettings::default().file_name);
    let _lock = lock::lock(&suffixed(&target, ".lock"))?;
    check_empty(directory)?;
    let leftover = suffixed(&target, ".partial");
    match fs::remove_file(&leftover) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(file_system("delete", &leftover)(error));
        }
        _ => {}
    }
    let partial = Partial::create(&target)?;
    partial.fill(&reader)?;
    let mut copy = Connection::open(&partial.path).map_err(database("open the copy"))?;
    schema::migrate(&mut copy)?;
    flag_all(&mut copy).map_err(database("flag the messages as redelivered"))?;
    let findings = examine(&copy)?;
    drop(copy);
    if findings.is_sound() {
        partial.take_name(&target, directory)?;
    }
    Ok(findings)
}

/// The database of a data directory that has one.
pub(super) fn database_in(directory: &Path) -> Result<PathBuf, StoreError> {
    let path = directory.join(StoreSettings::default().file_name);
    if path.is_file() {
        Ok(path)
    } else {
        Err(unusable(
            &path,
            "there is no such file: nothing is stored there".to_owned(),
        ))
    }
}

/// A connection that changes nothing: neither rows, nor what stands in the log.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let failed = database("open the database");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(&failed)?;
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(&failed)?;
    Ok(connection)
}

/// Every message may have been handed out.
fn flag_all(copy: &mut Connection) -> rusqlite::Result<()> {
    let transaction = copy.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute(
        "UPDATE summary SET redelivered_before = next, delivered_before = 0",
        [],
    )?;
    transaction.commit()
}

fn check_empty(directory: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(directory).map_err(file_system("read", directory))? {
        let name = entry.map_err(file_system("read", directory))?.file_name();
        if NOTHING.iter().all(|nothing| name != *nothing) {
            let name = name.to_string_lossy();
            let reason =
                format!("it is not empty: there is {name:?}; move it away or choose another data directory");
            return Err(unusable(directory, reason));
        }
    }
    Ok(())
}

/// A copy that does not fit would fill the disk, perhaps that of the broker.
fn check_room(reader: &Connection, parent: &Path, keep_free: u64) -> Result<(), StoreError> {
    let sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
    let bytes: i64 = reader
        .query_row(sql, [], |row| row.get(0))
        .map_err(database("read the size of the database"))?;
    let stat = statvfs(parent).map_err(|error| file_system("look at", parent)(error.into()))?;
    let free = stat.blocks_available() * stat.fragment_size();
    let needed = bytes.unsigned_abs();
    if free >= needed.saturating_add(keep_free) {
        return Ok(());
    }
    let reason = format!(
        "{free} bytes are free; a backup takes up to {needed}, and {keep_free} are to stay free \
         (limits.disk_free_limit)"
    );
    Err(unusable(parent, reason))
}

fn parent(file: &Path) -> Result<PathBuf, StoreError> {
    let parent = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::canonicalize(parent).map_err(file_system("find", parent))
}

/// The file beside another one whose name goes on like this.
pub(super) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// A file that is not yet what it shall be. It goes away unless it takes its name.
struct Partial {
    path: PathBuf,
}

impl Partial {
    /// Makes an empty file beside `target` that only its owner can read: there are hashes of passwords in it.
    fn create(target: &Path) -> Result<Self, StoreError> {
        let path = suffixed(target, ".partial");
        let created = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        match created {
            Ok(_) => {
                let partial = Self { path };
                // One that was left behind would be taken for this file's.
                partial.remove_journal();
                Ok(partial)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let reason = "a backup to this name is at work, or was interrupted; if so, delete the file";
                Err(unusable(&path, reason.to_owned()))
            }
            Err(error) => Err(file_system("create", &path)(error)),
        }
    }

    /// What SQLite keeps beside it while it is written, and leaves when that fails.
    fn remove_journal(&self) {
        let _: Result<(), Error> = fs::remove_file(suffixed(&self.path, "-journal"));
    }

    /// Copies everything that the connection sees.
    fn fill(&self, reader: &Connection) -> Result<(), StoreError> {
        let absolute = fs::canonicalize(&self.path).map_err(file_system("find", &self.path))?;
        let path = absolute.to_str().ok_or_else(|| {
            let reason = "its name is not in UTF-8, which the database needs";
            unusable(&self.path, reason.to_owned())
        })?;
        reader
            .execute("VACUUM INTO ?1", [path])
            .map(|_| ())
            .map_err(database("copy the database"))
    }

    /// Gives the file its name, for good.
    fn take_name(self, target: &Path, parent: &Path) -> Result<(), StoreError> {
        let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
        sync(&self.path).map_err(file_system("sync", &self.path))?;
        fs::rename(&self.path, target).map_err(file_system("rename", &self.path))?;
        sync(parent).map_err(file_system("sync", parent))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After a rename there is nothing; and what went wrong before matters more than what goes wrong here.
        let _: Result<(), Error> = fs::remove_file(&self.path);
        self.remove_journal();
    }
}
