//! Bodies of all sizes.

use lapin::BasicProperties;

use crate::world::{World, consume, declare, get, next, publish_with};

/// Bytes that tell their place, so that frames can not be swapped unnoticed.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|place| u8::try_from(place * 31 % 251).unwrap())
        .collect()
}

#[tokio::test]
async fn an_empty_body_is_a_message() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    publish_with(&world.channel, "", "queue", b"", BasicProperties::default()).await;
    assert!(get(&world.channel, "queue").await.unwrap().data.is_empty());
}

#[tokio::test]
async fn bodies_around_the_frame_size_and_far_above_it_come_back_whole() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    let mut consumer = consume(&world.channel, "queue").await;
    let frame_max = 131_072;
    for bytes in [
        1,
        frame_max - 9,
        frame_max - 8,
        frame_max - 7,
        2 * (frame_max - 8),
        10_000_000,
    ] {
        let body = pattern(bytes);
        publish_with(&world.channel, "", "queue", &body, BasicProperties::default()).await;
        assert!(
            next(&mut consumer).await.data == body,
            "a body of {bytes} bytes differs"
        );
    }
}

#[tokio::test]
async fn a_body_of_any_bytes_is_left_alone() {
    let world = World::start().await;
    declare(&world.channel, "queue").await;
    let body: Vec<u8> = (0..=255).collect();
    publish_with(
        &world.channel,
        "",
        "queue",
        &body,
        BasicProperties::default().with_delivery_mode(2),
    )
    .await;
    assert_eq!(get(&world.channel, "queue").await.unwrap().data, body);
}
