//! The encoding of segments.

use proptest::prelude::*;

use super::*;

fn records(shapes: &[(u64, u32, u32, bool)]) -> (u64, Records) {
    let mut records = Records::default();
    let (mut position, mut offset) = (7, 0);
    for &(gap, len, shared_row, is_persistent) in shapes {
        position += gap;
        let row = i64::from(shared_row);
        let home = Home {
            row,
            offset: if row == 0 { offset } else { len * 3 },
        };
        records.push(Record {
            position,
            len,
            body_len: len / 2,
            home,
            is_persistent,
        });
        if row == 0 {
            offset += len;
        }
        position += 1;
    }
    (7 + shapes[0].0, records)
}

proptest! {
    #[test]
    fn records_come_back_as_they_were_pushed(
        shapes in prop::collection::vec((0_u64..3, 1_u32..4, 0_u32..3, any::<bool>()), 1..100),
    ) {
        let (first, records) = records(&shapes);
        let mut column = Vec::new();
        records.encode(first, &mut column);
        let back = Records::decode(row_id(QueueId(9), first), &column).expect("own bytes");
        prop_assert_eq!(&back, &records);
        for (index, record) in back.iter() {
            let (found, run) = back.find(record.position).expect("it is there");
            prop_assert_eq!(found, index);
            prop_assert_eq!(run.record(index - run.index), record);
        }
        prop_assert_eq!(back.iter().count(), shapes.len());
    }

    #[test]
    fn damaged_columns_are_refused_or_read_but_never_panic(column in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(records) = Records::decode(row_id(QueueId(1), 0), &column) {
            prop_assert!(records.count > 0);
        }
    }
}

#[test]
fn equal_messages_take_one_run() {
    let (first, records) = records(&vec![(0, 20, 0, true); 1000]);
    let mut column = Vec::new();
    records.encode(first, &mut column);
    assert_eq!(records.runs.len(), 1);
    assert!(column.len() < 8);
}

#[test]
fn a_gap_between_records_is_no_record() {
    let (_, records) = records(&[(0, 5, 0, true), (2, 5, 0, true)]);
    assert!(records.find(7).is_some());
    assert!(records.find(8).is_none());
    assert!(records.find(6).is_none());
    assert!(records.find(10).is_some());
    assert!(records.find(11).is_none());
}

#[test]
fn bits_count_what_was_set() {
    let mut bits = Bits::default();
    assert!(bits.set(13));
    assert!(!bits.set(13));
    assert!(bits.set(0));
    assert_eq!(bits.count(), 2);
    assert!(bits.has(13) && !bits.has(12) && !bits.has(1000));
}

#[test]
fn row_ids_keep_the_order_of_queues_and_positions() {
    let last = row_id(QueueId((1 << 24) - 1), POSITION_END - 1);
    assert_eq!(last, i64::MAX);
    assert_eq!(
        (queue_of(last).0, position_of(last)),
        ((1 << 24) - 1, POSITION_END - 1)
    );
    assert!(row_id(QueueId(1), POSITION_END - 1) < row_id(QueueId(2), 0));
}
