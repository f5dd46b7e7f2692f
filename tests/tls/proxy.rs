//! The PROXY protocol: from whom it is taken, and what it changes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::authority::Authority;
use crate::client::{Answer, Client, VERSIONS, connect, tls_after};
use crate::support::{TestServer, drip};

const GUEST: &str = "\0guest\0guest";
const TRUSTED: &str = "listeners.proxy_protocol_from = ['127.0.0.0/8']\n";

const V1: &[u8] = b"PROXY TCP4 192.0.2.1 127.0.0.1 56324 5672\r\n";
const V1_LOOPBACK: &[u8] = b"PROXY TCP6 ::1 ::1 56324 5672\r\n";

/// Version 2: command, family and fields.
fn v2(command: u8, family: u8, fields: &[u8]) -> Vec<u8> {
    let len = u16::try_from(fields.len()).unwrap().to_be_bytes();
    [
        b"\r\n\r\n\0\r\nQUIT\n",
        &[0x20 | command, family][..],
        &len,
        fields,
    ]
    .concat()
}

/// From 192.0.2.1, port 56324, with a field that is passed over.
fn v2_tcp4() -> Vec<u8> {
    v2(
        1,
        0x11,
        &[192, 0, 2, 1, 127, 0, 0, 1, 0xDC, 0x04, 0x16, 0x28, 0x04, 0, 1, 0],
    )
}

/// From `2001:db8::1`, port 56324.
fn v2_tcp6() -> Vec<u8> {
    let mut fields = [0; 36];
    fields[..4].copy_from_slice(&[0x20, 0x01, 0x0D, 0xB8]);
    fields[15] = 1;
    fields[31] = 1;
    fields[32..].copy_from_slice(&[0xDC, 0x04, 0x16, 0x28]);
    v2(1, 0x21, &fields)
}

fn after(header: &[u8], address: SocketAddr) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(header).unwrap();
    stream
}

fn log_in<S: Read + Write>(stream: S) -> Answer {
    Client::greet(stream).unwrap().log_in("PLAIN", GUEST)
}

#[test]
fn the_address_in_the_header_is_the_clients() {
    let server = TestServer::with_config(TRUSTED);
    let elsewhere = [
        (V1.to_vec(), "peer=192.0.2.1:56324"),
        (v2_tcp4(), "peer=192.0.2.1:56324"),
        (v2_tcp6(), "peer=[2001:db8::1]:56324"),
    ];
    for (header, peer) in elsewhere {
        // Guest comes from this machine only, and this is another.
        let answer = log_in(after(&header, server.address()));
        assert_eq!(answer, Answer::refusal("PLAIN"), "{}", header.escape_ascii());
        server.logged(&["handshake refused", peer, "loopback"]);
    }
    let mut client = Client::greet(after(V1_LOOPBACK, server.address())).unwrap();
    assert!(client.log_in("PLAIN", GUEST).is_tune());
    client.open("/").unwrap();
    server.logged(&["connection opened", "peer=[::1]:56324"]);
}

#[test]
fn without_an_address_it_is_the_proxy_itself() {
    let server = TestServer::with_config(TRUSTED);
    let headers = [
        b"PROXY UNKNOWN\r\n".to_vec(),
        v2(0, 0, &[]),
        v2(1, 0, &[]),
        v2(0, 0x11, &[192, 0, 2, 1, 127, 0, 0, 1, 0, 1, 0, 2]),
    ];
    for header in headers {
        let stream = after(&header, server.address());
        let peer = format!("peer={}", stream.local_addr().unwrap());
        let mut client = Client::greet(stream).unwrap();
        assert!(client.log_in("PLAIN", GUEST).is_tune());
        client.open("/").unwrap();
        server.logged(&["connection opened", &peer]);
    }
}

#[test]
fn a_header_may_come_in_pieces_and_with_what_follows() {
    let server = TestServer::with_config(TRUSTED);
    for header in [
        V1_LOOPBACK.to_vec(),
        v2(1, 0x11, &[127, 0, 0, 9, 127, 0, 0, 1, 0, 9, 0, 9]),
    ] {
        let mut stream = connect(server.address());
        for byte in &header {
            stream.write_all(&[*byte]).unwrap();
        }
        assert!(log_in(stream).is_tune());

        let mut stream = connect(server.address());
        stream.write_all(&[&header[..], b"AMQP"].concat()).unwrap();
        stream.write_all(b"\0\0\x09\x01").unwrap();
        let mut start = [0; 11];
        stream.read_exact(&mut start).unwrap();
        assert_eq!(start[7..], [0, 10, 0, 10], "connection.start");
    }
}

#[test]
fn a_header_stands_before_tls() {
    let authority = Authority::new();
    authority.certify_broker();
    let server = TestServer::with_config(&format!("{TRUSTED}{}", authority.config("none")));
    for header in [V1.to_vec(), v2_tcp4()] {
        let stream = connect(server.tls_address());
        let stream = tls_after(&header, stream, &authority, None, VERSIONS).unwrap();
        assert_eq!(log_in(stream), Answer::refusal("PLAIN"));
    }
    server.logged(&["handshake refused", "peer=192.0.2.1:56324", "loopback"]);
    let stream = after(V1_LOOPBACK, server.tls_address());
    assert!(log_in(tls_after(b"", stream, &authority, None, VERSIONS).unwrap()).is_tune());
}

#[test]
fn from_others_no_header_is_read() {
    let server = TestServer::with_config("listeners.proxy_protocol_from = ['192.0.2.0/24', '::2']\n");
    for header in [V1.to_vec(), v2_tcp4()] {
        let mut answer = [0; 8];
        let mut stream = after(&header, server.address());
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"AMQP\0\0\x09\x01", "as to any wrong beginning");
    }
    assert!(log_in(connect(server.address())).is_tune());
}

/// What the broker sends until it hangs up.
fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // The end may come as a reset; either way nothing more does.
    drop(stream.read_to_end(&mut rest));
    rest
}

#[test]
fn a_trusted_proxy_without_a_proper_header_is_dropped() {
    let server = TestServer::with_config(TRUSTED);
    let rows: [(&[u8], &str); 6] = [
        (b"AMQP\0\0\x09\x01", "does not begin with a PROXY protocol header"),
        (
            b"\x16\x03\x01\x02\0\x01",
            "does not begin with a PROXY protocol header",
        ),
        (b"PROXY TCP4 192.0.2.1\r\n", "malformed PROXY protocol line"),
        (b"PROXY ", "hung up within"),
        (&b"PROXY UNKNOWN ".repeat(20), "longer than 107 bytes"),
        (&v2(1, 0x12, &[0; 12]), "not those of a stream"),
    ];
    for (bytes, reason) in rows {
        let stream = after(bytes, server.address());
        let peer = format!("peer={}", stream.local_addr().unwrap());
        // The broker may have closed first: then there is nothing left to end.
        stream.shutdown(std::net::Shutdown::Write).ok();
        assert_eq!(rest(stream), b"", "{}", bytes.escape_ascii());
        server.logged(&["WARN", &peer, reason]);
    }
}

#[test]
fn a_header_that_does_not_end_is_not_waited_for() {
    let server = TestServer::with_config(&format!("{TRUSTED}amqp.handshake_timeout = '300ms'\n"));
    for part in [&b""[..], b"PROXY TCP4 192.0.2.1 ", &v2_tcp4()[..20]] {
        let stream = after(part, server.address());
        let peer = format!("peer={}", stream.local_addr().unwrap());
        assert_eq!(rest(stream), b"");
        server.logged(&["WARN", &peer, "took too long"]);
    }
    for part in [&b"PROXY UNKNOWN "[..], &v2(1, 0x11, &[0; 4000])[..16]] {
        let stream = after(part, server.address());
        let peer = format!("peer={}", stream.local_addr().unwrap());
        assert_eq!(
            drip(stream, b'0'),
            b"",
            "a byte now and then is no reason to wait"
        );
        server.logged(&["WARN", &peer, "took too long"]);
    }
}
