//! A queue that comes and goes: declared, declared again, deleted, expired, or gone with its last consumer.

use rand::RngExt;

use super::layout::{QueueSpec, queue};
use super::link::Event;
use super::stage::{PLAIN, Stage, shown};
use crate::wire::{Arg, TICKET};

/// Its name.
pub const VOLATILE: &str = "v";

impl Stage {
    pub fn declare_or_delete(&mut self) {
        let Some(queue) = self.model.queues.get(VOLATILE) else {
            let spec = self.volatile();
            self.declare(&spec);
            return;
        };
        let (spec, ready) = (queue.spec.clone(), queue.ready.len());
        if self.rng.random_bool(0.6) {
            self.tell(&"declare v again");
            let table = spec.table();
            let bits = Arg::Bits(u8::from(spec.durable) << 1 | u8::from(spec.auto_delete) << 3);
            self.call((50, 10), &[TICKET, Arg::Short(VOLATILE), bits, Arg::Long(&table)]);
            let now = self.model.now;
            self.model.queue(VOLATILE).touch(now);
            return;
        }
        self.tell(&"delete v");
        let place = (self.links[0].number, PLAIN);
        self.links[0].send(PLAIN, (50, 40), &[TICKET, Arg::Short(VOLATILE), Arg::Bits(0)]);
        self.pump();
        let came = std::mem::take(&mut self.events);
        let [(at, Event::Method((50, 41), payload))] = &came[..] else {
            panic!("this came: {}", shown(&came));
        };
        assert_eq!(*at, place);
        let count = u32::from_be_bytes(*payload[4..].first_chunk().expect("a count"));
        let resting = self.model.queue(VOLATILE).resting.len();
        let count = usize::try_from(count).expect("small");
        assert!(
            (ready..=ready + resting).contains(&count),
            "{count} were deleted, not {ready}"
        );
        self.model.coverage.note("a queue was deleted");
        self.model.delete_queue(VOLATILE);
    }

    fn volatile(&mut self) -> QueueSpec {
        let count = self.layout.queues.len();
        let mut spec = queue(&mut self.rng, VOLATILE.to_owned(), count, self.is_narrow);
        if !spec.is_quorum {
            spec.auto_delete = self.rng.random_bool(0.5);
        }
        if self.layout.is_calm {
            spec.arguments.avoid_first();
        }
        spec.arguments.expires = self.rng.random_bool(0.6).then(|| self.rng.random_range(10..60));
        spec
    }
}
