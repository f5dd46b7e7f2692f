//! Logging in: mechanisms, wrong passwords, and malformed responses.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::bytes::text;
use crate::client::{Client, server, start_ok, tune_ok};
use crate::rows::Close;
use crate::support::TestServer;

const CAPABLE: &[&str] = &["authentication_failure_close"];

fn refused(text: &str, code: u16) -> Close {
    Close {
        channel: 0,
        code,
        text: text.to_owned(),
        id: (0, 0),
    }
}

fn amqplain(login: &str, password: &str) -> Vec<u8> {
    [text("LOGIN", login), text("PASSWORD", password)].concat()
}

#[test]
fn plain_and_amqplain_lead_to_tune() {
    let server = server();
    for (mechanism, response) in [
        ("PLAIN", b"\0guest\0guest".to_vec()),
        ("AMQPLAIN", amqplain("guest", "guest")),
    ] {
        let mut client = Client::greeted(server.address());
        client.call(&start_ok(mechanism, response, &[]), 0, (10, 30));
    }
}

#[test]
fn amqplain_takes_binary_fields_in_any_order() {
    let server = server();
    let mut client = Client::greeted(server.address());
    let password = crate::bytes::entry("PASSWORD", b'x', b"\0\0\0\x05guest");
    let response = [password, text("LOGIN", "guest")].concat();
    client.call(&start_ok("AMQPLAIN", response, &[]), 0, (10, 30));
}

#[test]
fn any_locale_is_fine() {
    let server = server();
    let mut client = Client::greeted(server.address());
    let start_ok = crate::bytes::method(10, 11)
        .long("")
        .short("PLAIN")
        .long("\0guest\0guest")
        .short("fr_FR");
    client.call(&start_ok.on(0), 0, (10, 30));
}

/// A way to fail, mechanism, response, and what a client is told that announced that it reads it.
type Failure = (&'static str, &'static str, Vec<u8>, Close);

/// All ways to fail.
fn failures() -> Vec<Failure> {
    [refusals(), misunderstandings()].concat()
}

/// Each way to be refused.
fn refusals() -> Vec<Failure> {
    let login = |mechanism: &str| {
        let text = format!(
            "ACCESS_REFUSED - Login was refused using authentication mechanism {mechanism}. For details see \
             the broker logfile."
        );
        refused(&text, 403)
    };
    vec![
        (
            "a wrong password",
            "PLAIN",
            b"\0guest\0wrong".to_vec(),
            login("PLAIN"),
        ),
        (
            "an empty password",
            "PLAIN",
            b"\0guest\0".to_vec(),
            login("PLAIN"),
        ),
        (
            "an unknown user",
            "PLAIN",
            b"\0nobody\0guest".to_vec(),
            login("PLAIN"),
        ),
        (
            "a wrong password in a table",
            "AMQPLAIN",
            amqplain("guest", "wrong"),
            login("AMQPLAIN"),
        ),
    ]
}

/// Each way to be misunderstood.
fn misunderstandings() -> Vec<Failure> {
    let syntax = |mechanism: &str| refused(&format!("SYNTAX_ERROR - malformed {mechanism} response"), 502);
    let unknown = |name: &str| {
        refused(
            &format!("COMMAND_INVALID - unknown authentication mechanism '{name}'"),
            503,
        )
    };
    vec![
        (
            "an unknown mechanism",
            "EXTERNAL",
            Vec::new(),
            unknown("EXTERNAL"),
        ),
        (
            "a mechanism in small letters",
            "plain",
            b"\0guest\0guest".to_vec(),
            unknown("plain"),
        ),
        ("no mechanism", "", Vec::new(), unknown("")),
        ("no response", "PLAIN", Vec::new(), syntax("PLAIN")),
        (
            "an authorisation identity",
            "PLAIN",
            b"me\0guest\0guest".to_vec(),
            syntax("PLAIN"),
        ),
        ("no password", "PLAIN", b"\0guest".to_vec(), syntax("PLAIN")),
        (
            "bytes behind the password",
            "PLAIN",
            b"\0guest\0guest\0".to_vec(),
            syntax("PLAIN"),
        ),
        (
            "no login",
            "AMQPLAIN",
            text("PASSWORD", "guest"),
            syntax("AMQPLAIN"),
        ),
        ("no table", "AMQPLAIN", b"garbage".to_vec(), syntax("AMQPLAIN")),
        (
            "an integer for a name",
            "AMQPLAIN",
            crate::bytes::int("LOGIN", 1),
            syntax("AMQPLAIN"),
        ),
    ]
}

#[test]
fn a_capable_client_is_told_why_it_may_not_log_in() {
    let server = server();
    let mut clients = Vec::new();
    for (name, mechanism, response, close) in failures() {
        let mut client = Client::greeted(server.address());
        client.send(&start_ok(mechanism, response, CAPABLE));
        assert_eq!(client.close(), Some(close), "{name}");
        clients.push((name, client));
    }
    for (name, mut client) in clients {
        assert_eq!(client.frame(), None, "{name}");
    }
}

#[test]
fn an_older_client_is_dropped_without_a_word() {
    let server = server();
    let mut clients = Vec::new();
    for (name, mechanism, response, _) in failures() {
        let mut client = Client::greeted(server.address());
        client.send(&start_ok(mechanism, response, &[]));
        clients.push((name, client));
    }
    for (name, mut client) in clients {
        assert_eq!(client.frame(), None, "{name}");
    }
}

#[test]
fn after_a_failed_login_nothing_is_read() {
    let server = server();
    let mut client = Client::greeted(server.address());
    client.send(&start_ok("PLAIN", "\0guest\0wrong", CAPABLE));
    assert_eq!(client.close().map(|close| close.code), Some(403));
    client.send_carelessly(&start_ok("PLAIN", "\0guest\0guest", CAPABLE));
    client.send_carelessly(&tune_ok(2047, 131_072, 0));
    client.expect_end();
}

/// Runs `leveret hash-password` on this input.
fn hash_password(input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leveret"));
    let command = command.arg("hash-password").stdin(Stdio::piped());
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_hash_that_the_tool_prints_lets_its_password_in_and_no_other() {
    let printed = hash_password("s3cret\n");
    assert!(printed.status.success());
    let hash = String::from_utf8(printed.stdout).unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    assert_ne!(
        hash_password("s3cret").stdout,
        hash.as_bytes(),
        "the salt is another"
    );
    let hash = hash.trim_end();
    let server = TestServer::with_config(&format!("[[users]]\nname = 'anna'\npassword_hash = '{hash}'"));
    for _ in 0..2 {
        for (password, code) in [("s3cret", None), ("s3cre", Some(403)), ("s3cret\n", Some(403))] {
            let mut client = Client::greeted(server.address());
            client.send(&start_ok("PLAIN", format!("\0anna\0{password}"), CAPABLE));
            match code {
                None => drop(client.expect(0, (10, 30))),
                Some(code) => assert_eq!(client.close().map(|close| close.code), Some(code), "{password:?}"),
            }
        }
    }
}

#[test]
fn a_blank_password_is_not_hashed() {
    for input in ["", "\n", "\r\nsecond line\n"] {
        let refused = hash_password(input);
        assert!(!refused.status.success() && refused.stdout.is_empty());
        let text = String::from_utf8(refused.stderr).unwrap();
        assert!(text.contains("nobody can log in with a blank password"), "{text}");
    }
}

#[test]
fn many_guesses_are_all_answered_and_others_served() {
    let hash = hash_password("s3cret").stdout;
    let hash = String::from_utf8(hash).unwrap();
    let server = TestServer::with_config(&format!(
        "[[users]]\nname = 'anna'\npassword_hash = '{}'\n[[users]]\nname = 'guest'\npassword = 'guest'\n\
         permissions = [{{ vhost = '/', configure = '.*', write = '.*', read = '.*' }}]",
        hash.trim_end()
    ));
    let mut guest = Client::open(server.address());
    let mut guesses: Vec<_> = (0..40)
        .map(|guess| {
            let mut client = Client::greeted(server.address());
            client.send(&start_ok("PLAIN", format!("\0anna\0{guess}"), CAPABLE));
            client
        })
        .collect();
    for _ in 0..100 {
        guest.sync();
    }
    let mut late = Client::greeted(server.address());
    late.call(&start_ok("PLAIN", "\0guest\0guest", &[]), 0, (10, 30));
    for client in &mut guesses {
        assert_eq!(client.close().map(|close| close.code), Some(403));
    }
}
