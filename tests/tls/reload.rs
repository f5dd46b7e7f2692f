//! SIGHUP: what changes without a restart, and what stays when the new is wrong.

use std::fs;

use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::authority::Authority;
use crate::bytes;
use crate::client::{Answer, Client, connect, shown, tls};
use crate::support::TestServer;

const GUEST: &str = "\0guest\0guest";

/// The certificate that a new connection is shown.
fn certificate(server: &TestServer, authority: &Authority) -> CertificateDer<'static> {
    shown(&tls(server.tls_address(), authority, None).unwrap())
}

#[test]
fn a_new_certificate_serves_new_connections_and_a_wrong_one_does_not() {
    let authority = Authority::new();
    let first = authority.certify_broker();
    let server = TestServer::with_config(&authority.config("none"));
    let mut old = Client::greet(tls(server.tls_address(), &authority, None).unwrap()).unwrap();
    assert!(old.log_in("PLAIN", GUEST).is_tune());
    old.open("/").unwrap();
    assert_eq!(shown(&old.stream), first);

    let second = authority.certify_broker();
    server.hang_up();
    server.logged(&["INFO", "the configuration is reloaded"]);
    assert_eq!(certificate(&server, &authority), second);

    let key = fs::read_to_string(authority.path("key.pem")).unwrap();
    fs::write(authority.path("key.pem"), "no key").unwrap();
    server.hang_up();
    server.logged(&["ERROR", "key.pem holds no TLS key", "the old one stays in force"]);
    assert_eq!(certificate(&server, &authority), second);

    authority.certify_broker();
    fs::write(authority.path("key.pem"), key).unwrap();
    server.hang_up();
    server.logged(&[
        "ERROR",
        "is not the one of the certificate",
        "the old one stays in force",
    ]);
    assert_eq!(certificate(&server, &authority), second);

    fs::remove_file(authority.path("chain.pem")).unwrap();
    server.hang_up();
    server.logged(&[
        "ERROR",
        "cannot read the TLS certificate",
        "the old one stays in force",
    ]);
    assert_eq!(certificate(&server, &authority), second);

    old.call(&bytes::queue_declare("still here", 4, &[]), (50, 11));
}

#[test]
fn who_may_show_a_certificate_is_reloaded() {
    let (authority, next) = (Authority::new(), Authority::new());
    authority.certify_broker();
    let server = TestServer::with_config(&authority.config("none"));
    let (identity, outdated) = (
        next.certify_client("intake", &[]),
        authority.certify_client("intake", &[]),
    );
    let greet = |identity| tls(server.tls_address(), &authority, identity).and_then(Client::greet);
    assert!(greet(None).is_ok());

    fs::copy(next.path("ca.pem"), authority.path("ca.pem")).unwrap();
    fs::write(server.config(), authority.config("required")).unwrap();
    server.hang_up();
    server.logged(&["INFO", "the configuration is reloaded"]);
    assert!(greet(Some(&identity)).is_ok());
    assert!(greet(Some(&outdated)).is_err());
    assert!(greet(None).is_err());
}

#[test]
fn a_new_file_counts_for_new_connections_as_far_as_it_can() {
    let server = TestServer::start();
    let heartbeat = || match Client::greet(connect(server.address()))
        .unwrap()
        .log_in("PLAIN", GUEST)
    {
        Answer::Tune { heartbeat } => heartbeat,
        other @ Answer::Close(..) => panic!("the login failed: {other:?}"),
    };
    assert_eq!(heartbeat(), 60);

    fs::write(server.config(), "amqp.heartbeat = 7").unwrap();
    server.hang_up();
    server.logged(&[
        "ERROR",
        "amqp.heartbeat",
        "with its unit",
        "the old one stays in force",
    ]);
    assert_eq!(heartbeat(), 60);

    let changed = "amqp.heartbeat = '7s'\nlog.level = 'debug'\nlisteners.amqps = []\n\
                   storage.group_bytes_max = '1 MiB'\nvhosts = [{ name = '/' }, { name = 'new' }]\n";
    fs::write(server.config(), changed).unwrap();
    server.hang_up();
    server.logged(&["WARN", "after a restart only", "storage vhosts"]);
    server.logged(&["INFO", "the configuration is reloaded"]);
    assert_eq!(heartbeat(), 7);
    let mut client = Client::greet(connect(server.address())).unwrap();
    assert!(client.log_in("PLAIN", GUEST).is_tune());
    client.open("/").unwrap();
    client.send(&bytes::method(10, 50).u16(200).short("bye").u16(0).u16(0).on(0));
    server.logged(&["DEBUG", "client closes", "bye"]);
}

#[test]
fn policies_and_definitions_wait_for_a_restart_and_are_named() {
    let server = TestServer::start();
    let policy = "[{ name = 'p', pattern = '', definition = { max-length = 1 } }]";
    let changed = format!("policies = {policy}\noperator_policies = {policy}\ndefinitions = 'rabbit.json'\n");
    fs::write(server.config(), changed).unwrap();
    server.hang_up();
    let named = "definitions policies operator_policies";
    server.logged(&["WARN", "after a restart only", named]);
}

#[test]
fn a_tls_listener_stays_until_a_restart() {
    let authority = Authority::new();
    let certificate_shown = authority.certify_broker();
    let mut server = TestServer::with_config(&authority.config("none"));
    fs::write(server.config(), "").unwrap();
    server.hang_up();
    server.logged(&["WARN", "after a restart only", "listeners.amqps"]);
    assert_eq!(certificate(&server, &authority), certificate_shown);
    server.stop();
}
