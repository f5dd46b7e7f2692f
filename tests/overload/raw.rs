//! A connection that costs little: frames are walked, not decoded, and a body is a number and so many bytes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use amq_protocol::protocol::{AMQPClass, basic};

use crate::client::Client;
use crate::storm::PATIENCE;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const FRAME_END: u8 = 0xCE;

/// The payload of a body frame at most.
const BODY_FRAME_BYTES: usize = 100_000;

const READ_BYTES: usize = 256 << 10;

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Delivery(Delivery),
    /// A publish, or all up to it, is confirmed.
    Confirm {
        tag: u64,
        multiple: bool,
    },
    /// An alarm stands, or no more.
    Blocked(bool),
    /// Another method, by class and method id in one number.
    Other(u32),
}

/// A message that came whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub tag: u64,
    pub redelivered: bool,
    /// What stands at both ends of the body.
    pub number: u64,
    pub bytes: usize,
}

/// A message to publish.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing {
    pub is_persistent: bool,
    /// Stands at both ends of the body.
    pub number: u64,
    /// Of the body, at least eight.
    pub bytes: usize,
}

/// The content that is arriving.
#[derive(Debug, Default)]
struct Content {
    delivery: Option<Delivery>,
    missing: usize,
    tail: Vec<u8>,
}

#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    input: Vec<u8>,
    /// Of `input`, what is done with.
    used: usize,
    content: Content,
    output: Vec<u8>,
}

impl Raw {
    /// Goes on with a client's socket, on channel 1.
    pub fn new(client: Client) -> Self {
        let stream = client.into_stream();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            input: Vec::new(),
            used: 0,
            content: Content::default(),
            output: Vec::new(),
        }
    }

    /// Consumes on channel 1; `prefetch` 0 is unlimited.
    pub fn consume(mut client: Client, queue: &str, prefetch: u16, no_ack: bool) -> Self {
        client.qos(prefetch).unwrap();
        client.send(AMQPClass::Basic(basic::AMQPMethod::Consume(basic::Consume {
            queue: queue.into(),
            no_ack,
            nowait: true,
            ..basic::Consume::default()
        })));
        client.flush().unwrap();
        Self::new(client)
    }

    /// Adds to what [`Raw::flush`] writes.
    pub fn publish(&mut self, exchange: &str, key: &str, message: Outgoing) {
        encode(&mut self.output, exchange, key, message);
    }

    pub fn ack(&mut self, tag: u64, multiple: bool) {
        let [t0, t1, t2, t3, t4, t5, t6, t7] = tag.to_be_bytes();
        let ack = [0, 60, 0, 80, t0, t1, t2, t3, t4, t5, t6, t7, multiple.into()];
        frame(&mut self.output, METHOD, &ack);
    }

    pub fn flush(&mut self) -> io::Result<()> {
        let output = std::mem::take(&mut self.output);
        self.stream.write_all(&output)
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The next delivery, if one comes soon.
    pub fn poll(&mut self) -> Option<Delivery> {
        self.stream
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let seen = self.next();
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match seen {
            Ok(Seen::Delivery(delivery)) => Some(delivery),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            other => panic!("a delivery was due, not {other:?}"),
        }
    }

    /// The next delivery; nothing else may come.
    pub fn delivery(&mut self) -> Delivery {
        match self.next() {
            Ok(Seen::Delivery(delivery)) => delivery,
            other => panic!("a delivery was due, not {other:?}"),
        }
    }

    /// Waits for what comes next. What was written before has to be flushed.
    pub fn next(&mut self) -> io::Result<Seen> {
        loop {
            if let Some(seen) = self.walk() {
                return Ok(seen);
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        self.input.drain(..self.used);
        self.used = 0;
        let mut bytes = vec![0; READ_BYTES];
        match self.stream.read(&mut bytes)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            len => {
                self.input.extend_from_slice(&bytes[..len]);
                Ok(())
            }
        }
    }

    /// Walks whole frames as far as the next thing worth telling.
    fn walk(&mut self) -> Option<Seen> {
        loop {
            let rest = &self.input[self.used..];
            let size = u32::from_be_bytes(rest.get(3..7)?.try_into().ok()?) as usize;
            let payload = rest.get(7..7 + size)?;
            assert_eq!(*rest.get(7 + size)?, FRAME_END, "the frame ends");
            let seen = match rest[0] {
                METHOD => self.content.method(payload),
                HEADER => self.content.header(payload),
                BODY => self.content.body(payload),
                _ => None,
            };
            self.used += size + 8;
            if seen.is_some() {
                return seen;
            }
        }
    }
}

impl Content {
    fn method(&mut self, payload: &[u8]) -> Option<Seen> {
        let id = u32::from_be_bytes(payload[..4].try_into().unwrap());
        let long = |at: usize| u64::from_be_bytes(payload[at..at + 8].try_into().unwrap());
        match id {
            0x003C_003C => {
                let at = 5 + usize::from(payload[4]);
                self.delivery = Some(Delivery {
                    tag: long(at),
                    redelivered: payload[at + 8] != 0,
                    number: 0,
                    bytes: 0,
                });
                None
            }
            0x003C_0050 => Some(Seen::Confirm {
                tag: long(4),
                multiple: payload[12] != 0,
            }),
            0x000A_003C => Some(Seen::Blocked(true)),
            0x000A_003D => Some(Seen::Blocked(false)),
            // consume-ok
            0x003C_0015 => None,
            _ => Some(Seen::Other(id)),
        }
    }

    fn header(&mut self, payload: &[u8]) -> Option<Seen> {
        let size = u64::from_be_bytes(payload[4..12].try_into().unwrap());
        self.missing = usize::try_from(size).unwrap();
        let delivery = self.delivery.as_mut().expect("a method comes before its header");
        delivery.bytes = self.missing;
        self.tail.clear();
        self.complete()
    }

    fn body(&mut self, payload: &[u8]) -> Option<Seen> {
        let delivery = self.delivery.as_mut().expect("a header comes before its body");
        if self.missing == delivery.bytes {
            delivery.number = u64::from_be_bytes(payload[..8].try_into().unwrap());
        }
        self.missing = self
            .missing
            .checked_sub(payload.len())
            .expect("no body is too long");
        self.tail
            .extend_from_slice(&payload[payload.len().saturating_sub(8)..]);
        self.complete()
    }

    fn complete(&mut self) -> Option<Seen> {
        if self.missing > 0 {
            return None;
        }
        let delivery = self.delivery.take().expect("it is there");
        assert!(
            self.tail.ends_with(&delivery.number.to_be_bytes()),
            "the body is whole"
        );
        Some(Seen::Delivery(delivery))
    }
}

/// The frames of a publish.
pub fn encode(output: &mut Vec<u8>, exchange: &str, key: &str, message: Outgoing) {
    let Outgoing {
        is_persistent,
        number,
        bytes,
    } = message;
    let mut publish = vec![0, 60, 0, 40, 0, 0];
    for name in [exchange, key] {
        publish.push(u8::try_from(name.len()).unwrap());
        publish.extend_from_slice(name.as_bytes());
    }
    publish.push(0);
    frame(output, METHOD, &publish);
    let mut header = vec![0, 60, 0, 0];
    header.extend_from_slice(&(bytes as u64).to_be_bytes());
    header.extend_from_slice(&[0x10, 0, if is_persistent { 2 } else { 1 }]);
    frame(output, HEADER, &header);
    let mut body = vec![0x5A; bytes];
    body[..8].copy_from_slice(&number.to_be_bytes());
    body[bytes - 8..].copy_from_slice(&number.to_be_bytes());
    for part in body.chunks(BODY_FRAME_BYTES) {
        frame(output, BODY, part);
    }
}

fn frame(output: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    output.extend_from_slice(&[kind, 0, 1]);
    output.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
    output.extend_from_slice(payload);
    output.push(FRAME_END);
}
