//! Names that look like lines of the log, or take over a terminal: whatever a peer says, one event is one line.

use crate::bytes::{consume, entry, exchange_declare, method, publish, queue_declare, queue_purge, text};
use crate::client::{Client, Login, open};
use crate::support::TestServer;

/// Line breaks of every kind, escape sequences, and what turns the order of text around; and the end of a JSON string.
const EVIL: &str = "evil\n2026-11-28T00:00:00.000000Z  WARN leveret: forged\r\u{b}\u{c}\u{85}\u{2028}\u{2029}\
                    \u{1b}[2J\u{1b}[8m\u{9b}2J\u{7f}\u{202e}\u{2066}\",\"level\":\"forged\"}\\";

fn is_harmless(character: char) -> bool {
    let turns = matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !turns && !character.is_control()
}

/// Says it wherever the broker may log it.
fn say_everywhere(server: &TestServer) {
    let login = |user: &str| {
        let mut client = Client::greeted(server.address());
        let properties = [text("connection_name", EVIL), text("product", EVIL)].concat();
        let start_ok = method(10, 11).long(properties).short("PLAIN");
        client.send(&start_ok.long(format!("\0{user}\0guest")).short("en_US").on(0));
        client
    };
    let mut named = login("guest");
    named.expect(0, (10, 30));
    named.send(&crate::client::tune_ok(2047, 131_072, 0));
    named.call(&open("/"), 0, (10, 41));
    drop(login(EVIL));
    let mut client = Client::greeted(server.address());
    client.send(&crate::client::start_ok(EVIL, EVIL, &[]));
    let mut client = Client::authenticated(server.address(), &Login::default());
    client.send(&crate::client::tune_ok(2047, 131_072, 0));
    client.send(&open(EVIL));
    Client::connect(server.address()).send(&EVIL.as_bytes()[4..12]);
    let close = method(10, 50).u16(200).short(EVIL).u16(0).u16(0).on(0);
    Client::open(server.address()).call(&close, 0, (10, 51));
    let mistakes = [
        queue_purge(EVIL),
        publish(EVIL, EVIL, b""),
        exchange_declare(EVIL, EVIL, 0, &[]),
        consume(EVIL, EVIL, 0, &[]),
        queue_declare(EVIL, 4, &text("x-overflow", EVIL)),
        queue_declare(EVIL, 4, &text("x-queue-type", EVIL)),
        method(60, 30).short(EVIL).u8(0).on(2),
        method(20, 40).u16(500).short(EVIL).u16(0).u16(0).on(1),
    ];
    for mistake in mistakes {
        Client::open(server.address()).send(&mistake);
    }
    // What does nothing here is told once for each queue.
    let mut client = Client::open(server.address());
    let lazy = [text("x-queue-mode", "lazy"), entry(&EVIL[..20], b'V', b"")].concat();
    client.call(&queue_declare(EVIL, 4, &lazy), 1, (50, 11));
}

/// What the log has once all of it was said: the last of it is in, and enough of the rest.
fn log(format: &str) -> Vec<String> {
    let mut server = TestServer::with_config(&format!("log.format = '{format}'\nlog.level = 'debug'"));
    say_everywhere(&server);
    for part in [
        "authentication mechanism",
        "not found",
        "no queue",
        "unknown exchange type",
        "x-queue-mode",
    ] {
        server.logged(&["evil", part]);
    }
    server.stop();
    let lines: Vec<String> = server.log().split('\n').map(str::to_owned).collect();
    assert!(
        lines.iter().filter(|line| line.contains("forged")).count() >= 8,
        "{lines:#?}"
    );
    for line in &lines {
        assert!(line.chars().all(is_harmless), "{line:?}");
    }
    lines
}

#[test]
fn as_text_every_line_is_the_brokers_own() {
    for line in log("text") {
        let mut words = line.split_ascii_whitespace();
        let (time, level, target) = (words.next(), words.next(), words.next());
        assert!(
            time.is_some_and(|time| time.starts_with("20") && time.ends_with('Z')),
            "{line:?}"
        );
        let levels = ["DEBUG", "INFO", "WARN", "ERROR"];
        assert!(level.is_some_and(|level| levels.contains(&level)), "{line:?}");
        // The forged line names no module.
        assert!(
            target.is_some_and(|target| target.ends_with(':') && target != "leveret:"),
            "{line:?}"
        );
    }
}

#[test]
fn as_json_every_line_is_an_object_with_the_brokers_own_keys() {
    for line in log("json") {
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        let keys: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
        assert!(
            keys.iter()
                .all(|key| ["timestamp", "level", "fields", "target", "span", "spans"].contains(key)),
            "{line}"
        );
        assert_ne!(object["level"], "forged");
    }
}
