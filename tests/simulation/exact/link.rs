//! A client's connection: bytes to the broker, cut anywhere, and what comes back, read to the last byte.

use std::collections::BTreeMap;
use std::time::Instant;

use leveret::connection::Connection;
use rand::RngExt;
use rand::rngs::StdRng;

use super::content::{Content, Kind};
use crate::wire::{Arg, Frame, content_with, method};

/// What came on a channel.
#[derive(Debug)]
pub enum Event {
    /// Class and number, with all its bytes.
    Method((u16, u16), Vec<u8>),
    Content(Box<Content>),
}

pub struct Link {
    pub connection: Connection,
    /// Tells it from others.
    pub number: u64,
    to_broker: Vec<u8>,
    from_broker: Vec<u8>,
    /// Contents whose frames are arriving, by channel.
    incoming: BTreeMap<u16, Content>,
    /// What came, with its channel.
    pub events: Vec<(u16, Event)>,
    /// The broker may close it, and has done so if there is a reply code.
    pub refusal: Option<u16>,
    pub may_be_refused: bool,
}

impl Link {
    pub fn new(connection: Connection, number: u64) -> Self {
        let mut to_broker = b"AMQP\0\0\x09\x01".to_vec();
        let start = [
            Arg::Long(b""),
            Arg::Short("PLAIN"),
            Arg::Long(b"\0guest\0guest"),
            Arg::Short("en_US"),
        ];
        to_broker.extend(method(0, (10, 11), &start));
        to_broker.extend(method(0, (10, 31), &[Arg::U16(8), Arg::U32(4096), Arg::U16(0)]));
        let open = [Arg::Short("/"), Arg::Short(""), Arg::Bits(0)];
        to_broker.extend(method(0, (10, 40), &open));
        Self {
            connection,
            number,
            to_broker,
            from_broker: Vec::new(),
            incoming: BTreeMap::new(),
            events: Vec::new(),
            refusal: None,
            may_be_refused: false,
        }
    }

    pub fn send(&mut self, channel: u16, id: (u16, u16), args: &[Arg<'_>]) {
        self.to_broker.extend(method(channel, id, args));
    }

    /// A message's header, of encoded properties, and its body.
    pub fn send_content(&mut self, channel: u16, properties: &[u8], body: &[u8]) {
        self.to_broker.extend(content_with(channel, properties, body));
    }

    /// The broker reads what was sent, in pieces if `cuts` says so. Returns whether there was anything.
    pub fn feed(&mut self, now: Instant, cuts: Option<&mut StdRng>) -> bool {
        if self.to_broker.is_empty() || !self.connection.wants_read() {
            return false;
        }
        let len = match cuts {
            Some(rng) => rng.random_range(1..=self.to_broker.len()),
            None => self.to_broker.len(),
        };
        let bytes: Vec<u8> = self.to_broker.drain(..len).collect();
        self.connection.receive(&bytes, now);
        true
    }

    /// Whether all that was sent was read.
    pub fn is_read(&self) -> bool {
        self.to_broker.is_empty()
    }

    /// Reads all that there is. Returns whether there was anything.
    pub fn read(&mut self, now: Instant) -> bool {
        self.read_up_to(usize::MAX, now)
    }

    /// The same, but no more bytes than `max`.
    pub fn read_up_to(&mut self, max: usize, now: Instant) -> bool {
        self.connection.advance(now);
        let len = max.min(self.connection.output().len());
        if len == 0 {
            return false;
        }
        self.from_broker
            .extend_from_slice(&self.connection.output()[..len]);
        self.connection.wrote(len);
        self.connection.advance(now);
        while let Some(frame) = Frame::take(&mut self.from_broker) {
            self.frame(&frame);
        }
        true
    }

    fn frame(&mut self, frame: &Frame) {
        let number = frame.channel;
        if number == 0 {
            let text = String::from_utf8_lossy(&frame.payload);
            let is_refused = frame.id() == (10, 50);
            if is_refused && self.may_be_refused {
                self.refusal = Some(u16::from_be_bytes([frame.payload[4], frame.payload[5]]));
                return;
            }
            assert!(!is_refused, "the broker closed the connection: {text}");
            return;
        }
        match frame.kind {
            1 => {
                if let Some(begun) = Kind::of(frame) {
                    self.incoming.insert(number, begun);
                } else {
                    let event = Event::Method(frame.id(), frame.payload.clone());
                    self.events.push((number, event));
                }
            }
            2 => {
                let content = self.incoming.get_mut(&number);
                content
                    .expect("a method comes before a header")
                    .header(&frame.payload);
            }
            _ => {
                let mut content = self
                    .incoming
                    .remove(&number)
                    .expect("a header comes before a body");
                content.message.id =
                    u64::from_be_bytes(*frame.payload.first_chunk().expect("bodies begin with a number"));
                assert_eq!(content.message.body_len, frame.payload.len() as u64);
                self.events.push((number, Event::Content(Box::new(content))));
            }
        }
    }
}
