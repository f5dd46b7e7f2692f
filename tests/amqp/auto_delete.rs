//! Queues and exchanges that go with their last user.

use lapin::ExchangeKind;
use lapin::options::{BasicCancelOptions, ExchangeDeclareOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;

use crate::world::{World, bind, consume, declare, get};

const AUTO_DELETE: QueueDeclareOptions = QueueDeclareOptions {
    auto_delete: true,
    passive: false,
    durable: false,
    exclusive: false,
    nowait: false,
};

#[tokio::test]
async fn a_queue_goes_with_its_last_consumer() {
    let world = World::start().await;
    world
        .channel
        .queue_declare("queue".into(), AUTO_DELETE, FieldTable::default())
        .await
        .unwrap();
    let first = consume(&world.channel, "queue").await;
    let second = consume(&world.channel, "queue").await;
    world
        .channel
        .basic_cancel(first.tag(), BasicCancelOptions::default())
        .await
        .unwrap();
    assert!(world.has_queue("queue").await);
    world
        .channel
        .basic_cancel(second.tag(), BasicCancelOptions::default())
        .await
        .unwrap();
    assert!(!world.has_queue("queue").await);
}

#[tokio::test]
async fn a_queue_goes_with_the_channel_of_its_last_consumer() {
    let world = World::start().await;
    world
        .channel
        .queue_declare("queue".into(), AUTO_DELETE, FieldTable::default())
        .await
        .unwrap();
    let channel = world.another_channel().await;
    let _consumer = consume(&channel, "queue").await;
    channel.close(200, "OK".into()).await.unwrap();
    assert!(!world.has_queue("queue").await);
}

#[tokio::test]
async fn a_queue_that_never_had_a_consumer_stays() {
    let world = World::start().await;
    world
        .channel
        .queue_declare("queue".into(), AUTO_DELETE, FieldTable::default())
        .await
        .unwrap();
    assert!(get(&world.channel, "queue").await.is_none());
    assert!(world.has_queue("queue").await);
}

#[tokio::test]
async fn an_exchange_goes_with_its_last_binding() {
    let world = World::start().await;
    let options = ExchangeDeclareOptions {
        auto_delete: true,
        ..ExchangeDeclareOptions::default()
    };
    let declared = world.channel.exchange_declare(
        "exchange".into(),
        ExchangeKind::Fanout,
        options,
        FieldTable::default(),
    );
    declared.await.unwrap();
    assert!(
        world.has_exchange("exchange").await,
        "it waits for a first binding"
    );
    for queue in ["a", "b"] {
        declare(&world.channel, queue).await;
        bind(&world.channel, queue, "exchange", "").await;
    }
    let unbind = world
        .channel
        .queue_unbind("a".into(), "exchange".into(), "".into(), FieldTable::default());
    unbind.await.unwrap();
    assert!(world.has_exchange("exchange").await);
    world
        .channel
        .queue_delete("b".into(), QueueDeleteOptions::default())
        .await
        .unwrap();
    assert!(!world.has_exchange("exchange").await);
}
