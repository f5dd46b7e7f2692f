//! Mistakes, as a lapin user sees them. The wire tests have all of them; here are those that users meet.

use futures_lite::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection, ConnectionProperties, ExchangeKind};
use tokio::time::timeout;

use crate::support::DEADLINE;
use crate::world::{World, consume, declare, declare_exchange, publish, refusal, take_all};

#[tokio::test]
async fn a_channel_error_leaves_the_connections_other_channels_alone() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    let channel = world.another_channel().await;
    let consume = channel.basic_consume(
        "none".into(),
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let refused = refusal(consume.await.map(|_| ()));
    assert_eq!(
        refused,
        (404, "NOT_FOUND - no queue 'none' in vhost '/'".to_owned())
    );
    assert!(!channel.status().connected());
    publish(&world.channel, "", "queue", "x").await;
    assert_eq!(take_all(&world.channel, "queue").await, ["x"]);
}

#[tokio::test]
async fn a_publish_to_a_missing_exchange_is_404() {
    let world = World::start().await;
    let options = BasicPublishOptions::default();
    let publish = world.channel.basic_publish(
        "none".into(),
        "key".into(),
        options,
        b"x",
        BasicProperties::default(),
    );
    let refused = refusal(publish.await.unwrap().await);
    assert_eq!(
        refused,
        (404, "NOT_FOUND - no exchange 'none' in vhost '/'".to_owned())
    );
}

#[tokio::test]
async fn a_bind_to_a_missing_exchange_is_404() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    let options = QueueBindOptions::default();
    let bind = world.channel.queue_bind(
        "queue".into(),
        "none".into(),
        "".into(),
        options,
        FieldTable::default(),
    );
    assert_eq!(refusal(bind.await).0, 404);
}

#[tokio::test]
async fn a_redeclare_as_another_type_is_406() {
    let world = World::start().await;
    declare_exchange(&world.channel, "exchange", ExchangeKind::Direct).await;
    let options = ExchangeDeclareOptions::default();
    let declare = world.channel.exchange_declare(
        "exchange".into(),
        ExchangeKind::Fanout,
        options,
        FieldTable::default(),
    );
    let (code, text) = refusal(declare.await);
    assert_eq!(code, 406);
    let expected = "inequivalent arg 'type' for exchange 'exchange' in vhost '/': received 'fanout' but current is 'direct'";
    assert!(text.contains(expected), "{text}");
}

#[tokio::test]
async fn a_reserved_name_is_403() {
    let world = World::start().await;
    let declare = world.channel.queue_declare(
        "amq.mine".into(),
        QueueDeclareOptions::default(),
        FieldTable::default(),
    );
    let (code, text) = refusal(declare.await);
    assert_eq!(code, 403);
    assert!(
        text.contains("queue name 'amq.mine' contains reserved prefix 'amq.*'"),
        "{text}"
    );
}

#[tokio::test]
async fn an_unknown_delivery_tag_is_406() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    let mut consumer = consume(&world.channel, "queue").await;
    world
        .channel
        .basic_ack(42, BasicAckOptions::default())
        .await
        .unwrap();
    let end = timeout(DEADLINE, consumer.next())
        .await
        .unwrap()
        .expect("the consumer is told why");
    assert_eq!(
        refusal(end),
        (406, "PRECONDITION_FAILED - unknown delivery tag 42".to_owned())
    );
}

#[tokio::test]
async fn a_wrong_password_is_refused_in_words() {
    let world = World::start().await;
    let uri = format!("amqp://guest:wrong@{}/%2f", world.server.address());
    let (code, text) = refusal(
        Connection::connect(&uri, ConnectionProperties::default())
            .await
            .map(|_| ()),
    );
    assert_eq!(code, 403);
    assert!(
        text.contains("Login was refused using authentication mechanism PLAIN"),
        "{text}"
    );
}

#[tokio::test]
async fn an_unknown_vhost_is_530() {
    let world = World::start().await;
    let uri = format!("amqp://guest:guest@{}/none", world.server.address());
    let refused = refusal(
        Connection::connect(&uri, ConnectionProperties::default())
            .await
            .map(|_| ()),
    );
    assert_eq!(refused, (530, "NOT_ALLOWED - vhost none not found".to_owned()));
}
