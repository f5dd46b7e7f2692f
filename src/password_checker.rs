//! A thread that checks passwords whose hashes are slow on purpose.
//!
//! One check takes some 20 ms and 19 MiB. On the threads that serve connections a few logins would hold everybody up;
//! on one thread of their own they take a core at most, memory for one at a time, and turns. A login that is refused
//! costs as much as one that succeeds; one that succeeded before costs nothing (`broker::login`).

use std::io;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;

use crate::broker::login::{PasswordCheck, PasswordChecks};

/// Logins that may wait, some five seconds' worth; the handshake must be done in ten.
const WAITING_MAX: usize = 256;

/// The thread's inbox. It ends when this is dropped.
#[derive(Debug)]
pub struct PasswordChecker(SyncSender<PasswordCheck>);

impl PasswordChecker {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no more threads.
    pub fn start() -> io::Result<Self> {
        let (sender, inbox) = sync_channel::<PasswordCheck>(WAITING_MAX);
        thread::Builder::new()
            .name(String::from("passwords"))
            .spawn(move || inbox.into_iter().for_each(PasswordCheck::run))?;
        Ok(Self(sender))
    }
}

impl PasswordChecks for PasswordChecker {
    fn take(&self, check: PasswordCheck) -> bool {
        match self.0.try_send(check) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}
