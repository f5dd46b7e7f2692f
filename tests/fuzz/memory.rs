//! What a piece of work holds at most: outside input must not make it much more than itself.

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// Does the work, which may hold no more than so many bytes at a time, beyond what was held before.
pub fn within<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let done = work();
    let held = ALLOCATOR.peak_usage().saturating_sub(before);
    assert!(held <= bytes, "it held {held} bytes, and may hold {bytes}");
    done
}
