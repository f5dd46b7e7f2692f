//! The four types, the default exchange, and deleting.

use lapin::options::{ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, ExchangeKind};

use crate::world::{
    World, bind, bind_with, declare, declare_exchange, get, publish, publish_with, refusal, take_all,
};

fn table(pairs: &[(&str, &str)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in pairs {
        table.insert((*name).into(), AMQPValue::LongString((*value).into()));
    }
    table
}

#[tokio::test]
async fn the_default_exchange_routes_to_the_queue_of_that_name() {
    let world = World::start().await;
    declare(&world.channel, "a").await;
    declare(&world.channel, "b").await;
    publish(&world.channel, "", "a", "for a").await;
    assert_eq!(take_all(&world.channel, "a").await, ["for a"]);
    assert!(take_all(&world.channel, "b").await.is_empty());
}

#[tokio::test]
async fn a_direct_exchange_compares_the_whole_key() {
    let world = World::start().await;
    declare_exchange(&world.channel, "direct", ExchangeKind::Direct).await;
    declare(&world.channel, "queue").await;
    bind(&world.channel, "queue", "direct", "key").await;
    publish(&world.channel, "direct", "key", "yes").await;
    publish(&world.channel, "direct", "key.more", "no").await;
    publish(&world.channel, "direct", "", "no").await;
    assert_eq!(take_all(&world.channel, "queue").await, ["yes"]);
}

#[tokio::test]
async fn a_fanout_exchange_ignores_the_key() {
    let world = World::start().await;
    declare_exchange(&world.channel, "fanout", ExchangeKind::Fanout).await;
    for queue in ["a", "b", "c"] {
        declare(&world.channel, queue).await;
        bind(&world.channel, queue, "fanout", queue).await;
    }
    publish(&world.channel, "fanout", "nobody's key", "all").await;
    for queue in ["a", "b", "c"] {
        assert_eq!(take_all(&world.channel, queue).await, ["all"]);
    }
}

#[tokio::test]
async fn a_topic_exchange_matches_words() {
    let world = World::start().await;
    declare_exchange(&world.channel, "topic", ExchangeKind::Topic).await;
    for (queue, key) in [("star", "order.*"), ("hash", "order.#"), ("middle", "#.paid.#")] {
        declare(&world.channel, queue).await;
        bind(&world.channel, queue, "topic", key).await;
    }
    for key in ["order", "order.placed", "order.paid.late", "paid"] {
        publish(&world.channel, "topic", key, key).await;
    }
    assert_eq!(take_all(&world.channel, "star").await, ["order.placed"]);
    assert_eq!(
        take_all(&world.channel, "hash").await,
        ["order", "order.placed", "order.paid.late"]
    );
    assert_eq!(
        take_all(&world.channel, "middle").await,
        ["order.paid.late", "paid"]
    );
}

#[tokio::test]
async fn a_headers_exchange_matches_all_or_any() {
    let world = World::start().await;
    declare_exchange(&world.channel, "headers", ExchangeKind::Headers).await;
    for mode in ["all", "any"] {
        declare(&world.channel, mode).await;
        let arguments = table(&[("x-match", mode), ("colour", "red"), ("size", "big")]);
        bind_with(&world.channel, mode, "headers", "", arguments).await;
    }
    for (body, headers) in [
        ("both", table(&[("colour", "red"), ("size", "big")])),
        ("one", table(&[("colour", "red"), ("size", "small")])),
        ("none", table(&[("colour", "blue")])),
    ] {
        let properties = BasicProperties::default().with_headers(headers);
        publish_with(&world.channel, "headers", "", body.as_bytes(), properties).await;
    }
    assert_eq!(take_all(&world.channel, "all").await, ["both"]);
    assert_eq!(take_all(&world.channel, "any").await, ["both", "one"]);
}

#[tokio::test]
async fn a_queue_gets_a_message_once_however_many_bindings_match() {
    let world = World::start().await;
    declare_exchange(&world.channel, "topic", ExchangeKind::Topic).await;
    declare(&world.channel, "queue").await;
    for key in ["#", "a.*", "*.b", "a.b"] {
        bind(&world.channel, "queue", "topic", key).await;
    }
    publish(&world.channel, "topic", "a.b", "once").await;
    assert_eq!(take_all(&world.channel, "queue").await, ["once"]);
}

#[tokio::test]
async fn an_unbound_queue_gets_nothing_more() {
    let world = World::start().await;
    declare_exchange(&world.channel, "direct", ExchangeKind::Direct).await;
    declare(&world.channel, "queue").await;
    bind(&world.channel, "queue", "direct", "key").await;
    publish(&world.channel, "direct", "key", "before").await;
    let unbind = world.channel.queue_unbind(
        "queue".into(),
        "direct".into(),
        "key".into(),
        FieldTable::default(),
    );
    unbind.await.unwrap();
    publish(&world.channel, "direct", "key", "after").await;
    assert_eq!(take_all(&world.channel, "queue").await, ["before"]);
}

#[tokio::test]
async fn the_predeclared_exchanges_are_there() {
    let world = World::start().await;
    for name in [
        "amq.direct",
        "amq.fanout",
        "amq.topic",
        "amq.headers",
        "amq.match",
    ] {
        assert!(world.has_exchange(name).await, "{name}");
    }
}

#[tokio::test]
async fn an_exchange_in_use_is_not_deleted_if_unused() {
    let world = World::start().await;
    declare_exchange(&world.channel, "used", ExchangeKind::Fanout).await;
    declare(&world.channel, "queue").await;
    bind(&world.channel, "queue", "used", "").await;
    let if_unused = ExchangeDeleteOptions {
        if_unused: true,
        nowait: false,
    };
    let channel = world.another_channel().await;
    let refused = refusal(channel.exchange_delete("used".into(), if_unused).await);
    assert_eq!(
        refused,
        (
            406,
            "PRECONDITION_FAILED - exchange 'used' in vhost '/' in use".to_owned()
        )
    );
    world
        .channel
        .exchange_delete("used".into(), ExchangeDeleteOptions::default())
        .await
        .unwrap();
    assert!(!world.has_exchange("used").await);
}

#[tokio::test]
async fn carbon_copies_go_to_the_keys_in_the_headers_and_blind_ones_are_hidden() {
    let world = World::start().await;
    for queue in ["to", "cc", "bcc"] {
        declare(&world.channel, queue).await;
    }
    let mut headers = FieldTable::default();
    for (name, key) in [("CC", "cc"), ("BCC", "bcc")] {
        headers.insert(
            name.into(),
            AMQPValue::FieldArray(vec![AMQPValue::LongString(key.into())].into()),
        );
    }
    let properties = BasicProperties::default().with_headers(headers);
    publish_with(&world.channel, "", "to", b"letter", properties).await;
    for queue in ["to", "cc", "bcc"] {
        let message = get(&world.channel, queue).await.unwrap();
        let headers = message.properties.headers().as_ref().unwrap().inner();
        assert!(
            headers.contains_key("CC") && !headers.contains_key("BCC"),
            "{queue}: {headers:?}"
        );
    }
}

#[tokio::test]
async fn deleting_a_queue_removes_its_bindings() {
    let world = World::start().await;
    declare_exchange(&world.channel, "fanout", ExchangeKind::Fanout).await;
    declare(&world.channel, "queue").await;
    bind(&world.channel, "queue", "fanout", "").await;
    world
        .channel
        .queue_delete("queue".into(), QueueDeleteOptions::default())
        .await
        .unwrap();
    world
        .channel
        .queue_declare(
            "queue".into(),
            QueueDeclareOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    publish(&world.channel, "fanout", "", "lost").await;
    assert!(take_all(&world.channel, "queue").await.is_empty());
}
