//! (c) Connections, channels, consumers and queues that come and go all the time.

use std::thread;

use amq_protocol::protocol::{AMQPClass, channel};

use crate::bystander::Bystander;
use crate::gauge::MIB;
use crate::storm::{Storm, declare_exclusive, scale};

const THREADS: usize = 4;

#[test]
fn connections_channels_and_queues_that_come_and_go_leave_nothing() {
    let rounds: usize = scale(100, 10_000);
    let storm = Storm::begin("churn", 192 * MIB, "");
    let bystander = Bystander::publishing(storm.server.address());
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let storm = &storm;
            scope.spawn(move || (0..rounds).for_each(|round| turn(storm, thread, round)));
        }
    });
    bystander.end("churn");
    storm.check_peak();
    storm.end();
}

/// A connection that makes queues, uses them, opens its channel a few times, and goes in one way or another.
fn turn(storm: &Storm, thread: usize, round: usize) {
    let mut client = storm.connect();
    client.select_confirms().unwrap();
    let names = ["durable", "transient", "exclusive", "again"].map(|kind| format!("{kind}-{thread}-{round}"));
    let [durable, transient, exclusive, again] = &names;
    client.declare(durable, true).unwrap();
    client.declare(transient, false).unwrap();
    declare_exclusive(&mut client, exclusive);
    for name in [durable, transient, exclusive] {
        for number in 0..10u8 {
            client.publish("", name, true, &[number; 100]);
        }
    }
    client.wait_for_confirms().unwrap();
    for name in [durable, transient, exclusive] {
        client.consume(name).unwrap();
        for number in 0..10u8 {
            let delivery = client.expect_delivery();
            assert_eq!(delivery.body, [number; 100]);
            client.ack(delivery.tag, false);
        }
    }
    for _ in 0..10 {
        let close = channel::Close {
            reply_code: 200,
            ..channel::Close::default()
        };
        client
            .call(AMQPClass::Channel(channel::AMQPMethod::Close(close)))
            .unwrap();
        client
            .call(AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {})))
            .unwrap();
    }
    for name in [durable, transient] {
        assert_eq!(client.ready(name).unwrap(), 0);
        client.delete(name).unwrap();
    }
    declare_exclusive(&mut client, again);
}
