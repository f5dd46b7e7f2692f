//! An opened connection's dealings with its vhost: who it is, what it may do, what it has gathered, and what it
//! waits for. Channels borrow it with each method.

use std::collections::VecDeque;
use std::sync::Arc;

use amq_protocol::protocol::{AMQPClass, basic};

use crate::amqp::method::{self, MethodId};
use crate::amqp::reply_code::ReplyCode;
use crate::broker::arrivals::Place;
use crate::broker::census::Opened;
use crate::broker::live_queue::LiveQueue;
use crate::broker::outbox::{Mail, Outbox, OutboxDelivery, SourceId};
use crate::broker::permission::{Access, Rights};
use crate::broker::refusal::Entity;
use crate::broker::user::User;
use crate::broker::vhost::{DeleteConditions, Vhost};
use crate::broker::{Broker, ConnectionId};
use crate::store::Sequence;

use super::batch::Batch;
use super::error::{Denied, Failure, channel};
use super::handshake::Capabilities;
use super::settings::Settings;
use super::withheld::Withheld;

/// Why no further frame is worked off at the moment.
#[derive(Debug)]
pub enum Wait {
    /// Until the durable store has committed this; then the reply goes out.
    Commit {
        /// What to wait for.
        sequence: Sequence,
        /// Whole frames.
        reply: Vec<u8>,
    },
    /// Until a queue has read a page; then `basic.get` is tried again.
    Get {
        /// Channel number.
        channel: u16,
        /// The queue asked.
        queue: Arc<LiveQueue>,
        /// The message counts as acked when handed out.
        no_ack: bool,
        /// A notice has come: the next try may succeed.
        is_due: bool,
    },
    /// Until what was withheld may be seen, which goes out before an answer.
    Withheld {
        /// What to wait for.
        sequence: Sequence,
        /// Channel number.
        channel: u16,
        /// What is left to do then.
        rest: Rest,
    },
    /// Until less is pending at the stores, and then for room.
    Pressure {
        /// That of a large body which was announced meanwhile.
        next: Option<Arc<Place>>,
    },
    /// Until no resource alarm stands.
    Alarm,
    /// Until there is room for a large body.
    Place(Arc<Place>),
}

/// The rest of a method.
#[derive(Debug)]
pub enum Rest {
    /// All of it.
    Cancel(basic::Cancel),
    /// The answer; the channel has a limit that it did not have before.
    Qos {
        /// That is so.
        is_new: bool,
    },
}

/// An opened connection's state outside its channels.
#[derive(Debug)]
pub struct Session {
    /// Its number.
    pub id: ConnectionId,
    /// The broker.
    pub broker: Arc<Broker>,
    /// The vhost it opened.
    pub vhost: Arc<Vhost>,
    /// Who it is.
    pub user: Arc<User>,
    /// What the user may do in the vhost, as of the accounts' version.
    rights: Arc<Rights>,
    accounts_version: u64,
    /// Settings of all connections.
    pub settings: Arc<Settings>,
    /// What the client understands.
    pub capabilities: Capabilities,
    /// Negotiated; 0 is unlimited.
    pub frame_max: u32,
    /// Where queues leave deliveries.
    pub outbox: Arc<Outbox>,
    /// Mail taken out of the outbox and not read.
    pub mail: Mail,
    /// Mail that waits for the store.
    pub withheld: Withheld,
    /// Publishes and settlements not yet handed to the queues.
    pub batch: Batch,
    /// Queues that end with this connection.
    pub exclusive_queues: Vec<Arc<LiveQueue>>,
    /// Why no further frame is worked off.
    pub wait: Option<Wait>,
    /// The places of large bodies that have come, until the stores can take the next.
    pub arrived: Vec<Arc<Place>>,
    next_source: u64,
}

impl Session {
    /// A session with nothing gathered.
    pub fn new(
        (id, outbox): (ConnectionId, Arc<Outbox>),
        broker: Arc<Broker>,
        opened: Opened,
        settings: Arc<Settings>,
        capabilities: Capabilities,
        frame_max: u32,
    ) -> Self {
        let Opened {
            vhost,
            user,
            rights,
            accounts_version,
        } = opened;
        Self {
            id,
            broker,
            batch: Batch::new(Arc::clone(&vhost)),
            vhost,
            user,
            rights,
            accounts_version,
            settings,
            capabilities,
            frame_max,
            outbox,
            mail: Mail::default(),
            withheld: Withheld::default(),
            exclusive_queues: Vec::new(),
            wait: None,
            arrived: Vec::new(),
            next_source: 0,
        }
    }

    /// Takes note of what the user is and may do now, if anything was changed since this was last called. Routes
    /// that were found under other rights are forgotten.
    pub fn follow_accounts(&mut self) {
        if self.broker.accounts_version() != self.accounts_version {
            self.take_accounts();
        }
    }

    #[cold]
    fn take_accounts(&mut self) {
        let (accounts, version) = self.broker.accounts_and_version();
        // A deleted user's connection is about to be closed; until then it has no rights.
        if let Some(user) = accounts.user(&self.user.name) {
            self.user = Arc::clone(user);
        }
        self.rights = accounts.rights(&self.user.name, &self.vhost.name);
        self.accounts_version = version;
        self.flush();
        self.batch.routes.forget(self.vhost.version());
    }

    /// Whether the user may do this to the queue or exchange.
    ///
    /// # Errors
    /// RabbitMQ's explanation, if not.
    pub fn check(&self, access: Access, entity: &Entity) -> Result<(), Denied> {
        let (kind, name) = named(entity);
        if self.rights.allows(access, name) {
            return Ok(());
        }
        Err(Denied::Access(format!(
            "{access} access to {kind} '{name}' in vhost '{}' refused for user '{}'",
            self.vhost.name, self.user.name
        )))
    }

    /// Whether the user may do anything at all with it, which is what a passive declare needs.
    ///
    /// # Errors
    /// RabbitMQ's explanation, if not.
    pub fn check_any(&self, entity: &Entity) -> Result<(), Denied> {
        let (_, name) = named(entity);
        let allows = |access| self.rights.allows(access, name);
        if allows(Access::Write) || allows(Access::Read) {
            return Ok(());
        }
        self.check(Access::Configure, entity)
    }

    /// Whether the user may use this routing key with a topic exchange.
    ///
    /// # Errors
    /// RabbitMQ's explanation, if not.
    pub fn check_topic(&self, access: Access, exchange: &str, routing_key: &[u8]) -> Result<(), Denied> {
        if self.rights.allows_topic(access, exchange, routing_key) {
            return Ok(());
        }
        Err(Denied::Access(format!(
            "{access} access to topic '{}' in exchange '{exchange}' in vhost '{}' refused for user '{}'",
            String::from_utf8_lossy(routing_key),
            self.vhost.name,
            self.user.name
        )))
    }

    /// Sends the reply once `after` is on disk, and works off nothing before that.
    pub fn reply_after(
        &mut self,
        output: &mut Vec<u8>,
        channel: u16,
        after: Option<Sequence>,
        reply: &AMQPClass,
    ) {
        let mut frames = Vec::new();
        method::encode(&mut frames, channel, reply);
        self.send_after(output, after, frames);
    }

    /// Sends whole frames once `after` is on disk, and works off nothing before that.
    pub fn send_after(&mut self, output: &mut Vec<u8>, after: Option<Sequence>, frames: Vec<u8>) {
        match after.filter(|sequence| self.broker.stores.durable.committed() < *sequence) {
            None => output.extend_from_slice(&frames),
            Some(sequence) => {
                self.wait = Some(Wait::Commit {
                    sequence,
                    reply: frames,
                });
            }
        }
    }

    /// Hands what was gathered to the queues; waits if the stores can not keep up.
    pub fn flush(&mut self) -> Option<Sequence> {
        let mut sequence = None;
        if !self.batch.is_empty() {
            sequence = self.batch.flush();
            // Who adds nothing need not wait. Dead letters that others are made of are not noticed here: so there is
            // an end.
            let times = if self.batch.take_reached_store() { 1 } else { 2 };
            if self.has_pending(times) && self.wait.is_none() {
                self.wait = Some(Wait::Pressure { next: None });
            }
        }
        if !matches!(self.wait, Some(Wait::Pressure { .. })) {
            self.arrived.clear();
        }
        sequence
    }

    /// Asks for room for a large body, and waits for it if need be. What came before it is handed on first: else a
    /// connection that is never done would have its room for ever.
    ///
    /// # Errors
    /// When there is none, and the connection can not wait because others of its bodies have come in part.
    pub fn reserve(&mut self, bytes: u64) -> Result<Arc<Place>, Failure> {
        self.flush();
        let Some(place) = self.broker.arrivals.ask(self.id, bytes) else {
            let explanation =
                "no room for a large message while the connection sends others on other channels";
            return Err(channel(
                ReplyCode::ContentTooLarge,
                explanation,
                MethodId::PUBLISH,
            ));
        };
        let place = Arc::new(place);
        let next = Arc::clone(&place);
        if let Some(Wait::Pressure { .. }) = self.wait {
            // Also if it is granted: at its turn it may have to wait for an alarm.
            self.wait = Some(Wait::Pressure { next: Some(next) });
        } else if !place.is_granted() {
            self.wait = Some(Wait::Place(next));
        }
        Ok(place)
    }

    /// Whether a reply waits for the disk.
    pub fn awaits_commit(&self) -> bool {
        matches!(self.wait, Some(Wait::Commit { .. }))
    }

    /// Whether more waits for the disk than publishers may add to.
    pub fn is_under_pressure(&self) -> bool {
        self.has_pending(1)
    }

    fn has_pending(&self, times: usize) -> bool {
        let stores = &self.broker.stores;
        let max = self.settings.pending_bytes_max.saturating_mul(times);
        stores.durable.pending_bytes() > max || stores.spill.pending_bytes() > max
    }

    /// A number for a new source of deliveries.
    pub fn next_source(&mut self) -> SourceId {
        self.next_source += 1;
        SourceId(self.next_source)
    }

    /// Takes everything out of the outbox into `mail`, behind what is there, but for what is withheld.
    pub fn take_mail(&mut self) {
        let durable = &self.broker.stores.durable;
        if self.mail.is_empty() {
            self.outbox.take(&mut self.mail);
            self.withheld.take_from(&mut self.mail, durable);
            return;
        }
        let mut more = Mail::default();
        self.outbox.take(&mut more);
        self.withheld.take_from(&mut more, durable);
        self.mail.deliveries.append(&mut more.deliveries);
        self.mail.notices.append(&mut more.notices);
    }

    /// Puts into `mail` what was withheld and may be seen now.
    pub fn release_withheld(&mut self) {
        if self.withheld.awaits().is_some() {
            let committed = self.broker.stores.durable.committed();
            self.withheld.release(committed, &mut self.mail);
        }
    }

    /// Takes all deliveries for which `is_wanted` holds, which are not to go out any more.
    pub fn take_back(&mut self, is_wanted: impl Fn(&OutboxDelivery) -> bool) -> VecDeque<OutboxDelivery> {
        let mut wanted = self.take_deliveries(&is_wanted);
        wanted.extend(self.withheld.take_back(is_wanted));
        wanted
    }

    /// Takes the deliveries of the mail for which `is_wanted` holds, in order, and leaves the others.
    pub fn take_deliveries(
        &mut self,
        is_wanted: impl Fn(&OutboxDelivery) -> bool,
    ) -> VecDeque<OutboxDelivery> {
        self.take_mail();
        let (wanted, others) = self.mail.deliveries.drain(..).partition(is_wanted);
        self.mail.deliveries = others;
        wanted
    }

    /// Notes a queue that ends with this connection.
    pub fn own(&mut self, queue: &Arc<LiveQueue>) {
        // Some may have expired since, or have gone with their last consumer.
        if self.exclusive_queues.len() == self.exclusive_queues.capacity() {
            self.exclusive_queues.retain(|queue| !queue.is_deleted());
        }
        self.exclusive_queues.push(Arc::clone(queue));
    }

    /// Deletes an auto-delete queue that lost its last consumer, unless it has a new one.
    pub fn delete_unused(&mut self, queue: &Arc<LiveQueue>) {
        let conditions = DeleteConditions {
            if_unused: true,
            ..DeleteConditions::default()
        };
        // A refusal means that somebody consumes again: then it stays.
        if self.vhost.remove_queue(queue, conditions).is_ok() {
            self.exclusive_queues.retain(|other| !Arc::ptr_eq(other, queue));
        }
    }
}

fn named(entity: &Entity) -> (&'static str, &str) {
    match entity {
        Entity::Exchange(name) if name.is_empty() => ("exchange", "amq.default"),
        Entity::Exchange(name) => ("exchange", name),
        Entity::Queue(name) => ("queue", name),
    }
}
