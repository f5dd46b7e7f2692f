//! Deliveries that wait for the store: of messages that moved within the broker, a dead letter for instance. Seen too
//! early, and undone by a crash, they would come again as if nobody had seen them.
//!
//! What comes behind one of them for the same consumer waits too, so that the order stays. Other consumers go on.

use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::broker::outbox::{Mail, Notice, OutboxDelivery, SourceId};
use crate::store::{Sequence, Store};

/// The deliveries of one connection that nobody may see yet.
#[derive(Debug, Default)]
pub struct Withheld {
    /// In the order in which they came, with what has to be committed before they go.
    deliveries: VecDeque<(Sequence, OutboxDelivery)>,
    /// How many each consumer has; none has 0.
    counts: FxHashMap<SourceId, usize>,
    /// Consumers of those that are gone; their clients are told when they have all.
    cancelled: Vec<(SourceId, Notice)>,
}

impl Withheld {
    /// Takes what has to wait out of mail that has just come.
    #[inline]
    pub fn take_from(&mut self, mail: &mut Mail, store: &Arc<dyn Store>) {
        if !mail.withheld.is_empty() || !self.deliveries.is_empty() {
            self.sort(mail, store.committed());
        }
    }

    #[cold]
    fn sort(&mut self, mail: &mut Mail, committed: Sequence) {
        let mut withheld = mail.withheld.drain(..).peekable();
        for (index, delivery) in std::mem::take(&mut mail.deliveries).into_iter().enumerate() {
            let after = withheld.next_if(|(at, _)| *at == index).map(|(_, after)| after);
            let after = after.filter(|after| *after > committed);
            if after.is_none() && !self.holds(delivery.source) {
                mail.deliveries.push_back(delivery);
                continue;
            }
            *self.counts.entry(delivery.source).or_default() += 1;
            self.deliveries.push_back((after.unwrap_or_default(), delivery));
        }
        for notice in std::mem::take(&mut mail.notices) {
            match notice {
                Notice::ConsumerCancelled { source, .. } if self.holds(source) => {
                    self.cancelled.push((source, notice));
                }
                _ => mail.notices.push(notice),
            }
        }
    }

    /// Puts what may be seen now back into the mail.
    pub fn release(&mut self, committed: Sequence, mail: &mut Mail) {
        while let Some((_, delivery)) = self.deliveries.pop_front_if(|(after, _)| *after <= committed) {
            self.discount(delivery.source);
            mail.deliveries.push_back(delivery);
        }
        let counts = &self.counts;
        let due = self
            .cancelled
            .extract_if(.., |(source, _)| !counts.contains_key(source));
        mail.notices.extend(due.map(|(_, notice)| notice));
    }

    /// What has to be committed for the first of them.
    #[inline]
    pub fn awaits(&self) -> Option<Sequence> {
        self.deliveries.front().map(|(after, _)| *after)
    }

    /// Whether this consumer has one.
    pub fn holds(&self, source: SourceId) -> bool {
        self.counts.contains_key(&source)
    }

    /// The consumers that have one.
    pub fn sources(&self) -> impl Iterator<Item = &SourceId> {
        self.counts.keys()
    }

    /// What has to be committed for all of them.
    pub fn awaits_last(&self) -> Sequence {
        let all = self.deliveries.iter().map(|(after, _)| *after);
        all.max().unwrap_or_default()
    }

    /// Takes those that are not to be delivered any more.
    pub fn take_back(&mut self, is_wanted: impl Fn(&OutboxDelivery) -> bool) -> Vec<OutboxDelivery> {
        let (taken, others) = std::mem::take(&mut self.deliveries)
            .into_iter()
            .partition::<VecDeque<_>, _>(|(_, delivery)| is_wanted(delivery));
        self.deliveries = others;
        let taken: Vec<_> = taken.into_iter().map(|(_, delivery)| delivery).collect();
        for delivery in &taken {
            self.discount(delivery.source);
        }
        taken
    }

    fn discount(&mut self, source: SourceId) {
        let count = self.counts.get_mut(&source).expect("each is counted");
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests;
