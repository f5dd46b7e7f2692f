//! Fetching single messages.

use lapin::options::BasicGetOptions;

use crate::world::{World, declare, fill, get, take_all};

#[tokio::test]
async fn an_empty_queue_gives_nothing() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    assert!(get(&world.channel, "queue").await.is_none());
}

#[tokio::test]
async fn get_gives_the_oldest_and_counts_the_rest() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    fill(&world.channel, "queue", &["a", "b", "c"]).await;
    for (expected, left) in [("a", 2), ("b", 1), ("c", 0)] {
        let message = get(&world.channel, "queue").await.unwrap();
        assert_eq!(
            (message.data.as_slice(), message.message_count),
            (expected.as_bytes(), left)
        );
        assert_eq!(
            (message.exchange.as_str(), message.routing_key.as_str()),
            ("", "queue")
        );
    }
}

#[tokio::test]
async fn an_unacked_message_returns_and_one_got_without_ack_does_not() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    fill(&world.channel, "queue", &["gone", "back"]).await;
    let channel = world.another_channel().await;
    channel
        .basic_get("queue".into(), BasicGetOptions { no_ack: true })
        .await
        .unwrap()
        .unwrap();
    get(&channel, "queue").await.unwrap();
    channel.close(200, "OK".into()).await.unwrap();
    let message = get(&world.channel, "queue").await.unwrap();
    assert_eq!(
        (message.data.as_slice(), message.redelivered),
        (&b"back"[..], true)
    );
    assert!(take_all(&world.channel, "queue").await.is_empty());
}
