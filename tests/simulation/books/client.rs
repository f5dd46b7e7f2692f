//! A client: a connection, the bytes on their way to it and from it, and its channels.

use std::collections::BTreeMap;
use std::time::Instant;

use leveret::connection::Connection;

use super::channel::{Channel, Request};
use super::ledger::{Ledger, QUEUES};
use crate::wire::{Arg, Frame, method};

pub struct Client {
    pub connection: Connection,
    pub serial: u64,
    pub to_broker: Vec<u8>,
    from_broker: Vec<u8>,
    pub channels: BTreeMap<u16, Channel>,
    pub is_closed: bool,
    /// Its part of [`Ledger::closing`].
    pub closing: usize,
}

impl Client {
    pub fn new(connection: Connection, serial: u64) -> Self {
        let mut to_broker = b"AMQP\0\0\x09\x01".to_vec();
        let start = [
            Arg::Long(b""),
            Arg::Short("PLAIN"),
            Arg::Long(b"\0guest\0guest"),
            Arg::Short("en_US"),
        ];
        to_broker.extend(method(0, (10, 11), &start));
        to_broker.extend(method(0, (10, 31), &[Arg::U16(8), Arg::U32(4096), Arg::U16(0)]));
        to_broker.extend(method(
            0,
            (10, 40),
            &[Arg::Short("/"), Arg::Short(""), Arg::Bits(0)],
        ));
        Self {
            connection,
            serial,
            to_broker,
            from_broker: Vec::new(),
            channels: BTreeMap::new(),
            is_closed: false,
            closing: 0,
        }
    }

    pub fn send(&mut self, channel: u16, id: (u16, u16), args: &[Arg<'_>]) {
        self.to_broker.extend(method(channel, id, args));
    }

    /// Sends a method that is answered by the next number.
    pub fn call(&mut self, channel: u16, (class, id): (u16, u16), args: &[Arg<'_>]) {
        self.send(channel, (class, id), args);
        let answer = if (class, id) == (40, 40) {
            (40, 51)
        } else {
            (class, id + 1)
        };
        self.request(channel, Request::Call(answer));
    }

    pub fn request(&mut self, channel: u16, request: Request) {
        self.channel(channel).requests.push_back(request);
    }

    pub fn channel(&mut self, number: u16) -> &mut Channel {
        self.channels.get_mut(&number).expect("the channel is open")
    }

    /// The broker gets up to `max` bytes.
    pub fn feed(&mut self, max: usize, now: Instant) -> bool {
        if self.to_broker.is_empty() || !self.connection.wants_read() {
            return false;
        }
        let len = max.min(self.to_broker.len());
        let bytes: Vec<u8> = self.to_broker.drain(..len).collect();
        self.connection.receive(&bytes, now);
        true
    }

    /// The client takes up to `max` bytes.
    pub fn read(&mut self, max: usize, now: Instant, ledger: &mut Ledger) -> bool {
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
            self.frame(&frame, ledger);
        }
        true
    }

    fn frame(&mut self, frame: &Frame, ledger: &mut Ledger) {
        if frame.channel == 0 {
            let text = String::from_utf8_lossy(&frame.payload);
            let is_close = frame.kind == 1 && frame.id() == (10, 50);
            assert!(!is_close, "the broker closed the connection: {text}");
            self.is_closed |= frame.kind == 1 && frame.id() == (10, 51);
            return;
        }
        let Some(channel) = self.channels.get_mut(&frame.channel) else {
            panic!("a frame for channel {}, which is not open", frame.channel);
        };
        match (frame.kind, frame.kind == 1) {
            (1, _) if frame.id() == (20, 40) => {
                // The broker closes it: what was not answered may or may not have happened.
                channel.forget(ledger);
                let crossed = matches!(channel.requests.back(), Some(Request::Close));
                channel.requests.clear();
                if crossed {
                    channel.requests.push_back(Request::Close);
                } else {
                    self.channels.remove(&frame.channel);
                }
                self.send(frame.channel, (20, 41), &[]);
            }
            (1, _) if frame.id() == (20, 41) => {
                assert!(matches!(channel.answered(ledger), Request::Close));
                channel.forget(ledger);
                self.channels.remove(&frame.channel);
                self.closing -= 1;
                ledger.closing -= 1;
                ledger.order_floor = ledger.published.len() as u64;
            }
            (1, _) => channel.method(frame, ledger),
            (3, _) => channel.body(&frame.payload, ledger),
            _ => {}
        }
    }
}

/// The number of a queue that every history has.
pub fn number(name: &str) -> Option<usize> {
    QUEUES.iter().position(|queue| *queue == name)
}
