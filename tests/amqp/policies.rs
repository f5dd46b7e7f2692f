//! Policies of the configuration, as clients meet them.

use lapin::ExchangeKind;

use crate::world::{
    World, arguments, bind, declare, declare_exchange, declare_with, fill, publish, take_all, wait_until,
};

const CONFIG: &str = r#"
[[policies]]
name = "work"
pattern = "^work"
apply_to = "queues"
definition = { "max-length" = 3, "dead-letter-exchange" = "late", "dead-letter-routing-key" = "dropped" }

[[policies]]
name = "alternates"
pattern = "^front$|^amq\\.direct$"
apply_to = "exchanges"
definition = { "alternate-exchange" = "late" }

[[policies]]
name = "short"
pattern = "^short"
priority = 1
definition = { "message-ttl" = 1, "dead-letter-exchange" = "late" }

[[operator_policies]]
name = "ceiling"
pattern = "^work\\.small"
definition = { "max-length" = 1 }
"#;

/// A broker with these policies, and a queue behind the exchange `late`.
async fn world() -> World {
    let world = World::with_config(CONFIG).await;
    declare_exchange(&world.channel, "late", ExchangeKind::Fanout).await;
    declare(&world.channel, "rest").await;
    bind(&world.channel, "rest", "late", "").await;
    world
}

#[tokio::test]
async fn a_queue_without_arguments_has_those_of_its_policy() {
    let world = world().await;
    declare(&world.channel, "work.large").await;
    fill(&world.channel, "work.large", &["1", "2", "3", "4", "5"]).await;
    assert_eq!(take_all(&world.channel, "work.large").await, ["3", "4", "5"]);
    assert_eq!(take_all(&world.channel, "rest").await, ["1", "2"]);
    // Declaring it again is compared with its arguments alone.
    declare(&world.channel, "work.large").await;
}

#[tokio::test]
async fn the_least_of_argument_policy_and_operators_policy_counts() {
    let world = world().await;
    declare_with(&world.channel, "work.own", arguments(&[("x-max-length", 2)], &[])).await;
    declare_with(
        &world.channel,
        "work.more",
        arguments(&[("x-max-length", 9)], &[]),
    )
    .await;
    declare_with(
        &world.channel,
        "work.small",
        arguments(&[("x-max-length", 9)], &[]),
    )
    .await;
    for (queue, expected) in [
        ("work.own", &["3", "4"][..]),
        ("work.more", &["2", "3", "4"]),
        ("work.small", &["4"]),
    ] {
        fill(&world.channel, queue, &["1", "2", "3", "4"]).await;
        assert_eq!(take_all(&world.channel, queue).await, expected, "{queue}");
    }
}

#[tokio::test]
async fn an_exchange_has_the_alternate_of_its_policy() {
    let world = world().await;
    declare_exchange(&world.channel, "front", ExchangeKind::Topic).await;
    publish(&world.channel, "front", "nowhere", "a").await;
    publish(&world.channel, "amq.direct", "nowhere", "b").await;
    publish(&world.channel, "amq.topic", "nowhere", "c").await;
    assert_eq!(take_all(&world.channel, "rest").await, ["a", "b"]);
}

#[tokio::test]
async fn messages_expire_by_policy() {
    let world = world().await;
    declare(&world.channel, "short").await;
    fill(&world.channel, "short", &["1", "2"]).await;
    wait_until("both have expired", async || world.ready("rest").await == 2).await;
    assert_eq!(world.ready("short").await, 0);
}
