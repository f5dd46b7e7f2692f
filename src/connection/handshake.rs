//! From the protocol header to connection.open: who the peer is and what was agreed.

use std::sync::Arc;

use amq_protocol::protocol::{AMQPClass, connection};
use amq_protocol::types::{AMQPValue, FieldTable, LongString, ShortString};

use crate::amqp::method::{self, MethodId};
use crate::amqp::reply_code::ReplyCode;
use crate::broker::census::Opened;
use crate::broker::login::{Login, LoginRefused};
use crate::broker::outbox::Outbox;
use crate::broker::{Broker, ConnectionId};

use super::Peer;
use super::error::ConnectionError;
use super::sasl::{Mechanism, Unclear};
use super::settings::{FRAME_MAX_LEAST, Settings};

/// The header that a client has to begin with, and that it is told if it did not.
pub const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\0\0\x09\x01";

/// AMQP 0-9 as older clients announce it; RabbitMQ takes it for 0-9-1.
const PROTOCOL_HEADER_0_9: [u8; 8] = *b"AMQP\x01\x01\0\x09";

/// How a handshake goes on.
#[derive(Debug)]
pub enum Step {
    /// The next method is awaited.
    Continue,
    /// The vhost is open.
    Opened(Opened),
    /// RabbitMQ ends such a connection after a pause without a word. A client that understands it is told more.
    Silence {
        /// What to close with, where the client takes a close at this point.
        close: Option<ConnectionError>,
        /// For the log.
        reason: String,
    },
    /// Close with this.
    Refuse(ConnectionError),
}

/// What a client announced that it understands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Capabilities {
    /// `basic.cancel` from the server.
    pub consumer_cancel_notify: bool,
    /// `connection.blocked`.
    pub connection_blocked: bool,
    /// A close frame when the login fails.
    pub authentication_failure_close: bool,
}

/// What was agreed in tune; RabbitMQ's defaults before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuned {
    /// 0 is unlimited.
    pub frame_max: u32,
    /// 0 is unlimited.
    pub channel_max: u16,
    /// Seconds; 0 is off.
    pub heartbeat: u16,
}

#[derive(Debug)]
enum Expect {
    StartOk,
    /// The password is being checked; nothing is worked off meanwhile.
    Verdict(Claim),
    TuneOk(Arc<str>),
    Open(Arc<str>),
}

/// Who a client says it is, and by which mechanism.
#[derive(Debug)]
struct Claim {
    user: String,
    mechanism: Mechanism,
}

/// A handshake in progress.
#[derive(Debug)]
pub struct Handshake {
    expect: Expect,
    peer: Peer,
    id: ConnectionId,
    outbox: Arc<Outbox>,
    /// What the client understands.
    pub capabilities: Capabilities,
    /// The name that the client gave its connection.
    pub connection_name: Option<String>,
    /// What was agreed so far.
    pub tuned: Tuned,
}

/// Whether the eight bytes open a conversation that this broker can hold.
pub fn is_protocol_header(bytes: [u8; 8]) -> bool {
    bytes == PROTOCOL_HEADER || bytes == PROTOCOL_HEADER_0_9
}

impl Handshake {
    /// Begins with connection.start.
    pub fn start(
        settings: &Settings,
        peer: Peer,
        (id, outbox): (ConnectionId, Arc<Outbox>),
        output: &mut Vec<u8>,
    ) -> Self {
        let mechanisms: Vec<&str> = settings.offered_to(&peer).map(Mechanism::name).collect();
        let start = connection::Start {
            version_major: 0,
            version_minor: 9,
            server_properties: settings.server_properties.clone(),
            mechanisms: LongString::from(mechanisms.join(" ")),
            locales: LongString::from("en_US"),
        };
        send(output, connection::AMQPMethod::Start(start));
        Self {
            expect: Expect::StartOk,
            peer,
            id,
            outbox,
            capabilities: Capabilities::default(),
            connection_name: None,
            tuned: Tuned {
                frame_max: settings.initial_frame_max,
                channel_max: 0,
                heartbeat: 0,
            },
        }
    }

    /// Works off a method on channel 0.
    pub fn method(
        &mut self,
        broker: &Broker,
        settings: &Settings,
        id: MethodId,
        method: connection::AMQPMethod,
        output: &mut Vec<u8>,
    ) -> Step {
        match (&self.expect, method) {
            (Expect::StartOk, connection::AMQPMethod::StartOk(start_ok)) => {
                self.start_ok(broker, settings, &start_ok, output)
            }
            (Expect::TuneOk(user), connection::AMQPMethod::TuneOk(tune_ok)) => {
                let user = Arc::clone(user);
                self.tune_ok(settings, &tune_ok, user)
            }
            (Expect::Open(user), connection::AMQPMethod::Open(open)) => {
                let vhost = open.virtual_host.as_str();
                match broker.open(self.id, user, vhost) {
                    Ok(opened) => {
                        send(output, connection::AMQPMethod::OpenOk(connection::OpenOk {}));
                        Step::Opened(opened)
                    }
                    Err(refused) => Step::Refuse(ConnectionError {
                        code: ReplyCode::NotAllowed,
                        explanation: refused.explanation(user, vhost),
                        method: id,
                    }),
                }
            }
            (Expect::Open(_), connection::AMQPMethod::UpdateSecret(_)) => Step::Refuse(ConnectionError {
                code: ReplyCode::ChannelError,
                explanation: "unexpected method in connection state opening".to_owned(),
                method: id,
            }),
            _ => Step::Silence {
                close: None,
                reason: format!("method {id} came out of order"),
            },
        }
    }

    /// Whether tune-ok has come, after which a wrong frame is answered.
    pub fn is_tuned(&self) -> bool {
        matches!(self.expect, Expect::Open(_))
    }

    fn start_ok(
        &mut self,
        broker: &Broker,
        settings: &Settings,
        start_ok: &connection::StartOk,
        output: &mut Vec<u8>,
    ) -> Step {
        self.read_client_properties(&start_ok.client_properties);
        let name = start_ok.mechanism.as_str();
        let offered = settings
            .offered_to(&self.peer)
            .find(|mechanism| mechanism.name() == name);
        let Some(mechanism) = offered else {
            let explanation = format!("unknown authentication mechanism '{name}'");
            return self.silence(ReplyCode::CommandInvalid, explanation);
        };
        let credentials = match mechanism.credentials(start_ok.response.as_bytes(), settings, &self.peer) {
            Ok(credentials) => credentials,
            Err(Unclear::Malformed) => {
                return self.silence(ReplyCode::SyntaxError, format!("malformed {name} response"));
            }
            Err(Unclear::NoName(reason)) => return self.refuse_login(mechanism, reason.to_string()),
        };
        let ip = self.peer.address.ip();
        let login = match &credentials.password {
            Some(password) => broker.log_in(&credentials.name, password, ip, &self.outbox),
            None => broker.admit(&credentials.name, ip),
        };
        let claim = Claim {
            user: credentials.name,
            mechanism,
        };
        match login {
            Login::Accepted(user) => self.tune(settings, user, output),
            Login::Refused(refused) => self.refuse_claim(&claim, refused),
            Login::Awaited => {
                self.expect = Expect::Verdict(claim);
                Step::Continue
            }
        }
    }

    /// Whether the client's password is being checked; then no method is worked off.
    pub fn awaits_verdict(&self) -> bool {
        matches!(self.expect, Expect::Verdict(_))
    }

    /// The client's password was checked.
    pub fn password_checked(
        &mut self,
        settings: &Settings,
        verdict: Result<Arc<str>, LoginRefused>,
        output: &mut Vec<u8>,
    ) -> Step {
        match (std::mem::replace(&mut self.expect, Expect::StartOk), verdict) {
            (Expect::Verdict(_), Ok(user)) => self.tune(settings, user, output),
            (Expect::Verdict(claim), Err(refused)) => self.refuse_claim(&claim, refused),
            _ => unreachable!("a verdict comes once, and to a client that waits for it"),
        }
    }

    fn tune(&mut self, settings: &Settings, user: Arc<str>, output: &mut Vec<u8>) -> Step {
        let tune = connection::Tune {
            channel_max: settings.channel_max,
            frame_max: settings.frame_max,
            heartbeat: settings.heartbeat,
        };
        send(output, connection::AMQPMethod::Tune(tune));
        self.expect = Expect::TuneOk(user);
        Step::Continue
    }

    fn refuse_claim(&self, claim: &Claim, refused: LoginRefused) -> Step {
        self.refuse_login(claim.mechanism, format!("user {:?}: {refused}", claim.user))
    }

    /// The reason is for the log only.
    fn refuse_login(&self, mechanism: Mechanism, reason: String) -> Step {
        let explanation = format!(
            "Login was refused using authentication mechanism {}. For details see the broker logfile.",
            mechanism.name()
        );
        match self.silence(ReplyCode::AccessRefused, explanation) {
            Step::Silence { close, .. } => Step::Silence { close, reason },
            other => other,
        }
    }

    /// Closes with a frame only for clients that announced that they take one this early.
    fn silence(&self, code: ReplyCode, explanation: String) -> Step {
        let reason = explanation.clone();
        let error = ConnectionError {
            code,
            explanation,
            method: MethodId::default(),
        };
        Step::Silence {
            close: self.capabilities.authentication_failure_close.then_some(error),
            reason,
        }
    }

    fn tune_ok(&mut self, settings: &Settings, tune_ok: &connection::TuneOk, user: Arc<str>) -> Step {
        let refuse = |explanation: String| {
            Step::Refuse(ConnectionError {
                code: ReplyCode::NotAllowed,
                explanation,
                method: MethodId::new(10, 30),
            })
        };
        let frame_max = tune_ok.frame_max;
        if frame_max != 0 && frame_max < FRAME_MAX_LEAST {
            return refuse(format!(
                "negotiated frame_max = {frame_max} is lower than the minimum allowed value ({FRAME_MAX_LEAST})"
            ));
        }
        let bounds = [
            ("frame_max", frame_max, settings.frame_max),
            (
                "channel_max",
                u32::from(tune_ok.channel_max),
                u32::from(settings.channel_max),
            ),
        ];
        for (what, client, server) in bounds {
            if server != 0 && (client == 0 || client > server) {
                let client = if client == 0 {
                    "0 (no limit)".to_owned()
                } else {
                    client.to_string()
                };
                return refuse(format!(
                    "negotiated {what} = {client} is higher than the maximum allowed value ({server})"
                ));
            }
        }
        self.tuned = Tuned {
            frame_max,
            channel_max: tune_ok.channel_max,
            heartbeat: tune_ok.heartbeat,
        };
        self.expect = Expect::Open(user);
        Step::Continue
    }

    fn read_client_properties(&mut self, properties: &FieldTable) {
        if let Some(AMQPValue::LongString(name)) = properties.inner().get("connection_name") {
            self.connection_name = Some(name.to_string());
        }
        let Some(AMQPValue::FieldTable(capabilities)) = properties.inner().get("capabilities") else {
            return;
        };
        let has = |name: &str| matches!(capabilities.inner().get(name), Some(AMQPValue::Boolean(true)));
        self.capabilities = Capabilities {
            consumer_cancel_notify: has("consumer_cancel_notify"),
            connection_blocked: has("connection.blocked"),
            authentication_failure_close: has("authentication_failure_close"),
        };
    }
}

/// Appends a method of class connection.
pub fn send(output: &mut Vec<u8>, method: connection::AMQPMethod) {
    method::encode(output, 0, &AMQPClass::Connection(method));
}

/// Cuts a text that others gave to what a short string holds.
pub fn short_text(text: &str) -> ShortString {
    let mut end = text.len().min(255);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    ShortString::try_new(text[..end].to_owned()).expect("at most 255 bytes")
}
