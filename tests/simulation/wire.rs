//! Frames written and read byte by byte, without the broker's own codec.

/// An argument of a method.
#[derive(Clone, Copy)]
pub enum Arg<'a> {
    Bits(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    Short(&'a str),
    Long(&'a [u8]),
}

/// An empty table, or the reserved short that many methods begin with.
pub const NO_TABLE: Arg<'_> = Arg::Long(b"");
pub const TICKET: Arg<'_> = Arg::U16(0);

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(channel.to_be_bytes());
    bytes.extend(u32::try_from(payload.len()).expect("small").to_be_bytes());
    bytes.extend(payload);
    bytes.push(0xCE);
    bytes
}

/// A method frame.
pub fn method(channel: u16, (class, id): (u16, u16), args: &[Arg<'_>]) -> Vec<u8> {
    let mut payload = class.to_be_bytes().to_vec();
    payload.extend(id.to_be_bytes());
    for arg in args {
        match arg {
            Arg::Bits(bits) => payload.push(*bits),
            Arg::U16(value) => payload.extend(value.to_be_bytes()),
            Arg::U32(value) => payload.extend(value.to_be_bytes()),
            Arg::U64(value) => payload.extend(value.to_be_bytes()),
            Arg::Short(text) => {
                payload.push(u8::try_from(text.len()).expect("short"));
                payload.extend(text.as_bytes());
            }
            Arg::Long(bytes) => {
                payload.extend(u32::try_from(bytes.len()).expect("small").to_be_bytes());
                payload.extend(*bytes);
            }
        }
    }
    frame(1, channel, &payload)
}

/// A header frame and a body frame. The header `k` is for the headers exchange.
pub fn content(channel: u16, persistent: bool, k: Option<&str>, body: &[u8]) -> Vec<u8> {
    let flags = u16::from(persistent) << 12 | u16::from(k.is_some()) << 13;
    let mut properties = flags.to_be_bytes().to_vec();
    if let Some(value) = k {
        properties.extend(table(value));
    }
    if persistent {
        properties.push(2);
    }
    content_with(channel, &properties, body)
}

/// A header frame with these properties and a body frame.
pub fn content_with(channel: u16, properties: &[u8], body: &[u8]) -> Vec<u8> {
    let mut payload = vec![0, 60, 0, 0];
    payload.extend((body.len() as u64).to_be_bytes());
    payload.extend(properties);
    let mut bytes = frame(2, channel, &payload);
    bytes.extend(frame(3, channel, body));
    bytes
}

/// The table `{k: value}` with its length.
fn table(value: &str) -> Vec<u8> {
    let entries = entries(value);
    let mut bytes = u32::try_from(entries.len())
        .expect("small")
        .to_be_bytes()
        .to_vec();
    bytes.extend(entries);
    bytes
}

/// The table `{k: value}` without its length.
pub fn entries(value: &str) -> Vec<u8> {
    let mut bytes = b"\x01kS".to_vec();
    bytes.extend(u32::try_from(value.len()).expect("small").to_be_bytes());
    bytes.extend(value.as_bytes());
    bytes
}

/// A frame from the broker.
pub struct Frame {
    pub kind: u8,
    pub channel: u16,
    pub payload: Vec<u8>,
}

impl Frame {
    /// Takes a whole frame off the front.
    pub fn take(bytes: &mut Vec<u8>) -> Option<Self> {
        let header: [u8; 7] = *bytes.first_chunk()?;
        let size = u32::from_be_bytes([header[3], header[4], header[5], header[6]]) as usize;
        if bytes.len() < size + 8 {
            return None;
        }
        assert_eq!(bytes[size + 7], 0xCE, "a frame ends where it says");
        let payload = bytes[7..size + 7].to_vec();
        bytes.drain(..size + 8);
        Some(Self {
            kind: header[0],
            channel: u16::from_be_bytes([header[1], header[2]]),
            payload,
        })
    }

    /// Class and method number.
    pub fn id(&self) -> (u16, u16) {
        let number = |at: usize| u16::from_be_bytes([self.payload[at], self.payload[at + 1]]);
        (number(0), number(2))
    }

    /// The short string behind the method's numbers, and where it ends.
    pub fn short(&self) -> (String, usize) {
        let len = usize::from(self.payload[4]);
        let text = String::from_utf8(self.payload[5..5 + len].to_vec()).expect("tags are text");
        (text, 5 + len)
    }

    pub fn u64_at(&self, at: usize) -> u64 {
        let bytes = self.payload[at..at + 8].try_into().expect("eight bytes");
        u64::from_be_bytes(bytes)
    }
}
