//! Changing who may do what while the broker runs: all of a set of changes or none, in memory as on disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{info, warn};

use crate::store::access::{AccessChange, AccessRows, LimitOwner, LimitedResource};
use crate::store::{Hold, Operation, Recovered, Sequence};

use super::Broker;
use super::accounts::{Accounts, ChangeRefused};
use super::outbox::Notice;
use super::vhost::{Vhost, VhostSettings};

/// What holds besides what is stored.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// It wins over what is stored under the same names, which stays in the store.
    pub rows: AccessRows,
    /// Virtual hosts for when there are none otherwise.
    pub default_vhosts: AccessRows,
    /// Users, with what they may do, for when there are none otherwise and the store never had any.
    pub default_users: AccessRows,
}

/// Changes take turns.
#[derive(Debug)]
pub(super) struct Turn {
    /// What the broker began with of its own accord, and has not told the store. The first change is about a world
    /// in which it is there, so it is stored with that one.
    unsaved: AccessRows,
    /// What the operator's file says; it will say so again at the next start.
    declared: AccessRows,
}

impl Broker {
    /// Who there is and what they may do, as it stands now.
    pub fn accounts(&self) -> Arc<Accounts> {
        Arc::clone(&self.accounts.read().0)
    }

    /// The accounts with their version.
    pub fn accounts_and_version(&self) -> (Arc<Accounts>, u64) {
        let accounts = self.accounts.read();
        (Arc::clone(&accounts.0), accounts.1)
    }

    /// Moves with every change of the accounts.
    pub fn accounts_version(&self) -> u64 {
        self.accounts_version.load(Ordering::Acquire)
    }

    /// Makes all of these changes, in their order, or none. Connections see them with their next method; those of
    /// deleted users and virtual hosts are closed. Virtual hosts are deleted with all that is in them.
    ///
    /// Everything is on disk, in one group, once the returned number is committed.
    ///
    /// # Errors
    /// What is wrong with the first change that makes no sense.
    pub fn change(&self, changes: Vec<AccessChange>) -> Result<Option<Sequence>, ChangeRefused> {
        // Before any lock is taken, as it may wait.
        let _hold = Hold::new(&*self.stores.durable);
        let mut turn = self.turn.lock();
        let before = self.accounts();
        let mut after = Accounts::clone(&before);
        for change in &changes {
            after.apply(change)?;
        }
        if changes.is_empty() {
            return Ok(None);
        }
        turn.warn_of_declared(&changes);
        let unsaved = std::mem::take(&mut turn.unsaved);
        let mut operations: Vec<_> = unsaved.changes().chain(changes).map(Operation::Access).collect();
        let sequence = self.stores.durable.append(&mut operations);
        let after = Arc::new(after);
        let deleted = self.replace_accounts(Arc::clone(&after));
        self.close_connections_of(&before, &after);
        let deleted = deleted.into_iter().filter_map(|vhost| {
            info!(vhost = &*vhost.name, "vhost deleted");
            vhost.delete()
        });
        Ok(deleted.max().max(Some(sequence)))
    }

    /// Puts new accounts in the place of the old ones, with the virtual hosts that they speak of; returns those that
    /// they no longer speak of.
    pub(super) fn replace_accounts(&self, after: Arc<Accounts>) -> Vec<Arc<Vhost>> {
        let mut vhosts = self.vhosts.write();
        for row in after.vhosts() {
            if !vhosts.contains_key(&row.name) {
                vhosts.insert(Arc::clone(&row.name), Vhost::new(&row.name, self.shared.clone()));
            }
        }
        let gone = vhosts.extract_if(|name, _| after.vhost(name).is_none());
        let gone = gone.map(|(_, vhost)| vhost).collect();
        for vhost in vhosts.values() {
            vhost.set_settings(settings(&after, &vhost.name));
        }
        let mut accounts = self.accounts.write();
        accounts.0 = after;
        accounts.1 += 1;
        self.accounts_version.store(accounts.1, Ordering::Release);
        gone
    }

    fn close_connections_of(&self, before: &Accounts, after: &Accounts) {
        let close = |reason: String, is_meant: &dyn Fn(&str, &str) -> bool| {
            let census = self.census.lock();
            let outboxes =
                census.outboxes(|opened| opened.is_some_and(|(user, vhost)| is_meant(user, vhost)));
            drop(census);
            for outbox in outboxes {
                outbox.notify(Notice::Close(reason.as_str().into()));
            }
        };
        for row in before.vhosts().filter(|row| after.vhost(&row.name).is_none()) {
            let reason = format!("vhost '{}' is deleted", row.name);
            close(reason, &|_, vhost| *vhost == *row.name);
        }
        for user in before.users().filter(|user| after.user(&user.name).is_none()) {
            info!(user = &*user.name, "user deleted");
            let reason = format!("user '{}' is deleted", user.name);
            close(reason, &|name, _| *name == *user.name);
        }
    }
}

impl Turn {
    /// Puts together what holds at the start; what it has to say is known from then on.
    ///
    /// # Errors
    /// When something that is stored or declared can not be used.
    pub(super) fn first(
        recovered: &Recovered,
        declared: Declared,
        accounts: &mut Accounts,
    ) -> Result<Self, ChangeRefused> {
        let stored = &recovered.access;
        let mut unsaved = AccessRows::default();
        if stored.vhosts.is_empty() && declared.rows.vhosts.is_empty() {
            declared
                .default_vhosts
                .changes()
                .for_each(|change| unsaved.apply(&change));
        }
        // Once the last user was deleted, a well-known password must not come back by itself.
        if !recovered.had_users && stored.users.is_empty() && declared.rows.users.is_empty() {
            declared
                .default_users
                .changes()
                .for_each(|change| unsaved.apply(&change));
        }
        let mut rows = stored.clone();
        for change in unsaved.changes().chain(declared.rows.changes()) {
            rows.apply(&change);
        }
        for change in rows.changes() {
            match accounts.apply(&change) {
                // Its user or vhost was declared once and is not any more, but may be again.
                Err(dangling @ (ChangeRefused::NoUser(_) | ChangeRefused::NoVhost(_))) => {
                    warn!(?change, reason = %dangling, "without effect");
                }
                done => done?,
            }
        }
        Ok(Self {
            unsaved,
            declared: declared.rows,
        })
    }

    fn warn_of_declared(&self, changes: &[AccessChange]) {
        for change in changes {
            let mut later = self.declared.clone();
            later.apply(change);
            let is_new = later.changes().count() > self.declared.changes().count();
            if later != self.declared && !is_new {
                warn!(
                    ?change,
                    "the configuration says otherwise, and will again at the next start"
                );
            }
        }
    }
}

fn settings(accounts: &Accounts, vhost: &Arc<str>) -> VhostSettings {
    let owner = LimitOwner::Vhost(Arc::clone(vhost));
    let row = accounts.vhost(vhost);
    VhostSettings {
        default_queue_type: row.and_then(|row| row.default_queue_type.clone()),
        queues_max: accounts.limits().get(&owner, LimitedResource::Queues),
    }
}

#[cfg(test)]
mod tests;
