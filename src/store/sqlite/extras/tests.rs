//! The encoding of extras.

use proptest::prelude::*;

use super::*;

fn column(extras: &[Extra]) -> (Extras, Vec<u8>) {
    let mut all = Extras::default();
    for extra in extras {
        all.push(*extra);
    }
    let mut column = Vec::new();
    all.encode(&mut column);
    (all, column)
}

fn extra() -> impl Strategy<Value = Extra> {
    let expires_at = prop_oneof![
        Just(None),
        (0_u64..4).prop_map(|at| Some(1_700_000_000_000 + at)),
        any::<u64>().prop_map(Some),
        Just(Some(u64::MAX)),
    ];
    (expires_at, any::<bool>()).prop_map(|(expires_at, is_dead_letter)| Extra {
        expires_at: expires_at.map(Timestamp::from_millis),
        is_dead_letter,
    })
}

proptest! {
    #[test]
    fn extras_come_back_as_they_were_pushed(pushed in prop::collection::vec(extra(), 0..60)) {
        let (all, column) = column(&pushed);
        let back = Extras::decode(1, &column).expect("own bytes");
        let extras: Vec<Extra> = back.iter().take(pushed.len()).collect();
        prop_assert_eq!(&extras, &pushed);
        prop_assert_eq!(back.iter().nth(pushed.len()), Some(Extra::default()));
        prop_assert_eq!(all.expires(), pushed.iter().filter_map(|extra| extra.expires_at).min());
        prop_assert_eq!(column.is_empty(), pushed.iter().all(|extra| *extra == Extra::default()));
    }

    #[test]
    fn damaged_columns_are_refused_or_read_but_never_panic(column in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(extras) = Extras::decode(1, &column) {
            prop_assert!(extras.runs.len() <= column.len());
            prop_assert_eq!(extras.iter().take(5000).count(), 5000);
        }
    }
}

#[test]
fn a_batch_that_expires_together_takes_one_entry() {
    let extra = Extra {
        expires_at: Some(Timestamp::from_millis(1_700_000_000_000)),
        is_dead_letter: false,
    };
    let (_, column) = column(&vec![extra; 4000]);
    assert!(column.len() <= 9, "{} bytes", column.len());
}

#[test]
fn a_cut_column_is_refused() {
    let extra = |at| Extra {
        expires_at: Some(Timestamp::from_millis(at)),
        is_dead_letter: true,
    };
    let (_, column) = column(&[extra(1_700_000_000_000), extra(1_700_000_100_000)]);
    let refused = (1..column.len()).filter(|len| Extras::decode(1, &column[..*len]).is_err());
    // One of the cuts is between the two entries.
    assert_eq!(refused.count(), column.len() - 2);
    assert!(Extras::decode(1, &[0]).is_err(), "an entry for no record");
}
