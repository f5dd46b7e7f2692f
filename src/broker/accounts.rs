//! Who there is and what they may do, as it stands at one moment: virtual hosts by name, users, permissions, limits.
//!
//! A change is made to a copy, which then takes the place of the original whole: whoever reads sees all of a set of
//! changes or none. It knows no connection and no queue.

use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::store::access::{AccessChange, AccessRows, LimitOwner, LimitRow, LimitedResource, VhostRow};

use super::limits::Limits;
use super::password::{PasswordHash, PasswordHashError};
use super::permission::{PatternError, Permissions, Rights};
use super::user::User;

/// Names go over the wire as short strings.
const NAME_BYTES_MAX: usize = 255;

/// What a virtual host's default queue type may be.
pub const QUEUE_TYPES: [&str; 2] = ["classic", "quorum"];

/// Who there is and what they may do.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    vhosts: FxHashMap<Arc<str>, Arc<VhostRow>>,
    users: FxHashMap<Arc<str>, Arc<User>>,
    permissions: Permissions,
    limits: Limits,
    /// Users whose passwords take long to check.
    slow_passwords: usize,
    /// Names that may log in from this machine only; they may belong to nobody.
    loopback_users: Arc<[String]>,
    key: [u8; 32],
}

/// A change that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ChangeRefused {
    /// It is about a user who is not there.
    #[error("there is no user '{0}'")]
    NoUser(Arc<str>),
    /// It is about a virtual host that is not there.
    #[error("there is no vhost '{0}'")]
    NoVhost(Arc<str>),
    /// A name can not be used.
    #[error("the name of a {what} must have 1 to {NAME_BYTES_MAX} bytes, but has {bytes}")]
    Name {
        /// Of a user or a vhost.
        what: &'static str,
        /// How long it is.
        bytes: usize,
    },
    /// A tag can not be used.
    #[error("{0:?} is no tag: a tag is not empty and has no line breaks")]
    Tag(Arc<str>),
    /// There is no such type of queues.
    #[error("{0:?} is no type of queues: there are {list}", list = QUEUE_TYPES.join(", "))]
    QueueType(Arc<str>),
    /// A password hash can not be used.
    #[error("the password hash of user '{user}' {reason}")]
    PasswordHash {
        /// Whose.
        user: Arc<str>,
        /// Why.
        reason: PasswordHashError,
    },
    /// A pattern can not be used.
    #[error("user '{user}' in vhost '{vhost}': {reason}")]
    Pattern {
        /// Whose.
        user: Arc<str>,
        /// Where.
        vhost: Arc<str>,
        /// Why.
        #[source]
        reason: PatternError,
    },
    /// Such a limit does not exist: queues belong to no user, channels to no vhost.
    #[error("{owner} can not have a limit of {resource}")]
    Limit {
        /// Whose.
        owner: LimitOwner,
        /// Of what.
        resource: LimitedResource,
    },
}

impl Accounts {
    /// Nobody yet. `key` should be random and known to nobody; it is for passwords that were right before.
    pub fn new(loopback_users: Vec<String>, key: [u8; 32]) -> Self {
        Self {
            loopback_users: loopback_users.into(),
            key,
            ..Self::default()
        }
    }

    /// Makes one change.
    ///
    /// # Errors
    /// When it makes no sense; then nothing is changed.
    pub fn apply(&mut self, change: &AccessChange) -> Result<(), ChangeRefused> {
        match change {
            AccessChange::SetVhost(row) => self.set_vhost(row)?,
            AccessChange::DeleteVhost(vhost) => {
                self.vhosts.remove(vhost);
                self.permissions.forget_vhost(vhost);
                self.limits.forget(&LimitOwner::Vhost(Arc::clone(vhost)));
            }
            AccessChange::SetUser(row) => {
                check_name("user", &row.name)?;
                check_tags(&row.tags)?;
                let user = User::new(row, self.key).map_err(|reason| ChangeRefused::PasswordHash {
                    user: Arc::clone(&row.name),
                    reason,
                })?;
                self.slow_passwords += usize::from(is_slow(&user));
                let old = self.users.insert(Arc::clone(&row.name), Arc::new(user));
                self.slow_passwords -= old.map_or(0, |old| usize::from(is_slow(&old)));
            }
            AccessChange::DeleteUser(name) => {
                let old = self.users.remove(name);
                self.slow_passwords -= old.map_or(0, |old| usize::from(is_slow(&old)));
                self.permissions.forget_user(name);
                self.limits.forget(&LimitOwner::User(Arc::clone(name)));
            }
            AccessChange::SetPermission(row) => {
                self.check_both(&row.user, &row.vhost)?;
                let done = self.permissions.set(row);
                done.map_err(|reason| bad_pattern(&row.user, &row.vhost, reason))?;
            }
            AccessChange::ClearPermission { user, vhost } => {
                self.check_both(user, vhost)?;
                self.permissions.clear(user, vhost);
            }
            AccessChange::SetTopicPermission(row) => {
                self.check_both(&row.user, &row.vhost)?;
                let done = self.permissions.set_topic(row);
                done.map_err(|reason| bad_pattern(&row.user, &row.vhost, reason))?;
            }
            AccessChange::ClearTopicPermission {
                user,
                vhost,
                exchange,
            } => {
                self.check_both(user, vhost)?;
                self.permissions.clear_topics(user, vhost, exchange.as_deref());
            }
            AccessChange::SetLimit(row) => self.set_limit(row)?,
            AccessChange::ClearLimit { owner, resource } => self.limits.clear(owner, *resource),
        }
        Ok(())
    }

    /// The user of this name.
    pub fn user(&self, name: &str) -> Option<&Arc<User>> {
        self.users.get(name)
    }

    /// What is said of the virtual host.
    pub fn vhost(&self, name: &str) -> Option<&Arc<VhostRow>> {
        self.vhosts.get(name)
    }

    /// All virtual hosts, in no order.
    pub fn vhosts(&self) -> impl Iterator<Item = &Arc<VhostRow>> {
        self.vhosts.values()
    }

    /// All users, in no order.
    pub fn users(&self) -> impl Iterator<Item = &Arc<User>> {
        self.users.values()
    }

    /// What a user may do in a virtual host.
    pub fn rights(&self, user: &str, vhost: &str) -> Arc<Rights> {
        self.permissions.get(user, vhost)
    }

    /// The limits of users and virtual hosts.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether this user may come from this address.
    pub fn may_log_in_from(&self, user: &User, ip: IpAddr) -> bool {
        user.may_log_in_from(ip, &self.loopback_users)
    }

    /// Whether some password takes longer to check than others.
    pub fn has_slow_passwords(&self) -> bool {
        self.slow_passwords > 0
    }

    /// All of it as it is stored, sorted by names.
    pub fn rows(&self) -> AccessRows {
        let mut rows = AccessRows {
            vhosts: self.vhosts.values().map(|row| VhostRow::clone(row)).collect(),
            users: self.users.values().map(|user| user.row()).collect(),
            permissions: self.permissions.iter().filter_map(Rights::row).cloned().collect(),
            topic_permissions: self
                .permissions
                .iter()
                .flat_map(Rights::topic_rows)
                .cloned()
                .collect(),
            limits: self.limits.rows(),
        };
        rows.vhosts.sort_by(|left, right| left.name.cmp(&right.name));
        rows.users.sort_by(|left, right| left.name.cmp(&right.name));
        rows.permissions
            .sort_by(|left, right| (&left.user, &left.vhost).cmp(&(&right.user, &right.vhost)));
        rows.topic_permissions.sort_by(|left, right| {
            (&left.user, &left.vhost, &left.exchange).cmp(&(&right.user, &right.vhost, &right.exchange))
        });
        rows
    }

    fn set_vhost(&mut self, row: &VhostRow) -> Result<(), ChangeRefused> {
        check_name("vhost", &row.name)?;
        check_tags(&row.tags)?;
        if let Some(kind) = &row.default_queue_type
            && !QUEUE_TYPES.contains(&&**kind)
        {
            return Err(ChangeRefused::QueueType(Arc::clone(kind)));
        }
        self.vhosts.insert(Arc::clone(&row.name), Arc::new(row.clone()));
        Ok(())
    }

    fn set_limit(&mut self, row: &LimitRow) -> Result<(), ChangeRefused> {
        match (&row.owner, row.resource) {
            (LimitOwner::User(name), LimitedResource::Connections | LimitedResource::Channels) => {
                self.check_user(name)?;
            }
            (LimitOwner::Vhost(name), LimitedResource::Connections | LimitedResource::Queues) => {
                self.check_vhost(name)?;
            }
            (owner, resource) => {
                return Err(ChangeRefused::Limit {
                    owner: owner.clone(),
                    resource,
                });
            }
        }
        self.limits.set(row);
        Ok(())
    }

    fn check_both(&self, user: &Arc<str>, vhost: &Arc<str>) -> Result<(), ChangeRefused> {
        self.check_user(user)?;
        self.check_vhost(vhost)
    }

    fn check_user(&self, name: &Arc<str>) -> Result<(), ChangeRefused> {
        let is_there = self.users.contains_key(name);
        is_there
            .then_some(())
            .ok_or_else(|| ChangeRefused::NoUser(Arc::clone(name)))
    }

    fn check_vhost(&self, name: &Arc<str>) -> Result<(), ChangeRefused> {
        let is_there = self.vhosts.contains_key(name);
        is_there
            .then_some(())
            .ok_or_else(|| ChangeRefused::NoVhost(Arc::clone(name)))
    }
}

fn is_slow(user: &User) -> bool {
    user.password.as_ref().is_some_and(PasswordHash::is_slow)
}

fn check_name(what: &'static str, name: &str) -> Result<(), ChangeRefused> {
    let bytes = name.len();
    let is_fine = (1..=NAME_BYTES_MAX).contains(&bytes);
    is_fine.then_some(()).ok_or(ChangeRefused::Name { what, bytes })
}

fn check_tags(tags: &[Arc<str>]) -> Result<(), ChangeRefused> {
    tags.iter().try_for_each(|tag| check_tag(tag))
}

/// Whether it can be used as a tag.
///
/// # Errors
/// When it can not.
pub fn check_tag(tag: &str) -> Result<(), ChangeRefused> {
    let is_fine = !tag.is_empty() && !tag.contains(['\n', '\r']);
    is_fine
        .then_some(())
        .ok_or_else(|| ChangeRefused::Tag(tag.into()))
}

fn bad_pattern(user: &Arc<str>, vhost: &Arc<str>, reason: PatternError) -> ChangeRefused {
    ChangeRefused::Pattern {
        user: Arc::clone(user),
        vhost: Arc::clone(vhost),
        reason,
    }
}
