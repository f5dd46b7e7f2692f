//! Bindings between exchanges.

use lapin::options::{ExchangeBindOptions, ExchangeUnbindOptions};
use lapin::types::FieldTable;
use lapin::{Channel, ExchangeKind};

use crate::world::{World, bind, declare, declare_exchange, publish, take_all};

async fn link(channel: &Channel, source: &str, destination: &str, key: &str) {
    let options = ExchangeBindOptions::default();
    let bind = channel.exchange_bind(
        destination.into(),
        source.into(),
        key.into(),
        options,
        FieldTable::default(),
    );
    bind.await.unwrap();
}

#[tokio::test]
async fn each_exchange_on_the_way_matches_the_key_by_its_own_rule() {
    let world = World::start().await;
    declare_exchange(&world.channel, "first", ExchangeKind::Topic).await;
    declare_exchange(&world.channel, "second", ExchangeKind::Direct).await;
    declare(&world.channel, "queue").await;
    link(&world.channel, "first", "second", "order.#").await;
    bind(&world.channel, "queue", "second", "order.paid").await;
    for key in ["order.paid", "order.placed", "paid"] {
        publish(&world.channel, "first", key, key).await;
    }
    assert_eq!(take_all(&world.channel, "queue").await, ["order.paid"]);
}

#[tokio::test]
async fn a_circle_of_exchanges_delivers_once() {
    let world = World::start().await;
    for name in ["a", "b", "c"] {
        declare_exchange(&world.channel, name, ExchangeKind::Fanout).await;
    }
    for (source, destination) in [("a", "b"), ("b", "c"), ("c", "a"), ("a", "a")] {
        link(&world.channel, source, destination, "").await;
    }
    declare(&world.channel, "queue").await;
    for source in ["a", "b", "c"] {
        bind(&world.channel, "queue", source, "").await;
    }
    publish(&world.channel, "b", "", "once").await;
    assert_eq!(take_all(&world.channel, "queue").await, ["once"]);
}

#[tokio::test]
async fn an_unbound_exchange_gets_nothing_more() {
    let world = World::start().await;
    declare_exchange(&world.channel, "source", ExchangeKind::Fanout).await;
    declare_exchange(&world.channel, "sink", ExchangeKind::Fanout).await;
    declare(&world.channel, "queue").await;
    bind(&world.channel, "queue", "sink", "").await;
    link(&world.channel, "source", "sink", "").await;
    publish(&world.channel, "source", "", "before").await;
    let options = ExchangeUnbindOptions::default();
    let unbind = world.channel.exchange_unbind(
        "sink".into(),
        "source".into(),
        "".into(),
        options,
        FieldTable::default(),
    );
    unbind.await.unwrap();
    publish(&world.channel, "source", "", "after").await;
    assert_eq!(take_all(&world.channel, "queue").await, ["before"]);
}
