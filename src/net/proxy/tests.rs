//! Headers byte by byte: what is read, what is waited for, what is refused.

use proptest::prelude::*;

use super::*;

/// A header of version 2.
fn v2(version_and_command: u8, family: u8, fields: &[u8]) -> Vec<u8> {
    let len = u16::try_from(fields.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[version_and_command, family], &len, fields].concat()
}

fn v4_fields() -> Vec<u8> {
    [&[192, 0, 2, 1, 192, 0, 2, 2][..], &[0xDC, 0x04, 0x16, 0x28]].concat()
}

fn v6_fields() -> Vec<u8> {
    let source: Ipv6Addr = "2001:db8::1".parse().unwrap();
    let destination: Ipv6Addr = "2001:db8::2".parse().unwrap();
    let ports = [0xDC, 0x04, 0x16, 0x28];
    [&source.octets()[..], &destination.octets(), &ports].concat()
}

/// Whole headers and the source in them.
fn whole() -> Vec<(Vec<u8>, Option<&'static str>)> {
    let with_tlv = [&v4_fields()[..], &[0x03, 0, 4, 1, 2, 3, 4]].concat();
    let long = [&v4_fields()[..], &[0xEE; 4068]].concat();
    vec![
        (
            b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 5672\r\n".to_vec(),
            Some("192.0.2.1:56324"),
        ),
        (
            b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 5672\r\n".to_vec(),
            Some("[2001:db8::1]:56324"),
        ),
        (
            b"PROXY TCP4 1.2.3.4 5.6.7.8 0 65535\r\n".to_vec(),
            Some("1.2.3.4:0"),
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN what may follow\r\n".to_vec(), None),
        (
            [&b"PROXY UNKNOWN "[..], &b"f".repeat(V1_MAX - 16), b"\r\n"].concat(),
            None,
        ),
        (v2(0x21, 0x11, &v4_fields()), Some("192.0.2.1:56324")),
        (v2(0x21, 0x21, &v6_fields()), Some("[2001:db8::1]:56324")),
        (v2(0x21, 0x11, &with_tlv), Some("192.0.2.1:56324")),
        (v2(0x21, 0x11, &long), Some("192.0.2.1:56324")),
        (v2(0x21, 0x00, &[]), None),
        (v2(0x21, 0x00, &[7; 9]), None),
        (v2(0x21, 0x31, &[b'/'; 216]), None),
        (v2(0x20, 0x00, &[]), None),
        (v2(0x20, 0x11, &v4_fields()), None),
        (v2(0x20, 0xFF, &[1, 2, 3]), None),
    ]
}

/// What can never become a header.
fn hopeless() -> Vec<(Vec<u8>, HeaderError)> {
    let line = |text: &str| (text.as_bytes().to_vec(), HeaderError::MalformedLine);
    vec![
        (b"AMQP\0\0\x09\x01".to_vec(), HeaderError::NoHeader),
        (b"PROXT".to_vec(), HeaderError::NoHeader),
        (b"proxy TCP4".to_vec(), HeaderError::NoHeader),
        (b"\r\n\r\n\0\r\nQUIX".to_vec(), HeaderError::NoHeader),
        (b"\x16\x03\x01".to_vec(), HeaderError::NoHeader),
        line("PROXY \r\n"),
        line("PROXY TCP4\r\n"),
        line("PROXY TCP4 192.0.2.1 192.0.2.2 56324 5672\n"),
        line("PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n"),
        line("PROXY TCP4 192.0.2.1 192.0.2.2 56324 5672 1\r\n"),
        line("PROXY TCP4  192.0.2.1 192.0.2.2 56324 5672\r\n"),
        line("PROXY TCP4 192.0.2.1 192.0.2.2 65536 5672\r\n"),
        line("PROXY TCP4 192.0.2.1 192.0.2.2 +1 5672\r\n"),
        line("PROXY TCP4 192.0.2.1 192.0.2.2 01 5672\r\n"),
        line("PROXY TCP4 192.0.2.1 192.0.2.2 1 -5672\r\n"),
        line("PROXY TCP4 192.0.2.1 192.0.2 1 5672\r\n"),
        line("PROXY TCP4 2001:db8::1 2001:db8::2 1 5672\r\n"),
        line("PROXY TCP6 192.0.2.1 192.0.2.2 1 5672\r\n"),
        line("PROXY TCP5 192.0.2.1 192.0.2.2 1 5672\r\n"),
        line("PROXY UNKNOWNS\r\n"),
        (b"PROXY TCP4 \xff\r\n".to_vec(), HeaderError::MalformedLine),
        (
            [b"PROXY UNKNOWN ".to_vec(), b"f".repeat(V1_MAX)].concat(),
            HeaderError::TooLong(V1_MAX),
        ),
        (v2(0x11, 0x11, &v4_fields()), HeaderError::Version(1)),
        (v2(0x31, 0x11, &v4_fields()), HeaderError::Version(3)),
        (v2(0x22, 0x11, &v4_fields()), HeaderError::Command(2)),
        (v2(0x21, 0x12, &v4_fields()), HeaderError::Family(0x12)),
        (v2(0x21, 0x10, &v4_fields()), HeaderError::Family(0x10)),
        (v2(0x21, 0x41, &v4_fields()), HeaderError::Family(0x41)),
        (v2(0x21, 0x11, &v4_fields()[..11]), HeaderError::NoAddresses),
        (v2(0x21, 0x21, &v4_fields()), HeaderError::NoAddresses),
        (v2(0x21, 0x31, &[0; 215]), HeaderError::NoAddresses),
        (
            v2(0x20, 0x00, &[0; V2_MAX - V2_HEAD + 1]),
            HeaderError::TooLong(V2_MAX),
        ),
    ]
}

#[test]
fn a_whole_header_gives_the_source_and_its_own_length() {
    for (bytes, source) in whole() {
        let expected = Header {
            source: source.map(|source| source.parse().unwrap()),
            len: bytes.len(),
        };
        let followed = [&bytes[..], b"AMQP\0\0\x09\x01"].concat();
        for bytes in [bytes, followed] {
            let shown = bytes.escape_ascii();
            assert_eq!(parse(&bytes), Ok(Some(expected)), "{shown}");
        }
    }
}

#[test]
fn a_part_of_a_header_is_waited_for() {
    for (bytes, _) in whole() {
        for len in 0..bytes.len() {
            assert_eq!(parse(&bytes[..len]), Ok(None), "{}", bytes[..len].escape_ascii());
        }
    }
}

#[test]
fn what_is_no_header_is_refused() {
    for (bytes, error) in hopeless() {
        assert_eq!(parse(&bytes), Err(error), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_long_header_is_refused_before_it_has_come() {
    let head = &v2(0x21, 0x11, &[0; V2_MAX])[..V2_HEAD];
    assert_eq!(parse(head), Err(HeaderError::TooLong(V2_MAX)));
}

proptest! {
    /// Whatever comes, and however it is cut: no panic, never more taken than there is, never more wanted than the limit.
    #[test]
    fn anything_is_read_waited_for_or_refused(
        start in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", b"PROXY TCP6 ", &SIGNATURE]),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [start, &bytes].concat();
        match parse(&bytes) {
            Ok(Some(header)) => prop_assert!(header.len <= bytes.len()),
            Ok(None) => prop_assert!(bytes.len() < V2_MAX),
            Err(_) => {}
        }
    }
}
