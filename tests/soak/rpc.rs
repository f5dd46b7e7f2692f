//! Requests over direct reply-to, and who answers them.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use amq_protocol::protocol::basic::AMQPProperties;

use crate::client::{Client, Delivery, Event};
use crate::scene::{Pace, Scene, next};
use crate::support::DEADLINE;
use crate::topology::{consume_without_acks, declare_temporary};

const QUESTIONS: &str = "rpc";
const REPLY_TO: &str = "amq.rabbitmq.reply-to";
/// Requests per second at load 1.
const RATE: f64 = 100.0;
const TICK: Duration = Duration::from_millis(10);

pub fn ask(scene: &Scene) {
    scene.keep_working(
        "the requester",
        || scene.is_publishing(),
        |mut client, _| {
            declare_temporary(&mut client, QUESTIONS, false)?;
            consume_without_acks(&mut client, REPLY_TO)?;
            let mut pace = Pace::new(RATE * scene.load);
            let mut open = BTreeMap::new();
            let mut number = 0_u64;
            while scene.is_publishing() {
                if pace.is_due() {
                    number += 1;
                    let properties = AMQPProperties::default()
                        .with_reply_to(REPLY_TO.into())
                        .with_correlation_id(number.to_string().into());
                    client.publish_properties("", QUESTIONS, true, properties, b"a question");
                    scene.count_sent();
                    open.insert(number.to_string(), Instant::now());
                }
                take_reply(scene, &mut client, &mut open)?;
                let late = open.extract_if(.., |_, asked| asked.elapsed() > DEADLINE);
                for (number, _) in late {
                    scene.complain(format!("nobody answers question {number}"));
                }
            }
            Ok(())
        },
    );
}

fn take_reply(scene: &Scene, client: &mut Client, open: &mut BTreeMap<String, Instant>) -> io::Result<()> {
    match next(client, TICK)? {
        None => {}
        Some(Event::Delivery(reply)) => {
            scene.count_received();
            if open.remove(&correlation_id(&reply)).is_none() {
                scene.complain(format!("this reply was not asked for: {reply:?}"));
            }
        }
        Some(other) => scene.complain(format!("the requester got {other:?}")),
    }
    Ok(())
}

pub fn answer(scene: &Scene) {
    scene.keep_working(
        "the answerer",
        || scene.is_going_on(),
        |mut client, _| {
            declare_temporary(&mut client, QUESTIONS, false)?;
            consume_without_acks(&mut client, QUESTIONS)?;
            while scene.is_going_on() {
                if let Some(Event::Delivery(question)) = next(&mut client, TICK)? {
                    scene.count_received();
                    let address = question.properties.reply_to().clone().unwrap_or_default();
                    let properties =
                        AMQPProperties::default().with_correlation_id(correlation_id(&question).into());
                    client.publish_properties("", address.as_str(), false, properties, b"an answer");
                    scene.count_sent();
                }
            }
            Ok(())
        },
    );
}

fn correlation_id(delivery: &Delivery) -> String {
    let id = delivery.properties.correlation_id().as_ref();
    id.map(ToString::to_string).unwrap_or_default()
}
