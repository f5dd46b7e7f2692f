//! Messages that come back too often, rest between attempts, or stay unacked for too long.

use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicRejectOptions};
use lapin::types::{AMQPValue, FieldTable};

use crate::world::{
    World, ack, arguments, body, consume, declare, declare_with, expect_nothing, fill, header, next,
    prefetch, take_all,
};

const REQUEUE: BasicNackOptions = BasicNackOptions {
    multiple: false,
    requeue: true,
};

#[tokio::test]
async fn a_message_that_comes_back_too_often_is_dead() {
    let world = World::start().await;
    declare(&world.channel, "dead").await;
    let to_dead = [
        ("x-dead-letter-exchange", ""),
        ("x-dead-letter-routing-key", "dead"),
    ];
    declare_with(
        &world.channel,
        "work",
        arguments(&[("x-delivery-limit", 2)], &to_dead),
    )
    .await;
    fill(&world.channel, "work", &["poison"]).await;
    let mut consumer = consume(&world.channel, "work").await;
    for attempt in 0..3 {
        let delivery = next(&mut consumer).await;
        let count = (attempt > 0).then_some(AMQPValue::LongLongInt(attempt));
        assert_eq!(header(&delivery.properties, "x-delivery-count"), count.as_ref());
        delivery.acker.nack(REQUEUE).await.unwrap();
    }
    let mut dead = consume(&world.channel, "dead").await;
    let letter = next(&mut dead).await;
    assert_eq!(
        header(&letter.properties, "x-last-death-reason"),
        Some(&AMQPValue::LongString("delivery_limit".into()))
    );
    expect_nothing(&world.channel, &mut consumer).await;
}

#[tokio::test]
async fn attempts_are_counted_over_a_crash() {
    let mut world = World::start().await;
    declare_with(&world.channel, "work", arguments(&[("x-delivery-limit", 1)], &[])).await;
    let persistent = lapin::BasicProperties::default().with_delivery_mode(2);
    crate::world::publish_with(&world.channel, "", "work", b"poison", persistent.clone()).await;
    let first = crate::world::get(&world.channel, "work").await.unwrap();
    first
        .acker
        .reject(BasicRejectOptions { requeue: true })
        .await
        .unwrap();
    // Of what is read at once, publishes go first: the confirm must not be for one that overtook the reject.
    assert_eq!(world.ready("work").await, 1);
    crate::world::publish_with(&world.channel, "", "work", b"marker", persistent).await;
    world.server.kill_and_restart();
    let connection = world.another_connection().await;
    let channel = connection.create_channel().await.unwrap();
    let again = crate::world::get(&channel, "work").await.unwrap();
    assert!(again.redelivered);
    assert_eq!(
        header(&again.properties, "x-delivery-count"),
        Some(&AMQPValue::LongLongInt(1))
    );
    again
        .acker
        .reject(BasicRejectOptions { requeue: true })
        .await
        .unwrap();
    assert_eq!(take_all(&channel, "work").await, ["marker"]);
}

#[tokio::test]
async fn a_returned_message_rests_while_others_go_on() {
    let world = World::start().await;
    let numbers = [("x-delayed-retry-min", 300), ("x-delayed-retry-max", 300)];
    declare_with(
        &world.channel,
        "work",
        arguments(&numbers, &[("x-delayed-retry-type", "all")]),
    )
    .await;
    fill(&world.channel, "work", &["a", "b"]).await;
    prefetch(&world.channel, 1).await;
    let mut consumer = consume(&world.channel, "work").await;
    next(&mut consumer).await.acker.nack(REQUEUE).await.unwrap();
    let second = next(&mut consumer).await;
    assert_eq!(body(&second), "b", "the first one rests");
    ack(&second).await;
    let again = next(&mut consumer).await;
    assert_eq!(body(&again), "a");
    assert!(again.redelivered);
}

#[tokio::test]
async fn a_late_delivery_goes_to_another_consumer_and_the_channel_lives() {
    let world = World::start().await;
    declare_with(
        &world.channel,
        "work",
        arguments(&[("x-consumer-timeout", 50)], &[]),
    )
    .await;
    prefetch(&world.channel, 1).await;
    let mut stuck = consume(&world.channel, "work").await;
    fill(&world.channel, "work", &["a", "b"]).await;
    let held = next(&mut stuck).await;
    let other = world.another_channel().await;
    prefetch(&other, 1).await;
    let mut able = consume(&other, "work").await;
    assert_eq!(body(&held), "a");
    let first = next(&mut able).await;
    ack(&first).await;
    let second = next(&mut able).await;
    ack(&second).await;
    let mut bodies = [body(&first), body(&second)];
    bodies.sort();
    assert_eq!(bodies, ["a", "b"]);
    // It has no credit before it settles what it holds; the late ack does no harm.
    fill(&world.channel, "work", &["c"]).await;
    let third = next(&mut able).await;
    assert_eq!(body(&third), "c");
    ack(&third).await;
    held.acker.ack(BasicAckOptions::default()).await.unwrap();
    able_to_work_again(&world, &mut stuck, &other, &able).await;
}

/// The consumer that was late gets messages again once it has settled.
async fn able_to_work_again(
    world: &World,
    stuck: &mut lapin::Consumer,
    other: &lapin::Channel,
    able: &lapin::Consumer,
) {
    let tag = able.tag();
    other
        .basic_cancel(tag, lapin::options::BasicCancelOptions::default())
        .await
        .unwrap();
    fill(&world.channel, "work", &["d"]).await;
    assert_eq!(body(&next(stuck).await), "d");
}

#[tokio::test]
async fn a_consumer_may_have_a_timeout_of_its_own() {
    let world = World::start().await;
    declare(&world.channel, "work").await;
    prefetch(&world.channel, 1).await;
    let mut stuck = world
        .channel
        .basic_consume(
            "work".into(),
            "".into(),
            BasicConsumeOptions::default(),
            arguments(&[("x-consumer-timeout", 50)], &[]),
        )
        .await
        .unwrap();
    fill(&world.channel, "work", &["a"]).await;
    next(&mut stuck).await;
    let other = world.another_channel().await;
    let mut able = consume(&other, "work").await;
    assert!(next(&mut able).await.redelivered);
}

#[tokio::test]
async fn a_single_active_consumer_that_is_late_is_cancelled_for_the_next() {
    let world = World::start().await;
    let mut single: FieldTable = arguments(&[("x-consumer-timeout", 50)], &[]);
    single.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    declare_with(&world.channel, "work", single).await;
    let mut stuck = consume(&world.channel, "work").await;
    let other = world.another_channel().await;
    let mut waiting = consume(&other, "work").await;
    fill(&world.channel, "work", &["a"]).await;
    assert_eq!(body(&next(&mut stuck).await), "a");
    let again = next(&mut waiting).await;
    assert_eq!(body(&again), "a");
    ack(&again).await;
}
