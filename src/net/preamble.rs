//! What comes before AMQP's first byte: a proxy's header, then the TLS handshake. Both end by a given time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

use crate::connection::Peer;

use super::proxy::{self, HeaderError};

/// Bytes of a header looked at in one go.
const PEEK: usize = 512;

/// The kind of the record that a TLS client begins with.
const TLS_HANDSHAKE: u8 = 22;

/// Why a connection ended before it spoke AMQP.
#[derive(Debug, thiserror::Error)]
pub enum PreambleError {
    /// The proxy is trusted, its header is not one.
    #[error("{0}; proxies in listeners.proxy_protocol_from must begin every connection with one")]
    Header(#[from] HeaderError),
    /// It does not begin as TLS does.
    #[error("the client does not speak TLS, which this port is for")]
    NotTls,
    /// The TLS handshake failed.
    #[error("the TLS handshake failed: {0}")]
    Tls(io::Error),
    /// The socket failed.
    #[error(transparent)]
    Socket(io::Error),
    /// The peer went without a word, as those do who want to know whether a port is open.
    #[error("the peer hung up before it said anything")]
    Nothing,
    /// The peer went in the middle of a header.
    #[error("the peer hung up within its PROXY protocol header")]
    HeaderEnds,
}

/// Reads the header of a trusted proxy, and nothing of what follows it. Returns where the client is, if it says so.
pub async fn proxied(stream: &mut TcpStream) -> Result<Option<SocketAddr>, PreambleError> {
    let mut header = Vec::new();
    let mut peeked = [0; PEEK];
    loop {
        let count = stream.peek(&mut peeked).await.unwrap_or(0);
        if count == 0 {
            let is_silent = header.is_empty();
            return Err(if is_silent {
                PreambleError::Nothing
            } else {
                PreambleError::HeaderEnds
            });
        }
        let taken = header.len();
        header.extend_from_slice(&peeked[..count]);
        let found = proxy::parse(&header)?;
        // Without a whole header all that was seen is a part of it.
        let end = found.map_or(header.len(), |found| found.len);
        let own = stream.read_exact(&mut peeked[..end - taken]).await;
        own.map_err(PreambleError::Socket)?;
        if let Some(found) = found {
            return Ok(found.source);
        }
    }
}

/// Shakes hands. The peer's certificate is among what is returned, if it showed one; then it was verified.
pub async fn encrypted(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    address: SocketAddr,
) -> Result<(TlsStream<TcpStream>, Peer), PreambleError> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(1) if first[0] == TLS_HANDSHAKE => {}
        Ok(1) => return Err(PreambleError::NotTls),
        _ => return Err(PreambleError::Nothing),
    }
    let stream = TlsAcceptor::from(config)
        .accept(stream)
        .await
        .map_err(PreambleError::Tls)?;
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let peer = Peer {
        address,
        certificate: certificate.map(|certificate| certificate.as_ref().into()),
    };
    Ok((stream, peer))
}
