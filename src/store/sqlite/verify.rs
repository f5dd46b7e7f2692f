//! A look at a whole database that changes nothing: SQLite's own check, and what our rows have to agree on.
//!
//! A start trusts what is written, for it costs nothing then; here everything is read. One segment is in memory at a
//! time.

mod definitions;
mod delayed;
mod messages;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rusqlite::Connection;

use super::copy::{database_in, open_reader};
use super::log_index::Gap;
use super::{Chain, database, file_system, lock, log_index, schema, unusable};
use crate::store::StoreError;

/// Where the header has the version of the format for who writes, and the last one that SQLite knows.
const WRITE_VERSION_AT: usize = 18;
const WRITE_VERSION_MAX: u8 = 2;

/// Problems that are told one by one.
const PROBLEMS_MAX: usize = 50;

/// What a look at a whole database found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What is wrong, a line each; the first fifty.
    pub problems: Vec<String>,
    /// How many more there are.
    pub further_problems: usize,
    /// The version of the schema. Of an older one only SQLite's own check was made.
    pub schema: usize,
    /// The schema is that of this program.
    pub is_current: bool,
    /// Durable exchanges.
    pub exchanges: u64,
    /// Durable queues.
    pub queues: u64,
    /// Bindings between them.
    pub bindings: u64,
    /// Persistent messages in the queues.
    pub messages: u64,
    /// Sum of their body bytes.
    pub body_bytes: u64,
    /// Messages that exchanges delay.
    pub delayed: u64,
}

impl Findings {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    fn problem(&mut self, problem: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        } else {
            self.further_problems += 1;
        }
    }
}

/// Looks at all that a data directory holds, which no broker may use meanwhile.
///
/// # Errors
/// When there is nothing, it is in use, or it is not ours to judge: of another program or a newer version.
pub fn verify(directory: &Path) -> Result<Findings, StoreError> {
    let path = database_in(directory)?;
    let _lock = lock::lock(&path.with_extension("db.lock"))?;
    let gap = log_index::gap(&path)?;
    if let Some(gap @ Gap::OutOfStep { .. }) = gap {
        // To look at the rest would make the index anew, and nobody would be told again.
        return Err(unusable(&path, gap.to_string()));
    }
    // Before SQLite has the file: to close a second handle of it would give up SQLite's locks.
    let can_be_written = can_be_written(&path)?;
    let connection = open_reader(&path)?;
    schema::check_used(&connection, &path)?;
    let mut findings = examine(&connection)?;
    if !can_be_written {
        findings.problem("SQLite: the header says that the file must not be written".to_owned());
    }
    if let Some(gap) = gap {
        findings.problem(gap.to_string());
    }
    Ok(findings)
}

/// Whether SQLite would write the file: its header has a version for that, and a later one than SQLite knows forbids it.
/// A reader is not told.
fn can_be_written(path: &Path) -> Result<bool, StoreError> {
    let mut header = Vec::new();
    File::open(path)
        .and_then(|file| file.take(WRITE_VERSION_AT as u64 + 1).read_to_end(&mut header))
        .map_err(file_system("read the header of", path))?;
    // What is shorter than a header is SQLite's to judge.
    Ok(header
        .get(WRITE_VERSION_AT)
        .is_none_or(|version| *version <= WRITE_VERSION_MAX))
}

/// Looks at everything, in one read transaction.
pub(super) fn examine(connection: &Connection) -> Result<Findings, StoreError> {
    let transaction = connection
        .unchecked_transaction()
        .map_err(database("begin a transaction"))?;
    let schema = schema::version(connection).map_err(database("read the database's header"))?;
    let mut findings = Findings {
        schema,
        is_current: schema == schema::MIGRATIONS.len(),
        ..Findings::default()
    };
    let checks: &[Check] = if findings.is_current {
        &[pages, definitions::look, messages::look, delayed::look]
    } else {
        &[pages]
    };
    for check in checks {
        // What can not be read is a finding as well.
        if let Err(error) = check(connection, &mut findings) {
            findings.problem(Chain(&error).to_string());
        }
    }
    drop(transaction);
    Ok(findings)
}

type Check = fn(&Connection, &mut Findings) -> Result<(), StoreError>;

/// SQLite's own check.
fn pages(connection: &Connection, findings: &mut Findings) -> Result<(), StoreError> {
    let failed = database("check the database");
    let mut check = connection.prepare("PRAGMA integrity_check").map_err(&failed)?;
    let mut rows = check.query([]).map_err(&failed)?;
    while let Some(row) = rows.next().map_err(&failed)? {
        let line: String = row.get(0).map_err(&failed)?;
        if line != "ok" {
            findings.problem(format!("SQLite: {line}"));
        }
    }
    Ok(())
}
