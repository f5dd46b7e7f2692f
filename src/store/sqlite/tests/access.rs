//! Who may do what comes back as it went in.

use proptest::prelude::*;

use super::*;
use crate::store::access::{
    AccessChange, AccessRows, LimitOwner, LimitRow, LimitedResource, PermissionRow, TopicPermissionRow,
    UserRow, VhostRow,
};

const RESOURCES: [LimitedResource; 3] = [
    LimitedResource::Connections,
    LimitedResource::Channels,
    LimitedResource::Queues,
];

/// One of few names, so that changes meet.
fn name() -> impl Strategy<Value = Arc<str>> {
    prop_oneof!["a", "b", "é", "it''s"].prop_map(Arc::from)
}

fn texts() -> impl Strategy<Value = Vec<Arc<str>>> {
    prop::collection::vec("[a-z ,é]{1,5}".prop_map(Arc::from), 0..3)
}

fn owner() -> impl Strategy<Value = LimitOwner> {
    prop_oneof![
        name().prop_map(LimitOwner::User),
        name().prop_map(LimitOwner::Vhost)
    ]
}

fn resource() -> impl Strategy<Value = LimitedResource> {
    prop::sample::select(&RESOURCES[..])
}

fn change() -> impl Strategy<Value = AccessChange> {
    let vhost = (name(), name(), texts(), prop::option::of(name()));
    let user = (name(), name(), name(), texts());
    let names = || (name(), name(), name(), name(), name());
    prop_oneof![
        vhost.prop_map(
            |(name, description, tags, default_queue_type)| AccessChange::SetVhost(VhostRow {
                name,
                description,
                tags,
                default_queue_type,
            })
        ),
        name().prop_map(AccessChange::DeleteVhost),
        user.prop_map(
            |(name, password_hash, algorithm, tags)| AccessChange::SetUser(UserRow {
                name,
                password_hash,
                algorithm,
                tags,
            })
        ),
        name().prop_map(AccessChange::DeleteUser),
        names().prop_map(|(user, vhost, configure, write, read)| {
            AccessChange::SetPermission(PermissionRow {
                user,
                vhost,
                configure,
                write,
                read,
            })
        }),
        (name(), name()).prop_map(|(user, vhost)| AccessChange::ClearPermission { user, vhost }),
        names().prop_map(|(user, vhost, exchange, write, read)| {
            AccessChange::SetTopicPermission(TopicPermissionRow {
                user,
                vhost,
                exchange,
                write,
                read,
            })
        }),
        (name(), name(), prop::option::of(name())).prop_map(|(user, vhost, exchange)| {
            AccessChange::ClearTopicPermission {
                user,
                vhost,
                exchange,
            }
        }),
        (owner(), resource(), any::<u32>())
            .prop_map(|(owner, resource, max)| { AccessChange::SetLimit(LimitRow { owner, resource, max }) }),
        (owner(), resource()).prop_map(|(owner, resource)| AccessChange::ClearLimit { owner, resource }),
    ]
}

/// The rows with their hashes, in an order of their own.
fn sorted(rows: &AccessRows) -> Vec<(String, Option<Arc<str>>)> {
    let hash = |change: &AccessChange| match change {
        AccessChange::SetUser(row) => Some(Arc::clone(&row.password_hash)),
        _ => None,
    };
    let mut all: Vec<_> = rows
        .changes()
        .map(|change| (format!("{change:?}"), hash(&change)))
        .collect();
    all.sort();
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn changes_leave_in_the_file_what_they_leave_in_the_model(
        changes in prop::collection::vec(change(), 1..80),
    ) {
        let directory = directory();
        let (store, _) = open(directory.path());
        commit(&store, changes.iter().cloned().map(Operation::Access));
        drop(store);
        let mut model = AccessRows::default();
        for change in &changes {
            model.apply(change);
        }
        let recovered = open(directory.path()).1;
        prop_assert_eq!(sorted(&recovered.access), sorted(&model));
        prop_assert_eq!(recovered.had_users, changes.iter().any(AccessChange::is_of_user));
        let mut again = AccessRows::default();
        for change in model.changes() {
            again.apply(&change);
        }
        prop_assert_eq!(again, model);
    }
}

#[test]
fn a_hash_is_not_printed() {
    let row = UserRow {
        name: "anna".into(),
        password_hash: "secret".into(),
        algorithm: "".into(),
        tags: Vec::new(),
    };
    assert!(!format!("{row:?}").contains("secret"));
}
