//! The messages that an exchange delays: stored before they are confirmed, in memory only while they are among the
//! next ones, and routed when their time has come.
//!
//! Every message of a durable exchange is stored durably, whatever its delivery mode. Routing is the vhost's part,
//! and it happens at release.

pub mod due;
mod offers;
mod reader;
pub mod window;

use std::fmt;
use std::sync::{Arc, Weak};
use std::task::Waker;

use parking_lot::{Mutex, MutexGuard};
use rustc_hash::FxHashSet;
use tracing::warn;

use crate::clock::Timestamp;
use crate::message::Message;
use crate::store::{
    DelayedEntry, DelayedId, DelayedPage, DelayedRequest, DelayedSink, DelayedWay, DelaysRow, Operation,
    Position, QueueId, RecoveredDelays, Sequence, Store,
};

use super::live_queue::Surroundings;
use super::queue::level::Window;
use super::timers::{Timed, TimerId};
use offers::Offers;
pub use reader::OnPage;
use reader::Reader;
use window::{Cancel, DelayedWindow};

/// Messages released before others get their turn; they are one group of the store.
const TURN_MESSAGES: usize = 256;

/// What stays in memory of one exchange at most, whatever is configured for queues: more would not come sooner, and a
/// start would have more to read.
const WINDOW_MAX: Window = Window {
    messages: 8192,
    bytes: 16 << 20,
};

/// What one [`DelayedMessages::list`] gives at most.
const LIST_MESSAGES_MAX: usize = 1000;
const LIST_BYTES_MAX: usize = 16 << 20;

/// Takes the answer to [`DelayedMessages::cancel`]: `None` when the message was not there, else the number after
/// which it surely never comes again.
pub type OnCancelled = Box<dyn FnOnce(Option<Sequence>) + Send>;

/// The delayed messages of one exchange.
pub struct DelayedMessages {
    vhost: Arc<str>,
    exchange: Arc<str>,
    is_durable: bool,
    store: Arc<dyn Store>,
    surroundings: Surroundings,
    timer: TimerId,
    me: Weak<Self>,
    /// Held while messages are released, so that those of two turns do not mix. Taken before all other locks.
    turn: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    window: DelayedWindow,
    offers: Offers,
    /// The number in the store; an exchange that is not durable has none before it delays its first message.
    stored: Option<QueueId>,
    /// What has to be committed before anybody sees the last message that moved here. Where the exchange is durable,
    /// what was appended later tells as much.
    moved: Option<Sequence>,
    /// The exchange is gone: what still arrives is dropped.
    is_deleted: bool,
    /// When the timers will call, as far as they were asked.
    called_at: Option<Timestamp>,
    /// Messages that the store was asked for, to be cancelled.
    cancelling: FxHashSet<DelayedId>,
    operations: Vec<Operation>,
}

impl DelayedMessages {
    /// Those of a new exchange. `stored` is its number in the store if it is durable; then the caller appends
    /// [`DelayedMessages::declaration`].
    pub fn new(
        surroundings: &Surroundings,
        stored: Option<QueueId>,
        vhost: &Arc<str>,
        exchange: &Arc<str>,
        store: &Arc<dyn Store>,
    ) -> Arc<Self> {
        let window = DelayedWindow::new(limits(surroundings), 0, Position(0));
        Self::with(surroundings, stored, (vhost, exchange), store, window)
    }

    /// Those that a start found in the store. They are read in the background.
    pub fn recovered(
        surroundings: &Surroundings,
        found: &RecoveredDelays,
        store: &Arc<dyn Store>,
    ) -> Arc<Self> {
        let DelaysRow { id, vhost, exchange } = &found.row;
        let window = DelayedWindow::new(limits(surroundings), found.messages, found.next);
        let recovered = Self::with(surroundings, Some(*id), (vhost, exchange), store, window);
        recovered.carry_out(recovered.state.lock());
        recovered
    }

    fn with(
        surroundings: &Surroundings,
        stored: Option<QueueId>,
        (vhost, exchange): (&Arc<str>, &Arc<str>),
        store: &Arc<dyn Store>,
        window: DelayedWindow,
    ) -> Arc<Self> {
        let state = State {
            window,
            offers: Offers::default(),
            stored,
            moved: None,
            is_deleted: false,
            called_at: None,
            cancelling: FxHashSet::default(),
            operations: Vec::new(),
        };
        Arc::new_cyclic(|me| Self {
            vhost: Arc::clone(vhost),
            exchange: Arc::clone(exchange),
            is_durable: stored.is_some(),
            store: Arc::clone(store),
            surroundings: surroundings.clone(),
            timer: surroundings.timers.register(),
            me: Weak::clone(me),
            turn: Mutex::default(),
            state: Mutex::new(state),
        })
    }

    /// What tells the store of these under the given number.
    pub fn declaration(&self, id: QueueId) -> Operation {
        Operation::DeclareDelays(DelaysRow {
            id,
            vhost: Arc::clone(&self.vhost),
            exchange: Arc::clone(&self.exchange),
        })
    }

    /// The exchange that delays them.
    pub fn exchange(&self) -> &Arc<str> {
        &self.exchange
    }

    /// Whether they survive a restart.
    pub fn is_durable(&self) -> bool {
        self.is_durable
    }

    /// How many there are, in memory or not.
    pub fn count(&self) -> u64 {
        self.state.lock().window.count()
    }

    /// How many of them are in memory.
    pub fn count_in_memory(&self) -> usize {
        self.state.lock().window.count_in_memory()
    }

    /// Delays a message that nobody may see before `after` is committed, if it is given. Returns what has to be
    /// committed before it can be confirmed; `None` when the exchange is not durable, or gone, and the message with it.
    pub fn add(
        &self,
        message: &Message,
        due: Timestamp,
        copies: &[Vec<u8>],
        after: Option<Sequence>,
    ) -> Option<Sequence> {
        let way = DelayedWay::Exchange(copies.to_vec());
        let mut state = self.state.lock();
        state.moved = state.moved.max(after);
        self.keep(state, due, due::released(message), way)
    }

    /// Keeps a released message for a queue that was full, and offers it again later. The caller holds the store.
    pub fn offer_again(&self, message: Message, queue: &Arc<str>) {
        let mut state = self.state.lock();
        let (due, is_first) = state.offers.next(self.surroundings.clock.now());
        if is_first {
            warn!(
                vhost = %self.vhost, exchange = %self.exchange, %queue,
                "delayed messages find their queue full; they stay delayed until it takes them"
            );
        }
        self.keep(state, due, message, DelayedWay::Queue(Arc::clone(queue)));
    }

    fn keep(
        &self,
        mut state: MutexGuard<'_, State>,
        due: Timestamp,
        message: Message,
        way: DelayedWay,
    ) -> Option<Sequence> {
        if state.is_deleted {
            return None;
        }
        let delays = self.stored(&mut state);
        let id = state.window.add(due, message.clone(), way.clone());
        let entry = DelayedEntry { id, message, way };
        state.operations.push(Operation::Delay { delays, entry });
        self.carry_out(state).filter(|_| self.is_durable)
    }

    /// Reads at most so many messages in the order in which they are due, beginning with `from`, and gives them to
    /// `answer`, from a thread of the store. At most 1000 come at once: [`DelayedPage::next`] is where to go on.
    pub fn list(&self, from: DelayedId, messages_max: usize, answer: OnPage) {
        self.read(from, messages_max.min(LIST_MESSAGES_MAX), answer);
    }

    /// Takes one message out, so that it is never routed, and tells `answer` whether it was there; perhaps before
    /// this returns, perhaps later from a thread of the store.
    pub fn cancel(&self, id: DelayedId, answer: OnCancelled) {
        let mut state = self.state.lock();
        let cancelled = match state.window.cancel(id) {
            Cancel::Done => self.end(state, vec![id]),
            Cancel::AskStore if state.cancelling.insert(id) => {
                drop(state);
                let me = Weak::clone(&self.me);
                let found = move |page: DelayedPage| {
                    let is_there = page.entries.first().is_some_and(|entry| entry.id == id);
                    answer(me.upgrade().and_then(|me| me.cancel_found(id, is_there)));
                };
                self.read(id, 1, Box::new(found));
                return;
            }
            // The latter if somebody else cancels it at this moment.
            Cancel::Missing | Cancel::AskStore => None,
        };
        answer(cancelled);
    }

    /// The exchange is deleted: adds what removes its messages together with it.
    pub fn delete(&self, operations: &mut Vec<Operation>) {
        let mut state = self.state.lock();
        state.is_deleted = true;
        state.window.clear();
        if let Some(delays) = state.stored.take() {
            let operation = Operation::DeleteDelays(delays);
            if self.is_durable {
                operations.push(operation);
            } else {
                self.store.append(&mut vec![operation]);
            }
        }
    }

    /// Takes the next messages that are due, which are delayed no longer once the store's current group is committed:
    /// the caller holds the store, and routes them. Ends with [`Turn::end`]. Nobody may see them before the number
    /// is committed; an exchange that is not durable has one after messages that moved, for all that it delays.
    pub fn take_turn(&self) -> (Turn<'_>, Vec<DelayedEntry>, Option<Sequence>) {
        let turn = Turn {
            of: self,
            _turn: self.turn.lock(),
        };
        let mut state = self.state.lock();
        state.called_at = None;
        let due = state
            .window
            .take_due(self.surroundings.clock.now(), TURN_MESSAGES);
        let left = state.stored.filter(|_| !due.is_empty()).map(|delays| {
            let ids = due.iter().map(|entry| entry.id).collect();
            self.store.append(&mut vec![Operation::EndDelay { delays, ids }])
        });
        (turn, due, left.filter(|_| self.is_durable).max(state.moved))
    }

    fn cancel_found(&self, id: DelayedId, is_there: bool) -> Option<Sequence> {
        let mut state = self.state.lock();
        state.cancelling.remove(&id);
        if !is_there || state.is_deleted || !state.window.cancel_stored(id) {
            return None;
        }
        self.end(state, vec![id])
    }

    fn end(&self, mut state: MutexGuard<'_, State>, ids: Vec<DelayedId>) -> Option<Sequence> {
        let delays = self.stored(&mut state);
        state.operations.push(Operation::EndDelay { delays, ids });
        self.carry_out(state)
    }

    fn read(&self, from: DelayedId, messages_max: usize, answer: OnPage) {
        let Some(delays) = self.state.lock().stored else {
            answer(DelayedPage::default());
            return;
        };
        let request = DelayedRequest {
            delays,
            from,
            messages_max,
            bytes_max: LIST_BYTES_MAX,
            sink: Reader::new(answer),
        };
        self.store.append(&mut vec![Operation::LoadDelayed(request)]);
    }

    /// The number in the store; given and declared when an exchange that is not durable needs one.
    fn stored(&self, state: &mut State) -> QueueId {
        if let Some(id) = state.stored {
            return id;
        }
        let id = self.surroundings.ids.spilled();
        state.operations.push(self.declaration(id));
        state.stored = Some(id);
        id
    }

    /// Tells the store what is to be told, and the timers when the next message is due.
    fn carry_out(&self, mut state: MutexGuard<'_, State>) -> Option<Sequence> {
        if let Some(delays) = state.stored
            && let Some(load) = state.window.load()
            && let Some(me) = self.me.upgrade()
        {
            state.operations.push(Operation::LoadDelayed(DelayedRequest {
                delays,
                from: load.from,
                messages_max: load.messages_max,
                bytes_max: load.bytes_max,
                sink: me,
            }));
        }
        let sequence = (!state.operations.is_empty()).then(|| self.store.append(&mut state.operations));
        let before = state.called_at;
        let call_at = state
            .window
            .next_due()
            .filter(|due| before.is_none_or(|before| *due < before));
        state.called_at = call_at.or(before);
        drop(state);
        if let Some(at) = call_at {
            let me = Weak::<Self>::clone(&self.me) as Weak<dyn Timed>;
            let waker = self.surroundings.timers.schedule(self.timer, at, before, me);
            waker.into_iter().for_each(Waker::wake);
        }
        sequence
    }
}

/// One release, which no other one of the same exchange overtakes.
pub struct Turn<'a> {
    of: &'a DelayedMessages,
    _turn: MutexGuard<'a, ()>,
}

impl Turn<'_> {
    /// The messages were routed: asks for the next call.
    pub fn end(self) {
        self.of.carry_out(self.of.state.lock());
    }
}

impl Timed for DelayedMessages {
    fn is_due(self: Arc<Self>) {
        if let Some(vhost) = self.surroundings.owner.upgrade() {
            vhost.release(&self);
        }
    }
}

impl DelayedSink for DelayedMessages {
    fn delayed_loaded(self: Arc<Self>, page: DelayedPage) {
        let mut state = self.state.lock();
        if !state.is_deleted {
            state.window.page_loaded(page.entries, page.next);
        }
        self.carry_out(state);
    }
}

fn limits(surroundings: &Surroundings) -> Window {
    let Window { messages, bytes } = surroundings.window;
    Window {
        messages: messages.min(WINDOW_MAX.messages),
        bytes: bytes.min(WINDOW_MAX.bytes),
    }
}

impl fmt::Debug for DelayedMessages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DelayedMessages")
            .field("exchange", &self.exchange)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
