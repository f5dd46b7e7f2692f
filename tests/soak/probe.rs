//! Two pairs that measure how long a message takes while everything else goes on.

use std::io;
use std::time::Duration;

use crate::client::{Client, Event};
use crate::scene::{InFlight, Pace, Scene, confirmed, next};
use crate::topology::{PROBE, consume_without_acks, declare_temporary};

/// Messages of each per second, whatever the load.
const RATE: f64 = 50.0;
const TICK: Duration = Duration::from_millis(5);

/// From a transient publish to its delivery to the same connection.
pub fn transient(scene: &Scene) {
    scene.keep_working(
        "the transient probe",
        || scene.is_publishing(),
        |mut client, _| {
            let queue = declare_temporary(&mut client, "", true)?;
            consume_without_acks(&mut client, &queue)?;
            let mut pace = Pace::new(RATE);
            while scene.is_publishing() {
                if pace.is_due() {
                    client.publish("", &queue, false, &scene.now_us().to_be_bytes());
                    scene.count_sent();
                }
                if let Some(Event::Delivery(delivery)) = next(&mut client, TICK)? {
                    let sent = u64::from_be_bytes(delivery.body.try_into().expect("it has eight bytes"));
                    scene.transient.lock().push(scene.now_us() - sent);
                    scene.count_received();
                }
            }
            Ok(())
        },
    );
}

/// From a persistent publish to its confirm.
pub fn durable(scene: &Scene) {
    scene.keep_working(
        "the durable probe",
        || scene.is_publishing(),
        |mut client, _| {
            client.select_confirms()?;
            client.consume(PROBE)?;
            let mut in_flight = InFlight::new();
            let mut pace = Pace::new(RATE);
            while scene.is_publishing() {
                if pace.is_due() {
                    in_flight.insert(client.published + 1, scene.now_us());
                    client.publish("", PROBE, true, b"probe");
                    scene.count_sent();
                }
                take(scene, &mut client, &mut in_flight, TICK)?;
            }
            while take(scene, &mut client, &mut in_flight, Duration::from_secs(1))? {}
            Ok(())
        },
    );
}

fn take(
    scene: &Scene,
    client: &mut Client,
    in_flight: &mut InFlight<u64>,
    wait: Duration,
) -> io::Result<bool> {
    match next(client, wait)? {
        Some(Event::Confirm { tag, multiple }) => {
            let now = scene.now_us();
            let sent = confirmed(in_flight, tag, multiple).into_iter();
            scene.durable.lock().extend(sent.map(|sent| now - sent));
        }
        Some(Event::Delivery(delivery)) => {
            client.ack(delivery.tag, false);
            scene.count_received();
        }
        Some(other) => scene.complain(format!("the durable probe got {other:?}")),
        None => return Ok(false),
    }
    Ok(true)
}
