//! What the client of a line knows of its messages.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use amq_protocol::types::AMQPValue;

use super::Kind;
use crate::client::Delivery;

/// The broker counts in whole milliseconds, by a clock that begins anew at each start.
const EARLY_MAX: Duration = Duration::from_millis(5);

/// How a delivery was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Acked,
    Rejected,
}

/// A message that is there, as far as is known.
#[derive(Debug)]
pub(super) struct Life {
    /// Not before that it may come.
    due: Instant,
    /// The broker has promised to keep it.
    pub is_confirmed: bool,
    /// How often it had died when it was last seen, or will have when it is first seen.
    deaths: u32,
    is_seen: bool,
    verdict: Option<Verdict>,
    /// The connection of the verdict is gone, so that the broker may never have read it.
    is_unsure: bool,
}

impl Life {
    pub fn deaths(&self) -> u32 {
        self.deaths
    }
}

/// A line, and its messages by their numbers. A number that is not there must not come: it was never published, or
/// its end is on disk.
#[derive(Debug)]
pub struct Line {
    pub(super) kind: Kind,
    pub(super) lives: BTreeMap<u32, Life>,
    /// Messages that were not confirmed when the broker died, and have not come since.
    doubtful: BTreeMap<u32, Life>,
    pub(super) next: u32,
    /// What the round published, but for what came and went without a confirm.
    pub(super) recent: BTreeSet<u32>,
    /// Deliveries, dead letters among them, and messages that came again.
    deliveries: [u64; 3],
}

impl Line {
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            lives: BTreeMap::new(),
            doubtful: BTreeMap::new(),
            next: 0,
            recent: BTreeSet::new(),
            deliveries: [0; 3],
        }
    }

    pub fn report(&self) -> String {
        let [all, dead, again] = self.deliveries;
        let (kind, next) = (self.kind, self.next);
        format!("{kind:?}: {next} published, {all} deliveries, {dead} of dead letters, {again} again")
    }

    /// Before the message is sent.
    pub(super) fn publish(&mut self, number: u32, under_way: Duration) {
        let life = Life {
            due: Instant::now() + under_way,
            is_confirmed: false,
            deaths: self.kind.deaths_at_first(),
            is_seen: false,
            verdict: None,
            is_unsure: false,
        };
        let before = self.lives.insert(number, life);
        assert!(before.is_none(), "{number} is used twice");
    }

    pub(super) fn confirm(&mut self, number: u32) {
        self.lives.extend(self.doubtful.remove_entry(&number));
        if let Some(life) = self.lives.get_mut(&number) {
            life.is_confirmed = true;
        }
    }

    /// The broker or the connection is gone: what was answered may not have been read.
    pub(super) fn disconnect(&mut self) {
        for life in self.lives.values_mut() {
            life.is_unsure = life.verdict.is_some();
        }
    }

    /// It came after a crash: it is on disk.
    pub(super) fn outlive(&mut self, number: u32) {
        let life = self.lives.get_mut(&number).expect("it came");
        life.is_confirmed = true;
    }

    /// Checks a delivery against all that is known; returns its number.
    pub(super) fn deliver(&mut self, delivery: &Delivery) -> u32 {
        let queue = &*delivery.consumer;
        let number = u32::from_be_bytes(delivery.body[..4].try_into().unwrap());
        let deaths = deaths(delivery);
        self.lives.extend(self.doubtful.remove_entry(&number));
        let Some(life) = self.lives.get_mut(&number) else {
            panic!("{number} came from {queue} and was never published, or is gone: {delivery:?}");
        };
        let what = format!(
            "{number} from {queue}, flagged {}: {life:?}",
            delivery.redelivered
        );
        let (least, most) = match (life.verdict, life.is_unsure) {
            (None, _) | (Some(Verdict::Acked), true) => (life.deaths, life.deaths),
            (Some(Verdict::Rejected), false) => (life.deaths + 1, life.deaths + 1),
            (Some(Verdict::Rejected), true) => (life.deaths, life.deaths + 1),
            (Some(Verdict::Acked), false) => panic!("it was acked, and comes again: {what}"),
        };
        let count = deaths.iter().map(|(_, _, count)| *count).max().unwrap_or(0);
        assert!((least..=most).contains(&count), "it died {count} times: {what}");
        assert_eq!(deaths, sorted(self.kind.deaths(queue, count)), "{what}");
        let early = life.due.saturating_duration_since(Instant::now() + EARLY_MAX);
        assert!(early.is_zero(), "it comes {early:?} early: {what}");
        let was_here = life.is_seen && life.deaths == count;
        assert!(delivery.redelivered || !was_here, "it was seen before: {what}");
        self.deliveries[0] += 1;
        self.deliveries[1] += u64::from(count > 0);
        self.deliveries[2] += u64::from(was_here);
        life.deaths = count;
        life.is_seen = true;
        life.verdict = None;
        number
    }

    /// Writes down an answer, before it is sent; returns how often the message had died.
    pub(super) fn settle(&mut self, number: u32, queue: &str, verdict: Verdict) -> u32 {
        let life = self.lives.get_mut(&number).expect("it came");
        let under_way = self.kind.rejected_from(queue);
        life.verdict = Some(verdict);
        life.is_unsure = false;
        match (verdict, under_way) {
            (Verdict::Rejected, Some(under_way)) => life.due = Instant::now() + under_way,
            // Rejected where nobody wants the dead.
            _ => life.verdict = Some(Verdict::Acked),
        }
        life.deaths
    }

    /// The answer to the message that had died so often is on disk.
    pub(super) fn settled(&mut self, number: u32, deaths: u32) {
        let Some(life) = self.lives.get_mut(&number) else {
            return;
        };
        match life.verdict {
            Some(Verdict::Acked) if life.deaths == deaths => {
                if !life.is_confirmed {
                    self.recent.remove(&number);
                }
                self.lives.remove(&number);
            }
            Some(Verdict::Rejected) if life.deaths == deaths && self.kind.moves_at_once() => {
                life.deaths += 1;
                life.is_seen = false;
                life.verdict = None;
            }
            _ => {}
        }
    }

    /// What has to come until `end`, whatever became of the broker.
    pub(super) fn due(&self, end: Option<Instant>) -> impl Iterator<Item = u32> {
        let is_due = move |life: &Life| {
            let is_here = life.is_confirmed && life.verdict != Some(Verdict::Acked);
            is_here && end.is_none_or(|end| life.due <= end)
        };
        self.lives
            .iter()
            .filter(move |(_, life)| is_due(life))
            .map(|(number, _)| *number)
    }

    /// Everything that is ready was seen: what is still thought to be acked is.
    pub(super) fn close_count(&mut self) {
        for (number, life) in std::mem::take(&mut self.lives) {
            let is_gone = life.verdict == Some(Verdict::Acked);
            if life.is_confirmed && !is_gone {
                self.lives.insert(number, life);
            } else if !life.is_confirmed && (is_gone || (life.is_seen && life.verdict.is_none())) {
                // Nobody knows whether it ever was on disk.
                self.recent.remove(&number);
            } else if !life.is_confirmed {
                self.doubtful.insert(number, life);
            }
        }
    }
}

/// What `x-death` says: queue, reason and count, sorted.
fn deaths(delivery: &Delivery) -> Vec<(String, String, u32)> {
    let headers = delivery.properties.headers();
    let value = headers
        .as_ref()
        .and_then(|headers| headers.inner().get("x-death"));
    let Some(AMQPValue::FieldArray(entries)) = value else {
        return Vec::new();
    };
    let mut deaths = Vec::new();
    for entry in entries.as_slice() {
        let AMQPValue::FieldTable(entry) = entry else {
            panic!("x-death has tables, not {entry:?}");
        };
        let text = |key: &str| match entry.inner().get(key) {
            Some(AMQPValue::LongString(text)) => text.to_string(),
            other => panic!("{key} is {other:?}"),
        };
        let count = match entry.inner().get("count") {
            Some(AMQPValue::LongLongInt(count)) => u32::try_from(*count).unwrap(),
            other => panic!("the count is {other:?}"),
        };
        deaths.push((text("queue"), text("reason"), count));
    }
    deaths.sort();
    deaths
}

fn sorted(deaths: Vec<(&str, &str, u32)>) -> Vec<(String, String, u32)> {
    let mut deaths: Vec<_> = deaths
        .into_iter()
        .map(|(queue, reason, count)| (queue.to_owned(), reason.to_owned(), count))
        .collect();
    deaths.sort();
    deaths
}
