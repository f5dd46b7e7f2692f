//! Accepting connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::{error, warn};

use crate::broker::Broker;
use crate::connection::{Connection, Settings};

use super::driver;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// How long to wait after accept failed, for lack of file descriptors for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An address that can not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

/// A socket that is listened on.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Listens on the address. Where there is no IPv6, `[::]` is all of IPv4.
    ///
    /// # Errors
    /// When the address is in use or not ours.
    pub fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let listener = match listen(address) {
            Err(_) if is_any_v6(address) => listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()))),
            done => done,
        };
        let failed = |source| BindError { address, source };
        let listener = TcpListener::from_std(listener.map_err(failed)?.into()).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address, with the port that the system chose if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections and drives them until `stop` turns true and all of them have ended.
    /// Beyond `connections_max` (0 is no limit) new ones are closed at once.
    pub async fn serve(
        self,
        broker: Arc<Broker>,
        settings: Arc<Settings>,
        connections_max: u32,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(ended) = connections.join_next() => {
                    if let Err(panic) = ended {
                        error!(%panic, "a connection's task failed");
                    }
                    continue;
                }
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match accepted {
                Ok(_) if *stop.borrow() => break,
                Ok((stream, peer)) => {
                    let is_full = connections_max > 0 && connections.len() >= connections_max as usize;
                    if is_full {
                        warn!(%peer, connections_max, "connection refused: the limit is reached");
                        continue;
                    }
                    // Small frames go out when they are due; batching is the connection's own.
                    stream.set_nodelay(true).ok();
                    let (broker, settings) = (Arc::clone(&broker), Arc::clone(&settings));
                    let connection = Connection::new(broker, settings, peer, Instant::now().into_std());
                    connections.spawn(driver::drive(stream, connection));
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        while connections.join_next().await.is_some() {}
    }
}

fn listen(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if is_any_v6(address) {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn is_any_v6(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}
