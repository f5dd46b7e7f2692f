//! Headers of the PROXY protocol, versions 1 and 2, which tell where a connection that a proxy passes on came from.
//!
//! Written after `HAProxy`'s specification. Of what a header may hold, only the source address is read: destinations,
//! type-length-value fields and the checksum in them are passed over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// What every header of version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, and the length of what follows.
const V2_HEAD: usize = 16;
/// The longest header of version 2 that is read, bytes. Some proxies put certificates into theirs.
const V2_MAX: usize = 4096;

const V1_PREFIX: &[u8] = b"PROXY ";
/// The longest line of version 1 with its line break, bytes.
const V1_MAX: usize = 107;

/// A header that was read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where the client is; none when the proxy speaks for itself or does not know.
    pub source: Option<SocketAddr>,
    /// The header's length, bytes.
    pub len: usize,
}

/// Bytes that begin no header that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Neither version begins like this.
    #[error("the connection does not begin with a PROXY protocol header")]
    NoHeader,
    /// It goes on after what the version, or this broker, allows.
    #[error("the PROXY protocol header is longer than {0} bytes")]
    TooLong(usize),
    /// A line that is not as version 1 has it.
    #[error("malformed PROXY protocol line")]
    MalformedLine,
    /// A version other than 1 and 2.
    #[error("PROXY protocol version {0} is not known")]
    Version(u8),
    /// A command other than LOCAL and PROXY.
    #[error("PROXY protocol command {0} is not known")]
    Command(u8),
    /// Neither IPv4, IPv6 nor a Unix socket, or not a stream.
    #[error("PROXY protocol address family and transport {0:#04x} are not those of a stream")]
    Family(u8),
    /// Too short for the addresses that it should hold.
    #[error("the PROXY protocol header is too short for its addresses")]
    NoAddresses,
}

/// Reads a header at the start of the bytes; none when more are needed, all of which belong to the header.
///
/// # Errors
/// When no bytes that follow could make a header of these.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    if begins_with(bytes, &SIGNATURE) {
        version_2(bytes)
    } else if begins_with(bytes, V1_PREFIX) {
        version_1(bytes)
    } else {
        Err(HeaderError::NoHeader)
    }
}

/// As far as there are bytes.
fn begins_with(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(byte, expected)| byte == expected)
}

fn version_1(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let Some(end) = bytes.iter().take(V1_MAX).position(|byte| *byte == b'\n') else {
        let is_over = bytes.len() >= V1_MAX;
        return if is_over {
            Err(HeaderError::TooLong(V1_MAX))
        } else {
            Ok(None)
        };
    };
    let line = bytes[V1_PREFIX.len()..end]
        .strip_suffix(b"\r")
        .and_then(|line| str::from_utf8(line).ok())
        .ok_or(HeaderError::MalformedLine)?;
    Ok(Some(Header {
        source: source_in(line)?,
        len: end + 1,
    }))
}

/// `TCP4 192.0.2.1 192.0.2.2 56324 5672`. Whatever follows UNKNOWN does not count.
fn source_in(line: &str) -> Result<Option<SocketAddr>, HeaderError> {
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["UNKNOWN", ..] => Ok(None),
        ["TCP4", source, destination, port, destination_port] => {
            address::<Ipv4Addr>(destination, destination_port)?;
            address::<Ipv4Addr>(source, port).map(Some)
        }
        ["TCP6", source, destination, port, destination_port] => {
            address::<Ipv6Addr>(destination, destination_port)?;
            address::<Ipv6Addr>(source, port).map(Some)
        }
        _ => Err(HeaderError::MalformedLine),
    }
}

/// The port is in decimal digits without a sign and without zeros in front.
fn address<A: FromStr + Into<IpAddr>>(ip: &str, port: &str) -> Result<SocketAddr, HeaderError> {
    let is_plain = port.bytes().all(|byte| byte.is_ascii_digit()) && (port == "0" || !port.starts_with('0'));
    match (ip.parse::<A>(), port.parse::<u16>()) {
        (Ok(ip), Ok(port)) if is_plain => Ok((ip.into(), port).into()),
        _ => Err(HeaderError::MalformedLine),
    }
}

fn version_2(bytes: &[u8]) -> Result<Option<Header>, HeaderError> {
    let Some((head, rest)) = bytes.split_first_chunk::<V2_HEAD>() else {
        return Ok(None);
    };
    let (version, command) = (head[12] >> 4, head[12] & 0x0F);
    if version != 2 {
        return Err(HeaderError::Version(version));
    }
    if command > 1 {
        return Err(HeaderError::Command(command));
    }
    let is_local = command == 0;
    let len = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if V2_HEAD + len > V2_MAX {
        return Err(HeaderError::TooLong(V2_MAX));
    }
    // LOCAL may come with any family, which does not count.
    let (address_len, addresses_len) = match head[13] {
        _ if is_local => (0, 0),
        0x00 => (0, 0),
        0x11 => (4, 12),
        0x21 => (16, 36),
        0x31 => (0, 216),
        family => return Err(HeaderError::Family(family)),
    };
    if len < addresses_len {
        return Err(HeaderError::NoAddresses);
    }
    let Some(fields) = rest.get(..len) else {
        return Ok(None);
    };
    let (source, ports) = (&fields[..address_len], &fields[2 * address_len..]);
    let ip = match *source {
        [a, b, c, d] => Some(IpAddr::from([a, b, c, d])),
        _ => <[u8; 16]>::try_from(source).ok().map(IpAddr::from),
    };
    Ok(Some(Header {
        source: ip.map(|ip| (ip, u16::from_be_bytes([ports[0], ports[1]])).into()),
        len: V2_HEAD + len,
    }))
}

#[cfg(test)]
mod tests;
