//! What the arguments of every method look like, and a check of their bytes against it.
//!
//! amq-protocol decodes the rarer methods but gives one opaque error and recurses without bound; this walk goes
//! first, finds out what exactly is wrong, and lets nothing deeper than the limit through.

use std::str;

use crate::amqp::field_table;

use super::{MethodError, MethodId};

/// Argument bytes that an error keeps; their numbers alone are longer than a reply text.
const SHOWN_BYTES_MAX: usize = 128;

/// The arguments of a method, a letter each: `o` an octet (eight bits of flags too), `h` two bytes, `w` four,
/// `q` eight, `s` short string, `S` long string, `T` table. `None` for a method that does not exist.
#[expect(
    clippy::match_same_arms,
    reason = "by class, in the order of the specification"
)]
pub(super) const fn signature(id: MethodId) -> Option<&'static [u8]> {
    let arguments: &[u8] = match (id.class, id.method) {
        (10, 10) => b"ooTSS",
        (10, 11) => b"TsSs",
        (10, 20 | 21) => b"S",
        (10, 30 | 31) => b"hwh",
        (10, 40) => b"sso",
        (10, 41 | 60) => b"s",
        (10, 50) | (20, 40) => b"hshh",
        (10, 70) => b"Ss",
        (10, 51 | 61 | 71) | (20, 41) => b"",
        (20, 10) => b"s",
        (20, 11) => b"S",
        (20, 20 | 21) => b"o",
        (30, 10) => b"so",
        (30, 11) => b"h",
        (40, 10) => b"hssoT",
        (40, 20) => b"hso",
        (40, 30 | 40) => b"hsssoT",
        (40, 11 | 21 | 31 | 51) => b"",
        (50, 10) => b"hsoT",
        (50, 11) => b"sww",
        (50, 20) => b"hsssoT",
        (50, 30 | 40) => b"hso",
        (50, 31 | 41) => b"w",
        (50, 50) => b"hsssT",
        (50, 21 | 51) => b"",
        (60, 10) => b"who",
        (60, 20) => b"hssoT",
        (60, 30) => b"so",
        (60, 21 | 31 | 72) => b"s",
        (60, 40) => b"hsso",
        (60, 50) => b"hsss",
        (60, 60) => b"sqoss",
        (60, 70) => b"hso",
        (60, 71) => b"qossw",
        (60, 80 | 90 | 120) => b"qo",
        (60, 100 | 110) | (85, 10) => b"o",
        (60, 11 | 111) | (85, 11) | (90, 10 | 11 | 20 | 21 | 30 | 31) => b"",
        _ => return None,
    };
    Some(arguments)
}

/// Checks the arguments of a method to the last byte. Short bytes come before bad UTF-8 and bad tables, as in
/// RabbitMQ, which matches the whole first.
///
/// # Errors
/// What is wrong, by reply code.
pub(super) fn check(id: MethodId, arguments: &[u8]) -> Result<(), MethodError> {
    let letters = signature(id).ok_or(MethodError::Unknown(id))?;
    let mut rest = arguments;
    let mut first_error = None;
    for letter in letters {
        let len = match letter {
            b'o' => 1,
            b'h' => 2,
            b'w' => 4,
            b'q' => 8,
            b's' => short_len(&mut rest).ok_or_else(|| undecodable(id, arguments))?,
            _ => long_len(&mut rest).ok_or_else(|| undecodable(id, arguments))?,
        };
        let (argument, tail) = rest
            .split_at_checked(len)
            .ok_or_else(|| undecodable(id, arguments))?;
        let error = match letter {
            b's' if str::from_utf8(argument).is_err() => Some(MethodError::MalformedUtf8),
            b'T' if field_table::validate(argument).is_err() => Some(MethodError::BadTable(id)),
            _ => None,
        };
        first_error = first_error.or(error);
        rest = tail;
    }
    if !rest.is_empty() {
        return Err(undecodable(id, arguments));
    }
    first_error.map_or(Ok(()), Err)
}

/// The error for arguments that are too short or too long.
#[cold]
pub(super) fn undecodable(id: MethodId, arguments: &[u8]) -> MethodError {
    MethodError::Undecodable {
        id,
        bytes: arguments[..arguments.len().min(SHOWN_BYTES_MAX)].to_vec(),
    }
}

fn short_len(rest: &mut &[u8]) -> Option<usize> {
    let (len, tail) = rest.split_first()?;
    *rest = tail;
    Some(usize::from(*len))
}

fn long_len(rest: &mut &[u8]) -> Option<usize> {
    let (len, tail) = rest.split_first_chunk::<4>()?;
    *rest = tail;
    usize::try_from(u32::from_be_bytes(*len)).ok()
}
