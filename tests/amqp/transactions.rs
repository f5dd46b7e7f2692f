//! Transactions: publishes and acks take effect together or not at all.

use lapin::options::{BasicAckOptions, ConfirmSelectOptions};

use crate::world::{World, declare, fill, get, publish, refusal, take_all};

#[tokio::test]
async fn publishes_and_acks_take_effect_at_the_commit() {
    let world = World::start().await;
    for queue in ["in", "out-1", "out-2"] {
        declare(&world.channel, queue).await;
    }
    fill(&world.channel, "in", &["job"]).await;
    let channel = world.another_channel().await;
    channel.tx_select().await.unwrap();
    let job = get(&channel, "in").await.unwrap();
    publish(&channel, "", "out-1", "result").await;
    publish(&channel, "", "out-2", "result").await;
    channel
        .basic_ack(job.delivery_tag, BasicAckOptions::default())
        .await
        .unwrap();
    assert!(
        take_all(&world.channel, "out-1").await.is_empty(),
        "nothing is there before the commit"
    );
    channel.tx_commit().await.unwrap();
    assert_eq!(take_all(&world.channel, "out-1").await, ["result"]);
    assert_eq!(take_all(&world.channel, "out-2").await, ["result"]);
    channel.close(200, "OK".into()).await.unwrap();
    assert!(take_all(&world.channel, "in").await.is_empty(), "the ack counts");
}

#[tokio::test]
async fn a_rollback_undoes_publishes_and_acks() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    fill(&world.channel, "queue", &["job"]).await;
    let channel = world.another_channel().await;
    channel.tx_select().await.unwrap();
    let job = get(&channel, "queue").await.unwrap();
    publish(&channel, "", "queue", "never").await;
    channel
        .basic_ack(job.delivery_tag, BasicAckOptions::default())
        .await
        .unwrap();
    channel.tx_rollback().await.unwrap();
    assert!(
        take_all(&world.channel, "queue").await.is_empty(),
        "the job is unacked, not requeued"
    );
    channel.close(200, "OK".into()).await.unwrap();
    assert_eq!(take_all(&world.channel, "queue").await, ["job"]);
}

#[tokio::test]
async fn closing_the_channel_rolls_back() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    let channel = world.another_channel().await;
    channel.tx_select().await.unwrap();
    publish(&channel, "", "queue", "never").await;
    channel.close(200, "OK".into()).await.unwrap();
    assert!(take_all(&world.channel, "queue").await.is_empty());
}

#[tokio::test]
async fn a_channel_has_confirms_or_transactions() {
    let world = World::start().await;
    let (code, text) = refusal(world.channel.tx_select().await);
    assert_eq!(
        (code, text.as_str()),
        (406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode")
    );
    let channel = world.another_channel().await;
    channel.tx_select().await.unwrap();
    let (code, text) = refusal(channel.confirm_select(ConfirmSelectOptions::default()).await);
    assert_eq!(
        (code, text.as_str()),
        (406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode")
    );
}

#[tokio::test]
async fn a_commit_needs_a_transactional_channel() {
    let world = World::start().await;
    let (code, text) = refusal(world.another_channel().await.tx_commit().await);
    assert_eq!(
        (code, text.as_str()),
        (406, "PRECONDITION_FAILED - channel is not transactional")
    );
}
