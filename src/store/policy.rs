//! Policies as the store keeps them; what they mean is the broker's to say.

use std::sync::Arc;

use amq_protocol::types::FieldTable;

/// Whose a policy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PolicyKind {
    /// One that users set.
    User,
    /// One that operators set beside it.
    Operator,
}

/// A policy's definition.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyRow {
    /// Virtual host.
    pub vhost: Arc<str>,
    /// Whose it is.
    pub kind: PolicyKind,
    /// Name, unique among those of its kind in the vhost.
    pub name: Arc<str>,
    /// Regular expression on names.
    pub pattern: Arc<str>,
    /// What it applies to, by name.
    pub apply_to: Arc<str>,
    /// The highest one that matches applies.
    pub priority: i64,
    /// Keys and values.
    pub definition: FieldTable,
}
