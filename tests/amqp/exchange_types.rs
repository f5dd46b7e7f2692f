//! Exchange types that choose one of their bindings: by a hash, or by chance.

use std::collections::BTreeSet;

use lapin::ExchangeKind;
use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};

use crate::world::{World, bind, declare, declare_exchange, publish, publish_with, take_all};

const QUEUES: [&str; 4] = ["a", "b", "c", "d"];

fn custom(kind: &str) -> ExchangeKind {
    ExchangeKind::Custom(kind.to_owned())
}

fn strings(pairs: &[(&str, &str)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in pairs {
        table.insert((*name).into(), AMQPValue::LongString((*value).into()));
    }
    table
}

/// Queues that are bound with the same key.
async fn queues(channel: &Channel, exchange: &str, key: &str) {
    for queue in QUEUES {
        declare(channel, queue).await;
        bind(channel, queue, exchange, key).await;
    }
}

/// Takes all messages; which bodies each queue had.
async fn take_each(channel: &Channel) -> Vec<BTreeSet<String>> {
    let mut taken = Vec::new();
    for queue in QUEUES {
        let bodies = take_all(channel, queue).await;
        let set: BTreeSet<_> = bodies.iter().cloned().collect();
        assert_eq!(set.len(), bodies.len(), "{queue} has a message twice");
        taken.push(set);
    }
    taken
}

/// Publishes a message for each of 80 keys, and checks that each went to one queue and each queue got some.
async fn spread(channel: &Channel, exchange: &str) -> Vec<BTreeSet<String>> {
    for key in 0..80 {
        let key = format!("key-{key}");
        publish(channel, exchange, &key, &key).await;
    }
    let taken = take_each(channel).await;
    let all: BTreeSet<_> = taken.iter().flatten().collect();
    assert_eq!((all.len(), taken.iter().map(BTreeSet::len).sum()), (80, 80));
    assert!(taken.iter().all(|keys| !keys.is_empty()), "{taken:?}");
    taken
}

#[tokio::test]
async fn a_consistent_hash_keeps_keys_where_they_are() {
    let world = World::start().await;
    declare_exchange(&world.channel, "hash", custom("x-consistent-hash")).await;
    queues(&world.channel, "hash", "10").await;
    let before = spread(&world.channel, "hash").await;
    assert_eq!(spread(&world.channel, "hash").await, before);
    let options = QueueDeleteOptions::default();
    world.channel.queue_delete("d".into(), options).await.unwrap();
    for key in 0..80 {
        let key = format!("key-{key}");
        publish(&world.channel, "hash", &key, &key).await;
    }
    for (queue, keys) in QUEUES.iter().zip(&before[..3]) {
        let now: BTreeSet<_> = take_all(&world.channel, queue).await.into_iter().collect();
        assert!(now.is_superset(keys), "{queue} had {keys:?} and has {now:?}");
    }
    declare(&world.channel, "d").await;
    bind(&world.channel, "d", "hash", "10").await;
    assert_eq!(
        spread(&world.channel, "hash").await,
        before,
        "under its name it has its keys"
    );
}

#[tokio::test]
async fn a_consistent_hash_heeds_weights_and_the_first_one_of_a_queue() {
    let world = World::start().await;
    declare_exchange(&world.channel, "hash", custom("x-consistent-hash")).await;
    for (queue, weight) in [("a", "1"), ("b", "1000000")] {
        declare(&world.channel, queue).await;
        bind(&world.channel, queue, "hash", weight).await;
    }
    bind(&world.channel, "a", "hash", "900000000").await;
    for key in 0..50 {
        publish(&world.channel, "hash", &key.to_string(), "body").await;
    }
    let (a, b) = (world.ready("a").await, world.ready("b").await);
    assert!(a + b == 50 && a <= 1, "{a} and {b}");
}

#[tokio::test]
async fn a_consistent_hash_can_be_of_a_header_or_a_property() {
    let world = World::start().await;
    let rows = [
        ("by-header", "hash-header", "customer"),
        ("by-id", "hash-property", "message_id"),
    ];
    for (exchange, argument, value) in rows {
        let arguments = strings(&[(argument, value)]);
        world
            .channel
            .exchange_declare(
                exchange.into(),
                custom("x-consistent-hash"),
                ExchangeDeclareOptions::default(),
                arguments,
            )
            .await
            .unwrap();
        queues(&world.channel, exchange, "1").await;
        for round in ["first", "second"] {
            for n in 0..40 {
                let id = format!("customer-{n}");
                let properties = BasicProperties::default()
                    .with_headers(strings(&[("customer", &id)]))
                    .with_message_id(id.as_str().into());
                let body = format!("{round} {n}");
                publish_with(&world.channel, exchange, round, body.as_bytes(), properties).await;
            }
        }
        let taken = take_each(&world.channel).await;
        for bodies in &taken {
            assert!(!bodies.is_empty() && bodies.len() < 80, "{taken:?}");
            for body in bodies.iter().filter_map(|body| body.strip_prefix("first ")) {
                assert!(
                    bodies.contains(&format!("second {body}")),
                    "{exchange}: {taken:?}"
                );
            }
        }
        for queue in QUEUES {
            let options = QueueDeleteOptions::default();
            world.channel.queue_delete(queue.into(), options).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_modulus_hash_sends_a_key_to_one_queue() {
    let world = World::start().await;
    declare_exchange(&world.channel, "modulus", custom("x-modulus-hash")).await;
    queues(&world.channel, "modulus", "any").await;
    let first = spread(&world.channel, "modulus").await;
    assert_eq!(spread(&world.channel, "modulus").await, first);
}

#[tokio::test]
async fn a_random_exchange_sends_the_same_key_everywhere() {
    let world = World::start().await;
    declare_exchange(&world.channel, "random", custom("x-random")).await;
    declare_exchange(&world.channel, "local", custom("x-local-random")).await;
    for exchange in ["random", "local"] {
        queues(&world.channel, exchange, "").await;
        for n in 0..80 {
            publish(&world.channel, exchange, "the same", &n.to_string()).await;
        }
        let taken = take_each(&world.channel).await;
        let counts: Vec<_> = taken.iter().map(BTreeSet::len).collect();
        assert!(
            counts.iter().sum::<usize>() == 80 && counts.iter().all(|count| *count >= 5),
            "{exchange}: {counts:?}"
        );
    }
}

#[tokio::test]
async fn a_random_exchange_behind_another_one_chooses_for_each_message() {
    let world = World::start().await;
    declare_exchange(&world.channel, "front", ExchangeKind::Fanout).await;
    declare_exchange(&world.channel, "random", custom("x-random")).await;
    let options = ExchangeBindOptions::default();
    world
        .channel
        .exchange_bind(
            "random".into(),
            "front".into(),
            "".into(),
            options,
            FieldTable::default(),
        )
        .await
        .unwrap();
    queues(&world.channel, "random", "").await;
    for n in 0..80 {
        publish(&world.channel, "front", "the same", &n.to_string()).await;
    }
    let taken = take_each(&world.channel).await;
    assert!(taken.iter().all(|bodies| bodies.len() >= 5), "{taken:?}");
}
