//! Ack, nack, reject, recover, and the place to which a message returns.

use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRecoverOptions, BasicRejectOptions};

use crate::world::{World, body, consume, declare, fill, get, next, prefetch, take_all};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A queue with five messages, all got and unacked on the world's channel.
async fn world_with_five_unacked() -> World {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    fill(&world.channel, "queue", &NAMES).await;
    for _ in NAMES {
        get(&world.channel, "queue").await.unwrap();
    }
    world
}

/// Closes the world's channel and takes what is left.
async fn left(world: &World) -> Vec<String> {
    world.channel.close(200, "OK".into()).await.unwrap();
    take_all(&world.another_channel().await, "queue").await
}

#[tokio::test]
async fn an_ack_settles_one_message() {
    let world = world_with_five_unacked().await;
    world
        .channel
        .basic_ack(3, BasicAckOptions { multiple: false })
        .await
        .unwrap();
    assert_eq!(left(&world).await, ["a", "b", "d", "e"]);
}

#[tokio::test]
async fn a_multiple_ack_settles_all_up_to_its_tag() {
    let world = world_with_five_unacked().await;
    world
        .channel
        .basic_ack(3, BasicAckOptions { multiple: true })
        .await
        .unwrap();
    assert_eq!(left(&world).await, ["d", "e"]);
}

#[tokio::test]
async fn a_multiple_ack_of_tag_zero_settles_everything() {
    let world = world_with_five_unacked().await;
    world
        .channel
        .basic_ack(0, BasicAckOptions { multiple: true })
        .await
        .unwrap();
    assert!(left(&world).await.is_empty());
}

#[tokio::test]
async fn a_multiple_nack_with_requeue_returns_all_in_their_old_order() {
    let world = world_with_five_unacked().await;
    world
        .channel
        .basic_nack(
            4,
            BasicNackOptions {
                multiple: true,
                requeue: true,
            },
        )
        .await
        .unwrap();
    assert_eq!(take_all(&world.channel, "queue").await, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_reject_without_requeue_drops_the_message() {
    let world = world_with_five_unacked().await;
    world
        .channel
        .basic_reject(2, BasicRejectOptions { requeue: false })
        .await
        .unwrap();
    assert_eq!(left(&world).await, ["a", "c", "d", "e"]);
}

#[tokio::test]
async fn a_requeued_message_returns_to_its_original_place_and_is_flagged() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    fill(&world.channel, "queue", &NAMES).await;
    for _ in 0..3 {
        get(&world.channel, "queue").await.unwrap();
    }
    for tag in [3, 1, 2] {
        world
            .channel
            .basic_reject(tag, BasicRejectOptions { requeue: true })
            .await
            .unwrap();
        // A round trip, or the broker would see all three at once.
        prefetch(&world.channel, 0).await;
    }
    let mut consumer = consume(&world.channel, "queue").await;
    for (index, name) in NAMES.iter().enumerate() {
        let delivery = next(&mut consumer).await;
        assert_eq!(
            (body(&delivery).as_str(), delivery.redelivered),
            (*name, index < 3)
        );
    }
}

#[tokio::test]
async fn recover_redelivers_all_unacked_messages_of_the_channel() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    fill(&world.channel, "queue", &["a", "b"]).await;
    prefetch(&world.channel, 2).await;
    let mut consumer = consume(&world.channel, "queue").await;
    next(&mut consumer).await;
    next(&mut consumer).await;
    world
        .channel
        .basic_recover(BasicRecoverOptions { requeue: true })
        .await
        .unwrap();
    for name in ["a", "b"] {
        let delivery = next(&mut consumer).await;
        assert_eq!((body(&delivery).as_str(), delivery.redelivered), (name, true));
    }
}
