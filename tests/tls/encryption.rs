//! TLS itself: versions, who shows a certificate, and what does not speak it.

use std::io::{Read, Write};
use std::net::TcpStream;

use socket2::SockRef;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::authority::Authority;
use crate::bytes;
use crate::client::{Client, VERSIONS, connect, shown, tls, tls_after};
use crate::support::{TestServer, drip};

const GUEST: &str = "\0guest\0guest";

fn start(authority: &Authority, verify: &str) -> TestServer {
    let rest = "auth.mechanisms = ['PLAIN', 'EXTERNAL']\n";
    let rest = if verify == "none" { "" } else { rest };
    TestServer::with_config(&format!("{}{rest}", authority.config(verify)))
}

fn guest_in<S: Read + Write>(mut client: Client<S>) -> Client<S> {
    assert!(client.log_in("PLAIN", GUEST).is_tune());
    client.open("/").unwrap();
    client
}

#[test]
fn both_versions_carry_messages() {
    let authority = Authority::new();
    authority.certify_broker();
    let server = start(&authority, "none");
    for version in [&TLS12, &TLS13] {
        let stream = connect(server.tls_address());
        let stream = tls_after(b"", stream, &authority, None, &[version]).unwrap();
        assert_eq!(stream.conn.protocol_version(), Some(version.version));
        let mut client = guest_in(Client::greet(stream).unwrap());
        client.call(&bytes::queue_declare("q", 4, &[]), (50, 11));
        client.send(&bytes::publish("", "q", b"in secret"));
        client.call(&bytes::get("q", true), (60, 71));
        assert_eq!(client.body(), b"in secret");
        client.call(&bytes::queue_delete("q", 0), (50, 41));
    }
}

#[test]
fn the_plain_listener_stays_plain() {
    let authority = Authority::new();
    authority.certify_broker();
    let server = start(&authority, "required");
    guest_in(Client::greet(connect(server.address())).unwrap());
}

#[test]
fn a_large_message_reaches_a_slow_reader_whole() {
    let authority = Authority::new();
    authority.certify_broker();
    let server = start(&authority, "none");
    let stream = connect(server.tls_address());
    // So that the broker has to wait for the socket, again and again.
    SockRef::from(&stream).set_recv_buffer_size(65_536).unwrap();
    let stream = tls_after(b"", stream, &authority, None, VERSIONS).unwrap();
    let mut client = guest_in(Client::greet(stream).unwrap());
    let body: Vec<u8> = (0..6_000_000_u32).map(|at| (at % 251) as u8).collect();
    client.call(&bytes::queue_declare("large", 4, &[]), (50, 11));
    client.send(&bytes::publish_method("", "large", 0));
    client.send(&bytes::content_header(body.len() as u64, 0, &[]));
    for part in body.chunks(131_064) {
        client.send(&bytes::frame(3, 1, part));
    }
    client.call(&bytes::get("large", true), (60, 71));
    assert!(client.body() == body, "the body is another");
    client.call(&bytes::queue_delete("large", 0), (50, 41));
}

#[test]
fn without_verification_nobody_is_asked_for_a_certificate() {
    let authority = Authority::new();
    let certificate = authority.certify_broker();
    let server = start(&authority, "none");
    let stranger = Authority::new().certify_client("intake", &[]);
    let stream = tls(server.tls_address(), &authority, Some(&stranger)).unwrap();
    assert_eq!(shown(&stream), certificate);
    let client = Client::greet(stream).unwrap();
    assert_eq!(client.mechanisms, "PLAIN AMQPLAIN");
    guest_in(client);
}

#[test]
fn with_optional_verification_a_client_may_show_a_certificate_of_the_authority() {
    let authority = Authority::new();
    authority.certify_broker();
    let server = start(&authority, "optional");
    let address = server.tls_address();

    let without = Client::greet(tls(address, &authority, None).unwrap()).unwrap();
    assert_eq!(without.mechanisms, "PLAIN");
    guest_in(without);

    let identity = authority.certify_client("intake", &[]);
    let with = Client::greet(tls(address, &authority, Some(&identity)).unwrap()).unwrap();
    assert_eq!(with.mechanisms, "PLAIN EXTERNAL");
    guest_in(with);

    let stranger = Authority::new().certify_client("intake", &[]);
    let refused = tls(address, &authority, Some(&stranger)).and_then(Client::greet);
    assert!(refused.is_err(), "a certificate of another authority");
    server.logged(&["WARN", "TLS handshake failed", "invalid peer certificate"]);
}

#[test]
fn with_required_verification_a_client_must_show_one() {
    let authority = Authority::new();
    authority.certify_broker();
    let server = start(&authority, "required");
    let address = server.tls_address();
    let identity = authority.certify_client("intake", &[]);
    for version in [&TLS12, &TLS13] {
        let with = tls_after(b"", connect(address), &authority, Some(&identity), &[version]);
        guest_in(Client::greet(with.unwrap()).unwrap());
        let without = tls_after(b"", connect(address), &authority, None, &[version]);
        assert!(without.and_then(Client::greet).is_err(), "no certificate");
    }
    server.logged(&["WARN", "TLS handshake failed", "certificate"]);
}

/// What the broker sends until it hangs up.
fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // The end may come as a reset; either way nothing more does.
    drop(stream.read_to_end(&mut rest));
    rest
}

#[test]
fn a_client_that_does_not_speak_tls_is_dropped_and_the_log_says_so() {
    let authority = Authority::new();
    authority.certify_broker();
    let server = start(&authority, "none");
    let mut stream = connect(server.tls_address());
    stream.write_all(b"AMQP\0\0\x09\x01").unwrap();
    let peer = stream.local_addr().unwrap().to_string();
    assert_eq!(rest(stream), b"");
    server.logged(&["WARN", &peer, "does not speak TLS"]);
}

#[test]
fn a_handshake_that_is_not_finished_is_ended() {
    let authority = Authority::new();
    authority.certify_broker();
    let server = TestServer::with_config(&format!(
        "{}amqp.handshake_timeout = '300ms'",
        authority.config("none")
    ));
    for part in [&b""[..], b"\x16\x03\x01\x02"] {
        let mut stream = connect(server.tls_address());
        stream.write_all(part).unwrap();
        let peer = stream.local_addr().unwrap().to_string();
        assert_eq!(rest(stream), b"");
        server.logged(&["WARN", &peer, "took too long"]);
    }
    let mut stream = connect(server.tls_address());
    stream.write_all(b"\x16\x03\x01\x40\x00\x01\x00\x3F\xFC").unwrap();
    let peer = stream.local_addr().unwrap().to_string();
    assert_eq!(drip(stream, 3), b"", "a byte now and then is no reason to wait");
    server.logged(&["WARN", &peer, "took too long"]);
}

#[test]
fn a_stop_does_not_wait_for_handshakes() {
    let authority = Authority::new();
    authority.certify_broker();
    let mut server = TestServer::with_config(&format!(
        "{}amqp.handshake_timeout = '1h'",
        authority.config("none")
    ));
    let mut stream = connect(server.tls_address());
    stream.write_all(b"\x16\x03\x01\x02").unwrap();
    // One that came later is through, so the broker has accepted both.
    let later = guest_in(Client::greet(tls(server.tls_address(), &authority, None).unwrap()).unwrap());
    drop(later);
    server.stop();
    assert_eq!(rest(stream), b"");
}

#[test]
fn the_limit_of_connections_counts_all_listeners() {
    let authority = Authority::new();
    authority.certify_broker();
    let server = TestServer::with_config(&format!("{}limits.connections_max = 2", authority.config("none")));
    let first = guest_in(Client::greet(connect(server.address())).unwrap());
    let second = guest_in(Client::greet(tls(server.tls_address(), &authority, None).unwrap()).unwrap());
    let opened = |stream| {
        let mut client = Client::greet(stream).unwrap();
        assert!(client.log_in("PLAIN", GUEST).is_tune());
        client.open("/")
    };
    let third = || tls(server.tls_address(), &authority, None).unwrap();
    let text = "NOT_ALLOWED - connection refused: node connection limit (2) is reached";
    assert_eq!(opened(third()), Err(text.to_owned()));
    drop(first);
    crate::support::eventually("a place is free again", || opened(third()).ok());
    drop(second);
}
