//! Connections, channels, queues, exchanges and bindings that come and go.

use std::io;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use amq_protocol::protocol::{AMQPClass, channel};

use crate::client::Client;
use crate::scene::Scene;
use crate::support::DEADLINE;
use crate::topology::{CAPPED, declare_temporary};

/// Between one and the next.
const PAUSE: Duration = Duration::from_millis(200);
/// Durable queues that come and go, in turn: as many as a crash may leave behind at most.
const NAMES: u32 = 10;

/// Connections with an exclusive queue; every other one ends without a word.
pub fn connections(scene: &Scene) {
    let mut is_polite = false;
    scene.keep_working(
        "a short connection",
        || scene.is_publishing(),
        |mut client, _| {
            let queue = declare_temporary(&mut client, "", true)?;
            client.bind(&queue, "amq.direct", &queue)?;
            for body in [b"1", b"2", b"3"] {
                client.publish("amq.direct", &queue, false, body);
                scene.count_sent();
                let delivery = client.get(&queue)?;
                scene.count_received();
                if delivery.is_none_or(|delivery| delivery.body != body) {
                    scene.complain(format!("{queue} does not have what it was given"));
                }
            }
            is_polite = !is_polite;
            if is_polite {
                close_channel(&mut client)?;
            }
            thread::park_timeout(PAUSE);
            Ok(())
        },
    );
}

/// Channels of one connection, each with a durable exchange, a durable queue and a binding.
pub fn queues(scene: &Scene) {
    let mut number = 0;
    scene.keep_working(
        "the declarer",
        || scene.is_publishing(),
        |mut client, _| {
            while scene.is_publishing() {
                number = (number + 1) % NAMES;
                use_once(scene, &mut client, &format!("churn.{number}"))?;
                close_channel(&mut client)?;
                client.call(AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {})))?;
                thread::park_timeout(PAUSE);
            }
            Ok(())
        },
    );
}

fn use_once(scene: &Scene, client: &mut Client, name: &str) -> io::Result<()> {
    client.declare_exchange(name, "direct", true)?;
    client.declare(name, true)?;
    client.bind(name, name, "key")?;
    client.purge(name)?;
    for body in [b"1", b"2", b"3", b"4", b"5"] {
        client.publish(name, "key", true, body);
        scene.count_sent();
    }
    for body in [b"1", b"2"] {
        let delivery = client.get(name)?;
        scene.count_received();
        match delivery {
            Some(delivery) if delivery.body == body => client.ack(delivery.tag, false),
            other => scene.complain(format!("{name} gave {other:?}")),
        }
    }
    client.delete_exchange(name)?;
    client.delete(name)
}

/// A queue that nobody reads, and that a policy keeps short.
pub fn capped(scene: &Scene) {
    scene.keep_working(
        "the publisher of a capped queue",
        || scene.is_publishing(),
        |mut client, _| {
            client.select_confirms()?;
            while scene.is_publishing() {
                for _ in 0..10 {
                    client.publish("", CAPPED, true, &[0; 256]);
                    scene.count_sent();
                }
                client.wait_for_confirms()?;
                check_length(scene, &mut client)?;
                thread::park_timeout(PAUSE);
            }
            Ok(())
        },
    );
}

/// The queue comes down to its limit. Messages that are on disk only have to be read first.
pub fn check_length(scene: &Scene, client: &mut Client) -> io::Result<()> {
    let max = scene.length_max.load(Ordering::SeqCst);
    let end = Instant::now() + DEADLINE;
    loop {
        let ready = client.ready(CAPPED)?;
        if ready <= max {
            return Ok(());
        }
        if Instant::now() > end {
            scene.complain(format!(
                "{CAPPED} stays at {ready} messages; at most {max} are allowed"
            ));
            return Ok(());
        }
        thread::park_timeout(Duration::from_millis(10));
    }
}

fn close_channel(client: &mut Client) -> io::Result<()> {
    client.call(AMQPClass::Channel(channel::AMQPMethod::Close(channel::Close {
        reply_code: 200,
        reply_text: "done".into(),
        class_id: 0,
        method_id: 0,
    })))?;
    Ok(())
}
