//! Queues with a single active consumer: order and failover.

use lapin::options::{BasicCancelOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Consumer};

use crate::world::{World, ack, body, consume, expect_nothing, fill, next, next_bodies, prefetch};

async fn declare(channel: &Channel, queue: &str, queue_type: &str) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(queue_type.into()));
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(queue.into(), options, arguments)
        .await
        .unwrap();
}

/// Body and redelivered flag of the next deliveries.
async fn flagged(consumer: &mut Consumer, count: usize) -> Vec<(String, bool)> {
    let mut deliveries = Vec::new();
    for _ in 0..count {
        let delivery = next(consumer).await;
        deliveries.push((body(&delivery), delivery.redelivered));
    }
    deliveries
}

#[tokio::test]
async fn the_successor_of_a_lost_connection_starts_where_it_stopped() {
    for queue_type in ["classic", "quorum"] {
        let world = World::start().await;
        declare(&world.channel, "queue", queue_type).await;
        let active = world.another_connection().await;
        let channel = active.create_channel().await.unwrap();
        prefetch(&channel, 3).await;
        let mut first = consume(&channel, "queue").await;
        let mut second = consume(&world.channel, "queue").await;
        fill(&world.channel, "queue", &["1", "2", "3", "4", "5"]).await;
        let settled = next(&mut first).await;
        assert_eq!(next_bodies(&mut first, 2).await, ["2", "3"]);
        ack(&settled).await;
        assert_eq!(next_bodies(&mut first, 1).await, ["4"]);
        expect_nothing(&world.channel, &mut second).await;
        active.close(200, "OK".into()).await.unwrap();
        let expected = [("2", true), ("3", true), ("4", true), ("5", false)];
        let expected = expected.map(|(body, redelivered)| (body.to_owned(), redelivered));
        assert_eq!(flagged(&mut second, 4).await, expected, "{queue_type}");
        fill(&world.channel, "queue", &["6"]).await;
        assert_eq!(next_bodies(&mut second, 1).await, ["6"]);
    }
}

#[tokio::test]
async fn a_cancelled_consumer_still_settles_what_it_has() {
    let world = World::start().await;
    declare(&world.channel, "queue", "classic").await;
    let other = world.another_channel().await;
    let mut first = consume(&world.channel, "queue").await;
    let mut second = consume(&other, "queue").await;
    fill(&world.channel, "queue", &["1"]).await;
    let held = next(&mut first).await;
    world
        .channel
        .basic_cancel(first.tag(), BasicCancelOptions::default())
        .await
        .unwrap();
    fill(&world.channel, "queue", &["2"]).await;
    assert_eq!(next_bodies(&mut second, 1).await, ["2"]);
    ack(&held).await;
    assert_eq!(world.ready("queue").await, 0);
}

#[tokio::test]
async fn many_changes_of_the_active_consumer_keep_the_order() {
    const ROUNDS: usize = 20;
    let world = World::start().await;
    declare(&world.channel, "queue", "classic").await;
    let bodies: Vec<_> = (0..ROUNDS * 2).map(|number| number.to_string()).collect();
    let bodies: Vec<_> = bodies.iter().map(String::as_str).collect();
    fill(&world.channel, "queue", &bodies).await;
    let connection = world.another_connection().await;
    let mut channel = connection.create_channel().await.unwrap();
    prefetch(&channel, 4).await;
    let mut active = consume(&channel, "queue").await;
    for round in 0..ROUNDS {
        let heir_channel = connection.create_channel().await.unwrap();
        prefetch(&heir_channel, 4).await;
        let heir = consume(&heir_channel, "queue").await;
        for number in [2 * round, 2 * round + 1] {
            let delivery = next(&mut active).await;
            assert_eq!(body(&delivery), number.to_string());
            ack(&delivery).await;
        }
        // Up to four more are unacked, and come again from the first.
        channel.close(200, "OK".into()).await.unwrap();
        (channel, active) = (heir_channel, heir);
    }
    expect_nothing(&channel, &mut active).await;
}
