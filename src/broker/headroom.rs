//! How much queues may keep in memory at the moment. Whoever watches the memory sets it; each queue looks at it with
//! each batch, so that it costs nothing to tell all of them.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

/// A queue tells of so many bytes at once: less than what is held back for, and so much that it is seldom told.
const STEP_BYTES: usize = 256 << 10;

/// Room without end, bytes: so much that it stays above nothing and below the largest number, whatever comes back.
const ROOM_MAX: u64 = 1 << 62;

/// What one queue may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Bytes of ready messages that it keeps in memory at most, if its window is not smaller anyway.
    pub window_bytes: usize,
    /// Memory is near its mark, or would be by now: consumers that settle nothing get nothing more.
    pub holds_back: bool,
}

impl Default for Allowance {
    /// There is room enough.
    fn default() -> Self {
        Self {
            window_bytes: usize::MAX,
            holds_back: false,
        }
    }
}

/// What every queue may do.
#[derive(Debug)]
pub struct Headroom {
    window_bytes: AtomicUsize,
    holds_back: AtomicBool,
    /// Bytes that may be held in addition before the memory is looked at again.
    room: AtomicI64,
}

impl Default for Headroom {
    fn default() -> Self {
        let Allowance {
            window_bytes,
            holds_back,
        } = Allowance::default();
        Self {
            window_bytes: AtomicUsize::new(window_bytes),
            holds_back: AtomicBool::new(holds_back),
            room: AtomicI64::new(ROOM_MAX.cast_signed()),
        }
    }
}

impl Headroom {
    /// What counts now.
    pub fn allowance(&self) -> Allowance {
        Allowance {
            window_bytes: self.window_bytes.load(Ordering::Relaxed),
            holds_back: self.holds_back.load(Ordering::Relaxed),
        }
    }

    /// Windows have so many bytes at most from now on.
    pub fn narrow(&self, window_bytes: usize) {
        self.window_bytes.store(window_bytes, Ordering::Relaxed);
    }

    /// The memory was looked at: so many bytes may be held in addition, and without any consumers are held back. Returns
    /// whether they were until now and are no more.
    pub fn renew(&self, room: u64) -> bool {
        let holds_back = room == 0;
        self.room
            .store(room.min(ROOM_MAX).cast_signed(), Ordering::Relaxed);
        self.holds_back.swap(holds_back, Ordering::Relaxed) && !holds_back
    }

    /// A queue holds so many bytes now, of what is unacked or rests, that it can not write to the disk, and had `told`
    /// of. When all queues together have filled the room, consumers are held back until the memory is looked at again:
    /// a backlog may be drawn from the disk faster than anybody looks.
    #[inline]
    pub fn hold(&self, bytes: usize, told: &mut usize) {
        if bytes.abs_diff(*told) >= STEP_BYTES {
            let more = bytes.cast_signed() as i64 - told.cast_signed() as i64;
            *told = bytes;
            // What is settled makes room again; it does not end what the next look has to end.
            if self.room.fetch_sub(more, Ordering::Relaxed) <= more && more > 0 {
                self.holds_back.store(true, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fills_the_room_is_held_back_until_the_next_look() {
        let headroom = Headroom::default();
        assert!(!headroom.renew(2 << 20));
        let (mut one, mut other) = (0, 0);
        headroom.hold(1 << 20, &mut one);
        headroom.hold((1 << 20) - 1, &mut other);
        assert!(!headroom.allowance().holds_back, "a byte is left");
        headroom.hold(0, &mut one);
        headroom.hold(1 << 20, &mut one);
        assert!(!headroom.allowance().holds_back, "what is settled makes room");
        headroom.hold(2 << 20, &mut other);
        assert!(headroom.allowance().holds_back);
        headroom.hold(0, &mut other);
        assert!(
            headroom.allowance().holds_back,
            "nobody would call those that wait"
        );
        assert!(headroom.renew(1 << 20), "those that waited are due");
        assert!(!headroom.renew(1 << 20));
        assert!(!headroom.renew(0));
        assert!(headroom.allowance().holds_back);
        assert!(headroom.renew(1 << 20));
    }

    #[test]
    fn room_without_end_has_no_end_when_more_comes_back() {
        let headroom = Headroom::default();
        let mut told = 0;
        headroom.hold(1 << 30, &mut told);
        headroom.renew(u64::MAX);
        headroom.hold(0, &mut told);
        headroom.hold(1 << 20, &mut told);
        assert!(!headroom.allowance().holds_back);
    }

    #[test]
    fn a_queue_tells_in_steps_and_forgets_nothing() {
        let headroom = Headroom::default();
        headroom.renew(STEP_BYTES as u64);
        let mut told = 0;
        for bytes in 1..STEP_BYTES {
            headroom.hold(bytes, &mut told);
        }
        assert_eq!(told, 0);
        headroom.hold(STEP_BYTES, &mut told);
        assert_eq!(told, STEP_BYTES);
        assert!(headroom.allowance().holds_back);
    }
}
