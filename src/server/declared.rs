//! The configuration's virtual hosts and users, in the broker's words.

use std::sync::Arc;

use crate::broker::changes::Declared;
use crate::broker::password::{PasswordHash, SALT_BYTES};
use crate::config::{Config, User, Vhost};
use crate::store::access::{
    AccessRows, LimitOwner, LimitRow, LimitedResource, PermissionRow, TopicPermissionRow, UserRow, VhostRow,
};

/// What the configuration declares, and what it has for a broker that knows of nothing else.
pub(super) fn declared(config: &Config) -> Declared {
    let (mut vhosts, mut users) = (AccessRows::default(), AccessRows::default());
    for vhost in &config.vhosts {
        add_vhost(&mut vhosts, vhost);
    }
    for user in &config.users {
        add_user(&mut users, user);
    }
    let mut declared = Declared::default();
    for (rows, is_written, default) in [
        (vhosts, config.written.vhosts, &mut declared.default_vhosts),
        (users, config.written.users, &mut declared.default_users),
    ] {
        if is_written {
            rows.changes().for_each(|change| declared.rows.apply(&change));
        } else {
            *default = rows;
        }
    }
    declared
}

fn add_vhost(rows: &mut AccessRows, vhost: &Vhost) {
    rows.vhosts.push(VhostRow {
        name: vhost.name.as_str().into(),
        description: vhost.description.as_str().into(),
        tags: texts(&vhost.tags),
        default_queue_type: vhost.default_queue_type.as_deref().map(Arc::from),
    });
    let limits = [
        (LimitedResource::Connections, vhost.connections_max),
        (LimitedResource::Queues, vhost.queues_max),
    ];
    add_limits(rows, &LimitOwner::Vhost(vhost.name.as_str().into()), &limits);
}

fn add_user(rows: &mut AccessRows, user: &User) {
    let name: Arc<str> = user.name.as_str().into();
    let hash = match (&user.password, &user.password_hash) {
        // The password stands in the file for whoever can read it: a slow hash in memory beside it would protect
        // nobody, and make each start slower.
        (Some(password), _) => PasswordHash::sha256(password.expose().as_bytes(), salt()).encode(),
        (None, hash) => hash.as_ref().map_or("", |hash| hash.expose()).to_owned(),
    };
    rows.users.push(UserRow {
        name: Arc::clone(&name),
        password_hash: hash.into(),
        algorithm: "".into(),
        tags: texts(&user.tags),
    });
    for granted in &user.permissions {
        rows.permissions.push(PermissionRow {
            user: Arc::clone(&name),
            vhost: granted.vhost.as_str().into(),
            configure: granted.configure.as_str().into(),
            write: granted.write.as_str().into(),
            read: granted.read.as_str().into(),
        });
    }
    for granted in &user.topic_permissions {
        rows.topic_permissions.push(TopicPermissionRow {
            user: Arc::clone(&name),
            vhost: granted.vhost.as_str().into(),
            exchange: granted.exchange.as_str().into(),
            write: granted.write.as_str().into(),
            read: granted.read.as_str().into(),
        });
    }
    let limits = [
        (LimitedResource::Connections, user.connections_max),
        (LimitedResource::Channels, user.channels_max),
    ];
    add_limits(rows, &LimitOwner::User(name), &limits);
}

fn add_limits(rows: &mut AccessRows, owner: &LimitOwner, limits: &[(LimitedResource, Option<u32>)]) {
    for (resource, max) in limits {
        rows.limits.extend(max.map(|max| LimitRow {
            owner: owner.clone(),
            resource: *resource,
            max,
        }));
    }
}

fn texts(texts: &[String]) -> Vec<Arc<str>> {
    texts.iter().map(|text| text.as_str().into()).collect()
}

fn salt() -> [u8; SALT_BYTES] {
    rand::random()
}
