//! Properties and nested headers come back as they were sent.

use lapin::BasicProperties;
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, DecimalValue, FieldTable};

use crate::world::{World, connect, declare, get, publish_with};

fn headers() -> FieldTable {
    let mut inner = FieldTable::default();
    inner.insert("deep".into(), AMQPValue::LongString("value".into()));
    inner.insert("nothing".into(), AMQPValue::Void);
    let mut headers = FieldTable::default();
    for (name, value) in [
        ("bool", AMQPValue::Boolean(true)),
        ("byte", AMQPValue::ShortShortInt(-8)),
        ("short", AMQPValue::ShortInt(-1600)),
        ("int", AMQPValue::LongInt(-320_000)),
        ("long", AMQPValue::LongLongInt(i64::MIN)),
        ("float", AMQPValue::Float(1.5)),
        ("double", AMQPValue::Double(-2.25)),
        (
            "decimal",
            AMQPValue::DecimalValue(DecimalValue {
                scale: 2,
                value: 12345,
            }),
        ),
        ("text", AMQPValue::LongString("grüße".into())),
        ("time", AMQPValue::Timestamp(1_700_000_000)),
        ("bytes", AMQPValue::ByteArray(vec![0, 255, 7].into())),
        ("void", AMQPValue::Void),
        (
            "array",
            AMQPValue::FieldArray(vec![AMQPValue::LongInt(1), AMQPValue::FieldTable(inner.clone())].into()),
        ),
        ("table", AMQPValue::FieldTable(inner)),
    ] {
        headers.insert(name.into(), value);
    }
    headers
}

fn all_properties() -> BasicProperties {
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("gzip".into())
        .with_headers(headers())
        .with_delivery_mode(2)
        .with_priority(7)
        .with_correlation_id("correlation".into())
        .with_reply_to("reply-queue".into())
        .with_expiration("60000".into())
        .with_message_id("message-1".into())
        .with_timestamp(1_700_000_000)
        .with_type("order.placed".into())
        .with_user_id("guest".into())
        .with_app_id("shop".into())
        .with_cluster_id("cluster".into())
}

#[tokio::test]
async fn all_properties_and_header_types_come_back() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    publish_with(&world.channel, "", "queue", b"x", all_properties()).await;
    assert_eq!(
        get(&world.channel, "queue").await.unwrap().properties,
        all_properties()
    );
}

#[tokio::test]
async fn a_message_without_properties_gets_none() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    publish_with(&world.channel, "", "queue", b"x", BasicProperties::default()).await;
    assert_eq!(
        get(&world.channel, "queue").await.unwrap().properties,
        BasicProperties::default()
    );
}

#[tokio::test]
async fn properties_survive_a_crash() {
    let mut world = World::start().await;
    let durable = QueueDeclareOptions::durable();
    world
        .channel
        .queue_declare("queue".into(), durable, FieldTable::default())
        .await
        .unwrap();
    publish_with(&world.channel, "", "queue", b"x", all_properties()).await;
    world.server.kill_and_restart();
    let connection = connect(&world.server.uri()).await;
    let channel = connection.create_channel().await.unwrap();
    assert_eq!(get(&channel, "queue").await.unwrap().properties, all_properties());
}
