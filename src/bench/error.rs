//! Why a benchmark ended early.

use std::io;

use thiserror::Error;

/// A benchmark that could not be run, or whose broker did wrong.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The address is not `amqp://user:password@host:port/vhost`.
    #[error("{uri} is not an address of the form amqp://user:password@host:port/vhost: {reason}")]
    Address {
        /// As it was typed.
        uri: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The socket failed.
    #[error("could not {action}")]
    Socket {
        /// What was tried.
        action: &'static str,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The broker closed a channel or the connection, or refused the login.
    #[error("the broker refused with {code}: {text}")]
    Refused {
        /// AMQP reply code.
        code: u16,
        /// Reply text.
        text: String,
    },
    /// The broker sent something that has no place there.
    #[error("unexpected answer: {0}")]
    Protocol(String),
    /// The broker lost, repeated, reordered or changed messages. Its figures mean nothing.
    #[error("VIOLATION: {0}")]
    Violation(String),
    /// Nothing moved for a long time. Lost messages end here too.
    #[error("stalled: {0}")]
    Stalled(String),
    /// Another thread of the same run failed; that thread has the reason.
    #[error("stopped, because another part of the run failed")]
    Aborted,
    /// A run failed; the source says how.
    #[error("{scenario} against {broker} failed")]
    Run {
        /// Name of the scenario.
        scenario: String,
        /// Name of the broker.
        broker: String,
        /// What happened.
        source: Box<BenchError>,
    },
    /// The report could not be written.
    #[error("could not write the report to {path}")]
    Report {
        /// Where it should have gone.
        path: String,
        /// The operating system's reason.
        source: io::Error,
    },
}
