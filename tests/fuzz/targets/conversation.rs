//! One connection and what it hears: bytes go in by pieces, and what comes out has to be AMQP.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use amq_protocol::types::FieldTable;
use leveret::broker::certificate::NameFrom;
use leveret::connection::sasl::Mechanism;
use leveret::connection::{Connection, Settings};

use crate::node::Node;
use crate::wire::Frame;

/// What is proposed in tune, and what the messages of a target may be at most, bytes.
const FRAME_MAX: u32 = 131_072;
const MESSAGE_MAX: usize = 1 << 20;

/// A connection reads nothing more when so much waits to be written; one answer may come on top of it, bytes.
const UNSENT_MAX: usize = (1 << 20) + MESSAGE_MAX + 4096;

/// Methods that a broker sends.
const SAID: &[(u16, &[u16])] = &[
    (10, &[10, 30, 41, 50, 51, 60, 61, 71]),
    (20, &[11, 20, 21, 40, 41]),
    (30, &[11]),
    (40, &[11, 21, 31, 51]),
    (50, &[11, 21, 31, 41, 51]),
    (60, &[11, 21, 30, 31, 50, 60, 71, 72, 80, 111, 120]),
    (85, &[11]),
    (90, &[11, 21, 31]),
];

const REPLY_CODES: [u16; 16] = [
    311, 320, 402, 403, 404, 405, 406, 501, 502, 503, 504, 505, 506, 530, 540, 541,
];

/// Settings with which sessions of real clients come through.
pub fn settings() -> Settings {
    Settings {
        frame_max: FRAME_MAX,
        initial_frame_max: 8192,
        channel_max: 2047,
        heartbeat: 60,
        handshake_timeout: Duration::from_secs(10),
        message_size_max: MESSAGE_MAX as u64,
        pending_bytes_max: 1 << 20,
        mechanisms: vec![Mechanism::Plain, Mechanism::AmqPlain, Mechanism::Anonymous],
        external_name_from: NameFrom::DistinguishedName,
        anonymous_user: Some(String::from("nobody")),
        server_properties: FieldTable::default(),
    }
}

/// A broker for one input.
pub fn node() -> Node {
    let mut node = Node::new(4, 1 << 20);
    node.settings = Arc::new(settings());
    node
}

/// A connection that takes what it is given, and all that it said.
pub struct Conversation<'a> {
    node: &'a Node,
    connection: Connection,
    heard: Vec<u8>,
}

impl<'a> Conversation<'a> {
    pub fn new(node: &'a Node) -> Self {
        Self {
            node,
            connection: node.connect(),
            heard: Vec::new(),
        }
    }

    /// Says all of it in pieces of these lengths, over and over.
    pub fn say(&mut self, mut bytes: &[u8], pieces: &[usize]) {
        let mut pieces = pieces.iter().cycle();
        while !bytes.is_empty() {
            let len = *pieces.next().expect("there is one");
            let (piece, rest) = bytes.split_at(len.clamp(1, bytes.len()));
            if !self.connection.is_finished() && !self.connection.wants_read() {
                self.rest();
            }
            if self.connection.is_finished() {
                return self.is_over(bytes);
            }
            assert!(
                self.connection.wants_read(),
                "it waits for something that does not come"
            );
            self.connection.receive(piece, self.node.now);
            assert!(
                self.connection.output().len() <= UNSENT_MAX,
                "it answers without end"
            );
            bytes = rest;
            // The socket takes what is there only now and then.
            if len > 1 {
                self.listen();
            }
        }
        self.rest();
    }

    /// Disks write, queues read, and the connection does what it can.
    pub fn rest(&mut self) {
        loop {
            self.node.durable.commit_all();
            self.node.spill.commit_all();
            let mut goes_on = self.node.durable.answer_load() | self.node.spill.answer_load();
            self.connection.advance(self.node.now);
            goes_on |= self.listen();
            goes_on |= self.node.durable.pending_groups() + self.node.spill.pending_groups() > 0;
            if !goes_on {
                return;
            }
        }
    }

    fn listen(&mut self) -> bool {
        let output = self.connection.output();
        let len = output.len();
        self.heard.extend_from_slice(output);
        self.connection.wrote(len);
        self.connection.advance(self.node.now);
        len > 0
    }

    /// A connection that has ended takes bytes and says nothing.
    fn is_over(&mut self, bytes: &[u8]) {
        self.listen();
        let said = self.heard.len();
        self.connection.receive(bytes, self.node.now);
        self.rest();
        assert_eq!(self.heard.len(), said, "it has ended");
        assert!(!self.connection.wants_read());
    }

    /// The next timeout comes, and what follows; false if there is none.
    pub fn time_out(&mut self) -> bool {
        let Some(end) = self.connection.next_timeout() else {
            return false;
        };
        self.connection.handle_timeout(end);
        self.rest();
        true
    }

    /// What was heard so far.
    pub fn heard(&self) -> Heard {
        Heard::read(&self.heard)
    }

    /// Hangs up.
    pub fn end(mut self) -> Heard {
        self.connection.terminate();
        self.rest();
        assert!(self.connection.is_finished());
        Heard::read(&self.heard)
    }
}

/// What a connection heard, told apart.
#[derive(Debug, Default, PartialEq)]
pub struct Heard {
    /// Replies on each channel in their order, without deliveries and confirms.
    pub replies: BTreeMap<u16, Vec<Vec<u8>>>,
    /// Publishes that were confirmed, each channel.
    pub confirmed: BTreeMap<u16, BTreeSet<u64>>,
    /// Deliveries.
    pub deliveries: usize,
    /// Code of the broker's connection.close.
    pub closed: Option<u16>,
    /// Bytes in all.
    pub len: usize,
}

impl Heard {
    /// Whether it was among the replies.
    pub fn has(&self, class: u8, method: u8) -> bool {
        let mut replies = self.replies.values().flatten();
        replies.any(|reply| reply.starts_with(&[0, class, 0, method]))
    }

    fn read(bytes: &[u8]) -> Self {
        let mut heard = Self {
            len: bytes.len(),
            ..Self::default()
        };
        let mut rest = bytes.to_vec();
        if rest.starts_with(b"AMQP") {
            assert_eq!(
                rest, b"AMQP\0\0\x09\x01",
                "to others we say who we are, and no more"
            );
            return heard;
        }
        // From the back, so that frames are taken in one go.
        let mut frames = Vec::new();
        while let Some(frame) = Frame::take(&mut rest) {
            assert!(frame.payload.len() <= FRAME_MAX as usize - 8);
            frames.push(frame);
        }
        assert!(rest.is_empty(), "it ends with a part of a frame: {rest:?}");
        let mut dead = BTreeSet::new();
        let mut frames = frames.into_iter();
        while let Some(frame) = frames.next() {
            match frame.kind {
                1 => heard.method(frame, &mut frames, &mut dead),
                8 => assert_eq!((frame.channel, frame.payload.len()), (0, 0)),
                kind => panic!("a frame of kind {kind} without its method"),
            }
        }
        heard
    }

    fn method(&mut self, frame: Frame, frames: &mut impl Iterator<Item = Frame>, dead: &mut BTreeSet<u16>) {
        let (class, method) = frame.id();
        let is_known = |(known, methods): &(u16, &[u16])| *known == class && methods.contains(&method);
        assert!(
            SAID.iter().any(is_known),
            "a broker does not say {class}.{method}"
        );
        assert!(
            self.closed.is_none() || (class, method) == (10, 51),
            "{class}.{method} after close"
        );
        if self.closed.is_some() {
            // Where frames begin in what still comes is anybody's guess.
            return;
        }
        let number = frame.channel;
        assert_eq!(class == 10, number == 0, "{class}.{method} on channel {number}");
        match (class, method) {
            (20, 40) => assert!(dead.insert(number), "channel {number} is closed twice"),
            (20, 11 | 41) => {
                dead.remove(&number);
            }
            _ => assert!(
                !dead.contains(&number),
                "{class}.{method} on closed channel {number}"
            ),
        }
        let mut reply = frame.payload;
        match (class, method) {
            (10, 50) | (20, 40) => {
                let code = u16::from_be_bytes([reply[4], reply[5]]);
                assert!(REPLY_CODES.contains(&code), "{code}");
                let end = 7 + usize::from(reply[6]);
                assert!(str::from_utf8(&reply[7..end]).is_ok());
                assert_eq!(reply.len(), end + 4);
                if class == 10 {
                    self.closed = Some(code);
                }
            }
            (60, 50 | 60 | 71) => reply.extend(content(number, frames)),
            (60, 80 | 120) => {
                let tag = u64::from_be_bytes(reply[4..12].try_into().expect("eight bytes"));
                let confirmed = self.confirmed.entry(number).or_default();
                // Nacks of later publishes may have come before an ack that is for all up to this one.
                let first = if reply[12] & 1 == 0 { tag } else { 1 };
                confirmed.extend(first..=tag);
                return;
            }
            _ => {}
        }
        if (class, method) == (60, 60) {
            self.deliveries += 1;
        } else {
            self.replies.entry(number).or_default().push(reply);
        }
    }
}

/// A content as it came: header frame, then body frames until it is whole.
fn content(number: u16, frames: &mut impl Iterator<Item = Frame>) -> Vec<u8> {
    let mut next = |kind| {
        let frame = frames.next().expect("a content is whole");
        assert_eq!((frame.kind, frame.channel), (kind, number));
        frame.payload
    };
    let mut content = next(2);
    assert_eq!(content[..4], [0, 60, 0, 0]);
    let size = u64::from_be_bytes(content[4..12].try_into().expect("eight bytes"));
    assert!(size <= MESSAGE_MAX as u64);
    let mut left = size;
    while left > 0 {
        let body = next(3);
        assert!(!body.is_empty());
        left = left
            .checked_sub(body.len() as u64)
            .expect("no more than was announced");
        content.extend(body);
    }
    content
}
