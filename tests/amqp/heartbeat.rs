//! Heartbeats keep an idle connection alive on both sides.

use std::time::Duration;

use futures_lite::StreamExt;
use tokio::time::timeout;

use crate::support::TestServer;
use crate::world::{connect, consume, declare, next, publish};

/// More than three heartbeats of a second: who missed two of them is gone.
const IDLE: Duration = Duration::from_millis(3_500);

#[tokio::test]
async fn an_idle_connection_lives_on() {
    let server = TestServer::start();
    let connection = connect(&format!("{}?heartbeat=1", server.uri())).await;
    let channel = connection.create_channel().await.unwrap();
    declare(&channel, "queue").await;
    let mut consumer = consume(&channel, "queue").await;
    assert_eq!(connection.configuration().heartbeat(), 1);
    let idle = timeout(IDLE, consumer.next()).await;
    assert!(idle.is_err(), "nothing happens while nobody speaks, not {idle:?}");
    publish(&channel, "", "queue", "awake").await;
    assert_eq!(next(&mut consumer).await.data, b"awake");
}
