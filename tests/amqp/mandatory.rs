//! Mandatory messages without a route come back.

use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Confirmation};

use crate::world::{World, declare};

const MANDATORY: BasicPublishOptions = BasicPublishOptions {
    mandatory: true,
    immediate: false,
};

#[tokio::test]
async fn a_mandatory_message_without_a_route_is_returned_and_then_acked() {
    let world = World::start().await;
    let properties = BasicProperties::default().with_message_id("m-1".into());
    let publish = world.channel.basic_publish(
        "amq.direct".into(),
        "nobody".into(),
        MANDATORY,
        b"body",
        properties,
    );
    let Confirmation::Ack(Some(returned)) = publish.await.unwrap().await.unwrap() else {
        panic!("it is not returned");
    };
    assert_eq!(
        (returned.reply_code, returned.reply_text.as_str()),
        (312, "NO_ROUTE")
    );
    assert_eq!(
        (returned.exchange.as_str(), returned.routing_key.as_str()),
        ("amq.direct", "nobody")
    );
    assert_eq!(returned.data, b"body");
    assert_eq!(returned.properties.message_id().as_ref().unwrap().as_str(), "m-1");
}

#[tokio::test]
async fn a_mandatory_message_with_a_route_is_not_returned() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    let publish = world.channel.basic_publish(
        "".into(),
        "queue".into(),
        MANDATORY,
        b"x",
        BasicProperties::default(),
    );
    assert_eq!(publish.await.unwrap().await.unwrap(), Confirmation::Ack(None));
    assert_eq!(world.ready("queue").await, 1);
}
