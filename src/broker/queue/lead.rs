//! How far publishers are ahead of consumers that take messages as fast as sockets and disk let them.

use super::Queue;

/// Messages, and bytes of their bodies, that publishers may be ahead. More would make nobody faster, and leave the
/// caches of the processor, and then the memory.
const MESSAGES_MAX: u64 = 8192;
const BODY_BYTES_MAX: u64 = 16 << 20;

impl Queue {
    /// How many messages consumers have taken so far, if too many are there and one of them would take more. What waits
    /// for acks, or for no consumer, is a backlog like any other: `None`.
    pub fn taken_if_outrun(&self) -> Option<u64> {
        let is_far = self.ready.count() > MESSAGES_MAX || self.ready.body_bytes() > BODY_BYTES_MAX;
        (is_far && self.consumers.have_credit()).then(|| self.consumers.taken())
    }
}
