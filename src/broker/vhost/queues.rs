//! Declaring and deleting queues.

use std::sync::Arc;

use amq_protocol::types::FieldTable;

use crate::store::{Hold, Sequence};

use super::super::ConnectionId;
use super::super::live_queue::{LiveQueue, QueueDefinition};
use super::super::queue_arguments;
use super::super::queue_type::{QueueType, TypeRefusal};
use super::super::refusal::{Difference, Entity, Refusal};
use super::exchanges::flag;
use super::{Destination, Vhost, policies};

/// What `queue.declare` asks for.
#[derive(Clone, Debug)]
pub struct QueueDeclaration {
    /// Name; not empty.
    pub name: Arc<str>,
    /// Survives a restart.
    pub durable: bool,
    /// Belongs to the connection that declares it.
    pub exclusive: bool,
    /// Is deleted with its last consumer.
    pub auto_delete: bool,
    /// What it is if the arguments do not say, and it can be that.
    pub default_type: QueueType,
    /// Arguments.
    pub arguments: FieldTable,
}

impl QueueDeclaration {
    /// What it is if the arguments do not say.
    fn default_type(&self) -> QueueType {
        self.default_type
            .fitting(self.durable, self.exclusive, self.auto_delete)
    }
}

/// A queue that `queue.declare` made or found.
#[derive(Clone, Debug)]
pub struct QueueDeclared {
    /// The queue.
    pub queue: Arc<LiveQueue>,
    /// It was made just now.
    pub is_new: bool,
    /// Its definition is on disk once this is committed, also if somebody else has just made it.
    pub sequence: Option<Sequence>,
}

/// When `queue.delete` may delete.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeleteConditions {
    /// Only without consumers.
    pub if_unused: bool,
    /// Only without ready messages.
    pub if_empty: bool,
    /// Only if nobody has used it for as long as `x-expires` says.
    pub if_expired: bool,
}

impl Vhost {
    /// Creates a queue, or agrees that it exists as asked for. `may_create` is
    /// called only to create it.
    ///
    /// # Errors
    /// In RabbitMQ's order: owner, equivalence; or limits and arguments, when it has to be created.
    pub fn declare_queue<E: From<Refusal>>(
        &self,
        mut asked: QueueDeclaration,
        by: ConnectionId,
        may_create: impl FnOnce() -> Result<(), E>,
    ) -> Result<QueueDeclared, E> {
        let mut topology = self.topology.write();
        if let Some(queue) = topology.queues.get(&asked.name) {
            check_equivalence(queue, &asked, by)?;
            queue.touch();
            return Ok(QueueDeclared {
                queue: Arc::clone(queue),
                is_new: false,
                sequence: queue.declared.get().copied(),
            });
        }
        self.check_new_queue(&topology, &asked.name)?;
        let default_type = asked.default_type();
        let queue_type = queue_arguments::queue_type(&asked.name, &asked.arguments, default_type)?;
        queue_arguments::validate(&asked.name, &asked.arguments, queue_type)?;
        Self::check_memory(&asked.arguments, None)?;
        check_properties(&asked, queue_type)?;
        queue_arguments::note_type(&mut asked.arguments, queue_type);
        may_create()?;
        // An exclusive queue ends with its connection, so nothing of it is worth keeping on disk.
        let durable = asked.durable && !asked.exclusive;
        let definition = QueueDefinition {
            name: Arc::clone(&asked.name),
            durable,
            auto_delete: asked.auto_delete,
            owner: asked.exclusive.then_some(by),
            queue_type,
            arguments: asked.arguments,
        };
        let (store, stored) = if durable {
            let id = self.surroundings.ids.durable().ok_or(Refusal::NoMoreQueues)?;
            (&self.stores.durable, Some(id))
        } else {
            (&self.stores.spill, None)
        };
        let settings = policies::settings(&topology.policies, &definition);
        let queue = LiveQueue::new(
            &self.surroundings,
            stored,
            &self.name,
            definition,
            settings,
            store,
        );
        self.note_memory(queue.deduplicates());
        topology.queues.insert(asked.name, Arc::clone(&queue));
        topology.counted_queues.push(self.queue_tally.count());
        self.touch();
        let operation = stored.map(|id| queue.declaration(id));
        let sequence = self.append_change(operation.into_iter().collect());
        if let Some(sequence) = sequence {
            queue.declared.set(sequence).expect("it is new");
        }
        drop(topology);
        queue.start();
        Ok(QueueDeclared {
            queue,
            is_new: true,
            sequence,
        })
    }

    /// The queue of that name, if `by` may use it.
    ///
    /// # Errors
    /// When it is missing, or exclusive to another connection.
    pub fn queue(&self, name: &str, by: ConnectionId) -> Result<Arc<LiveQueue>, Refusal> {
        let topology = self.topology.read();
        let queue = topology.queue(name)?;
        check_owner(queue, by)?;
        Ok(Arc::clone(queue))
    }

    /// Deletes a queue with its messages and bindings and tells its consumers; returns how many messages were
    /// ready. Deleting what is not there succeeds.
    ///
    /// # Errors
    /// When it is exclusive to another connection, a condition does not hold, or its type knows no conditions.
    pub fn delete_queue(
        &self,
        name: &str,
        by: ConnectionId,
        conditions: DeleteConditions,
    ) -> Result<(u64, Option<Sequence>), Refusal> {
        let queue = match self.queue(name, by) {
            Err(Refusal::NotFound(_)) => return Ok((0, self.last_change())),
            found => found?,
        };
        let condition = match conditions {
            DeleteConditions { if_unused: true, .. } => Some("if-unused"),
            DeleteConditions { if_empty: true, .. } => Some("if-empty"),
            DeleteConditions { .. } => None,
        };
        if let (QueueType::Quorum, Some(condition)) = (queue.definition.queue_type, condition) {
            let why = TypeRefusal::DeleteCondition(condition);
            return Err(QueueType::Quorum.refuses(&queue.definition.name, why));
        }
        self.remove_queue(&queue, conditions)
    }

    /// Deletes this very queue: an exclusive one whose connection ended, an auto-delete one without consumers.
    ///
    /// # Errors
    /// When a condition does not hold.
    pub fn remove_queue(
        &self,
        queue: &Arc<LiveQueue>,
        conditions: DeleteConditions,
    ) -> Result<(u64, Option<Sequence>), Refusal> {
        let name = &queue.definition.name;
        // A binding to a queue that is not there would be refused at the next start.
        let _hold = queue.definition.durable.then(|| Hold::new(&*self.stores.durable));
        let mut topology = self.topology.write();
        let (ready, deleted) = queue.delete(|queue, now| {
            let is_used = conditions.if_unused && queue.consumer_count() > 0;
            if is_used || (conditions.if_expired && !queue.is_expired(now)) {
                return Err(Refusal::InUse(Entity::Queue(Arc::clone(name))));
            }
            if conditions.if_empty && queue.ready_count() > 0 {
                return Err(Refusal::NotEmpty(Arc::clone(name)));
            }
            Ok(())
        })?;
        if !topology
            .queues
            .get(name)
            .is_some_and(|found| Arc::ptr_eq(found, queue))
        {
            return Ok((ready, self.last_change()));
        }
        topology.queues.remove(name);
        topology.counted_queues.pop();
        let mut operations = Vec::new();
        let unused = self.remove_destination(
            &mut topology,
            &Destination::Queue(Arc::clone(queue)),
            &mut operations,
        );
        self.remove_exchanges(&mut topology, unused, &mut operations);
        self.touch();
        let unbound = self.append(operations);
        let deleted = deleted.filter(|_| queue.definition.durable);
        Ok((ready, self.note_change(unbound.max(deleted))))
    }
}

fn check_owner(queue: &Arc<LiveQueue>, by: ConnectionId) -> Result<(), Refusal> {
    match queue.definition.owner {
        Some(owner) if owner != by => Err(Refusal::Locked(Arc::clone(&queue.definition.name))),
        _ => Ok(()),
    }
}

/// What a type of queue does not allow, in RabbitMQ's order.
fn check_properties(asked: &QueueDeclaration, queue_type: QueueType) -> Result<(), Refusal> {
    if queue_type.is_compatible(asked.durable, asked.exclusive, asked.auto_delete) {
        return Ok(());
    }
    let property = if asked.auto_delete {
        "auto-delete"
    } else if asked.exclusive {
        "exclusive-owner"
    } else {
        "non-durable"
    };
    Err(queue_type.refuses(&asked.name, TypeRefusal::Property(property)))
}

fn check_equivalence(
    queue: &Arc<LiveQueue>,
    asked: &QueueDeclaration,
    by: ConnectionId,
) -> Result<(), Refusal> {
    check_owner(queue, by)?;
    let existing = &queue.definition;
    if existing.owner.is_some() != asked.exclusive {
        return Err(Refusal::Locked(Arc::clone(&existing.name)));
    }
    let refuse = |argument, difference| {
        let entity = Entity::Queue(Arc::clone(&asked.name));
        Err(Refusal::Inequivalent {
            entity,
            argument,
            difference,
        })
    };
    let durable = asked.durable && !asked.exclusive;
    if let Some(difference) = flag(durable, existing.durable) {
        return refuse("durable", difference);
    }
    if let Some(difference) = flag(asked.auto_delete, existing.auto_delete) {
        return refuse("auto_delete", difference);
    }
    for argument in queue_arguments::COMPARED {
        let received = queue_arguments::compared(&asked.arguments, argument, asked.default_type());
        let current = queue_arguments::compared(&existing.arguments, argument, existing.queue_type);
        if let Some(difference) = Difference::between(received.as_deref(), current.as_deref()) {
            return refuse(argument, difference);
        }
    }
    Ok(())
}
