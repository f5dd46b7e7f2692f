//! Who is at the other end of a connection, as far as those who move its bytes know.

use std::net::SocketAddr;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client's address, also where a proxy stands between.
    pub address: SocketAddr,
    /// The certificate that the client showed in its TLS handshake and that was verified there, as DER.
    pub certificate: Option<Box<[u8]>>,
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self {
            address,
            certificate: None,
        }
    }
}
