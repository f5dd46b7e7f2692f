//! Steps of the system's clock: while the broker runs they change nothing, and over a restart nothing comes too early
//! or stays for hours.

use amq_protocol::protocol::basic::AMQPProperties;

use crate::client::Client;
use crate::faults::Faults;
use crate::support::{TestServer, eventually};

/// In seconds.
const HOUR: i64 = 3600;
const HOUR_MS: i32 = 3_600_000;

fn connect(server: &TestServer) -> Client {
    let mut client = Client::connect(server.address()).unwrap();
    client.select_confirms().unwrap();
    client
}

fn delay(client: &mut Client, millis: i32, body: &str) {
    client.delay(millis, body.as_bytes());
    client.wait_for_confirms().unwrap();
}

fn publish_with_expiration(client: &mut Client, millis: i32, body: &str) {
    let properties = AMQPProperties::default()
        .with_delivery_mode(2)
        .with_expiration(millis.to_string().into());
    client.publish_properties("", "queue", false, properties, body.as_bytes());
    client.wait_for_confirms().unwrap();
}

/// The body of the next message, which has to come.
fn next(client: &mut Client) -> String {
    let body = eventually("a message is there", || client.get("queue").unwrap()).body;
    String::from_utf8(body).unwrap()
}

#[test]
fn steps_while_the_broker_runs_let_nothing_fire_and_hold_nothing_back() {
    let faults = Faults::new();
    let server = TestServer::with_environment("", &faults.environment());
    let mut client = connect(&server);
    client.declare_later();
    for step in [5 * HOUR, -5 * HOUR] {
        delay(&mut client, HOUR_MS, "far");
        publish_with_expiration(&mut client, HOUR_MS, "kept");
        faults.step_clock(step);
        delay(&mut client, 50, "soon");
        assert_eq!(next(&mut client), "kept", "after a step of {step} s");
        assert_eq!(next(&mut client), "soon", "after a step of {step} s");
        assert!(client.get("queue").unwrap().is_none());
    }
}

#[test]
fn a_clock_that_has_gone_back_at_a_restart_holds_nothing_back() {
    let faults = Faults::new();
    let mut server = TestServer::with_environment("", &faults.environment());
    let mut client = connect(&server);
    client.declare_later();
    // Long enough that it is not due before the stop.
    delay(&mut client, 3_000, "soon");
    delay(&mut client, HOUR_MS, "far");
    drop(client);
    faults.step_clock(-24 * 365 * HOUR);
    server.stop_and_restart();
    server.logged(&["WARN", "the system's clock has gone back", "ahead=11months"]);
    let mut client = connect(&server);
    assert_eq!(next(&mut client), "soon");
    // What begins now ends in time as well, and what is far stays so.
    delay(&mut client, 50, "new");
    assert_eq!(next(&mut client), "new");
    publish_with_expiration(&mut client, 50, "short");
    eventually("it expires", || {
        (client.ready("queue").unwrap() == 0).then_some(())
    });
    assert!(client.get("queue").unwrap().is_none());
    // The right time of day is no step back.
    drop(client);
    faults.step_clock(0);
    server.stop_and_restart();
    assert!(!server.log().contains("has gone back"));
}

#[test]
fn after_a_kill_the_clock_goes_on_from_what_was_noted() {
    let faults = Faults::new();
    let mut server = TestServer::with_environment("", &faults.environment());
    let mut client = connect(&server);
    client.declare_later();
    // A stop notes the time; a kill leaves what was noted last.
    drop(client);
    server.stop_and_restart();
    let mut client = connect(&server);
    delay(&mut client, 3_000, "soon");
    drop(client);
    faults.step_clock(-10 * HOUR);
    server.kill_and_restart();
    server.logged(&["WARN", "the system's clock has gone back"]);
    assert_eq!(next(&mut connect(&server)), "soon");
}

#[test]
fn a_clock_that_was_ahead_during_a_run_leaves_nothing_for_years() {
    let faults = Faults::new();
    faults.step_clock(20 * 365 * 24 * HOUR);
    let mut server = TestServer::with_environment("", &faults.environment());
    let mut client = connect(&server);
    client.declare_later();
    delay(&mut client, 3_000, "soon");
    drop(client);
    faults.step_clock(0);
    server.stop_and_restart();
    assert_eq!(next(&mut connect(&server)), "soon");
}
