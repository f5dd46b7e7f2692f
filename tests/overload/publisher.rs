//! A publisher with confirms that has a window of them open.

use std::io;

use crate::client::Client;
use crate::raw::{Outgoing, Raw, Seen};

/// Written at once, bytes.
const FLUSH_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub struct Publisher {
    raw: Raw,
    published: u64,
    confirmed: u64,
    gathered: usize,
    /// How often the broker said that it is blocked.
    pub blocked: usize,
}

impl Publisher {
    pub fn new(mut client: Client) -> Self {
        client.select_confirms().unwrap();
        Self {
            raw: Raw::new(client),
            published: 0,
            confirmed: 0,
            gathered: 0,
            blocked: 0,
        }
    }

    /// Publishes to a queue, and waits until no more than `window` are unconfirmed.
    pub fn publish(&mut self, queue: &str, message: Outgoing, window: u64) -> io::Result<()> {
        self.publish_to("", queue, message, window)
    }

    /// The same to an exchange.
    pub fn publish_to(
        &mut self,
        exchange: &str,
        key: &str,
        message: Outgoing,
        window: u64,
    ) -> io::Result<()> {
        self.raw.publish(exchange, key, message);
        self.published += 1;
        self.gathered += message.bytes;
        if self.gathered >= FLUSH_BYTES || self.published - self.confirmed > window {
            self.flush()?;
        }
        self.wait(window)
    }

    /// Waits until all is confirmed.
    pub fn finish(&mut self) -> io::Result<()> {
        self.flush()?;
        self.wait(0)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.gathered = 0;
        self.raw.flush()
    }

    fn wait(&mut self, window: u64) -> io::Result<()> {
        while self.published - self.confirmed > window {
            match self.raw.next()? {
                Seen::Confirm { tag, multiple } => {
                    assert!(multiple || tag == self.confirmed + 1, "confirms come in order");
                    assert!(tag > self.confirmed && tag <= self.published);
                    self.confirmed = tag;
                }
                Seen::Blocked(is_blocked) => self.blocked += usize::from(is_blocked),
                other => return Err(io::Error::other(format!("a confirm was due, not {other:?}"))),
            }
        }
        Ok(())
    }
}
