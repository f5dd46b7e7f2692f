//! A consumer that settles each delivery as its message's number demands.

use std::io;
use std::time::{Duration, Instant};

use amq_protocol::protocol::basic::{self, AMQPProperties};
use amq_protocol::protocol::{AMQPClass, tx};
use amq_protocol::types::{AMQPValue, FieldTable};

use crate::books::Id;
use crate::client::{Client, Delivery, Event};
use crate::lanes::{Fate, Place, SECOND_DELAY, delay_of, delayed_by, fate, is_rolled_back};
use crate::scene::{Scene, next};

/// Acks that are kept back at most.
const LATER_MAX: usize = 16;
/// How long an ack is kept back when nothing comes.
const IDLE: Duration = Duration::from_millis(50);
/// How much earlier than it should a message may come back, as the clocks are read at different places.
const EARLY: Duration = Duration::from_millis(20);
/// Says how often a message has been delayed before.
const TRIES: &str = "x-tries";

/// What a consumer is there for.
#[derive(Clone, Copy)]
pub struct Post {
    pub queues: &'static [&'static str],
    pub prefetch: u16,
    /// It settles in transactions.
    pub is_transactional: bool,
    /// It goes away after about so long, without a word, and comes again.
    pub leaves_after: Option<Duration>,
}

impl Post {
    pub const fn at(queues: &'static [&'static str], prefetch: u16) -> Self {
        Self {
            queues,
            prefetch,
            is_transactional: false,
            leaves_after: None,
        }
    }

    pub fn work(self, scene: &Scene) {
        let name = format!("the consumer of {:?}", self.queues);
        scene.keep_working(
            &name,
            || scene.is_going_on(),
            |client, life| {
                let mut consumer = Consumer::new(scene, client, life, self)?;
                let end = self.leaves_after.map(|after| Instant::now() + after);
                let is_staying = || scene.is_going_on() && end.is_none_or(|end| Instant::now() < end);
                consumer.take_while(is_staying)
            },
        );
    }
}

pub struct Consumer<'a> {
    scene: &'a Scene,
    client: Client,
    life: u32,
    post: Post,
    /// Deliveries since the last ack, and the tag of the latest.
    later: usize,
    last: u64,
}

impl<'a> Consumer<'a> {
    pub fn new(scene: &'a Scene, mut client: Client, life: u32, post: Post) -> io::Result<Self> {
        if post.is_transactional {
            client.call(AMQPClass::Tx(tx::AMQPMethod::Select(tx::Select {})))?;
        }
        client.qos(post.prefetch)?;
        for queue in post.queues {
            client.consume(queue)?;
        }
        Ok(Self {
            scene,
            client,
            life,
            post,
            later: 0,
            last: 0,
        })
    }

    pub fn take_while(&mut self, is_wanted: impl Fn() -> bool) -> io::Result<()> {
        while is_wanted() {
            if !self.take(IDLE)? || self.later >= LATER_MAX {
                self.ack_later()?;
            }
        }
        self.ack_later()?;
        self.client.flush()
    }

    /// Takes a delivery; false if none has come.
    pub fn take(&mut self, wait: Duration) -> io::Result<bool> {
        match next(&mut self.client, wait)? {
            None => return Ok(false),
            Some(Event::Delivery(delivery)) => self.settle(&delivery)?,
            Some(other) => self
                .scene
                .complain(format!("the consumer of {:?} got {other:?}", self.post.queues)),
        }
        Ok(true)
    }

    fn settle(&mut self, delivery: &Delivery) -> io::Result<()> {
        self.scene.count_received();
        let queue = &delivery.consumer;
        let place = Place::of(queue, attempt(&delivery.properties, queue));
        let (Some(place), Some(id)) = (place, Id::of(&delivery.body)) else {
            let (length, properties) = (delivery.body.len(), &delivery.properties);
            self.scene.complain(format!(
                "in {queue} there is something else: {length} bytes, {properties:?}"
            ));
            self.client.ack(delivery.tag, false);
            return Ok(());
        };
        self.scene
            .books()
            .deliver(place, id, delivery.redelivered, self.life);
        self.check_delay(place, id);
        match fate(place, id, delivery.redelivered) {
            Fate::Ack => self.ack(delivery.tag)?,
            Fate::AckLater => {
                self.later += 1;
                self.last = delivery.tag;
            }
            Fate::Requeue => self.client.requeue(delivery.tag),
            Fate::Reject => {
                let reject = basic::Reject {
                    delivery_tag: delivery.tag,
                    requeue: false,
                };
                self.client
                    .send(AMQPClass::Basic(basic::AMQPMethod::Reject(reject)));
            }
            Fate::DelayAgain => self.delay_again(delivery)?,
            Fate::Forward => self.forward(id, delivery)?,
        }
        Ok(())
    }

    fn check_delay(&self, place: Place, id: Id) {
        let delay = match place {
            Place::Delayed => delay_of(id.number),
            Place::DelayedAgain => delay_of(id.number) + SECOND_DELAY,
            _ => return,
        };
        let age = Duration::from_micros(self.scene.now_us() - id.sent_us);
        if age + EARLY < delay {
            self.scene
                .complain(format!("{id:?} came after {age:?}, and its delay is {delay:?}"));
        }
    }

    fn ack(&mut self, tag: u64) -> io::Result<()> {
        self.client.ack(tag, false);
        if self.post.is_transactional {
            self.commit()?;
        }
        Ok(())
    }

    pub fn ack_later(&mut self) -> io::Result<()> {
        if self.later == 0 {
            return Ok(());
        }
        self.later = 0;
        self.client.ack(self.last, true);
        if self.post.is_transactional {
            self.commit()?;
        }
        Ok(())
    }

    fn delay_again(&mut self, delivery: &Delivery) -> io::Result<()> {
        let delayed = delayed_by(SECOND_DELAY);
        let mut headers = delayed.headers().clone().expect("it has a delay");
        headers.insert(TRIES.into(), AMQPValue::LongLongInt(1));
        let properties = delayed.with_headers(headers).with_delivery_mode(2);
        self.client
            .publish_properties("soak.delayed", "delayed", false, properties, &delivery.body);
        self.scene.count_sent();
        self.ack(delivery.tag)
    }

    fn forward(&mut self, id: Id, delivery: &Delivery) -> io::Result<()> {
        if is_rolled_back(id.number) {
            self.forward_once(delivery);
            self.client
                .call(AMQPClass::Tx(tx::AMQPMethod::Rollback(tx::Rollback {})))?;
        }
        self.forward_once(delivery);
        self.commit()
    }

    fn forward_once(&mut self, delivery: &Delivery) {
        for queue in ["tx.left", "tx.right"] {
            self.client.publish("", queue, true, &delivery.body);
            self.scene.count_sent();
        }
        self.client.ack(delivery.tag, false);
    }

    fn commit(&mut self) -> io::Result<()> {
        self.client
            .call(AMQPClass::Tx(tx::AMQPMethod::Commit(tx::Commit {})))?;
        Ok(())
    }
}

/// How often the message was rejected in this queue, or delayed again, before.
fn attempt(properties: &AMQPProperties, queue: &str) -> i64 {
    let Some(headers) = properties.headers() else {
        return 0;
    };
    let headers = headers.inner();
    if let Some(AMQPValue::LongLongInt(tries)) = headers.get(TRIES) {
        return *tries;
    }
    let Some(AMQPValue::FieldArray(deaths)) = headers.get("x-death") else {
        return 0;
    };
    let counts = deaths.as_slice().iter().filter_map(|death| match death {
        AMQPValue::FieldTable(death) => rejections(death, queue),
        _ => None,
    });
    counts.sum()
}

fn rejections(death: &FieldTable, queue: &str) -> Option<i64> {
    let death = death.inner();
    let is = |key: &str, text: &str| matches!(death.get(key), Some(AMQPValue::LongString(value)) if value.as_bytes() == text.as_bytes());
    match death.get("count") {
        Some(AMQPValue::LongLongInt(count)) if is("queue", queue) && is("reason", "rejected") => Some(*count),
        _ => None,
    }
}
