//! What the index of the write-ahead log knows of a log that a killed broker has left.
//!
//! SQLite ends a log at the first frame whose checksum is wrong, and says nothing. That is right for a frame that was
//! never finished. But the index beside the log (`-shm`, which SQLite makes anew when the first connection opens) tells
//! how many frames were committed, each after it was synced: where the log has fewer, it was damaged since. The layout
//! of both files is described in SQLite's "WAL-mode File Format".

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

use super::copy::suffixed;
use super::open::PAGE_BYTES;
use super::{file_system, unusable};
use crate::store::StoreError;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
const PAGE: usize = 4096;
const _: () = assert!(PAGE as u64 == PAGE_BYTES);
/// Two copies of the index's header, and what checkpoints note.
const INDEX_BYTES: usize = 136;
const INDEX_HEADER_BYTES: usize = 48;
/// The last bit says whether checksums are made of big-endian words.
const MAGIC: u32 = 0x377f_0682;

/// What a log lacks. The numbers are of pages that were written and can not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// The last groups.
    Lost(u32),
    /// Pages of which some may have been moved to the database, which then fits no state of the log. After a power cut,
    /// or when others have opened the database since, the index may just not be of the same moment.
    Unsure(u32),
    /// Pages that were moved to the database, where what is left of the log would hide them behind older ones.
    OutOfStep {
        /// How many can not be read.
        pages: u32,
        /// All of the log is in the database.
        is_all_moved: bool,
    },
}

/// Looks whether the log of this database is shorter than it was; `None` also where nothing tells. Before the first
/// connection, whose opening makes the index anew.
pub(super) fn gap(database: &Path) -> Result<Option<Gap>, StoreError> {
    let log = suffixed(database, "-wal");
    let read = || {
        let Some(index) = Index::read(&suffixed(database, "-shm"))? else {
            return Ok(None);
        };
        let Some(found) = index.frames_in(&log)? else {
            return Ok(None);
        };
        Ok(index.gap(found))
    };
    read().map_err(file_system("read", &log))
}

/// Tells the log what is lost, and refuses what can not be put together again.
pub(super) fn check(database: &Path) -> Result<(), StoreError> {
    match gap(database)? {
        None => {}
        Some(gap @ Gap::Lost(_)) => tracing::warn!("{gap}"),
        Some(gap @ Gap::Unsure(_)) => tracing::error!("{gap}"),
        Some(gap @ Gap::OutOfStep { .. }) => {
            return Err(unusable(&suffixed(database, "-wal"), gap.to_string()));
        }
    }
    Ok(())
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(pages) => write!(
                f,
                "the write-ahead log was cut or damaged since it was written: its last {pages} pages can not be read, \
                 and what was confirmed in them is lost"
            ),
            Self::Unsure(pages) => write!(
                f,
                "the write-ahead log was cut or damaged since it was written: {pages} of its pages can not be read, \
                 and the database may already have some of them, so that the two may not fit together; stop the broker, \
                 look with `leveret verify`, and restore a backup if it finds something"
            ),
            Self::OutOfStep { pages, is_all_moved } => write!(
                f,
                "the write-ahead log was cut or damaged since it was written: {pages} of its pages can not be read, \
                 and the database already has them, so that the two do not fit together; {}",
                if *is_all_moved {
                    "the database alone is complete: set the files that end with -wal and -shm aside, and start again"
                } else {
                    "restore a backup, in place of the database and of the files that end with -wal and -shm"
                }
            ),
        }
    }
}

/// What of the index matters here.
struct Index {
    salts: [u8; 8],
    /// Frames that were committed.
    frames: u32,
    /// Frames that are in the database for sure.
    moved: u32,
    /// Frames that may be there.
    moved_perhaps: u32,
}

impl Index {
    /// `None` if there is none, or it was being written.
    fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut bytes = [0; INDEX_BYTES];
        let is_there = open(path)?.is_some_and(|mut file| file.read_exact(&mut bytes).is_ok());
        let (header, rest) = bytes.split_at(INDEX_HEADER_BYTES);
        let word = |at: usize| u32::from_ne_bytes(four(&bytes[at..]));
        let sum = Checksum::default().of(&header[..40], u32::from_ne_bytes);
        let is_whole = is_there
            && header == &rest[..INDEX_HEADER_BYTES]
            && (sum.0, sum.1) == (word(40), word(44))
            && usize::from(u16::from_ne_bytes([header[14], header[15]])) == PAGE;
        Ok(is_whole.then(|| Self {
            salts: header[32..40].try_into().expect("eight bytes"),
            frames: word(16),
            moved: word(96),
            moved_perhaps: word(128),
        }))
    }

    /// How many frames of the log SQLite would read; `None` if it is not the log that the index is for.
    fn frames_in(&self, log: &Path) -> io::Result<Option<u32>> {
        let Some(file) = open(log)? else {
            return Ok(Some(0));
        };
        let mut file = BufReader::new(file);
        let mut header = [0; HEADER_BYTES];
        if !fill(&mut file, &mut header)? {
            return Ok(Some(0));
        }
        let mut frame = vec![0; FRAME_HEADER_BYTES + PAGE];
        let is_first_whole = fill(&mut file, &mut frame)?;
        let is_ours = header[16..24] == self.salts || (is_first_whole && frame[8..16] == self.salts);
        if !is_ours {
            return Ok(None);
        }
        let magic = u32::from_be_bytes(four(&header));
        let word = if magic & 1 == 0 {
            u32::from_le_bytes
        } else {
            u32::from_be_bytes
        };
        let mut sum = Checksum::default().of(&header[..24], word);
        let (mut read, mut committed) = (0, 0);
        let mut is_good = magic & !1 == MAGIC && sum.stands_in(&header[24..]) && is_first_whole;
        while is_good && frame[8..16] == header[16..24] {
            sum = sum.of(&frame[..8], word).of(&frame[FRAME_HEADER_BYTES..], word);
            if !sum.stands_in(&frame[16..24]) {
                break;
            }
            read += 1;
            let pages_after_commit = u32::from_be_bytes(four(&frame[4..]));
            if pages_after_commit > 0 {
                committed = read;
            }
            is_good = fill(&mut file, &mut frame)?;
        }
        Ok(Some(committed))
    }

    fn gap(&self, found: u32) -> Option<Gap> {
        let lost = self.frames.saturating_sub(found);
        match lost {
            0 => None,
            // Without a log nothing hides what was moved, and that is all.
            _ if found == 0 && self.moved >= self.frames => None,
            _ if found > 0 && found < self.moved => Some(Gap::OutOfStep {
                pages: lost,
                is_all_moved: self.moved >= self.frames,
            }),
            _ if found >= self.moved_perhaps => Some(Gap::Lost(lost)),
            // A page that was changed again later is moved with its last frame only: what was moved in part is no state.
            _ => Some(Gap::Unsure(lost)),
        }
    }
}

/// SQLite's, of words in pairs.
#[derive(Clone, Copy, Default)]
struct Checksum(u32, u32);

impl Checksum {
    fn of(mut self, bytes: &[u8], word: fn([u8; 4]) -> u32) -> Self {
        for pair in bytes.chunks_exact(8) {
            self.0 = self.0.wrapping_add(word(four(pair))).wrapping_add(self.1);
            self.1 = self.1.wrapping_add(word(four(&pair[4..]))).wrapping_add(self.0);
        }
        self
    }

    fn stands_in(self, bytes: &[u8]) -> bool {
        let word = |at: usize| u32::from_be_bytes(four(&bytes[at..]));
        (self.0, self.1) == (word(0), word(4))
    }
}

fn four(bytes: &[u8]) -> [u8; 4] {
    bytes[..4].try_into().expect("four bytes")
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// Whether there was so much.
fn fill(file: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(bytes) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        done => done.map(|()| true),
    }
}

#[cfg(test)]
mod tests;
