//! A blocking AMQP connection with one channel. It offers nothing that a benchmark does not need.

use std::{
    io::{self, ErrorKind, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use amq_protocol::{
    auth::{Credentials, SASLMechanism},
    frame::{AMQPFrame, WriteContext, gen_frame, parse_frame},
    protocol::{AMQPClass, channel, connection},
    types::{AMQPValue, FieldTable},
    uri::AMQPUri,
};

use crate::bench::{
    error::BenchError,
    wire::{BASIC_DELIVER, FRAME_END, FRAME_HEARTBEAT, FRAME_MAX, FRAME_METHOD, Frame, Inbox},
};

/// A run in which nothing moves for this long has failed.
pub(super) const STALL_MAX: Duration = Duration::from_mins(1);

/// The benchmark's only channel.
const CHANNEL: u16 = 1;
/// `connection.close` with reply code 200 and no text.
const CONNECTION_CLOSE: [u8; 19] = [
    1, 0, 0, 0, 0, 0, 11, 0, 10, 0, 50, 0, 200, 0, 0, 0, 0, 0, FRAME_END,
];
/// How often a blocked read or write looks whether the run was given up.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// An open connection with channel 1 open.
#[derive(Debug)]
pub(super) struct Client {
    /// What the broker calls itself, with its version.
    pub(super) broker: String,
    /// The frame size that was agreed on.
    pub(super) frame_max: u32,
    /// What was read and not yet looked at.
    pub(super) inbox: Inbox,
    stream: TcpStream,
    is_aborted: Arc<AtomicBool>,
}

impl Drop for Client {
    /// Says goodbye, but waits for nothing: brokers log a warning about clients that just vanish.
    fn drop(&mut self) {
        let _ = self.stream.write(&CONNECTION_CLOSE);
    }
}

impl Client {
    /// Connects, logs in and opens channel 1. `is_aborted` ends every wait of this client.
    ///
    /// # Errors
    /// `Socket`, `Refused`, `Protocol` or `Stalled`, as it comes.
    pub(super) fn open(uri: &AMQPUri, is_aborted: &Arc<AtomicBool>) -> Result<Self, BenchError> {
        let address = (uri.authority.host.as_str(), uri.authority.port);
        let stream = TcpStream::connect(address).map_err(socket("connect"))?;
        stream.set_nodelay(true).map_err(socket("set TCP_NODELAY"))?;
        stream
            .set_read_timeout(Some(POLL_INTERVAL))
            .map_err(socket("set a timeout"))?;
        stream
            .set_write_timeout(Some(POLL_INTERVAL))
            .map_err(socket("set a timeout"))?;
        let mut client = Self {
            broker: String::new(),
            frame_max: FRAME_MAX,
            inbox: Inbox::new(),
            stream,
            is_aborted: Arc::clone(is_aborted),
        };
        client.shake_hands(uri)?;
        client.call(AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {})))?;
        Ok(client)
    }

    /// Sends a method on channel 1 and waits for the next one that comes back.
    ///
    /// # Errors
    /// `Refused` when the broker closes instead; `Violation` for a delivery that nobody waits for.
    pub(super) fn call(&mut self, method: AMQPClass) -> Result<AMQPClass, BenchError> {
        self.send(CHANNEL, method)?;
        self.next_method()
    }

    /// Sends a method on channel 1 that has no answer.
    ///
    /// # Errors
    /// As `write`.
    pub(super) fn tell(&mut self, method: AMQPClass) -> Result<(), BenchError> {
        self.send(CHANNEL, method)
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// `Socket`; `Stalled` when the broker takes nothing for a long time; `Aborted`.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), BenchError> {
        let mut last_progress = None;
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => {
                    bytes = &bytes[count..];
                    last_progress = None;
                }
                Err(error) if is_timeout(&error) => {
                    self.check_wait(&mut last_progress, "writing to the broker")?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.write_failure(error)),
            }
        }
        Ok(())
    }

    /// Reads what is there into the inbox; `false` when nothing came within the poll interval.
    ///
    /// # Errors
    /// `Socket`, also for an end of stream; `Aborted`.
    pub(super) fn read(&mut self) -> Result<bool, BenchError> {
        match self.inbox.fill(&mut self.stream) {
            Ok(0) => Err(socket("read from the broker")(ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(true),
            Err(error) if is_timeout(&error) || error.kind() == ErrorKind::Interrupted => {
                if self.is_aborted() {
                    Err(BenchError::Aborted)
                } else {
                    Ok(false)
                }
            }
            Err(error) => Err(socket("read from the broker")(error)),
        }
    }

    /// Whether another part of the run has failed.
    pub(super) fn is_aborted(&self) -> bool {
        self.is_aborted.load(Ordering::Relaxed)
    }

    /// Closes channel 1; what it had not acked returns to its queue.
    ///
    /// # Errors
    /// As `call`.
    pub(super) fn close(&mut self) -> Result<(), BenchError> {
        let close = channel::Close {
            reply_code: 200,
            ..channel::Close::default()
        };
        self.call(AMQPClass::Channel(channel::AMQPMethod::Close(close)))?;
        Ok(())
    }

    fn shake_hands(&mut self, uri: &AMQPUri) -> Result<(), BenchError> {
        self.write(b"AMQP\0\0\x09\x01")?;
        let start = match self.next_method()? {
            AMQPClass::Connection(connection::AMQPMethod::Start(start)) => start,
            other => return Err(unexpected(&other)),
        };
        self.broker = broker_name(&start.server_properties);
        let user = &uri.authority.userinfo;
        let credentials = Credentials::new(user.username.as_str().into(), user.password.as_str().into());
        let start_ok = connection::StartOk {
            client_properties: client_properties(),
            mechanism: "PLAIN".into(),
            response: credentials.sasl_auth_string(SASLMechanism::Plain),
            locale: "en_US".into(),
        };
        self.send(
            0,
            AMQPClass::Connection(connection::AMQPMethod::StartOk(start_ok)),
        )?;
        let tune = match self.next_method()? {
            AMQPClass::Connection(connection::AMQPMethod::Tune(tune)) => tune,
            other => return Err(unexpected(&other)),
        };
        self.frame_max = if tune.frame_max == 0 {
            FRAME_MAX
        } else {
            tune.frame_max.min(FRAME_MAX)
        };
        let tune_ok = connection::TuneOk {
            channel_max: tune.channel_max,
            frame_max: self.frame_max,
            // A flooding producer doesn't read, so it can't take part in heartbeats.
            heartbeat: 0,
        };
        self.send(0, AMQPClass::Connection(connection::AMQPMethod::TuneOk(tune_ok)))?;
        let open = connection::Open {
            virtual_host: uri.vhost.as_str().into(),
        };
        self.send(0, AMQPClass::Connection(connection::AMQPMethod::Open(open)))?;
        match self.next_method()? {
            AMQPClass::Connection(connection::AMQPMethod::OpenOk(_)) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    fn send(&mut self, channel: u16, method: AMQPClass) -> Result<(), BenchError> {
        let frame = AMQPFrame::Method(channel, method);
        let written = gen_frame(&frame)(WriteContext::from(Vec::new()))
            .map_err(|error| BenchError::Protocol(format!("a method could not be written: {error}")))?;
        self.write(&written.into_inner().0)
    }

    fn next_method(&mut self) -> Result<AMQPClass, BenchError> {
        let mut last_progress = None;
        loop {
            if let Some(frame) = self.inbox.next_frame()? {
                if frame.kind == FRAME_HEARTBEAT {
                    continue;
                }
                return read_method(&frame);
            }
            if !self.read()? {
                self.check_wait(&mut last_progress, "waiting for an answer")?;
            }
        }
    }

    fn check_wait(&self, since: &mut Option<Instant>, action: &str) -> Result<(), BenchError> {
        if self.is_aborted() {
            return Err(BenchError::Aborted);
        }
        if since.get_or_insert_with(Instant::now).elapsed() > STALL_MAX {
            return Err(BenchError::Stalled(format!(
                "{action} for {} s",
                STALL_MAX.as_secs()
            )));
        }
        Ok(())
    }

    /// A broker that closes says why before it does; that is worth more than the broken pipe.
    fn write_failure(&mut self, error: io::Error) -> BenchError {
        match self.next_method() {
            Err(refused @ BenchError::Refused { .. }) => refused,
            _ => socket("write to the broker")(error),
        }
    }
}

/// The method in a frame that was not a delivery or a confirm.
///
/// # Errors
/// `Refused` for a close; `Violation` for a delivery; `Protocol` for what is no method.
pub(super) fn read_method(frame: &Frame<'_>) -> Result<AMQPClass, BenchError> {
    if frame.method() == Some(BASIC_DELIVER) {
        return Err(BenchError::Violation(
            "a delivery came after all messages had come".to_owned(),
        ));
    }
    let parsed = if frame.kind == FRAME_METHOD {
        parse_frame(frame.bytes).ok()
    } else {
        None
    };
    match parsed {
        Some((_, AMQPFrame::Method(_, method))) => match method {
            AMQPClass::Channel(channel::AMQPMethod::Close(close)) => Err(BenchError::Refused {
                code: close.reply_code,
                text: close.reply_text.to_string(),
            }),
            AMQPClass::Connection(connection::AMQPMethod::Close(close)) => Err(BenchError::Refused {
                code: close.reply_code,
                text: close.reply_text.to_string(),
            }),
            method => Ok(method),
        },
        _ => Err(BenchError::Protocol(format!(
            "a frame of type {} on channel {}",
            frame.kind, frame.channel
        ))),
    }
}

/// The error for a method that nobody asked for.
pub(super) fn unexpected(method: &AMQPClass) -> BenchError {
    BenchError::Protocol(format!("{method:?}"))
}

fn socket(action: &'static str) -> impl FnOnce(io::Error) -> BenchError {
    move |source| BenchError::Socket { action, source }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// With the capabilities that turn a wrong password and the loss of a consumer's queue into messages.
fn client_properties() -> FieldTable {
    let mut capabilities = FieldTable::default();
    for name in ["authentication_failure_close", "consumer_cancel_notify"] {
        capabilities.insert(name.into(), AMQPValue::Boolean(true));
    }
    let mut properties = FieldTable::default();
    properties.insert("product".into(), AMQPValue::LongString("leveret bench".into()));
    properties.insert("capabilities".into(), AMQPValue::FieldTable(capabilities));
    properties
}

/// Brokers that call themselves RabbitMQ for their clients' sake say in `broker` who they are.
fn broker_name(properties: &FieldTable) -> String {
    let text = |key: &str| match properties.inner().get(key) {
        Some(AMQPValue::LongString(value)) => Some(value.to_string()),
        _ => None,
    };
    let named = |name: &str, version: &str| Some(format!("{} {}", text(name)?, text(version)?));
    named("broker", "broker_version")
        .or_else(|| named("product", "version"))
        .unwrap_or_else(|| "unnamed broker".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> FieldTable {
        let mut table = FieldTable::default();
        for (key, value) in pairs {
            table.insert((*key).into(), AMQPValue::LongString((*value).into()));
        }
        table
    }

    #[test]
    fn the_farewell_is_what_the_reference_codec_would_send() {
        let close = connection::Close {
            reply_code: 200,
            ..connection::Close::default()
        };
        let method = AMQPClass::Connection(connection::AMQPMethod::Close(close));
        let (rest, frame) = parse_frame(&CONNECTION_CLOSE[..]).unwrap();
        assert!(rest.is_empty());
        assert_eq!(frame, AMQPFrame::Method(0, method));
    }

    #[test]
    fn a_broker_in_disguise_is_called_by_its_own_name() {
        let plain = [("product", "RabbitMQ"), ("version", "4.1.0")];
        assert_eq!(broker_name(&properties(&plain)), "RabbitMQ 4.1.0");
        let own = [("broker", "Leveret"), ("broker_version", "0.1.0")];
        assert_eq!(broker_name(&properties(&[plain, own].concat())), "Leveret 0.1.0");
        assert_eq!(broker_name(&properties(&[])), "unnamed broker");
    }
}
