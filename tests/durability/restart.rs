//! A clean stop and start keep exactly what a restart keeps, and nothing that is not ours is touched.

use std::fs;
use std::process::{Command, Output};
use std::thread;
use std::time::Instant;

use amq_protocol::types::{AMQPValue, FieldTable};

use crate::client::{Client, Event};
use crate::faults::Faults;
use crate::support::{DEADLINE, TestServer, eventually};

fn connect(server: &TestServer) -> Client {
    Client::connect(server.address()).unwrap()
}

/// Durable queue `name` with these persistent messages, confirmed.
fn queue_with(server: &TestServer, name: &str, bodies: &[&str]) {
    let mut client = connect(server);
    client.select_confirms().unwrap();
    client.declare(name, true).unwrap();
    for body in bodies {
        client.publish("", name, true, body.as_bytes());
    }
    client.wait_for_confirms().unwrap();
}

/// All messages of a queue with their redelivered flags.
fn take_all(server: &TestServer, name: &str) -> Vec<(String, bool)> {
    let mut client = connect(server);
    let mut messages = Vec::new();
    while let Some(delivery) = client.get(name).unwrap() {
        messages.push((String::from_utf8(delivery.body).unwrap(), delivery.redelivered));
    }
    messages
}

fn named(messages: &[(&str, bool)]) -> Vec<(String, bool)> {
    messages
        .iter()
        .map(|(body, redelivered)| ((*body).to_owned(), *redelivered))
        .collect()
}

/// Stops and starts the broker while `client` is connected and does what a client has to.
fn stop_and_restart(server: &mut TestServer, client: &mut Client) {
    thread::scope(|scope| {
        scope.spawn(|| say_farewell(client));
        server.stop_and_restart();
    });
}

/// Waits for the broker's close and answers it.
fn say_farewell(client: &mut Client) {
    assert!(matches!(client.expect_event().unwrap(), Event::Closed(320)));
    client.flush().unwrap();
}

/// Starts a second broker that is expected to refuse.
fn refusal(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_leveret"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        !output.status.success(),
        "it started, or ended as if all were well"
    );
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), output.stderr.as_slice()].concat()).into_owned()
}

#[test]
fn a_message_that_nobody_saw_is_not_flagged_after_a_clean_restart() {
    let mut server = TestServer::start();
    queue_with(&server, "queue", &["seen", "unseen"]);
    let mut client = connect(&server);
    let seen = client.get("queue").unwrap().unwrap();
    client.requeue(seen.tag);
    client.qos(0).unwrap();
    stop_and_restart(&mut server, &mut client);
    assert_eq!(
        take_all(&server, "queue"),
        named(&[("seen", true), ("unseen", false)])
    );
}

#[test]
fn unacked_messages_are_in_their_old_place_and_flagged_after_a_clean_restart() {
    let mut server = TestServer::start();
    queue_with(&server, "queue", &["a", "b", "c", "d"]);
    let mut client = connect(&server);
    client.qos(3).unwrap();
    client.consume("queue").unwrap();
    let _a = client.expect_delivery();
    let b = client.expect_delivery();
    let _c = client.expect_delivery();
    client.ack(b.tag, false);
    assert_eq!(
        client.expect_delivery().body,
        b"d",
        "the ack makes room for one more"
    );
    stop_and_restart(&mut server, &mut client);
    assert_eq!(
        take_all(&server, "queue"),
        named(&[("a", true), ("c", true), ("d", true)])
    );
}

#[test]
fn unacked_messages_are_in_their_old_place_and_flagged_after_a_kill() {
    let mut server = TestServer::start();
    queue_with(&server, "queue", &["a", "b", "c"]);
    let mut client = connect(&server);
    client.qos(2).unwrap();
    client.consume("queue").unwrap();
    client.expect_delivery();
    client.expect_delivery();
    server.kill_and_restart();
    let messages = take_all(&server, "queue");
    let bodies: Vec<_> = messages.iter().map(|(body, _)| body.as_str()).collect();
    assert_eq!(bodies, ["a", "b", "c"]);
    assert!(
        messages[0].1 && messages[1].1,
        "who was delivered is flagged: {messages:?}"
    );
}

#[test]
fn messages_that_nobody_took_are_not_flagged_after_a_kill() {
    let mut server = TestServer::start();
    queue_with(&server, "queue", &["a", "b"]);
    server.kill_and_restart();
    assert_eq!(take_all(&server, "queue"), named(&[("a", false), ("b", false)]));
}

#[test]
fn only_durable_things_survive_a_clean_restart() {
    let mut server = TestServer::start();
    let mut client = connect(&server);
    client.select_confirms().unwrap();
    client.declare("durable", true).unwrap();
    client.declare("transient", false).unwrap();
    client.declare_exchange("kept", "topic", true).unwrap();
    client.declare_exchange("lost", "topic", false).unwrap();
    client.bind("durable", "kept", "#").unwrap();
    client.publish("", "durable", false, b"transient");
    client.publish("", "durable", true, b"persistent");
    client.publish("", "transient", true, b"persistent in a transient queue");
    client.wait_for_confirms().unwrap();
    stop_and_restart(&mut server, &mut client);
    assert!(connect(&server).ready("transient").is_err());
    assert!(connect(&server).has_exchange("lost").is_err());
    let mut client = connect(&server);
    client.select_confirms().unwrap();
    client.publish("kept", "any.key", true, b"routed");
    client.wait_for_confirms().unwrap();
    assert_eq!(
        take_all(&server, "durable"),
        named(&[("persistent", false), ("routed", false)])
    );
}

#[test]
fn an_acked_message_and_a_purged_queue_stay_gone() {
    let mut server = TestServer::start();
    queue_with(&server, "acked", &["a", "b"]);
    queue_with(&server, "deleted", &["a"]);
    let mut client = connect(&server);
    let a = client.get("acked").unwrap().unwrap();
    client.ack(a.tag, false);
    client.delete("deleted").unwrap();
    client.qos(0).unwrap();
    stop_and_restart(&mut server, &mut client);
    assert_eq!(take_all(&server, "acked"), named(&[("b", false)]));
    assert!(connect(&server).ready("deleted").is_err());
}

#[test]
fn connections_are_closed_with_320_when_the_broker_stops() {
    let mut server = TestServer::start();
    let mut clients = [connect(&server), connect(&server), connect(&server)];
    thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| say_farewell(client));
        }
        server.stop();
    });
}

#[test]
fn a_second_broker_on_the_same_directory_refuses_to_start() {
    let server = TestServer::start();
    let directory = server.directory().to_str().unwrap();
    let text = text(&refusal(&["--listen", "127.0.0.1:0", "--data-dir", directory]));
    assert!(
        text.contains("another process uses this data directory") && text.contains(directory),
        "{text}"
    );
    connect(&server).declare("still-served", true).unwrap();
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("leveret.db");
    let content = b"Dear diary, today I was mistaken for a database. ".repeat(100);
    fs::write(&file, &content).unwrap();
    let path = directory.path().to_str().unwrap();
    let text = text(&refusal(&["--listen", "127.0.0.1:0", "--data-dir", path]));
    assert!(
        text.contains("leveret.db") && text.contains("not a database"),
        "{text}"
    );
    assert_eq!(fs::read(&file).unwrap(), content);
}

#[test]
fn a_database_of_somebody_else_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let database = rusqlite::Connection::open(directory.path().join("leveret.db")).unwrap();
    database.execute_batch("CREATE TABLE diary (entry TEXT)").unwrap();
    drop(database);
    let path = directory.path().to_str().unwrap();
    let text = text(&refusal(&["--listen", "127.0.0.1:0", "--data-dir", path]));
    assert!(text.contains("leveret.db") && text.contains("not"), "{text}");
}

#[test]
fn a_queue_is_of_the_same_type_and_has_one_active_consumer_afterwards() {
    let mut server = TestServer::start();
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    connect(&server).declare_typed("typed", &arguments).unwrap();
    server.kill_and_restart();
    connect(&server).declare_typed("typed", &arguments).unwrap();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
    let refused = connect(&server).declare_typed("typed", &arguments).unwrap_err();
    assert!(refused.to_string().contains("406"), "another type: {refused}");
    let refused = connect(&server).get("typed").unwrap_err();
    assert!(
        refused.to_string().contains("405"),
        "only for its consumer: {refused}"
    );
    let (mut first, mut second) = (connect(&server), connect(&server));
    first.consume("typed").unwrap();
    second.consume("typed").unwrap();
    let mut publisher = connect(&server);
    publisher.publish("", "typed", true, b"1");
    publisher.publish("", "typed", true, b"2");
    publisher.flush().unwrap();
    assert_eq!(first.expect_delivery().body, b"1");
    assert_eq!(first.expect_delivery().body, b"2");
    drop(first);
    assert_eq!(second.expect_delivery().body, b"1");
    assert_eq!(second.expect_delivery().body, b"2");
}

#[test]
fn a_second_broker_refuses_until_the_first_is_killed() {
    let mut server = TestServer::start();
    for _ in 0..2 {
        let directory = server.directory().to_str().unwrap();
        let text = text(&refusal(&["--listen", "127.0.0.1:0", "--data-dir", directory]));
        assert!(
            text.contains("another process uses this data directory"),
            "{text}"
        );
        // The system ends the lock with its process, and no file that is left behind stands in the way.
        server.kill_and_restart();
    }
    server.kill();
    let second = TestServer::on(server.directory());
    connect(&second).declare("served", true).unwrap();
}

#[test]
fn a_stop_confirms_what_it_has_read_and_then_says_goodbye() {
    let faults = Faults::new();
    let mut server = TestServer::with_environment("", &faults.environment());
    let mut client = connect(&server);
    client.select_confirms().unwrap();
    client.declare("queue", true).unwrap();
    let mut declaring = connect(&server);
    faults.hold(true);
    (0..10).for_each(|_| client.publish("", "queue", true, b"on its way to the disk"));
    client.flush().unwrap();
    let declared = thread::spawn(move || {
        declaring.declare("declared", true).unwrap();
        assert!(matches!(declaring.expect_event().unwrap(), Event::Closed(320)));
        declaring.flush().unwrap();
    });
    // Another connection sees that they are in the queue: what was read is to be answered.
    let mut other = connect(&server);
    eventually("all are in the queue", || {
        (other.ready("queue").unwrap() == 10).then_some(())
    });
    drop(other);
    server.terminate();
    server.logged(&["SIGTERM: stopping"]);
    // It is read no more, once its connection knows: nobody will ever confirm what comes then.
    client.publish("", "queue", true, b"too late");
    client.flush().unwrap();
    faults.hold(false);
    let mut confirmed = 0;
    loop {
        match client.expect_event().unwrap() {
            Event::Confirm { tag, .. } => confirmed = tag,
            Event::Closed(320) => break,
            other => panic!("a publisher got {other:?}"),
        }
    }
    client.flush().unwrap();
    assert!(confirmed == 10 || confirmed == 11, "{confirmed}");
    declared.join().unwrap();
    assert!(server.ends(), "it stops cleanly");
    server.restart();
    assert_eq!(take_all(&server, "queue").len() as u64, confirmed);
    connect(&server).ready("declared").unwrap();
}

#[test]
fn a_stop_waits_for_nobody_for_ever() {
    let mut server = TestServer::start();
    // It never answers the close.
    let deaf = connect(&server);
    let begin = Instant::now();
    server.stop();
    server.logged(&["WARN", "some connections did not close in time"]);
    assert!(begin.elapsed() < DEADLINE);
    drop(deaf);
}
