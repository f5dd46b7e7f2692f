//! Direct reply-to: a queue for each channel that waits for replies. It stands in no list, is reached by its name
//! through the default exchange alone, and ends with its one consumer.
//!
//! Its name is the secret that makes a reply possible, and is never used again: so routes to it need no new version
//! of the vhost, neither when it comes nor when it goes.

use std::convert::Infallible;
use std::sync::Arc;

use amq_protocol::types::FieldTable;

use super::super::ConnectionId;
use super::super::live_queue::{LiveQueue, QueueDefinition};
use super::super::queue::settings::QueueSettings;
use super::super::queue_type::QueueType;
use super::Vhost;

/// What requesters consume from, and write into `reply_to`.
pub const REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// Reply queues' names begin with this; what follows is the broker's choice.
pub const REPLY_QUEUE_PREFIX: &str = "amq.rabbitmq.reply-to.";

/// Characters that the broker puts behind the prefix.
const TOKEN_CHARS: usize = 22;

impl Vhost {
    /// Makes the reply queue of a channel under a name from [`super::super::Broker::unique_name`].
    pub fn open_reply_queue(&self, name: String, by: ConnectionId) -> Arc<LiveQueue> {
        let name: Arc<str> = name.into();
        let definition = QueueDefinition {
            name: Arc::clone(&name),
            durable: false,
            auto_delete: false,
            owner: Some(by),
            queue_type: QueueType::Classic,
            arguments: FieldTable::default(),
        };
        let settings = QueueSettings::default();
        let store = &self.stores.spill;
        let queue = LiveQueue::new(&self.surroundings, None, &self.name, definition, settings, store);
        let mut topology = self.topology.write();
        topology.reply_queues.insert(name, Arc::clone(&queue));
        queue
    }

    /// Ends a reply queue; replies that still come are dropped.
    pub fn close_reply_queue(&self, queue: &LiveQueue) {
        self.topology.write().reply_queues.remove(&queue.definition.name);
        let Ok(_) = queue.delete(|_, _| Ok::<(), Infallible>(()));
    }

    /// Whether somebody waits for replies under this name.
    pub fn has_reply_queue(&self, name: &str) -> bool {
        self.topology.read().reply_queues.contains_key(name)
    }
}

/// Whether this is, or was, the name of a reply queue as far as its form tells: a reply to a requester that is gone
/// is dropped, not returned.
pub(super) fn is_reply_queue_name(name: &str) -> bool {
    let is_token_char = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    name.strip_prefix(REPLY_QUEUE_PREFIX)
        .is_some_and(|token| token.len() == TOKEN_CHARS && token.bytes().all(is_token_char))
}
