//! The types of exchanges, by the names that a declare gives them.

/// How an exchange matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ExchangeKind {
    /// By equal keys.
    Direct,
    /// Everything.
    Fanout,
    /// By patterns of words.
    Topic,
    /// By message headers.
    Headers,
    /// One destination, the same for the same key as long as it is bound; binding keys are weights.
    ConsistentHash,
    /// One destination, the same for the same key as long as no binding changes.
    ModulusHash,
    /// One destination by chance.
    Random,
    /// One queue of this node by chance.
    LocalRandom,
    /// Everything, and the last messages once more to whoever is bound later.
    RecentHistory,
    /// Everything that is no duplicate.
    Deduplication,
}

impl ExchangeKind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Direct,
        Self::Fanout,
        Self::Topic,
        Self::Headers,
        Self::ConsistentHash,
        Self::ModulusHash,
        Self::Random,
        Self::LocalRandom,
        Self::RecentHistory,
        Self::Deduplication,
    ];

    /// The kind that a declare asks for.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its name in a declare.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
            Self::Headers => "headers",
            Self::ConsistentHash => "x-consistent-hash",
            Self::ModulusHash => "x-modulus-hash",
            Self::Random => "x-random",
            Self::LocalRandom => "x-local-random",
            Self::RecentHistory => "x-recent-history",
            Self::Deduplication => "x-message-deduplication",
        }
    }
}
