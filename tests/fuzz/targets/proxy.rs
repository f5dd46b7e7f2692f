//! Headers of the PROXY protocol, both versions, as they come in piece by piece.

use leveret::net::proxy::{Header, HeaderError, parse};

use crate::memory::within;

/// The longest header that either version has.
const HEADER_MAX: usize = 4096;

pub fn run(input: &[u8]) {
    within(4 * HEADER_MAX + 4 * input.len(), || examine(input));
}

fn examine(input: &[u8]) {
    let input = &input[..input.len().min(HEADER_MAX + 16)];
    let mut verdict = None;
    // Every length at which something is decided, and some in between.
    let ends = (0..=input.len()).filter(|end| *end < 256 || *end % 61 == 0 || *end > input.len() - 20);
    for end in ends {
        let now = parse(&input[..end]);
        match (&verdict, &now) {
            // Once it is decided, more bytes change nothing.
            (Some(before), now) => assert_eq!(before, now, "at {end} bytes"),
            (None, Ok(None)) => assert!(end < HEADER_MAX, "{end} bytes are waited for"),
            (None, Ok(Some(header))) => decided(header, input, end),
            (None, Err(error)) => assert!(!matches!(error, HeaderError::NoHeader) || end <= 12),
        }
        if !matches!(now, Ok(None)) {
            verdict = Some(now);
        }
    }
}

fn decided(header: &Header, input: &[u8], end: usize) {
    assert!(
        header.len == end || end > 256 && header.len < end,
        "as soon as the header is whole"
    );
    let is_line = input.starts_with(b"PROXY ");
    assert_eq!(is_line, input[..end].ends_with(b"\r\n") && is_line);
    if let (true, Some(source)) = (is_line, header.source) {
        let line = String::from_utf8(input[..end].to_vec()).expect("a line is text");
        assert!(line.contains(&format!(" {}", source.port())), "{line}");
    }
}
