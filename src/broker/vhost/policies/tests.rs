//! Policies take effect when they are set, when things are declared, and after a restart.

use std::time::{Duration, Instant};

use amq_protocol::types::{AMQPValue, FieldTable};

use super::super::{DeleteConditions, ExchangeDeclaration, QueueDeclaration, QueueDeclared, Stores};
use super::*;
use crate::broker::changes::Declared;
use crate::broker::exchange::Criteria;
use crate::broker::limits::NodeLimits;
use crate::broker::login::CheckAtOnce;
use crate::broker::queue::level::Window;
use crate::broker::queue::settings::{Overflow, RetryKind};
use crate::broker::queue_type::QueueType;
use crate::broker::refusal::Refusal;
use crate::broker::{Broker, ConnectionId, Parts, RecoverError};
use crate::clock::{Clock, Timestamp};
use crate::message::Message;
use crate::store::access::{AccessChange, AccessRows, VhostRow};
use crate::store::memory::MemoryStore;
use crate::store::{Recovered, Store};

const USER: PolicyKind = PolicyKind::User;

/// A broker on a store that can be crashed.
struct World {
    store: Arc<MemoryStore>,
    broker: Broker,
    /// When the clock began.
    origin: Instant,
}

impl World {
    fn new() -> Self {
        Self::on(MemoryStore::default(), &Recovered::default(), Vec::new()).unwrap()
    }

    fn on(
        store: MemoryStore,
        recovered: &Recovered,
        policies: Vec<(String, PolicyKind, Policy)>,
    ) -> Result<Self, RecoverError> {
        let store = Arc::new(store);
        let origin = Instant::now();
        let parts = Parts {
            stores: Stores {
                durable: store.clone(),
                spill: Arc::new(MemoryStore::default()),
            },
            declared: Declared {
                rows: AccessRows {
                    vhosts: vec![VhostRow {
                        name: "/".into(),
                        ..VhostRow::default()
                    }],
                    ..AccessRows::default()
                },
                ..Declared::default()
            },
            loopback_users: Vec::new(),
            checks: Arc::new(CheckAtOnce),
            node_limits: NodeLimits::default(),
            policies,
            window: Window {
                messages: 100,
                bytes: 1 << 20,
            },
            clock: Arc::new(Clock::new(origin, Timestamp::from_millis(1_000_000))),
            seed: [7; 32],
        };
        let broker = Broker::new(parts, recovered)?;
        Ok(Self {
            store,
            broker,
            origin,
        })
    }

    /// The broker after the end of its process.
    fn restarted(&self, policies: Vec<(String, PolicyKind, Policy)>) -> Self {
        self.store.commit_all();
        let (store, recovered) = self.store.crash();
        Self::on(store, &recovered, policies).unwrap()
    }

    fn vhost(&self) -> Arc<Vhost> {
        self.broker.vhost("/").unwrap()
    }

    fn declare_exchange(&self, name: &str, kind: &str, arguments: FieldTable) {
        let declaration = ExchangeDeclaration {
            name: name.into(),
            kind: kind.into(),
            durable: true,
            auto_delete: false,
            internal: false,
            arguments,
        };
        let declared = self.vhost().declare_exchange::<Refusal>(declaration, |_| Ok(()));
        declared.unwrap();
    }

    fn declare(&self, name: &str, arguments: FieldTable) -> Result<QueueDeclared, Refusal> {
        let declaration = QueueDeclaration {
            name: name.into(),
            durable: true,
            exclusive: false,
            auto_delete: false,
            default_type: QueueType::Classic,
            arguments,
        };
        self.vhost()
            .declare_queue(declaration, ConnectionId(1), || Ok(()))
    }

    /// A queue without arguments.
    fn queue(&self, name: &str) -> Arc<LiveQueue> {
        self.declare(name, FieldTable::default()).unwrap().queue
    }

    /// A queue that everything from a fanout exchange reaches.
    fn declare_behind(&self, exchange: &str) -> Arc<LiveQueue> {
        self.declare_exchange(exchange, "fanout", FieldTable::default());
        let queue = self.queue(&format!("of-{exchange}"));
        let bound = self
            .vhost()
            .bind_queue(&queue, &exchange.into(), b"", &FieldTable::default());
        bound.unwrap();
        queue
    }

    /// Time goes on to so many milliseconds after the start.
    fn wait_until(&self, millis: u64) {
        self.broker
            .clock
            .advance(self.origin + Duration::from_millis(millis));
        self.broker.timers.fire(self.broker.clock.now());
    }

    fn set(&self, policy: Policy) {
        self.vhost().set_policy(USER, policy).unwrap();
    }

    /// The queues that an unroutable message to the exchange reaches.
    fn alternates(&self, exchange: &str) -> Vec<String> {
        let criteria = Criteria {
            routing_keys: &[b"nowhere"],
            properties: &[0, 0],
        };
        let route = self.vhost().route(exchange.as_bytes(), &criteria).unwrap();
        let names = route.queues.iter().map(|queue| queue.definition.name.to_string());
        names.collect()
    }
}

fn number(value: i64) -> AMQPValue {
    AMQPValue::LongLongInt(value)
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in entries {
        table.insert((*key).into(), value.clone());
    }
    table
}

/// A policy for the queue `q`.
fn for_q(kind: PolicyKind, name: &str, definition: &[(&str, AMQPValue)]) -> Policy {
    Policy::new(kind, name, "^q$", ApplyTo::Queues, 0, table(definition)).unwrap()
}

/// How many of so many messages the queue refuses.
fn publish(queue: &Arc<LiveQueue>, count: usize) -> usize {
    let message = Message::new(b"", b"q", &[0x10, 0, 2], b"body");
    queue.publish(std::iter::repeat_n(message, count)).rejected.len()
}

fn ready(queue: &LiveQueue) -> u64 {
    queue.counts().0
}

fn alternate_to(exchange: &str) -> FieldTable {
    let mut table = FieldTable::default();
    table.insert(
        "alternate-exchange".into(),
        AMQPValue::LongString(exchange.into()),
    );
    table
}

fn policy(name: &str, pattern: &str, priority: i64, alternate: &str) -> Policy {
    let apply_to = ApplyTo::Exchanges;
    Policy::new(USER, name, pattern, apply_to, priority, alternate_to(alternate)).unwrap()
}

#[test]
fn an_alternate_exchange_comes_and_goes_with_its_policy() {
    let world = World::new();
    world.declare_behind("one");
    world.declare_behind("two");
    world.declare_exchange("src", "direct", FieldTable::default());
    assert!(world.alternates("src").is_empty());
    let version = world.vhost().version();
    world.set(policy("p", "^src$|^amq.direct$", 0, "one"));
    assert!(world.vhost().version() > version, "cached routes are dropped");
    assert_eq!(world.alternates("src"), ["of-one"]);
    assert_eq!(world.alternates("amq.direct"), ["of-one"]);
    assert!(world.alternates("amq.topic").is_empty());
    world.set(policy("stronger", "^src$", 1, "two"));
    assert_eq!(world.alternates("src"), ["of-two"]);
    let version = world.vhost().version();
    let cleared = world.vhost().clear_policy(USER, &"stronger".into()).unwrap();
    assert!(cleared.is_some());
    assert!(world.vhost().version() > version);
    assert_eq!(world.alternates("src"), ["of-one"]);
    assert_eq!(
        world.vhost().clear_policy(USER, &"stronger".into()).unwrap(),
        None
    );
    world.set(policy("p", "^other$", 0, "one"));
    assert!(world.alternates("src").is_empty());
}

#[test]
fn an_exchange_declared_later_has_its_policy_and_its_own_argument_wins() {
    let world = World::new();
    world.declare_behind("one");
    world.declare_behind("two");
    world.set(policy("p", "", 0, "one"));
    world.declare_exchange("plain", "direct", FieldTable::default());
    world.declare_exchange("own", "direct", alternate_to("two"));
    assert_eq!(world.alternates("plain"), ["of-one"]);
    assert_eq!(world.alternates("own"), ["of-two"]);
    assert!(
        world.alternates("").is_empty(),
        "the default exchange has no alternate"
    );
    // A redeclaration does not see the policy.
    world.declare_exchange("plain", "direct", FieldTable::default());
    world.declare_exchange("own", "direct", alternate_to("two"));
}

#[test]
fn policies_survive_a_restart_and_are_in_force_after_it() {
    let world = World::new();
    world.declare_behind("one");
    world.declare_exchange("src", "direct", FieldTable::default());
    world.set(policy("p", "^(src|amq.direct)$", 0, "one"));
    world.set(policy("gone", "^src$", 9, "nowhere"));
    world.vhost().clear_policy(USER, &"gone".into()).unwrap();
    let world = world.restarted(Vec::new());
    assert_eq!(world.alternates("src"), ["of-one"]);
    assert_eq!(world.alternates("amq.direct"), ["of-one"]);
    let policies = world.vhost().policies(USER);
    assert_eq!(policies.len(), 1);
    assert_eq!(
        (&*policies[0].name, &*policies[0].pattern),
        ("p", "^(src|amq.direct)$")
    );
}

#[test]
fn a_policy_of_the_configuration_wins_over_the_stored_one_and_stays() {
    let world = World::new();
    world.declare_behind("one");
    world.declare_behind("two");
    world.declare_exchange("src", "direct", FieldTable::default());
    world.set(policy("p", "^src$", 0, "one"));
    let configured = policy("p", "^src$", 0, "two").configured();
    let world = world.restarted(vec![("/".to_owned(), USER, configured)]);
    assert_eq!(world.alternates("src"), ["of-two"]);
    let refused = world.vhost().set_policy(USER, policy("p", "^src$", 0, "one"));
    let refused = refused.unwrap_err().to_string();
    assert_eq!(
        refused,
        "policy 'p' is set by the configuration file; change it there"
    );
    assert!(world.vhost().clear_policy(USER, &"p".into()).is_err());
    assert_eq!(world.alternates("src"), ["of-two"]);
    let world = world.restarted(Vec::new());
    assert_eq!(world.alternates("src"), ["of-one"], "what is stored is untouched");
}

#[test]
fn a_configured_policy_waits_for_its_vhost() {
    let configured = policy("p", "", 0, "x").configured();
    let policies = vec![("later".to_owned(), USER, configured)];
    let world = World::on(MemoryStore::default(), &Recovered::default(), policies).unwrap();
    let vhost = VhostRow {
        name: "later".into(),
        ..VhostRow::default()
    };
    world.broker.change(vec![AccessChange::SetVhost(vhost)]).unwrap();
    let vhost = world.broker.vhost("later").unwrap();
    assert_eq!(vhost.policies(USER).len(), 1);
    assert!(world.vhost().policies(USER).is_empty());
}

#[test]
fn a_vhosts_policies_go_with_it() {
    let world = World::new();
    let change = |change| world.broker.change(vec![change]).unwrap();
    let vhost = VhostRow {
        name: "v".into(),
        ..VhostRow::default()
    };
    change(AccessChange::SetVhost(vhost.clone()));
    let set = world
        .broker
        .vhost("v")
        .unwrap()
        .set_policy(USER, policy("p", "", 0, "x"));
    set.unwrap();
    world.set(policy("stays", "", 0, "x"));
    change(AccessChange::DeleteVhost("v".into()));
    change(AccessChange::SetVhost(vhost));
    let world = world.restarted(Vec::new());
    assert!(world.broker.vhost("v").unwrap().policies(USER).is_empty());
    assert_eq!(world.vhost().policies(USER).len(), 1);
}

#[test]
fn setting_a_policy_is_told_to_the_store() {
    let world = World::new();
    let set = world.vhost().set_policy(USER, policy("p", "", 0, "x")).unwrap();
    assert!(world.store.committed() < set);
    world.store.commit_all();
    assert!(world.store.committed() >= set);
}

#[test]
fn a_queue_that_has_become_too_long_is_cut_at_once_and_its_dead_letters_go_where_the_policy_says() {
    let world = World::new();
    let grave = world.declare_behind("dlx");
    let queue = world.queue("q");
    publish(&queue, 5);
    let limits = [("max-length", number(2)), ("dead-letter-exchange", text("dlx"))];
    world.set(for_q(USER, "p", &limits));
    assert_eq!((ready(&queue), ready(&grave)), (2, 3));
    publish(&queue, 1);
    assert_eq!((ready(&queue), ready(&grave)), (2, 4));
    world.vhost().clear_policy(USER, &"p".into()).unwrap();
    publish(&queue, 3);
    assert_eq!((ready(&queue), ready(&grave)), (5, 4));
}

#[test]
fn an_operators_limit_is_never_exceeded() {
    let world = World::new();
    let queue = world.queue("q");
    let operator = |length| for_q(PolicyKind::Operator, "o", &[("max-length", number(length))]);
    world.set(for_q(USER, "p", &[("max-length", number(4))]));
    publish(&queue, 9);
    assert_eq!(ready(&queue), 4);
    let set = |length| world.vhost().set_policy(PolicyKind::Operator, operator(length));
    set(3).unwrap();
    assert_eq!(ready(&queue), 3);
    set(5).unwrap();
    publish(&queue, 9);
    assert_eq!(ready(&queue), 4);
    world.vhost().clear_policy(USER, &"p".into()).unwrap();
    publish(&queue, 9);
    assert_eq!(ready(&queue), 5);
    set(0).unwrap();
    assert_eq!(ready(&queue), 0);
}

#[test]
fn a_full_queue_refuses_while_its_policy_says_so() {
    let world = World::new();
    let queue = world.queue("q");
    let full = [("max-length", number(2)), ("overflow", text("reject-publish"))];
    world.set(for_q(USER, "p", &full));
    assert_eq!(publish(&queue, 5), 3);
    world.set(for_q(USER, "p", &[("max-length", number(2))]));
    assert_eq!(publish(&queue, 5), 0);
    assert_eq!(ready(&queue), 2);
}

#[test]
fn a_policys_ttl_is_for_messages_that_come_after_it() {
    let world = World::new();
    let queue = world.queue("q");
    publish(&queue, 1);
    world.set(for_q(USER, "p", &[("message-ttl", number(1_000))]));
    publish(&queue, 2);
    world.wait_until(999);
    assert_eq!(ready(&queue), 3);
    world.wait_until(1_000);
    assert_eq!(ready(&queue), 1);
    world.vhost().clear_policy(USER, &"p".into()).unwrap();
    publish(&queue, 1);
    world.wait_until(100_000);
    assert_eq!(ready(&queue), 2);
}

#[test]
fn a_queue_expires_by_policy_and_stays_without_it() {
    let world = World::new();
    for name in ["q", "stays"] {
        world.queue(name);
    }
    let exists = |name: &str| world.vhost().queue(name, ConnectionId(1)).is_ok();
    world.set(for_q(USER, "p", &[("expires", number(5_000))]));
    world.wait_until(4_999);
    assert!(exists("q"));
    world.wait_until(5_000);
    assert!(!exists("q"));
    assert!(exists("stays"));
    world.queue("q");
    world.vhost().clear_policy(USER, &"p".into()).unwrap();
    world.wait_until(50_000);
    assert!(exists("q"));
}

#[test]
fn settings_follow_arguments_and_policies_whichever_comes_first() {
    let world = World::new();
    let arguments = table(&[
        ("x-max-length", number(10)),
        ("x-overflow", text("reject-publish")),
        ("x-dead-letter-exchange", text("own")),
    ]);
    let before = world.declare("q", arguments.clone()).unwrap().queue;
    let definition = [
        ("max-length", number(5)),
        ("max-length-bytes", number(6)),
        ("overflow", text("drop-head")),
        ("dead-letter-exchange", text("other")),
        ("dead-letter-routing-key", text("key")),
        ("delivery-limit", number(7)),
        ("consumer-timeout", number(8)),
        ("message-ttl", number(9)),
        ("expires", number(10)),
        ("delayed-retry-type", text("failed")),
        ("delayed-retry-min", number(11)),
        ("delayed-retry-max", number(12)),
    ];
    world.set(for_q(USER, "p", &definition));
    let settings = before.settings();
    let dead_letter = settings.dead_letter.as_ref().unwrap();
    assert_eq!(
        (&*dead_letter.exchange, dead_letter.routing_key.as_deref()),
        ("own", Some("key"))
    );
    let retry = settings.delayed_retry.unwrap();
    assert_eq!((retry.kind, retry.min, retry.max), (RetryKind::Failed, 11, 12));
    assert_eq!(settings.overflow, Overflow::RejectPublish);
    assert_eq!(
        (settings.max_length, settings.max_length_bytes),
        (Some(5), Some(6))
    );
    assert_eq!(
        (settings.delivery_limit, settings.consumer_timeout),
        (Some(7), Some(8))
    );
    assert_eq!((settings.message_ttl, settings.expires), (Some(9), Some(10)));
    // A redeclaration is compared with the arguments alone.
    assert!(!world.declare("q", arguments.clone()).unwrap().is_new);
    assert!(world.declare("q", FieldTable::default()).is_err());
    world
        .vhost()
        .remove_queue(&before, DeleteConditions::default())
        .unwrap();
    let after = world.declare("q", arguments).unwrap();
    assert!(after.is_new);
    assert_eq!(after.queue.settings(), settings);
    let world = world.restarted(Vec::new());
    let recovered = world.vhost().queue("q", ConnectionId(1)).unwrap();
    assert_eq!(recovered.settings(), settings);
    world.vhost().clear_policy(USER, &"p".into()).unwrap();
    let plain = recovered.settings();
    assert_eq!((plain.max_length, plain.message_ttl), (Some(10), None));
}

#[test]
fn a_policy_for_quorum_queues_leaves_classic_ones_alone() {
    let world = World::new();
    let classic = world.queue("classic");
    let quorum = table(&[("x-queue-type", text("quorum"))]);
    let quorum = world.declare("quorum", quorum).unwrap().queue;
    let set = |name, apply_to, definition: &[(&str, AMQPValue)]| {
        world.set(Policy::new(USER, name, "", apply_to, 0, table(definition)).unwrap());
        let lengths = [classic.settings().max_length, quorum.settings().max_length];
        world.vhost().clear_policy(USER, &name.into()).unwrap();
        lengths
    };
    let length = [("max-length", number(5))];
    assert_eq!(set("p", ApplyTo::QuorumQueues, &length), [None, Some(5)]);
    assert_eq!(set("p", ApplyTo::ClassicQueues, &length), [Some(5), None]);
    assert_eq!(set("p", ApplyTo::Exchanges, &length), [None, None]);
    let with_mode = [("max-length", number(5)), ("queue-mode", text("lazy"))];
    assert_eq!(set("p", ApplyTo::All, &with_mode), [Some(5), None]);
}
