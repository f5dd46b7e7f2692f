//! A blocking client that hides nothing: bytes out, frames in.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use leveret::amqp::frame::{self, FrameKind};

use crate::bytes::{Fields, Reader, channel_open, entry, method};
use crate::support::{DEADLINE, TestServer, drip};

/// Two vhosts, and users who may do one thing each.
const CONFIG: &str = r#"
[[vhosts]]
name = "/"
[[vhosts]]
name = "other"
[[users]]
name = "guest"
password = "guest"
tags = ["administrator"]
permissions = [
    { vhost = "/", configure = ".*", write = ".*", read = ".*" },
    { vhost = "other", configure = ".*", write = ".*", read = ".*" },
]
[[users]]
name = "impersonator"
password = "guest"
tags = ["impersonator"]
permissions = [{ vhost = "/", configure = ".*", write = ".*", read = ".*" }]
[[users]]
name = "configure"
password = "guest"
permissions = [{ vhost = "/", configure = ".*", write = "^$", read = "^$" }]
[[users]]
name = "write"
password = "guest"
permissions = [{ vhost = "/", configure = "^$", write = ".*", read = "^$" }]
[[users]]
name = "read"
password = "guest"
permissions = [{ vhost = "/", configure = "^$", write = "^$", read = ".*" }]
[[users]]
name = "none"
password = "guest"
permissions = [{ vhost = "/", configure = "^$", write = "^$", read = "^$" }]
"#;

/// The broker that tests running at the same time share; it ends with the last of them.
pub fn server() -> Arc<TestServer> {
    static SHARED: Mutex<Weak<TestServer>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(TestServer::with_config(CONFIG));
    *shared = Arc::downgrade(&server);
    server
}

/// How to log in.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    pub user: &'a str,
    pub vhost: &'a str,
    pub capabilities: &'a [&'a str],
    pub channel_max: u16,
    pub frame_max: u32,
    pub heartbeat: u16,
}

impl Default for Login<'_> {
    fn default() -> Self {
        let capabilities = &[
            "consumer_cancel_notify",
            "connection.blocked",
            "authentication_failure_close",
        ];
        Self {
            user: "guest",
            vhost: "/",
            capabilities,
            channel_max: 2047,
            frame_max: 131_072,
            heartbeat: 0,
        }
    }
}

/// A frame that the broker sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub channel: u16,
    pub payload: Vec<u8>,
}

impl Frame {
    /// Class and method; (0, 0) for other frames.
    pub fn id(&self) -> (u16, u16) {
        if self.kind != 1 {
            return (0, 0);
        }
        let mut reader = Reader(&self.payload);
        (reader.u16(), reader.u16())
    }
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The arguments of the method before it.
    pub arguments: Vec<u8>,
    /// Flags and values.
    pub properties: Vec<u8>,
    pub body: Vec<u8>,
}

pub struct Client {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Client {
    /// Connected, and nothing said.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self {
            stream,
            input: Vec::new(),
        }
    }

    /// With connection.start received.
    pub fn greeted(address: SocketAddr) -> Self {
        let mut client = Self::connect(address);
        client.send(b"AMQP\0\0\x09\x01");
        client.expect(0, (10, 10));
        client
    }

    /// With connection.tune received.
    pub fn authenticated(address: SocketAddr, login: &Login<'_>) -> Self {
        let mut client = Self::greeted(address);
        client.send(&start_ok(
            "PLAIN",
            format!("\0{}\0guest", login.user),
            login.capabilities,
        ));
        client.expect(0, (10, 30));
        client
    }

    /// In a vhost.
    pub fn login(address: SocketAddr, login: &Login<'_>) -> Self {
        let mut client = Self::authenticated(address, login);
        client.send(&tune_ok(login.channel_max, login.frame_max, login.heartbeat));
        client.call(&open(login.vhost), 0, (10, 41));
        client
    }

    /// As guest in `/`, with channel 1.
    pub fn open(address: SocketAddr) -> Self {
        Self::login(address, &Login::default()).with_channel()
    }

    /// As another user in `/`, with channel 1.
    pub fn open_as(address: SocketAddr, user: &str) -> Self {
        Self::login(
            address,
            &Login {
                user,
                ..Login::default()
            },
        )
        .with_channel()
    }

    pub fn with_channel(mut self) -> Self {
        self.call(&channel_open(1), 1, (20, 11));
        self
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends, though the broker may have hung up already.
    pub fn send_carelessly(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes));
    }

    /// Sends, unless the broker takes nothing more.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// How long a send may take.
    pub fn set_write_timeout(&mut self, timeout: Duration) {
        self.stream.set_write_timeout(Some(timeout)).unwrap();
    }

    /// Says one byte now and then until the broker hangs up; all that it said.
    pub fn drip(self, byte: u8) -> Vec<u8> {
        [self.input, drip(self.stream, byte)].concat()
    }

    /// Says that nothing more will come.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Reads into the buffer; false at the end, whether with FIN or RST.
    fn read_more(&mut self) -> bool {
        let mut buffer = [0; 16384];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(len) => {
                self.input.extend(&buffer[..len]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => false,
            Err(error) => panic!("nothing came: {error}; so far {:?}", self.input),
        }
    }

    /// The next frame; `None` when the broker hung up.
    pub fn any_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((found, len)) = frame::parse(&self.input, u32::MAX).unwrap() {
                let kind = match found.kind {
                    FrameKind::Method => 1,
                    FrameKind::Header => 2,
                    FrameKind::Body => 3,
                    FrameKind::Heartbeat => 8,
                };
                let frame = Frame {
                    kind,
                    channel: found.channel,
                    payload: found.payload.to_vec(),
                };
                self.input.drain(..len);
                return Some(frame);
            }
            if !self.read_more() {
                return None;
            }
        }
    }

    /// The next frame that is no heartbeat; `None` when the broker hung up.
    pub fn frame(&mut self) -> Option<Frame> {
        loop {
            let frame = self.any_frame()?;
            if frame.kind != 8 {
                return Some(frame);
            }
        }
    }

    /// All that comes until the broker hangs up.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.read_more() {}
        std::mem::take(&mut self.input)
    }

    /// The broker says nothing more and hangs up.
    #[track_caller]
    pub fn expect_end(&mut self) {
        assert_eq!(self.frame(), None, "the broker has more to say");
    }

    /// The next frame is this method; returns its arguments.
    #[track_caller]
    pub fn expect(&mut self, channel: u16, id: (u16, u16)) -> Vec<u8> {
        let Some(frame) = self.frame() else {
            panic!("the broker hung up instead of {id:?}")
        };
        let shown = String::from_utf8_lossy(&frame.payload);
        assert_eq!((frame.channel, frame.id()), (channel, id), "{shown:?}");
        frame.payload[4..].to_vec()
    }

    /// Sends and expects this method; returns its arguments.
    #[track_caller]
    pub fn call(&mut self, bytes: &[u8], channel: u16, id: (u16, u16)) -> Vec<u8> {
        self.send(bytes);
        self.expect(channel, id)
    }

    /// The next frames on channel 1 are this method with a message.
    #[track_caller]
    pub fn message(&mut self, id: (u16, u16)) -> Message {
        let arguments = self.expect(1, id);
        let header = self.frame().unwrap();
        assert_eq!((header.kind, header.channel), (2, 1));
        let mut reader = Reader(&header.payload);
        assert_eq!((reader.u16(), reader.u16()), (60, 0));
        let size = reader.u64();
        let properties = reader.0.to_vec();
        let mut body = Vec::new();
        while (body.len() as u64) < size {
            let frame = self.frame().unwrap();
            assert_eq!((frame.kind, frame.channel), (3, 1));
            assert!(frame.payload.len() <= 131_072 - 8, "a frame larger than agreed");
            body.extend(frame.payload);
        }
        Message {
            arguments,
            properties,
            body,
        }
    }

    /// The next frames are a delivery; returns tag, redelivered, and body.
    #[track_caller]
    pub fn delivery(&mut self) -> (u64, bool, String) {
        let message = self.message((60, 60));
        let mut reader = Reader(&message.arguments);
        reader.short();
        (
            reader.u64(),
            reader.u8() == 1,
            String::from_utf8(message.body).unwrap(),
        )
    }

    /// basic.get with acks: the body, or `None` when empty.
    #[track_caller]
    pub fn get(&mut self, queue: &str) -> Option<(u64, bool, String)> {
        self.send(&crate::bytes::get(queue, false));
        self.got()
    }

    #[track_caller]
    fn got(&mut self) -> Option<(u64, bool, String)> {
        while self.input.len() < 11 {
            assert!(self.read_more(), "the broker hung up");
        }
        if self.input[7..11] == [0, 60, 0, 72] {
            self.expect(1, (60, 72));
            return None;
        }
        let message = self.message((60, 71));
        let mut reader = Reader(&message.arguments);
        Some((
            reader.u64(),
            reader.u8() == 1,
            String::from_utf8(message.body).unwrap(),
        ))
    }

    /// Waits until everything sent on channel 1 is done; what comes before the answer is a failure.
    #[track_caller]
    pub fn sync(&mut self) {
        self.call(&method(20, 20).u8(1).on(1), 1, (20, 21));
    }
}

/// connection.start-ok with these capabilities.
pub fn start_ok(mechanism: &str, response: impl AsRef<[u8]>, capabilities: &[&str]) -> Vec<u8> {
    let entries: Vec<u8> = capabilities
        .iter()
        .flat_map(|name| entry(name, b't', &[1]))
        .collect();
    let properties = entry("capabilities", b'F', &Fields::default().long(entries).bytes());
    let fields = method(10, 11).long(properties).short(mechanism);
    fields.long(response).short("en_US").on(0)
}

/// connection.tune-ok
pub fn tune_ok(channel_max: u16, frame_max: u32, heartbeat: u16) -> Vec<u8> {
    method(10, 31)
        .u16(channel_max)
        .u32(frame_max)
        .u16(heartbeat)
        .on(0)
}

/// connection.open
pub fn open(vhost: &str) -> Vec<u8> {
    method(10, 40).short(vhost).short("").u8(0).on(0)
}
