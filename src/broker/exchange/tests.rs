//! The bindings of one exchange as a whole: identity, counting, and going away with a destination.

use std::collections::BTreeSet;

use amq_protocol::types::AMQPValue;
use proptest::prelude::*;

use crate::amqp::content;

use super::*;

/// Those whose routes are a function of the bindings that match.
const MATCHING: [ExchangeKind; 4] = [
    ExchangeKind::Direct,
    ExchangeKind::Fanout,
    ExchangeKind::Topic,
    ExchangeKind::Headers,
];

/// Those that choose one of all that is bound.
const CHOOSING: [ExchangeKind; 4] = [
    ExchangeKind::ConsistentHash,
    ExchangeKind::ModulusHash,
    ExchangeKind::Random,
    ExchangeKind::LocalRandom,
];

/// Even numbers are queues, those above a hundred quorum queues.
impl Destination for u32 {
    fn fingerprint(&self) -> u64 {
        hash::mix(u64::from(*self))
    }

    fn queue_type(&self) -> Option<QueueType> {
        match self {
            101.. => Some(QueueType::Quorum),
            number => number.is_multiple_of(2).then_some(QueueType::Classic),
        }
    }
}

fn new(kind: ExchangeKind) -> Bindings<u32> {
    Bindings::new(kind, &FieldTable::default(), 0)
}

/// Routing key, headers, and who gets the message from direct, fanout, topic, headers.
type Row<'a> = (&'a [u8], Option<&'a [u8]>, [&'a [u32]; 4]);

fn table(pairs: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in pairs {
        table.insert((*name).into(), value.clone());
    }
    table
}

fn route(bindings: &Bindings<u32>, key: &[u8], headers: Option<&[u8]>) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let criteria = Criteria {
        routing_keys: &[key],
        properties: &content::with_headers(&[0, 0], headers),
    };
    bindings.route(&criteria, &mut |destination| {
        found.insert(*destination);
    });
    found
}

#[test]
fn kinds_have_the_names_of_a_declare() {
    for kind in ExchangeKind::ALL {
        assert_eq!(ExchangeKind::from_name(kind.name()), Some(kind));
    }
    for unknown in ["", "Direct", "x-unknown"] {
        assert_eq!(ExchangeKind::from_name(unknown), None);
    }
}

#[test]
fn each_kind_routes_by_its_own_rule() {
    let one = table(&[("h", AMQPValue::LongInt(1))]);
    let mut entries = Vec::new();
    field_table::write(&mut entries, &one);
    let rows: [Row<'_>; 4] = [
        (b"a.b", None, [&[1], &[1, 2, 3], &[1, 2], &[1, 2]]),
        (b"a.*", None, [&[2], &[1, 2, 3], &[2], &[1, 2]]),
        (b"x", Some(&entries), [&[3], &[1, 2, 3], &[3], &[1, 2, 3]]),
        (b"", Some(&[]), [&[], &[1, 2, 3], &[], &[1, 2]]),
    ];
    for (place, kind) in MATCHING.into_iter().enumerate() {
        let mut bindings = new(kind);
        assert!(bindings.bind(b"a.b", &FieldTable::default(), 1));
        assert!(bindings.bind(b"a.*", &FieldTable::default(), 2));
        assert!(bindings.bind(b"x", &one, 3));
        for (key, headers, expected) in rows {
            let expected = expected[place].iter().copied().collect::<BTreeSet<_>>();
            assert_eq!(
                route(&bindings, key, headers),
                expected,
                "{} {key:?}",
                kind.name()
            );
        }
    }
}

#[test]
fn a_binding_is_its_key_its_arguments_and_its_destination() {
    let a = table(&[("a", AMQPValue::LongInt(1))]);
    let b = table(&[("a", AMQPValue::LongInt(2))]);
    for kind in MATCHING {
        let mut bindings = new(kind);
        assert!(bindings.bind(b"k", &a, 1));
        assert!(!bindings.bind(b"k", &a, 1), "twice is once");
        assert!(bindings.bind(b"k", &b, 1));
        assert!(bindings.bind(b"j", &a, 1));
        assert!(bindings.bind(b"k", &a, 2));
        assert_eq!(bindings.len(), 4);
        assert!(!bindings.unbind(b"j", &b, &1));
        assert!(!bindings.unbind(b"k", &a, &3));
        assert!(bindings.unbind(b"k", &a, &1));
        assert!(!bindings.unbind(b"k", &a, &1));
        assert_eq!(bindings.len(), 3);
        let mut entries = Vec::new();
        field_table::write(&mut entries, &b);
        assert!(
            route(&bindings, b"k", Some(&entries)).contains(&1),
            "{}: the other one matches",
            kind.name()
        );
    }
}

#[test]
fn a_destination_goes_with_all_its_bindings_in_the_order_they_were_made() {
    let a = table(&[("a", AMQPValue::LongInt(1))]);
    for kind in MATCHING {
        let mut bindings = new(kind);
        bindings.bind(b"z", &a, 1);
        bindings.bind(b"k", &FieldTable::default(), 2);
        bindings.bind(b"k", &FieldTable::default(), 1);
        bindings.bind(b"b", &FieldTable::default(), 1);
        let removed = bindings.remove_destination(&1);
        let keys = removed.iter().map(|(key, _)| &**key).collect::<Vec<_>>();
        assert_eq!(keys, [b"z", b"k", b"b"]);
        assert_eq!(removed[0].1, a);
        assert_eq!(bindings.remove_destination(&1), []);
        assert_eq!(route(&bindings, b"k", None), BTreeSet::from([2]));
        assert_eq!(bindings.len(), 1);
        bindings.remove_destination(&2);
        assert!(bindings.is_empty());
        assert_eq!(bindings.iter().count(), 0);
    }
}

#[test]
fn some_kinds_refuse_some_bindings() {
    let odd = table(&[("x-match", AMQPValue::LongString("foo".into()))]);
    let plain = FieldTable::default();
    for kind in ExchangeKind::ALL {
        let refused = |key: &[u8], arguments, destination: u32| {
            let refusal = new(kind).validate(key, arguments, &destination).err();
            refusal.map(|refusal| refusal.to_string())
        };
        let is_refused = |key, arguments, destination| refused(key, arguments, destination).is_some();
        assert_eq!(
            is_refused(b"", &odd, 2),
            matches!(kind, ExchangeKind::Headers | ExchangeKind::ConsistentHash)
        );
        assert_eq!(
            is_refused(b"5", &odd, 2),
            matches!(kind, ExchangeKind::Headers | ExchangeKind::LocalRandom)
        );
        assert_eq!(
            is_refused(b"", &plain, 1),
            matches!(kind, ExchangeKind::ConsistentHash | ExchangeKind::LocalRandom)
        );
        if kind == ExchangeKind::LocalRandom {
            let key_given = "Non empty binding 'k' key not permitted";
            assert_eq!(refused(b"k", &plain, 2).as_deref(), Some(key_given));
            assert_eq!(refused(b"", &plain, 1).as_deref(), Some("Destination not found"));
            let quorum = "Queue type rabbit_quorum_queue not valid for this exchange type";
            assert_eq!(refused(b"", &plain, 102).as_deref(), Some(quorum));
        }
    }
}

#[test]
fn some_kinds_may_send_the_next_message_elsewhere() {
    let by_header = table(&[("hash-header", AMQPValue::LongString("h".into()))]);
    for kind in ExchangeKind::ALL {
        let is_expected = matches!(
            kind,
            ExchangeKind::Headers | ExchangeKind::Random | ExchangeKind::LocalRandom
        );
        assert_eq!(new(kind).varies(), is_expected, "{}", kind.name());
    }
    assert!(Bindings::<u32>::new(ExchangeKind::ConsistentHash, &by_header, 0).varies());
}

#[test]
fn those_that_choose_choose_one_of_what_is_bound() {
    for kind in CHOOSING {
        let mut bindings = new(kind);
        assert!(route(&bindings, b"key", None).is_empty(), "{}", kind.name());
        for destination in [2, 4, 6] {
            assert!(bindings.bind(b"", &FieldTable::default(), destination));
        }
        assert!(bindings.unbind(b"", &FieldTable::default(), &4));
        let mut all = BTreeSet::new();
        for key in 0..100_u8 {
            let found = route(&bindings, &[key], None);
            assert_eq!(found.len(), 1, "{}", kind.name());
            all.extend(found);
        }
        assert_eq!(all, BTreeSet::from([2, 6]), "{}", kind.name());
    }
}

#[test]
fn copies_change_no_choice_of_chance() {
    for kind in [ExchangeKind::Random, ExchangeKind::LocalRandom] {
        let mut bindings = new(kind);
        for destination in 0..20 {
            bindings.bind(b"", &FieldTable::default(), destination);
        }
        let criteria = Criteria {
            routing_keys: &[b"key", b"cc", b"bcc"],
            properties: &[0, 0],
        };
        let mut count = 0;
        bindings.route(&criteria, &mut |_| count += 1);
        assert_eq!(count, 1);
    }
}

proptest! {
    #[test]
    fn binding_and_unbinding_leave_what_a_plain_list_holds(
        kind in prop::sample::select(ExchangeKind::ALL.to_vec()),
        steps in prop::collection::vec((0..10u8, 0..3usize, 0..2i32, 0..4u32), 0..80),
    ) {
        let keys: [&[u8]; 3] = [b"", b"a.#", b"a"];
        let mut bindings = new(kind);
        let mut model = Vec::<(usize, i32, u32)>::new();
        for (action, key, argument, destination) in steps {
            let arguments = table(&[("h", AMQPValue::LongInt(argument))]);
            let entry = (key, argument, destination);
            let known = model.contains(&entry);
            match action {
                0 => {
                    let removed = bindings.remove_destination(&destination);
                    let expected = model.iter().filter(|(_, _, other)| *other == destination);
                    let expected = expected.map(|(key, _, _)| keys[*key]).collect::<Vec<_>>();
                    prop_assert_eq!(removed.iter().map(|(key, _)| &**key).collect::<Vec<_>>(), expected);
                    model.retain(|(_, _, other)| *other != destination);
                }
                1..=3 => {
                    prop_assert_eq!(bindings.unbind(keys[key], &arguments, &destination), known);
                    model.retain(|other| *other != entry);
                }
                _ => {
                    prop_assert_eq!(bindings.bind(keys[key], &arguments, destination), !known);
                    model.extend((!known).then_some(entry));
                }
            }
            prop_assert_eq!(bindings.len(), model.len());
            prop_assert_eq!(bindings.iter().count(), model.len());
            let mut headers = Vec::new();
            field_table::write(&mut headers, &table(&[("h", AMQPValue::LongInt(1))]));
            let expected = model.iter().filter(|(key, argument, _)| match kind {
                ExchangeKind::Direct => *key == 2,
                ExchangeKind::Topic => *key != 0,
                ExchangeKind::Headers => *argument == 1,
                _ => true,
            });
            let expected = expected.map(|(_, _, destination)| *destination).collect::<BTreeSet<_>>();
            let found = route(&bindings, b"a", Some(&headers));
            if CHOOSING.contains(&kind) {
                prop_assert_eq!(found.len(), expected.len().min(1));
                prop_assert!(found.is_subset(&expected));
            } else {
                prop_assert_eq!(found, expected);
            }
        }
    }
}
