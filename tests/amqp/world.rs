//! The tests' words: a broker with a connection and a channel in confirm mode, and what is done with them.

use futures_lite::StreamExt;
use futures_lite::future::poll_once;
use lapin::message::{BasicGetMessage, Delivery};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, ErrorKind,
    ExchangeKind,
};
use std::time::Duration;

use tokio::time::{interval, timeout};

use crate::support::{DEADLINE, TestServer};

/// A broker, a connection to it, and a channel with confirms.
pub struct World {
    pub channel: Channel,
    pub connection: Connection,
    pub server: TestServer,
}

impl World {
    pub async fn start() -> Self {
        Self::with_config("").await
    }

    /// On a broker with this configuration.
    pub async fn with_config(config: &str) -> Self {
        let server = TestServer::with_config(config);
        let connection = connect(&server.uri()).await;
        let channel = connection.create_channel().await.unwrap();
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .unwrap();
        Self {
            channel,
            connection,
            server,
        }
    }

    /// Another channel of the same connection.
    pub async fn another_channel(&self) -> Channel {
        self.connection.create_channel().await.unwrap()
    }

    pub async fn another_connection(&self) -> Connection {
        connect(&self.server.uri()).await
    }

    /// Ready messages of a queue that exists.
    pub async fn ready(&self, queue: &str) -> u32 {
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let channel = self.another_channel().await;
        channel
            .queue_declare(queue.into(), passive, FieldTable::default())
            .await
            .unwrap()
            .message_count()
    }

    pub async fn has_queue(&self, queue: &str) -> bool {
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let channel = self.another_channel().await;
        channel
            .queue_declare(queue.into(), passive, FieldTable::default())
            .await
            .is_ok()
    }

    pub async fn has_exchange(&self, exchange: &str) -> bool {
        let passive = ExchangeDeclareOptions {
            passive: true,
            ..ExchangeDeclareOptions::default()
        };
        let channel = self.another_channel().await;
        let kind = ExchangeKind::Direct;
        channel
            .exchange_declare(exchange.into(), kind, passive, FieldTable::default())
            .await
            .is_ok()
    }
}

pub async fn connect(uri: &str) -> Connection {
    Connection::connect(uri, ConnectionProperties::default())
        .await
        .unwrap()
}

pub async fn declare(channel: &Channel, queue: &str) {
    let options = QueueDeclareOptions::default();
    channel
        .queue_declare(queue.into(), options, FieldTable::default())
        .await
        .unwrap();
}

pub async fn declare_exchange(channel: &Channel, exchange: &str, kind: ExchangeKind) {
    let options = ExchangeDeclareOptions::default();
    channel
        .exchange_declare(exchange.into(), kind, options, FieldTable::default())
        .await
        .unwrap();
}

pub async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) {
    bind_with(channel, queue, exchange, key, FieldTable::default()).await;
}

pub async fn bind_with(channel: &Channel, queue: &str, exchange: &str, key: &str, arguments: FieldTable) {
    let options = QueueBindOptions::default();
    channel
        .queue_bind(queue.into(), exchange.into(), key.into(), options, arguments)
        .await
        .unwrap();
}

/// Publishes; waits for the confirm if the channel has them.
pub async fn publish(channel: &Channel, exchange: &str, key: &str, body: &str) {
    publish_with(
        channel,
        exchange,
        key,
        body.as_bytes(),
        BasicProperties::default(),
    )
    .await;
}

pub async fn publish_with(
    channel: &Channel,
    exchange: &str,
    key: &str,
    body: &[u8],
    properties: BasicProperties,
) {
    let options = BasicPublishOptions::default();
    let publish = channel.basic_publish(exchange.into(), key.into(), options, body, properties);
    let confirmation = timeout(DEADLINE, publish.await.unwrap()).await.unwrap().unwrap();
    assert!(!confirmation.is_nack());
    assert!(
        !matches!(confirmation, Confirmation::Ack(Some(_))),
        "nothing is returned unasked"
    );
}

/// Publishes to a queue, one after the other.
pub async fn fill(channel: &Channel, queue: &str, bodies: &[&str]) {
    for body in bodies {
        publish(channel, "", queue, body).await;
    }
}

/// The first ready message, unacked.
pub async fn get(channel: &Channel, queue: &str) -> Option<BasicGetMessage> {
    channel
        .basic_get(queue.into(), BasicGetOptions { no_ack: false })
        .await
        .unwrap()
}

/// The bodies of all ready messages, which are gone then.
pub async fn take_all(channel: &Channel, queue: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    while let Some(message) = channel
        .basic_get(queue.into(), BasicGetOptions { no_ack: true })
        .await
        .unwrap()
    {
        bodies.push(String::from_utf8(message.data.clone()).unwrap());
    }
    bodies
}

pub async fn consume(channel: &Channel, queue: &str) -> Consumer {
    consume_with(channel, queue, BasicConsumeOptions::default()).await
}

pub async fn consume_with(channel: &Channel, queue: &str, options: BasicConsumeOptions) -> Consumer {
    channel
        .basic_consume(queue.into(), "".into(), options, FieldTable::default())
        .await
        .unwrap()
}

/// The next delivery, which has to come.
pub async fn next(consumer: &mut Consumer) -> Delivery {
    timeout(DEADLINE, consumer.next())
        .await
        .expect("a delivery comes")
        .expect("the consumer lives")
        .unwrap()
}

/// Bodies of the next deliveries, which have to come.
pub async fn next_bodies(consumer: &mut Consumer, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    for _ in 0..count {
        bodies.push(body(&next(consumer).await));
    }
    bodies
}

pub fn body(delivery: &Delivery) -> String {
    String::from_utf8(delivery.data.clone()).unwrap()
}

/// Nothing has come that was not read yet. A method's answer on the channel comes behind all deliveries before it.
pub async fn expect_nothing(channel: &Channel, consumer: &mut Consumer) {
    // A passive declare changes nothing.
    let kind = ExchangeKind::Direct;
    let passive = ExchangeDeclareOptions {
        passive: true,
        ..ExchangeDeclareOptions::default()
    };
    channel
        .exchange_declare("amq.direct".into(), kind, passive, FieldTable::default())
        .await
        .unwrap();
    let found = poll_once(consumer.next()).await;
    assert!(found.is_none(), "nothing should have come, not {found:?}");
}

pub async fn ack(delivery: &Delivery) {
    assert!(delivery.acker.ack(BasicAckOptions::default()).await.unwrap());
}

pub async fn prefetch(channel: &Channel, count: u16) {
    channel
        .basic_qos(count, BasicQosOptions::default())
        .await
        .unwrap();
}

/// Reply code and text with which the broker closed.
pub fn refusal<T: std::fmt::Debug>(result: Result<T, lapin::Error>) -> (u16, String) {
    match result.unwrap_err().kind() {
        ErrorKind::ProtocolError(error) => (error.get_id(), error.get_message().to_string()),
        other => panic!("a refusal was due, not {other:?}"),
    }
}

/// Declares a durable queue with arguments.
pub async fn declare_with(channel: &Channel, queue: &str, arguments: FieldTable) {
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(queue.into(), options, arguments)
        .await
        .unwrap();
}

/// Arguments of integers and strings.
pub fn arguments(numbers: &[(&str, i32)], texts: &[(&str, &str)]) -> FieldTable {
    let mut arguments = FieldTable::default();
    for (name, number) in numbers {
        arguments.insert((*name).into(), AMQPValue::LongInt(*number));
    }
    for (name, text) in texts {
        arguments.insert((*name).into(), AMQPValue::LongString((*text).into()));
    }
    arguments
}

/// What a message's header holds.
pub fn header<'a>(properties: &'a BasicProperties, name: &str) -> Option<&'a AMQPValue> {
    properties.headers().as_ref()?.inner().get(name)
}

/// Publishes and tells whether the broker took it.
pub async fn is_taken(channel: &Channel, queue: &str, body: &str) -> bool {
    let options = BasicPublishOptions::default();
    let properties = BasicProperties::default();
    let publish = channel.basic_publish("".into(), queue.into(), options, body.as_bytes(), properties);
    let confirmation = timeout(DEADLINE, publish.await.unwrap()).await.unwrap().unwrap();
    !confirmation.is_nack()
}

/// Waits until the condition holds.
pub async fn wait_until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut looks = interval(Duration::from_millis(10));
    let waiting = timeout(DEADLINE, async {
        while !holds().await {
            looks.tick().await;
        }
    });
    waiting.await.unwrap_or_else(|_| panic!("in vain: {what}"));
}
