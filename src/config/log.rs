//! The section `log`.

use serde::{Deserialize, Serialize};

/// What is logged, and how it looks. Log lines go to the standard output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A level, or directives for parts of the broker such as `info,leveret::net=debug`.
    pub level: String,
    /// Text for people, JSON for machines.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: String::from("info"),
            format: LogFormat::Text,
        }
    }
}

/// What a log line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line of text, coloured on a terminal.
    Text,
    /// A JSON object per line.
    Json,
}
