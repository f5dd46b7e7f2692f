//! Messages that an exchange routes later. They may come late on a busy machine, but never early.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lapin::options::{
    BasicPublishOptions, BasicRejectOptions, ExchangeDeclareOptions, ExchangeDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, ExchangeKind};

use crate::world::{
    World, arguments, bind, body, connect, consume, declare, declare_with, expect_nothing, get, header, next,
    next_bodies, publish, publish_with,
};

/// The broker counts whole milliseconds.
const TICK: Duration = Duration::from_millis(2);

async fn declare_delayed(channel: &Channel, exchange: &str, kind: &str, durable: bool) {
    let options = ExchangeDeclareOptions {
        durable,
        ..ExchangeDeclareOptions::default()
    };
    let arguments = arguments(&[], &[("x-delayed-type", kind)]);
    let delayed = ExchangeKind::Custom("x-delayed-message".into());
    channel
        .exchange_declare(exchange.into(), delayed, options, arguments)
        .await
        .unwrap();
}

/// An exchange that delays, and a queue that gets everything from it.
async fn world() -> World {
    let world = World::start().await;
    declare_delayed(&world.channel, "later", "fanout", true).await;
    declare(&world.channel, "queue").await;
    bind(&world.channel, "queue", "later", "").await;
    world
}

fn headers(name: &str, value: AMQPValue) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert(name.into(), value);
    BasicProperties::default().with_headers(headers)
}

fn delayed_by(millis: i32) -> BasicProperties {
    headers("x-delay", AMQPValue::LongInt(millis))
}

fn millis_since_epoch() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since_epoch.as_millis()).unwrap()
}

#[tokio::test]
async fn a_message_comes_after_its_delay_with_the_delay_negated() {
    let world = world().await;
    let mut consumer = consume(&world.channel, "queue").await;
    let begin = Instant::now();
    let properties = delayed_by(1000).with_message_id("m-1".into());
    publish_with(&world.channel, "later", "key", b"later", properties).await;
    publish(&world.channel, "later", "key", "at once").await;
    assert_eq!(body(&next(&mut consumer).await), "at once");
    let delivery = next(&mut consumer).await;
    assert!(begin.elapsed() + TICK >= Duration::from_secs(1), "it is early");
    assert_eq!(body(&delivery), "later");
    assert_eq!(
        (delivery.exchange.as_str(), delivery.routing_key.as_str()),
        ("later", "key")
    );
    assert_eq!(
        header(&delivery.properties, "x-delay"),
        Some(&AMQPValue::LongInt(-1000))
    );
    assert_eq!(delivery.properties.message_id().as_ref().unwrap().as_str(), "m-1");
}

#[tokio::test]
async fn messages_that_are_due_together_keep_their_order_and_others_come_when_they_are_due() {
    let world = world().await;
    let mut consumer = consume(&world.channel, "queue").await;
    let at = millis_since_epoch() + 1500;
    let mut confirms = Vec::new();
    let mut publish = async |body: &str, at: i64| {
        let properties = headers("x-deliver-at", AMQPValue::LongLongInt(at));
        let options = BasicPublishOptions::default();
        let publish =
            world
                .channel
                .basic_publish("later".into(), "".into(), options, body.as_bytes(), properties);
        confirms.push(publish.await.unwrap());
    };
    publish("last", at + 100).await;
    for number in 0..40 {
        publish(&number.to_string(), at).await;
    }
    publish("first", at - 500).await;
    for confirm in confirms {
        assert_eq!(confirm.await.unwrap(), Confirmation::Ack(None));
    }
    assert_eq!(next_bodies(&mut consumer, 1).await, ["first"]);
    let together = next_bodies(&mut consumer, 40).await;
    assert!(millis_since_epoch() + 2 >= at, "they are early");
    let expected: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    assert_eq!(together, expected);
    assert_eq!(next_bodies(&mut consumer, 1).await, ["last"]);
}

#[tokio::test]
async fn delayed_messages_outlive_a_kill_whatever_their_delivery_mode() {
    let mut world = world().await;
    declare_with(&world.channel, "kept", FieldTable::default()).await;
    bind(&world.channel, "kept", "later", "").await;
    for (mode, text) in [(1, "transient"), (2, "persistent")] {
        let properties = delayed_by(1500 + i32::from(mode)).with_delivery_mode(mode);
        publish_with(&world.channel, "later", "", text.as_bytes(), properties).await;
    }
    world.server.kill_and_restart();
    let connection = connect(&world.server.uri()).await;
    let channel = connection.create_channel().await.unwrap();
    let mut consumer = consume(&channel, "kept").await;
    assert_eq!(next_bodies(&mut consumer, 2).await, ["transient", "persistent"]);
}

#[tokio::test]
async fn a_mandatory_message_with_a_queue_behind_the_exchange_is_confirmed_and_not_returned() {
    let world = world().await;
    let mandatory = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let channel = &world.channel;
    let publish = channel.basic_publish("later".into(), "".into(), mandatory, b"x", delayed_by(10));
    assert_eq!(publish.await.unwrap().await.unwrap(), Confirmation::Ack(None));
    let mut consumer = consume(channel, "queue").await;
    assert_eq!(next_bodies(&mut consumer, 1).await, ["x"]);
}

#[tokio::test]
async fn a_transaction_delays_at_its_commit_and_not_at_all_without_one() {
    let world = world().await;
    let channel = world.another_channel().await;
    channel.tx_select().await.unwrap();
    let mut consumer = consume(&world.channel, "queue").await;
    publish_with(&channel, "later", "", b"rolled back", delayed_by(1)).await;
    channel.tx_rollback().await.unwrap();
    publish_with(&channel, "later", "", b"committed", delayed_by(1)).await;
    // Its time comes, and it stays where it is.
    publish_with(&world.channel, "later", "", b"between", delayed_by(2)).await;
    assert_eq!(next_bodies(&mut consumer, 1).await, ["between"]);
    channel.tx_commit().await.unwrap();
    assert_eq!(next_bodies(&mut consumer, 1).await, ["committed"]);
    expect_nothing(&world.channel, &mut consumer).await;
}

#[tokio::test]
async fn a_dead_letter_is_delayed_on_its_way_to_the_next_attempt() {
    let world = world().await;
    let dead = arguments(&[], &[("x-dead-letter-exchange", "later")]);
    declare_with(&world.channel, "work", dead).await;
    let begin = Instant::now();
    publish_with(&world.channel, "", "work", b"job", delayed_by(120)).await;
    let first = get(&world.channel, "work")
        .await
        .expect("the default exchange delays nothing");
    first
        .acker
        .reject(BasicRejectOptions { requeue: false })
        .await
        .unwrap();
    let mut consumer = consume(&world.channel, "queue").await;
    let letter = next(&mut consumer).await;
    assert!(
        begin.elapsed() + TICK >= Duration::from_millis(120),
        "it is early"
    );
    assert_eq!(body(&letter), "job");
    assert_eq!(
        header(&letter.properties, "x-delay"),
        Some(&AMQPValue::LongInt(-120))
    );
    let reason = header(&letter.properties, "x-last-death-reason");
    assert_eq!(reason, Some(&AMQPValue::LongString("rejected".into())));
}

#[tokio::test]
async fn a_deleted_exchange_takes_its_messages_along() {
    let world = world().await;
    publish_with(&world.channel, "later", "", b"gone", delayed_by(1500)).await;
    let options = ExchangeDeleteOptions::default();
    world
        .channel
        .exchange_delete("later".into(), options)
        .await
        .unwrap();
    declare_delayed(&world.channel, "later", "fanout", false).await;
    bind(&world.channel, "queue", "later", "").await;
    publish_with(&world.channel, "later", "", b"marker", delayed_by(1600)).await;
    let mut consumer = consume(&world.channel, "queue").await;
    assert_eq!(next_bodies(&mut consumer, 1).await, ["marker"]);
}
