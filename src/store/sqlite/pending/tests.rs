//! Those who wait for a commit that does not come.

use std::sync::atomic::AtomicUsize;
use std::task::Wake;

use super::*;
use crate::clock::Timestamp;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn who_asks_again_and_again_is_not_kept_each_time() {
    let pending = Pending::new(10, 1000);
    let through = pending.append(&mut vec![Operation::NoteTime(Timestamp::MIN)]);
    let counts = [(); 3].map(|()| Arc::new(Count::default()));
    let wakers = counts.clone().map(Waker::from);
    for _ in 0..1000 {
        for waker in &wakers {
            assert!(pending.wake_when_committed(through, waker));
        }
    }
    let kept = pending.wakers.lock().waiting.len();
    assert!(kept <= 4 * wakers.len(), "{kept} are kept");
    let Work::Batch(batch) = pending.take(false) else {
        panic!("one was appended");
    };
    pending.finish(batch);
    for count in counts {
        assert_ne!(count.0.load(Ordering::Relaxed), 0, "each was told");
    }
}
