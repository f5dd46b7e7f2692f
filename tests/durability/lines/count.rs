//! A count after a crash: all that is there comes, once, and nothing else.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::book::Line;
use crate::client::{Client, Event};
use crate::support::DEADLINE;

/// What is under way for longer is not waited for.
const PATIENCE: Duration = Duration::from_millis(350);

impl Line {
    /// Takes everything and gives it back, so that it is there for the next round. `waits` for all that is under way,
    /// however long it is.
    pub fn count(&mut self, address: SocketAddr, waits: bool) {
        self.disconnect();
        let due = (!waits).then(|| Instant::now() + PATIENCE);
        let mut missing: BTreeSet<u32> = self.due(due).collect();
        let mut client = Client::connect(address).unwrap();
        for queue in self.kind.queues() {
            client.consume(queue).unwrap();
        }
        let mut came = BTreeSet::new();
        let end = Instant::now() + DEADLINE;
        while !missing.is_empty() || !self.is_empty(&mut client, &mut came, &mut missing).unwrap() {
            let event = client.next(Duration::from_millis(20)).unwrap();
            self.enter(event, &mut came, &mut missing);
            assert!(
                Instant::now() < end,
                "{:?} confirmed messages are missing: {:?}",
                self.kind,
                missing
                    .iter()
                    .map(|number| (number, &self.lives[number]))
                    .collect::<Vec<_>>()
            );
        }
        self.close_count();
    }

    /// Whether nothing is ready, after all that was on its way has come. What has just moved comes when that is on disk,
    /// as is a queue that is declared later.
    fn is_empty(
        &mut self,
        client: &mut Client,
        came: &mut BTreeSet<u32>,
        missing: &mut BTreeSet<u32>,
    ) -> io::Result<bool> {
        if !self.is_quiet(client, came, missing)? {
            return Ok(false);
        }
        let later = format!("later-{:?}", self.kind);
        client.declare(&later, true)?;
        client.delete(&later)?;
        self.is_quiet(client, came, missing)
    }

    fn is_quiet(
        &mut self,
        client: &mut Client,
        came: &mut BTreeSet<u32>,
        missing: &mut BTreeSet<u32>,
    ) -> io::Result<bool> {
        let mut ready = 0;
        for queue in self.kind.queues() {
            ready += client.ready(queue)?;
        }
        while let Some(event) = client.next(Duration::ZERO)? {
            self.enter(Some(event), came, missing);
        }
        Ok(ready == 0)
    }

    fn enter(&mut self, event: Option<Event>, came: &mut BTreeSet<u32>, missing: &mut BTreeSet<u32>) {
        match event {
            Some(Event::Delivery(delivery)) => {
                let number = self.deliver(&delivery);
                assert!(came.insert(number), "{number} is there twice: {delivery:?}");
                missing.remove(&number);
                // It has outlived the broker.
                self.outlive(number);
            }
            None => {}
            Some(other) => panic!("a count got {other:?}"),
        }
    }
}
