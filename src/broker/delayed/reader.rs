//! Takes a page of delayed messages for somebody who asked once.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::store::{DelayedPage, DelayedSink};

/// Takes the answer to [`DelayedMessages::list`](super::DelayedMessages::list).
pub type OnPage = Box<dyn FnOnce(DelayedPage) + Send>;

/// Hands its page on.
pub(super) struct Reader(Mutex<Option<OnPage>>);

impl Reader {
    pub fn new(answer: OnPage) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(answer))))
    }
}

impl DelayedSink for Reader {
    fn delayed_loaded(self: Arc<Self>, page: DelayedPage) {
        let answer = self.0.lock().take();
        if let Some(answer) = answer {
            answer(page);
        }
    }
}
