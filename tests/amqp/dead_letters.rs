//! Where messages go that fail, and what they say of it.

use lapin::options::{BasicAckOptions, BasicRejectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, ExchangeKind};

use crate::world::{
    World, arguments, bind, body, consume, declare, declare_exchange, declare_with, expect_nothing, fill,
    get, header, is_taken, next, publish, publish_with, take_all,
};

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// The entries of `x-death`, the latest first.
fn deaths(properties: &BasicProperties) -> Vec<FieldTable> {
    let Some(AMQPValue::FieldArray(deaths)) = header(properties, "x-death") else {
        panic!("a dead letter tells its deaths: {properties:?}");
    };
    let tables = deaths.as_slice().iter().map(|death| match death {
        AMQPValue::FieldTable(death) => death.clone(),
        other => panic!("a death is a table, not {other:?}"),
    });
    tables.collect()
}

fn assert_death(death: &FieldTable, queue: &str, reason: &str, count: i64) {
    assert_eq!(death.inner().get("queue"), Some(&text(queue)));
    assert_eq!(death.inner().get("reason"), Some(&text(reason)));
    assert_eq!(death.inner().get("count"), Some(&AMQPValue::LongLongInt(count)));
}

async fn reject(world: &World, queue: &str) {
    let message = get(&world.channel, queue).await.expect("there is a message");
    message
        .acker
        .reject(BasicRejectOptions { requeue: false })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_rejected_message_goes_to_the_dead_letter_exchange() {
    let world = World::start().await;
    declare_exchange(&world.channel, "dlx", ExchangeKind::Topic).await;
    declare(&world.channel, "dead").await;
    bind(&world.channel, "dead", "dlx", "work").await;
    declare_with(
        &world.channel,
        "work",
        arguments(&[], &[("x-dead-letter-exchange", "dlx")]),
    )
    .await;
    let sent = BasicProperties::default()
        .with_message_id("m-1".into())
        .with_expiration("60000".into())
        .with_priority(3);
    publish_with(&world.channel, "", "work", b"job", sent).await;
    reject(&world, "work").await;
    let mut consumer = consume(&world.channel, "dead").await;
    let dead = next(&mut consumer).await;
    assert_eq!(body(&dead), "job");
    assert!(!dead.redelivered, "a dead letter starts afresh");
    assert_eq!(dead.exchange.as_str(), "dlx");
    assert_eq!(dead.routing_key.as_str(), "work");
    let properties = &dead.properties;
    assert_eq!(properties.message_id().as_ref().unwrap().as_str(), "m-1");
    assert_eq!(properties.priority(), &Some(3));
    assert_eq!(properties.expiration(), &None);
    let [death] = &deaths(properties)[..] else {
        panic!("it died once");
    };
    assert_death(death, "work", "rejected", 1);
    assert_eq!(death.inner().get("exchange"), Some(&text("")));
    assert_eq!(death.inner().get("original-expiration"), Some(&text("60000")));
    assert!(matches!(death.inner().get("time"), Some(AMQPValue::Timestamp(_))));
    for (name, expected) in [
        ("x-first-death-queue", "work"),
        ("x-first-death-reason", "rejected"),
        ("x-first-death-exchange", ""),
        ("x-last-death-queue", "work"),
        ("x-last-death-reason", "rejected"),
        ("x-last-death-exchange", ""),
    ] {
        assert_eq!(header(properties, name), Some(&text(expected)), "{name}");
    }
}

#[tokio::test]
async fn a_retry_queue_with_ttl_brings_a_rejected_message_back_again_and_again() {
    let world = World::start().await;
    let retry = [
        ("x-dead-letter-exchange", ""),
        ("x-dead-letter-routing-key", "retry"),
    ];
    declare_with(&world.channel, "work", arguments(&[], &retry)).await;
    let back = [
        ("x-dead-letter-exchange", ""),
        ("x-dead-letter-routing-key", "work"),
    ];
    declare_with(
        &world.channel,
        "retry",
        arguments(&[("x-message-ttl", 10)], &back),
    )
    .await;
    fill(&world.channel, "work", &["job"]).await;
    let mut consumer = consume(&world.channel, "work").await;
    for attempt in 1..=4 {
        let job = next(&mut consumer).await;
        if attempt > 1 {
            let deaths = deaths(&job.properties);
            assert_death(&deaths[0], "retry", "expired", attempt - 1);
            assert_death(&deaths[1], "work", "rejected", attempt - 1);
            assert_eq!(
                header(&job.properties, "x-first-death-queue"),
                Some(&text("work"))
            );
            assert_eq!(
                header(&job.properties, "x-last-death-queue"),
                Some(&text("retry"))
            );
        }
        if attempt == 4 {
            job.acker.ack(BasicAckOptions::default()).await.unwrap();
        } else {
            job.acker
                .reject(BasicRejectOptions { requeue: false })
                .await
                .unwrap();
        }
    }
    expect_nothing(&world.channel, &mut consumer).await;
}

#[tokio::test]
async fn a_cycle_that_no_consumer_had_a_hand_in_ends() {
    let world = World::start().await;
    let to = |queue| {
        [
            ("x-dead-letter-exchange", ""),
            ("x-dead-letter-routing-key", queue),
        ]
    };
    declare_with(
        &world.channel,
        "one",
        arguments(&[("x-message-ttl", 5)], &to("two")),
    )
    .await;
    declare_with(
        &world.channel,
        "two",
        arguments(&[("x-message-ttl", 5)], &to("one")),
    )
    .await;
    declare(&world.channel, "watch").await;
    declare_with(
        &world.channel,
        "clock",
        arguments(&[("x-message-ttl", 200)], &to("watch")),
    )
    .await;
    fill(&world.channel, "one", &["round"]).await;
    fill(&world.channel, "clock", &["tick"]).await;
    let mut watch = consume(&world.channel, "watch").await;
    next(&mut watch).await;
    assert_eq!(world.ready("one").await + world.ready("two").await, 0);
}

#[tokio::test]
async fn what_a_client_says_of_deaths_is_replaced_by_the_first_real_one() {
    let world = World::start().await;
    declare(&world.channel, "dead").await;
    let to_dead = [
        ("x-dead-letter-exchange", ""),
        ("x-dead-letter-routing-key", "dead"),
    ];
    declare_with(&world.channel, "work", arguments(&[], &to_dead)).await;
    let mut headers = FieldTable::default();
    headers.insert("x-death".into(), text("often"));
    headers.insert("x-first-death-queue".into(), text("elsewhere"));
    headers.insert("mine".into(), text("kept"));
    let properties = BasicProperties::default().with_headers(headers);
    publish_with(&world.channel, "", "work", b"job", properties).await;
    reject(&world, "work").await;
    let mut consumer = consume(&world.channel, "dead").await;
    let dead = next(&mut consumer).await;
    assert_death(&deaths(&dead.properties)[0], "work", "rejected", 1);
    assert_eq!(
        header(&dead.properties, "x-first-death-queue"),
        Some(&text("work"))
    );
    assert_eq!(header(&dead.properties, "mine"), Some(&text("kept")));
}

#[tokio::test]
async fn a_missing_dead_letter_exchange_drops() {
    let world = World::start().await;
    declare_with(
        &world.channel,
        "work",
        arguments(&[], &[("x-dead-letter-exchange", "nowhere")]),
    )
    .await;
    fill(&world.channel, "work", &["job"]).await;
    reject(&world, "work").await;
    assert_eq!(world.ready("work").await, 0);
}

#[tokio::test]
async fn without_a_key_of_its_own_a_dead_letter_keeps_its_keys() {
    let world = World::start().await;
    declare_exchange(&world.channel, "dlx", ExchangeKind::Direct).await;
    for queue in ["main", "copy"] {
        declare(&world.channel, queue).await;
        bind(&world.channel, queue, "dlx", queue).await;
    }
    declare_exchange(&world.channel, "in", ExchangeKind::Fanout).await;
    declare_with(
        &world.channel,
        "work",
        arguments(&[], &[("x-dead-letter-exchange", "dlx")]),
    )
    .await;
    bind(&world.channel, "work", "in", "").await;
    let mut headers = FieldTable::default();
    let copies = vec![text("copy")];
    headers.insert("CC".into(), AMQPValue::FieldArray(copies.into()));
    let properties = BasicProperties::default().with_headers(headers);
    publish_with(&world.channel, "in", "main", b"job", properties).await;
    reject(&world, "work").await;
    assert_eq!(take_all(&world.channel, "main").await, ["job"]);
    assert_eq!(take_all(&world.channel, "copy").await, ["job"]);
}

#[tokio::test]
async fn what_does_not_fit_any_more_leaves_at_the_front() {
    let world = World::start().await;
    declare(&world.channel, "dead").await;
    let to_dead = [
        ("x-dead-letter-exchange", ""),
        ("x-dead-letter-routing-key", "dead"),
    ];
    declare_with(
        &world.channel,
        "short",
        arguments(&[("x-max-length", 2)], &to_dead),
    )
    .await;
    fill(&world.channel, "short", &["a", "b", "c", "d"]).await;
    assert_eq!(take_all(&world.channel, "short").await, ["c", "d"]);
    let mut consumer = consume(&world.channel, "dead").await;
    for expected in ["a", "b"] {
        let dead = next(&mut consumer).await;
        assert_eq!(body(&dead), expected);
        assert_death(&deaths(&dead.properties)[0], "short", "maxlen", 1);
    }
}

#[tokio::test]
async fn a_full_queue_nacks() {
    let world = World::start().await;
    let rule = [("x-overflow", "reject-publish")];
    declare_with(&world.channel, "short", arguments(&[("x-max-length", 1)], &rule)).await;
    assert!(is_taken(&world.channel, "short", "a").await);
    assert!(!is_taken(&world.channel, "short", "b").await);
    assert_eq!(take_all(&world.channel, "short").await, ["a"]);
    assert!(is_taken(&world.channel, "short", "c").await);
}

#[tokio::test]
async fn a_full_queue_may_nack_and_dead_letter() {
    let world = World::start().await;
    declare(&world.channel, "dead").await;
    let rule = [
        ("x-overflow", "reject-publish-dlx"),
        ("x-dead-letter-exchange", ""),
        ("x-dead-letter-routing-key", "dead"),
    ];
    declare_with(
        &world.channel,
        "short",
        arguments(&[("x-max-length-bytes", 3)], &rule),
    )
    .await;
    assert!(is_taken(&world.channel, "short", "abc").await);
    assert!(!is_taken(&world.channel, "short", "d").await);
    assert_eq!(take_all(&world.channel, "dead").await, ["d"]);
    assert_eq!(take_all(&world.channel, "short").await, ["abc"]);
}

#[tokio::test]
async fn other_queues_keep_their_copy_of_a_nacked_publish() {
    let world = World::start().await;
    declare_exchange(&world.channel, "both", ExchangeKind::Fanout).await;
    let rule = [("x-overflow", "reject-publish")];
    declare_with(&world.channel, "full", arguments(&[("x-max-length", 0)], &rule)).await;
    declare(&world.channel, "open").await;
    bind(&world.channel, "full", "both", "").await;
    bind(&world.channel, "open", "both", "").await;
    let options = lapin::options::BasicPublishOptions::default();
    let publish = world.channel.basic_publish(
        "both".into(),
        "".into(),
        options,
        b"a",
        BasicProperties::default(),
    );
    assert!(publish.await.unwrap().await.unwrap().is_nack());
    assert_eq!(take_all(&world.channel, "open").await, ["a"]);
}

#[tokio::test]
async fn a_transaction_that_a_full_queue_refuses_is_told_so() {
    let world = World::start().await;
    let rule = [("x-overflow", "reject-publish")];
    declare_with(&world.channel, "full", arguments(&[("x-max-length", 0)], &rule)).await;
    let channel = world.another_channel().await;
    channel.tx_select().await.unwrap();
    let options = lapin::options::BasicPublishOptions::default();
    let publish = channel.basic_publish(
        "".into(),
        "full".into(),
        options,
        b"a",
        BasicProperties::default(),
    );
    publish.await.unwrap();
    let (code, text) = crate::world::refusal(channel.tx_commit().await);
    assert_eq!(
        (code, text.as_str()),
        (406, "PRECONDITION_FAILED - partial tx completion")
    );
}

#[tokio::test]
async fn dead_letters_reach_their_queue_also_when_the_broker_is_killed() {
    let mut world = World::start().await;
    let to_dead = [
        ("x-dead-letter-exchange", ""),
        ("x-dead-letter-routing-key", "dead"),
    ];
    declare_with(&world.channel, "dead", FieldTable::default()).await;
    declare_with(&world.channel, "work", arguments(&[], &to_dead)).await;
    let persistent = || BasicProperties::default().with_delivery_mode(2);
    publish_with(&world.channel, "", "work", b"job", persistent()).await;
    reject(&world, "work").await;
    // Its confirm says that what was asked before it is on disk too, and it must not overtake that.
    assert_eq!(world.ready("dead").await, 1);
    publish_with(&world.channel, "", "work", b"marker", persistent()).await;
    world.server.kill_and_restart();
    let connection = world.another_connection().await;
    let channel = connection.create_channel().await.unwrap();
    let mut consumer = consume(&channel, "dead").await;
    let dead = next(&mut consumer).await;
    assert_eq!(body(&dead), "job");
    assert_death(&deaths(&dead.properties)[0], "work", "rejected", 1);
    // Dying again goes on with the same history.
    publish(&channel, "", "work", "other").await;
    assert_eq!(take_all(&channel, "work").await, ["marker", "other"]);
}
