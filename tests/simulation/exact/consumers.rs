//! Who may take a queue's messages.

use super::queue::Queue;

/// Where deliveries go: a connection's number and a channel's.
pub type Place = (u64, u16);

#[derive(Clone, Debug)]
pub struct Consumer {
    /// Its tag is `c` and this number.
    pub number: u64,
    pub place: Place,
    pub priority: i32,
    pub no_ack: bool,
    pub exclusive: bool,
    /// 0 is without limit.
    pub prefetch: u16,
    /// Its own timeout, ms.
    pub timeout: Option<u64>,
    /// Deliveries that it has not settled, late ones too.
    pub unacked: usize,
    /// It is about to go.
    pub is_suspended: bool,
}

impl Queue {
    pub fn consumer(&mut self, number: u64) -> Option<&mut Consumer> {
        self.consumers
            .iter_mut()
            .find(|consumer| consumer.number == number)
    }

    pub fn add_consumer(&mut self, consumer: Consumer) {
        self.unused_since = None;
        self.consumers.push(consumer);
        self.elect();
    }

    /// False when it is not there.
    pub fn remove_consumer(&mut self, number: u64, now: u64) -> bool {
        let count = self.consumers.len();
        self.consumers.retain(|consumer| consumer.number != number);
        if self.consumers.len() == count {
            return false;
        }
        if self.consumers.is_empty() {
            self.unused_since = Some(now);
        }
        self.active = self.active.filter(|active| *active != number);
        self.elect();
        true
    }

    /// A consumer has settled a delivery.
    pub fn settled(&mut self, number: Option<u64>) {
        if let Some(consumer) = number.and_then(|number| self.consumer(number)) {
            consumer.unacked -= 1;
            self.elect();
        }
    }

    /// Who comes first among those that are not active: the highest priority, and of these the oldest.
    fn rival(&self) -> Option<&Consumer> {
        let others = || {
            self.consumers
                .iter()
                .filter(|other| Some(other.number) != self.active)
        };
        let highest = others().map(|other| other.priority).max()?;
        others().find(|other| other.priority == highest)
    }

    /// Somebody with a higher priority waits for the active consumer of a quorum queue.
    fn is_outranked(&self) -> bool {
        let active = self
            .consumers
            .iter()
            .find(|other| Some(other.number) == self.active);
        let ranks = active.zip(self.rival());
        ranks.is_some_and(|(active, rival)| rival.priority > active.priority)
    }

    fn elect(&mut self) {
        if !self.spec.is_single_active {
            return;
        }
        let active = self
            .consumers
            .iter()
            .find(|other| Some(other.number) == self.active);
        let is_over = match active {
            None => true,
            Some(active) => self.spec.is_quorum && self.is_outranked() && active.unacked == 0,
        };
        if is_over {
            self.active = self.rival().map(|rival| rival.number);
        }
    }

    fn is_active(&self, consumer: &Consumer) -> bool {
        !self.spec.is_single_active
            || (self.active == Some(consumer.number) && !(self.spec.is_quorum && self.is_outranked()))
    }

    /// Whether it could take a message, if its channel lets it.
    pub fn is_willing(&self, consumer: &Consumer) -> bool {
        let prefetch = usize::from(consumer.prefetch);
        self.is_active(consumer) && !consumer.is_suspended && (prefetch == 0 || consumer.unacked < prefetch)
    }
}
