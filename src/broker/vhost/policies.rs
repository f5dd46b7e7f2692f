//! Setting and clearing policies, and what they do at once to the queues and exchanges that are there.

use std::sync::Arc;

use crate::store::{Operation, PolicyRow, Sequence};

use super::super::live_queue::{LiveQueue, QueueDefinition};
use super::super::policy::{Applied, ApplyTo, Policies, Policy, PolicyError, PolicyKind, Target};
use super::super::queue::settings::QueueSettings;
use super::exchanges::alternate_of;
use super::{ExchangeDefinition, Topology, Vhost};

/// A policy of the configuration file, which can only be changed there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy '{0}' is set by the configuration file; change it there")]
pub struct ConfiguredPolicy(pub Arc<str>);

impl Vhost {
    /// Sets a policy in the place of one of the same kind and name. It is in force when this returns, for queues
    /// and exchanges that are there and for those to come.
    ///
    /// # Errors
    /// When the configuration file sets one of that name.
    pub fn set_policy(&self, kind: PolicyKind, policy: Policy) -> Result<Sequence, ConfiguredPolicy> {
        let operation = Operation::SetPolicy(PolicyRow {
            vhost: Arc::clone(&self.name),
            kind,
            name: Arc::clone(&policy.name),
            pattern: Arc::clone(&policy.pattern),
            apply_to: policy.apply_to.name().into(),
            priority: policy.priority,
            definition: policy.definition.clone(),
        });
        self.change_policies(|topology| {
            check_changeable(topology, kind, &policy.name)?;
            topology.policies.set(kind, policy);
            Ok(self.stores.durable.append(&mut vec![operation]))
        })
    }

    /// Takes a policy away, with its effect; `None` when there is none of that name.
    ///
    /// # Errors
    /// When the configuration file sets it.
    pub fn clear_policy(
        &self,
        kind: PolicyKind,
        name: &Arc<str>,
    ) -> Result<Option<Sequence>, ConfiguredPolicy> {
        self.change_policies(|topology| {
            check_changeable(topology, kind, name)?;
            if !topology.policies.clear(kind, name) {
                return Ok(None);
            }
            let operation = Operation::ClearPolicy {
                vhost: Arc::clone(&self.name),
                kind,
                name: Arc::clone(name),
            };
            Ok(Some(self.stores.durable.append(&mut vec![operation])))
        })
    }

    /// All policies of a kind, in the order in which they are tried.
    pub fn policies(&self, kind: PolicyKind) -> Vec<Arc<Policy>> {
        self.topology.read().policies.of(kind).to_vec()
    }

    /// What applies to a queue or exchange of that name.
    pub fn applied_policies(&self, target: Target, name: &str) -> Applied {
        self.topology.read().policies.applied(target, name)
    }

    /// Takes over a policy found in the store, before the queues and exchanges. It counts only if the configuration
    /// file has none of that name.
    ///
    /// # Errors
    /// When this version can not use it.
    pub fn recover_policy(&self, row: &PolicyRow) -> Result<(), PolicyError> {
        let policy = Policy::new(
            row.kind,
            &row.name,
            &row.pattern,
            ApplyTo::from_name(&row.apply_to)?,
            row.priority,
            row.definition.clone(),
        )?;
        self.change_policies(|topology| {
            if check_changeable(topology, row.kind, &policy.name).is_ok() {
                topology.policies.set(row.kind, policy);
            }
        });
        Ok(())
    }

    /// Makes a change, and lets every queue and exchange have what follows from it.
    fn change_policies<R>(&self, change: impl FnOnce(&mut Topology) -> R) -> R {
        let _turn = self.policy_turn.lock();
        let (changed, settings) = {
            let mut topology = self.topology.write();
            let changed = change(&mut topology);
            let settings = topology.apply_policies();
            self.touch();
            (changed, settings)
        };
        // Without the topology's lock: a queue that has become too long has dead letters to route.
        for (queue, settings) in settings {
            if *queue.settings() != settings {
                queue.set_settings(settings);
            }
        }
        changed
    }
}

impl Topology {
    /// Gives exchanges their alternates, and says what is in force for queues.
    fn apply_policies(&mut self) -> Vec<(Arc<LiveQueue>, QueueSettings)> {
        for exchange in self.exchanges.values_mut() {
            exchange.alternate = alternate(&self.policies, &exchange.definition);
        }
        let queues = self.queues.values();
        queues
            .map(|queue| (Arc::clone(queue), settings(&self.policies, &queue.definition)))
            .collect()
    }
}

/// What a queue's arguments and policies come to.
pub(super) fn settings(policies: &Policies, definition: &QueueDefinition) -> QueueSettings {
    let applied = policies.applied(Target::from(definition.queue_type), &definition.name);
    QueueSettings::new(&applied.arguments(&definition.arguments), definition.queue_type)
}

fn check_changeable(topology: &Topology, kind: PolicyKind, name: &str) -> Result<(), ConfiguredPolicy> {
    match topology.policies.get(kind, name) {
        Some(policy) if policy.is_configured => Err(ConfiguredPolicy(Arc::clone(&policy.name))),
        _ => Ok(()),
    }
}

/// Where an exchange sends what its bindings lead nowhere: by its argument, or else by policy. The default exchange
/// has no such place.
pub(super) fn alternate(policies: &Policies, definition: &ExchangeDefinition) -> Option<Arc<str>> {
    if definition.name.is_empty() {
        return None;
    }
    let applied = policies.applied(Target::Exchange, &definition.name);
    alternate_of(&applied.arguments(&definition.arguments))
}

#[cfg(test)]
mod tests;
