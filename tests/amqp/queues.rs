//! Declaring, purging and deleting queues.

use lapin::options::{
    BasicCancelOptions, BasicNackOptions, QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
};
use lapin::types::FieldTable;

use crate::world::{
    World, arguments, bind, consume, declare, declare_with, fill, get, next, publish, refusal, take_all,
};

#[tokio::test]
async fn declare_counts_ready_messages_and_consumers() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    fill(&world.channel, "queue", &["a", "b", "c"]).await;
    let _unacked = get(&world.channel, "queue").await.unwrap();
    let again = world.channel.queue_declare(
        "queue".into(),
        QueueDeclareOptions::default(),
        FieldTable::default(),
    );
    let queue = again.await.unwrap();
    assert_eq!((queue.message_count(), queue.consumer_count()), (2, 0));
    let mut consumer = consume(&world.channel, "queue").await;
    next(&mut consumer).await;
    next(&mut consumer).await;
    let again = world.channel.queue_declare(
        "queue".into(),
        QueueDeclareOptions::default(),
        FieldTable::default(),
    );
    let queue = again.await.unwrap();
    assert_eq!((queue.message_count(), queue.consumer_count()), (0, 1));
}

#[tokio::test]
async fn a_server_named_queue_has_a_name_of_its_own() {
    let world = World::start().await;
    let mut names = Vec::new();
    for _ in 0..2 {
        let options = QueueDeclareOptions {
            exclusive: true,
            ..QueueDeclareOptions::default()
        };
        let queue = world
            .channel
            .queue_declare("".into(), options, FieldTable::default())
            .await
            .unwrap();
        names.push(queue.name().to_string());
    }
    assert!(names.iter().all(|name| name.starts_with("amq.gen-")), "{names:?}");
    assert_ne!(names[0], names[1]);
    publish(&world.channel, "", &names[0], "found").await;
    assert_eq!(take_all(&world.channel, &names[0]).await, ["found"]);
}

#[tokio::test]
async fn an_empty_name_means_the_queue_declared_last() {
    let world = World::start().await;
    declare(&world.channel, "first").await;
    declare(&world.channel, "last").await;
    bind(&world.channel, "", "amq.fanout", "").await;
    publish(&world.channel, "amq.fanout", "", "x").await;
    assert_eq!(take_all(&world.channel, "last").await, ["x"]);
    assert!(take_all(&world.channel, "first").await.is_empty());
}

#[tokio::test]
async fn a_passive_declare_of_a_missing_queue_is_404() {
    let world = World::start().await;
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let refused = refusal(
        world
            .channel
            .queue_declare("none".into(), passive, FieldTable::default())
            .await,
    );
    assert_eq!(
        refused,
        (404, "NOT_FOUND - no queue 'none' in vhost '/'".to_owned())
    );
}

#[tokio::test]
async fn a_declare_with_other_properties_is_406() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    let durable = QueueDeclareOptions::durable();
    let (code, text) = refusal(
        world
            .channel
            .queue_declare("queue".into(), durable, FieldTable::default())
            .await,
    );
    assert_eq!(code, 406);
    let expected =
        "inequivalent arg 'durable' for queue 'queue' in vhost '/': received 'true' but current is 'false'";
    assert!(text.contains(expected), "{text}");
}

#[tokio::test]
async fn a_purge_removes_ready_messages_only() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    fill(&world.channel, "queue", &["held", "b", "c"]).await;
    let held = get(&world.channel, "queue").await.unwrap();
    let purged = world
        .channel
        .queue_purge("queue".into(), QueuePurgeOptions::default())
        .await
        .unwrap();
    assert_eq!(purged, 2);
    held.acker
        .nack(BasicNackOptions {
            multiple: false,
            requeue: true,
        })
        .await
        .unwrap();
    assert_eq!(take_all(&world.channel, "queue").await, ["held"]);
}

#[tokio::test]
async fn a_delete_says_how_many_messages_went_with_the_queue() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    fill(&world.channel, "queue", &["a", "b"]).await;
    let deleted = world
        .channel
        .queue_delete("queue".into(), QueueDeleteOptions::default())
        .await
        .unwrap();
    assert_eq!(deleted, 2);
    assert!(!world.has_queue("queue").await);
    let missing = world
        .channel
        .queue_delete("queue".into(), QueueDeleteOptions::default())
        .await
        .unwrap();
    assert_eq!(missing, 0, "a missing queue is as good as deleted");
}

#[tokio::test]
async fn delete_if_empty_spares_a_queue_with_messages() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    fill(&world.channel, "queue", &["a"]).await;
    let if_empty = QueueDeleteOptions {
        if_empty: true,
        ..QueueDeleteOptions::default()
    };
    let refused = refusal(
        world
            .another_channel()
            .await
            .queue_delete("queue".into(), if_empty)
            .await,
    );
    assert_eq!(
        refused,
        (
            406,
            "PRECONDITION_FAILED - queue 'queue' in vhost '/' not empty".to_owned()
        )
    );
    assert_eq!(take_all(&world.channel, "queue").await, ["a"]);
    world
        .channel
        .queue_delete("queue".into(), if_empty)
        .await
        .unwrap();
    assert!(!world.has_queue("queue").await);
}

#[tokio::test]
async fn delete_if_unused_spares_a_queue_with_consumers() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    let consumer = consume(&world.channel, "queue").await;
    let if_unused = QueueDeleteOptions {
        if_unused: true,
        ..QueueDeleteOptions::default()
    };
    let refused = refusal(
        world
            .another_channel()
            .await
            .queue_delete("queue".into(), if_unused)
            .await,
    );
    assert_eq!(
        refused,
        (
            406,
            "PRECONDITION_FAILED - queue 'queue' in vhost '/' in use".to_owned()
        )
    );
    world
        .channel
        .basic_cancel(consumer.tag(), BasicCancelOptions::default())
        .await
        .unwrap();
    world
        .channel
        .queue_delete("queue".into(), if_unused)
        .await
        .unwrap();
    assert!(!world.has_queue("queue").await);
}

#[tokio::test]
async fn a_queue_without_a_type_has_that_of_its_vhost() {
    let vhost = "[[vhosts]]\nname = \"/\"\ndefault_queue_type = \"quorum\"";
    let world = World::with_config(vhost).await;
    let typed = |name| arguments(&[], &[("x-queue-type", name)]);
    declare_with(&world.channel, "orders", typed("quorum")).await;
    declare_with(&world.channel, "orders", FieldTable::default()).await;
    declare_with(&world.channel, "tasks", FieldTable::default()).await;
    declare_with(&world.channel, "tasks", typed("quorum")).await;
    // What can not be one is classic.
    declare(&world.channel, "brief").await;
    let again = world
        .channel
        .queue_declare("brief".into(), QueueDeclareOptions::default(), typed("classic"));
    again.await.unwrap();
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let classic = world
        .channel
        .queue_declare("tasks".into(), durable, typed("classic"));
    let (code, text) = refusal(classic.await);
    assert_eq!(code, 406);
    assert!(
        text.contains("received 'classic' but current is 'quorum'"),
        "{text}"
    );
}
