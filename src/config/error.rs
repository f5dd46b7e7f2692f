//! What is wrong with a configuration, in words that lead to the line.

use std::fmt;

/// A configuration that can not be used, with every problem that was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration is not usable: {}", .problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; "))]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

/// One thing to mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written: `leveret.toml:12`, the name of an environment variable or a flag.
    pub origin: String,
    /// The key, such as `users[0].name`; empty when no key is to blame.
    pub key: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(formatter, "{}: ", self.key)?;
        }
        formatter.write_str(&self.reason)
    }
}
