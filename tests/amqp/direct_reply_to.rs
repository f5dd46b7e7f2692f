//! Remote procedure calls through `amq.rabbitmq.reply-to`.

use std::collections::BTreeSet;

use futures_lite::StreamExt;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, Consumer};
use tokio::time::timeout;

use crate::support::DEADLINE;
use crate::world::{World, body, consume_with, declare, next, publish_with};

const REPLY_TO: &str = "amq.rabbitmq.reply-to";

const NO_ACK: BasicConsumeOptions = BasicConsumeOptions {
    no_ack: true,
    no_local: false,
    exclusive: false,
    nowait: false,
};

/// Asks the queue, and names the question.
async fn ask(channel: &Channel, queue: &str, id: usize) {
    let properties = BasicProperties::default()
        .with_reply_to(REPLY_TO.into())
        .with_correlation_id(id.to_string().into());
    publish_with(channel, "", queue, id.to_string().as_bytes(), properties).await;
}

/// Takes the next question and answers with what was asked.
async fn answer(channel: &Channel, questions: &mut Consumer) -> ShortString {
    let question = next(questions).await;
    let address = question.properties.reply_to().clone().expect("where to");
    let id = question.properties.correlation_id().clone().expect("its name");
    let properties = BasicProperties::default().with_correlation_id(id);
    publish_with(channel, "", address.as_str(), &question.data, properties).await;
    address
}

#[tokio::test]
async fn a_responder_on_another_connection_answers() {
    let world = World::start().await;
    declare(&world.channel, "questions").await;
    let mut replies = consume_with(&world.channel, REPLY_TO, NO_ACK).await;
    let other = world.another_connection().await.create_channel().await.unwrap();
    let mut questions = consume_with(&other, "questions", NO_ACK).await;
    ask(&world.channel, "questions", 7).await;
    let address = answer(&other, &mut questions).await;
    let reply = next(&mut replies).await;
    assert_eq!(body(&reply), "7");
    assert_eq!(reply.properties.correlation_id(), &Some("7".into()));
    assert_eq!((reply.exchange.as_str(), &reply.routing_key), ("", &address));
    assert!(!reply.redelivered);
}

#[tokio::test]
async fn many_requesters_with_many_questions_get_their_own_answers() {
    const REQUESTERS: usize = 20;
    const EACH: usize = 100;
    let world = World::start().await;
    declare(&world.channel, "questions").await;
    let connection = world.another_connection().await;
    let mut requesters = Vec::new();
    for _ in 0..REQUESTERS {
        let channel = connection.create_channel().await.unwrap();
        let replies = consume_with(&channel, REPLY_TO, NO_ACK).await;
        requesters.push((channel, replies));
    }
    for index in 0..EACH {
        for (requester, (channel, _)) in requesters.iter().enumerate() {
            ask(channel, "questions", requester * EACH + index).await;
        }
    }
    let mut questions = consume_with(&world.channel, "questions", NO_ACK).await;
    let mut addresses = BTreeSet::new();
    for _ in 0..REQUESTERS * EACH {
        addresses.insert(answer(&world.channel, &mut questions).await);
    }
    assert_eq!(addresses.len(), REQUESTERS);
    for (requester, (_, replies)) in requesters.iter_mut().enumerate() {
        for index in 0..EACH {
            assert_eq!(body(&next(replies).await), (requester * EACH + index).to_string());
        }
    }
}

#[tokio::test]
async fn a_reply_to_a_requester_that_is_gone_is_confirmed_and_dropped() {
    let world = World::start().await;
    declare(&world.channel, "questions").await;
    let requester = world.another_connection().await;
    let channel = requester.create_channel().await.unwrap();
    let _replies = consume_with(&channel, REPLY_TO, NO_ACK).await;
    ask(&channel, "questions", 1).await;
    let mut questions = consume_with(&world.channel, "questions", NO_ACK).await;
    let question = next(&mut questions).await;
    requester.close(200, "OK".into()).await.unwrap();
    let address = question.properties.reply_to().clone().expect("where to");
    let mandatory = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let publish =
        world
            .channel
            .basic_publish("".into(), address, mandatory, b"late", BasicProperties::default());
    let confirmation = timeout(DEADLINE, publish.await.unwrap()).await.unwrap().unwrap();
    assert_eq!(
        confirmation,
        Confirmation::Ack(None),
        "neither refused nor returned"
    );
}

#[tokio::test]
async fn a_requester_answers_itself_on_the_same_channel() {
    let world = World::start().await;
    declare(&world.channel, "questions").await;
    let mut replies = consume_with(&world.channel, REPLY_TO, NO_ACK).await;
    let mut questions = consume_with(&world.channel, "questions", NO_ACK).await;
    for id in 0..10 {
        ask(&world.channel, "questions", id).await;
        answer(&world.channel, &mut questions).await;
    }
    let answers: Vec<_> = (&mut replies).take(10).collect().await;
    for (id, reply) in answers.iter().enumerate() {
        assert_eq!(body(reply.as_ref().unwrap()), id.to_string());
    }
}
