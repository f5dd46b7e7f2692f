//! Accepting connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::rustls::ServerConfig;
use tracing::{debug, error, warn};

use crate::broker::Broker;
use crate::connection::{Connection, Peer, Settings};

use super::driver;
use super::entrance::Entrance;
use super::preamble::{self, PreambleError};
use super::turns::Turn;

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

/// What is spoken on a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// AMQP as it is.
    Plain,
    /// AMQP within TLS.
    Tls,
}

/// A socket that is listened on.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    transport: Transport,
}

impl Listener {
    /// Listens on the address. Where there is no IPv6, `[::]` is all of IPv4.
    ///
    /// # Errors
    /// When the address is in use or not ours.
    pub fn bind(address: SocketAddr, transport: Transport) -> Result<Self, BindError> {
        let socket = match listen(address) {
            Err(_) if is_any_v6(address) => listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()))),
            done => done,
        };
        let failed = |source| BindError { address, source };
        let socket = TcpListener::from_std(socket.map_err(failed)?.into()).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self {
            socket,
            address,
            transport,
        })
    }

    /// The address, with the port that the system chose if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections and drives them until `stop` turns true and all of them have ended. Beyond what the terms
    /// allow, new ones are closed at once.
    pub async fn serve(self, entrance: Arc<Entrance>, mut stop: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
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
                Ok((stream, address)) => {
                    // Small frames go out when they are due; batching is the connection's own.
                    stream.set_nodelay(true).ok();
                    self.welcome(stream, address, &entrance, &stop, &mut connections);
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.socket);
        while connections.join_next().await.is_some() {}
    }

    fn welcome(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        entrance: &Arc<Entrance>,
        stop: &watch::Receiver<bool>,
        connections: &mut JoinSet<()>,
    ) {
        let terms = entrance.terms();
        let connections_max = terms.connections_max;
        let Some(place) = entrance.place(connections_max) else {
            warn!(peer = %address, connections_max, "connection refused: the limit is reached");
            return;
        };
        let now = Instant::now();
        let is_proxied = terms.trusts_proxy(address.ip());
        if self.transport == Transport::Plain && !is_proxied {
            let (broker, settings) = (Arc::clone(&entrance.broker), Arc::clone(&terms.settings));
            let connection = Connection::new(broker, settings, address, now.into_std());
            let turn = entrance.turns.place();
            connections.spawn(async move {
                let _place = place;
                driver::drive(stream, connection, turn).await;
            });
            return;
        }
        let newcomer = Newcomer {
            address,
            is_proxied,
            tls: (self.transport == Transport::Tls).then(|| {
                terms
                    .tls
                    .clone()
                    .expect("there is no TLS listener without a certificate")
            }),
            broker: Arc::clone(&entrance.broker),
            settings: Arc::clone(&terms.settings),
            turn: entrance.turns.place(),
            now,
            stop: stop.clone(),
        };
        connections.spawn(async move {
            let _place = place;
            newcomer.come_in(stream).await;
        });
    }
}

/// A connection that has something to say before AMQP.
struct Newcomer {
    address: SocketAddr,
    is_proxied: bool,
    tls: Option<Arc<ServerConfig>>,
    broker: Arc<Broker>,
    settings: Arc<Settings>,
    turn: Turn,
    /// When it was accepted: its time for all of the handshake runs from here.
    now: Instant,
    stop: watch::Receiver<bool>,
}

impl Newcomer {
    async fn come_in(mut self, mut stream: TcpStream) {
        let end = self.now + self.settings.handshake_timeout;
        if self.is_proxied {
            let Some(source) = self.until(end, preamble::proxied(&mut stream)).await else {
                return;
            };
            if let Some(source) = source {
                debug!(proxy = %self.address, peer = %source, "a proxy passes a connection on");
                self.address = source;
            }
        }
        let Some(tls) = self.tls.take() else {
            let peer = Peer::from(self.address);
            return self.drive(stream, peer).await;
        };
        let handshake = preamble::encrypted(stream, tls, self.address);
        if let Some((stream, peer)) = self.until(end, handshake).await {
            self.drive(stream, peer).await;
        }
    }

    /// What the peer's side of this comes to, if it does so in time and before the broker stops.
    async fn until<T>(
        &mut self,
        end: Instant,
        step: impl Future<Output = Result<T, PreambleError>>,
    ) -> Option<T> {
        let address = self.address;
        let done = tokio::select! {
            done = timeout_at(end, step) => done,
            _ = self.stop.wait_for(|stop| *stop) => return None,
        };
        match done {
            Ok(Ok(done)) => return Some(done),
            Ok(Err(error @ PreambleError::Nothing)) => debug!(peer = %address, "{error}"),
            Ok(Err(error)) => warn!(peer = %address, "connection refused: {error}"),
            Err(_) => warn!(peer = %address, "connection refused: its handshake took too long"),
        }
        None
    }

    async fn drive<S: AsyncRead + AsyncWrite + Unpin>(self, stream: S, peer: Peer) {
        let connection = Connection::new(self.broker, self.settings, peer, self.now.into_std());
        // A broker that stops closes the connections that it knows; this one it may have missed.
        if !*self.stop.borrow() {
            driver::drive(stream, connection, self.turn).await;
        }
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
