//! Limits of a user and of a virtual host: set to what there is, or to one more, and then tried.

use std::sync::Arc;

use leveret::store::access::{AccessChange, LimitOwner, LimitRow, LimitedResource};
use rand::RngExt;

use super::link::{Event, Link};
use super::queue::Queue;
use super::stage::{PLAIN, Stage, shown};
use crate::wire::{Arg, NO_TABLE, TICKET};

/// A queue that is one too many, or just not.
const ANOTHER: Arg<'_> = Arg::Short("another");

/// A channel that is.
pub const FOURTH: u16 = 4;

impl Stage {
    pub fn reach_limit(&mut self) {
        let (user, vhost) = (LimitOwner::User("guest".into()), LimitOwner::Vhost("/".into()));
        let of_user = self.rng.random_bool(0.5);
        let (owner, resource, count) = match self.rng.random_range(0..3) {
            0 => (vhost, LimitedResource::Queues, self.model.queues.len()),
            1 => (user, LimitedResource::Channels, self.model.channels.len()),
            _ => {
                let owner = if of_user { user } else { vhost };
                (owner, LimitedResource::Connections, self.links.len())
            }
        };
        let is_full = self.rng.random_bool(0.5);
        let max = u32::try_from(count + usize::from(!is_full)).expect("few");
        self.tell(&("limit", &owner, resource, max));
        self.change(AccessChange::SetLimit(LimitRow {
            owner: owner.clone(),
            resource,
            max,
        }));
        let is_refused = match resource {
            LimitedResource::Queues => self.is_queue_refused(),
            LimitedResource::Channels => self.is_channel_refused(),
            LimitedResource::Connections => self.is_connection_refused(),
        };
        assert_eq!(is_refused, is_full, "{count} {resource} of {max} for {owner}");
        self.model.coverage.note(match resource {
            _ if !is_refused => "a limit let in what fits",
            LimitedResource::Queues => "a limit refused a queue",
            LimitedResource::Channels => "a limit refused a channel",
            LimitedResource::Connections => "a limit refused a connection",
        });
        self.change(AccessChange::ClearLimit { owner, resource });
        self.connect_all();
    }

    pub fn change(&mut self, change: AccessChange) {
        let broker = Arc::clone(&self.node.broker);
        broker.change(vec![change]).expect("both are there");
        self.pump();
    }

    fn is_queue_refused(&mut self) -> bool {
        let place = (self.links[0].number, PLAIN);
        // What is there may be declared once more.
        let may_be_declared = |queue: &&Queue| !queue.spec.auto_delete && queue.spec.owner.is_none();
        let spec = self.model.queues.values().find(may_be_declared);
        if let Some(spec) = spec.map(|queue| queue.spec.clone()) {
            let bits = Arg::Bits(u8::from(spec.durable) << 1);
            let table = spec.table();
            self.call(
                (50, 10),
                &[TICKET, Arg::Short(&spec.name), bits, Arg::Long(&table)],
            );
            let now = self.model.now;
            self.model.queue(&spec.name).touch(now);
        }
        self.links[0].send(PLAIN, (50, 10), &[TICKET, ANOTHER, Arg::Bits(0), NO_TABLE]);
        self.pump();
        let came = std::mem::take(&mut self.events);
        match &came[..] {
            [(at, Event::Method((50, 11), _))] if *at == place => {
                self.call((50, 40), &[TICKET, ANOTHER, Arg::Bits(0)]);
                false
            }
            [(at, Event::Method((20, 40), payload))] if *at == place => {
                assert_eq!(payload[4..6], 406_u16.to_be_bytes());
                self.model.end_channel(place);
                self.compare();
                self.links[0].send(PLAIN, (20, 41), &[]);
                self.open(0, PLAIN);
                true
            }
            _ => panic!("this came: {}", shown(&came)),
        }
    }

    pub fn is_connection_refused(&mut self) -> bool {
        self.serial += 1;
        let mut link = Link::new(self.node.connect(), self.serial);
        link.may_be_refused = true;
        self.links.push(link);
        self.pump();
        let mut link = self.links.pop().expect("it was just pushed");
        link.connection.terminate();
        self.pump();
        assert!(matches!(link.refusal, None | Some(530)), "{:?}", link.refusal);
        link.refusal.is_some()
    }

    /// Who asks for a channel too many loses its connection.
    fn is_channel_refused(&mut self) -> bool {
        let number = self.links[0].number;
        self.links[0].may_be_refused = true;
        self.links[0].send(FOURTH, (20, 10), &[Arg::Short("")]);
        self.pump();
        self.links[0].may_be_refused = false;
        let Some(code) = self.links[0].refusal else {
            self.expect((number, FOURTH), &[(20, 11)]);
            let close = [Arg::U16(200), Arg::Short(""), Arg::U16(0), Arg::U16(0)];
            self.links[0].send(FOURTH, (20, 40), &close);
            self.pump();
            self.expect((number, FOURTH), &[(20, 41)]);
            return false;
        };
        assert_eq!(code, 530);
        let mut link = self.links.remove(0);
        link.connection.terminate();
        self.pump();
        self.model.end_connection(number);
        self.compare();
        true
    }
}
