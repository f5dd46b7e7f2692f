//! A worker that declares, binds and deletes until the broker is gone, and afterwards looks what is there.

use std::io;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::client::{Client, Event};
use crate::load::{Shift, expect_loss};

const ITEMS: usize = 6;

/// What is known of a thing: nothing when the broker died between request and answer.
type Fact = Option<bool>;

/// A durable queue, its binding to `changes`, and a durable exchange.
#[derive(Clone, Copy, Debug)]
struct Item {
    queue: Fact,
    binding: Fact,
    exchange: Fact,
}

#[derive(Debug)]
pub struct Topology {
    items: [Item; ITEMS],
}

impl Topology {
    pub fn new() -> Self {
        let absent = Some(false);
        Self {
            items: [Item {
                queue: absent,
                binding: absent,
                exchange: absent,
            }; ITEMS],
        }
    }

    /// Changes things until the broker is gone.
    pub fn work(&mut self, shift: &Shift<'_>) {
        let mut random = StdRng::seed_from_u64(shift.seed);
        expect_loss(&Client::connect(shift.address).and_then(|mut client| {
            loop {
                let index = random.random_range(0..ITEMS);
                self.items[index].change(&mut client, index, random.random_range(0..3))?;
                shift.fuse.burn();
            }
        }));
    }

    /// Holds what is there against what is known, and learns the rest.
    pub fn check(&mut self, shift: &Shift<'_>) {
        let mut publisher = Client::connect(shift.address).unwrap();
        publisher.select_confirms().unwrap();
        for (index, item) in self.items.iter_mut().enumerate() {
            let what = format!("queue, binding and exchange {index}: {item:?}");
            let queue = Client::connect(shift.address)
                .unwrap()
                .ready(&queue_name(index))
                .is_ok();
            let exchange = Client::connect(shift.address)
                .unwrap()
                .has_exchange(&exchange_name(index))
                .is_ok();
            let binding = is_bound(&mut publisher, index).unwrap();
            let found = Item {
                queue: Some(queue),
                binding: Some(binding),
                exchange: Some(exchange),
            };
            let agrees = |known: Fact, found: bool| known.is_none_or(|known| known == found);
            assert!(
                agrees(item.queue, queue) && agrees(item.binding, binding) && agrees(item.exchange, exchange),
                "{what} should be there, {found:?} is"
            );
            *item = found;
        }
    }
}

impl Item {
    fn change(&mut self, client: &mut Client, index: usize, what: u32) -> io::Result<()> {
        let queue = queue_name(index);
        let exchange = exchange_name(index);
        match (what, self.queue == Some(true), self.binding == Some(true)) {
            (0, _, _) => {
                let exists = self.exchange.take() == Some(true);
                if exists {
                    client.delete_exchange(&exchange)?;
                } else {
                    client.declare_exchange(&exchange, "topic", true)?;
                }
                self.exchange = Some(!exists);
            }
            (1, true, _) => {
                self.queue = None;
                self.binding = None;
                client.delete(&queue)?;
                self.queue = Some(false);
                self.binding = Some(false);
            }
            (_, false, _) => {
                self.queue = None;
                client.declare(&queue, true)?;
                self.queue = Some(true);
            }
            (_, true, true) => {
                self.binding = None;
                client.unbind(&queue, "changes", &queue)?;
                self.binding = Some(false);
            }
            (_, true, false) => {
                self.binding = None;
                client.bind(&queue, "changes", &queue)?;
                self.binding = Some(true);
            }
        }
        Ok(())
    }
}

fn is_bound(publisher: &mut Client, index: usize) -> io::Result<bool> {
    publisher.publish_with("changes", &queue_name(index), false, true, b"is anybody there?");
    let mut is_returned = false;
    loop {
        match publisher.expect_event()? {
            Event::Returned => is_returned = true,
            Event::Confirm { .. } => return Ok(!is_returned),
            other => panic!("a publisher got {other:?}"),
        }
    }
}

fn queue_name(index: usize) -> String {
    format!("change-{index}")
}

fn exchange_name(index: usize) -> String {
    format!("exchange-{index}")
}
