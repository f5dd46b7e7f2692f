//! Prefetch, per consumer and per channel.

use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};

use crate::world::{
    World, ack, arguments, consume, declare, expect_nothing, fill, next, next_bodies, prefetch,
};

#[tokio::test]
async fn a_consumer_holds_no_more_than_its_prefetch() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    fill(&world.channel, "queue", &["a", "b", "c", "d"]).await;
    prefetch(&world.channel, 2).await;
    let mut consumer = consume(&world.channel, "queue").await;
    let a = next(&mut consumer).await;
    next(&mut consumer).await;
    expect_nothing(&world.channel, &mut consumer).await;
    ack(&a).await;
    assert_eq!(next_bodies(&mut consumer, 1).await, ["c"]);
    expect_nothing(&world.channel, &mut consumer).await;
}

#[tokio::test]
async fn multiple_acks_make_room_for_as_many() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    fill(&world.channel, "queue", &["a", "b", "c", "d", "e", "f", "g"]).await;
    prefetch(&world.channel, 3).await;
    let mut consumer = consume(&world.channel, "queue").await;
    next_bodies(&mut consumer, 2).await;
    next(&mut consumer)
        .await
        .acker
        .ack(BasicAckOptions { multiple: true })
        .await
        .unwrap();
    assert_eq!(next_bodies(&mut consumer, 3).await, ["d", "e", "f"]);
    expect_nothing(&world.channel, &mut consumer).await;
}

#[tokio::test]
async fn each_consumer_of_a_channel_has_its_own_prefetch() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    prefetch(&world.channel, 1).await;
    let mut first = consume(&world.channel, "queue").await;
    prefetch(&world.channel, 2).await;
    let mut second = consume(&world.channel, "queue").await;
    fill(&world.channel, "queue", &["1", "2", "3", "4", "5"]).await;
    next(&mut first).await;
    next_bodies(&mut second, 2).await;
    expect_nothing(&world.channel, &mut first).await;
    expect_nothing(&world.channel, &mut second).await;
    assert_eq!(world.ready("queue").await, 2);
}

#[tokio::test]
async fn a_global_prefetch_is_shared_by_the_consumers_of_a_channel() {
    let world = World::start().await;
    for queue in ["a", "b"] {
        declare(&world.channel, queue).await;
    }
    world
        .channel
        .basic_qos(2, BasicQosOptions { global: true })
        .await
        .unwrap();
    let mut first = consume(&world.channel, "a").await;
    let mut second = consume(&world.channel, "b").await;
    fill(&world.channel, "a", &["a1", "a2"]).await;
    fill(&world.channel, "b", &["b1"]).await;
    let a1 = next(&mut first).await;
    assert_eq!(next_bodies(&mut first, 1).await, ["a2"]);
    expect_nothing(&world.channel, &mut second).await;
    ack(&a1).await;
    assert_eq!(next_bodies(&mut second, 1).await, ["b1"]);
}

#[tokio::test]
async fn prefetch_zero_is_no_limit() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    fill(&world.channel, "queue", &["x"; 50]).await;
    prefetch(&world.channel, 0).await;
    let mut consumer = consume(&world.channel, "queue").await;
    assert_eq!(next_bodies(&mut consumer, 50).await, vec!["x"; 50]);
}

#[tokio::test]
async fn a_limit_that_is_lifted_lets_a_higher_priority_come_first() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    world
        .channel
        .basic_qos(1, BasicQosOptions { global: true })
        .await
        .unwrap();
    let mut consumers = Vec::new();
    for priority in [0, 0, 0, 1, 0, 0, 0, 0] {
        let arguments = arguments(&[("x-priority", priority)], &[]);
        let options = BasicConsumeOptions::default();
        let consumer = world
            .channel
            .basic_consume("queue".into(), "".into(), options, arguments);
        consumers.push(consumer.await.unwrap());
    }
    fill(&world.channel, "queue", &["a", "b", "c"]).await;
    assert_eq!(next_bodies(&mut consumers[3], 1).await, ["a"]);
    prefetch(&world.channel, 0).await;
    assert_eq!(next_bodies(&mut consumers[3], 2).await, ["b", "c"]);
}
