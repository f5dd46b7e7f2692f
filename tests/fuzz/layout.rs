//! Changes to an input that leave most of it as it should be, so that what is behind the first check is reached too.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::grammar;

/// Inputs are no longer than this, bytes.
pub const INPUT_MAX: usize = 8192;

/// How an input is built.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Two bytes that choose, then frames.
    Conversation,
    /// One byte that chooses, then frames.
    Frames,
    /// A method's payload.
    Method,
    /// The entries of a table.
    Table,
    /// Nothing is known of it.
    Bytes,
}

impl Layout {
    /// An input made of another one, and perhaps of a second. The same seed gives the same.
    pub fn mutant(self, input: &[u8], other: &[u8], seed: u64) -> Vec<u8> {
        let random = &mut StdRng::seed_from_u64(seed);
        let mut mutant = input.to_vec();
        for _ in 0..random.random_range(1..5) {
            mutant = self.changed(&mutant, other, random);
        }
        mutant.truncate(INPUT_MAX);
        mutant
    }

    fn changed(self, input: &[u8], other: &[u8], random: &mut StdRng) -> Vec<u8> {
        let choices = match self {
            Self::Conversation => 2,
            Self::Frames => 1,
            Self::Method if random.random_ratio(1, 4) => return grammar::method(random),
            Self::Table if random.random_ratio(1, 4) => return grammar::entries(random, 4),
            _ => 0,
        };
        if choices == 0 || input.len() < choices || random.random_ratio(1, 8) {
            return bytes(input, other, random);
        }
        let (choice, said) = input.split_at(choices);
        let mut choice = choice.to_vec();
        if random.random_ratio(1, 8) {
            let at = random.random_range(0..choices);
            choice[at] = random.random();
        }
        let mut parts = parts(said);
        change_parts(&mut parts, other.get(choices..).unwrap_or_default(), random);
        choice.extend(parts.concat());
        choice
    }
}

/// Frames, as long as there are whole ones; then the rest.
fn parts(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    if bytes.starts_with(b"AMQP") && bytes.len() >= 8 {
        let (header, rest) = bytes.split_at(8);
        parts.push(header.to_vec());
        bytes = rest;
    }
    while let Some([_, _, _, s3, s2, s1, s0]) = bytes.first_chunk::<7>() {
        let size = u32::from_be_bytes([*s3, *s2, *s1, *s0]) as usize;
        let Some((part, rest)) = bytes.split_at_checked(size.saturating_add(8)) else {
            break;
        };
        parts.push(part.to_vec());
        bytes = rest;
    }
    if !bytes.is_empty() {
        parts.push(bytes.to_vec());
    }
    parts
}

fn change_parts(frames: &mut Vec<Vec<u8>>, other: &[u8], random: &mut StdRng) {
    let at = random.random_range(0..=frames.len());
    let inserted = match random.random_range(0..8) {
        0..3 => grammar::frames(random),
        3 => {
            let others = parts(other);
            let from = random.random_range(0..=others.len());
            others[from..]
                .iter()
                .take(random.random_range(1..6))
                .cloned()
                .collect()
        }
        _ => Vec::new(),
    };
    if !inserted.is_empty() {
        frames.splice(at..at, inserted);
        return;
    }
    if at == frames.len() {
        return;
    }
    match random.random_range(0..8) {
        0 => {
            frames.remove(at);
        }
        1 => {
            let with = random.random_range(0..frames.len());
            frames.swap(at, with);
        }
        2 => {
            let copies = vec![frames[at].clone(); random.random_range(1..20)];
            frames.splice(at..at, copies);
        }
        3 if frames[at].len() >= 8 => {
            let byte = random.random_range(0..3);
            frames[at][byte] = grammar::number(random).to_be_bytes()[7];
        }
        4 => frames.truncate(at),
        _ if frames[at].len() >= 8 => {
            // The frame stays a frame.
            let frame = &frames[at];
            let payload = bytes(&frame[7..frame.len() - 1], other, random);
            let channel = u16::from_be_bytes([frame[1], frame[2]]);
            frames[at] = grammar::frame(frame[0], channel, &payload);
        }
        _ => frames[at] = bytes(&frames[at], other, random),
    }
}

/// Changes bytes somewhere.
fn bytes(input: &[u8], other: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = input.to_vec();
    let at = random.random_range(0..=bytes.len());
    let end = bytes.len().min(at + random.random_range(1..9));
    match random.random_range(0..9) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
        1 if at < bytes.len() => bytes[at] = random.random(),
        2 | 3 => {
            let width = [1, 2, 4, 8][random.random_range(0..4)];
            let number = grammar::number(random).to_be_bytes();
            let end = bytes.len().min(at + width);
            bytes.splice(at..end, number[8 - width..].iter().copied());
        }
        4 => {
            bytes.splice(at..end, []);
        }
        5 => {
            let copy = bytes[at..end].repeat(random.random_range(1..50));
            bytes.splice(at..at, copy);
        }
        6 => {
            let from = random.random_range(0..=other.len());
            let len = random.random_range(1..64).min(other.len() - from);
            bytes.splice(at..end, other[from..from + len].iter().copied());
        }
        7 => {
            let entries = grammar::entries(random, 2);
            bytes.splice(at..end, entries);
        }
        _ => bytes.truncate(at),
    }
    bytes
}
