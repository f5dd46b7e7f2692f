//! Regular expressions that operators write on the names of things.

use regex::bytes::{Regex, RegexBuilder};

/// Bytes that one compiled pattern may take, and its search cache again.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Compiles an unanchored search by bytes, as `RabbitMQ` searches; a pattern that needs letters beyond ASCII in a
/// class goes by letters.
///
/// # Errors
/// When it is no regular expression, uses look-around or back-references, or compiles to too much.
pub fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    let build = |unicode| {
        RegexBuilder::new(pattern)
            .unicode(unicode)
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(PATTERN_BYTES_MAX)
            .build()
    };
    build(false).or_else(|_| build(true))
}

/// What is wrong with a pattern, on one line.
pub fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    last.trim_start_matches("error: ").to_owned()
}
