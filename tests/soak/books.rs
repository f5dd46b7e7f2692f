//! What was published, confirmed and seen, as far as something may still come of it.
//!
//! An entry is closed when its message is confirmed and was seen wherever it must be: the books do not grow with time.

use std::collections::HashMap;

use crate::lanes::{LANES, Place, Places};

/// Bytes of a body before its filling.
const HEAD: usize = 18;

/// A message, as its body tells it.
#[derive(Clone, Copy, Debug)]
pub struct Id {
    pub lane: usize,
    /// Messages keep their order within one class only: that is the priority.
    pub class: u8,
    pub number: u64,
    /// Microseconds from the begin of the run to the publish.
    pub sent_us: u64,
}

impl Id {
    /// A body that is filled up to so many bytes.
    pub fn body(self, bytes: usize) -> Vec<u8> {
        let lane = u8::try_from(self.lane).expect("there are few lanes");
        let mut body = vec![lane, self.class];
        body.extend(self.number.to_be_bytes());
        body.extend(self.sent_us.to_be_bytes());
        body.resize(bytes.max(HEAD), filling(self.number));
        body
    }

    /// Nothing if the body is not one of ours, whole and unchanged.
    pub fn of(body: &[u8]) -> Option<Self> {
        let (head, rest) = body.split_at_checked(HEAD)?;
        let number = u64::from_be_bytes(head[2..10].try_into().ok()?);
        let sent_us = u64::from_be_bytes(head[10..18].try_into().ok()?);
        let lane = usize::from(head[0]);
        let is_whole =
            body.len() == LANES.get(lane)?.bytes && rest.iter().all(|byte| *byte == filling(number));
        is_whole.then_some(Self {
            lane,
            class: head[1],
            number,
            sent_us,
        })
    }
}

fn filling(number: u64) -> u8 {
    number.to_le_bytes()[0]
}

#[derive(Debug)]
struct Entry {
    missing: Places,
    seen: Places,
    is_confirmed: bool,
    /// Nobody can tell whether it still comes.
    is_doubtful: bool,
}

#[derive(Debug, Default)]
struct Lane {
    next: u64,
    open: HashMap<u64, Entry>,
}

/// Kept by all workers together.
#[derive(Debug, Default)]
pub struct Books {
    lanes: [Lane; LANES.len()],
    /// The last message not seen before, of a lane and a class at a place, and the broker's life that this was in.
    last_fresh: HashMap<(Place, usize, u8), (u32, u64)>,
    pub confirmed: u64,
    pub delivered: u64,
    pub redelivered: u64,
    pub complaints: Vec<String>,
}

impl Books {
    /// Enters a message of this lane, which is about to be published; its number.
    pub fn publish(&mut self, lane: usize) -> u64 {
        let book = &mut self.lanes[lane];
        let number = book.next;
        book.next += 1;
        let entry = Entry {
            missing: (LANES[lane].places)(number),
            seen: Places::default(),
            is_confirmed: false,
            is_doubtful: false,
        };
        book.open.insert(number, entry);
        number
    }

    /// The broker took it; `is_past` if it has died since.
    pub fn confirm(&mut self, lane: usize, number: u64, is_past: bool) {
        self.confirmed += 1;
        if let Some(entry) = self.lanes[lane].open.get_mut(&number) {
            entry.is_confirmed = true;
            entry.is_doubtful |= is_past && LANES[lane].is_transient;
        }
        self.close(lane, number);
    }

    /// The publisher was cut off before it heard of this one.
    pub fn give_up(&mut self, lane: usize, number: u64) {
        if let Some(entry) = self.lanes[lane].open.get_mut(&number) {
            entry.is_doubtful |= !entry.is_confirmed;
        }
    }

    /// The broker is about to end, one way or the other.
    pub fn crash(&mut self) {
        for (lane, book) in LANES.iter().zip(&mut self.lanes) {
            for entry in book.open.values_mut().filter(|_| lane.is_transient) {
                entry.is_doubtful = true;
            }
        }
    }

    /// It came to this place, in this life of the broker.
    pub fn deliver(&mut self, place: Place, id: Id, redelivered: bool, life: u32) {
        self.delivered += 1;
        self.redelivered += u64::from(redelivered);
        let lane = &LANES[id.lane];
        let book = &mut self.lanes[id.lane];
        if id.number >= book.next || !(lane.places)(id.number).has(place) {
            self.complain(format!(
                "{id:?} of {} came to {place:?} and was not published there",
                lane.name
            ));
            return;
        }
        let entry = book.open.get_mut(&id.number);
        let was_seen = entry.as_ref().is_none_or(|entry| entry.seen.has(place));
        if let Some(entry) = entry {
            entry.seen.add(place);
            entry.missing.remove(place);
        }
        if was_seen && !redelivered {
            self.complain(format!(
                "{id:?} of {} came to {place:?} once more without a flag",
                lane.name
            ));
        }
        if !redelivered && place.is_ordered() {
            self.check_order(place, id, life);
        }
        self.close(id.lane, id.number);
    }

    /// Confirmed messages that are still to come, by lane.
    pub fn missing(&self) -> Vec<String> {
        let is_due = |entry: &&Entry| entry.is_confirmed && !entry.is_doubtful;
        let of_lane = |(lane, book): (&crate::lanes::Lane, &Lane)| {
            let due = book.open.values().filter(is_due).count();
            let example = book.open.iter().find(|(_, entry)| is_due(entry));
            example.map(|example| format!("{due} of {} are missing, as {example:?}", lane.name))
        };
        LANES.iter().zip(&self.lanes).filter_map(of_lane).collect()
    }

    /// Entries that are not closed.
    pub fn open(&self) -> usize {
        self.lanes.iter().map(|lane| lane.open.len()).sum()
    }

    /// Messages that were published, each once however many copies it has.
    pub fn published(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.next).sum()
    }

    pub fn complain(&mut self, complaint: String) {
        self.complaints.push(complaint);
    }

    fn check_order(&mut self, place: Place, id: Id, life: u32) {
        let key = (place, id.lane, id.class);
        let (last_life, last) = self.last_fresh.get(&key).copied().unwrap_or_default();
        if life < last_life {
            return;
        }
        self.last_fresh.insert(key, (life, id.number));
        if life == last_life && last >= id.number && last > 0 {
            self.complain(format!("{id:?} came to {place:?} behind {last}"));
        }
    }

    fn close(&mut self, lane: usize, number: u64) {
        let open = &mut self.lanes[lane].open;
        let is_done =
            |entry: &Entry| entry.missing == Places::default() && (entry.is_confirmed || entry.is_doubtful);
        if open.get(&number).is_some_and(is_done) {
            open.remove(&number);
        }
    }
}

/// The books see each kind of mistake. Else a run that finds nothing would say nothing.
pub fn prove() {
    let lane = LANES
        .iter()
        .position(|lane| lane.name == "fanout")
        .expect("there is one");
    let id = |number| Id {
        lane,
        class: 0,
        number,
        sent_us: 0,
    };
    let ready = || {
        let mut books = Books::default();
        for number in 0..3 {
            books.publish(lane);
            books.confirm(lane, number, false);
        }
        books.deliver(Place::FanLeft, id(0), false, 0);
        books.deliver(Place::FanLeft, id(1), false, 0);
        books
    };
    let mut books = ready();
    books.deliver(Place::FanLeft, id(2), false, 0);
    for number in 0..3 {
        books.deliver(Place::FanRight, id(number), false, 0);
    }
    books.deliver(Place::FanRight, id(1), true, 0);
    assert!(books.complaints.is_empty() && books.missing().is_empty() && books.open() == 0);
    assert_eq!(ready().missing().len(), 1, "three are missing, of one lane");
    let mistakes = [
        ("not published there", Place::FanLeft, 3),
        ("not published there", Place::Dead, 2),
        ("without a flag", Place::FanLeft, 1),
        ("behind", Place::FanLeft, 0),
    ];
    for (complaint, place, number) in mistakes {
        let mut books = ready();
        books.deliver(place, id(number), false, 0);
        let complaints = books.complaints.join("; ");
        assert!(complaints.contains(complaint), "{complaint}: {complaints}");
    }
    let body = id(7).body(LANES[lane].bytes);
    assert!(Id::of(&body).is_some() && Id::of(&body[1..]).is_none());
    let mut changed = body;
    *changed.last_mut().expect("it is not empty") ^= 1;
    assert!(Id::of(&changed).is_none());
}
