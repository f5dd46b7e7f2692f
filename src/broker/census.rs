//! The connections that there are: where to reach them, what they have opened, and whether there may be more.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustc_hash::FxHashMap;

use crate::store::access::{LimitOwner, LimitedResource};

use super::outbox::Outbox;
use super::permission::Rights;
use super::user::User;
use super::vhost::Vhost;
use super::{Broker, ConnectionId};

/// All connections, and counts of what they have opened.
#[derive(Debug, Default)]
pub(super) struct Census {
    connections: FxHashMap<ConnectionId, Registered>,
    users: FxHashMap<Arc<str>, Count>,
    vhosts: FxHashMap<Arc<str>, usize>,
    all: Count,
}

#[derive(Debug)]
struct Registered {
    outbox: Arc<Outbox>,
    /// User and virtual host, once it has opened one.
    opened: Option<(Arc<str>, Arc<str>)>,
    channels: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// Those that have opened a virtual host.
    connections: usize,
    channels: usize,
}

/// What a connection gets that opens a virtual host.
#[derive(Debug)]
pub struct Opened {
    /// The virtual host.
    pub vhost: Arc<Vhost>,
    /// Who it is.
    pub user: Arc<User>,
    /// What the user may do there.
    pub rights: Arc<Rights>,
    /// As of when: see [`Broker::accounts_version`].
    pub accounts_version: u64,
}

/// Why a connection does not get a virtual host, or not another channel. The texts are RabbitMQ's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdmissionRefused {
    /// So many connections are open on the node.
    NodeConnections(usize),
    /// There is no such virtual host.
    NoVhost,
    /// So many connections are open in the virtual host.
    VhostConnections(u32),
    /// So many connections are open for the user.
    UserConnections(u32),
    /// The user has no business there, or is gone.
    NoPermission,
    /// So many channels are open for the user.
    UserChannels(u32),
    /// So many channels are open on the node of this name.
    NodeChannels(String, usize),
}

impl Broker {
    /// Opens a virtual host for a connection, which counts from now on until [`Broker::leave`].
    ///
    /// # Errors
    /// In RabbitMQ's order: limit of the node, virtual host and its limit, the user's limit, permission.
    pub fn open(&self, id: ConnectionId, user: &str, vhost: &str) -> Result<Opened, AdmissionRefused> {
        // Held until it is registered: whoever deletes the vhost or the user finds the connection, or it finds
        // them deleted.
        let vhosts = self.vhosts.read();
        let (accounts, accounts_version) = self.accounts_and_version();
        let mut census = self.census.lock();
        let max = self.connections_max.load(Ordering::Relaxed);
        if max > 0 && census.all.connections >= max {
            return Err(AdmissionRefused::NodeConnections(max));
        }
        let vhost = vhosts.get(vhost).ok_or(AdmissionRefused::NoVhost)?;
        let limit = |owner| accounts.limits().get(&owner, LimitedResource::Connections);
        let in_vhost = census.vhosts.get(&vhost.name).copied().unwrap_or(0);
        if let Some(max) =
            limit(LimitOwner::Vhost(Arc::clone(&vhost.name))).filter(|max| reached(in_vhost, *max))
        {
            return Err(AdmissionRefused::VhostConnections(max));
        }
        let of_user = census.of_user(user).connections;
        if let Some(max) = limit(LimitOwner::User(user.into())).filter(|max| reached(of_user, *max)) {
            return Err(AdmissionRefused::UserConnections(max));
        }
        let user = accounts.user(user).ok_or(AdmissionRefused::NoPermission)?;
        let rights = accounts.rights(&user.name, &vhost.name);
        if !rights.may_open() {
            return Err(AdmissionRefused::NoPermission);
        }
        census.enter(id, Arc::clone(&user.name), Arc::clone(&vhost.name));
        Ok(Opened {
            vhost: Arc::clone(vhost),
            user: Arc::clone(user),
            rights,
            accounts_version,
        })
    }

    /// From now on so many connections may be open on the node; 0 is without limit.
    pub fn set_connections_max(&self, max: usize) {
        self.connections_max.store(max, Ordering::Relaxed);
    }

    /// A connection opens a channel, which counts until [`Broker::close_channel`] or [`Broker::leave`].
    ///
    /// # Errors
    /// When the user, or the node, has as many as there may be.
    pub fn open_channel(&self, id: ConnectionId) -> Result<(), AdmissionRefused> {
        let accounts = self.accounts();
        let mut census = self.census.lock();
        let max = self.node_limits.channels;
        if max > 0 && census.all.channels >= max {
            let node = self.node_limits.node.clone();
            return Err(AdmissionRefused::NodeChannels(node, max));
        }
        let opened = census.connections.get(&id).and_then(|own| own.opened.clone());
        if let Some((user, _)) = opened {
            let channels = census.of_user(&user).channels;
            let limit = accounts
                .limits()
                .get(&LimitOwner::User(user), LimitedResource::Channels);
            if let Some(max) = limit.filter(|max| reached(channels, *max)) {
                return Err(AdmissionRefused::UserChannels(max));
            }
        }
        census.channels(id, 1);
        Ok(())
    }

    /// A connection has closed a channel.
    pub fn close_channel(&self, id: ConnectionId) {
        self.census.lock().channels(id, -1);
    }

    /// A connection has left its virtual host: neither it nor its channels count any more.
    pub fn leave(&self, id: ConnectionId) {
        self.census.lock().leave(id);
    }
}

impl Census {
    pub(super) fn connect(&mut self, id: ConnectionId, outbox: Arc<Outbox>) {
        let registered = Registered {
            outbox,
            opened: None,
            channels: 0,
        };
        self.connections.insert(id, registered);
    }

    pub(super) fn disconnect(&mut self, id: ConnectionId) {
        self.leave(id);
        self.connections.remove(&id);
    }

    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    /// The outboxes of all connections whose user and virtual host this agrees to; without one there is neither.
    pub(super) fn outboxes(&self, is_meant: impl Fn(Option<(&str, &str)>) -> bool) -> Vec<Arc<Outbox>> {
        let is_meant = |own: &&Registered| {
            let opened = own.opened.as_ref();
            is_meant(opened.map(|(user, vhost)| (&**user, &**vhost)))
        };
        let meant = self.connections.values().filter(is_meant);
        meant.map(|own| Arc::clone(&own.outbox)).collect()
    }

    fn of_user(&self, user: &str) -> Count {
        self.users.get(user).copied().unwrap_or_default()
    }

    fn enter(&mut self, id: ConnectionId, user: Arc<str>, vhost: Arc<str>) {
        let own = self
            .connections
            .get_mut(&id)
            .expect("a connection is registered before it opens");
        own.opened = Some((Arc::clone(&user), Arc::clone(&vhost)));
        self.users.entry(user).or_default().connections += 1;
        *self.vhosts.entry(vhost).or_default() += 1;
        self.all.connections += 1;
    }

    fn leave(&mut self, id: ConnectionId) {
        let Some(own) = self.connections.get_mut(&id) else {
            return;
        };
        let (opened, channels) = (own.opened.take(), std::mem::take(&mut own.channels));
        let Some((user, vhost)) = opened else { return };
        self.all.connections -= 1;
        self.all.channels -= channels;
        let in_vhost = self.vhosts.get_mut(&vhost).expect("it was counted");
        *in_vhost -= 1;
        if *in_vhost == 0 {
            self.vhosts.remove(&vhost);
        }
        let of_user = self.users.get_mut(&user).expect("it was counted");
        of_user.connections -= 1;
        of_user.channels -= channels;
        if of_user.connections == 0 {
            self.users.remove(&user);
        }
    }

    /// Adds to the channels of a connection that has opened a virtual host.
    fn channels(&mut self, id: ConnectionId, change: isize) {
        let Some(own) = self.connections.get_mut(&id) else {
            return;
        };
        let Some((user, _)) = &own.opened else { return };
        let of_user = self.users.get_mut(user).expect("it was counted");
        for count in [&mut own.channels, &mut of_user.channels, &mut self.all.channels] {
            *count = count.checked_add_signed(change).expect("what closes was open");
        }
    }
}

fn reached(count: usize, max: u32) -> bool {
    count >= max as usize
}

impl AdmissionRefused {
    /// The explanation, as RabbitMQ words it, for this user and virtual host.
    pub fn explanation(&self, user: &str, vhost: &str) -> String {
        match self {
            Self::NodeConnections(max) => {
                format!("connection refused: node connection limit ({max}) is reached")
            }
            Self::NoVhost => format!("vhost {vhost} not found"),
            Self::VhostConnections(max) => format!(
                "access to vhost '{vhost}' refused for user '{user}': connection limit ({max}) is reached"
            ),
            Self::UserConnections(max) => {
                format!("connection refused for user '{user}': user connection limit ({max}) is reached")
            }
            Self::NoPermission => format!("access to vhost '{vhost}' refused for user '{user}'"),
            Self::UserChannels(max) => format!(
                "number of channels opened for user '{user}' has reached the maximum allowed user limit of ({max})"
            ),
            Self::NodeChannels(node, max) => format!(
                "number of channels opened on node '{node}' has reached the maximum allowed limit of ({max})"
            ),
        }
    }
}
