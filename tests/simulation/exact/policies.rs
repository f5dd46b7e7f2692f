//! Policies that come and go, and what they make of queues that are there.

use amq_protocol::types::{AMQPValue, FieldTable};
use leveret::broker::policy::{ApplyTo, Policy, PolicyKind};
use rand::RngExt;

use super::layout::{FIRST, Overflow, Settings, Target};
use super::model::Model;
use super::stage::Stage;

/// A policy, or an operator policy.
#[derive(Clone, Debug)]
pub struct PolicySpec {
    pub name: &'static str,
    pub is_operator: bool,
    priority: i64,
    /// The queues that it applies to.
    queues: Vec<String>,
    settings: Settings,
}

const NAMES: [(&str, bool); 3] = [("one", false), ("two", false), ("three", true)];

impl PolicySpec {
    fn kind(&self) -> PolicyKind {
        if self.is_operator {
            PolicyKind::Operator
        } else {
            PolicyKind::User
        }
    }

    fn policy(&self) -> Policy {
        let Settings {
            ttl,
            max_length,
            overflow,
            target,
            delivery_limit,
            consumer_timeout,
            ..
        } = &self.settings;
        let mut table = FieldTable::default();
        let numbers = [
            ("message-ttl", *ttl),
            ("max-length", *max_length),
            ("delivery-limit", delivery_limit.map(u64::from)),
            ("consumer-timeout", *consumer_timeout),
        ];
        for (key, value) in numbers {
            if let Some(value) = value {
                let value = i64::try_from(value).expect("small");
                table.insert(key.into(), AMQPValue::LongLongInt(value));
            }
        }
        let routing_key = target.as_ref().and_then(|target| target.routing_key.clone());
        let texts = [
            ("overflow", overflow.map(|overflow| overflow.name().to_owned())),
            (
                "dead-letter-exchange",
                target.as_ref().map(|target| target.exchange.clone()),
            ),
            ("dead-letter-routing-key", routing_key),
        ];
        for (key, value) in texts {
            if let Some(value) = value {
                table.insert(key.into(), AMQPValue::LongString(value.into()));
            }
        }
        let pattern = format!("^({})$", self.queues.join("|"));
        Policy::new(
            self.kind(),
            self.name,
            &pattern,
            ApplyTo::Queues,
            self.priority,
            table,
        )
        .expect("the values are as they should be")
    }
}

impl Settings {
    /// Policies count beside arguments: of numbers the least, of others the arguments.
    fn with(&self, policy: &Self) -> Self {
        let least = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
        let target = match (&self.target, &policy.target) {
            (Some(own), Some(other)) => Some(Target {
                routing_key: own.routing_key.clone().or_else(|| other.routing_key.clone()),
                ..own.clone()
            }),
            (own, other) => own.clone().or_else(|| other.clone()),
        };
        Self {
            ttl: least(self.ttl, policy.ttl),
            max_length: least(self.max_length, policy.max_length),
            overflow: self.overflow.or(policy.overflow),
            target,
            delivery_limit: self.delivery_limit.into_iter().chain(policy.delivery_limit).min(),
            consumer_timeout: least(self.consumer_timeout, policy.consumer_timeout),
            ..self.clone()
        }
    }
}

impl Model {
    /// What counts for a queue.
    pub fn settings_of(&self, name: &str) -> Settings {
        let spec = &self.queues[name].spec;
        let mut settings = spec.arguments.clone();
        for is_operator in [false, true] {
            let applies = |policy: &&PolicySpec| {
                policy.is_operator == is_operator && policy.queues.iter().any(|queue| queue == name)
            };
            let applying = self.policies.iter().filter(applies);
            // Of equal ones the name that comes first.
            let best = applying.max_by_key(|policy| (policy.priority, std::cmp::Reverse(policy.name)));
            if let Some(policy) = best {
                settings = settings.with(&policy.settings);
            }
        }
        if spec.is_quorum {
            settings.of_quorum()
        } else {
            settings
        }
    }

    /// Policies are others from now on.
    fn apply_policies(&mut self) {
        let names = self.queues.keys().cloned();
        let mut changed: Vec<(String, Settings)> = names
            .map(|name| (name.clone(), self.settings_of(&name)))
            .collect();
        changed.retain(|(name, settings)| self.queues[name].settings != *settings);
        let count = changed.len();
        for (name, settings) in changed {
            self.coverage.note("a policy changed a queue");
            self.queue(&name).settings = settings;
            self.begin_way(&name);
            let mut letters = Vec::new();
            self.dispatch(&name, &mut letters);
            // The next queue may have its new settings before they come, or after.
            self.doubt(
                count > 1 && !letters.is_empty(),
                "(ended: a policy killed in several queues)",
            );
            self.bury(&name, letters);
            self.fork(true);
            let is_contested = self.is_contested(&name);
            self.doubt(is_contested, "(ended: policies compete for room)");
        }
    }
}

impl Stage {
    /// A policy comes or goes.
    pub fn change_policies(&mut self) {
        let (name, is_operator) = NAMES[self.rng.random_range(0..NAMES.len())];
        let before = self.model.policies.len();
        self.model.policies.retain(|policy| policy.name != name);
        let vhost = self.node.vhost();
        if self.model.policies.len() < before && self.rng.random_bool(0.4) {
            self.tell(&("clear policy", name));
            let kind = if is_operator {
                PolicyKind::Operator
            } else {
                PolicyKind::User
            };
            vhost
                .clear_policy(kind, &name.into())
                .expect("it is not of the configuration");
        } else {
            let policy = self.policy(name, is_operator);
            self.tell(&policy);
            vhost
                .set_policy(policy.kind(), policy.policy())
                .expect("it is not of the configuration");
            self.model.policies.push(policy);
        }
        self.pump();
        self.model.apply_policies();
    }

    fn policy(&mut self, name: &'static str, is_operator: bool) -> PolicySpec {
        let count = self.layout.queues.len();
        let may_limit = self
            .layout
            .queues
            .iter()
            .all(|queue| queue.arguments.retry.is_none());
        let rng = &mut self.rng;
        let queues = (0..rng.random_range(1..=count)).map(|_| format!("q{}", rng.random_range(0..count)));
        let mut queues: Vec<String> = queues.collect();
        let mut settings = Settings {
            ttl: Some([0, 10, 40][rng.random_range(0..3)]),
            ..Settings::default()
        };
        if rng.random_bool(0.5) {
            settings.ttl = None;
            settings.delivery_limit = Some(rng.random_range(0..3));
        }
        if may_limit && rng.random_bool(0.5) {
            settings.max_length = Some(rng.random_range(0..4));
        }
        if !is_operator {
            if rng.random_bool(0.3) {
                settings.overflow = Some(Overflow::RejectPublish);
            }
            if rng.random_bool(0.4) {
                settings.target = Some(Target {
                    exchange: String::new(),
                    routing_key: Some(format!("q{}", rng.random_range(0..count))),
                    at_least_once: false,
                });
            }
            if rng.random_bool(0.2) {
                settings.consumer_timeout = Some(rng.random_range(10..50));
            }
        }
        if self.layout.is_calm {
            settings.avoid_first();
            queues.truncate(1);
            if settings.max_length.is_some() {
                queues = vec![FIRST.to_owned()];
            }
        }
        PolicySpec {
            name,
            is_operator,
            priority: rng.random_range(0..2),
            queues,
            settings,
        }
    }
}
