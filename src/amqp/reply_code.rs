//! Reply codes and the texts that go with them in `close` and `return` methods.

use std::fmt;

use amq_protocol::types::ShortString;

/// Bytes of a short string.
const TEXT_BYTES_MAX: usize = 255;

/// What a cut text ends with.
const ELLIPSIS: &str = "...";

/// The reply codes of AMQP 0-9-1 (spec 1.2 "Constants").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[expect(missing_docs, reason = "the names are the spec's and say all there is to say")]
pub enum ReplyCode {
    ReplySuccess = 200,
    ContentTooLarge = 311,
    NoRoute = 312,
    NoConsumers = 313,
    ConnectionForced = 320,
    InvalidPath = 402,
    AccessRefused = 403,
    NotFound = 404,
    ResourceLocked = 405,
    PreconditionFailed = 406,
    FrameError = 501,
    SyntaxError = 502,
    CommandInvalid = 503,
    ChannelError = 504,
    UnexpectedFrame = 505,
    ResourceError = 506,
    NotAllowed = 530,
    NotImplemented = 540,
    InternalError = 541,
}

impl ReplyCode {
    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The name in capitals that begins every reply text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReplySuccess => "REPLY_SUCCESS",
            Self::ContentTooLarge => "CONTENT_TOO_LARGE",
            Self::NoRoute => "NO_ROUTE",
            Self::NoConsumers => "NO_CONSUMERS",
            Self::ConnectionForced => "CONNECTION_FORCED",
            Self::InvalidPath => "INVALID_PATH",
            Self::AccessRefused => "ACCESS_REFUSED",
            Self::NotFound => "NOT_FOUND",
            Self::ResourceLocked => "RESOURCE_LOCKED",
            Self::PreconditionFailed => "PRECONDITION_FAILED",
            Self::FrameError => "FRAME_ERROR",
            Self::SyntaxError => "SYNTAX_ERROR",
            Self::CommandInvalid => "COMMAND_INVALID",
            Self::ChannelError => "CHANNEL_ERROR",
            Self::UnexpectedFrame => "UNEXPECTED_FRAME",
            Self::ResourceError => "RESOURCE_ERROR",
            Self::NotAllowed => "NOT_ALLOWED",
            Self::NotImplemented => "NOT_IMPLEMENTED",
            Self::InternalError => "INTERNAL_ERROR",
        }
    }
}

impl fmt::Display for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number(), self.name())
    }
}

/// `NAME - explanation`, or the name alone when there is nothing to explain. A text that does not fit a short
/// string is cut at a character boundary at 252 bytes or before, and ends with `...`.
pub fn reply_text(code: ReplyCode, explanation: &str) -> ShortString {
    let mut text = code.name().to_owned();
    if !explanation.is_empty() {
        text.push_str(" - ");
        text.push_str(explanation);
    }
    if text.len() > TEXT_BYTES_MAX {
        let cut = text.floor_char_boundary(TEXT_BYTES_MAX - ELLIPSIS.len());
        text.truncate(cut);
        text.push_str(ELLIPSIS);
    }
    ShortString::try_new(text).expect("it was cut to fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_stays_whole() {
        let text = reply_text(ReplyCode::NotFound, "no queue 'x' in vhost '/'");
        assert_eq!(text.as_str(), "NOT_FOUND - no queue 'x' in vhost '/'");
        assert_eq!(
            reply_text(ReplyCode::InternalError, "").as_str(),
            "INTERNAL_ERROR"
        );
    }

    #[test]
    fn a_text_of_255_bytes_is_the_longest_that_stays_whole() {
        let prefix = "NOT_FOUND - ".len();
        let whole = reply_text(ReplyCode::NotFound, &"x".repeat(255 - prefix));
        assert!(whole.as_str().ends_with('x'));
        let cut = reply_text(ReplyCode::NotFound, &"x".repeat(256 - prefix));
        assert_eq!(cut.as_str().len(), 255);
        assert!(cut.as_str().ends_with("x..."));
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        for lead in 0..4 {
            let explanation = format!("{}{}", "x".repeat(lead), "𝄞".repeat(100));
            let text = reply_text(ReplyCode::NotFound, &explanation);
            assert!(
                (252..=255).contains(&text.as_str().len()),
                "{} bytes",
                text.as_str().len()
            );
            assert!(text.as_str().ends_with("𝄞..."));
        }
    }
}
