//! The broker cancels consumers whose queue is gone.

use futures_lite::StreamExt;
use lapin::options::QueueDeleteOptions;
use tokio::time::timeout;

use crate::support::DEADLINE;
use crate::world::{World, consume, declare, publish, take_all};

#[tokio::test]
async fn a_consumer_ends_when_its_queue_is_deleted() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    let channel = world.another_channel().await;
    let mut consumer = consume(&channel, "queue").await;
    world
        .channel
        .queue_delete("queue".into(), QueueDeleteOptions::default())
        .await
        .unwrap();
    let end = timeout(DEADLINE, consumer.next())
        .await
        .expect("the consumer is told");
    assert!(end.is_none(), "{end:?}");
    declare(&channel, "another").await;
    publish(&channel, "", "another", "x").await;
    assert_eq!(take_all(&channel, "another").await, ["x"], "the channel lives on");
}
