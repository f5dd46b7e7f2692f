//! Direct reply-to: who asks, who answers, and who is gone by then.

use rand::RngExt;

use super::consumers::Place;
use super::link::Event;
use super::message::Message;
use super::stage::{CONFIRM, PLAIN, Stage, shown};
use super::transaction::Told;
use crate::wire::{Arg, NO_TABLE, TICKET};

const REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// A queue by which a client learns its own address.
const MIRROR: Arg<'_> = Arg::Short("mirror");

impl Stage {
    /// What a request of this channel carries in `reply_to`, and what is made of it, if it is to be one.
    pub fn address(&mut self, place: Place) -> Option<(String, String)> {
        let mut requesters = self.model.requesters.iter();
        let (address, _) = requesters.find(|(_, (at, _))| *at == place)?;
        let address = address.clone();
        if self.rng.random_bool(0.5) {
            return None;
        }
        self.model.coverage.note("a request carried an address");
        Some((REPLY_TO.to_owned(), address))
    }

    /// A client begins to wait for replies, or waits no more.
    pub fn listen(&mut self) {
        let which = self.rng.random_range(0..self.links.len());
        let place = (self.links[which].number, PLAIN);
        let mut requesters = self.model.requesters.iter();
        let waiting = requesters.find(|(_, (at, _))| *at == place);
        if let Some((address, number)) = waiting.map(|(address, (_, number))| (address.clone(), *number)) {
            if self.rng.random_bool(0.5) {
                return;
            }
            self.tell(&("wait for replies no more", place));
            let tag = format!("c{number}");
            self.links[which].send(PLAIN, (60, 30), &[Arg::Short(&tag), Arg::Bits(0)]);
            self.pump();
            self.model.requesters.remove(&address);
            return self.expect(place, &[(60, 31)]);
        }
        self.serial += 1;
        self.tell(&("wait for replies", place, self.serial));
        let tag = format!("c{}", self.serial);
        let mut request = self.message("", "mirror", None);
        request.expiration = None;
        request.reply_to = Some(REPLY_TO.to_owned());
        let link = &mut self.links[which];
        let consume = [
            TICKET,
            Arg::Short(REPLY_TO),
            Arg::Short(&tag),
            Arg::Bits(2),
            NO_TABLE,
        ];
        link.send(PLAIN, (60, 20), &consume);
        link.send(PLAIN, (50, 10), &[TICKET, MIRROR, Arg::Bits(4), NO_TABLE]);
        link.send(PLAIN, (60, 40), &[TICKET, Arg::Short(""), MIRROR, Arg::Bits(0)]);
        let body = body(&request);
        link.send_content(PLAIN, &request.properties(), &body);
        link.send(PLAIN, (60, 70), &[TICKET, MIRROR, Arg::Bits(1)]);
        link.send(PLAIN, (50, 40), &[TICKET, MIRROR, Arg::Bits(0)]);
        self.pump();
        let mut came = std::mem::take(&mut self.events);
        let is_right = came.len() == 4 && came.iter().all(|(at, _)| *at == place);
        assert!(is_right, "this came: {}", shown(&came));
        let (_, Event::Content(content)) = came.remove(2) else {
            panic!("the mirror was empty");
        };
        let address = content.message.reply_to.expect("it was a request");
        let is_address = address.starts_with(REPLY_TO) && address.len() > REPLY_TO.len();
        assert!(is_address, "{address} is no address");
        assert!(
            !self.addresses.contains(&address),
            "{address} was somebody else's"
        );
        self.addresses.push(address.clone());
        self.model.requesters.insert(address, (place, self.serial));
    }

    /// Somebody answers, to one who waits or has waited.
    pub fn reply(&mut self) {
        let latest = self.addresses.len().saturating_sub(4)..self.addresses.len();
        if latest.is_empty() {
            return self.listen();
        }
        let address = self.addresses[self.rng.random_range(latest)].clone();
        let which = self.rng.random_range(0..self.links.len());
        let channel = [CONFIRM, PLAIN][self.rng.random_range(0..2)];
        let place = (self.links[which].number, channel);
        let message = self.message("", &address, None);
        self.tell(&("reply", place, &message));
        let mandatory = Arg::Bits(1);
        let link = &mut self.links[which];
        link.send(
            channel,
            (60, 40),
            &[TICKET, Arg::Short(""), Arg::Short(&address), mandatory],
        );
        link.send_content(channel, &message.properties(), &body(&message));
        let is_cut = self.rng.random_bool(0.3);
        self.pump_with(is_cut);
        if let Some((_, consumer)) = self.model.requesters.get(&address) {
            let came = self.model.observed.get_mut(consumer);
            let content = came.and_then(std::collections::VecDeque::pop_front);
            let is_it = content
                .as_ref()
                .is_some_and(|content| content.message.is_same(&message) && !content.redelivered);
            assert!(is_it, "{consumer} was to get {message:?}, not {content:?}");
            self.model.coverage.note("a reply reached who asked");
        } else {
            self.model.coverage.note("a reply came too late");
        }
        let mut told = Told::default();
        if channel == CONFIRM {
            let channel = self.model.channel(place);
            channel.last_publish += 1;
            told.confirmed.push((channel.last_publish, true));
        }
        self.check_told(place, &told);
    }
}

/// A message's body: its number, and nothing more.
fn body(message: &Message) -> Vec<u8> {
    let mut body = message.id.to_be_bytes().to_vec();
    body.resize(usize::try_from(message.body_len).expect("small"), 0);
    body
}
