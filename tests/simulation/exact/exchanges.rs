//! The exchanges that a history has.

use super::detours::{CACHE_SIZE, LATE, ONCE, UNIQUE};
use super::layout::{number, once, text};
use super::remembering::{HISTORY, HISTORY_LENGTH};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeKind {
    Direct,
    Fanout,
    Topic,
    Headers,
    ConsistentHash(Hashed),
    ModulusHash,
    Random,
    RecentHistory,
    LocalRandom,
    Deduplication,
}

/// What a consistent hash looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashed {
    RoutingKey,
    /// The header `h`.
    Header,
    MessageId,
    CorrelationId,
    Timestamp,
}

#[derive(Clone, Debug)]
pub struct ExchangeSpec {
    pub name: &'static str,
    pub kind: ExchangeKind,
    pub alternate: Option<&'static str>,
}

impl ExchangeSpec {
    /// Its type and arguments, without the table's length.
    pub fn declaration(&self) -> (&'static str, Vec<u8>) {
        let mut table = Vec::new();
        if let Some(alternate) = self.alternate {
            text(&mut table, "alternate-exchange", alternate);
        }
        if self.name == LATE {
            text(&mut table, "x-delayed-type", self.kind.name());
            return ("x-delayed-message", table);
        }
        if self.name == ONCE {
            once(&mut table);
        }
        if self.name == UNIQUE {
            let size = i64::try_from(CACHE_SIZE).expect("small");
            number(&mut table, "x-cache-size", size);
        }
        if let ExchangeKind::ConsistentHash(hashed) = self.kind
            && let Some((argument, value)) = hashed.argument()
        {
            text(&mut table, argument, value);
        }
        if self.name == HISTORY {
            let length = i64::try_from(HISTORY_LENGTH).expect("small");
            number(&mut table, "x-recent-history-length", length);
        }
        (self.kind.name(), table)
    }

    /// One of its queues gets a message, whichever.
    pub fn is_by_chance(&self) -> bool {
        matches!(self.kind, ExchangeKind::Random | ExchangeKind::LocalRandom)
    }
}

impl Hashed {
    /// What a declare says of it.
    fn argument(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::RoutingKey => None,
            Self::Header => Some(("hash-header", "h")),
            Self::MessageId => Some(("hash-property", "message_id")),
            Self::CorrelationId => Some(("hash-property", "correlation_id")),
            Self::Timestamp => Some(("hash-property", "timestamp")),
        }
    }
}

impl ExchangeKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
            Self::Headers => "headers",
            Self::ConsistentHash(_) => "x-consistent-hash",
            Self::ModulusHash => "x-modulus-hash",
            Self::Random => "x-random",
            Self::RecentHistory => "x-recent-history",
            Self::LocalRandom => "x-local-random",
            Self::Deduplication => "x-message-deduplication",
        }
    }
}

pub const EXCHANGES: [ExchangeSpec; 18] = [
    exchange("direct", ExchangeKind::Direct, None),
    exchange("fan", ExchangeKind::Fanout, None),
    exchange("topic", ExchangeKind::Topic, None),
    exchange("headers", ExchangeKind::Headers, None),
    exchange("alternating", ExchangeKind::Direct, Some("fan")),
    exchange("entry", ExchangeKind::Topic, Some("headers")),
    exchange(LATE, ExchangeKind::Direct, None),
    exchange(ONCE, ExchangeKind::Fanout, None),
    exchange(SHARES, ExchangeKind::ConsistentHash(Hashed::RoutingKey), None),
    exchange("modulus", ExchangeKind::ModulusHash, None),
    exchange(CHANCE, ExchangeKind::Random, None),
    exchange(HISTORY, ExchangeKind::RecentHistory, None),
    exchange(LOCAL, ExchangeKind::LocalRandom, None),
    exchange(UNIQUE, ExchangeKind::Deduplication, None),
    exchange("by header", ExchangeKind::ConsistentHash(Hashed::Header), None),
    exchange("by id", ExchangeKind::ConsistentHash(Hashed::MessageId), None),
    exchange(
        "by correlation",
        ExchangeKind::ConsistentHash(Hashed::CorrelationId),
        None,
    ),
    exchange("by time", ExchangeKind::ConsistentHash(Hashed::Timestamp), None),
];

/// What looks at properties of a message stands here.
pub const BY_PROPERTIES: std::ops::Range<usize> = 14..18;

/// There were so many before these, and before [`LOCAL`] and [`UNIQUE`].
pub const BEFORE_PROPERTIES: usize = 12;

/// So many of them just route, and so do those two that hash.
pub const PLAIN_EXCHANGES: usize = 6;
pub const HASHES: [usize; 2] = [8, 9];

/// There were so many in the first histories.
pub const NARROW_EXCHANGES: usize = 8;

/// Gives each key to one queue, by weight.
pub const SHARES: &str = "shares";

/// One of its queues gets a message, whichever.
pub const CHANCE: &str = "chance";

/// The same, of classic queues.
pub const LOCAL: &str = "local";

const fn exchange(name: &'static str, kind: ExchangeKind, alternate: Option<&'static str>) -> ExchangeSpec {
    ExchangeSpec {
        name,
        kind,
        alternate,
    }
}
