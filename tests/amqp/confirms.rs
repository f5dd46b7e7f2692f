//! Publisher confirms.

use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

use crate::world::World;

#[tokio::test]
async fn every_publish_is_confirmed_persistent_or_not() {
    let world = World::start().await;
    let durable = QueueDeclareOptions::durable();
    world
        .channel
        .queue_declare("queue".into(), durable, FieldTable::default())
        .await
        .unwrap();
    let mut confirms = Vec::new();
    for number in 0..1_000u32 {
        let mode = if number % 3 == 0 { 2 } else { 1 };
        let properties = BasicProperties::default().with_delivery_mode(mode);
        let options = BasicPublishOptions::default();
        let publish = world
            .channel
            .basic_publish("".into(), "queue".into(), options, b"x", properties);
        confirms.push(publish.await.unwrap());
    }
    for confirm in confirms {
        assert!(confirm.await.unwrap().is_ack());
    }
    assert_eq!(world.ready("queue").await, 1_000);
}

#[tokio::test]
async fn what_has_no_route_is_confirmed_too() {
    let world = World::start().await;
    let options = BasicPublishOptions::default();
    let publish = world.channel.basic_publish(
        "amq.direct".into(),
        "nobody".into(),
        options,
        b"x",
        BasicProperties::default(),
    );
    assert!(publish.await.unwrap().await.unwrap().is_ack());
}
