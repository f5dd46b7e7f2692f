//! What one consumer asked for, and has.

use super::ConsumerOptions;
use super::bounds::Bounds;

/// Messages that may wait in a consumer's outbox for its socket, whatever its prefetch says.
const OUTBOX_MESSAGES_MAX: u32 = 4096;

#[derive(Debug)]
pub(super) struct Consumer {
    pub options: ConsumerOptions,
    /// Lower for one that registered earlier.
    pub registration: u64,
    pub unacked: u32,
    pub outbox_messages: u32,
    pub outbox_bytes: usize,
    pub in_rotation: bool,
    /// It is about to be removed and takes nothing more.
    pub is_suspended: bool,
}

impl Consumer {
    /// Whether it can take a message now.
    #[inline]
    pub fn can_take(&self, bounds: Bounds) -> bool {
        self.has_credit(bounds)
            && self.outbox_messages < OUTBOX_MESSAGES_MAX
            && self.outbox_bytes < bounds.outbox_bytes
    }

    /// Whether it could take a message if its socket took those that wait for it.
    #[inline]
    pub fn has_credit(&self, bounds: Bounds) -> bool {
        let prefetch = u32::from(self.options.prefetch);
        !self.is_suspended
            && (prefetch == 0 || self.unacked < prefetch)
            && self.unacked < bounds.unacked
            && self.options.limit.as_ref().is_none_or(|limit| limit.has_room())
    }
}
