//! Policies: what an operator lays over queues and exchanges by their names, after the fact.
//!
//! Pure. Of the policies of a virtual host one applies to a queue or exchange, and one operator policy beside it;
//! definitions of several are not merged. A queue's arguments and the two definitions together give the arguments
//! that are in force. Policies take no part in whether a redeclaration is equivalent.

mod keys;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use amq_protocol::types::{AMQPValue, FieldTable, ShortString};
use regex::bytes::Regex;

use super::exchange::Term;
use super::pattern;
use super::queue_type::QueueType;

use self::keys::Key;

pub use crate::store::PolicyKind;

/// Something that a policy may apply to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// An exchange of any type.
    Exchange,
    /// A classic queue.
    ClassicQueue,
    /// A quorum queue.
    QuorumQueue,
    /// A stream.
    Stream,
}

/// What a policy applies to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ApplyTo {
    /// Queues of every type, and exchanges.
    #[default]
    All,
    /// Queues of every type.
    Queues,
    /// Classic queues only.
    ClassicQueues,
    /// Quorum queues only.
    QuorumQueues,
    /// Streams only.
    Streams,
    /// Exchanges only.
    Exchanges,
}

/// A policy, checked.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its name, unique among those of its kind in the virtual host.
    pub name: Arc<str>,
    /// The regular expression as written.
    pub pattern: Arc<str>,
    /// What it applies to.
    pub apply_to: ApplyTo,
    /// The highest one that matches applies.
    pub priority: i64,
    /// Keys and values; not empty.
    pub definition: FieldTable,
    /// The configuration file sets it, and alone may change it.
    pub is_configured: bool,
    regex: Regex,
}

/// Why a policy can not be set. The texts are RabbitMQ's.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PolicyError {
    /// The definition is empty.
    #[error("no policy provided")]
    Empty,
    /// A value is not what its key may hold.
    #[error("{value} is not a valid {noun}")]
    Value {
        /// The value given.
        value: Term,
        /// What the key holds.
        noun: &'static str,
    },
    /// There are no such keys, or not for an operator policy.
    #[error("{0} are not recognised policy settings")]
    Unrecognised(Settings),
    /// The pattern can not be used.
    #[error("pattern should be regular expression but is invalid: {}", pattern::reason(.0))]
    Pattern(regex::Error),
    /// Nothing that a policy could apply to.
    #[error(
        "apply-to '{0}' unrecognised; should be one of: 'queues', 'classic_queues',  'quorum_queues', 'streams', \
         'exchanges', or 'all'"
    )]
    ApplyTo(String),
}

/// Keys with their values, printed as RabbitMQ prints them.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings(Vec<(Term, Term)>);

/// The policies and operator policies of one virtual host, each in the order in which they are tried.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    user: Vec<Arc<Policy>>,
    operator: Vec<Arc<Policy>>,
}

/// What applies to one queue or exchange.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The policy.
    pub user: Option<Arc<Policy>>,
    /// The operator policy.
    pub operator: Option<Arc<Policy>>,
}

impl From<QueueType> for Target {
    fn from(queue_type: QueueType) -> Self {
        match queue_type {
            QueueType::Classic => Self::ClassicQueue,
            QueueType::Quorum => Self::QuorumQueue,
        }
    }
}

impl ApplyTo {
    const EACH: [Self; 6] = [
        Self::All,
        Self::Queues,
        Self::ClassicQueues,
        Self::QuorumQueues,
        Self::Streams,
        Self::Exchanges,
    ];

    /// By its name.
    ///
    /// # Errors
    /// When nothing is called so.
    pub fn from_name(name: &str) -> Result<Self, PolicyError> {
        let found = Self::EACH.into_iter().find(|each| each.name() == name);
        found.ok_or_else(|| PolicyError::ApplyTo(name.to_owned()))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Queues => "queues",
            Self::ClassicQueues => "classic_queues",
            Self::QuorumQueues => "quorum_queues",
            Self::Streams => "streams",
            Self::Exchanges => "exchanges",
        }
    }

    fn covers(self, target: Target) -> bool {
        match self {
            Self::All => true,
            Self::Queues => target != Target::Exchange,
            Self::ClassicQueues => target == Target::ClassicQueue,
            Self::QuorumQueues => target == Target::QuorumQueue,
            Self::Streams => target == Target::Stream,
            Self::Exchanges => target == Target::Exchange,
        }
    }
}

impl Policy {
    /// Checks a policy. Its values are checked first, in the order of their keys, as RabbitMQ does.
    ///
    /// # Errors
    /// What is wrong with it, in RabbitMQ's words.
    pub fn new(
        kind: PolicyKind,
        name: &str,
        pattern: &str,
        apply_to: ApplyTo,
        priority: i64,
        definition: FieldTable,
    ) -> Result<Self, PolicyError> {
        let regex = pattern::compile(pattern).map_err(PolicyError::Pattern)?;
        check_definition(kind, &definition)?;
        Ok(Self {
            name: name.into(),
            pattern: pattern.into(),
            apply_to,
            priority,
            definition,
            is_configured: false,
            regex,
        })
    }

    /// The same policy, set by the configuration file.
    pub fn configured(mut self) -> Self {
        self.is_configured = true;
        self
    }

    /// Keys that mean something to a cluster or a plugin of RabbitMQ, and nothing here.
    pub fn without_effect(&self) -> impl Iterator<Item = &'static str> {
        let keys = self.definition.inner().keys();
        keys.filter_map(|name| Key::of(name.as_str()))
            .filter(|key| key.argument.is_none())
            .map(|key| key.name)
    }

    /// A key that the queue's type does not have keeps the whole policy away from it.
    fn matches(&self, target: Target, name: &str) -> bool {
        let mut keys = self.definition.inner().keys();
        self.apply_to.covers(target)
            && keys.all(|key| Key::of(key.as_str()).is_some_and(|key| key.suits(target)))
            && self.regex.is_match(name.as_bytes())
    }
}

impl Policies {
    /// Sets a policy in the place of one of the same name.
    pub fn set(&mut self, kind: PolicyKind, policy: Policy) {
        self.clear(kind, &policy.name);
        let policies = self.of_mut(kind);
        let order = |policy: &Policy| (Reverse(policy.priority), Arc::clone(&policy.name));
        let place = policies.partition_point(|other| order(other) < order(&policy));
        policies.insert(place, Arc::new(policy));
    }

    /// Takes a policy away; false when there was none of that name.
    pub fn clear(&mut self, kind: PolicyKind, name: &str) -> bool {
        let policies = self.of_mut(kind);
        let before = policies.len();
        policies.retain(|policy| &*policy.name != name);
        policies.len() < before
    }

    /// What applies to a queue or exchange: the policy of the highest priority that matches, and the operator
    /// policy. Among equals it is the one whose name comes first, where RabbitMQ leaves it open.
    pub fn applied(&self, target: Target, name: &str) -> Applied {
        let first = |kind| {
            let mut policies = self.of(kind).iter();
            policies.find(|policy| policy.matches(target, name)).cloned()
        };
        Applied {
            user: first(PolicyKind::User),
            operator: first(PolicyKind::Operator),
        }
    }

    /// The policy of that name.
    pub fn get(&self, kind: PolicyKind, name: &str) -> Option<&Arc<Policy>> {
        self.of(kind).iter().find(|policy| &*policy.name == name)
    }

    /// All policies of a kind, in the order in which they are tried.
    pub fn of(&self, kind: PolicyKind) -> &[Arc<Policy>] {
        match kind {
            PolicyKind::User => &self.user,
            PolicyKind::Operator => &self.operator,
        }
    }

    fn of_mut(&mut self, kind: PolicyKind) -> &mut Vec<Arc<Policy>> {
        match kind {
            PolicyKind::User => &mut self.user,
            PolicyKind::Operator => &mut self.operator,
        }
    }
}

impl Applied {
    /// Both definitions in one, as RabbitMQ lists it.
    pub fn definition(&self) -> FieldTable {
        let mut merged = match &self.user {
            Some(policy) => policy.definition.clone(),
            None => FieldTable::default(),
        };
        let operator = self.operator.iter().flat_map(|policy| policy.definition.inner());
        for (name, value) in operator {
            lay_over(&mut merged, name.as_str(), name, value);
        }
        merged
    }

    /// The arguments in force for a queue or exchange that was declared with these. They are `arguments` itself
    /// when no policy applies. What has no effect is left out.
    pub fn arguments<'a>(&self, arguments: &'a FieldTable) -> Cow<'a, FieldTable> {
        if self.user.is_none() && self.operator.is_none() {
            return Cow::Borrowed(arguments);
        }
        let mut in_force = FieldTable::default();
        for (name, value) in self.definition().inner() {
            let argument = Key::of(name.as_str()).and_then(|key| key.argument);
            if let Some(argument) = argument {
                in_force.insert(argument.into(), value.clone());
            }
        }
        for (argument, value) in arguments.inner() {
            let key = argument.as_str().strip_prefix("x-").unwrap_or(argument.as_str());
            lay_over(&mut in_force, key, argument, value);
        }
        Cow::Owned(in_force)
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms: Vec<_> = self
            .0
            .iter()
            .map(|(key, value)| format!("{{{key},{value}}}"))
            .collect();
        write!(f, "[{}]", terms.join(","))
    }
}

fn check_definition(kind: PolicyKind, definition: &FieldTable) -> Result<(), PolicyError> {
    if definition.inner().is_empty() {
        return Err(PolicyError::Empty);
    }
    let mut unrecognised = Vec::new();
    for (name, value) in definition.inner() {
        let known = Key::of(name.as_str()).filter(|key| kind == PolicyKind::User || key.is_for_operators);
        match known {
            Some(key) if key.accepts(value) => {}
            Some(key) => {
                let value = Term(value.clone());
                return Err(PolicyError::Value {
                    value,
                    noun: key.noun,
                });
            }
            None => {
                let name = AMQPValue::LongString(name.as_str().into());
                unrecognised.push((Term(name), Term(value.clone())));
            }
        }
    }
    if unrecognised.is_empty() {
        Ok(())
    } else {
        Err(PolicyError::Unrecognised(Settings(unrecognised)))
    }
}

/// Puts `value` into the table, or what the key makes of it and the value that is there.
fn lay_over(table: &mut FieldTable, key: &str, name: &ShortString, value: &AMQPValue) {
    let merged = match (Key::of(key), table.inner().get(name)) {
        (Some(key), Some(other)) => key.merge(value, other).clone(),
        _ => value.clone(),
    };
    table.insert(name.clone(), merged);
}

#[cfg(test)]
mod tests;
