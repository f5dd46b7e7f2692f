//! Exclusive queues and exclusive consumers.

use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

use crate::world::{World, consume_with, declare, refusal};

const EXCLUSIVE: BasicConsumeOptions = BasicConsumeOptions {
    exclusive: true,
    no_local: false,
    no_ack: false,
    nowait: false,
};

#[tokio::test]
async fn an_exclusive_queue_is_locked_for_others_and_goes_with_its_connection() {
    let world = World::start().await;
    let owner = world.another_connection().await;
    let channel = owner.create_channel().await.unwrap();
    channel
        .queue_declare(
            "mine".into(),
            QueueDeclareOptions::exclusive(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let other = world.another_channel().await;
    let (code, text) = refusal(
        other
            .queue_declare("mine".into(), passive, FieldTable::default())
            .await,
    );
    assert_eq!(code, 405);
    assert!(
        text.contains("cannot obtain exclusive access to locked queue 'mine' in vhost '/'"),
        "{text}"
    );
    owner.close(200, "OK".into()).await.unwrap();
    let other = world.another_channel().await;
    let (code, _) = refusal(
        other
            .queue_declare("mine".into(), passive, FieldTable::default())
            .await,
    );
    assert_eq!(code, 404);
}

#[tokio::test]
async fn an_exclusive_consumer_is_alone() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    let _alone = consume_with(&world.channel, "queue", EXCLUSIVE).await;
    let other = world.another_channel().await;
    let refused = other.basic_consume(
        "queue".into(),
        "".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let (code, text) = refusal(refused.await.map(|_| ()));
    assert_eq!(
        (code, text.as_str()),
        (
            403,
            "ACCESS_REFUSED - queue 'queue' in vhost '/' in exclusive use"
        )
    );
}

#[tokio::test]
async fn nobody_becomes_exclusive_beside_others() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    let _first = consume_with(&world.channel, "queue", BasicConsumeOptions::default()).await;
    let other = world.another_channel().await;
    let refused = other.basic_consume("queue".into(), "".into(), EXCLUSIVE, FieldTable::default());
    assert_eq!(refusal(refused.await.map(|_| ())).0, 403);
}
