//! Who may do what, in the store's words: virtual hosts, users, permissions and limits.
//!
//! Plain texts: nothing here says whether a pattern compiles or a hash can be used. What belongs to a user or a
//! virtual host goes with it; queues, exchanges and bindings are unmade by operations of their own.

use std::fmt;
use std::sync::Arc;

/// One change of who may do what. Setting replaces; removing what is not there does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessChange {
    /// The virtual host exists, with this description.
    SetVhost(VhostRow),
    /// It is gone, and all permissions, limits and policies that name it.
    DeleteVhost(Arc<str>),
    /// The user exists, with this password and these tags.
    SetUser(UserRow),
    /// The user is gone, and all permissions and limits that name it.
    DeleteUser(Arc<str>),
    /// A user may do this in a virtual host.
    SetPermission(PermissionRow),
    /// A user has no business in a virtual host.
    ClearPermission {
        /// Whose.
        user: Arc<str>,
        /// Where.
        vhost: Arc<str>,
    },
    /// A user may use these routing keys with a topic exchange.
    SetTopicPermission(TopicPermissionRow),
    /// A user may use all routing keys.
    ClearTopicPermission {
        /// Whose.
        user: Arc<str>,
        /// Where.
        vhost: Arc<str>,
        /// With this exchange; with all if none is named.
        exchange: Option<Arc<str>>,
    },
    /// There may be so many.
    SetLimit(LimitRow),
    /// There may be any number.
    ClearLimit {
        /// Whose.
        owner: LimitOwner,
        /// Of what.
        resource: LimitedResource,
    },
}

/// A virtual host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VhostRow {
    /// Name.
    pub name: Arc<str>,
    /// For people.
    pub description: Arc<str>,
    /// For people.
    pub tags: Vec<Arc<str>>,
    /// The type of queues that are declared without one.
    pub default_queue_type: Option<Arc<str>>,
}

/// A user.
#[derive(Clone, PartialEq, Eq)]
pub struct UserRow {
    /// Name.
    pub name: Arc<str>,
    /// The hash of the password, as text; empty for a user who can not log in with one.
    pub password_hash: Arc<str>,
    /// The name of the algorithm that made the hash; if it is empty, the hash tells it.
    pub algorithm: Arc<str>,
    /// Such as `administrator`.
    pub tags: Vec<Arc<str>>,
}

/// What a user may do in a virtual host: regular expressions on names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermissionRow {
    /// Whose.
    pub user: Arc<str>,
    /// Where.
    pub vhost: Arc<str>,
    /// What may be declared and deleted.
    pub configure: Arc<str>,
    /// What may be published and bound to.
    pub write: Arc<str>,
    /// What may be consumed and bound from.
    pub read: Arc<str>,
}

/// What routing keys a user may use with a topic exchange: regular expressions with variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPermissionRow {
    /// Whose.
    pub user: Arc<str>,
    /// Where.
    pub vhost: Arc<str>,
    /// With which exchange.
    pub exchange: Arc<str>,
    /// Keys to publish with.
    pub write: Arc<str>,
    /// Keys to bind and unbind with.
    pub read: Arc<str>,
}

/// Whom a limit is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LimitOwner {
    /// All that this user has, in whatever virtual host.
    User(Arc<str>),
    /// All that is in this virtual host, whoever has it.
    Vhost(Arc<str>),
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LimitedResource {
    /// Open connections.
    Connections,
    /// Open channels; of users only.
    Channels,
    /// Queues; of virtual hosts only.
    Queues,
}

/// A limit. Where there is no row there is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitRow {
    /// Whose.
    pub owner: LimitOwner,
    /// Of what.
    pub resource: LimitedResource,
    /// So many there may be; 0 is none.
    pub max: u32,
}

/// All that is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessRows {
    /// Virtual hosts.
    pub vhosts: Vec<VhostRow>,
    /// Users.
    pub users: Vec<UserRow>,
    /// Permissions.
    pub permissions: Vec<PermissionRow>,
    /// Permissions on routing keys.
    pub topic_permissions: Vec<TopicPermissionRow>,
    /// Limits.
    pub limits: Vec<LimitRow>,
}

impl AccessChange {
    /// Whether it sets or deletes a user.
    pub fn is_of_user(&self) -> bool {
        matches!(self, Self::SetUser(_) | Self::DeleteUser(_))
    }
}

impl AccessRows {
    /// The changes that lead from nothing to these rows, in an order in which each finds what it names.
    pub fn changes(&self) -> impl Iterator<Item = AccessChange> {
        let vhosts = self.vhosts.iter().cloned().map(AccessChange::SetVhost);
        let users = self.users.iter().cloned().map(AccessChange::SetUser);
        let permissions = self.permissions.iter().cloned();
        let topics = self.topic_permissions.iter().cloned();
        let limits = self.limits.iter().cloned();
        vhosts
            .chain(users)
            .chain(permissions.map(AccessChange::SetPermission))
            .chain(topics.map(AccessChange::SetTopicPermission))
            .chain(limits.map(AccessChange::SetLimit))
    }

    /// Makes one change, as the store does.
    pub fn apply(&mut self, change: &AccessChange) {
        match change {
            AccessChange::SetVhost(row) => set(&mut self.vhosts, row, |old| old.name == row.name),
            AccessChange::DeleteVhost(vhost) => {
                self.vhosts.retain(|row| row.name != *vhost);
                self.permissions.retain(|row| row.vhost != *vhost);
                self.topic_permissions.retain(|row| row.vhost != *vhost);
                let owner = LimitOwner::Vhost(Arc::clone(vhost));
                self.limits.retain(|row| row.owner != owner);
            }
            AccessChange::SetUser(row) => set(&mut self.users, row, |old| old.name == row.name),
            AccessChange::DeleteUser(user) => {
                self.users.retain(|row| row.name != *user);
                self.permissions.retain(|row| row.user != *user);
                self.topic_permissions.retain(|row| row.user != *user);
                let owner = LimitOwner::User(Arc::clone(user));
                self.limits.retain(|row| row.owner != owner);
            }
            AccessChange::SetPermission(row) => set(&mut self.permissions, row, |old| {
                (&old.user, &old.vhost) == (&row.user, &row.vhost)
            }),
            AccessChange::ClearPermission { user, vhost } => {
                self.permissions
                    .retain(|row| (&row.user, &row.vhost) != (user, vhost));
            }
            AccessChange::SetTopicPermission(row) => set(&mut self.topic_permissions, row, |old| {
                (&old.user, &old.vhost, &old.exchange) == (&row.user, &row.vhost, &row.exchange)
            }),
            AccessChange::ClearTopicPermission {
                user,
                vhost,
                exchange,
            } => self.topic_permissions.retain(|row| {
                (&row.user, &row.vhost) != (user, vhost)
                    || exchange
                        .as_ref()
                        .is_some_and(|exchange| *exchange != row.exchange)
            }),
            AccessChange::SetLimit(row) => set(&mut self.limits, row, |old| {
                (&old.owner, old.resource) == (&row.owner, row.resource)
            }),
            AccessChange::ClearLimit { owner, resource } => {
                self.limits
                    .retain(|row| (&row.owner, row.resource) != (owner, *resource));
            }
        }
    }
}

impl fmt::Display for LimitOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user '{name}'"),
            Self::Vhost(name) => write!(f, "vhost '{name}'"),
        }
    }
}

impl fmt::Display for LimitedResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connections => "connections",
            Self::Channels => "channels",
            Self::Queues => "queues",
        })
    }
}

impl fmt::Debug for UserRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserRow")
            .field("name", &self.name)
            .field("algorithm", &self.algorithm)
            .field("tags", &self.tags)
            .finish_non_exhaustive()
    }
}

fn set<R: Clone>(rows: &mut Vec<R>, row: &R, is_it: impl Fn(&R) -> bool) {
    match rows.iter_mut().find(|old| is_it(old)) {
        Some(old) => *old = row.clone(),
        None => rows.push(row.clone()),
    }
}
