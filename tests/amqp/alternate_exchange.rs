//! Where messages go that an exchange can not route.

use lapin::ExchangeKind;
use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};

use crate::world::{World, bind, declare, declare_exchange, publish, refusal, take_all};
use lapin::BasicProperties;

fn alternate(name: &str) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("alternate-exchange".into(), AMQPValue::LongString(name.into()));
    arguments
}

async fn world_with_alternate() -> World {
    let world = World::start().await;
    declare_exchange(&world.channel, "unrouted", ExchangeKind::Fanout).await;
    let options = ExchangeDeclareOptions::default();
    let declared = world.channel.exchange_declare(
        "main".into(),
        ExchangeKind::Direct,
        options,
        alternate("unrouted"),
    );
    declared.await.unwrap();
    declare(&world.channel, "routed").await;
    bind(&world.channel, "routed", "main", "known").await;
    declare(&world.channel, "rest").await;
    bind(&world.channel, "rest", "unrouted", "").await;
    world
}

#[tokio::test]
async fn only_what_has_no_route_goes_to_the_alternate_exchange() {
    let world = world_with_alternate().await;
    publish(&world.channel, "main", "known", "routed").await;
    publish(&world.channel, "main", "unknown", "rest").await;
    assert_eq!(take_all(&world.channel, "routed").await, ["routed"]);
    assert_eq!(take_all(&world.channel, "rest").await, ["rest"]);
}

#[tokio::test]
async fn what_the_alternate_exchange_routes_is_not_returned() {
    let world = world_with_alternate().await;
    let mandatory = BasicPublishOptions {
        mandatory: true,
        immediate: false,
    };
    let publish = world.channel.basic_publish(
        "main".into(),
        "unknown".into(),
        mandatory,
        b"x",
        BasicProperties::default(),
    );
    assert!(publish.await.unwrap().await.unwrap().take_message().is_none());
}

#[tokio::test]
async fn another_alternate_exchange_is_an_inequivalent_argument() {
    let world = world_with_alternate().await;
    let options = ExchangeDeclareOptions::default();
    let declared =
        world
            .channel
            .exchange_declare("main".into(), ExchangeKind::Direct, options, alternate("other"));
    let (code, text) = refusal(declared.await);
    assert_eq!(code, 406);
    assert!(
        text.contains("inequivalent arg 'alternate-exchange' for exchange 'main' in vhost '/'"),
        "{text}"
    );
}
