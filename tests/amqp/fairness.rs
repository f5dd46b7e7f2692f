//! Who gets what when several consume.

use lapin::options::{BasicAckOptions, BasicPublishOptions};
use lapin::{BasicProperties, Channel, Connection, Consumer};

use crate::world::{World, consume, declare, expect_nothing, next, prefetch};

/// A consumer on a connection of its own.
struct Worker {
    consumer: Consumer,
    channel: Channel,
    _connection: Connection,
}

async fn workers(world: &World, count: usize, prefetch_count: u16) -> Vec<Worker> {
    let mut workers = Vec::new();
    for _ in 0..count {
        let connection = world.another_connection().await;
        let channel = connection.create_channel().await.unwrap();
        prefetch(&channel, prefetch_count).await;
        let consumer = consume(&channel, "queue").await;
        workers.push(Worker {
            consumer,
            channel,
            _connection: connection,
        });
    }
    workers
}

/// Publishes so many numbers at once and waits for the confirms.
async fn publish_batch(world: &World, count: u32) {
    let mut confirms = Vec::new();
    for number in 0..count {
        let options = BasicPublishOptions::default();
        let body = number.to_be_bytes();
        let publish = world.channel.basic_publish(
            "".into(),
            "queue".into(),
            options,
            &body,
            BasicProperties::default(),
        );
        confirms.push(publish.await.unwrap());
    }
    for confirm in confirms {
        assert!(confirm.await.unwrap().is_ack());
    }
}

#[tokio::test]
async fn a_large_batch_goes_round_robin_to_three_consumers() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    let mut workers = workers(&world, 3, 0).await;
    publish_batch(&world, 900).await;
    for (index, worker) in workers.iter_mut().enumerate() {
        let first = next(&mut worker.consumer).await;
        let mut last = u32::from_be_bytes(first.data.as_slice().try_into().unwrap());
        for _ in 1..300 {
            let delivery = next(&mut worker.consumer).await;
            let number = u32::from_be_bytes(delivery.data.as_slice().try_into().unwrap());
            assert_eq!(number, last + 3, "consumer {index} gets every third message");
            last = number;
        }
        expect_nothing(&worker.channel, &mut worker.consumer).await;
    }
}

#[tokio::test]
async fn ten_consumers_never_hold_more_than_their_prefetch() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    publish_batch(&world, 500).await;
    let mut workers = workers(&world, 10, 5).await;
    let mut left = 500;
    while left > 0 {
        for worker in &mut workers {
            let mut last = None;
            for _ in 0..5 {
                last = Some(next(&mut worker.consumer).await);
            }
            expect_nothing(&worker.channel, &mut worker.consumer).await;
            last.unwrap()
                .acker
                .ack(BasicAckOptions { multiple: true })
                .await
                .unwrap();
            left -= 5;
        }
    }
    assert_eq!(world.ready("queue").await, 0);
}

#[tokio::test]
async fn a_busy_consumer_is_passed_over() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    let mut workers = workers(&world, 2, 1).await;
    publish_batch(&world, 1).await;
    let held = next(&mut workers[0].consumer).await;
    publish_batch(&world, 20).await;
    for number in 0..20u32 {
        let delivery = next(&mut workers[1].consumer).await;
        assert_eq!(delivery.data, number.to_be_bytes());
        delivery.acker.ack(BasicAckOptions::default()).await.unwrap();
    }
    let busy = &mut workers[0];
    expect_nothing(&busy.channel, &mut busy.consumer).await;
    held.acker.ack(BasicAckOptions::default()).await.unwrap();
    publish_batch(&world, 2).await;
    next(&mut workers[0].consumer).await;
    next(&mut workers[1].consumer).await;
}
