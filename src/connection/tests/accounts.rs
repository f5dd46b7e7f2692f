//! What connections see of changes to users, permissions and virtual hosts, and how they log in.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;

use super::*;
use crate::broker::login::{PasswordCheck, PasswordChecks};
use crate::broker::password::ARGON2_SALT_BYTES;
use crate::store::access::{AccessChange, LimitOwner, LimitRow, LimitedResource};

const LOCAL: &str = "127.0.0.1";

fn user(name: &str, hash: &PasswordHash, tags: &[&str]) -> AccessChange {
    AccessChange::SetUser(UserRow {
        name: name.into(),
        password_hash: hash.encode().into(),
        algorithm: hash.algorithm().into(),
        tags: tags.iter().map(|tag| Arc::from(*tag)).collect(),
    })
}

fn quick(password: &str) -> PasswordHash {
    PasswordHash::sha256(password.as_bytes(), [1; 4])
}

fn slow(password: &str) -> PasswordHash {
    PasswordHash::argon2id(password.as_bytes(), [1; ARGON2_SALT_BYTES])
}

fn permission(user: &str, vhost: &str, write: &str) -> AccessChange {
    AccessChange::SetPermission(PermissionRow {
        user: user.into(),
        vhost: vhost.into(),
        configure: ".*".into(),
        write: write.into(),
        read: ".*".into(),
    })
}

fn vhost(name: &str) -> AccessChange {
    AccessChange::SetVhost(VhostRow {
        name: name.into(),
        ..VhostRow::default()
    })
}

/// Anna, who may do everything in `/`.
fn with_anna(broker: &Arc<Broker>) {
    let changes = vec![user("anna", &quick("pass"), &[]), permission("anna", "/", ".*")];
    broker.change(changes).unwrap();
}

/// A connection to which start-ok was sent.
fn greeted(broker: &Arc<Broker>, from: &str, user: &str, password: &str) -> Connection {
    let ip: IpAddr = from.parse().unwrap();
    let now = Instant::now();
    let mut connection = Connection::new(Arc::clone(broker), settings(), SocketAddr::new(ip, 0), now);
    let mut capabilities = FieldTable::default();
    capabilities.insert("authentication_failure_close".into(), AMQPValue::Boolean(true));
    let mut client_properties = FieldTable::default();
    client_properties.insert("capabilities".into(), AMQPValue::FieldTable(capabilities));
    let mut bytes = PROTOCOL_HEADER.to_vec();
    let start_ok = connection::StartOk {
        client_properties,
        mechanism: "PLAIN".into(),
        response: LongString::from(format!("\0{user}\0{password}")),
        locale: "en_US".into(),
    };
    send(&mut bytes, connection::AMQPMethod::StartOk(start_ok));
    connection.receive(&bytes, now);
    connection
}

/// Opens the vhost, and channel 1.
fn open(connection: &mut Connection, vhost: &str) {
    let tune_ok = connection::TuneOk {
        channel_max: 2047,
        frame_max: 131_072,
        heartbeat: 0,
    };
    let mut bytes = Vec::new();
    send(&mut bytes, connection::AMQPMethod::TuneOk(tune_ok));
    let open = connection::Open {
        virtual_host: vhost.into(),
    };
    send(&mut bytes, connection::AMQPMethod::Open(open));
    method::encode(
        &mut bytes,
        1,
        &AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {})),
    );
    connection.receive(&bytes, Instant::now());
}

/// A connection of Anna's with channel 1.
fn anna(broker: &Arc<Broker>) -> Connection {
    let mut connection = greeted(broker, LOCAL, "anna", "pass");
    open(&mut connection, "/");
    assert_eq!(said(&mut connection), ["10.10", "10.30", "10.41", "20.11"]);
    connection
}

/// Takes what the connection has to say: ids of methods, and of closes code and text.
fn said(connection: &mut Connection) -> Vec<String> {
    connection.advance(Instant::now());
    let output = connection.output().to_vec();
    if !output.is_empty() {
        connection.wrote(output.len());
    }
    let (mut rest, mut all) = (&output[..], Vec::new());
    while let Ok(Some((frame, len))) = frame::parse(rest, u32::MAX) {
        rest = &rest[len..];
        if frame.kind != FrameKind::Method {
            continue;
        }
        all.push(match method::decode(frame.payload).unwrap() {
            Method::Other(_, AMQPClass::Connection(connection::AMQPMethod::Close(close))) => {
                format!("{} {}", close.reply_code, close.reply_text)
            }
            Method::Other(_, AMQPClass::Channel(channel::AMQPMethod::Close(close))) => {
                format!("{} {}", close.reply_code, close.reply_text)
            }
            Method::Other(id, _) => id.to_string(),
            other => format!("{other:?}"),
        });
    }
    all
}

#[test]
fn new_rights_count_from_the_next_method_on_also_for_a_known_route() {
    let broker = broker();
    with_anna(&broker);
    let mut connection = anna(&broker);
    connection.receive(&publish(), Instant::now());
    connection.receive(&publish(), Instant::now());
    assert_eq!(said(&mut connection), [""; 0]);
    broker.change(vec![permission("anna", "/", "^other$")]).unwrap();
    connection.receive(&publish(), Instant::now());
    let refused =
        "403 ACCESS_REFUSED - write access to exchange 'amq.fanout' in vhost '/' refused for user 'anna'";
    assert_eq!(said(&mut connection), [refused]);

    let mut connection = anna(&broker);
    broker.change(vec![permission("anna", "/", "^amq")]).unwrap();
    connection.receive(&publish(), Instant::now());
    assert_eq!(said(&mut connection), [""; 0]);
    let (user, vhost) = ("anna".into(), "/".into());
    broker
        .change(vec![AccessChange::ClearPermission { user, vhost }])
        .unwrap();
    connection.receive(&publish(), Instant::now());
    assert_eq!(said(&mut connection), [refused]);
    let mut late = greeted(&broker, LOCAL, "anna", "pass");
    open(&mut late, "/");
    assert_eq!(
        said(&mut late)[2..],
        ["530 NOT_ALLOWED - access to vhost '/' refused for user 'anna'"]
    );
}

#[test]
fn rights_that_change_within_a_message_count_from_the_next_one_on() {
    let broker = broker();
    with_anna(&broker);
    let mut connection = anna(&broker);
    let message = publish();
    let method_len = frame::parse(&message, u32::MAX).unwrap().unwrap().1;
    connection.receive(&message[..method_len], Instant::now());
    broker.change(vec![permission("anna", "/", "^$")]).unwrap();
    connection.receive(&message[method_len..], Instant::now());
    assert_eq!(said(&mut connection), [""; 0]);
    connection.receive(&message, Instant::now());
    assert!(said(&mut connection)[0].starts_with("403 "));
}

#[test]
fn an_impersonator_may_use_any_user_id_as_long_as_it_is_one() {
    let broker = broker();
    with_anna(&broker);
    let mut connection = anna(&broker);
    let mut message = Vec::new();
    let publish = basic::Publish {
        exchange: "".into(),
        routing_key: "nowhere".into(),
        mandatory: false,
        immediate: false,
    };
    method::encode(
        &mut message,
        1,
        &AMQPClass::Basic(basic::AMQPMethod::Publish(publish)),
    );
    let header = [&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 << 4][..], b"\x04bert"].concat();
    frame::header_frame(&mut message, 1, &header);
    let refused =
        "406 PRECONDITION_FAILED - user_id property set to 'bert' but authenticated user was 'anna'";
    broker
        .change(vec![user(
            "anna",
            &quick("pass"),
            &["monitoring", "impersonator"],
        )])
        .unwrap();
    connection.receive(&message, Instant::now());
    assert_eq!(said(&mut connection), [""; 0]);
    broker
        .change(vec![user("anna", &quick("pass"), &["monitoring"])])
        .unwrap();
    connection.receive(&message, Instant::now());
    assert_eq!(said(&mut connection), [refused]);
}

#[test]
fn a_deleted_users_connections_are_closed_and_others_are_not() {
    let broker = broker();
    with_anna(&broker);
    let mut connections = [anna(&broker), anna(&broker)];
    let mut other = opened(&broker, Instant::now(), 0, false);
    let mut between = greeted(&broker, LOCAL, "anna", "pass");
    broker
        .change(vec![AccessChange::DeleteUser("anna".into())])
        .unwrap();
    for connection in &mut connections {
        assert_eq!(
            said(connection),
            ["320 CONNECTION_FORCED - user 'anna' is deleted"]
        );
    }
    assert_eq!(said(&mut other), [""; 0]);
    open(&mut between, "/");
    assert_eq!(
        said(&mut between)[2..],
        ["530 NOT_ALLOWED - access to vhost '/' refused for user 'anna'"]
    );
    let mut late = greeted(&broker, LOCAL, "anna", "pass");
    assert!(said(&mut late)[1].starts_with("403 ACCESS_REFUSED - Login was refused"));
}

#[test]
fn a_vhost_comes_with_its_exchanges_and_goes_with_all_that_is_in_it() {
    let broker = broker();
    with_anna(&broker);
    broker
        .change(vec![vhost("new"), permission("anna", "new", ".*")])
        .unwrap();
    let mut connection = greeted(&broker, LOCAL, "anna", "pass");
    open(&mut connection, "new");
    connection.receive(&publish(), Instant::now());
    assert_eq!(said(&mut connection).len(), 4, "amq.fanout is there");
    connection.receive(&declare("q"), Instant::now());
    let mut other = anna(&broker);
    let gone = broker.vhost("new").unwrap();
    broker
        .change(vec![AccessChange::DeleteVhost("new".into())])
        .unwrap();
    assert!(broker.vhost("new").is_none());
    assert!(gone.queues().is_empty());
    assert_eq!(
        said(&mut connection).last().unwrap(),
        "320 CONNECTION_FORCED - vhost 'new' is deleted"
    );
    assert_eq!(said(&mut other), [""; 0]);
    let mut late = greeted(&broker, LOCAL, "anna", "pass");
    open(&mut late, "new");
    assert_eq!(said(&mut late)[2..], ["530 NOT_ALLOWED - vhost new not found"]);
}

#[test]
fn limits_count_from_the_moment_they_are_set() {
    let broker = broker();
    with_anna(&broker);
    let (first, mut second) = (anna(&broker), anna(&broker));
    let limit = |owner, resource, max| AccessChange::SetLimit(LimitRow { owner, resource, max });
    let anna_herself = || LimitOwner::User("anna".into());
    broker
        .change(vec![limit(anna_herself(), LimitedResource::Connections, 2)])
        .unwrap();
    let mut third = greeted(&broker, LOCAL, "anna", "pass");
    open(&mut third, "/");
    let refused =
        "530 NOT_ALLOWED - connection refused for user 'anna': user connection limit (2) is reached";
    assert_eq!(said(&mut third)[2..], [refused]);
    drop(first);
    let mut fourth = anna(&broker);
    broker
        .change(vec![limit(
            LimitOwner::Vhost("/".into()),
            LimitedResource::Queues,
            0,
        )])
        .unwrap();
    second.receive(&declare("q"), Instant::now());
    let refused =
        "406 PRECONDITION_FAILED - cannot declare queue 'q': queue limit in vhost '/' (0) is reached";
    assert_eq!(said(&mut second), [refused]);
    let owner = LimitOwner::Vhost("/".into());
    let resource = LimitedResource::Queues;
    broker
        .change(vec![AccessChange::ClearLimit { owner, resource }])
        .unwrap();
    fourth.receive(&declare("q"), Instant::now());
    assert_eq!(broker.vhost("/").unwrap().queues().len(), 1);
}

#[test]
fn some_users_come_from_this_machine_only() {
    let parts = Parts {
        loopback_users: vec!["guest".to_owned()],
        ..parts(guest())
    };
    let broker = Arc::new(Broker::new(parts, &Recovered::default()).unwrap());
    with_anna(&broker);
    for (from, name, password, is_let_in) in [
        ("127.0.0.2", "guest", "guest", true),
        ("::1", "guest", "guest", true),
        ("10.0.0.1", "guest", "guest", false),
        ("10.0.0.1", "anna", "pass", true),
    ] {
        let mut connection = greeted(&broker, from, name, password);
        let said = said(&mut connection);
        let expected = if is_let_in { "10.30" } else { "403 ACCESS_REFUSED" };
        assert!(said[1].starts_with(expected), "{name} from {from}: {said:?}");
    }
}

/// Keeps checks until they are run by hand.
#[derive(Debug, Default)]
struct Later(Mutex<Vec<PasswordCheck>>);

impl PasswordChecks for Later {
    fn take(&self, check: PasswordCheck) -> bool {
        let mut waiting = self.0.lock();
        let has_room = waiting.len() < 2;
        if has_room {
            waiting.push(check);
        }
        has_room
    }
}

impl Later {
    /// Runs all that wait; returns how many there were.
    fn run(&self) -> usize {
        let checks = std::mem::take(&mut *self.0.lock());
        let count = checks.len();
        checks.into_iter().for_each(PasswordCheck::run);
        count
    }
}

fn broker_with_slow_passwords() -> (Arc<Broker>, Arc<Later>) {
    let later = Arc::new(Later::default());
    let parts = Parts {
        checks: Arc::clone(&later) as Arc<dyn PasswordChecks>,
        ..parts(guest())
    };
    let broker = Arc::new(Broker::new(parts, &Recovered::default()).unwrap());
    let changes = vec![user("anna", &slow("pass"), &[]), permission("anna", "/", ".*")];
    broker.change(changes).unwrap();
    (broker, later)
}

#[test]
fn a_slow_password_is_checked_elsewhere_once_and_nothing_is_worked_off_meanwhile() {
    let (broker, later) = broker_with_slow_passwords();
    let mut connection = greeted(&broker, LOCAL, "anna", "pass");
    assert_eq!(said(&mut connection), ["10.10"]);
    assert!(!connection.wants_read());
    open(&mut connection, "/");
    assert_eq!(said(&mut connection), [""; 0], "what comes too early waits");
    assert!(!connection.poll_mail(Waker::noop()));
    assert_eq!(later.run(), 1);
    assert!(connection.poll_mail(Waker::noop()));
    assert_eq!(said(&mut connection), ["10.30", "10.41", "20.11"]);

    let mut again = greeted(&broker, LOCAL, "anna", "pass");
    assert_eq!(
        said(&mut again),
        ["10.10", "10.30"],
        "the password is known to be right"
    );
    assert_eq!(later.run(), 0);
    broker.change(vec![user("anna", &slow("other"), &[])]).unwrap();
    let mut late = greeted(&broker, LOCAL, "anna", "pass");
    assert_eq!((said(&mut late).len(), later.run()), (1, 1));
    assert!(said(&mut late)[0].starts_with("403 ACCESS_REFUSED - Login was refused using"));
}

#[test]
fn where_one_password_is_slow_every_refusal_is() {
    let (broker, later) = broker_with_slow_passwords();
    for (name, password) in [("anna", "wrong"), ("guest", "wrong"), ("nobody", "pass")] {
        let mut connection = greeted(&broker, LOCAL, name, password);
        assert_eq!((said(&mut connection).len(), later.run()), (1, 1), "{name}");
        assert!(
            said(&mut connection)[0].starts_with("403 ACCESS_REFUSED - "),
            "{name}"
        );
    }
    let mut guest = greeted(&broker, LOCAL, "guest", "guest");
    assert_eq!(said(&mut guest), ["10.10", "10.30"]);
    assert_eq!(later.run(), 0);
    // Without a slow one nothing has to be hidden.
    broker
        .change(vec![AccessChange::DeleteUser("anna".into())])
        .unwrap();
    let mut quick = greeted(&broker, LOCAL, "nobody", "pass");
    assert_eq!((said(&mut quick).len(), later.run()), (2, 0));
}

#[test]
fn logins_beyond_what_can_be_checked_are_refused_at_once() {
    let (broker, later) = broker_with_slow_passwords();
    let mut waiting = [(); 2].map(|()| greeted(&broker, LOCAL, "anna", "pass"));
    let mut one_more = greeted(&broker, LOCAL, "anna", "pass");
    assert!(said(&mut one_more)[1].starts_with("403 ACCESS_REFUSED - "));
    assert_eq!(later.run(), 2);
    for connection in &mut waiting {
        assert_eq!(said(connection), ["10.10", "10.30"]);
    }
}

#[test]
fn a_verdict_for_a_connection_that_gave_up_is_nothing() {
    let (broker, later) = broker_with_slow_passwords();
    let mut connection = greeted(&broker, LOCAL, "anna", "pass");
    let end = connection.next_timeout().unwrap();
    connection.handle_timeout(end);
    assert_eq!(later.run(), 1);
    assert_eq!(said(&mut connection), ["10.10"]);
    assert!(connection.is_finished());
}
