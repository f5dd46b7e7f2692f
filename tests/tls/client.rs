//! A blocking AMQP client over any stream, which says what it means to.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use leveret::amqp::frame::{self, FrameKind};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use crate::authority::{Authority, Identity};
use crate::bytes::{Fields, Reader, entry, method};
use crate::support::DEADLINE;

pub type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Both versions, the newer one first.
pub const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// Connected, with deadlines.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// A TLS client that trusts the authority. What stands before its first message goes out with that in one piece.
pub fn tls_after(
    before: &[u8],
    mut stream: TcpStream,
    authority: &Authority,
    identity: Option<&Identity>,
    versions: &[&'static SupportedProtocolVersion],
) -> io::Result<Tls> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.root()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => builder
            .with_client_auth_cert(vec![identity.certificate.clone()], identity.key.clone_key())
            .unwrap(),
    };
    let name = ServerName::try_from("localhost").unwrap();
    let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut first = before.to_vec();
    session.write_tls(&mut first)?;
    stream.write_all(&first)?;
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(session, stream))
}

/// A TLS client that trusts the authority.
pub fn tls(address: SocketAddr, authority: &Authority, identity: Option<&Identity>) -> io::Result<Tls> {
    tls_after(b"", connect(address), authority, identity, VERSIONS)
}

/// The certificate that the broker showed.
pub fn shown(stream: &Tls) -> CertificateDer<'static> {
    let certificates = stream.conn.peer_certificates().unwrap();
    certificates[0].clone().into_owned()
}

/// How a login went.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Tune {
        heartbeat: u16,
    },
    /// Reply code and text.
    Close(u16, String),
}

impl Answer {
    /// The login was refused, for a reason that is in the log only.
    pub fn refusal(mechanism: &str) -> Self {
        let text = format!(
            "ACCESS_REFUSED - Login was refused using authentication mechanism {mechanism}. For details see the \
             broker logfile."
        );
        Self::Close(403, text)
    }

    pub fn is_tune(&self) -> bool {
        matches!(self, Self::Tune { .. })
    }
}

/// An AMQP client.
pub struct Client<S> {
    pub stream: S,
    /// What connection.start offered.
    pub mechanisms: String,
    input: Vec<u8>,
}

impl<S: Read + Write> Client<S> {
    /// Sends the protocol header and reads connection.start.
    pub fn greet(stream: S) -> io::Result<Self> {
        let mut client = Self {
            stream,
            mechanisms: String::new(),
            input: Vec::new(),
        };
        client.stream.write_all(b"AMQP\0\0\x09\x01")?;
        let start = client.expect((10, 10))?;
        let mut reader = Reader(&start);
        assert_eq!((reader.u8(), reader.u8()), (0, 9));
        reader.long();
        client.mechanisms = String::from_utf8(reader.long().to_vec()).unwrap();
        Ok(client)
    }

    /// Logs in, as a client that reads a close at this point.
    pub fn log_in(&mut self, mechanism: &str, response: &str) -> Answer {
        let capability = entry("authentication_failure_close", b't', &[1]);
        let properties = entry("capabilities", b'F', &Fields::default().long(capability).bytes());
        let start_ok = method(10, 11).long(properties).short(mechanism);
        self.send(&start_ok.long(response).short("en_US").on(0));
        let (id, arguments) = self.method().unwrap();
        match id {
            (10, 30) => {
                let mut reader = Reader(&arguments);
                reader.u16();
                reader.u32();
                Answer::Tune {
                    heartbeat: reader.u16(),
                }
            }
            (10, 50) => {
                let mut reader = Reader(&arguments);
                let code = reader.u16();
                Answer::Close(code, reader.text())
            }
            other => panic!("the broker answered with {other:?}"),
        }
    }

    /// After a login: opens the vhost and channel 1. The broker's reply text if it refuses.
    pub fn open(&mut self, vhost: &str) -> Result<(), String> {
        self.send(&method(10, 31).u16(2047).u32(131_072).u16(0).on(0));
        self.send(&method(10, 40).short(vhost).short("").u8(0).on(0));
        match self.method().unwrap() {
            ((10, 41), _) => {}
            (_, arguments) => {
                let mut reader = Reader(&arguments);
                reader.u16();
                return Err(reader.text());
            }
        }
        self.send(&method(20, 10).short("").on(1));
        self.expect((20, 11)).unwrap();
        Ok(())
    }

    /// Sends and waits for this method; returns its arguments.
    pub fn call(&mut self, bytes: &[u8], id: (u16, u16)) -> Vec<u8> {
        self.send(bytes);
        self.expect(id).unwrap()
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.stream.flush().unwrap();
    }

    /// The body of the message whose header comes next.
    pub fn body(&mut self) -> Vec<u8> {
        let (_, header) = self.frame().unwrap();
        let mut reader = Reader(&header[4..]);
        let size = reader.u64();
        let mut body = Vec::new();
        while (body.len() as u64) < size {
            body.extend(self.frame().unwrap().1);
        }
        body
    }

    fn expect(&mut self, id: (u16, u16)) -> io::Result<Vec<u8>> {
        let (found, arguments) = self.method()?;
        assert_eq!(found, id);
        Ok(arguments)
    }

    fn method(&mut self) -> io::Result<((u16, u16), Vec<u8>)> {
        let (kind, payload) = self.frame()?;
        assert_eq!(kind, FrameKind::Method);
        let mut reader = Reader(&payload);
        let id = (reader.u16(), reader.u16());
        Ok((id, payload[4..].to_vec()))
    }

    /// Kind and payload of the next frame; an error when the broker hung up.
    fn frame(&mut self) -> io::Result<(FrameKind, Vec<u8>)> {
        loop {
            if let Some((found, len)) = frame::parse(&self.input, u32::MAX).unwrap() {
                let frame = (found.kind, found.payload.to_vec());
                self.input.drain(..len);
                return Ok(frame);
            }
            let mut buffer = [0; 16_384];
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                len => self.input.extend(&buffer[..len]),
            }
        }
    }
}
