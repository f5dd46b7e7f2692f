//! What no consumer of a queue may exceed, whatever it asked for.

use crate::broker::headroom::Allowance;

/// Bytes that may wait in a consumer's outbox for its socket; one message always may.
const OUTBOX_BYTES_MAX: usize = 1 << 20;

/// The same while memory is short, and queues are many.
const OUTBOX_BYTES_MIN: usize = 64 << 10;

/// Deliveries that a consumer may leave unacked while memory is above its mark, whatever its prefetch says.
const UNACKED_MAX_WHEN_SHORT: u32 = 1024;

/// The bounds of the moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Unacked deliveries.
    pub unacked: u32,
    /// Bytes in its outbox, before the last message.
    pub outbox_bytes: usize,
}

impl Bounds {
    /// Those that follow from what may be in memory.
    pub fn of(allowance: Allowance) -> Self {
        Self {
            unacked: if allowance.holds_back {
                UNACKED_MAX_WHEN_SHORT
            } else {
                u32::MAX
            },
            outbox_bytes: OUTBOX_BYTES_MAX.min(allowance.window_bytes.max(OUTBOX_BYTES_MIN)),
        }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self::of(Allowance::default())
    }
}
