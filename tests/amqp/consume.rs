//! Consumers and what they are handed.

use lapin::options::{BasicCancelOptions, BasicConsumeOptions};
use lapin::types::FieldTable;

use crate::world::{
    World, ack, bind, body, consume, consume_with, declare, expect_nothing, fill, next, next_bodies, publish,
    take_all,
};

#[tokio::test]
async fn a_consumer_gets_what_was_there_and_what_comes_in_order() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    fill(&world.channel, "queue", &["a", "b"]).await;
    let mut consumer = consume(&world.channel, "queue").await;
    fill(&world.channel, "queue", &["c", "d"]).await;
    assert_eq!(next_bodies(&mut consumer, 4).await, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_delivery_names_its_exchange_key_and_consumer() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    bind(&world.channel, "queue", "amq.topic", "#").await;
    let mut consumer = consume(&world.channel, "queue").await;
    publish(&world.channel, "amq.topic", "a.b", "x").await;
    let delivery = next(&mut consumer).await;
    assert_eq!(
        (delivery.exchange.as_str(), delivery.routing_key.as_str()),
        ("amq.topic", "a.b")
    );
    assert_eq!((delivery.delivery_tag, delivery.redelivered), (1, false));
    assert!(
        consumer.tag().as_str().starts_with("amq.ctag-"),
        "{}",
        consumer.tag()
    );
}

#[tokio::test]
async fn unacked_messages_return_when_their_channel_closes() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    fill(&world.channel, "queue", &["a", "b", "c"]).await;
    let channel = world.another_channel().await;
    let mut consumer = consume(&channel, "queue").await;
    ack(&next(&mut consumer).await).await;
    next_bodies(&mut consumer, 2).await;
    channel.close(200, "OK".into()).await.unwrap();
    let mut second = consume(&world.channel, "queue").await;
    for expected in ["b", "c"] {
        let delivery = next(&mut second).await;
        assert_eq!((body(&delivery).as_str(), delivery.redelivered), (expected, true));
    }
}

#[tokio::test]
async fn what_is_delivered_without_acks_is_gone() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    fill(&world.channel, "queue", &["a", "b"]).await;
    let channel = world.another_channel().await;
    let no_ack = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    let mut consumer = consume_with(&channel, "queue", no_ack).await;
    assert_eq!(next_bodies(&mut consumer, 2).await, ["a", "b"]);
    channel.close(200, "OK".into()).await.unwrap();
    assert!(take_all(&world.channel, "queue").await.is_empty());
}

#[tokio::test]
async fn a_cancelled_consumer_gets_nothing_more_and_keeps_what_it_has() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    let channel = world.another_channel().await;
    let mut consumer = consume(&channel, "queue").await;
    publish(&world.channel, "", "queue", "held").await;
    let held = next(&mut consumer).await;
    channel
        .basic_cancel(consumer.tag(), BasicCancelOptions::default())
        .await
        .unwrap();
    publish(&world.channel, "", "queue", "left").await;
    assert_eq!(
        take_all(&world.channel, "queue").await,
        ["left"],
        "cancel requeues nothing"
    );
    ack(&held).await;
    channel.close(200, "OK".into()).await.unwrap();
    assert!(take_all(&world.channel, "queue").await.is_empty());
}

#[tokio::test]
async fn several_consumers_of_a_channel_are_told_apart_by_their_tags() {
    let world = World::start().await;
    for queue in ["a", "b"] {
        declare(&world.channel, queue).await;
    }
    let options = BasicConsumeOptions::default();
    let arguments = FieldTable::default();
    let tagged = world
        .channel
        .basic_consume("a".into(), "my-tag".into(), options, arguments);
    let mut first = tagged.await.unwrap();
    let mut second = consume(&world.channel, "b").await;
    publish(&world.channel, "", "b", "for b").await;
    publish(&world.channel, "", "a", "for a").await;
    assert_eq!(next_bodies(&mut first, 1).await, ["for a"]);
    assert_eq!(next_bodies(&mut second, 1).await, ["for b"]);
    assert_eq!(first.tag().as_str(), "my-tag");
    expect_nothing(&world.channel, &mut first).await;
}
