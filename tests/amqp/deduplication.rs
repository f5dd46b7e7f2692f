//! Deduplication: of messages with the same key one is taken, and all are confirmed.

use lapin::message::BasicReturnMessage;
use lapin::options::{
    BasicPublishOptions, BasicRejectOptions, ExchangeBindOptions, ExchangeDeclareOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, ExchangeKind};
use tokio::time::timeout;

use crate::support::DEADLINE;
use crate::world::{
    World, bind, body, consume, declare, declare_exchange, next, publish, publish_with, take_all,
};

fn table(pairs: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in pairs {
        table.insert((*name).into(), value.clone());
    }
    table
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn on() -> (&'static str, AMQPValue) {
    ("x-message-deduplication", AMQPValue::Boolean(true))
}

fn with_key(key: AMQPValue) -> BasicProperties {
    BasicProperties::default().with_headers(table(&[("x-deduplication-header", key)]))
}

async fn declare_unique(channel: &Channel, exchange: &str, kind: ExchangeKind, arguments: FieldTable) {
    let options = ExchangeDeclareOptions::default();
    channel
        .exchange_declare(exchange.into(), kind, options, arguments)
        .await
        .unwrap();
}

/// A fanout exchange `unique` with the queue `queue`.
async fn unique(world: &World, arguments: &[(&str, AMQPValue)]) {
    declare_unique(&world.channel, "unique", ExchangeKind::Fanout, table(arguments)).await;
    declare(&world.channel, "queue").await;
    bind(&world.channel, "queue", "unique", "").await;
}

/// What the broker says to a mandatory publish: what came back, if anything, of an acked message.
async fn mandatory(
    channel: &Channel,
    exchange: &str,
    properties: BasicProperties,
) -> Option<BasicReturnMessage> {
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let publish = channel.basic_publish(exchange.into(), "key".into(), options, b"mandatory", properties);
    match timeout(DEADLINE, publish.await.unwrap()).await.unwrap().unwrap() {
        Confirmation::Ack(returned) => returned,
        other => panic!("an ack was due, not {other:?}"),
    }
}

#[tokio::test]
async fn any_exchange_takes_a_key_once_if_its_arguments_say_so() {
    let world = World::start().await;
    for kind in [ExchangeKind::Direct, ExchangeKind::Topic, ExchangeKind::Headers] {
        declare_unique(&world.channel, "unique", kind, table(&[on()])).await;
        declare(&world.channel, "queue").await;
        bind(&world.channel, "queue", "unique", "key").await;
        for (key, body) in [("1", "a"), ("1", "b"), ("2", "c"), ("1", "d"), ("2", "e")] {
            publish_with(
                &world.channel,
                "unique",
                "key",
                body.as_bytes(),
                with_key(text(key)),
            )
            .await;
        }
        publish(&world.channel, "unique", "key", "no key").await;
        publish(&world.channel, "unique", "key", "no key").await;
        assert_eq!(
            take_all(&world.channel, "queue").await,
            ["a", "c", "no key", "no key"]
        );
        let options = lapin::options::ExchangeDeleteOptions::default();
        world
            .channel
            .exchange_delete("unique".into(), options)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn the_plugins_type_does_and_routes_as_a_fanout() {
    let world = World::start().await;
    let kind = ExchangeKind::Custom("x-message-deduplication".to_owned());
    let arguments = table(&[
        ("x-cache-size", AMQPValue::LongInt(2)),
        ("x-cache-ttl", text("60000")),
    ]);
    declare_unique(&world.channel, "unique", kind, arguments).await;
    for queue in ["a", "b"] {
        declare(&world.channel, queue).await;
        bind(&world.channel, queue, "unique", queue).await;
    }
    // The third key is one too many: the first is forgotten.
    for key in [1, 1, 2, 3, 3, 1] {
        let properties = with_key(AMQPValue::LongInt(key));
        let body = key.to_string();
        publish_with(&world.channel, "unique", "any", body.as_bytes(), properties).await;
    }
    for queue in ["a", "b"] {
        assert_eq!(take_all(&world.channel, queue).await, ["1", "2", "3", "1"]);
    }
}

#[tokio::test]
async fn a_message_without_a_key_does_not_open_the_way_for_those_with_one() {
    let world = World::start().await;
    unique(&world, &[on()]).await;
    publish_with(&world.channel, "unique", "key", b"a", with_key(text("1"))).await;
    publish(&world.channel, "unique", "key", "no key").await;
    publish_with(&world.channel, "unique", "key", b"b", with_key(text("1"))).await;
    publish_with(&world.channel, "unique", "key", b"c", with_key(text("2"))).await;
    assert_eq!(take_all(&world.channel, "queue").await, ["a", "no key", "c"]);
}

#[tokio::test]
async fn a_key_can_be_the_message_id_or_another_header() {
    let world = World::start().await;
    unique(&world, &[on(), ("x-deduplication-by", text("message-id"))]).await;
    for (id, body) in [("1", "a"), ("1", "b"), ("2", "c")] {
        let properties = BasicProperties::default().with_message_id(id.into());
        publish_with(&world.channel, "unique", "", body.as_bytes(), properties).await;
    }
    assert_eq!(take_all(&world.channel, "queue").await, ["a", "c"]);
    let by_order = table(&[on(), ("x-deduplication-header", text("order"))]);
    declare_unique(&world.channel, "orders", ExchangeKind::Fanout, by_order).await;
    bind(&world.channel, "queue", "orders", "").await;
    for (order, body) in [(7, "d"), (7, "e"), (8, "f")] {
        let headers = table(&[("order", AMQPValue::LongLongInt(order))]);
        let properties = BasicProperties::default().with_headers(headers);
        publish_with(&world.channel, "orders", "", body.as_bytes(), properties).await;
    }
    assert_eq!(take_all(&world.channel, "queue").await, ["d", "f"]);
}

#[tokio::test]
async fn a_mandatory_duplicate_is_acked_and_not_returned() {
    let world = World::start().await;
    unique(&world, &[on()]).await;
    let properties = || with_key(text("1"));
    assert!(mandatory(&world.channel, "unique", properties()).await.is_none());
    assert!(mandatory(&world.channel, "unique", properties()).await.is_none());
    let options = lapin::options::QueueDeleteOptions::default();
    world.channel.queue_delete("queue".into(), options).await.unwrap();
    assert!(mandatory(&world.channel, "unique", properties()).await.is_none());
}

#[tokio::test]
async fn a_message_that_nobody_took_is_no_duplicate_when_it_comes_again() {
    let world = World::start().await;
    declare_unique(&world.channel, "unique", ExchangeKind::Fanout, table(&[on()])).await;
    let properties = || with_key(text("1"));
    assert!(mandatory(&world.channel, "unique", properties()).await.is_some());
    assert!(mandatory(&world.channel, "unique", properties()).await.is_some());
    declare(&world.channel, "queue").await;
    bind(&world.channel, "queue", "unique", "").await;
    assert!(mandatory(&world.channel, "unique", properties()).await.is_none());
    assert_eq!(take_all(&world.channel, "queue").await, ["mandatory"]);
}

#[tokio::test]
async fn a_message_that_was_refused_may_come_again() {
    let world = World::start().await;
    declare_unique(&world.channel, "unique", ExchangeKind::Fanout, table(&[on()])).await;
    let arguments = table(&[
        ("x-max-length", AMQPValue::LongInt(1)),
        ("x-overflow", text("reject-publish")),
    ]);
    let options = QueueDeclareOptions::default();
    world
        .channel
        .queue_declare("queue".into(), options, arguments)
        .await
        .unwrap();
    bind(&world.channel, "queue", "unique", "").await;
    publish(&world.channel, "unique", "", "fills it").await;
    let publish = || {
        let options = BasicPublishOptions::default();
        let properties = with_key(text("1"));
        world
            .channel
            .basic_publish("unique".into(), "".into(), options, b"again", properties)
    };
    // Both before the first is answered: the second must not be acked for the sake of the first.
    let (first, second) = (publish().await.unwrap(), publish().await.unwrap());
    for confirm in [first, second] {
        let confirmation = timeout(DEADLINE, confirm).await.unwrap().unwrap();
        assert!(confirmation.is_nack(), "{confirmation:?}");
    }
    assert_eq!(take_all(&world.channel, "queue").await, ["fills it"]);
    let confirmation = timeout(DEADLINE, publish().await.unwrap())
        .await
        .unwrap()
        .unwrap();
    assert!(confirmation.is_ack());
    assert_eq!(take_all(&world.channel, "queue").await, ["again"]);
}

#[tokio::test]
async fn an_exchange_behind_another_filters_its_own_part_of_the_way() {
    let world = World::start().await;
    declare_exchange(&world.channel, "front", ExchangeKind::Fanout).await;
    unique(&world, &[on()]).await;
    declare(&world.channel, "all").await;
    bind(&world.channel, "all", "front", "").await;
    let options = ExchangeBindOptions::default();
    world
        .channel
        .exchange_bind(
            "unique".into(),
            "front".into(),
            "".into(),
            options,
            FieldTable::default(),
        )
        .await
        .unwrap();
    for body in ["a", "b"] {
        publish_with(&world.channel, "front", "", body.as_bytes(), with_key(text("1"))).await;
    }
    assert_eq!(take_all(&world.channel, "queue").await, ["a"]);
    assert_eq!(take_all(&world.channel, "all").await, ["a", "b"]);
}

#[tokio::test]
async fn dead_letters_are_taken_once_too() {
    let world = World::start().await;
    unique(&world, &[on()]).await;
    let arguments = table(&[("x-dead-letter-exchange", text("unique"))]);
    let options = QueueDeclareOptions::default();
    world
        .channel
        .queue_declare("work".into(), options, arguments)
        .await
        .unwrap();
    let mut consumer = consume(&world.channel, "work").await;
    for body in ["a", "b"] {
        publish_with(&world.channel, "", "work", body.as_bytes(), with_key(text("1"))).await;
        let delivery = next(&mut consumer).await;
        delivery
            .acker
            .reject(BasicRejectOptions { requeue: false })
            .await
            .unwrap();
    }
    publish_with(&world.channel, "unique", "", b"c", with_key(text("1"))).await;
    assert_eq!(take_all(&world.channel, "queue").await, ["a"]);
}

/// Rejects what comes to "work", so that it comes back through the queue "retry", and expects it again and again.
async fn retry(world: &World) {
    let back = [
        ("x-message-ttl", AMQPValue::LongInt(10)),
        ("x-dead-letter-exchange", text("again")),
    ];
    let options = QueueDeclareOptions::default();
    world
        .channel
        .queue_declare("retry".into(), options, table(&back))
        .await
        .unwrap();
    let mut consumer = consume(&world.channel, "work").await;
    for _ in 0..3 {
        let delivery = next(&mut consumer).await;
        assert_eq!(body(&delivery), "a");
        let reject = BasicRejectOptions { requeue: false };
        delivery.acker.reject(reject).await.unwrap();
    }
}

fn to_retry() -> [(&'static str, AMQPValue); 2] {
    [
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text("retry")),
    ]
}

#[tokio::test]
async fn a_message_that_comes_back_to_be_tried_again_is_no_duplicate_to_its_exchange() {
    let world = World::start().await;
    let options = QueueDeclareOptions::default();
    world
        .channel
        .queue_declare("work".into(), options, table(&to_retry()))
        .await
        .unwrap();
    declare_unique(&world.channel, "again", ExchangeKind::Fanout, table(&[on()])).await;
    bind(&world.channel, "work", "again", "").await;
    for body in ["a", "b"] {
        publish_with(&world.channel, "again", "", body.as_bytes(), with_key(text("1"))).await;
    }
    retry(&world).await;
}

#[tokio::test]
async fn a_message_that_comes_back_to_be_tried_again_is_no_duplicate_to_its_queue() {
    let world = World::start().await;
    declare_unique_queue(&world.channel, "work", &to_retry()).await;
    declare_exchange(&world.channel, "again", ExchangeKind::Fanout).await;
    bind(&world.channel, "work", "again", "").await;
    for body in ["a", "b"] {
        publish_with(&world.channel, "", "work", body.as_bytes(), with_key(text("1"))).await;
    }
    retry(&world).await;
}

#[tokio::test]
async fn a_transaction_takes_keys_when_it_commits() {
    let world = World::start().await;
    unique(&world, &[on()]).await;
    let channel = world.another_channel().await;
    channel.tx_select().await.unwrap();
    let publish_in = |body: &'static str| {
        let options = BasicPublishOptions::default();
        channel.basic_publish(
            "unique".into(),
            "".into(),
            options,
            body.as_bytes(),
            with_key(text("1")),
        )
    };
    publish_in("undone").await.unwrap();
    channel.tx_rollback().await.unwrap();
    publish_in("done").await.unwrap();
    publish_in("twice").await.unwrap();
    channel.tx_commit().await.unwrap();
    publish_with(&world.channel, "unique", "", b"late", with_key(text("1"))).await;
    assert_eq!(take_all(&world.channel, "queue").await, ["done"]);
}

/// A queue that takes keys once.
async fn declare_unique_queue(channel: &Channel, queue: &str, more: &[(&str, AMQPValue)]) {
    let arguments = [&[on()], more].concat();
    channel
        .queue_declare(queue.into(), QueueDeclareOptions::default(), table(&arguments))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_queue_takes_a_key_once_whatever_way_it_comes() {
    let world = World::start().await;
    declare_unique_queue(&world.channel, "queue", &[]).await;
    declare(&world.channel, "other").await;
    for queue in ["queue", "other"] {
        bind(&world.channel, queue, "amq.fanout", "").await;
    }
    publish_with(&world.channel, "", "queue", b"a", with_key(text("1"))).await;
    publish_with(&world.channel, "amq.fanout", "", b"b", with_key(text("1"))).await;
    publish_with(&world.channel, "amq.fanout", "", b"c", with_key(text("2"))).await;
    assert!(
        mandatory(&world.channel, "amq.fanout", with_key(text("2")))
            .await
            .is_none()
    );
    publish(&world.channel, "", "queue", "no key").await;
    publish(&world.channel, "", "queue", "no key").await;
    assert_eq!(
        take_all(&world.channel, "queue").await,
        ["a", "c", "no key", "no key"]
    );
    assert_eq!(take_all(&world.channel, "other").await, ["b", "c", "mandatory"]);
    publish_with(
        &world.channel,
        "",
        "queue",
        b"consumed, and known",
        with_key(text("1")),
    )
    .await;
    assert!(take_all(&world.channel, "queue").await.is_empty());
}

#[tokio::test]
async fn a_queue_that_refused_a_message_takes_it_when_there_is_room() {
    let world = World::start().await;
    let full = [
        ("x-max-length", AMQPValue::LongInt(1)),
        ("x-overflow", text("reject-publish")),
    ];
    declare_unique_queue(&world.channel, "queue", &full).await;
    publish(&world.channel, "", "queue", "fills it").await;
    let publish_again = || {
        let options = BasicPublishOptions::default();
        world
            .channel
            .basic_publish("".into(), "queue".into(), options, b"again", with_key(text("1")))
    };
    for _ in 0..2 {
        let confirm = publish_again().await.unwrap();
        assert!(timeout(DEADLINE, confirm).await.unwrap().unwrap().is_nack());
    }
    assert_eq!(take_all(&world.channel, "queue").await, ["fills it"]);
    for _ in 0..2 {
        let confirm = publish_again().await.unwrap();
        assert!(timeout(DEADLINE, confirm).await.unwrap().unwrap().is_ack());
    }
    assert_eq!(take_all(&world.channel, "queue").await, ["again"]);
}
