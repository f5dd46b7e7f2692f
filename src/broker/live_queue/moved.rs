//! Messages that came from elsewhere in the broker, as dead letters or released ones, until the store has that: nobody
//! may see them before, since a crash would undo the move and make it again, and they would come twice without a flag.

use std::collections::VecDeque;
use std::ops::Range;

use crate::store::{Position, Sequence};

/// Where in a queue such messages are.
#[derive(Debug, Default)]
pub(super) struct Moved(VecDeque<(Range<Position>, Sequence)>);

impl Moved {
    /// Notes what entered at these places, which are above all others, and what has to be committed before it is seen.
    pub fn note(&mut self, places: Range<Position>, after: Sequence) {
        if !places.is_empty() {
            self.0.push_back((places, after));
        }
    }

    /// Forgets what is committed.
    pub fn forget(&mut self, committed: Sequence) {
        while self.0.pop_front_if(|(_, after)| *after <= committed).is_some() {}
    }

    /// Whether nothing has to be committed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What has to be committed before the message at this place may be seen.
    pub fn awaits(&self, place: Position) -> Option<Sequence> {
        let at = self.0.partition_point(|(places, _)| places.end <= place);
        let (places, after) = self.0.get(at)?;
        places.contains(&place).then_some(*after)
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
        let awaits =
            |moved: &Moved| [2, 3, 4, 5, 6, 7].map(|at| moved.awaits(Position(at)).map(|after| after.0));
        assert_eq!(awaits(&moved), [None, Some(7), Some(7), None, Some(9), None]);
        moved.forget(Sequence(6));
        assert_eq!(awaits(&moved), [None, Some(7), Some(7), None, Some(9), None]);
        moved.forget(Sequence(8));
        assert_eq!(awaits(&moved), [None, None, None, None, Some(9), None]);
        moved.forget(Sequence(9));
        assert!(moved.is_empty());
    }
}
