//! Content properties, read in place: the broker looks at a few and forwards all of them byte for byte.

/// Why property bytes can not be read: the flags ask for more than is there, or name what does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("content properties do not parse")]
pub struct PropertiesError;

/// The properties that the broker reads, borrowed from the content header (spec 4.2.6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    /// The header table's entries, without its length.
    pub headers: Option<&'a [u8]>,
    /// 2 is persistent; anything else transient.
    pub delivery_mode: Option<u8>,
    /// Any octet; a queue clamps it to its own maximum.
    pub priority: Option<u8>,
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

impl<'a> Properties<'a> {
    /// Reads property flags and values; the header table's inside is not looked at.
    ///
    /// # Errors
    /// When a value is cut, or bytes are left over (flag bit 0, a continuation word, counts as such).
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PropertiesError> {
        let (flags, mut rest) = bytes.split_first_chunk::<2>().ok_or(PropertiesError)?;
        let flags = u16::from_be_bytes(*flags);
        let has = |bit: u16| flags & (1 << bit) != 0;
        let mut properties = Self::default();
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
            short(&mut rest)?;
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
