//! How far publishers are ahead of consumers that take messages as fast as their sockets do.

use super::Queue;

/// Messages, and bytes of their bodies, that publishers may be ahead. More would make nobody faster, and leave the
/// caches of the processor, and then the memory.
const MESSAGES_MAX: u64 = 8192;
const BODY_BYTES_MAX: u64 = 16 << 20;

impl Queue {
    /// How many messages have left the queue so far, if too many are there and a consumer would take more if only its
    /// socket did. What waits for acks, or for no consumer, is a backlog like any other: `None`.
    pub fn lead(&self) -> Option<u64> {
        let ready = self.ready.count();
        let is_far = ready > MESSAGES_MAX || self.ready.body_bytes() > BODY_BYTES_MAX;
        (is_far && self.consumers.wait_for_sockets()).then(|| self.next.0.saturating_sub(ready))
    }
}
