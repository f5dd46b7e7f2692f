//! Messages that came from elsewhere in the broker, as dead letters or released ones, until the store has that: nobody
//! may see them before, since a crash would undo the move and make it again, and they would come twice without a flag.

use std::collections::VecDeque;
use std::ops::Range;

use crate::store::{Position, Sequence};

/// Where in a queue such messages are.
#[derive(Debug, Default)]
pub(super) struct Moved {
    places: VecDeque<(Range<Position>, Sequence)>,
    /// What the last of them wait for, also those that the queue refused.
    latest: Option<Sequence>,
}

impl Moved {
    /// Notes what entered at these places, which are above all others, and what has to be committed before it is seen.
    pub fn note(&mut self, places: Range<Position>, after: Sequence) {
        self.latest = self.latest.max(Some(after));
        if !places.is_empty() {
            self.places.push_back((places, after));
        }
    }

    /// Forgets what is committed.
    pub fn forget(&mut self, committed: Sequence) {
        while self
            .places
            .pop_front_if(|(_, after)| *after <= committed)
            .is_some()
        {}
    }

    /// Whether nothing has to be committed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// What has to be committed before the message at this place may be seen.
    pub fn awaits(&self, place: Position) -> Option<Sequence> {
        let at = self.places.partition_point(|(places, _)| places.end <= place);
        let (places, after) = self.places.get(at)?;
        places.contains(&place).then_some(*after)
    }

    /// What has to be committed before any message that came so may be seen, in this queue or where it goes from here:
    /// at times more than one of them needs.
    pub fn latest(&self, committed: Sequence) -> Option<Sequence> {
        self.latest.filter(|after| *after > committed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_waits_for_its_own_move() {
        let places = |from, to| Position(from)..Position(to);
        let mut moved = Moved::default();
        moved.note(places(3, 5), Sequence(7));
        moved.note(places(5, 5), Sequence(8));
        moved.note(places(6, 7), Sequence(9));
        moved.note(places(7, 7), Sequence(10));
        let awaits =
            |moved: &Moved| [2, 3, 4, 5, 6, 7].map(|at| moved.awaits(Position(at)).map(|after| after.0));
        assert_eq!(awaits(&moved), [None, Some(7), Some(7), None, Some(9), None]);
        moved.forget(Sequence(6));
        assert_eq!(awaits(&moved), [None, Some(7), Some(7), None, Some(9), None]);
        moved.forget(Sequence(8));
        assert_eq!(awaits(&moved), [None, None, None, None, Some(9), None]);
        moved.forget(Sequence(9));
        assert!(moved.is_empty());
        let refused = [9, 10].map(|committed| moved.latest(Sequence(committed)));
        assert_eq!(refused, [Some(Sequence(10)), None]);
    }
}
