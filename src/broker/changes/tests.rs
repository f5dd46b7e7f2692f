//! What is changed while the broker runs is there after a crash, whole or not at all, beside what is declared.

use std::time::Instant;

use amq_protocol::types::{AMQPValue, FieldTable};

use super::*;
use crate::amqp::{content, field_table};
use crate::broker::limits::NodeLimits;
use crate::broker::login::CheckAtOnce;
use crate::broker::password::PasswordHash;
use crate::broker::queue::level::Window;
use crate::broker::queue_type::QueueType;
use crate::broker::refusal::Refusal;
use crate::broker::vhost::{ExchangeDeclaration, QueueDeclaration, Stores};
use crate::broker::{ConnectionId, Parts};
use crate::clock::{Clock, Timestamp};
use crate::message::Message;
use crate::store::access::{LimitRow, PermissionRow, TopicPermissionRow, UserRow, VhostRow};
use crate::store::memory::MemoryStore;
use crate::store::{Recovered, Store};

struct World {
    store: Arc<MemoryStore>,
    broker: Broker,
}

impl World {
    fn new(declared: Declared) -> Self {
        Self::on(MemoryStore::default(), &Recovered::default(), declared)
    }

    fn on(store: MemoryStore, recovered: &Recovered, declared: Declared) -> Self {
        let store = Arc::new(store);
        let parts = Parts {
            stores: Stores {
                durable: Arc::clone(&store) as Arc<dyn Store>,
                spill: Arc::new(MemoryStore::default()),
            },
            declared,
            loopback_users: Vec::new(),
            checks: Arc::new(CheckAtOnce),
            node_limits: NodeLimits::default(),
            policies: Vec::new(),
            window: Window {
                messages: 100,
                bytes: 1 << 20,
            },
            clock: Arc::new(Clock::new(Instant::now(), Timestamp::from_millis(1))),
            seed: [7; 32],
        };
        let broker = Broker::new(parts, recovered).unwrap();
        Self { store, broker }
    }

    /// The broker after the end of its process, with everything that was committed.
    fn crashed(&self, declared: Declared) -> Self {
        let (store, recovered) = self.store.crash();
        Self::on(store, &recovered, declared)
    }

    fn restarted(&self, declared: Declared) -> Self {
        self.store.commit_all();
        self.crashed(declared)
    }

    fn change(&self, changes: &[AccessChange]) {
        self.broker.change(changes.to_vec()).unwrap();
    }

    /// What cannot be done, in the broker's words.
    fn refusal(&self, changes: &[AccessChange]) -> String {
        self.broker.change(changes.to_vec()).unwrap_err().to_string()
    }

    fn users(&self) -> Vec<String> {
        let rows = self.broker.accounts().rows();
        rows.users.iter().map(|row| row.name.to_string()).collect()
    }

    fn vhosts(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .broker
            .vhosts()
            .iter()
            .map(|vhost| vhost.name.to_string())
            .collect();
        names.sort();
        names
    }

    fn declare(&self, vhost: &str, queue: &str) -> Result<(), Refusal> {
        let declaration = QueueDeclaration {
            name: queue.into(),
            durable: true,
            exclusive: false,
            auto_delete: false,
            default_type: QueueType::default(),
            arguments: FieldTable::default(),
        };
        let vhost = self.broker.vhost(vhost).unwrap();
        vhost
            .declare_queue(declaration, ConnectionId(0), || Ok(()))
            .map(|_| ())
    }
}

fn vhost_row(name: &str, description: &str) -> VhostRow {
    VhostRow {
        name: name.into(),
        description: description.into(),
        tags: vec!["a".into(), "b c".into()],
        default_queue_type: Some("quorum".into()),
    }
}

fn user_row(name: &str, password: &str) -> UserRow {
    let hash = PasswordHash::sha256(password.as_bytes(), [1; 4]);
    UserRow {
        name: name.into(),
        password_hash: hash.encode().into(),
        algorithm: hash.algorithm().into(),
        tags: vec!["monitoring".into()],
    }
}

fn permission_row(user: &str, vhost: &str, write: &str) -> PermissionRow {
    PermissionRow {
        user: user.into(),
        vhost: vhost.into(),
        configure: "^c".into(),
        write: write.into(),
        read: "".into(),
    }
}

fn topic_row(user: &str, vhost: &str) -> TopicPermissionRow {
    TopicPermissionRow {
        user: user.into(),
        vhost: vhost.into(),
        exchange: "amq.topic".into(),
        write: "^{username}".into(),
        read: ".*".into(),
    }
}

fn limit_row(owner: LimitOwner, resource: LimitedResource, max: u32) -> LimitRow {
    LimitRow { owner, resource, max }
}

/// A vhost and a user with everything that there is.
fn everything() -> AccessRows {
    AccessRows {
        vhosts: vec![vhost_row("/", "the root"), vhost_row("v", "another")],
        users: vec![user_row("anna", "pass"), user_row("bert", "word")],
        permissions: vec![
            permission_row("anna", "/", ".*"),
            permission_row("anna", "v", "^w"),
        ],
        topic_permissions: vec![topic_row("anna", "v"), topic_row("bert", "/")],
        limits: vec![
            limit_row(LimitOwner::User("anna".into()), LimitedResource::Channels, 0),
            limit_row(LimitOwner::Vhost("v".into()), LimitedResource::Queues, 7),
        ],
    }
}

fn declared(rows: AccessRows) -> Declared {
    Declared {
        rows,
        ..Declared::default()
    }
}

/// What a broker has that nobody configured.
fn built_in() -> Declared {
    Declared {
        rows: AccessRows::default(),
        default_vhosts: AccessRows {
            vhosts: vec![vhost_row("/", "")],
            ..AccessRows::default()
        },
        default_users: AccessRows {
            users: vec![user_row("guest", "guest")],
            permissions: vec![permission_row("guest", "/", ".*")],
            ..AccessRows::default()
        },
    }
}

#[test]
fn everything_comes_back_after_a_crash() {
    let world = World::new(Declared::default());
    let changes: Vec<_> = everything().changes().collect();
    world.change(&changes);
    assert_eq!(world.broker.accounts().rows(), everything());
    let again = world.restarted(Declared::default());
    assert_eq!(again.broker.accounts().rows(), everything());
    assert_eq!(again.vhosts(), ["/", "v"]);
    let settings = again.broker.vhost("v").unwrap().settings();
    assert_eq!(
        (settings.default_queue_type.as_deref(), settings.queues_max),
        (Some("quorum"), Some(7))
    );
}

#[test]
fn who_goes_takes_along_what_was_said_of_them() {
    let world = World::new(Declared::default());
    let changes: Vec<_> = everything().changes().collect();
    world.change(&changes);
    world.change(&[
        AccessChange::DeleteUser("bert".into()),
        AccessChange::DeleteVhost("v".into()),
        AccessChange::ClearLimit {
            owner: LimitOwner::User("anna".into()),
            resource: LimitedResource::Channels,
        },
    ]);
    let left = AccessRows {
        vhosts: vec![vhost_row("/", "the root")],
        users: vec![user_row("anna", "pass")],
        permissions: vec![permission_row("anna", "/", ".*")],
        ..AccessRows::default()
    };
    assert_eq!(world.broker.accounts().rows(), left);
    let again = world.restarted(Declared::default());
    assert_eq!(again.broker.accounts().rows(), left);
    again.change(&[
        AccessChange::SetVhost(vhost_row("v", "")),
        AccessChange::SetUser(user_row("bert", "x")),
    ]);
    assert!(
        !again.broker.accounts().rights("anna", "v").may_open(),
        "a new vhost is not the old one"
    );
}

#[test]
fn a_set_of_changes_is_made_whole_or_not_at_all() {
    let world = World::new(Declared::default());
    let bad = [
        AccessChange::SetVhost(vhost_row("/", "")),
        AccessChange::SetUser(user_row("anna", "pass")),
        AccessChange::SetPermission(permission_row("anna", "/", "(")),
    ];
    let version = world.broker.accounts_version();
    world.refusal(&bad);
    assert_eq!(world.broker.accounts().rows(), AccessRows::default());
    assert_eq!(world.broker.accounts_version(), version);
    assert!(world.vhosts().is_empty());
    assert_eq!(world.store.pending_groups(), 0);

    let good: Vec<_> = everything().changes().collect();
    world.change(&good);
    assert_eq!(world.store.pending_groups(), 1, "one transaction");
    let lost = world.crashed(Declared::default());
    assert_eq!(lost.broker.accounts().rows(), AccessRows::default());
}

/// Users who can not be, and why.
fn bad_users() -> Vec<(AccessChange, &'static str)> {
    let user = |hash: &str, algorithm: &str, tag: &str| {
        AccessChange::SetUser(UserRow {
            name: "carl".into(),
            password_hash: hash.into(),
            algorithm: algorithm.into(),
            tags: vec![tag.into()],
        })
    };
    let (md5, sha256) = (
        "AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR",
    );
    vec![
        (
            AccessChange::SetUser(user_row(&"x".repeat(256), "")),
            "the name of a user must have 1 to 255 bytes, but has 256",
        ),
        (
            user("", "", "a\nb"),
            "\"a\\nb\" is no tag: a tag is not empty and has no line breaks",
        ),
        (
            user(md5, "", "a"),
            "the password hash of user 'carl' is made with MD5, which is undone in no time: hash the password with \
             `leveret hash-password`",
        ),
        (
            user(sha256, "rabbit_password_hashing_md5", "a"),
            "the password hash of user 'carl' is not of the algorithm \"rabbit_password_hashing_md5\", but of \
             \"rabbit_password_hashing_sha256\"",
        ),
    ]
}

#[test]
fn changes_that_make_no_sense_are_refused_with_the_reason() {
    let world = World::new(declared(everything()));
    let mut odd = vhost_row("/", "");
    odd.default_queue_type = Some("odd".into());
    let (anna, root) = (LimitOwner::User("anna".into()), LimitOwner::Vhost("/".into()));
    let (nobody, nowhere) = (
        LimitOwner::User("nobody".into()),
        LimitOwner::Vhost("nowhere".into()),
    );
    let limit = |owner, resource| AccessChange::SetLimit(limit_row(owner, resource, 1));
    let mut rows = vec![
        (
            AccessChange::SetVhost(vhost_row("", "")),
            "the name of a vhost must have 1 to 255 bytes, but has 0",
        ),
        (
            AccessChange::SetVhost(odd),
            "\"odd\" is no type of queues: there are classic, quorum",
        ),
        (
            AccessChange::SetPermission(permission_row("nobody", "/", "")),
            "there is no user 'nobody'",
        ),
        (
            AccessChange::SetTopicPermission(topic_row("anna", "nowhere")),
            "there is no vhost 'nowhere'",
        ),
        (
            limit(nobody, LimitedResource::Channels),
            "there is no user 'nobody'",
        ),
        (
            limit(nowhere, LimitedResource::Queues),
            "there is no vhost 'nowhere'",
        ),
        (
            limit(anna, LimitedResource::Queues),
            "user 'anna' can not have a limit of queues",
        ),
        (
            limit(root, LimitedResource::Channels),
            "vhost '/' can not have a limit of channels",
        ),
    ];
    rows.extend(bad_users());
    for (change, reason) in rows {
        assert_eq!(world.refusal(&[change]), reason);
    }
}

#[test]
fn what_is_declared_wins_and_what_is_stored_stays() {
    let world = World::new(Declared::default());
    let stored: Vec<_> = everything().changes().collect();
    world.change(&stored);
    let file = AccessRows {
        vhosts: vec![vhost_row("v", "from the file"), vhost_row("w", "new")],
        users: vec![user_row("anna", "changed"), user_row("carl", "new")],
        permissions: vec![
            permission_row("anna", "v", "^file"),
            permission_row("anna", "w", ""),
        ],
        topic_permissions: Vec::new(),
        limits: vec![limit_row(
            LimitOwner::User("anna".into()),
            LimitedResource::Channels,
            9,
        )],
    };
    let with_file = world.restarted(declared(file.clone()));
    let mut both = everything();
    for change in file.changes() {
        both.apply(&change);
    }
    let accounts = with_file.broker.accounts();
    let rows = accounts.rows();
    assert_eq!(rows.users.len(), 3);
    assert!(
        both.changes()
            .all(|change| rows.changes().any(|other| other == change))
    );
    assert!(
        accounts.rights("anna", "/").may_open(),
        "stored rights add to those of the file"
    );
    let without = with_file.restarted(Declared::default());
    assert_eq!(
        without.broker.accounts().rows(),
        everything(),
        "nothing stored was lost or changed"
    );
}

#[test]
fn what_speaks_of_someone_who_is_not_declared_any_more_waits_for_them() {
    let world = World::new(declared(AccessRows {
        vhosts: vec![vhost_row("/", ""), vhost_row("w", "")],
        users: vec![user_row("carl", "pass")],
        ..AccessRows::default()
    }));
    let (carl, topic) = (permission_row("carl", "w", ".*"), topic_row("carl", "/"));
    world.change(&[
        AccessChange::SetPermission(carl),
        AccessChange::SetTopicPermission(topic),
    ]);
    let alone = world.restarted(declared(AccessRows {
        vhosts: vec![vhost_row("/", "")],
        ..AccessRows::default()
    }));
    assert_eq!(alone.broker.accounts().rows().permissions, []);
    let again = alone.restarted(declared(AccessRows {
        vhosts: vec![vhost_row("/", ""), vhost_row("w", "")],
        users: vec![user_row("carl", "pass")],
        ..AccessRows::default()
    }));
    assert!(again.broker.accounts().rights("carl", "w").may_open());
    assert_eq!(again.broker.accounts().rows().topic_permissions.len(), 1);
}

#[test]
fn the_built_in_user_is_there_until_there_is_another_and_is_deleted_for_good() {
    let world = World::new(built_in());
    assert_eq!(
        (world.users(), world.vhosts()),
        (vec!["guest".to_owned()], vec!["/".to_owned()])
    );
    let again = world.restarted(built_in());
    assert_eq!(again.users(), ["guest"]);
    // A file that names users has all of them.
    let file = declared(AccessRows {
        vhosts: vec![vhost_row("/", "")],
        users: vec![user_row("carl", "pass")],
        ..AccessRows::default()
    });
    let with_file = again.restarted(file);
    assert_eq!(with_file.users(), ["carl"]);
    // The first change is about a world in which guest is there.
    let plain = with_file.restarted(built_in());
    plain.change(&[AccessChange::SetUser(user_row("anna", "pass"))]);
    let both = plain.restarted(built_in());
    assert_eq!(both.users(), ["anna", "guest"]);
    assert!(both.broker.accounts().rights("guest", "/").may_open());
    both.change(&[AccessChange::DeleteUser("guest".into())]);
    assert_eq!(both.restarted(built_in()).users(), ["anna"]);
}

#[test]
fn the_built_in_user_does_not_come_back_when_the_last_user_is_deleted() {
    // The file names the vhosts, so that not even one of those is stored.
    let default_users = built_in().default_users;
    let start = || Declared {
        default_users: default_users.clone(),
        ..declared(AccessRows {
            vhosts: vec![vhost_row("/", "")],
            ..AccessRows::default()
        })
    };
    let world = World::new(start());
    assert_eq!(world.users(), ["guest"]);
    world.change(&[AccessChange::DeleteUser("guest".into())]);
    let again = world.restarted(start());
    assert!(again.users().is_empty(), "{:?}", again.users());
}

#[test]
fn a_deleted_vhost_leaves_nothing_in_the_store_and_takes_nothing_more() {
    let world = World::new(declared(everything()));
    world.declare("v", "q").unwrap();
    world.declare("/", "kept").unwrap();
    let vhost = world.broker.vhost("v").unwrap();
    let queue = vhost.queue("q", ConnectionId(0)).unwrap();
    let arguments = FieldTable::default();
    vhost
        .bind_queue(&queue, &"amq.topic".into(), b"k", &arguments)
        .unwrap();
    world.store.commit_all();
    world.change(&[AccessChange::DeleteVhost("v".into())]);
    assert_eq!(world.store.pending_groups(), 1, "one transaction");
    // As a connection would that has not heard of it yet.
    let asked = QueueDeclaration {
        name: "late".into(),
        durable: true,
        exclusive: false,
        auto_delete: false,
        default_type: QueueType::default(),
        arguments: arguments.clone(),
    };
    let late = vhost.declare_queue::<Refusal>(asked, ConnectionId(0), || Ok(()));
    assert_eq!(late.unwrap_err(), Refusal::VhostDeleted);
    assert!(
        vhost
            .bind_queue(&queue, &"amq.topic".into(), b"k", &arguments)
            .is_err()
    );
    world.store.commit_all();
    let (_, recovered) = world.store.crash();
    assert_eq!(recovered.queues.len(), 1);
    assert_eq!((recovered.bindings.len(), recovered.exchanges.len()), (0, 0));
}

#[test]
fn a_deleted_vhost_leaves_nothing_of_what_its_exchanges_keep() {
    let world = World::new(declared(everything()));
    world.declare("v", "q").unwrap();
    let vhost = world.broker.vhost("v").unwrap();
    let queue = vhost.queue("q", ConnectionId(0)).unwrap();
    let mut arguments = FieldTable::default();
    arguments.insert("x-delayed-type".into(), AMQPValue::LongString("fanout".into()));
    let mut entries = Vec::new();
    let mut headers = FieldTable::default();
    headers.insert("x-deduplication-header".into(), AMQPValue::LongInt(1));
    headers.insert("x-delay".into(), AMQPValue::LongInt(1000));
    field_table::write(&mut entries, &headers);
    let properties = content::with_headers(&[0x10, 0, 2], Some(&entries));
    for kind in ["x-message-deduplication", "x-recent-history", "x-delayed-message"] {
        let asked = ExchangeDeclaration {
            name: kind.into(),
            kind: kind.into(),
            durable: true,
            auto_delete: false,
            internal: false,
            arguments: arguments.clone(),
        };
        vhost.declare_exchange::<Refusal>(asked, |_| Ok(())).unwrap();
        vhost
            .bind_queue(&queue, &kind.into(), b"k", &FieldTable::default())
            .unwrap();
        let message = Message::new(kind.as_bytes(), b"k", &properties, b"");
        let (route, _) = vhost.pass(&message, &[]);
        route.delay(&message, None);
    }
    world.store.commit_all();
    let (store, recovered) = world.store.crash();
    let kept = |recovered: &Recovered| {
        let delayed: u64 = recovered.delays.iter().map(|delays| delays.messages).sum();
        (recovered.keys.len(), recovered.history.len(), delayed)
    };
    assert_eq!(kept(&recovered), (1, 1, 1));
    let again = World::on(store, &recovered, declared(everything()));
    again.change(&[AccessChange::DeleteVhost("v".into())]);
    again.store.commit_all();
    let (_, recovered) = again.store.crash();
    assert_eq!(kept(&recovered), (0, 0, 0));
    assert!(recovered.delays.is_empty());
}
