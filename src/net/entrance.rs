//! What all listeners share: the broker, the terms for new connections, and the count of those that are open.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ipnet::IpNet;
use parking_lot::RwLock;
use tokio_rustls::rustls::ServerConfig;

use crate::broker::Broker;
use crate::connection::Settings;

use super::turns::Turns;

/// What a new connection is given. A change of terms does not touch those that are open.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Limits, and how the broker presents itself.
    pub settings: Arc<Settings>,
    /// For listeners that speak TLS; there are none without it.
    pub tls: Option<Arc<ServerConfig>>,
    /// Proxies whose connections begin with a PROXY protocol header.
    pub proxies: Vec<IpNet>,
    /// Connections that may be open on all listeners; 0 is without limit.
    pub connections_max: u32,
}

/// Where connections come in.
#[derive(Debug)]
pub struct Entrance {
    pub(super) broker: Arc<Broker>,
    pub(super) turns: Turns,
    terms: RwLock<Arc<Terms>>,
    open: AtomicUsize,
}

/// A connection's place among those that may be open, free again when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Entrance>);

impl Entrance {
    /// With the terms to begin with.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(broker: Arc<Broker>, terms: Terms) -> Self {
        Self {
            broker,
            turns: Turns::new(),
            terms: RwLock::new(Arc::new(terms)),
            open: AtomicUsize::new(0),
        }
    }

    /// The terms for those who come now.
    pub fn terms(&self) -> Arc<Terms> {
        Arc::clone(&self.terms.read())
    }

    /// Changes the terms for those who come from now on.
    pub fn set_terms(&self, terms: Terms) {
        *self.terms.write() = Arc::new(terms);
    }

    /// A place for one more connection; none when all are taken.
    pub(super) fn place(self: &Arc<Self>, connections_max: u32) -> Option<Place> {
        let place = Place(Arc::clone(self));
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let is_full = connections_max > 0 && before >= connections_max as usize;
        (!is_full).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Terms {
    /// Whether a PROXY protocol header is read from this address.
    pub(super) fn trusts_proxy(&self, ip: IpAddr) -> bool {
        // A listener on `[::]` sees IPv4 addresses as IPv6 ones.
        let ip = ip.to_canonical();
        self.proxies.iter().any(|network| network.contains(&ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(proxies: &[&str]) -> Terms {
        let (settings, connections_max) = (crate::connection::tests::settings(), 0);
        Terms {
            settings,
            tls: None,
            proxies: proxies.iter().map(|network| network.parse().unwrap()).collect(),
            connections_max,
        }
    }

    #[test]
    fn proxies_are_trusted_by_address_and_network() {
        let terms = terms(&["10.0.0.0/8", "127.0.0.1/32", "fd00::/8"]);
        let rows = [
            ("10.255.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("11.0.0.1", false),
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("127.0.0.2", false),
            ("::1", false),
            ("fd12::1", true),
            ("fe80::1", false),
            ("::10.0.0.1", false),
        ];
        for (ip, trusted) in rows {
            assert_eq!(terms.trusts_proxy(ip.parse().unwrap()), trusted, "{ip}");
        }
    }
}
