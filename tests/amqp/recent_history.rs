//! `x-recent-history`: whoever is bound gets the last messages.

use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, ExchangeKind};

use crate::world::{
    World, ack, bind, body, consume, declare, declare_exchange, next, next_bodies, publish, publish_with,
    take_all,
};

fn kind() -> ExchangeKind {
    ExchangeKind::Custom("x-recent-history".to_owned())
}

fn argument(name: &str, value: AMQPValue) -> FieldTable {
    let mut table = FieldTable::default();
    table.insert(name.into(), value);
    table
}

async fn declare_history(channel: &Channel, exchange: &str, length: i32) {
    let arguments = argument("x-recent-history-length", AMQPValue::LongInt(length));
    channel
        .exchange_declare(
            exchange.into(),
            kind(),
            ExchangeDeclareOptions::default(),
            arguments,
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn a_queue_gets_the_last_messages_when_it_is_bound_and_the_next_ones_after_them() {
    let world = World::start().await;
    declare_history(&world.channel, "news", 3).await;
    for n in 0..5 {
        publish(&world.channel, "news", "any key", &n.to_string()).await;
    }
    declare(&world.channel, "late").await;
    bind(&world.channel, "late", "news", "").await;
    publish(&world.channel, "news", "", "5").await;
    assert_eq!(take_all(&world.channel, "late").await, ["2", "3", "4", "5"]);
    bind(&world.channel, "late", "news", "").await;
    assert!(
        take_all(&world.channel, "late").await.is_empty(),
        "it was bound already"
    );
    declare(&world.channel, "later").await;
    bind(&world.channel, "later", "news", "").await;
    assert_eq!(take_all(&world.channel, "later").await, ["3", "4", "5"]);
}

#[tokio::test]
async fn twenty_messages_are_kept_unless_the_arguments_say_otherwise() {
    let world = World::start().await;
    declare_exchange(&world.channel, "news", kind()).await;
    for n in 0..30 {
        publish(&world.channel, "news", "", &n.to_string()).await;
    }
    declare(&world.channel, "late").await;
    bind(&world.channel, "late", "news", "").await;
    let expected: Vec<_> = (10..30).map(|n| n.to_string()).collect();
    assert_eq!(take_all(&world.channel, "late").await, expected);
}

#[tokio::test]
async fn a_consumer_that_waits_gets_the_history_as_it_was_published() {
    let world = World::start().await;
    declare_history(&world.channel, "news", 2).await;
    let properties = BasicProperties::default().with_message_id("id".into());
    publish_with(&world.channel, "news", "the key", b"a", properties).await;
    publish(&world.channel, "news", "", "b").await;
    declare(&world.channel, "late").await;
    let mut consumer = consume(&world.channel, "late").await;
    bind(&world.channel, "late", "news", "").await;
    let first = next(&mut consumer).await;
    assert_eq!((body(&first).as_str(), first.redelivered), ("a", false));
    assert_eq!(
        (first.exchange.as_str(), first.routing_key.as_str()),
        ("news", "the key")
    );
    assert_eq!(first.properties.message_id().as_ref().unwrap().as_str(), "id");
    ack(&first).await;
    assert_eq!(next_bodies(&mut consumer, 1).await, ["b"]);
}

#[tokio::test]
async fn a_message_that_asks_for_it_is_routed_and_not_kept() {
    let world = World::start().await;
    declare_history(&world.channel, "news", 5).await;
    declare(&world.channel, "early").await;
    bind(&world.channel, "early", "news", "").await;
    let headers = argument("x-recent-history-no-store", AMQPValue::Boolean(true));
    let properties = BasicProperties::default().with_headers(headers);
    publish_with(&world.channel, "news", "", b"once", properties).await;
    publish(&world.channel, "news", "", "kept").await;
    declare(&world.channel, "late").await;
    bind(&world.channel, "late", "news", "").await;
    assert_eq!(take_all(&world.channel, "early").await, ["once", "kept"]);
    assert_eq!(take_all(&world.channel, "late").await, ["kept"]);
}

#[tokio::test]
async fn messages_that_come_through_other_exchanges_are_kept_and_replayed_through_others() {
    let world = World::start().await;
    declare_exchange(&world.channel, "front", ExchangeKind::Direct).await;
    declare_history(&world.channel, "news", 5).await;
    declare_exchange(&world.channel, "back", ExchangeKind::Topic).await;
    let bind_exchange = |destination: &'static str, source: &'static str, key: &'static str| {
        let options = ExchangeBindOptions::default();
        world.channel.exchange_bind(
            destination.into(),
            source.into(),
            key.into(),
            options,
            FieldTable::default(),
        )
    };
    bind_exchange("news", "front", "red").await.unwrap();
    bind_exchange("news", "front", "blue").await.unwrap();
    for key in ["red", "green", "blue"] {
        publish(&world.channel, "front", key, key).await;
    }
    declare(&world.channel, "late").await;
    bind(&world.channel, "late", "back", "r*").await;
    bind(&world.channel, "late", "back", "red").await;
    bind_exchange("back", "news", "").await.unwrap();
    assert_eq!(take_all(&world.channel, "late").await, ["red"]);
    bind(&world.channel, "late", "news", "").await;
    assert_eq!(take_all(&world.channel, "late").await, ["red", "blue"]);
}

#[tokio::test]
async fn dead_letters_are_kept_too() {
    let world = World::start().await;
    declare_history(&world.channel, "graves", 5).await;
    let arguments = argument("x-dead-letter-exchange", AMQPValue::LongString("graves".into()));
    let options = lapin::options::QueueDeclareOptions::default();
    world
        .channel
        .queue_declare("work".into(), options, arguments)
        .await
        .unwrap();
    publish(&world.channel, "", "work", "failed").await;
    let mut consumer = consume(&world.channel, "work").await;
    let delivery = next(&mut consumer).await;
    let reject = lapin::options::BasicRejectOptions { requeue: false };
    delivery.acker.reject(reject).await.unwrap();
    declare(&world.channel, "late").await;
    bind(&world.channel, "late", "graves", "").await;
    assert_eq!(take_all(&world.channel, "late").await, ["failed"]);
}

#[tokio::test]
async fn a_transaction_is_kept_when_it_commits() {
    let world = World::start().await;
    declare_history(&world.channel, "news", 5).await;
    let channel = world.another_channel().await;
    channel.tx_select().await.unwrap();
    let publish = |text: &'static str| {
        let options = lapin::options::BasicPublishOptions::default();
        channel.basic_publish(
            "news".into(),
            "".into(),
            options,
            text.as_bytes(),
            BasicProperties::default(),
        )
    };
    publish("undone").await.unwrap();
    channel.tx_rollback().await.unwrap();
    publish("done").await.unwrap();
    declare(&world.channel, "early").await;
    bind(&world.channel, "early", "news", "").await;
    assert!(take_all(&world.channel, "early").await.is_empty());
    channel.tx_commit().await.unwrap();
    declare(&world.channel, "late").await;
    bind(&world.channel, "late", "news", "").await;
    assert_eq!(take_all(&world.channel, "late").await, ["done"]);
}
