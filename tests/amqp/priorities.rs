//! Queues with `x-max-priority`.

use lapin::BasicProperties;

use crate::world::{World, arguments, declare_with, get, publish_with, take_all};

async fn publish(world: &World, body: &str, priority: u8) {
    let properties = BasicProperties::default()
        .with_priority(priority)
        .with_delivery_mode(2);
    publish_with(&world.channel, "", "queue", body.as_bytes(), properties).await;
}

#[tokio::test]
async fn the_highest_priority_goes_first_and_each_keeps_its_order() {
    let world = World::start().await;
    declare_with(&world.channel, "queue", arguments(&[("x-max-priority", 5)], &[])).await;
    publish_with(&world.channel, "", "queue", b"none", BasicProperties::default()).await;
    for (body, priority) in [("1a", 1), ("5a", 5), ("1b", 1), ("9 is 5", 9), ("3", 3)] {
        publish(&world, body, priority).await;
    }
    let expected = ["5a", "9 is 5", "3", "1a", "1b", "none"];
    assert_eq!(take_all(&world.channel, "queue").await, expected);
}

#[tokio::test]
async fn a_requeued_message_keeps_its_place() {
    let world = World::start().await;
    declare_with(&world.channel, "queue", arguments(&[("x-max-priority", 2)], &[])).await;
    for (body, priority) in [("2a", 2), ("2b", 2), ("1", 1)] {
        publish(&world, body, priority).await;
    }
    let first = get(&world.channel, "queue").await.unwrap();
    first
        .acker
        .reject(lapin::options::BasicRejectOptions { requeue: true })
        .await
        .unwrap();
    assert_eq!(take_all(&world.channel, "queue").await, ["2a", "2b", "1"]);
}

#[tokio::test]
async fn priorities_survive_a_crash() {
    let mut world = World::start().await;
    declare_with(
        &world.channel,
        "queue",
        arguments(&[("x-max-priority", 255)], &[]),
    )
    .await;
    for (body, priority) in [
        ("low", 1),
        ("high", 200),
        ("none", 0),
        ("highest", 255),
        ("low too", 1),
    ] {
        publish(&world, body, priority).await;
    }
    world.server.kill_and_restart();
    let connection = world.another_connection().await;
    let channel = connection.create_channel().await.unwrap();
    let expected = ["highest", "high", "low", "low too", "none"];
    assert_eq!(take_all(&channel, "queue").await, expected);
}

#[tokio::test]
async fn a_full_priority_queue_drops_the_lowest() {
    let world = World::start().await;
    let numbers = [("x-max-priority", 3), ("x-max-length", 3)];
    declare_with(&world.channel, "queue", arguments(&numbers, &[])).await;
    for (body, priority) in [("3", 3), ("1a", 1), ("2", 2), ("1b", 1), ("3 too", 3)] {
        publish(&world, body, priority).await;
    }
    assert_eq!(take_all(&world.channel, "queue").await, ["3", "3 too", "2"]);
}
