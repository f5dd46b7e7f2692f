//! Time to live of messages and queues.

use lapin::BasicProperties;
use lapin::options::{BasicRejectOptions, QueueDeclareOptions};

use crate::world::{
    World, arguments, body, consume, declare, declare_with, expect_nothing, fill, get, header, next,
    publish_with, take_all, wait_until,
};

fn expiring(millis: &str) -> BasicProperties {
    BasicProperties::default().with_expiration(millis.into())
}

/// A queue whose expired messages go to the queue `dead`.
async fn declare_mortal(world: &World, numbers: &[(&str, i32)]) {
    declare(&world.channel, "dead").await;
    let dead = [
        ("x-dead-letter-exchange", ""),
        ("x-dead-letter-routing-key", "dead"),
    ];
    declare_with(&world.channel, "mortal", arguments(numbers, &dead)).await;
}

#[tokio::test]
async fn a_queues_ttl_takes_messages_out() {
    let world = World::start().await;
    declare_mortal(&world, &[("x-message-ttl", 50)]).await;
    fill(&world.channel, "mortal", &["a", "b"]).await;
    let mut dead = consume(&world.channel, "dead").await;
    assert_eq!(body(&next(&mut dead).await), "a");
    assert_eq!(body(&next(&mut dead).await), "b");
    assert_eq!(world.ready("mortal").await, 0);
}

#[tokio::test]
async fn a_message_expires_behind_one_that_does_not() {
    let world = World::start().await;
    declare_mortal(&world, &[]).await;
    publish_with(&world.channel, "", "mortal", b"stays", BasicProperties::default()).await;
    publish_with(&world.channel, "", "mortal", b"later", expiring("60000")).await;
    publish_with(&world.channel, "", "mortal", b"goes", expiring("20")).await;
    let mut dead = consume(&world.channel, "dead").await;
    let gone = next(&mut dead).await;
    assert_eq!(body(&gone), "goes");
    assert_eq!(gone.properties.expiration(), &None);
    assert_eq!(take_all(&world.channel, "mortal").await, ["stays", "later"]);
}

#[tokio::test]
async fn the_smaller_ttl_wins() {
    let world = World::start().await;
    declare_mortal(&world, &[("x-message-ttl", 30)]).await;
    publish_with(&world.channel, "", "mortal", b"a", expiring("60000")).await;
    let mut dead = consume(&world.channel, "dead").await;
    assert_eq!(body(&next(&mut dead).await), "a");
}

#[tokio::test]
async fn a_ttl_of_zero_delivers_at_once_or_never() {
    let world = World::start().await;
    declare_mortal(&world, &[("x-message-ttl", 0)]).await;
    fill(&world.channel, "mortal", &["nobody waits"]).await;
    let mut dead = consume(&world.channel, "dead").await;
    assert_eq!(body(&next(&mut dead).await), "nobody waits");
    let mut consumer = consume(&world.channel, "mortal").await;
    fill(&world.channel, "mortal", &["somebody waits"]).await;
    assert_eq!(body(&next(&mut consumer).await), "somebody waits");
    expect_nothing(&world.channel, &mut dead).await;
}

#[tokio::test]
async fn what_comes_back_too_late_expires_at_once() {
    let world = World::start().await;
    declare_mortal(&world, &[("x-message-ttl", 1500)]).await;
    fill(&world.channel, "mortal", &["held", "marker"]).await;
    let held = get(&world.channel, "mortal").await.unwrap();
    let mut dead = consume(&world.channel, "dead").await;
    // Both entered at the same time or nearly so: when the marker has expired, the held one is due too.
    assert_eq!(body(&next(&mut dead).await), "marker");
    held.acker
        .reject(BasicRejectOptions { requeue: true })
        .await
        .unwrap();
    let late = next(&mut dead).await;
    assert_eq!(body(&late), "held");
    assert!(header(&late.properties, "x-death").is_some());
}

#[tokio::test]
async fn expiry_goes_on_over_a_crash() {
    let mut world = World::start().await;
    declare_mortal(&world, &[("x-message-ttl", 200)]).await;
    let persistent = BasicProperties::default().with_delivery_mode(2);
    publish_with(&world.channel, "", "mortal", b"a", persistent).await;
    world.server.kill_and_restart();
    let connection = world.another_connection().await;
    let channel = connection.create_channel().await.unwrap();
    declare(&channel, "dead").await;
    let options = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    wait_until("the message expires", async || {
        let found = channel
            .queue_declare("mortal".into(), options, arguments(&[], &[]))
            .await;
        found.unwrap().message_count() == 0
    })
    .await;
}

#[tokio::test]
async fn a_queue_that_nobody_uses_expires() {
    let world = World::start().await;
    declare_with(&world.channel, "unused", arguments(&[("x-expires", 40)], &[])).await;
    declare_with(&world.channel, "used", arguments(&[("x-expires", 40)], &[])).await;
    let mut consumer = consume(&world.channel, "used").await;
    // Each look with a declare would keep it: the default exchange tells without touching it.
    wait_until("the queue goes", async || {
        let options = lapin::options::BasicPublishOptions {
            mandatory: true,
            ..lapin::options::BasicPublishOptions::default()
        };
        let publish = world.channel.basic_publish(
            "".into(),
            "unused".into(),
            options,
            b"?",
            BasicProperties::default(),
        );
        let confirmation = publish.await.unwrap().await.unwrap();
        matches!(confirmation, lapin::Confirmation::Ack(Some(_)))
    })
    .await;
    fill(&world.channel, "used", &["still here"]).await;
    assert_eq!(body(&next(&mut consumer).await), "still here");
}
