//! Which deliveries wait, for what, and what may go meanwhile.

use super::*;
use crate::broker::queue::effects::DeliveryHandle;
use crate::message::Message;
use crate::store::Position;

fn mail(deliveries: &[(u64, u64, Option<u64>)]) -> Mail {
    let mut mail = Mail::default();
    for (index, (source, place, after)) in deliveries.iter().enumerate() {
        mail.withheld.extend(after.map(|after| (index, Sequence(after))));
        mail.deliveries.push_back(OutboxDelivery {
            channel: 1,
            source: SourceId(*source),
            handle: DeliveryHandle {
                position: Position(*place),
                delivery_count: 0,
            },
            redelivered: false,
            message: Message::new(b"", b"", &[0, 0], b""),
        });
    }
    mail
}

/// What may be seen, by consumer and place.
fn seen(mail: &mut Mail) -> Vec<(u64, u64)> {
    let deliveries = mail.deliveries.drain(..);
    deliveries
        .map(|delivery| (delivery.source.0, delivery.handle.position.0))
        .collect()
}

#[test]
fn what_is_behind_for_the_same_consumer_waits_and_others_go_on() {
    let mut withheld = Withheld::default();
    let mut first = mail(&[
        (1, 1, None),
        (1, 2, Some(7)),
        (2, 1, None),
        (1, 3, None),
        (2, 2, Some(5)),
    ]);
    withheld.sort(&mut first, Sequence(5));
    assert_eq!(seen(&mut first), [(1, 1), (2, 1), (2, 2)], "5 is committed");
    let mut second = mail(&[(1, 4, Some(6)), (2, 3, None), (3, 1, Some(9))]);
    withheld.sort(&mut second, Sequence(5));
    assert_eq!(seen(&mut second), [(2, 3)]);
    assert_eq!(
        (withheld.awaits(), withheld.awaits_last()),
        (Some(Sequence(7)), Sequence(9))
    );

    let mut mail = Mail::default();
    withheld.release(Sequence(6), &mut mail);
    assert_eq!(seen(&mut mail), []);
    withheld.release(Sequence(8), &mut mail);
    assert_eq!(seen(&mut mail), [(1, 2), (1, 3), (1, 4)]);
    assert!(!withheld.holds(SourceId(1)) && withheld.holds(SourceId(3)));
    withheld.release(Sequence(9), &mut mail);
    assert_eq!((seen(&mut mail), withheld.awaits()), (vec![(3, 1)], None));
}

#[test]
fn a_consumers_end_is_told_behind_its_deliveries() {
    let cancelled = |source| Notice::ConsumerCancelled {
        channel: 1,
        source: SourceId(source),
    };
    let mut withheld = Withheld::default();
    let mut mail = mail(&[(1, 1, Some(2))]);
    mail.notices = vec![cancelled(1), Notice::GetAgain, cancelled(2)];
    withheld.sort(&mut mail, Sequence(1));
    assert_eq!(mail.notices, [Notice::GetAgain, cancelled(2)]);
    mail.notices.clear();
    withheld.release(Sequence(2), &mut mail);
    assert_eq!(
        (seen(&mut mail).len(), &mail.notices[..]),
        (1, &[cancelled(1)][..])
    );
}

#[test]
fn what_is_taken_back_waits_for_nothing() {
    let mut withheld = Withheld::default();
    withheld.sort(&mut mail(&[(1, 1, Some(2)), (2, 1, Some(3))]), Sequence(1));
    let taken = withheld.take_back(|delivery| delivery.source == SourceId(1));
    assert_eq!(taken.len(), 1);
    assert!(!withheld.holds(SourceId(1)));
    assert_eq!(withheld.awaits(), Some(Sequence(3)));
}
