//! A blocking AMQP connection with one channel, so that a test knows in which order it saw what.
//!
//! It never reconnects and never acks by itself. A broker that goes away is an ordinary error, not a failure.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, WriteContext, gen_frame, parse_frame};
use amq_protocol::protocol::{AMQPClass, basic, channel, connection};
use amq_protocol::types::{AMQPValue, FieldTable};

use crate::support::DEADLINE;

/// The payload of a body frame at most; well below what is negotiated.
const BODY_FRAME_BYTES: usize = 100_000;

/// A message that came, by consume or by get.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The consumer tag; empty for get.
    pub consumer: String,
    pub tag: u64,
    pub redelivered: bool,
    #[allow(dead_code, reason = "only the soak reads them")]
    pub properties: Box<basic::AMQPProperties>,
    pub body: Vec<u8>,
}

/// What the broker sends without being asked.
#[derive(Debug)]
pub enum Event {
    Delivery(Delivery),
    /// A publish, or all up to it, is confirmed.
    Confirm {
        tag: u64,
        multiple: bool,
    },
    /// A mandatory message had nowhere to go.
    Returned,
    /// Channel or connection was closed, with this reply code.
    Closed(u16),
    /// An alarm stands, or no more.
    Blocked(bool),
    Answer(AMQPClass),
}

/// A content of which not all frames have come.
#[derive(Debug)]
struct Partial {
    method: basic::AMQPMethod,
    properties: Box<basic::AMQPProperties>,
    missing: u64,
    body: Vec<u8>,
}

#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    partial: Option<Partial>,
    events: VecDeque<Event>,
    /// Publishes sent on the channel.
    pub published: u64,
    /// Of these, those that were waited for.
    pub waited_for: u64,
}

impl Client {
    /// Connects as guest and opens channel 1.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(address)?)
    }

    /// The same on a socket that is connected.
    pub fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let mut client = Self {
            stream,
            input: Vec::new(),
            output: b"AMQP\0\0\x09\x01".to_vec(),
            partial: None,
            events: VecDeque::new(),
            published: 0,
            waited_for: 0,
        };
        client.answer()?;
        let start_ok = connection::StartOk {
            client_properties: capabilities(),
            mechanism: "PLAIN".into(),
            response: "\0guest\0guest".into(),
            locale: "en_US".into(),
        };
        client.send_on(
            0,
            AMQPClass::Connection(connection::AMQPMethod::StartOk(start_ok)),
        );
        client.answer()?;
        let tune_ok = connection::TuneOk {
            channel_max: 16,
            frame_max: 131_072,
            heartbeat: 0,
        };
        client.send_on(0, AMQPClass::Connection(connection::AMQPMethod::TuneOk(tune_ok)));
        let open = connection::Open {
            virtual_host: "/".into(),
        };
        client.send_on(0, AMQPClass::Connection(connection::AMQPMethod::Open(open)));
        client.answer()?;
        client.call(AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {})))?;
        Ok(client)
    }

    /// The socket, for whoever goes on by itself. Nothing may be on its way.
    #[allow(dead_code, reason = "made for the tests of overload")]
    pub fn into_stream(self) -> TcpStream {
        assert!(self.input.is_empty() && self.output.is_empty() && self.events.is_empty());
        self.stream
    }

    /// Adds a method to what goes out at the next flush or wait.
    pub fn send(&mut self, method: AMQPClass) {
        self.send_on(1, method);
    }

    pub fn publish(&mut self, exchange: &str, routing_key: &str, is_persistent: bool, body: &[u8]) {
        self.publish_with(exchange, routing_key, is_persistent, false, body);
    }

    pub fn publish_with(
        &mut self,
        exchange: &str,
        routing_key: &str,
        is_persistent: bool,
        mandatory: bool,
        body: &[u8],
    ) {
        let mode = if is_persistent { 2 } else { 1 };
        let properties = basic::AMQPProperties::default().with_delivery_mode(mode);
        self.publish_properties(exchange, routing_key, mandatory, properties, body);
    }

    pub fn publish_properties(
        &mut self,
        exchange: &str,
        routing_key: &str,
        mandatory: bool,
        properties: basic::AMQPProperties,
        body: &[u8],
    ) {
        self.send(AMQPClass::Basic(basic::AMQPMethod::Publish(basic::Publish {
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            mandatory,
            immediate: false,
        })));
        let header = AMQPContentHeader {
            class_id: 60,
            body_size: body.len() as u64,
            properties,
        };
        self.write(&AMQPFrame::Header(1, header));
        for part in body.chunks(BODY_FRAME_BYTES) {
            self.write(&AMQPFrame::Body(1, part.to_vec()));
        }
        self.published += 1;
    }

    pub fn flush(&mut self) -> io::Result<()> {
        let output = std::mem::take(&mut self.output);
        self.stream.write_all(&output)
    }

    /// Sends a method and waits for its answer; what else comes stays for [`Client::next`].
    pub fn call(&mut self, method: AMQPClass) -> io::Result<AMQPClass> {
        self.send(method);
        self.answer()
    }

    /// The next event; `None` when nothing comes within `wait`.
    pub fn next(&mut self, wait: Duration) -> io::Result<Option<Event>> {
        if let Some(event) = self.events.pop_front() {
            return Ok(Some(event));
        }
        self.flush()?;
        let end = Instant::now() + wait;
        loop {
            if let Some(event) = self.parse()? {
                return Ok(Some(event));
            }
            if !self.fill(end)? {
                return Ok(None);
            }
        }
    }

    /// The next event, which has to come.
    pub fn expect_event(&mut self) -> io::Result<Event> {
        self.next(DEADLINE)?.ok_or_else(|| ErrorKind::TimedOut.into())
    }

    /// The next delivery, which has to come next.
    pub fn expect_delivery(&mut self) -> Delivery {
        match self.expect_event() {
            Ok(Event::Delivery(delivery)) => delivery,
            other => panic!("a delivery was due, not {other:?}"),
        }
    }

    fn answer(&mut self) -> io::Result<AMQPClass> {
        self.flush()?;
        let end = Instant::now() + DEADLINE;
        loop {
            match self.parse()? {
                Some(Event::Answer(method)) => return Ok(method),
                Some(Event::Closed(code)) => {
                    return Err(io::Error::other(format!("the broker closed with {code}")));
                }
                Some(event) => self.events.push_back(event),
                None if self.fill(end)? => {}
                None => return Err(ErrorKind::TimedOut.into()),
            }
        }
    }

    /// Reads what is there; false when nothing came until `end`.
    fn fill(&mut self, end: Instant) -> io::Result<bool> {
        let wait = end.saturating_duration_since(Instant::now());
        self.stream
            .set_read_timeout(Some(wait.max(Duration::from_micros(100))))?;
        let mut bytes = vec![0; 65536];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.input.extend_from_slice(&bytes[..count]);
                Ok(true)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn parse(&mut self) -> io::Result<Option<Event>> {
        let mut read = 0;
        let mut event = None;
        while event.is_none() {
            let Some(length) = frame_length(&self.input[read..]) else {
                break;
            };
            let bytes = &self.input[read..read + length];
            let (_, frame) = parse_frame(bytes).map_err(|error| io::Error::other(format!("{error:?}")))?;
            read += length;
            event = self.take(frame);
        }
        self.input.drain(..read);
        Ok(event)
    }

    fn take(&mut self, frame: AMQPFrame) -> Option<Event> {
        match frame {
            AMQPFrame::Method(_, AMQPClass::Basic(method)) => self.take_basic(method),
            AMQPFrame::Method(_, AMQPClass::Channel(channel::AMQPMethod::Close(close))) => {
                Some(Event::Closed(close.reply_code))
            }
            AMQPFrame::Method(_, AMQPClass::Connection(connection::AMQPMethod::Close(close))) => {
                self.send_on(
                    0,
                    AMQPClass::Connection(connection::AMQPMethod::CloseOk(connection::CloseOk {})),
                );
                Some(Event::Closed(close.reply_code))
            }
            AMQPFrame::Method(_, AMQPClass::Connection(connection::AMQPMethod::Blocked(_))) => {
                Some(Event::Blocked(true))
            }
            AMQPFrame::Method(_, AMQPClass::Connection(connection::AMQPMethod::Unblocked(_))) => {
                Some(Event::Blocked(false))
            }
            AMQPFrame::Method(_, method) => Some(Event::Answer(method)),
            AMQPFrame::Header(_, header) => {
                let partial = self.partial.as_mut().expect("a header follows its method");
                partial.missing = header.body_size;
                *partial.properties = header.properties;
                self.complete()
            }
            AMQPFrame::Body(_, bytes) => {
                let partial = self.partial.as_mut().expect("a body follows its header");
                partial.missing -= bytes.len() as u64;
                partial.body.extend_from_slice(&bytes);
                self.complete()
            }
            _ => None,
        }
    }

    fn take_basic(&mut self, method: basic::AMQPMethod) -> Option<Event> {
        match method {
            basic::AMQPMethod::Ack(ack) => Some(Event::Confirm {
                tag: ack.delivery_tag,
                multiple: ack.multiple,
            }),
            basic::AMQPMethod::Deliver(_) | basic::AMQPMethod::GetOk(_) | basic::AMQPMethod::Return(_) => {
                self.partial = Some(Partial {
                    method,
                    properties: Box::default(),
                    missing: 0,
                    body: Vec::new(),
                });
                None
            }
            other => Some(Event::Answer(AMQPClass::Basic(other))),
        }
    }

    fn complete(&mut self) -> Option<Event> {
        let complete = self.partial.take_if(|partial| partial.missing == 0)?;
        let Partial {
            method,
            properties,
            body,
            ..
        } = complete;
        Some(match method {
            basic::AMQPMethod::Deliver(deliver) => Event::Delivery(Delivery {
                consumer: deliver.consumer_tag.to_string(),
                tag: deliver.delivery_tag,
                redelivered: deliver.redelivered,
                properties,
                body,
            }),
            basic::AMQPMethod::GetOk(got) => Event::Delivery(Delivery {
                consumer: String::new(),
                tag: got.delivery_tag,
                redelivered: got.redelivered,
                properties,
                body,
            }),
            _ => Event::Returned,
        })
    }

    fn send_on(&mut self, channel: u16, method: AMQPClass) {
        self.write(&AMQPFrame::Method(channel, method));
    }

    fn write(&mut self, frame: &AMQPFrame) {
        let output = std::mem::take(&mut self.output);
        let written = gen_frame(frame)(WriteContext::from(output)).expect("the frame can be written");
        self.output = written.into_inner().0;
    }
}

/// It wants to be told of alarms.
fn capabilities() -> FieldTable {
    let mut capabilities = FieldTable::default();
    capabilities.insert("connection.blocked".into(), AMQPValue::Boolean(true));
    let mut properties = FieldTable::default();
    properties.insert("capabilities".into(), AMQPValue::FieldTable(capabilities));
    properties
}

/// Length of the frame that the bytes begin with, once it is whole.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let size = u32::from_be_bytes(bytes.get(3..7)?.try_into().ok()?) as usize;
    (bytes.len() >= size + 8).then_some(size + 8)
}
