//! Content properties, read in place: the broker looks at a few and forwards all of them byte for byte.

use std::ops::Range;

use super::field_table;

/// Why property bytes can not be read: the flags ask for more than is there, or name what does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("content properties do not parse")]
pub struct PropertiesError;

/// The payload of a content header frame, split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentHeader<'a> {
    /// 60; everything else is refused.
    pub class_id: u16,
    /// Always 0.
    pub weight: u16,
    /// Bytes of the body frames together.
    pub body_size: u64,
    /// Property flags and values, for [`Properties::parse`].
    pub properties: &'a [u8],
}

/// The properties that the broker reads, borrowed from the content header (spec 4.2.6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    /// The header table's entries, without its length.
    pub headers: Option<&'a [u8]>,
    /// 2 is persistent; anything else transient.
    pub delivery_mode: Option<u8>,
    /// Any octet; a queue clamps it to its own maximum.
    pub priority: Option<u8>,
    /// Correlation id, raw bytes.
    pub correlation_id: Option<&'a [u8]>,
    /// Reply address, raw bytes.
    pub reply_to: Option<&'a [u8]>,
    /// Milliseconds as a decimal string, raw bytes.
    pub expiration: Option<&'a [u8]>,
    /// Message id, raw bytes.
    pub message_id: Option<&'a [u8]>,
    /// Seconds since the epoch.
    pub timestamp: Option<u64>,
    /// User that claims to have published, raw bytes.
    pub user_id: Option<&'a [u8]>,
}

/// Flag bits of properties, as `1 << BIT`.
const HEADERS: u16 = 13;
const REPLY_TO: u16 = 9;
const EXPIRATION: u16 = 8;

/// The properties with other headers or none; the other values stay byte for byte. Properties that do not parse
/// come back as they are.
pub fn with_headers(properties: &[u8], entries: Option<&[u8]>) -> Vec<u8> {
    let encoded = entries.map(|entries| {
        let len = u32::try_from(entries.len()).expect("headers fit a frame");
        [&len.to_be_bytes(), entries].concat()
    });
    replace(properties, HEADERS, encoded.as_deref())
}

/// The properties with another reply address, at most 255 bytes; see [`with_headers`].
pub fn with_reply_to(properties: &[u8], reply_to: &[u8]) -> Vec<u8> {
    let len = u8::try_from(reply_to.len()).expect("a reply address is a short string");
    replace(properties, REPLY_TO, Some(&[&[len], reply_to].concat()))
}

/// The properties without expiration; see [`with_headers`].
pub fn without_expiration(properties: &[u8]) -> Vec<u8> {
    replace(properties, EXPIRATION, None)
}

/// Where the headers' entries lie within the properties, for changing tags in place; `None` without headers.
pub fn headers_range(properties: &[u8]) -> Option<Range<usize>> {
    let value = value_range(properties, HEADERS).ok()?;
    (!value.is_empty()).then(|| value.start + 4..value.end)
}

/// The entries of the header table but for these keys, byte for byte; none without headers.
pub fn headers_without(properties: &[u8], keys: &[&[u8]]) -> Vec<u8> {
    headers_range(properties).map_or_else(Vec::new, |range| {
        field_table::without_keys(&properties[range], keys)
    })
}

impl<'a> ContentHeader<'a> {
    /// Reads the payload of a header frame; `None` when it is shorter than 12 bytes.
    #[inline]
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        let (fixed, properties) = payload.split_first_chunk::<12>()?;
        let [c1, c0, w1, w0, size @ ..] = *fixed;
        Some(Self {
            class_id: u16::from_be_bytes([c1, c0]),
            weight: u16::from_be_bytes([w1, w0]),
            body_size: u64::from_be_bytes(size),
            properties,
        })
    }
}

impl<'a> Properties<'a> {
    /// Reads property flags and values; the header table's inside is not looked at.
    ///
    /// # Errors
    /// When a value is cut, bytes are left over, or flag bit 0 announces another word of flags: there is no property
    /// that it could stand for, and a consumer would look for it.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PropertiesError> {
        let (flags, values) = bytes.split_first_chunk::<2>().ok_or(PropertiesError)?;
        let flags = u16::from_be_bytes(*flags);
        if flags == 0 && values.is_empty() {
            return Ok(Self::default());
        }
        Self::parse_values(flags, values)
    }

    fn parse_values(flags: u16, values: &'a [u8]) -> Result<Self, PropertiesError> {
        let mut rest = values;
        let mut properties = Self::default();
        let has = |bit: u16| flags & (1 << bit) != 0;
        if has(0) {
            return Err(PropertiesError);
        }
        for bit in [15, 14] {
            if has(bit) {
                short(&mut rest)?;
            }
        }
        if has(13) {
            properties.headers = Some(long(&mut rest)?);
        }
        if has(12) {
            properties.delivery_mode = Some(take(&mut rest, 1)?[0]);
        }
        if has(11) {
            properties.priority = Some(take(&mut rest, 1)?[0]);
        }
        if has(10) {
            properties.correlation_id = Some(short(&mut rest)?);
        }
        if has(9) {
            properties.reply_to = Some(short(&mut rest)?);
        }
        if has(8) {
            properties.expiration = Some(short(&mut rest)?);
        }
        if has(7) {
            properties.message_id = Some(short(&mut rest)?);
        }
        if has(6) {
            let value = take(&mut rest, 8)?.try_into().expect("eight bytes were taken");
            properties.timestamp = Some(u64::from_be_bytes(value));
        }
        if has(5) {
            short(&mut rest)?;
        }
        if has(4) {
            properties.user_id = Some(short(&mut rest)?);
        }
        for bit in [3, 2] {
            if has(bit) {
                short(&mut rest)?;
            }
        }
        if rest.is_empty() {
            Ok(properties)
        } else {
            Err(PropertiesError)
        }
    }
}

/// Puts an encoded value in place of a property, or takes the property out.
fn replace(properties: &[u8], bit: u16, encoded: Option<&[u8]>) -> Vec<u8> {
    let Ok(old) = value_range(properties, bit) else {
        return properties.to_vec();
    };
    let value = encoded.unwrap_or_default();
    let flags = u16::from_be_bytes([properties[0], properties[1]]);
    let flags = flags & !(1 << bit) | u16::from(encoded.is_some()) << bit;
    let mut changed = Vec::with_capacity(properties.len() - old.len() + value.len());
    changed.extend_from_slice(&flags.to_be_bytes());
    changed.extend_from_slice(&properties[2..old.start]);
    changed.extend_from_slice(value);
    changed.extend_from_slice(&properties[old.end..]);
    changed
}

/// Where the encoded value of a property lies; an empty range where it would lie when the flag is not set.
fn value_range(properties: &[u8], bit: u16) -> Result<Range<usize>, PropertiesError> {
    let (flags, mut rest) = properties.split_first_chunk::<2>().ok_or(PropertiesError)?;
    let flags = u16::from_be_bytes(*flags);
    let mut begin = 2;
    for current in (bit..=15).rev() {
        begin = properties.len() - rest.len();
        if flags & (1 << current) != 0 {
            skip(&mut rest, current)?;
        }
    }
    Ok(begin..properties.len() - rest.len())
}

/// Passes over the value of one property.
fn skip(rest: &mut &[u8], bit: u16) -> Result<(), PropertiesError> {
    match bit {
        13 => long(rest),
        12 | 11 => take(rest, 1),
        6 => take(rest, 8),
        _ => short(rest),
    }
    .map(|_| ())
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], PropertiesError> {
    let (head, tail) = rest.split_at_checked(len).ok_or(PropertiesError)?;
    *rest = tail;
    Ok(head)
}

fn short<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], PropertiesError> {
    let len = take(rest, 1)?[0];
    take(rest, usize::from(len))
}

fn long<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], PropertiesError> {
    let len = u32::from_be_bytes(take(rest, 4)?.try_into().expect("four bytes were taken"));
    take(rest, usize::try_from(len).map_err(|_| PropertiesError)?)
}

#[cfg(test)]
mod tests;
